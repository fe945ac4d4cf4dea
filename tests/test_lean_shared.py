"""What a client keeps from call to call: never another call's place or headers, never more and more, nothing when it is gone.

Threads and tasks share one client; whatever it remembers of addresses is bounded, and goes with it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import tracemalloc
import urllib.parse
import weakref
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import httpx
import pytest
from at_once import in_threads

from resilient_client import AsyncResilientClient, ResilientClient

if TYPE_CHECKING:
    from collections.abc import Callable

PATHS = [
    "",
    "things",
    "/things",
    "things/1?a=1",
    "https://other.test/x",
    "https://u:p@api.test/y",
    "?page=2",
    "a b/é",
    "../up",
]


def echo(request: httpx.Request) -> httpx.Response:
    """Answer with what was asked."""
    own = [value.decode() for name, value in request.headers.raw if name == b"X-Caller"]
    seen = {
        "url": str(request.url),
        "host": request.headers.get("host"),
        "cookie": request.headers.get("cookie"),
    }
    return httpx.Response(200, json=seen | {"caller": own})


class Echo(httpx.BaseTransport):
    """The same, and nothing is kept of it."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        return httpx.Response(204)


async def later(request: httpx.Request) -> httpx.Response:
    """Answer when others have had their turn."""
    await anyio.lowlevel.checkpoint()
    return echo(request)


def places(base: str) -> dict[str, Any]:
    """Tell where httpx's own client goes."""
    with httpx.Client(base_url=base, transport=httpx.MockTransport(echo)) as client:
        return {path: client.get(path, headers={"X-Caller": "0"}).json() for path in PATHS}


def test_threads_that_share_a_client_each_reach_their_own_place() -> None:
    """Eight of them, by the same addresses and by their own, at the same moment."""
    expected = places("https://api.test/v1")
    numbers = itertools.count(1)
    wrong: list[Any] = []
    done: list[int] = []

    with ResilientClient(base_url="https://api.test/v1", transport=httpx.MockTransport(echo)) as client:

        def work() -> None:
            number = next(numbers)
            for turn in range(12):
                for path in PATHS:
                    seen = client.get(path, headers={"X-Caller": str(number)}).json()
                    if seen != expected[path] | {"caller": [str(number)]}:
                        wrong.append(seen)
                seen = client.post(f"of/{number}/{turn}", json=turn).json()
                if seen["url"] != f"https://api.test/v1/of/{number}/{turn}" or seen["caller"]:
                    wrong.append(seen)
            done.append(number)

        in_threads(work)

    assert wrong == []
    assert sorted(done) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_tasks_that_share_a_client_each_reach_their_own_place() -> None:
    """Fifty of them, in one loop."""
    expected = places("https://api.test/v1")

    async def work(client: httpx.AsyncClient, number: int) -> list[Any]:
        return [(await client.get(path, headers={"X-Caller": str(number)})).json() for path in PATHS]

    async def scenario() -> None:
        transport = httpx.MockTransport(later)
        async with AsyncResilientClient(base_url="https://api.test/v1", transport=transport) as client:
            seen = await asyncio.gather(*(work(client, number) for number in range(50)))
        for number, one in enumerate(seen):
            assert one == [expected[path] | {"caller": [str(number)]} for path in PATHS]

    asyncio.run(scenario())


def test_what_is_changed_while_threads_send_counts_from_then_on() -> None:
    """Nothing that was worked out with the old base, headers or parameters is found later under the new ones."""
    bases = itertools.cycle(["https://one.test/a", "https://two.test/b", "https://three.test"])
    done: list[bool] = []

    with ResilientClient(transport=httpx.MockTransport(echo)) as client:

        def work() -> None:
            for turn in range(25):
                client.base_url = next(bases)
                client.params = {"turn": turn}
                client.headers["X-Caller"] = str(turn)
                for path in ("things", "", "?a=1"):
                    client.get(path)
            done.append(True)

        in_threads(work)
        assert len(done) == 8

        client.base_url, client.params = "https://last.test/z", {}
        client.headers["X-Caller"] = "last"
        for path, url in (("things", "/z/things"), ("", "/z/"), ("?a=1", "/z/?a=1")):
            expected = {
                "url": f"https://last.test{url}",
                "host": "last.test",
                "cookie": None,
                "caller": ["last"],
            }
            assert client.get(path).json() == expected


EFFECTS: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "a cookie": (
        lambda client: client.cookies.set("session", "secret"),
        lambda client: client.cookies.clear(),
    ),
    "params": (
        lambda client: setattr(client, "params", {"key": "secret"}),
        lambda client: setattr(client, "params", {}),
    ),
    "base": (
        lambda client: setattr(client, "base_url", "https://other.test"),
        lambda client: setattr(client, "base_url", "https://api.test"),
    ),
    "a header": (
        lambda client: client.headers.update({"X-Caller": "secret"}),
        lambda client: client.headers.pop("X-Caller", None),
    ),
}


class Meddled(ResilientClient):
    """A client to which something is done, and perhaps undone, while it looks at its own properties: as by another thread."""

    moment = 0  # at which look it is done
    gap = 0  # how many looks later it is undone; 0: it is not
    looks = 0
    change: Callable[[Any], object]
    undo: Callable[[Any], object]

    def __getattribute__(self, name: str) -> Any:
        """Count the looks."""
        if name in {"headers", "cookies", "params", "base_url"}:
            self.looks += 1
            if self.looks == self.moment:
                self.change(self)
            elif self.looks == self.moment + self.gap:
                self.undo(self)
        return super().__getattribute__(name)


@pytest.mark.parametrize("what", EFFECTS)
@pytest.mark.parametrize("gap", [0, 1, 2, 3, 4])
def test_what_another_thread_does_while_a_request_is_built_is_not_remembered(what: str, gap: int) -> None:
    """A cookie of a session, say, that came just then: when it has been taken out of the jar, nothing sends it any more."""
    expected: Any = {"url": "https://api.test/things", "host": "api.test", "cookie": None, "caller": []}
    for moment in range(1, 20):
        with Meddled(base_url="https://api.test", transport=httpx.MockTransport(echo)) as client:
            client.change, client.undo = EFFECTS[what]
            for _ in range(2):
                client.looks, client.moment, client.gap = 0, moment, gap
                client.get("things")
                client.moment = client.gap = 0
                client.undo(client)
                assert client.get("things").json() == expected, moment


def test_a_transport_may_call_the_client_that_it_serves() -> None:
    """As one does that fetches a token: the inner call is a call of its own."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/outer":
            inner = client.get("/inner", headers={"X-Caller": "inner"})
            return httpx.Response(200, json=[inner.json(), echo(request).json()])
        return echo(request)

    with ResilientClient(base_url="https://api.test", transport=httpx.MockTransport(answer)) as client:
        response = client.get("/outer", headers={"X-Caller": "outer"})

    assert [(one["url"], one["caller"]) for one in response.json()] == [
        ("https://api.test/inner", ["inner"]),
        ("https://api.test/outer", ["outer"]),
    ]
    assert response.request.url == "https://api.test/outer"


# ------------------------------------------------------------------------------------------------------------- bounded


def test_a_client_that_calls_ever_other_addresses_does_not_grow() -> None:
    """Whatever it keeps of the first three thousand, the next three thousand add nothing to it."""
    with ResilientClient(transport=Echo()) as client:

        def call(start: int) -> int:
            for number in range(start, start + 3000):
                client.get(f"https://api.test/things/{number}?token={number}", params=None)
            gc.collect()
            return sys.getallocatedblocks()

        before = call(0)
        assert call(3000) - before < 1500  # blocks of memory; an address has several


def kept_of_long_addresses(kind: type[httpx.Client]) -> int:
    """Count the bytes that are still held after calls to 60 of the longest addresses."""
    with kind(transport=Echo()) as client:
        client.get("https://api.test/")
        tracemalloc.start()
        try:
            for number in range(60):
                client.get(f"https://api.test/{number}?q=" + "x" * 60_000)
            for number in range(200):  # the cookie jar takes addresses apart by it, and it remembers 128
                urllib.parse.urlsplit(f"https://api.test/{number}")
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()


def test_long_addresses_are_not_kept() -> None:
    """No more than httpx's client keeps: all of them are 3.6 million bytes, and as much again taken to pieces."""
    assert kept_of_long_addresses(ResilientClient) - kept_of_long_addresses(httpx.Client) < 1_000_000


class Kept(str):
    """A string of a user's own type, of which one can tell whether it is still there."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("how", ["get", "build_request"])
def test_what_a_call_was_given_is_let_go_of(how: str) -> None:
    """Its request, its response and a string of the caller's own type: when the caller drops them they are gone."""
    with ResilientClient(transport=Echo()) as client:
        url = Kept("https://api.test/things")
        result: Any = client.get(url) if how == "get" else client.build_request("GET", url)
        request = result.request if how == "get" else result
        references = [
            weakref.ref(url),
            weakref.ref(result),
            weakref.ref(request),
            weakref.ref(request.headers),
        ]
        del url, result, request
        gc.collect()
        assert [reference() for reference in references] == [None] * 4


def test_the_secrets_in_an_address_go_with_the_client() -> None:
    """What was worked out of it is kept by nobody else: no cache outlives the client that was told of it."""
    client = ResilientClient(transport=Echo())
    request = client.get("https://user:secret@api.test/?token=secret").request
    parts = request.url._uri_reference
    del request, client
    gc.collect()
    nobody_elses = object()
    assert sys.getrefcount(parts) == sys.getrefcount(nobody_elses)


def test_a_client_that_is_dropped_is_gone() -> None:
    """Though nobody closed it."""
    client = ResilientClient(transport=Echo(), base_url="https://api.test")
    client.get("/things")
    reference = weakref.ref(client)
    del client
    gc.collect()
    assert reference() is None
