"""What can be observed of a call: five moments, and the events that tell of them.

An observer is any object that has some of these methods; `observers=[…]` of a client or a transport takes a list of
them.

| method | told | when |
|---|---|---|
| `around` | a `CallEvent` | the call begins; gives a context manager, inside which all the rest of the call happens |
| `on_attempt` | an `AttemptEvent` | an attempt has been judged |
| `on_retry` | a `RetryEvent` | another one follows: before the wait |
| `on_success` | a `SuccessEvent` | the call ends with a response that is no error: when its head is there |
| `on_give_up` | a `GiveUpEvent` | the call ends with an error |

Law of this file: an event is a frozen value, and no secret, no query and no body is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .outcome import Attempt, Outcome, Reason

__all__ = ["AttemptEvent", "CallEvent", "GiveUpEvent", "Observer", "RetryEvent", "SuccessEvent"]


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Which call it is: what every event tells.

    A call is one request as a transport is given it, with all its attempts. A redirect that httpx follows is a call of
    its own, and so is a sign-in.
    """

    call: int  # a number that all events of this call have, and no other call of this process
    api: str  # as the policy names it
    method: str
    url: str  # as it is sent, but for the user, the password, the query and the fragment
    host: str
    port: int | None  # its scheme's where the URL names none; None for a scheme that has none
    path: str  # percent-encoded, without the query


@dataclass(frozen=True, slots=True)
class AttemptEvent(CallEvent):
    """An attempt was made, and judged by the policy."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class RetryEvent(CallEvent):
    """An attempt failed, and another one follows after a wait."""

    attempt: Attempt  # the one that failed

    @property
    def rule(self) -> str:
        """The rule that asks for the retry, by name."""
        return self.attempt.verdict.name

    @property
    def wait(self) -> float:
        """Seconds to wait before the next attempt, jitter included."""
        return self.attempt.wait

    @property
    def change(self) -> tuple[str, ...]:
        """What is renewed for the next attempt: "nonce", "refresh", "override"."""
        return self.attempt.change


@dataclass(frozen=True, slots=True)
class SuccessEvent(CallEvent):
    """The call ended with a response that is no error. Its body may not have been read yet."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class GiveUpEvent(CallEvent):
    """The call ended with an error, be it at the first attempt."""

    outcome: Outcome
    error: Exception | None  # what will be raised; None where the caller is given the API's own response

    @property
    def reason(self) -> Reason:
        """Why the call ended."""
        return self.outcome.reason

    @property
    def rule(self) -> str:
        """The rule that the last attempt was judged by, by name; NOT_SENT where there was none: it could not be signed, or was refused."""
        return self.outcome.verdict.name


# What a method returns is not looked at, but awaited where it is an awaitable and the client is an async one.


class _Around(Protocol):
    def around(self, event: CallEvent, /) -> AbstractContextManager[object]: ...


class _OnAttempt(Protocol):
    def on_attempt(self, event: AttemptEvent, /) -> object: ...


class _OnRetry(Protocol):
    def on_retry(self, event: RetryEvent, /) -> object: ...


class _OnSuccess(Protocol):
    def on_success(self, event: SuccessEvent, /) -> object: ...


class _OnGiveUp(Protocol):
    def on_give_up(self, event: GiveUpEvent, /) -> object: ...


Observer = _Around | _OnAttempt | _OnRetry | _OnSuccess | _OnGiveUp
