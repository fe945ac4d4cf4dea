"""Subclasses of our clients: what they override counts as much as it does in a subclass of httpx's, early or late."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from lean import Call, Change, Side, Story
from lean_run import compare
from lean_watch import CALLS, ON_THE_WAY, REPLIES, has, httpx_class, looking

from resilient_client import AsyncResilientClient, ResilientClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lean_run import Run


@pytest.fixture(params=["thread", "task"])
def run(request: pytest.FixtureRequest, loop: asyncio.Runner) -> Run | None:
    """Give what runs a story's tasks, and None for a thread."""
    return None if request.param == "thread" else loop.run


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Keep one event loop for all stories."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_a_method_of_a_subclass_is_run(run: Run | None, name: str) -> None:
    """It looks, and calls what it overrides."""

    def sub(side: Side, kind: Any) -> Any:
        names = {name: looking(side, name, getattr(kind, name))} if has(side, name) else {}
        return type("Sub", (kind,), names)

    compare(Story((*CALLS, *CALLS), {"base_url": "path"}, REPLIES, kind=sub), run)


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_a_method_of_a_mixin_is_run_and_one_that_comes_late(run: Run | None, name: str) -> None:
    """A class before ours in the order of resolution, which has the method only when the client is in use."""

    def sub(side: Side, kind: Any) -> Any:
        return type("Sub", (type("Mixin", (), {}), kind), {})

    def change(side: Side) -> None:
        if has(side, name):
            mixin = type(side.client).__mro__[1]
            setattr(mixin, name, looking(side, name, getattr(httpx_class(side), name)))

    compare(Story((*CALLS, Change(change), *CALLS), {"base_url": "path"}, REPLIES, kind=sub), run)


OTHERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "base_url": (lambda value: value.copy_with(host="property.test"), lambda _: httpx.URL("")),
    "headers": (lambda value: httpx.Headers([*value.raw, (b"X-Property", b"1")]), lambda _: httpx.Headers()),
    "cookies": (lambda _: httpx.Cookies({"property": "1"}), lambda _: httpx.Cookies()),
    "params": (lambda value: value.add("property", "1"), lambda _: httpx.QueryParams()),
    "timeout": (lambda _: httpx.Timeout(0.5), lambda _: httpx.Timeout(None)),
    "auth": (lambda _: httpx.BasicAuth("property", "1"), lambda _: None),
    "event_hooks": (lambda value: value, lambda _: {"request": [], "response": []}),
    "trust_env": (lambda value: not value, lambda _: False),
    "is_closed": (lambda value: not value, lambda _: False),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("early", [True, False])
def test_a_property_of_a_subclass_counts_as_much_as_it_does_for_httpx(
    run: Run | None, name: str, which: int, *, early: bool
) -> None:
    """It gives another value than what the client keeps, or hides that; httpx asks it, or not, and so do we."""
    other = OTHERS[name][which]

    def seen(kind: Any) -> Any:
        own = getattr(kind, name)
        return property(lambda self: other(own.fget(self)), own.fset)

    def sub(side: Side, kind: Any) -> Any:
        return type("Sub", (kind,), {name: seen(kind)} if early else {})

    def change(side: Side) -> None:
        if not early:
            setattr(type(side.client), name, seen(type(side.client)))

    has = {
        "auth": "pair",
        "event_hooks": "one_of_each",
        "cookies": "plain",
        "params": "plain",
        "headers": "plain",
    }
    for client in ({}, {name: has[name]} if name in has else {"follow_redirects": "true"}):
        steps = (*CALLS, Change(change), *CALLS, Change("close"), Call())
        compare(Story(steps, {"base_url": "path"} | client, REPLIES, kind=sub), run)


def test_a_subclass_whose_auth_or_hooks_are_found_elsewhere(run: Run | None) -> None:
    """`__getattribute__` is asked for all that httpx asks of it."""

    def sub(side: Side, kind: Any) -> Any:
        def get(self: Any, name: str) -> Any:
            value = object.__getattribute__(self, name)
            return httpx.BasicAuth("found", "elsewhere") if name == "_auth" else value

        return type("Sub", (kind,), {"__getattribute__": get})

    compare(Story(CALLS, {"base_url": "path"}, REPLIES, kind=sub), run)


@pytest.mark.parametrize(
    "name", ["request", "build_request", "stream", "get", "options", "head", "post", "put", "patch", "delete"]
)
def test_the_signatures_are_httpx_own(name: str) -> None:
    """Names, order, kinds and defaults: what an editor shows, and what may be passed by position."""
    for ours, theirs in ((ResilientClient, httpx.Client), (AsyncResilientClient, httpx.AsyncClient)):
        mine, own = (inspect.signature(getattr(kind, name)) for kind in (ours, theirs))
        assert [(one.name, one.kind, one.default) for one in mine.parameters.values()] == [
            (one.name, one.kind, one.default) for one in own.parameters.values()
        ]
        assert inspect.iscoroutinefunction(getattr(ours, name)) == inspect.iscoroutinefunction(
            getattr(theirs, name)
        )
