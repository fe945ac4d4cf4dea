"""The two sides of a story, one after the other, and where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from lean import (
    Call,
    Change,
    Interruption,
    Side,
    Story,
    Wire,
    told,
    told_in_full,
    told_jar,
    told_url,
    told_value,
    tried,
)
from lean_acts import CHANGES, HOW, THEN
from lean_menu import CLIENT, word
from lean_replies import REPLIES

from resilient_client import AsyncResilientClient, Policy, ResilientClient

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Run = Callable[[Coroutine[Any, Any, None]], object]

__all__ = ["at_once", "compare", "live", "lived"]

# It has nothing to say of any answer and never sends twice: both clients make the same requests.
SILENT = Policy.model_validate({"api": "silent", "network": {"retries": 0}})


def made(side: Side, *, ours: bool) -> Any:
    """Make the client of a side."""
    options = {name: word(side, CLIENT[name], choice) for name, choice in side.story.client.items()}
    options.setdefault("transport", Wire(side, "main"))
    kind: Any
    if ours:
        kind = AsyncResilientClient if side.tasks else ResilientClient
        options["policy"] = SILENT
    else:
        kind = httpx.AsyncClient if side.tasks else httpx.Client
    return (kind if side.story.kind is None else side.story.kind(side, kind))(**options)


async def live(side: Side, *, ours: bool) -> None:
    """Live through the side's story."""
    with side.listening():
        try:
            side.client = made(side, ours=ours)
        except Exception as error:  # noqa: BLE001 - whatever it is, both must refuse alike
            side.note("was not made", told(side, error))
            return
    for step in side.story.steps:
        with side.listening():
            try:
                await _take(side, step)
            except (Exception, Interruption) as error:  # noqa: BLE001 - as above
                side.note("raised", told(side, error))
            side.note("client", _told_client(side.client))
    side.note("bodies that are still open", len(side.open_bodies))
    side.note("was given", {name: _told_given(value) for name, value in side.kept.items()})
    with side.listening():
        await side.finish(side.client.aclose() if side.tasks else side.client.close())


async def _take(side: Side, step: Call | Change) -> None:
    if isinstance(step, Change):
        act = step.what if callable(step.what) else CHANGES[step.what]
        await side.finish(act(side))
        return
    response = await HOW[step.how](side, step)
    if not isinstance(response, httpx.Response):
        side.note("gave", told(side, response))
        return
    side.last = response
    side.note("response", told(side, response))
    if step.how != "stream":  # which has done it inside
        await THEN[step.then](side, response)
        if step.then != "look":
            side.note("response then", told(side, response))
    side.note("in full", told_in_full(side, response))
    if not response.is_closed:
        await side.close(response)
        side.note("response closed", told(side, response))


def _told_client(client: Any) -> Any:
    return {
        "cookies": tried(lambda: told_jar(client.cookies)),
        "headers": client.headers.raw,
        "base_url": told_url(client.base_url),
        "params": tried(lambda: str(client.params)),
        "timeout": told_value(client.timeout.as_dict()),
        "state": client._state.name,
        "closed": client.is_closed,
        "hooks": {name: len(hooks) for name, hooks in client.event_hooks.items()},
    }


def _told_given(value: Any) -> Any:
    match value:
        case httpx.Headers():
            return value.raw
        case httpx.Cookies():
            return told_jar(value)
        case httpx.QueryParams() | httpx.URL() | httpx.Timeout():
            return repr(value)
        case _:
            return told_value(value)


# --------------------------------------------------------------------------------------------------------- comparing


def at_once(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a thread's client waited")


def lived(story: Story, *, ours: bool, run: Run | None) -> list[tuple[str, Any]]:
    """Give the journal of one side; `run` runs tasks, and None stands for a thread."""
    side = Side(story, [REPLIES[word] for word in story.replies], tasks=run is not None)
    with side.undo:
        (at_once if run is None else run)(live(side, ours=ours))
    return side.journal


def compare(story: Story, run: Run | None = None) -> list[tuple[str, Any]]:
    """Let both live through a story, and give the journal that both have written.

    Raises:
        AssertionError: they differ; the message shows the first place where they do.
    """
    theirs = lived(story, ours=False, run=run)
    ours = lived(story, ours=True, run=run)
    if ours != theirs:
        raise AssertionError(f"{story}\n{_difference(theirs, ours)}")
    return theirs


def _difference(theirs: Any, ours: Any, place: str = "") -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in [*theirs, *ours]:
            if theirs.get(name, ...) != ours.get(name, ...):
                return _difference(theirs.get(name, ...), ours.get(name, ...), f"{place}[{name!r}]")
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            if one != other:
                return _difference(one, other, f"{place}[{number}]")
        if len(theirs) != len(ours):
            number = min(len(theirs), len(ours))
            return f"{place}[{number}:]\n  httpx: {theirs[number:]!r}\n  ours:  {ours[number:]!r}"
    return f"{place}\n  httpx: {theirs!r}\n  ours:  {ours!r}"
