"""Whoever looks into httpx's client looks into ours: patches of its methods, its transports and its subclasses are all run.

Sentry, Datadog, New Relic, OpenTelemetry, VCR.py, respx and pytest-httpx work so: each puts something in the place of a method, on
httpx's class or on one client, before the client is made or afterwards, and takes it away again.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
from lean import Call, Change, Side, Story, Wire, told
from lean_menu import shared_ssl
from lean_run import compare
from lean_watch import BASE, CALLS, ON_THE_WAY, REPLIES, has, httpx_class, looking, put

from resilient_client import AsyncResilientClient, ResilientClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lean_run import Run
    from pytest_httpx import HTTPXMock


@pytest.fixture(params=["thread", "task"])
def run(request: pytest.FixtureRequest, loop: asyncio.Runner) -> Run | None:
    """Give what runs a story's tasks, and None for a thread."""
    return None if request.param == "thread" else loop.run


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Keep one event loop for all stories."""
    with asyncio.Runner() as runner:
        yield runner


# Where a patch is put: given the side, and its client where it has been made.
PLACES: dict[str, Callable[[Side], Any]] = {
    "httpx's class": httpx_class,
    "the class": lambda side: type(side.client),
    "the client": lambda side: side.client,
}


def patched(where: str, name: str) -> Callable[[Side], None]:
    """Make a change that puts a looking method in place."""

    def change(side: Side) -> None:
        if has(side, name):
            owner = PLACES[where](side)
            put(side, owner, name, looking(side, name, getattr(owner, name)))

    return change


def was_run(journal: list[tuple[str, Any]], name: str) -> bool:
    """Tell whether a story came by a method."""
    return any(what == f"{name} is called" for what, _ in journal)


@pytest.mark.parametrize("name", ON_THE_WAY)
@pytest.mark.parametrize("where", PLACES)
def test_a_method_that_is_replaced_when_the_client_is_in_use_is_run(
    run: Run | None, where: str, name: str
) -> None:
    """As often, and with the same arguments; and the calls before it and after it has gone are as they were."""
    journal = compare(
        Story((*CALLS, Change(patched(where, name)), *CALLS), {"base_url": "path"}, REPLIES), run
    )
    if name in {"aclose", "close"}:
        assert was_run(journal, name) == (name == ("close" if run is None else "aclose"))
    else:
        assert was_run(journal, name)


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_a_method_that_was_replaced_before_the_client_was_made_is_run(run: Run | None, name: str) -> None:
    """By instrumentation that is set up first thing in a program."""

    def before(side: Side, kind: Any) -> Any:
        if has(side, name):
            owner = httpx_class(side)
            put(side, owner, name, looking(side, name, getattr(owner, name)))
        return kind

    def gone(side: Side) -> None:
        side.undo.close()

    compare(Story((*CALLS, Change(gone), *CALLS), {"base_url": "path"}, REPLIES, kind=before), run)


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_a_method_that_both_kinds_of_clients_share_is_run_where_it_is_replaced(
    run: Run | None, name: str
) -> None:
    """On the class beneath them."""

    def change(side: Side) -> None:
        if name in vars(BASE):
            put(side, BASE, name, looking(side, name, getattr(BASE, name)))

    compare(Story((*CALLS, Change(change), *CALLS), {"base_url": "path"}, REPLIES), run)


class Proxy:
    """A wrapper that passes for what it wraps, as those of wrapt do: Datadog's, New Relic's and OpenTelemetry's are such."""

    def __init__(self, wrapped: Any, side: Side) -> None:
        self._wrapped = wrapped
        self._side = side

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    @property  # type: ignore[misc]  # a proxy has the class of what it stands for
    def __class__(self) -> Any:
        return type(self._wrapped)

    def __eq__(self, other: object) -> bool:
        return bool(self._wrapped == other)

    def __hash__(self) -> int:
        return hash(self._wrapped)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return Proxy(self._wrapped.__get__(instance, owner), self._side) if instance is not None else self

    def __call__(self, *args: Any, **options: Any) -> Any:
        self._side.note("a proxy is called", self._wrapped.__name__)
        return self._wrapped(*args, **options)


@pytest.mark.parametrize("name", ON_THE_WAY)
@pytest.mark.parametrize("early", [True, False])
def test_a_proxy_that_equals_what_it_wraps_is_run(run: Run | None, name: str, *, early: bool) -> None:
    """It has the name, the code and the file of httpx's method, and compares as equal to it."""

    def change(side: Side) -> None:
        if has(side, name):
            owner = httpx_class(side)
            put(side, owner, name, Proxy(getattr(owner, name), side))

    def before(side: Side, kind: Any) -> Any:
        if early:
            change(side)
        return kind

    middle = () if early else (Change(change),)
    compare(Story((*CALLS, *middle, *CALLS), {"base_url": "path"}, REPLIES, kind=before), run)


_EARLY = """
import asyncio
import functools
import sys

import httpx

seen = []

class Proxy:
    def __init__(self, wrapped, name):
        self.wrapped, self.name = wrapped, name

    def __getattr__(self, name):
        return getattr(self.wrapped, name)

    def __eq__(self, other):
        return self.wrapped == other

    def __get__(self, instance, owner):
        return self if instance is None else Proxy(self.wrapped.__get__(instance, owner), self.name)

    def __call__(self, *args, **options):
        seen.append(self.name)
        return self.wrapped(*args, **options)

def wrapper(method, name):
    def looking(*args, **options):
        seen.append(name)
        return method(*args, **options)
    return {maker}

def calls(client):
    for _ in range(3):
        yield client.get("https://api.test/things", params=None)
        yield client.post("https://api.test/things", json=1)

async def task():
    async with AsyncResilientClient(transport=wire) as client:
        for call in calls(client):
            await call

originals = {{kind: dict(vars(kind)) for kind in (httpx.Client, httpx.AsyncClient)}}
wire = httpx.MockTransport(lambda request: httpx.Response(204))
for name in {names}:
    for kind in (httpx.Client, httpx.AsyncClient):
        setattr(kind, name, wrapper(getattr(kind, name), name))
    from resilient_client import AsyncResilientClient, ResilientClient

    with ResilientClient(transport=wire) as client:
        list(calls(client))
    asyncio.run(task())
    print(name, len(seen))
    seen.clear()
    for kind in (httpx.Client, httpx.AsyncClient):
        delattr(kind, name) if name not in originals[kind] else setattr(kind, name, originals[kind][name])
    for module in [module for module in sys.modules if module.partition(".")[0] == "resilient_client"]:
        del sys.modules[module]
"""


@pytest.mark.parametrize("maker", ["looking", "functools.wraps(method)(looking)", "Proxy(method, name)"])
def test_what_was_replaced_before_we_were_imported_is_run(maker: str) -> None:
    """A program's instrumentation comes first of all: what stands there at our import is not taken for httpx's own."""
    names = [
        name
        for name in ON_THE_WAY
        if name not in {"get", "post", "stream", "close", "aclose", "_build_redirect_request"}
    ]
    program = _EARLY.format(names=names, maker=maker)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"{name} 12" for name in names]


# ------------------------------------------------------------------------------------- what they do, beside looking


def _adds_a_header(side: Side, owner: Any) -> None:
    send = owner.send

    def sends(self: Any, request: httpx.Request, **options: Any) -> Any:
        request.headers["traceparent"] = "00-1"
        return send(self, request, **options)

    put(side, owner, "send", sends)


def _answers_itself(side: Side, owner: Any) -> None:
    def answers(self: Any, request: httpx.Request) -> Any:
        side.note("recorded", told(side, request))
        return httpx.Response(203, request=request, text="recorded")

    async def later(self: Any, request: httpx.Request) -> Any:
        return answers(self, request)

    put(side, owner, "_send_single_request", later if side.tasks else answers)


def _leads_elsewhere(side: Side, owner: Any) -> None:
    elsewhere = Wire(side, "elsewhere")
    put(side, owner, "_transport_for_url", lambda self, url: elsewhere)


def _builds_another(side: Side, owner: Any) -> None:
    put(
        side,
        owner,
        "build_request",
        lambda self, method, url, **options: httpx.Request("PUT", "https://built.test/", content=b"built"),
    )


def _refuses(side: Side, owner: Any) -> None:
    def refuse(self: Any, *args: Any, **options: Any) -> Any:
        raise PermissionError("the network is off in tests")

    put(side, owner, "send", refuse)


@pytest.mark.parametrize(
    "work", [_adds_a_header, _answers_itself, _leads_elsewhere, _builds_another, _refuses]
)
@pytest.mark.parametrize("early", [True, False])
def test_what_a_replaced_method_does_is_done(
    run: Run | None, work: Callable[[Side, Any], None], *, early: bool
) -> None:
    """What it adds is sent; what it answers is the answer; where it leads is where the request goes."""

    def before(side: Side, kind: Any) -> Any:
        if early:
            work(side, httpx_class(side))
        return kind

    def change(side: Side) -> None:
        if not early:
            work(side, httpx_class(side))

    compare(
        Story(
            (Call(), Change(change), *CALLS, Change(lambda side: side.undo.close()), *CALLS),
            {"base_url": "host"},
            REPLIES,
            kind=before,
        ),
        run,
    )


# ----------------------------------------------------------------------------------------------------------- transports


@pytest.mark.parametrize("which", ["the client's", "its class", "the one beneath", "a mounted one"])
def test_a_transport_that_is_instrumented_is_run(run: Run | None, which: str) -> None:
    """OpenTelemetry does so to one client's transports, or to a class of them."""

    def change(side: Side) -> None:
        name = "handle_async_request" if side.tasks else "handle_request"
        owner = {
            "the client's": side.client._transport,
            "its class": type(side.client._transport),
            "the one beneath": Wire,
            "a mounted one": next(iter(side.client._mounts.values())),
        }[which]
        method = getattr(owner, name)

        def looks(*args: Any) -> Any:
            side.note("a transport is run", told(side, args[-1]))
            return method(*args)

        put(side, owner, name, looks)

    calls = (*CALLS, Call("mounted"))
    journal = compare(
        Story((*calls, Change(change), *calls), {"base_url": "path", "mounts": "host"}, REPLIES), run
    )
    assert ("a transport is run" in [what for what, _ in journal]) is True


def real(side: Side, kind: Any) -> Any:
    """Make a client with httpx's own transports, in which nothing is sent: what they would send is told."""
    name = "handle_async_request" if side.tasks else "handle_request"
    owner = httpx.AsyncHTTPTransport if side.tasks else httpx.HTTPTransport

    def handle(self: Any, request: httpx.Request) -> httpx.Response:
        side.sent.append(request)
        side.note("a proxy" if "Proxy" in type(self._pool).__name__ else "no proxy", told(side, request))
        return side.reply(request)

    async def later(self: Any, request: httpx.Request) -> httpx.Response:
        return handle(self, request)

    put(side, owner, name, later if side.tasks else handle)
    return lambda **options: kind(**options | {"transport": None, "verify": shared_ssl()})


def test_httpx_own_transport_that_is_replaced_is_run(run: Run | None) -> None:
    """pytest-httpx and others replace its `handle_request`."""
    compare(Story(CALLS, {"base_url": "path", "mounts": "host"}, REPLIES, kind=real), run)


@pytest.mark.parametrize("trusted", ["true", "false"])
@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "http://proxy.test:8080"},
        {"ALL_PROXY": "http://proxy.test:8080", "NO_PROXY": "api.test,localhost"},
        {"HTTP_PROXY": "proxy.test:1", "NO_PROXY": "*"},
        {"https_proxy": "http://user:pass@proxy.test", "no_proxy": ".mounted.test"},
    ],
)
def test_proxies_of_the_environment_are_used_as_httpx_uses_them(
    run: Run | None, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], trusted: str
) -> None:
    """And those hosts are left out that the environment leaves out."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    calls = (Call(), Call("other"), Call("below_mounted"), Call("http_port"), Call("plain_http"))
    compare(Story(calls, {"trust_env": trusted}, REPLIES, kind=real), run)


# -------------------------------------------------------------------------------------------------- mocks for users' tests


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
@pytest.mark.parametrize("early", [True, False])
def test_respx_is_asked(run: Run | None, using: str, *, early: bool) -> None:
    """Started before the client was made, or afterwards: its answers are the answers."""

    def start(side: Side) -> None:
        router = respx.MockRouter(assert_all_called=False, using=using)
        router.route(host="api.test").respond(207, json={"mocked": True}, headers={"X-Mocked": "1"})
        router.start()
        side.undo.callback(router.stop)
        side.undo.callback(lambda: side.note("mocked", [told(side, call.request) for call in router.calls]))

    def kind(side: Side, made: Any) -> Any:
        if early:
            start(side)
        return lambda **options: made(**options | {"transport": None, "verify": shared_ssl()})

    first = () if early else (Change(start),)
    calls = (
        Call(),
        Call("relative", "post", options={"json": "object"}),
        Call("plain", "stream", then="read"),
    )
    journal = compare(Story((*first, *calls), {"base_url": "host"}, kind=kind), run)
    assert [len(seen) for what, seen in journal if what == "mocked"] == [3]


@pytest.mark.httpx_mock(assert_all_responses_were_requested=False)
def test_pytest_httpx_is_asked(httpx_mock: HTTPXMock) -> None:
    """Its answers are the answers, in a thread and in a task."""
    httpx_mock.add_response(url="https://api.test/things", json={"mocked": True}, is_reusable=True)
    with ResilientClient(verify=shared_ssl()) as client:
        assert client.get("https://api.test/things").json() == {"mocked": True}

    async def task() -> None:
        async with AsyncResilientClient(verify=shared_ssl()) as client:
            response = await client.get("https://api.test/things")
            assert response.json() == {"mocked": True}

    asyncio.run(task())
    assert len(httpx_mock.get_requests()) == 2


def test_a_patch_of_the_jars_class_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a reply that sets no cookie."""
    shown: list[httpx.Response] = []
    monkeypatch.setattr(httpx.Cookies, "extract_cookies", lambda _cookies, response: shown.append(response))
    with ResilientClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        response = client.get("https://api.test/")
    assert shown == [response]
