"""What is different about the next attempt? It sends the same bytes, but for what the policy changes and what an auth signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .attempt import headers_set_by
from .key import with_field

if TYPE_CHECKING:
    from resilient_client._http import Request

    from .attempt import Call

__all__ = ["copied", "next_request", "prepare"]


def prepare(call: Call, change: tuple[str, ...]) -> bool:
    """Work out what the policy changes of the body. False: it asks for a change that this body cannot take."""
    if "override" in change:
        before, pointer = call.host.body_of(call.request), call.rules.override_field
        call.body = (
            with_field(before, pointer, call.rules.override_value) if before is not None and pointer else None
        )
        return call.body is not None
    return True


def next_request(call: Call) -> Request:
    """Make the request of the next attempt, unsigned where an auth will sign it; the same one, where nothing changes."""
    body, call.body = call.body, None
    if body is None and call.auth is None and call.stream is call.request.stream:
        return call.request
    return copied(call, body)


def copied(call: Call, body: bytes | None = None) -> Request:
    """Make a new request like the newest one, unsigned where an auth will sign it, with these bytes as its body if they are given."""
    request: Request = call.host.again(call.request, call.stream, body)
    if body is not None:
        call.stream = request.stream
    if call.auth is not None:
        for name in headers_set_by(call.auth):
            request.headers.pop(name, None)
    return request
