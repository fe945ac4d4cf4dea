"""A policy's own waits and stops: plain numbers, which compare and can be written down.

They are tenacity's `wait_chain`, `wait_exponential`, `stop_after_attempt` and `stop_after_delay`, worked out without tenacity's state, and
a test holds them to be equal. tenacity itself is asked for the waits and stops that a user brings, and loaded then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Plain", "chain", "exponential", "stop"]


@dataclass(frozen=True, slots=True)
class Plain:
    """A wait in seconds, or a stop, that goes by attempts and time alone."""

    kind: Literal["chain", "exponential", "stop"]
    numbers: tuple[Any, ...]  # what the function of that name takes, in its order

    def after(self, attempts: int, elapsed: float) -> Any:
        """Answer after so many attempts, 1 or more, and so many seconds since the first was over."""
        if self.kind == "chain":
            return self.numbers[min(attempts, len(self.numbers)) - 1]
        if self.kind == "exponential":
            first, factor, longest = self.numbers
            try:
                return max(0, min(first * factor ** (attempts - 1), longest))
            except OverflowError:
                return longest
        most, delay = self.numbers
        return (most is not None and attempts >= most) or (delay is not None and elapsed >= delay)

    def __call__(self, state: Any) -> Any:
        """Answer as one of tenacity's objects, beside one that a user brings."""
        return self.after(state.attempt_number, state.seconds_since_start)


def chain(seconds: Iterable[float]) -> Plain:
    """Wait so many seconds, in this order; the last of them from then on."""
    return Plain("chain", tuple(seconds))


def exponential(first: float, factor: float, longest: float) -> Plain:
    """Wait first * factor ** n seconds after n retries, up to the longest."""
    return Plain("exponential", (first, factor, longest))


def stop(attempts: int | None, delay: float | None) -> Plain:
    """Stop after so many attempts, or as soon as so many seconds have passed since the first; None: no such bound."""
    return Plain("stop", (attempts, delay))
