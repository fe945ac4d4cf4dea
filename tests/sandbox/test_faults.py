"""The names of faults, and faults by chance: what they mean, and that a seed settles them."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from resilient_client.sandbox import RandomFaults, Request, Schedule, every_fault
from resilient_client.sandbox._documented import documented
from resilient_client.sandbox._sandbox import sandbox_names
from resilient_client.sandbox.faults import WIRE, Fault, InTurn, parse
from resilient_client.sandbox.zerotrace import Zerotrace

if TYPE_CHECKING:
    from resilient_client.sandbox import Faults

CREATE = "POST /v1/create"
QR = "POST /v1/qr"
SOME = {"lose": 1.0, "UPSTREAM_ERROR": 2.0, "reset-upload": 1.0}


def request(
    call: str | None = None,
    key: str | None = None,
    *,
    target: str = "/api/v1/create",
    body: bytes = b"",
    kind: str | None = None,
) -> Request:
    headers = [(b"X-Sandbox-Call", call), (b"Idempotency-Key", key), (b"Content-Type", kind)]
    return Request.of("POST", target, [(name, value.encode()) for name, value in headers if value], body)


def draws(faults: Faults, many: int, route: str = CREATE, **who: Any) -> list[str | None]:
    return [faults(route, request(**who)) for _ in range(many)]


# --- names


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lose", Fault("lose")),
        ("latency", Fault("latency", seconds=1.0)),
        ("latency:0.5", Fault("latency", seconds=0.5)),
        ("latency:0", Fault("latency", seconds=0.0)),
        ("drip:.25", Fault("drip", seconds=0.25)),
        ("RATE_LIMIT", Fault("RATE_LIMIT")),
        ("RATE_LIMIT:2", Fault("RATE_LIMIT", seconds=2.0)),
        ("INVALID_REQUEST#2", Fault("INVALID_REQUEST", example=2)),
        ("INVALID_REQUEST#2:30", Fault("INVALID_REQUEST", seconds=30.0, example=2)),
        ("Not Found", Fault("Not Found")),
    ],
)
def test_name_is_read(text: str, fault: Fault) -> None:
    """A fault is a word, with seconds after a colon and the number of an example after a #."""
    assert parse(text) == fault


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("latency:", "seconds must follow the colon, as in latency:2"),
        ("latency:soon", "seconds must follow the colon"),
        ("latency:-1", "seconds must follow the colon"),
        ("latency:1e3", "seconds must follow the colon"),
        ("latency:inf", "seconds must follow the colon"),
        ("latency:1.2.3", "seconds must follow the colon"),
        ("latency:" + "9" * 400, "seconds must follow the colon"),
        ("latency:\u0663", "seconds must follow the colon"),
        ("lose:1", "lose takes no seconds"),
        ("lose#1", "lose has no examples to choose from"),
        ("RATE_LIMIT:2.5", "whole seconds must follow the colon, as in RATE_LIMIT:2"),
        ("RATE_LIMIT:" + "9" * 400, "whole seconds must follow the colon"),
        ("RATE_LIMIT:2#1", "whole seconds must follow the colon"),
        ("INVALID_REQUEST#0", "after the # comes the number of one of its examples, as in INVALID_REQUEST#2"),
        ("INVALID_REQUEST#", "after the # comes the number"),
        ("INVALID_REQUEST#two", "after the # comes the number"),
    ],
)
def test_ill_written_name_is_a_value_error(text: str, complaint: str) -> None:
    """One line says which fault it is, and what would be right."""
    with pytest.raises(ValueError, match=complaint) as caught:
        parse(text)

    assert str(caught.value).startswith(f"fault {text!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sandbox_names())
def test_documented_names_can_be_written_down(name: str) -> None:
    """No error of a shipped policy has a sign in its name that means something in a fault or in a line of faults."""
    assert [error for error in documented(name) if set(error) & set(":#,;=") or error in WIRE] == []


def test_every_fault_is_what_the_api_can_send() -> None:
    """All kinds of the wire and all documented errors, but for those that the API itself never sends."""
    faults = every_fault("zerotrace")

    assert set(WIRE) | set(documented("zerotrace")) == set(faults) | Zerotrace.unsent
    assert not Zerotrace.unsent & set(faults)
    with pytest.raises(ValueError, match="there is no sandbox for 'zerotrac'"):
        every_fault("zerotrac")


# --- chance


def test_same_seed_gives_each_call_the_same_faults() -> None:
    """Whatever the order in which calls come, and however many threads bring them, each has the same faults again."""
    calls = [f"call-{number % 40}" for number in range(800)]
    otherwise = sorted(calls, key=lambda call: call[::-1], reverse=True)

    def of_each_call(order: list[str], threads: int) -> dict[str, Counter[str | None]]:
        faults = RandomFaults(0.5, kinds=SOME, seed=7)
        with ThreadPoolExecutor(threads) as pool:
            drawn = list(pool.map(lambda call: (call, faults(CREATE, request(call))), order))
        return {call: Counter(fault for whose, fault in drawn if whose == call) for call in set(calls)}

    assert of_each_call(calls, 1) == of_each_call(otherwise, 8)


def test_calls_have_sequences_of_their_own() -> None:
    """What a call meets, in order, does not depend on what others met in between; two calls differ, and so do two routes."""
    alone = draws(RandomFaults(0.5, kinds=SOME, seed=7), 50, call="mine")
    shared = RandomFaults(0.5, kinds=SOME, seed=7)
    among_others: list[str | None] = []
    for _ in range(50):
        shared(CREATE, request("theirs"))
        among_others.append(shared(CREATE, request("mine")))

    assert alone == among_others
    assert alone != draws(RandomFaults(0.5, kinds=SOME, seed=7), 50, call="theirs")
    assert alone != draws(RandomFaults(0.5, kinds=SOME, seed=7), 50, QR, call="mine")


def test_whose_a_request_is() -> None:
    """The call's tag tells; without one, what is asked does: equal requests are one sequence, and others have others."""

    def fresh() -> RandomFaults:
        return RandomFaults(0.5, kinds=SOME, seed=7)

    alone = draws(fresh(), 50)
    assert draws(fresh(), 50, call="a") == draws(fresh(), 50, call="a", body=b"{}") != alone
    assert alone != draws(fresh(), 50, body=b"{}")
    assert alone != draws(fresh(), 50, target="/api/v1/create?a=1")
    assert alone != draws(fresh(), 50, target="/api/v1/creates")


def test_what_a_client_makes_up_is_nothing_to_chance() -> None:
    """A new idempotency key, or a new boundary of a form with a file, gives a request no other faults."""

    def fresh() -> RandomFaults:
        return RandomFaults(0.5, kinds=SOME, seed=7)

    def form(boundary: str) -> dict[str, Any]:
        return {
            "kind": f"multipart/form-data; boundary={boundary}",
            "body": f"--{boundary}\r\n\r\nx\r\n--{boundary}--".encode(),
        }

    assert draws(fresh(), 50, key="b") == draws(fresh(), 50)
    assert draws(fresh(), 50, **form("1f")) == draws(fresh(), 50, **form("2e")) != draws(fresh(), 50)


def test_another_seed_gives_other_faults() -> None:
    """A seed settles everything, so another one settles it otherwise."""
    assert draws(RandomFaults(0.5, kinds=SOME, seed=1), 50) != draws(
        RandomFaults(0.5, kinds=SOME, seed=2), 50
    )


def test_rates_0_and_1_are_never_and_always() -> None:
    """The ends of the scale are exact."""
    assert set(draws(RandomFaults(0, kinds=["lose"]), 2000)) == {None}
    assert set(draws(RandomFaults(1, kinds=["lose"]), 2000)) == {"lose"}


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_share_of_faults_is_near_the_rate(rate: float) -> None:
    """Of 10,000 requests about as many fail as the rate says, and the kinds come by their weights."""
    drawn = Counter(draws(RandomFaults(rate, kinds=SOME, seed=11), 10_000))
    faults = 10_000 - drawn[None]

    assert faults == pytest.approx(10_000 * rate, abs=4 * spread(10_000, rate))
    for kind, weight in SOME.items():
        assert drawn[kind] == pytest.approx(faults * weight / 4, abs=4 * spread(faults, weight / 4))


def spread(many: int, rate: float) -> float:
    """Give the standard deviation of the number of hits."""
    return math.sqrt(many * rate * (1 - rate))


def test_other_routes_are_spared() -> None:
    """With `routes`, nothing else fails, early or late."""
    faults = RandomFaults(1, kinds=["reset-upload"], routes=[QR])

    assert draws(faults, 5) == [None] * 5
    assert faults.early(CREATE, request()) is None
    assert faults.early(QR, request()) == "reset-upload"


def test_early_takes_a_broken_upload_and_nothing_else() -> None:
    """Where heads are asked about, a broken upload comes early only; all shares are what they are without."""
    faults = RandomFaults(0.6, kinds=SOME, seed=11)
    early = [faults.early(CREATE, request()) for _ in range(10_000)]
    late = [faults(CREATE, request()) for each in early if each is None]

    drawn = Counter(early) + Counter(late)
    assert set(early) == {None, "reset-upload"}
    assert set(late) == {None, "lose", "UPSTREAM_ERROR"}
    for kind, weight in SOME.items():
        assert drawn[kind] == pytest.approx(6000 * weight / 4, abs=4 * spread(10_000, 0.6 * weight / 4))


def test_early_does_not_wait_for_the_body() -> None:
    """Requests whose bodies all differ, as those with a key in it, break off as often as the others."""
    faults = RandomFaults(0.5, kinds=["reset-upload", "reset"], seed=0)
    early = 0
    for number in range(400):
        early += faults.early(CREATE, request()) is not None
        assert faults(CREATE, request(body=str(number).encode())) in {None, "reset"}

    assert early == pytest.approx(100, abs=4 * spread(400, 0.25))


def test_early_goes_by_the_tag() -> None:
    """What breaks off for a call does not depend on what others met in between."""
    alone, shared = (RandomFaults(0.5, kinds=["reset-upload"], seed=7) for _ in range(2))
    among_others: list[str | None] = []
    for _ in range(50):
        shared.early(CREATE, request("theirs"))
        among_others.append(shared.early(CREATE, request("mine")))

    assert among_others == [alone.early(CREATE, request("mine")) for _ in range(50)]
    assert set(among_others) == {None, "reset-upload"}


@pytest.mark.parametrize("rate", [0, 1])
def test_early_keeps_the_ends_of_the_scale(rate: float) -> None:
    """Never and always are exact there too, with no other kind or with one."""
    only = RandomFaults(rate, kinds=["reset-upload"])
    two = RandomFaults(rate, kinds=["reset-upload", "lose"])

    assert {only.early(CREATE, request()) for _ in range(50)} == {"reset-upload" if rate else None}
    assert {two.early(CREATE, request()) or two(CREATE, request()) for _ in range(200)} == (
        {"reset-upload", "lose"} if rate else {None}
    )


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"rate": 1.01}, ValueError, r"a rate of faults is from 0 to 1 \(got 1.01\)"),
        ({"rate": -0.1}, ValueError, "from 0 to 1"),
        ({"rate": float("nan")}, ValueError, "from 0 to 1"),
        ({"kinds": []}, ValueError, "at least one is needed"),
        ({"kinds": {"lose": 0}}, ValueError, "each weight is above 0"),
        ({"kinds": {"lose": float("nan")}}, ValueError, "each weight is above 0"),
        ({"kinds": {"lose": float("inf")}}, ValueError, "each weight is above 0"),
        ({"kinds": ["lose:1"]}, ValueError, "lose takes no seconds"),
        ({"kinds": "lose"}, TypeError, "a list of names"),
        ({"kinds": {"lose", "reset"}}, TypeError, "a list of names"),
        ({"routes": CREATE}, TypeError, r"routes is a list: \['POST /v1/create'\]"),
        ({"routes": ["/v1/create"]}, ValueError, "METHOD /path"),
    ],
)
def test_what_chance_cannot_be_told(changes: dict[str, Any], error: type[Exception], complaint: str) -> None:
    """A mistake is told when it is made, in one line, and not when its turn comes."""
    options: dict[str, Any] = {"rate": 0.5, "kinds": ["lose"]} | changes

    with pytest.raises(error, match=complaint):
        RandomFaults(options.pop("rate"), **options)


def test_chance_says_what_it_is() -> None:
    """Its repr has all that settles it."""
    assert (
        repr(RandomFaults(0.5, kinds={"lose": 2}, seed=7)) == "<RandomFaults rate=0.5 seed=7 kinds=['lose']>"
    )


# --- several deciders


def test_first_decider_with_a_fault_has_its_way() -> None:
    """The others are asked only where it has none, so that their faults are kept."""
    first, second = Schedule().add(CREATE, ["lose", None]), Schedule().add(CREATE, ["reset", "close"])

    assert draws(InTurn([first, second]), 4) == ["lose", "reset", "close", None]


def test_deciders_are_asked_early_where_they_can_be() -> None:
    """A function has no say about a head; a schedule behind it has."""
    faults = InTurn([lambda _route, _request: None, Schedule().add(CREATE, ["reset-upload", "lose"])])

    assert faults.early(CREATE, request()) == "reset-upload"
    assert faults.early(CREATE, request()) is None
    assert draws(faults, 2) == ["lose", None]
