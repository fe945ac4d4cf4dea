"""What is different about the next attempt? Its request is a new one with the same bytes, but for what the policy changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .attempt import headers_set_by
from .key import with_field

if TYPE_CHECKING:
    import httpx

    from .attempt import Call

__all__ = ["next_request"]


def next_request(call: Call, change: tuple[str, ...]) -> httpx.Request | None:
    """Make the request of the next attempt, unsigned where an auth will sign it.

    None where the policy asks for a change of the body that this body cannot take.
    """
    body = None
    if "override" in change:
        before, pointer = call.host.body_of(call.request), call.rules.override_field
        body = (
            with_field(before, pointer, call.rules.override_value) if before is not None and pointer else None
        )
        if body is None:
            return None
    request = call.host.again(call.request, call.stream, body)
    if body is not None:
        call.stream = request.stream
    if call.auth is not None:
        for name in headers_set_by(call.auth):
            request.headers.pop(name, None)
    return request
