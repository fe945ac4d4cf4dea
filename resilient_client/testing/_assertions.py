"""Asserting what a call went through. A failure shows the whole of it.

Law of this file: an assertion that could only hold for want of anything to look at fails.
"""

from __future__ import annotations

import json
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from resilient_client._flow.wait import SPREAD, SPREAD_SECONDS
from resilient_client.outcome import Outcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from resilient_client.outcome import Attempt

    from ._mock import MockedRoute

__all__ = ["assert_attempts", "assert_fresh_nonces", "assert_same_key", "assert_waits"]

_AN_INSTANT = 1e-9  # seconds: what is lost by rounding
_TICK = 0.02  # seconds: the coarsest that a system's monotonic clock is known to go

Wait = float | tuple[float, float] | EllipsisType
Result = str | int | type[Exception] | EllipsisType


def assert_waits(source: object, *expected: Wait) -> None:
    """Assert how long a call waited between its attempts, and that its clock shows it.

    Args:
        source: a response, an exception that was raised, or an `Outcome`.
        expected: in order, one for each wait. A number of seconds is what a server or a schedule asked for: never
            less, and at most 20 % and 0.25 s more. A pair is the least and the most, for any other: a backoff of up to
            2 s is `(0, 2)`. `...` stands for any number of waits, none included. Nothing at all: the call had one
            attempt.

    Raises:
        AssertionError: it waited otherwise, or said so while no time passed.
        LookupError: the source did not come through a resilient transport.
    """
    __tracebackhide__ = True
    outcome = _outcome(source)
    actual = [attempt.wait for attempt in outcome.attempts[:-1]]
    bounds = [_bounds(each) for each in expected]
    if not _matches(
        bounds, actual, lambda bound, wait: bound[0] - _AN_INSTANT <= wait <= bound[1] + _AN_INSTANT
    ):
        wanted = ", ".join("..." if each is ... else f"{each[0]:g} to {each[1]:g} s" for each in bounds)
        got = ", ".join(f"{wait:.2f} s" for wait in actual)
        raise AssertionError(
            f"expected waits: {wanted or 'none'}\nactual waits:   {got or 'none'}\n{_history(outcome)}"
        )
    if outcome.elapsed < sum(actual) - _TICK:
        raise AssertionError(
            f"the waits come to {sum(actual):.2f} s, and by its clock the whole call took {outcome.elapsed:.2f} s\n"
            f"{_history(outcome)}"
        )


def assert_attempts(source: object, *expected: Result) -> None:
    """Assert what the attempts of a call brought.

    Args:
        source: a response, an exception that was raised, or an `Outcome`.
        expected: in order, one for each attempt: the name of its verdict ("RATE_LIMIT", "OK", "NETWORK_ERROR"), its
            status, or the class of the exception that it ended with. `...` stands for any number of attempts, none
            included.

    Raises:
        AssertionError: they brought something else.
        LookupError: the source did not come through a resilient transport.
    """
    __tracebackhide__ = True
    outcome = _outcome(source)
    if not _matches(expected, outcome.attempts, _brought):
        wanted = ", ".join(
            "..." if each is ... else getattr(each, "__name__", str(each)) for each in expected
        )
        raise AssertionError(f"expected attempts: {wanted or 'none'}\n{_history(outcome)}")


def assert_same_key(route: MockedRoute) -> None:
    """Assert that all requests of a route were one call to its API: one idempotency key, and the same body.

    The key is looked for where the policy has it: in its header, or in its field of the body.

    Raises:
        AssertionError: there were fewer than two requests, or one without a key, or their keys or their bodies differ.
    """
    __tracebackhide__ = True
    requests = _requests(route)
    place = route.policy.idempotency.field or route.policy.idempotency.header
    keys = [_key(route, request) for request in requests]
    if None in keys or len(set(keys)) > 1:
        raise AssertionError(
            f"{route}: one idempotency key was to be in {place} of every request\n{_listed(keys)}"
        )
    if len({request.content for request in requests}) > 1:
        bodies = [request.content for request in requests]
        raise AssertionError(f"{route}: the requests have one key and different bodies\n{_listed(bodies)}")


def assert_fresh_nonces(route: MockedRoute) -> None:
    """Assert that every request of a route carried a nonce of its own, in the header that the policy names.

    Raises:
        AssertionError: there were fewer than two requests, or one without a nonce, or a nonce was used twice.
        ValueError: the policy names no nonce.
    """
    __tracebackhide__ = True
    header = route.policy.signing.nonce
    if header is None:
        raise ValueError(f"the policy {route.policy.api} has no nonce: it names none in signing.nonce")
    nonces = [request.headers.get(header) for request in _requests(route)]
    if None in nonces or len(set(nonces)) < len(nonces):
        raise AssertionError(f"{route}: a new {header} was to be on every request\n{_listed(nonces)}")


def _outcome(source: object) -> Outcome:
    return source if isinstance(source, Outcome) else outcome_of(source)


def _bounds(expected: Wait) -> tuple[float, float] | EllipsisType:
    match expected:
        case EllipsisType():
            return ...
        case (least, most):
            return least, most
        case int() | float():
            return expected, expected * (1 + SPREAD) + SPREAD_SECONDS
        case _:
            raise TypeError(f"a wait is seconds, a pair (least, most) of them, or ... (got {expected!r})")


def _brought(expected: str | int | type[Exception], attempt: Attempt) -> bool:
    if isinstance(expected, str):
        return attempt.verdict.name == expected
    if isinstance(expected, int):
        return attempt.status == expected
    return isinstance(attempt.error, expected)


def _matches(expected: Sequence[Any], actual: Sequence[Any], fits: Callable[[Any, Any], bool]) -> bool:
    if not expected:
        return not actual
    first, rest = expected[0], expected[1:]
    if first is ...:
        return any(_matches(rest, actual[skipped:], fits) for skipped in range(len(actual) + 1))
    return bool(actual) and fits(first, actual[0]) and _matches(rest, actual[1:], fits)


def _history(outcome: Outcome) -> str:
    lines = [f"the call ({outcome.api}), which ended as {outcome.reason} after {outcome.elapsed:.2f} s:"]
    for attempt in outcome.attempts:
        brought = attempt.status if attempt.error is None else type(attempt.error).__name__
        wait = f", then waited {attempt.wait:.2f} s" if attempt is not outcome.attempts[-1] else ""
        change = f", renewed {' and '.join(attempt.change)}" if attempt.change else ""
        lines.append(f"  {attempt.number}. {attempt.verdict.name} ({brought}){wait}{change}")
    return "\n".join(lines)


def _requests(route: MockedRoute) -> list[httpx.Request]:
    __tracebackhide__ = True
    requests = [call.request for call in route.calls]
    if len(requests) < 2:
        raise AssertionError(f"{route} had {len(requests)} request(s): it takes two to compare")
    return requests


def _key(route: MockedRoute, request: httpx.Request) -> str | None:
    idempotency = route.policy.rulebook.idempotency
    if idempotency.field is None:
        header: str | None = request.headers.get(idempotency.header)
        return header
    try:
        document = json.loads(request.content)
    except ValueError:
        return None
    return next((found for found in idempotency.field.find(document) if isinstance(found, str)), None)


def _listed(values: Sequence[object]) -> str:
    return "\n".join(f"  {number}. {value!r}" for number, value in enumerate(values, start=1))
