"""What goes wrong on purpose: each fault as a plain httpx client sees it, over a socket and in memory; and schedules."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import httpx
import pytest
from plain import BODY, CREATE, PLACES, WAYS, Met, Stand, Stopped, Tiny, ask, order

from resilient_client._libraries import HOMES
from resilient_client.sandbox import RandomFaults, Reply, Request, Sandbox, Schedule, every_fault
from resilient_client.sandbox.faults import WIRE
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from resilient_client._libraries import LibraryName
    from resilient_client.sandbox import Clock, Faults, Zerotrace

MEBIBYTE = 1024 * 1024
EVERY_WAY = [(place, way) for place in PLACES for way in WAYS]
# A socket does not know who is at its other end; in memory the answer is made of the library's own classes.
EVERY_WAY_OF_BOTH = [*((*each, "httpx") for each in EVERY_WAY), *(("memory", way, "httpx2") for way in WAYS)]


def planned(*faults: str | None) -> Schedule:
    return Schedule().add(CREATE, faults)


@contextlib.contextmanager
def opened(place: str, faults: Faults | str, clock: Clock | None = None) -> Iterator[Sandbox[Zerotrace]]:
    """Serve on a socket, or in memory, in a time that stands still unless another one is given."""
    api = Sandbox("zerotrace", clock=Stopped() if clock is None else clock, faults=faults)
    if place == "memory":
        yield api
        return
    with api:
        yield api


class Wire:
    """A sandbox, and a plain client for it."""

    def __init__(self, api: Sandbox[Zerotrace]) -> None:
        self.api = api

    def create(self, **how: Any) -> Met:
        return ask(self.api, "sync", order(self.api, **how))[0]

    @property
    def outcomes(self) -> list[tuple[int | str | None, str | None]]:
        return [(seen.code, seen.fault) for seen in self.api.state.requests]


@pytest.fixture(params=PLACES)
def wire_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Faults], Wire]]:
    """Open a sandbox with these faults; both places must look the same to a client."""
    with contextlib.ExitStack() as stack:
        yield lambda faults: Wire(stack.enter_context(opened(request.param, faults)))


# --- the kinds of the wire


class Effect(NamedTuple):
    """What a kind does to one create, and to the client that sent it."""

    raised: type[httpx.HTTPError] | None
    status: int | None  # that the client is shown
    noted: int | None  # that the sandbox keeps: of the reply that it had, were it lost or not
    worked: bool
    part: float = 0.0  # of the body, that arrives
    fault: str | None = None  # as it is planned, where that is not the kind alone
    read: float = 5.0  # seconds of read timeout


KINDS = {
    "close": Effect(httpx.RemoteProtocolError, None, None, worked=False),
    "reset": Effect(httpx.ReadError, None, None, worked=False),
    "reset-upload": Effect(httpx.ReadError, None, None, worked=False),
    "garbage": Effect(httpx.RemoteProtocolError, None, None, worked=False),
    "html-503": Effect(None, 503, 503, worked=False, part=1),
    "lose": Effect(httpx.RemoteProtocolError, None, 200, worked=True),
    "lose-reset": Effect(httpx.ReadError, None, 200, worked=True),
    "lose-garbage": Effect(httpx.RemoteProtocolError, None, 200, worked=True),
    "truncate": Effect(httpx.RemoteProtocolError, 200, 200, worked=True, part=0.5),
    "reset-body": Effect(httpx.ReadError, 200, 200, worked=True, part=0.5),
    "latency": Effect(httpx.ReadTimeout, None, 200, worked=True, fault="latency:30", read=0.05),
    "drip": Effect(None, 200, 200, worked=True, part=1, fault="drip:0.05"),
    "stale": Effect(None, 200, 200, worked=True, part=1),
}


def met_by(place: str, way: str, kind: str, library: LibraryName = "httpx") -> tuple[Met, Zerotrace]:
    """Let one create meet a kind."""
    fault, read = KINDS[kind].fault or kind, KINDS[kind].read
    # In memory time is to pass, not to be slept; over a socket it must be, for the client's timeout is real.
    with opened(place, planned(fault), VirtualClock() if place == "memory" else None) as api:
        timeout = import_module(library).Timeout(5, read=read)
        return ask(api, way, order(api), library=library, timeout=timeout)[0], api.state


def test_every_kind_is_in_the_table() -> None:
    """No kind of the wire goes untried."""
    assert KINDS.keys() == WIRE.keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("place", "way", "library"), EVERY_WAY_OF_BOTH)
def test_kind_does_the_same_over_a_socket_and_in_memory(
    place: str, way: str, library: LibraryName, kind: str
) -> None:
    """A kind raises what it says, or nothing; the work is done or not; and the sandbox keeps what happened."""
    effect = KINDS[kind]

    met, state = met_by(place, way, kind, library)

    (seen,) = state.requests
    length = int(met.header("content-length") or 0)
    assert (of(library, effect.raised), effect.status) == (met.raised, met.status)
    assert int(effect.part * length) == len(met.body)
    assert (effect.fault or kind, effect.noted, effect.worked) == (seen.fault, seen.status, seen.worked)
    assert (seen,) == state.injected
    assert {seen.fault: 1} == state.tally()
    assert effect.worked == WIRE[kind].works == bool(state.orders)


def of(library: LibraryName, raised: type[Exception] | None) -> Any:
    """Give the library's own exception for one of httpx's."""
    return raised and getattr(import_module(library), raised.__name__)


@pytest.mark.parametrize("library", HOMES)
@pytest.mark.parametrize("kind", KINDS)
def test_kind_reads_the_same_over_a_socket_and_in_memory(kind: str, library: LibraryName) -> None:
    """Not only the exception's type: also its words, the status line, the headers and the bytes are those of the wire."""
    over_socket, in_memory = (met_by(place, "sync", kind, library)[0] for place in PLACES)

    assert (over_socket.raised, over_socket.words) == (in_memory.raised, in_memory.words)
    assert (over_socket.reason, over_socket.body) == (in_memory.reason, in_memory.body)
    assert names(over_socket) == names(in_memory)


def names(met: Met) -> list[tuple[str, str]]:
    """Give the headers but for the time, which passes in memory only."""
    return [(name, value) for name, value in met.headers if name != "date"]


@pytest.mark.parametrize(("place", "way"), EVERY_WAY)
def test_client_goes_on_after_each_kind(place: str, way: str) -> None:
    """No fault takes the sandbox down: the next request is answered, on a new connection where the old one is gone."""
    kinds = [kind for kind in KINDS if kind not in {"latency", "drip", "stale"}]
    with opened(place, planned(*kinds)) as api:
        *met, last = ask(api, way, *(order(api) for _ in range(len(kinds) + 1)))

    assert [KINDS[kind].raised for kind in kinds] == [each.raised for each in met]
    assert (last.status, last.raised) == (200, None)


def test_lost_reply_leaves_an_order_that_the_key_finds(wire_of: Callable[[Faults], Wire]) -> None:
    """The client cannot tell it from `close`, but the order exists; a retry with its key finds it, without the token."""
    wire = wire_of(planned("lose"))

    lost, retried = wire.create(), wire.create()

    assert lost.raised is httpx.RemoteProtocolError
    (made,) = wire.api.state.orders
    assert (retried.status, made in retried.body.decode(), '"token":null' in retried.body.decode()) == (
        200,
        True,
        True,
    )
    assert wire.outcomes == [(0, "lose"), (0, None)]


# --- uploads that break off


async def async_pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


# trio tells of every generator that is not run to its end, as the body's is not when httpcore gives up sending it.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("generated", [False, True])
def test_reset_upload_strikes_in_the_middle_of_the_body(way: str, *, generated: bool) -> None:
    """A client with several MiB to send is cut off while it sends them; which of two errors it sees is its library's affair."""
    pieces = (bytes(MEBIBYTE) for _ in range(14))
    body: Any = (pieces if way == "sync" else async_pieces(pieces)) if generated else bytes(14 * MEBIBYTE)

    with opened("socket", planned("reset-upload")) as api:
        met, again = ask(api, way, {**order(api), "content": body}, order(api))

    assert met.raised in {httpx.ReadError, httpx.RemoteProtocolError}
    assert again.status == 200
    assert [(seen.fault, seen.status, seen.worked) for seen in api.state.requests] == [
        ("reset-upload", None, False),
        (None, 200, True),
    ]
    assert next(pieces, None) is not None


@pytest.mark.parametrize(("place", "way"), EVERY_WAY)
def test_reset_upload_of_a_request_without_a_body_is_a_reset(place: str, way: str) -> None:
    """There is nothing to break off in, and the connection breaks all the same."""
    with opened(place, Schedule().add("GET /v1/order", ["reset-upload"])) as api:
        (met,) = ask(api, way, {"method": "GET", "url": "/v1/order"})

    assert met.raised is httpx.ReadError
    assert api.state.tally() == {"reset-upload": 1}


def test_reset_upload_comes_in_place_of_the_100() -> None:
    """A client that waits to be asked for its body is not asked."""
    with opened("socket", planned("reset-upload")) as api:
        port = httpx.URL(api.base_url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(
                b"POST /api/v1/create HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            )
            with pytest.raises(ConnectionResetError):
                sock.recv(1)

    assert [seen.fault for seen in api.state.requests] == ["reset-upload"]


def test_broken_upload_has_no_body_to_be_kept(wire_of: Callable[[Faults], Wire]) -> None:
    """What is noted is the head: nothing was checked, nothing spent, and the nonce is still good."""
    wire = wire_of(planned("reset-upload"))
    nonce = "good-for-once-more"

    assert wire.create(nonce=nonce).raised is httpx.ReadError
    assert wire.api.state.requests[0].body == b""
    assert wire.api.state.weight_spent(5.0) == 0
    assert wire.create(nonce=nonce).status == 200


def test_reset_upload_named_late_is_a_reset_after_the_upload(wire_of: Callable[[Faults], Wire]) -> None:
    """A function is asked when the whole request is there; the work is not done either."""
    wire = wire_of(lambda _route, _request: "reset-upload")

    assert wire.create().raised is httpx.ReadError
    assert [(seen.fault, bool(seen.body)) for seen in wire.api.state.requests] == [("reset-upload", True)]
    assert wire.api.state.orders == {}


def test_faults_are_not_asked_early_for_what_is_no_route(wire_of: Callable[[Faults], Wire]) -> None:
    """What the API does not know, and the sandbox's own report, break off for nobody."""
    wire = wire_of(Schedule().add("GET /v1/nowhere", ["reset-upload"]).add("GET /_sandbox", ["reset-upload"]))
    root = wire.api.base_url.removesuffix("/api")

    paths = [f"{root}/api/v1/nowhere", f"{root}/_sandbox"]
    statuses = [ask(wire.api, "sync", {"method": "GET", "url": path})[0].status for path in paths]

    assert statuses == [404, 200]


@pytest.mark.parametrize("place", PLACES)
def test_same_seed_is_the_same_faults_whatever_keys_the_client_makes(place: str) -> None:
    """In ordinary use, with no tag and with keys and nonces of the client's own making, two runs meet the same."""

    def met() -> list[str | None]:
        chance = RandomFaults(0.6, kinds=every_fault("zerotrace"), seed=7)
        with opened(place, chance, VirtualClock()) as api, api.client() as client:
            for number in range(12):
                body = {**json.loads(BODY), "toAddress": f"wallet-{number}"}
                with contextlib.suppress(httpx.HTTPError):
                    client.post("/v1/create", json=body, extensions={"resilience": {"retry": False}})
        return [seen.fault for seen in api.state.requests]

    first = met()

    assert first == met()
    assert len(set(first)) > 3


def test_upload_breaks_off_where_the_key_is_in_the_body() -> None:
    """The head tells nothing of such a request; chance breaks its upload off all the same, and never after it."""
    chance = RandomFaults(0.5, kinds=["reset-upload", "reset"], routes=["POST /simulator/operations"])
    api = Sandbox("openpoly", faults=chance)
    sign_in = api.state.sign_in(api.base_url)
    with httpx.Client(base_url=api.base_url, transport=httpx.MockTransport(api.handler), **sign_in) as client:
        for number in range(80):
            with contextlib.suppress(httpx.ReadError):
                client.post("/simulator/operations", json={"idempotency_key": f"key-{number}"})

    broken = [seen for seen in api.state.requests if seen.fault == "reset-upload"]
    assert len(broken) > 8
    assert {seen.body for seen in broken} == {b""}


@pytest.mark.parametrize("place", PLACES)
def test_threads_change_nothing_for_a_call(place: str) -> None:
    """Sent by one thread or by eight, in another order, each call meets the same faults in the same order."""
    kinds = ["lose", "reset-upload", "UPSTREAM_ERROR", "reset-body"]
    calls = [f"call-{number}" for number in range(12)]

    def met_by_calls(threads: int, order_of_calls: list[str]) -> dict[str, list[str | None]]:
        with opened(place, RandomFaults(0.6, kinds=kinds, seed=3), time) as api:

            def make(call: str) -> None:
                ask(api, "sync", *(order(api, X_Sandbox_Call=call) for _ in range(4)))

            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(make, order_of_calls))
        return {
            call: [seen.fault for seen in api.state.requests if seen.call == call] for call in sorted(calls)
        }

    assert met_by_calls(1, calls) == met_by_calls(8, calls[::-1])


def test_schedule_keeps_its_order_when_asked_early() -> None:
    """Asked about a head, a plan gives its broken upload when that is next, and else nothing is taken from it."""
    schedule = planned("lose", "reset-upload", "reset-upload", None, "reset")
    asked: list[str | None] = []
    for _ in range(5):
        early = schedule.early(CREATE, sighting())
        asked.append(early if early is not None else schedule(CREATE, sighting()))

    assert asked == ["lose", "reset-upload", "reset-upload", None, "reset"]
    assert schedule.left() == {}


# --- stale connections


@pytest.mark.parametrize(("place", "way"), EVERY_WAY)
def test_stale_connection_is_found_closed_by_the_next_request(place: str, way: str) -> None:
    """The keep-alive race: a good reply, then a closed connection; the request that meets it is noted and does nothing."""
    with opened(place, planned("stale")) as api:
        mets = ask(api, way, order(api), order(api), order(api))

    assert [(met.status, met.raised) for met in mets] == [
        (200, None),
        (None, httpx.RemoteProtocolError),
        (200, None),
    ]
    assert [(seen.fault, seen.status, seen.worked) for seen in api.state.requests] == [
        ("stale", 200, True),
        ("stale", None, False),
        (None, 200, True),
    ]
    assert api.state.tally() == {"stale": 1}
    assert len(api.state.orders) == 1


@pytest.mark.parametrize("place", PLACES)
def test_closed_connection_comes_before_a_broken_upload(place: str) -> None:
    """What is sent on a connection that is closed meets that, and leaves the plan as it is for the next one."""
    with opened(place, planned("stale", "reset-upload")) as api:
        mets = ask(api, "sync", *(order(api) for _ in range(4)))

    assert [met.status or met.raised for met in mets] == [
        200,
        httpx.RemoteProtocolError,
        httpx.ReadError,
        200,
    ]
    assert [seen.fault for seen in api.state.requests] == ["stale", "stale", "reset-upload", None]


@pytest.mark.parametrize(("place", "way"), EVERY_WAY)
def test_client_that_connects_anew_is_not_harmed(place: str, way: str) -> None:
    """Whoever closes its connection after each request never finds it closed by the other side."""
    with opened(place, planned("stale", "stale")) as api:
        mets = ask(api, way, *(order(api, Connection="close") for _ in range(3)))

    assert [met.status for met in mets] == [200, 200, 200]


@pytest.mark.parametrize("place", PLACES)
def test_stale_connection_waits_for_its_own_client(place: str) -> None:
    """A request on another connection is answered, and the closed one is still closed afterwards."""
    once: dict[str, Any] = {"extensions": {"resilience": {"retry": False}}, "json": {}}
    with (
        opened(place, planned("stale"), None if place == "socket" else VirtualClock()) as api,
        api.client() as first,
        api.client() as second,
    ):
        first.post("/v1/create", **once)
        assert second.post("/v1/create", **once).status_code == 400
        with pytest.raises(httpx.RemoteProtocolError):
            first.post("/v1/create", **once)

    assert [seen.fault for seen in api.state.requests] == ["stale", None, "stale"]


def test_resilient_client_comes_through_a_stale_connection(wire_of: Callable[[Faults], Wire]) -> None:
    """It sends the create again under its key, and one order is made for each."""
    wire = wire_of(planned("stale", None, "stale"))
    body = {"fromCcy": "BTC", "toCcy": "XMR", "direction": "from", "amount": 0.01, "type": "fixed"}

    with wire.api.client(clock=VirtualClock()) as client:
        statuses = [
            client.post("/v1/create", json=body | {"toAddress": str(n)}).status_code for n in range(4)
        ]

    assert statuses == [200] * 4
    assert len(wire.api.state.orders) == 4


# --- replies that are late or slow


def test_latency_below_the_read_timeout_is_only_late(wire_of: Callable[[Faults], Wire]) -> None:
    """A reply that is in time is a good one."""
    met = wire_of(planned("latency:0.02")).create()

    assert (met.status, met.raised) == (200, None)


@pytest.mark.parametrize("library", HOMES)
@pytest.mark.parametrize("way", WAYS)
def test_latency_and_drip_pass_on_a_virtual_clock(way: str, library: LibraryName) -> None:
    """In memory, on a clock that can be moved, being late takes no time; the timeout is met after as long as it says."""
    clock = VirtualClock()
    with opened("memory", planned("latency:4", "drip:60", "latency:30"), clock) as api:
        began = [clock.monotonic()]
        for _ in range(3):
            ask(api, way, order(api), library=library, timeout=5.0)
            began.append(clock.monotonic())

    waits = [after - before for before, after in itertools.pairwise(began)]
    assert waits == [pytest.approx(4), pytest.approx(60), pytest.approx(5)]
    assert clock.sleeps == []


def test_drip_meets_no_read_timeout_that_a_drop_keeps() -> None:
    """A body may take longer than the read timeout, for each of its drops is in time."""
    began = time.monotonic()
    with opened("socket", planned("drip:0.5")) as api:
        (met,) = ask(api, "sync", order(api), timeout=httpx.Timeout(5, read=0.4))

    assert (met.status, met.raised) == (200, None)
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("library", HOMES)
@pytest.mark.parametrize("way", WAYS)
def test_drop_that_is_later_than_the_read_timeout_is_a_timeout(way: str, library: LibraryName) -> None:
    """In memory as on the wire, the body raises where a drop is too late, after those that were in time."""
    clock = VirtualClock()
    with opened("memory", planned("drip:640"), clock) as api:
        (met,) = ask(api, way, order(api), library=library, timeout=5.0)

    assert (met.status, met.raised, met.body) == (200, of(library, httpx.ReadTimeout), b"")
    assert clock.monotonic() == pytest.approx(5)


@pytest.mark.parametrize(("place", "way"), EVERY_WAY)
def test_deadline_ends_the_drip_of_an_error(place: str, way: str) -> None:
    """What no read timeout notices, a deadline of the resilient client does."""
    clock: Clock = VirtualClock() if place == "memory" else time
    with opened(place, Schedule().add("GET /v1/order", ["drip:30"]), clock) as api:
        began = clock.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            ask_with_deadline(api, way)
        passed = clock.monotonic() - began

    assert 0.15 <= passed + 1e-6 < 5
    assert [(seen.fault, seen.status) for seen in api.state.requests] == [("drip:30", 404)]


def ask_with_deadline(api: Sandbox[Zerotrace], way: str) -> None:
    if way == "sync":
        with api.client(deadline=0.15) as client:
            client.get("/v1/order")
        return

    async def task() -> None:
        async with api.async_client(deadline=0.15) as client:
            await client.get("/v1/order")

    anyio.run(task, backend=way)


def test_latency_in_memory_lets_other_tasks_go_on() -> None:
    """Tasks that wait for late replies wait together, not one after the other."""
    clock = Together(5)
    api = Sandbox("zerotrace", clock=clock, faults=planned(*["latency:1"] * 5))

    async def all_at_once() -> None:
        transport = httpx.MockTransport(api.async_handler)
        async with (
            httpx.AsyncClient(base_url=api.base_url, transport=transport) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(5):
                group.start_soon(lambda: client.request(**order(api)))

    anyio.run(all_at_once)

    assert clock.waiting == 5


class Together(Stopped):
    """A clock on which nobody wakes before so many sleep."""

    def __init__(self, many: int) -> None:
        self.waiting = 0
        self._many = many
        self._all = anyio.Event()

    async def asleep(self, _seconds: float) -> None:
        self.waiting += 1
        if self.waiting == self._many:
            self._all.set()
        with anyio.fail_after(5):
            await self._all.wait()


# --- replies without a body


@pytest.mark.parametrize("fault", ["truncate", "reset-body", "drip:0.05"])
@pytest.mark.parametrize(("method", "status"), [("GET", 204), ("GET", 304), ("HEAD", 200)])
@pytest.mark.parametrize(("place", "way"), EVERY_WAY)
def test_reply_without_a_body_comes_whole(place: str, way: str, method: str, status: int, fault: str) -> None:
    """204, 304 and replies to HEAD have no body to break off in; the connection is still good for the next one."""
    reply = Reply(status, (("Content-Type", "text/plain"),), b"" if method == "GET" else b"four")
    with Stand(Tiny(reply, lambda _route, _request: fault), place) as stand:
        mets = ask(stand, way, *[{"method": method, "url": "/"}] * 2)

    assert [(met.status, met.body, met.raised) for met in mets] == [(status, b"", None)] * 2
    assert mets[0].header("content-length") == ("4" if method == "HEAD" else None)


@pytest.mark.parametrize(("place", "way"), EVERY_WAY)
def test_what_arrives_of_a_broken_body_is_its_first_half(place: str, way: str) -> None:
    """Both kinds of broken body give exactly the bytes before the break, of a body of some size too."""
    body = bytes(range(256)) * 200
    faults = iter(["truncate", "reset-body"])
    with Stand(Tiny(Reply(200, (), body), lambda _route, _request: next(faults)), place) as stand:
        mets = ask(stand, way, *[{"method": "GET", "url": "/"}] * 2)

    assert [met.body == body[:25_600] for met in mets] == [True, True]
    assert [met.raised for met in mets] == [httpx.RemoteProtocolError, httpx.ReadError]


@pytest.mark.parametrize("place", PLACES)
def test_header_that_came_in_can_go_out(place: str) -> None:
    """An API may say a client's header back, whatever bytes are in it."""

    def echo(request: Request) -> Reply:
        return Reply(200, (("X-Request-Id", request.headers["x-request-id"]),), b"")

    with Stand(Tiny(echo), place) as stand:
        (met,) = ask(
            stand, "sync", {"method": "GET", "url": "/", "headers": {"X-Request-Id": "é".encode("latin-1")}}
        )

    assert (met.status, met.header("x-request-id")) == (200, "é")


def test_template_that_is_sent_as_a_path_is_a_path() -> None:
    """Braces in a request are letters like others: what a template's name stands for is always there."""
    seen: list[dict[str, str]] = []

    def keep(request: Request) -> Reply:
        seen.append(dict(request.params))
        return Reply(200, (), b"")

    state = Tiny(keep)
    for path in ("/things/{id}", "/things/%7Bid%7D", "/things/5"):
        state.answer(Request.of("GET", path, [], b""), 0.0)

    assert seen == [{"id": "{id}"}, {"id": "{id}"}, {"id": "5"}]


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

    met = wire.create()

    assert (status, {"code": code, "msg": fault}) == (met.status, met.json)
    assert wire.api.state.orders == {}
    assert wire.outcomes == [(code, fault)]


def test_another_example_can_be_asked_for(wire_of: Callable[[Faults], Wire]) -> None:
    """INVALID_REQUEST#2 is the second reply that the policy file has under that name."""
    met = wire_of(planned("INVALID_REQUEST#2")).create()

    assert (met.status, met.json) == (409, {"code": 1, "msg": "INVALID_REQUEST"})


@pytest.mark.parametrize(
    ("fault", "wait"),
    [("RATE_LIMIT", "1"), ("RATE_LIMIT:2", "2"), ("MAINTENANCE:30", "30"), ("MAINTENANCE", None)],
)
def test_retry_after_can_be_set(wire_of: Callable[[Faults], Wire], fault: str, wait: str | None) -> None:
    """RATE_LIMIT always says how long; any error does when told to."""
    assert wire_of(planned(fault)).create().header("retry-after") == wait


def test_balancer_page_is_html(wire_of: Callable[[Faults], Wire]) -> None:
    """A 503 can come from something that has never heard of the API's envelope."""
    met = wire_of(planned("html-503")).create()

    assert (met.status, met.header("content-type")) == (503, "text/html; charset=utf-8")
    assert met.body.startswith(b"<!DOCTYPE html>")


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
    codes = [wire.create(nonce=each).json["code"] for each in (nonce, nonce, None, None)]

    assert codes == [11, 3, 99, 0]
    assert wire.outcomes == [(11, "UPSTREAM_ERROR"), (3, None), (99, "INTERNAL"), (0, None)]
    assert schedule.left() == {}


def test_any_function_can_decide(wire_of: Callable[[Faults], Wire]) -> None:
    """Faults need no schedule: a function of the route and the request will do."""

    def second_half(route: str, request: Request) -> str | None:
        return "INTERNAL" if route == CREATE and request.headers["x-api-nonce"] >= "n" * 16 else None

    wire = wire_of(second_half)

    assert [wire.create(nonce=letter * 16).status for letter in "az"] == [200, 500]


def test_tagged_calls_follow_their_own_plans(wire_of: Callable[[Faults], Wire]) -> None:
    """Two calls on one route fail each in its own way, however their attempts interleave."""
    schedule = Schedule()
    schedule.add(CREATE, ["UPSTREAM_ERROR", None], call="first").add(CREATE, ["INTERNAL"], call="second")
    schedule.add(CREATE, ["MAINTENANCE"])
    wire = wire_of(schedule)
    calls = ["second", "first", "first", None, "second", "third", None]

    tags = [{} if call is None else {"X_Sandbox_Call": call} for call in calls]
    codes = [wire.create(**tag).json["code"] for tag in tags]

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


# --- a fault that does not exist, and other mistakes of a stand-in


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("UPSTREAM", "no such fault .*'UPSTREAM'; there are close, reset, .*UPSTREAM_ERROR"),
        ("RATE_LIMIT:soon", "whole seconds"),
        ("INVALID_REQUEST#7", "INVALID_REQUEST#7; it has 2 examples"),
    ],
)
def test_unknown_fault_in_memory_is_raised_to_the_caller(fault: str, complaint: str) -> None:
    """A misspelt fault is the test's mistake, and says so."""
    api = Sandbox("zerotrace", faults=planned(fault))

    with pytest.raises(ValueError, match=complaint):
        Wire(api).create()


def test_unknown_fault_on_a_socket_is_raised_on_leaving() -> None:
    """The server's thread owns up when the sandbox is closed; meanwhile the client sees a 500 that says why."""
    api = Sandbox("zerotrace", faults=planned("UPSTREAM")).start()
    met = Wire(api).create()

    assert met.status == 500
    assert b"no such fault" in met.body
    with pytest.raises(RuntimeError, match="failed while serving: no such fault"):
        api.close()
    api.close()


def test_failure_of_the_sandbox_does_not_hide_the_test_s_own() -> None:
    """Where the test has failed already, what went wrong in the sandbox is a note on that failure."""

    def fail() -> None:
        with Sandbox("zerotrace", faults=planned("UPSTREAM")) as api:
            assert Wire(api).create().status == 200

    with pytest.raises(AssertionError) as caught:
        fail()

    assert "no such fault" in caught.value.__notes__[0]


@pytest.mark.parametrize("way", ["early", "late"])
def test_faults_that_raise_are_a_failure_of_the_sandbox(way: str) -> None:
    """A decider with a mistake in it, asked early or late, is told of on closing, and the request is answered somehow."""

    class Mistaken:
        def early(self, _route: str, _request: Request) -> str | None:
            return self._fail() if way == "early" else None

        def __call__(self, _route: str, _request: Request, /) -> str | None:
            return self._fail() if way == "late" else None

        def _fail(self) -> str:
            raise KeyError(way)

    api = Sandbox("zerotrace", faults=Mistaken()).start()

    assert Wire(api).create().status == (200 if way == "early" else 500)
    with pytest.raises(RuntimeError, match=f"failed while serving: '{way}'"):
        api.close()


def test_reply_that_http_has_no_form_for_is_a_failure_of_the_sandbox() -> None:
    """A stand-in with a broken header in its reply does not fail in silence."""
    stand = Stand(Tiny(Reply(200, (("X-Broken", "two\nlines"),), b"")), "socket")

    (met,) = ask(stand, "sync", {"method": "GET", "url": "/"})
    stand.close()

    assert met.raised is httpx.RemoteProtocolError
    assert [type(failure).__name__ for failure in stand.desk.failures] == ["LocalProtocolError"]
