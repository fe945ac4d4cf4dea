"""What is raised: one tree, all of it caught by the exceptions that users of httpx catch already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from ._httpx import HOST
from ._raised import NotNow, Problem, error_of
from .loading import PolicyError
from .outcome import record_of

if TYPE_CHECKING:
    from pathlib import Path

    from .policy import Policy

__all__ = [
    "ApiError",
    "BulkheadFull",
    "CircuitOpen",
    "PaceExceeded",
    "PolicyError",
    "StoreAway",
    "raise_for_status",
]


class ApiError(Problem, httpx.HTTPStatusError):
    """The API answered with an error, and the policy knows what it means.

    It is an `httpx.HTTPStatusError`, with `request` and `response` as ever; `outcome` tells what the call went through.
    """


class _NotNow(NotNow, httpx.TransportError):
    """A request was not sent, and may be later."""


class CircuitOpen(_NotNow):
    """The host has failed too often of late, and this request was not sent to it."""


class PaceExceeded(_NotNow, httpx.PoolTimeout):
    """The API's budget has no room for this request in the time that it has, and it was not sent."""


class StoreAway(httpx.TransportError):
    """The server that this client shares its budgets with is away, and it was told to refuse calls then; this one was not sent."""


class BulkheadFull(httpx.PoolTimeout):
    """As many calls as may be are under way to this host, and there was no room for this one; it was not sent."""


def api_error(
    response: httpx.Response, *, policy: str | Path | Policy | None = None, problem: str = ""
) -> ApiError | None:
    """Make the error that a response means; None where it means none.

    `problem` replaces the text, and makes an error of any response.
    """
    return error_of(response, ApiError, HOST, policy=policy, problem=problem)


def raise_for_status(
    response: httpx.Response, *, policy: str | Path | Policy | None = None
) -> httpx.Response:
    """Raise an ApiError if the response is an error, by its status or by what its policy says of it; give it back if not.

    `policy` is used for a response that did not come through a resilient transport.

    Raises:
        ApiError: the response is an error.
        RuntimeError: the response has no request, which httpx's own `raise_for_status` asks for too.
        TypeError: it is no response of httpx's.
    """
    if not isinstance(response, httpx.Response):
        raise TypeError(
            f"raise_for_status: {type(response).__module__.partition('.')[0]}.{type(response).__name__} is no httpx.Response; "
            "each library has a raise_for_status of its own here"
        )
    record = record_of(response)
    in_memory = record is not None and record.read_whole and isinstance(response.stream, httpx.SyncByteStream)
    if in_memory and not response.is_stream_consumed and not response.is_closed:
        response.read()  # so that the error can show it
    error = api_error(response, policy=policy)
    if error is not None:
        raise error
    return response
