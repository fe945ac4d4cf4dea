"""A policy's waits and stops in plain numbers, which compare and can be written down; tenacity's objects are made of them.

Law of this file: tenacity is loaded by the first wait that is asked for, so that a program that never retries never loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Plain", "chain", "exponential", "stop"]


@dataclass(frozen=True)
class Plain:
    """One of tenacity's waits or stops: asked about a retry state, it answers as that one would."""

    kind: Literal["chain", "exponential", "stop"]
    numbers: tuple[Any, ...]  # what the function of that name takes, in its order

    def __call__(self, state: Any) -> Any:
        return self._made(state)

    @cached_property
    def _made(self) -> Any:
        import tenacity  # noqa: PLC0415 - see the law of this file

        if self.kind == "chain":
            return tenacity.wait_chain(*map(tenacity.wait_fixed, self.numbers))
        if self.kind == "exponential":
            first, factor, longest = self.numbers
            return tenacity.wait_exponential(multiplier=first, exp_base=factor, max=longest)
        attempts, delay = self.numbers
        bounds: list[Any] = []
        if attempts is not None:
            bounds.append(tenacity.stop_after_attempt(attempts))
        if delay is not None:
            bounds.append(tenacity.stop_after_delay(delay))
        return tenacity.stop_any(*bounds)


def chain(seconds: Iterable[float]) -> Plain:
    """Wait so many seconds, in this order; the last of them from then on."""
    return Plain("chain", tuple(seconds))


def exponential(first: float, factor: float, longest: float) -> Plain:
    """Wait first * factor ** n seconds after n retries, up to the longest."""
    return Plain("exponential", (first, factor, longest))


def stop(attempts: int | None, delay: float | None) -> Plain:
    """Stop after so many attempts, or as soon as so many seconds have passed since the first; None: no such bound."""
    return Plain("stop", (attempts, delay))
