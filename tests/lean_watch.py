"""What looks into a client, as instrumentation does: methods put in the place of others, which tell that they were called."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
from lean import Call, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from lean import Side

__all__ = ["BASE", "CALLS", "ON_THE_WAY", "REPLIES", "has", "httpx_class", "looking", "put"]

BASE = httpx.Client.__mro__[1]  # httpx's name for what its two clients share is private

ON_THE_WAY = [
    "request", "build_request", "send", "_send_handling_auth", "_send_handling_redirects", "_send_single_request", "_transport_for_url",
    "_merge_url", "_merge_headers", "_merge_cookies", "_merge_queryparams", "_build_request_auth", "_set_timeout",
    "_build_redirect_request", "get", "post", "stream", "close", "aclose",
]  # fmt: skip

CALLS = (
    Call("relative"),
    Call("relative", "post", options={"json": "object", "params": "plain"}),
    Call("plain", "stream", then="read"),
    Call("plain", "send"),
)
REPLIES = ("ok", "moved", "created", "not_found")  # no cookie: with one in the jar, little is passed by


def looking(side: Side, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Make what tells of each call of a method, and calls it."""
    signature = inspect.signature(getattr(httpx_class(side), name))

    def look(*args: Any, **kwargs: Any) -> Any:
        without_self = args[1:] if args and isinstance(args[0], BASE) else args
        given = signature.bind(None, *without_self, **kwargs).arguments
        for parameter in signature.parameters.values():  # ours may say what httpx's leaves unsaid
            if parameter.name == "self" or given.get(parameter.name, ...) is parameter.default:
                given.pop(parameter.name, None)
        side.note(f"{name} is called", {key: told(side, one) for key, one in given.items()})
        result = method(*args, **kwargs)
        side.note(f"{name} gives", told(side, result))
        return result

    return look


def put(side: Side, owner: Any, name: str, value: Any) -> None:
    """Put something in the place of an attribute, until the story is over."""
    side.undo.enter_context(mock.patch.object(owner, name, value))


def httpx_class(side: Side) -> Any:
    """Give the class of httpx's that both clients come from."""
    return httpx.AsyncClient if side.tasks else httpx.Client


def has(side: Side, name: str) -> bool:
    """Tell whether a client of that kind has such a method."""
    return hasattr(httpx_class(side), name)
