"""Telling observers: who hears of what, checked when a client is made, and told while a call is under way.

Law of this file: an observer cannot break a call. What it raises is logged, once for each of its methods; only what is
no `Exception`, a cancellation or an interrupt, goes on its way.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from . import _log
from .observers import AttemptEvent, CallEvent, GiveUpEvent, RetryEvent, SuccessEvent
from .outcome import attempt_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from ._flow.attempt import Call
    from ._flow.steps import Moment, Tell
    from .observers import Observer

__all__ = ["Observers"]

_METHODS: dict[str, Moment | None] = {
    "around": None,
    "on_attempt": "attempt",
    "on_retry": "retry",
    "on_success": "success",
    "on_give_up": "give_up",
}
_PORTS = {"http": 80, "https": 443}
_NUMBERS = itertools.count(1)


@dataclass(slots=True, eq=False)
class Listener:
    """One method of one observer."""

    name: str  # Class.method
    function: Callable[[Any], Any]
    failed: bool = False

    def fail(self, error: Exception) -> None:
        """Log what it raised, the first time."""
        if not self.failed:
            self.failed = True
            _log.observer_failed(self.name, error)


class Observers:
    """The observers of one client or transport, sorted by what they hear.

    Raises:
        TypeError: one of them can observe nothing, or must be awaited where nothing can be.
    """

    def __init__(self, observers: Iterable[Observer], *, tasks: bool) -> None:
        self.arounds: list[Listener] = []
        self.listeners: dict[Moment, list[Listener]] = {
            "attempt": [],
            "retry": [],
            "success": [],
            "give_up": [],
        }
        self._kind = AsyncReporter if tasks else Reporter
        if not hasattr(observers, "__iter__"):
            raise TypeError(f"observers takes a list: observers=[{_named(observers)}]")
        for observer in observers:
            for listener, moment in _listeners(observer, tasks=tasks):
                (self.arounds if moment is None else self.listeners[moment]).append(listener)

    def reporter(self, call: Call) -> Reporter | AsyncReporter:
        """Give what tells them of one call."""
        return self._kind(self, call)


def _named(observer: object) -> str:
    return observer.__name__ if isinstance(observer, type) else type(observer).__name__


def _listeners(observer: object, *, tasks: bool) -> Iterator[tuple[Listener, Moment | None]]:
    name = _named(observer)
    if isinstance(observer, type):
        raise TypeError(f"observers takes objects, and {name} is a class: observers=[{name}(…)]")
    for slip in sorted(
        method for method in dir(observer) if method.startswith("on_") and method not in _METHODS
    ):
        meant = difflib.get_close_matches(slip, _METHODS, 1, 0.85)
        if meant:
            raise TypeError(f'{name} has a method "{slip}", which nobody calls; did you mean "{meant[0]}"?')
    found = [method for method in _METHODS if callable(getattr(observer, method, None))]
    if not found:
        raise TypeError(f"{name} is no observer: it has none of the methods {', '.join(_METHODS)}")
    for method in found:
        function = getattr(observer, method)
        moment = _METHODS[method]
        if _is_async(function) and moment is None:
            raise TypeError(
                f"{name}.around is async: it must give a context manager at once, in async clients too"
            )
        if _is_async(function) and not tasks:
            raise TypeError(
                f"{name}.{method} is async, and a sync client cannot await it: "
                "make it a plain method, or use the async client"
            )
        yield Listener(f"{name}.{method}", function), moment


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class _Report:
    """What the two reporters have in common: all but the telling."""

    def __init__(self, observers: Observers, call: Call) -> None:
        self._observers = observers
        self._about = _about(call)
        self._around = ExitStack()

    def __enter__(self) -> Self:
        for listener in self._observers.arounds:
            inside = ExitStack()
            try:
                inside.enter_context(listener.function(CallEvent(**self._about)))
            except Exception as error:  # noqa: BLE001 - the law of this file
                listener.fail(error)
            except BaseException as interruption:  # a Ctrl-C: those that were entered are left
                self._around.__exit__(type(interruption), interruption, interruption.__traceback__)
                raise
            else:
                self._around.push(partial(_leave, listener, inside))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._around.__exit__(kind, error, trace)

    def _events(self, tell: Tell) -> Iterator[tuple[list[Listener], CallEvent]]:
        """Make the events that somebody hears, in order."""
        for moment in tell.moments:
            listeners = self._observers.listeners[moment]
            if listeners:
                yield listeners, _event(self._about, moment, tell)


def _leave(
    listener: Listener,
    inside: ExitStack,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> bool:
    """Leave an observer's context manager. Whether it would swallow the call's error is not asked."""
    try:
        inside.__exit__(kind, error, trace)
    except Exception as failure:  # noqa: BLE001 - the law of this file
        listener.fail(failure)
    return False


def _about(call: Call) -> dict[str, Any]:
    url = call.request.url
    path = url.raw_path.partition(b"?")[0].decode("ascii")
    return {
        "call": next(_NUMBERS),
        "api": call.rules.api,
        "method": call.request.method,
        "url": f"{url.scheme}://{url.netloc.decode('ascii')}{path}",
        "host": url.host,
        "port": url.port or _PORTS.get(url.scheme),
        "path": path,
    }


def _event(about: dict[str, Any], moment: Moment, tell: Tell) -> CallEvent:
    call = tell.call
    if "retry" in tell.moments:
        attempt = attempt_of(len(call.tried), call.tried[-1])
        return (
            AttemptEvent(**about, attempt=attempt)
            if moment == "attempt"
            else RetryEvent(**about, attempt=attempt)
        )
    outcome = call.outcome()
    if moment == "attempt":
        return AttemptEvent(**about, attempt=outcome.attempts[-1])
    if moment == "success":
        return SuccessEvent(**about, outcome=outcome)
    return GiveUpEvent(**about, outcome=outcome, error=call.error)


class Reporter(_Report):
    """Tells the observers of one call, in its thread."""

    def tell(self, tell: Tell) -> None:
        """Tell whoever hears of it, one after the other."""
        for listeners, event in self._events(tell):
            for listener in listeners:
                try:
                    _refuse_to_wait(listener.function(event))
                except Exception as error:  # noqa: BLE001 - the law of this file
                    listener.fail(error)


def _refuse_to_wait(answer: Any) -> None:
    """Raise TypeError for what is to be awaited: a method may be async without looking so when the client is made."""
    if inspect.isawaitable(answer):
        getattr(answer, "close", bool)()  # a coroutine that is dropped would warn
        raise TypeError("it gives something to be awaited, and a sync client cannot")


class AsyncReporter(_Report):
    """Tells the observers of one call, in its task."""

    async def tell(self, tell: Tell) -> None:
        """Tell whoever hears of it, one after the other."""
        for listeners, event in self._events(tell):
            for listener in listeners:
                try:
                    answer = listener.function(event)
                    if inspect.isawaitable(answer):
                        await answer
                except Exception as error:  # noqa: BLE001 - the law of this file
                    listener.fail(error)
