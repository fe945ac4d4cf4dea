"""What goes wrong on purpose: each fault as a plain httpx client sees it, over a socket and in memory; and schedules."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from resilient_client.sandbox import Request, Sandbox, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.sandbox import Faults, Zerotrace

BODY = json.dumps(
    {
        "fromCcy": "BTC",
        "toCcy": "XMR",
        "direction": "from",
        "amount": 0.01,
        "type": "fixed",
        "toAddress": "there",
    }
).encode()
CREATE = "POST /v1/create"
NONCES = itertools.count()


class Stopped:
    """Time that stands still."""

    def time(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        return 5.0


class Wire:
    """A sandbox and a plain client for it."""

    def __init__(self, api: Sandbox[Zerotrace], client: httpx.Client) -> None:
        self.api = api
        self.client = client

    def request(self, *, call: str | None = None, nonce: str | None = None) -> httpx.Request:
        headers = {
            "X-API-KEY": self.api.key,
            "X-API-SIGN": hmac.new(self.api.secret.encode(), BODY, hashlib.sha256).hexdigest(),
            "X-API-NONCE": nonce or f"nonce-{next(NONCES):016d}",
            "Idempotency-Key": "one-key-for-all",
        }
        if call is not None:
            headers["X-Sandbox-Call"] = call
        return self.client.build_request("POST", "/v1/create", content=BODY, headers=headers)

    def create(self, **how: str | None) -> httpx.Response:
        return self.client.send(self.request(**how))

    @property
    def outcomes(self) -> list[tuple[int | str | None, str | None]]:
        return [(seen.code, seen.fault) for seen in self.api.state.requests]


def planned(*faults: str | None) -> Schedule:
    return Schedule().add(CREATE, faults)


@pytest.fixture(params=["socket", "memory"])
def wire_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Faults], Wire]]:
    """Open a sandbox with these faults; both ways must look the same to a client."""
    opened: list[Any] = []

    def open_(faults: Faults) -> Wire:
        api = Sandbox("zerotrace", clock=Stopped(), faults=faults)
        if request.param == "socket":
            opened.append(api.start())
            client = httpx.Client(base_url=api.base_url)
        else:
            client = httpx.Client(base_url=api.base_url, transport=httpx.MockTransport(api.handler))
        opened.append(client)
        return Wire(api, client)

    yield open_
    for each in reversed(opened):
        each.close()


# --- faults of the wire


def test_reset_is_a_read_error_and_does_no_work(wire_of: Callable[[Faults], Wire]) -> None:
    """The connection is reset where a reply was due; the order was not made."""
    wire = wire_of(planned("reset"))

    with pytest.raises(httpx.ReadError):
        wire.create()

    assert wire.api.state.orders == {}
    assert wire.outcomes == [(None, "reset")]
    assert wire.api.state.requests[0].status is None


def test_close_is_a_protocol_error_and_does_no_work(wire_of: Callable[[Faults], Wire]) -> None:
    """The connection is closed where a reply was due; the order was not made."""
    wire = wire_of(planned("close"))

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        wire.create()

    assert wire.api.state.orders == {}


def test_lost_reply_leaves_the_order_in_the_ledger(wire_of: Callable[[Faults], Wire]) -> None:
    """The client cannot tell it from `close`, but the order exists; a retry with its key finds it, without the token."""
    wire = wire_of(planned("lose"))

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        wire.create()
    (order,) = wire.api.state.orders.values()
    retried = wire.create().json()["data"]

    assert (retried["id"], retried["token"]) == (order.id, None)
    assert len(wire.api.state.orders) == 1
    assert wire.outcomes == [(0, "lose"), (0, None)]


def test_truncated_reply_breaks_off_in_its_body(wire_of: Callable[[Faults], Wire]) -> None:
    """The head and half of the body arrive, of a reply to work that was done."""
    wire = wire_of(planned("truncate"))

    response = wire.client.send(wire.request(), stream=True)
    assert response.status_code == 200
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        response.read()

    assert response.num_bytes_downloaded == int(response.headers["Content-Length"]) // 2
    assert len(wire.api.state.orders) == 1


def test_client_goes_on_after_each_fault_of_the_wire(wire_of: Callable[[Faults], Wire]) -> None:
    """No fault takes the sandbox down: the next request is answered."""
    wire = wire_of(planned("reset", "close", "truncate", "lose"))

    for _ in range(4):
        with pytest.raises(httpx.TransportError):
            wire.create()

    assert wire.create().status_code == 200


# --- faults of the API


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("INVALID_REQUEST", 400, 1),
        ("AUTH_REQUIRED", 401, 2),
        ("AUTH_INVALID", 401, 3),
        ("AUTH_DISABLED", 401, 4),
        ("RATE_LIMIT", 429, 5),
        ("NOT_FOUND", 404, 6),
        ("LIMIT_MIN", 400, 7),
        ("LIMIT_MAX", 400, 8),
        ("MAINTENANCE", 503, 10),
        ("UPSTREAM_ERROR", 503, 11),
        ("EMERGENCY_INVALID_CHOICE", 400, 12),
        ("LIMIT_EXCEEDED", 403, 13),
        ("ROTATION_CONFLICT", 409, 14),
        ("INTERNAL", 500, 99),
    ],
)
def test_every_documented_error_can_be_injected(
    wire_of: Callable[[Faults], Wire], fault: str, status: int, code: int
) -> None:
    """An error's name gives its documented status and exactly its envelope, and the work is not done."""
    wire = wire_of(planned(fault))

    response = wire.create()

    assert (status, {"code": code, "msg": fault}) == (response.status_code, response.json())
    assert wire.api.state.orders == {}
    assert wire.outcomes == [(code, fault)]


@pytest.mark.parametrize(
    ("fault", "wait"),
    [("RATE_LIMIT", "1"), ("RATE_LIMIT:2", "2"), ("MAINTENANCE:30", "30"), ("MAINTENANCE", None)],
)
def test_retry_after_can_be_set(wire_of: Callable[[Faults], Wire], fault: str, wait: str | None) -> None:
    """RATE_LIMIT always says how long; any error does when told to."""
    assert wire_of(planned(fault)).create().headers.get("Retry-After") == wait


def test_balancer_page_is_html(wire_of: Callable[[Faults], Wire]) -> None:
    """A 503 can come from something that has never heard of the API's envelope."""
    response = wire_of(planned("html-503")).create()

    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.text.startswith("<!DOCTYPE html>")


def test_injected_refusals_cost_nothing_and_other_faults_do(wire_of: Callable[[Faults], Wire]) -> None:
    """What would have been turned away before the budget spends none of it; a failure after that does."""
    wire = wire_of(planned("RATE_LIMIT:2", "MAINTENANCE", "UPSTREAM_ERROR"))
    spent = []
    for _ in range(3):
        wire.create()
        spent.append(wire.api.state.weight_spent(5.0))

    assert spent == [0, 0, 50]


def test_nonce_of_an_injected_failure_is_used_up(wire_of: Callable[[Faults], Wire]) -> None:
    """A retry that reuses its nonce is really refused, and takes nothing from the plan."""
    schedule = planned("UPSTREAM_ERROR", "INTERNAL")
    wire = wire_of(schedule)
    nonce = "never-twice-please"
    codes = [wire.create(nonce=each).json()["code"] for each in (nonce, nonce, None, None)]

    assert codes == [11, 3, 99, 0]
    assert wire.outcomes == [(11, "UPSTREAM_ERROR"), (3, None), (99, "INTERNAL"), (0, None)]
    assert schedule.left() == {}


def test_any_function_can_decide(wire_of: Callable[[Faults], Wire]) -> None:
    """Faults need no schedule: a function of the route and the request will do."""

    def second_half(route: str, request: Request) -> str | None:
        return "INTERNAL" if route == CREATE and request.headers["x-api-nonce"] >= "n" * 16 else None

    wire = wire_of(second_half)

    assert wire.create(nonce="a" * 16).status_code == 200
    assert wire.create(nonce="z" * 16).status_code == 500


def test_tagged_calls_follow_their_own_plans(wire_of: Callable[[Faults], Wire]) -> None:
    """Two calls on one route fail each in its own way, however their attempts interleave."""
    schedule = Schedule()
    schedule.add(CREATE, ["UPSTREAM_ERROR", None], call="first").add(CREATE, ["INTERNAL"], call="second")
    schedule.add(CREATE, ["MAINTENANCE"])
    wire = wire_of(schedule)
    calls = ["second", "first", "first", None, "second", "third", None]

    codes = [wire.create(call=call).json()["code"] for call in calls]

    assert codes == [99, 11, 0, 10, 0, 0, 0]
    assert calls == [seen.call for seen in wire.api.state.requests]


# --- the schedule by itself


def sighting(call: str | None = None) -> Request:
    headers = [(b"X-Sandbox-Call", call.encode())] if call else []
    return Request.of("POST", "/api/v1/create", headers, b"")


def test_faults_come_in_order_and_then_end() -> None:
    """The n-th sighting gets the n-th fault, None among them is none, and so is what lies past the end."""
    schedule = Schedule().add(CREATE, ["reset", None]).add(CREATE, ["lose"])

    assert [schedule(CREATE, sighting()) for _ in range(4)] == ["reset", None, "lose", None]


def test_other_routes_are_left_alone() -> None:
    """A plan is for its own route."""
    schedule = planned("reset")

    assert schedule("POST /v1/qr", sighting()) is None
    assert schedule.left() == {(CREATE, None): ("reset",)}


def test_plan_of_a_call_is_not_used_up_by_untagged_requests() -> None:
    """A tagged plan waits for its call; a call without one follows the plan of the route."""
    schedule = Schedule().add(CREATE, ["lose"], call="mine").add(CREATE, ["close"])

    assert schedule(CREATE, sighting("theirs")) == "close"
    assert schedule(CREATE, sighting()) is None
    assert schedule(CREATE, sighting("mine")) == "lose"


def test_each_fault_is_taken_once_by_many_threads() -> None:
    """Concurrent requests share a plan without losing or doubling a fault."""
    schedule = planned(*(str(number) for number in range(400)))
    taken: list[str | None] = []

    def take() -> None:
        taken.extend(schedule(CREATE, sighting()) for _ in range(100))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken, key=str) == sorted(str(number) for number in range(400))


@pytest.mark.parametrize(
    "route", ["/v1/create", "POST", "post /v1/create", "POST v1/create", "POST /v1 /create"]
)
def test_ill_written_route_is_a_value_error(route: str) -> None:
    """A plan for a route that could never be seen is refused at once."""
    with pytest.raises(ValueError, match="METHOD /path"):
        Schedule().add(route, ["reset"])


def test_one_string_is_not_a_plan() -> None:
    """A string in place of a list would be taken letter by letter."""
    with pytest.raises(TypeError, match="faults is a list"):
        Schedule().add(CREATE, "reset")


# --- a fault that does not exist


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("UPSTREAM", "no such fault .*'UPSTREAM'; there are close, reset, .*UPSTREAM_ERROR"),
        ("RATE_LIMIT:soon", "whole seconds"),
    ],
)
def test_unknown_fault_in_memory_is_raised_to_the_caller(fault: str, complaint: str) -> None:
    """A misspelt fault is the test's mistake, and says so."""
    api = Sandbox("zerotrace", faults=planned(fault))
    wire = Wire(api, httpx.Client(base_url=api.base_url, transport=httpx.MockTransport(api.handler)))

    with pytest.raises(ValueError, match=complaint):
        wire.create()


def test_unknown_fault_on_a_socket_is_raised_on_leaving() -> None:
    """The server's thread owns up when the sandbox is closed; meanwhile the client sees a 500 that says why."""
    api = Sandbox("zerotrace", faults=planned("UPSTREAM")).start()
    with httpx.Client(base_url=api.base_url) as client:
        response = Wire(api, client).create()

    assert response.status_code == 500
    assert "no such fault" in response.text
    with pytest.raises(RuntimeError, match="failed while serving: no such fault"):
        api.close()
    api.close()


def test_failure_of_the_sandbox_does_not_hide_the_test_s_own() -> None:
    """Where the test has failed already, what went wrong in the sandbox is a note on that failure."""

    def fail() -> None:
        with (
            Sandbox("zerotrace", faults=planned("UPSTREAM")) as api,
            httpx.Client(base_url=api.base_url) as client,
        ):
            assert Wire(api, client).create().status_code == 200

    with pytest.raises(AssertionError) as caught:
        fail()

    assert "no such fault" in caught.value.__notes__[0]
