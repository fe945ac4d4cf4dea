"""The proof: it holds for the resilient client under every fault, and it finds out each kind of client that does wrong, or nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner
from programs import INTERRUPTIBLE

from resilient_client.cli import main
from resilient_client.prove import SUBJECTS, Naive, Resilient, perform
from resilient_client.prove.books import Books, Told, balance
from resilient_client.prove.run import Run
from resilient_client.prove.wire import WRONGS, Wire, inspect
from resilient_client.sandbox import Sandbox, Seen, every_fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from click.testing import Result

    from resilient_client.clock import Clock
    from resilient_client.prove import Caller

PATIENCE = 0.25  # real seconds: a busy machine may trip it, and then the books have to be right as well

NOTHING: dict[str, Any] = {
    "confirmed": 0,
    "failed": 0,
    "unsent": 0,
    "unknown_made": 0,
    "unknown_not_made": 0,
    "cautious": 0,
    "duplicated": 0,
    "lost": 0,
    "denied": 0,
    "alarmed": 0,
    "untold": 0,
    "unasked": 0,
    "two_keys": 0,
    "unkeyed": 0,
    "two_bodies": 0,
    "nonce_twice": 0,
    "resent": 0,
    "problems": (),
}
COLUMNS = list(NOTHING)[: list(NOTHING).index("unasked")]
MUST_BE_NONE = list(NOTHING)[list(NOTHING).index("duplicated") : -1]


def books(**what: Any) -> Books:
    return Books(**({"asked": 1} | NOTHING | what))


def run(
    capsys: pytest.CaptureFixture[str],
    subject: str,
    caller: Caller | None = None,
    *,
    creates: int,
    rate: float = 0.3,
    seed: int = 0,
) -> tuple[int, dict[str, Any]]:
    """Put a client to the proof; give the exit status and what is said of the one API."""
    status = perform(
        [subject], creates=creates, rate=rate, seed=seed, caller=caller, patience=PATIENCE, as_json=True
    )
    document = json.loads(capsys.readouterr().out)
    [entry] = document["apis"]
    assert document["ok"] is entry["ok"] is (status == 0)
    return status, entry


# --- the client


@pytest.mark.parametrize(("rate", "seed"), [(0.3, 1), (0.8, 2)])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_resilient_client_doubles_nothing_loses_nothing_and_lies_to_nobody(
    subject: str, rate: float, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under all faults at once, every create is in one of the columns that may hold any, and the server has nothing else."""
    status, entry = run(capsys, subject, creates=150, rate=rate, seed=seed)

    assert (status, entry["problems"]) == (0, [])
    assert [name for name in MUST_BE_NONE if entry[name]] == []
    assert sum(entry[name] for name in COLUMNS) == entry["asked"] == 150
    assert set(entry["faults"]) <= set(every_fault(SUBJECTS[subject].api))


def test_every_fault_strikes_and_many_creates_come_through_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A proof in which nothing goes wrong, or nothing is ever confirmed, would prove nothing."""
    _, entry = run(capsys, "zerotrace", creates=180, rate=0.8, seed=9)  # its first attempts alone meet all

    assert set(entry["faults"]) == set(every_fault("zerotrace"))
    assert sum(entry["faults"].values()) > 120
    assert entry["confirmed"] > 15


def test_without_faults_every_create_is_made_and_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    """At a rate of 0 nothing is injected."""
    status, entry = run(capsys, "zerotrace", creates=20, rate=0)

    assert (status, entry["faults"], entry["unasked"]) == (0, {}, 0)
    assert entry["asked"] == 20
    # All but those that a busy machine answered too late.
    assert entry["confirmed"] + entry["unknown_made"] == 20


def test_a_late_reply_is_too_late_for_the_client() -> None:
    """Latency is longer than the client waits, so that it is a lost reply and no mere delay."""
    one = Run(SUBJECTS["zerotrace"], caller=Resilient(), creates=1, rate=1, seed=0, patience=PATIENCE)
    late = one.sandbox.state.fault(one.late)

    assert late.kind == "latency"
    assert late.seconds is not None
    assert late.seconds / one.clock.speed > PATIENCE


def test_the_same_seed_has_the_same_faults_for_the_same_create() -> None:
    """What a create meets the n-th time that the API would have accepted it does not depend on who comes first."""
    first, second = drawn(seed=3), drawn(seed=3)

    assert first.keys() == second.keys()
    for mark, faults in first.items():
        both = min(len(faults), len(second[mark]))
        assert faults[:both] == second[mark][:both]
    assert first != drawn(seed=4)


def drawn(seed: int) -> dict[str | None, list[str | None]]:
    """Run a few creates, and give what each drew: all requests but those that found a stale connection closed."""
    with Run(
        SUBJECTS["zerotrace"], caller=Resilient(), creates=30, rate=0.5, seed=seed, patience=PATIENCE
    ) as one:
        assert len(list(one.play())) == 30
    faults = defaultdict(list)
    for seen in one.sandbox.state.requests:
        if seen.fault != "stale" or seen.worked:
            faults[seen.call].append(seen.fault)
    return faults


# --- the control, and other clients that do wrong


def test_a_naive_loop_makes_duplicates_and_loses_orders(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain httpx, three attempts, no key: orders exist twice, and of others its caller is told that there are none."""
    status, entry = run(capsys, "zerotrace", Naive(), creates=150, rate=0.5)

    assert status == 1
    assert entry["duplicated"] > 5
    assert entry["denied"] > 0
    assert sum(entry[name] for name in COLUMNS) == 150
    assert any("made more than once (create-" in problem for problem in entry["problems"])


@pytest.mark.parametrize("subject", ["customer_verification", "integration"])
def test_a_naive_loop_denies_what_the_server_has(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the server itself refuses a second one, the loop takes the echo of its own lost create for a failure."""
    status, entry = run(capsys, subject, Naive(), creates=80, rate=0.5)

    assert (status, entry["duplicated"]) == (1, 0)
    assert entry["denied"] > 0


class Tampering(httpx.HTTPTransport):
    """Sends over a real socket, under a key of its own."""

    numbers = count()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Idempotency-Key"] = f"one-key-per-attempt-{next(self.numbers)}"
        return super().handle_request(request)


class AsyncTampering(httpx.AsyncHTTPTransport):
    """The same for tasks."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Idempotency-Key"] = f"one-key-per-attempt-{next(Tampering.numbers)}"
        return await super().handle_async_request(request)


class NewKeyForEachAttempt(Resilient):
    def open(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.Client:
        return api.client(timeout=timeout, transport=Tampering())

    def aopen(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.AsyncClient:
        return api.async_client(timeout=timeout, transport=AsyncTampering())


class NeverUncertain(Resilient):
    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        return isinstance(end, httpx.Response) and end.is_success


class Boastful(Resilient):
    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        return True


class WithoutOutcome(Resilient):
    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        if isinstance(end, httpx.Response) and end.is_success:
            return True
        raise LookupError("there is no outcome")


@pytest.mark.parametrize(
    ("caller", "columns"),
    [
        (NewKeyForEachAttempt(), {"duplicated", "two_keys"}),
        (NeverUncertain(), {"denied"}),
        (Boastful(), {"lost"}),
        (WithoutOutcome(), {"untold"}),
    ],
    ids=["new-key-for-each-attempt", "never-uncertain", "boastful", "without-outcome"],
)
def test_a_client_that_does_wrong_fails_the_proof(
    caller: Caller, columns: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each wrong of its own kind is found in its own column, and in no other."""
    status, entry = run(capsys, "zerotrace", caller, creates=60, rate=0.5)

    assert (status, {name for name in MUST_BE_NONE if entry[name]}) == (1, columns)
    assert entry["problems"] != []


@pytest.mark.parametrize("subject", ["customer_verification", "customer_verification_keyless", "integration"])
def test_a_new_key_for_each_attempt_is_seen_where_the_server_lets_no_second_one_in(
    subject: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The vendor's own uniqueness keeps the doubles out; on the wire the wrong shows all the same."""
    status, entry = run(capsys, subject, NewKeyForEachAttempt(), creates=60, rate=0.5)

    assert (status, entry["duplicated"]) == (1, 0)
    assert entry["two_keys"] > 0


class AsksAgain(Naive):
    """Three attempts and no key, but honest: after a lost reply it tells that it does not know."""

    def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
        lost = False
        for _ in range(3):
            try:
                response = client.post(**request)
            except httpx.HTTPError:
                lost = True
                continue
            if response.status_code < 500:
                return response.is_success or (None if lost else False)
            lost = True
        return None

    async def acreate(
        self, client: httpx.AsyncClient, request: Mapping[str, Any], clock: Clock
    ) -> bool | None:
        lost = False
        for _ in range(3):
            try:
                response = await client.post(**request)
            except httpx.HTTPError:
                lost = True
                continue
            if response.status_code < 500:
                return response.is_success or (None if lost else False)
            lost = True
        return None


@pytest.mark.parametrize(
    ("subject", "columns"),
    [
        ("customer_verification", {"unkeyed", "resent"}),
        ("customer_verification_keyless", {"unkeyed", "resent"}),
        ("integration", {"resent"}),
    ],
)
def test_a_create_without_a_key_is_not_to_be_sent_again_after_a_lost_reply(
    subject: str, columns: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where keys are due one has to be there; where there are none, a lost reply is the end, however honest the caller."""
    status, entry = run(capsys, subject, AsksAgain(), creates=60, rate=0.5)
    wrong = {name for name in MUST_BE_NONE if entry[name]}

    # It cannot tell a sign-in that failed from a create that did.
    assert (status, wrong - {"alarmed"}) == (1, columns)


# --- runs that prove nothing


class Idle(Resilient):
    """Sends nothing, and tells everybody so."""

    def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
        return False

    async def acreate(
        self, client: httpx.AsyncClient, request: Mapping[str, Any], clock: Clock
    ) -> bool | None:
        return False


class Alarmist(Idle):
    """Sends nothing, and tells everybody that it may have."""

    def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
        return None

    async def acreate(
        self, client: httpx.AsyncClient, request: Mapping[str, Any], clock: Clock
    ) -> bool | None:
        return None


class NeverSure(Resilient):
    """Takes each clear refusal for one that may have been made."""

    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        return True if isinstance(end, httpx.Response) and end.is_success else None


class Shrugging(Resilient):
    """Knows nothing of anything."""

    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        return None


def test_a_run_in_which_no_sign_in_works_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Where every request meets a fault, the sign-in fails and no create is sent: each caller is told so, and it is no proof."""
    status, entry = run(capsys, "customer_verification", creates=2, rate=1, seed=1)

    assert (status, entry["unsent"], entry["confirmed"]) == (1, 2, 0)
    assert entry["problems"] == ["nothing was proved: not one create was confirmed"]


def test_a_client_that_sends_nothing_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No double and no loss are no merit of one that has done nothing."""
    status, entry = run(capsys, "zerotrace", Idle(), creates=10)

    assert (status, entry["unsent"]) == (1, 10)
    assert entry["problems"] == ["nothing was proved: not one create was confirmed"]


def test_whoever_sent_nothing_has_to_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """To tell "it may have been made" of what never left is a wrong of its own."""
    status, entry = run(capsys, "zerotrace", Alarmist(), creates=10)

    assert (status, entry["alarmed"]) == (1, 10)
    assert entry["problems"][0].startswith("10 told that it may have been made, and never sent (create-00000")


def test_a_client_that_is_never_sure_fails_the_proof(capsys: pytest.CaptureFixture[str]) -> None:
    """Clear refusals of which all callers are told "maybe" are more than replies that came too late."""
    status, entry = run(capsys, "zerotrace", NeverSure(), creates=60, rate=0.5)

    assert (status, entry["failed"]) == (1, 0)
    assert entry["cautious"] > 0
    [problem] = entry["problems"]
    assert problem.endswith("told that it may have been made, and only 0 not made, where all was refused")


def test_a_client_that_confirms_nothing_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever tells everybody "maybe" is never wrong."""
    status, entry = run(capsys, "zerotrace", Shrugging(), creates=10, rate=0)

    assert (status, entry["unknown_made"]) == (1, 10)
    assert entry["problems"] == ["nothing was proved: not one create was confirmed"]


def test_a_client_that_drops_the_marks_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Without them, nothing could be said of what it sent."""

    class Unmarked(Resilient):
        def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
            return super().create(client, {**request, "headers": {}}, clock)

    status, entry = run(capsys, "zerotrace", Unmarked(), creates=1, rate=0)

    assert status == 1
    assert entry["problems"] == ["1 requests without the mark of a create: what was sent for it is not known"]


def test_what_nobody_asked_for_fails_the_proof(capsys: pytest.CaptureFixture[str]) -> None:
    """A client that makes one order for another is found out twice: one is lost, and one is nobody's."""

    class Mistaken(Resilient):
        def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
            other = {**request["json"], "toAddress": "elsewhere"}
            return super().create(client, {**request, "json": other}, clock)

    status, entry = run(capsys, "zerotrace", Mistaken(), creates=1, rate=0)

    assert (status, entry["lost"], entry["unasked"]) == (1, 1, 1)
    assert entry["problems"] == [
        "1 lost: told made, and the server holds none (create-00000)",
        "1 held by the server, and asked for by nobody (elsewhere)",
        "nothing was proved: not one create was confirmed",
    ]


def test_a_client_that_cannot_be_opened_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What a client's making raises is raised, from the tasks' side too, and nobody waits for ever."""

    class Unopened(Resilient):
        def aopen(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.AsyncClient:
            raise RuntimeError("it cannot be had")

    with pytest.raises(RuntimeError, match="it cannot be had"):
        run(capsys, "zerotrace", Unopened(), creates=2)


# --- the wire

ROUTE = "POST /v1/create"


SEEN: dict[str, Any] = {
    "method": "POST",
    "route": ROUTE,
    "path": "/v1/create",
    "time": 0.0,
    "status": 201,
    "code": None,
    "fault": None,
    "call": "a",
    "idempotency_key": "key",
    "nonce": None,
    "body": b"",
    "size": 0,
    "digest": "d",
}


def seen(**what: Any) -> Seen:
    return Seen(**(SEEN | what))


def wrongs(*requests: Seen, keyed: bool = True) -> Mapping[str, Sequence[str]]:
    return inspect(requests, route=ROUTE, asked=["a", "b"], keyed=keyed).wrongs


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ({}, {}, []),
        ({}, {"idempotency_key": "other"}, ["two_keys"]),
        ({}, {"idempotency_key": None}, ["two_keys", "unkeyed"]),
        ({"idempotency_key": None}, {"idempotency_key": None}, ["unkeyed"]),
        ({}, {"digest": "other"}, ["two_bodies"]),
        ({"fault": "reset-upload", "status": None, "digest": "none came"}, {}, []),
        ({"nonce": "n"}, {"nonce": "m"}, []),
        ({"nonce": "n"}, {"nonce": "n"}, ["nonce_twice"]),
        ({"status": None}, {}, []),
        ({"call": "b", "idempotency_key": "other", "digest": "other"}, {}, []),
        ({"route": "POST /auth/token", "idempotency_key": None, "digest": "other"}, {}, []),
    ],
)
def test_requests_of_one_create_have_one_key_and_one_body_and_a_nonce_each(
    first: dict[str, Any], second: dict[str, Any], names: list[str]
) -> None:
    """Each wrong has a name; other creates' requests, other routes and uploads that broke off are not compared."""
    assert wrongs(seen(**first), seen(**second)) == {name: ["a"] for name in names}


def test_a_nonce_of_another_create_is_used_up_as_well() -> None:
    """Both are named."""
    assert wrongs(seen(nonce="n"), seen(nonce="n", call="b")) == {"nonce_twice": ["a", "b"]}


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ({"status": None, "fault": "close"}, ["resent"]),
        ({"status": None, "fault": "stale"}, ["resent"]),
        ({"fault": "lose"}, ["resent"]),
        ({"fault": "truncate"}, ["resent"]),
        ({"fault": "latency:300"}, ["resent"]),
        ({"fault": "stale"}, []),
        ({"fault": "drip"}, []),
        ({"status": 503, "fault": "html-503"}, []),
        ({"status": 500, "fault": "SERVER_ERROR"}, []),
    ],
)
def test_what_has_no_key_is_not_sent_again_after_a_lost_reply(what: dict[str, Any], names: list[str]) -> None:
    """A whole reply may be followed by another attempt, whatever it says: that is for the policy's rules."""
    plain = seen(idempotency_key=None)

    assert wrongs(replace(plain, **what), plain, keyed=False) == {name: ["a"] for name in names}
    assert wrongs(plain, replace(plain, **what), keyed=False) == {}


@pytest.mark.parametrize(
    ("what", "unclear"),
    [
        ({"worked": True}, True),
        ({"status": None, "fault": "reset"}, True),
        ({"status": None, "fault": "reset-upload"}, True),
        ({"status": 409, "fault": "truncate"}, True),
        ({"status": 500}, True),
        ({"status": 429}, False),
        ({"status": 409, "fault": "stale"}, False),
        ({"status": 400, "fault": "INVALID_REQUEST#2"}, False),
    ],
)
def test_a_request_is_unclear_where_its_caller_cannot_know(what: dict[str, Any], *, unclear: bool) -> None:
    """Work done, a reply lost, or an error that says nothing of the work; a whole refusal is clear."""
    found = inspect([seen(**what)], route=ROUTE, asked=["a", "b"], keyed=True)

    assert found == Wire(sent=frozenset("a"), unclear=frozenset("a" if unclear else ""), wrongs={})


# --- the books


def wire(**what: Any) -> Wire:
    return Wire(**({"sent": frozenset("a"), "unclear": frozenset("a"), "wrongs": {}} | what))


NOTHING_PROVED = "nothing was proved: not one create was confirmed"


@pytest.mark.parametrize(
    ("made", "held", "seen", "column"),
    [
        (False, 0, {"unclear": ()}, "failed"),
        (False, 0, {}, "failed"),
        (False, 0, {"sent": ()}, "unsent"),
        (None, 1, {}, "unknown_made"),
        (None, 0, {}, "unknown_not_made"),
    ],
)
def test_what_may_be_is_in_the_books_without_a_problem(
    *, made: bool | None, held: int, seen: dict[str, Any], column: str
) -> None:
    """A caller may be told the truth, or that it is not known, beside one whose create is confirmed."""
    balanced = balance(["a", "b"], [Told("a", made), Told("b", made=True)], {"a": held, "b": 1}, wire(**seen))

    assert balanced == books(**{"asked": 2, "confirmed": 1, column: 1})
    assert balanced.ok


@pytest.mark.parametrize(
    ("made", "held", "seen", "column", "problem"),
    [
        (True, 2, {}, "duplicated", "1 made more than once (a)"),
        (None, 2, {}, "duplicated", "1 made more than once (a)"),
        (False, 2, {}, "duplicated", "1 made more than once (a)"),
        (True, 0, {}, "lost", "1 lost: told made, and the server holds none (a)"),
        (True, 0, {"sent": ()}, "lost", "1 lost: told made, and the server holds none (a)"),
        (False, 1, {}, "denied", "1 lost: told not made, and the server holds one (a)"),
        (None, 0, {"sent": ()}, "alarmed", "1 told that it may have been made, and never sent (a)"),
        (
            None,
            0,
            {"unclear": ()},
            "cautious",
            "1 told that it may have been made, and only 0 not made, where all was refused",
        ),
    ],
)
def test_what_must_not_be_is_a_problem(
    *, made: bool | None, held: int, seen: dict[str, Any], column: str, problem: str
) -> None:
    """Two of one is a duplicate whatever its caller was told; what was told and is not so is a loss."""
    balanced = balance(["a"], [Told("a", made)], {"a": held}, wire(**seen))

    assert balanced == books(**{column: 1}, problems=(problem, NOTHING_PROVED))
    assert not balanced.ok


def test_one_caution_too_many_is_counted_and_no_problem() -> None:
    """A clear refusal that came too late for its client cannot be told from caution."""
    told = [Told("a", None), Told("b", made=False), Told("c", made=True)]
    balanced = balance(["a", "b", "c"], told, {"c": 1}, wire(sent=frozenset("abc"), unclear=frozenset()))

    assert balanced == books(asked=3, confirmed=1, failed=1, cautious=1)


def test_a_proof_needs_half_of_the_creates_sent() -> None:
    """What one confirmed create says of three is little."""
    told = [Told("a", made=True), Told("b", made=False), Told("c", made=False)]
    balanced = balance(["a", "b", "c"], told, {"a": 1}, wire())

    assert balanced.problems == ("nothing was proved: 2 of 3 creates were never sent",)
    assert balance(["a", "b"], told[:2], {"a": 1}, wire()).ok


@pytest.mark.parametrize("name", WRONGS)
def test_what_is_wrong_on_the_wire_is_a_problem_of_a_create_that_was_made_once(name: str) -> None:
    """It is counted beside the column that the create is in."""
    balanced = balance(["a"], [Told("a", made=True)], {"a": 1}, wire(wrongs={name: ["a"]}))

    assert balanced == books(confirmed=1, **{name: 1}, problems=(f"1 {WRONGS[name]} (a)",))


def test_a_caller_who_is_told_nothing_is_a_problem() -> None:
    """Its failure is in the books, in words."""
    balanced = balance(["a"], [Told("a", None, failure="KeyError: 'b'")], {"a": 1}, wire())

    assert balanced == books(
        untold=1,
        problems=(
            "1 told nothing: neither an answer nor an outcome (a)",
            "KeyError: 'b' (1 of them)",
            NOTHING_PROVED,
        ),
    )


def test_books_that_do_not_add_up_are_a_problem() -> None:
    """Whoever was told twice, or not at all, is named; of many, the first three."""
    asked = ["a", "b", "c", "d", "e"]

    balanced = balance(asked, [Told("e", made=True), Told("e", made=True)], {"e": 1}, wire())
    assert balanced.problems == ("5 not told, or told twice (a, b, c and others)",)


# --- the command


def command(*arguments: str, **environment: str) -> Result:
    plain = dict.fromkeys(("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"))
    return CliRunner().invoke(main, ["prove", *arguments], env={**plain, "COLUMNS": "80", **environment})


def test_prove_prints_one_json_document() -> None:
    """With --json there is nothing else, and the document says with what it was made."""
    done = command("--json", "--creates", "20", "--seed", "3", "--api", "integration")
    document = json.loads(done.stdout)
    [entry] = document.pop("apis")

    assert (done.exit_code, done.stderr) == (0, "")
    assert document == {"client": "resilient", "creates": 20, "faults": 0.3, "seed": 3, "ok": True}
    assert list(entry) == [
        "api",
        "ok",
        "asked",
        *[name for name in NOTHING if name != "problems"],
        "requests",
        "faults",
        "seconds",
        "creates_per_second",
        "problems",
    ]
    assert (entry["api"], entry["asked"]) == ("integration", 20)
    assert entry["requests"] >= 20 - entry["failed"]


def test_prove_prints_plain_lines_where_nobody_is_looking() -> None:
    """Piped, it says how far it is after each tenth, then the books, in lines of at most 80 columns."""
    done = command("--creates", "20", "--faults", "0.1")
    lines = done.stdout.splitlines()

    assert done.exit_code == 0
    assert [line.split()[:2] for line in lines if line.endswith("requests")] == [
        [str(told), "told,"] for told in range(2, 21, 2)
    ]
    assert "the operator has raised the budget of 2500 units" in done.stdout.replace("\n", " ")
    assert f"  {'asked':<50}{20:>8}" in lines
    assert f"  {'made more than once':<50}{0:>8}" in lines
    assert len([line for line in lines if line[:2] == "  " and len(line) == 60]) == len(
        NOTHING
    )  # each row is a line
    assert "zerotrace: proved; " in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []


def test_prove_leaves_each_number_beside_its_label_in_a_narrow_terminal() -> None:
    """In 50 columns it is the label that is broken, and the number stands on its last line."""
    done = command("--creates", "20", "--faults", "0.5", COLUMNS="50")
    lines = done.stdout.splitlines()

    assert [line for line in lines if len(line) > 50] == []
    assert [line for line in lines if line.strip().isdigit()] == []
    assert f"  {'told that it may have been made, and':<40}".rstrip() in lines
    assert [len(line) for line in lines if line.startswith("    made ")] == [50, 50]
    faults = " ".join(lines[next(n for n, line in enumerate(lines) if " faults: " in line) :]).split(".")[0]
    for kind in faults.partition(": ")[2].split(", "):
        assert any(kind in line for line in lines), kind


def test_prove_shows_a_bar_in_a_terminal() -> None:
    """Where somebody is looking, a bar takes the place of the lines."""
    done = command("--creates", "20", "--faults", "0", FORCE_COLOR="1")

    assert done.exit_code == 0
    assert "20/20" in done.stdout
    assert "\x1b[" in done.stdout
    assert "2 told, " not in [line.strip() for line in done.stdout.splitlines()]


def test_prove_naive_exits_with_1_and_names_what_went_wrong() -> None:
    """The control fails, in words."""
    done = command("--naive", "--creates", "40", "--faults", "0.5", "--seed", "5")

    assert done.exit_code == 1
    assert "by plain httpx in a naive retry loop" in done.stdout.replace("\n", " ")
    assert "problem: " in done.stdout
    assert "zerotrace: NOT proved; " in done.stdout


def test_prove_all_goes_to_every_api() -> None:
    """The choices of the command are the subjects that there are, in their order."""
    done = command("--json", "--api", "all", "--creates", "1", "--faults", "0")

    assert [entry["api"] for entry in json.loads(done.stdout)["apis"]] == list(SUBJECTS)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--faults", "1.5"], "Invalid value for --faults: a share is from 0 to 1, and not 1.5"),
        (["--faults", "-0.1"], "Invalid value for --faults: a share is from 0 to 1, and not -0.1"),
        (["--faults", "nan"], "Invalid value for --faults: a share is from 0 to 1, and not nan"),
        (["--creates", "0"], "Invalid value for '--creates': 0 is not in the range x>=1."),
        (["--creates", "many"], "Invalid value for '--creates': 'many' is not a valid integer range."),
        (["--api", "dual"], "Invalid value for '--api': 'dual' is not one of "),
    ],
)
def test_prove_refuses_wrong_flags_in_one_line(arguments: list[str], complaint: str) -> None:
    """A flag that cannot be is refused before anything is done, with exit status 2."""
    done = command(*arguments)
    [said] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]

    assert (done.exit_code, done.stdout) == (2, "")
    assert said.startswith(f"Error: {complaint}")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_prove_stops_at_once_when_interrupted() -> None:
    """Ctrl-C ends it in the middle of its calls, with exit status 130, and without a traceback or a word of its threads."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", INTERRUPTIBLE, "prove", "--creates", "20000"],
        env=os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "minute." in line:  # the last word of the heading
                break
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, complaint = running.communicate(timeout=10)

    assert (running.returncode, complaint) == (130, "stopped\n")
    assert time.monotonic() - began < 5
