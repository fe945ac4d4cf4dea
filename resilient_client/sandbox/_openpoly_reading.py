"""How the OpenPoly stand-in reads what a client sends. Whatever that is, nothing here raises anything but a refusal.

Source: https://operator-docs.openpoly.app/docs/operator-api/authentication for scopes, …/operator-api/webhook-endpoints
for URLs, https://operator-docs.openpoly.app/docs/webhooks/event-types for events.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from resilient_client.sandbox._api import RefusedError

if TYPE_CHECKING:
    from resilient_client.sandbox._api import Request

READ_SCOPES = (
    "users:read",
    "markets:read",
    "trades:read",
    "redemptions:read",
    "balance_operations:read",
    "api_keys:read",
    "webhooks:read",
    "simulator:read",
)
SCOPES = frozenset({"*", "launch:write", "api_keys:write", "webhooks:write", "simulator:write", *READ_SCOPES})

EVENTS = frozenset(
    {
        "mini_app.login.succeeded",
        "mini_app.trade.submitted",
        "mini_app.trade.processed",
        "mini_app.trade.failed",
        "mini_app.trade.compensation_required",
        "mini_app.redemption.processed",
        "mini_app.redemption.failed",
        "mini_app.payout.pending",
        "mini_app.logout.requested",
        "mini_app.session.expired",
    }
)

KEY_LENGTH = range(1, 255 + 1)  # characters of an idempotency_key, and of an external_user_id
PAGE_SIZE, LARGEST_PAGE = 50, 100  # entries of a list, unless `page_size` asks for others
MOST = 2**53 - 1  # the largest whole number that all readers of JSON agree on (RFC 8259 §6)

_POSITIVE = re.compile(r"[1-9][0-9]{0,15}")


def fields_of(request: Request) -> dict[str, Any]:
    """Read the body's fields; a body that is no JSON object has none."""
    try:
        return request.document()
    except ValueError:
        return {}


def id_of(request: Request, error: str) -> int:
    """Read the id in the path, or refuse with this error."""
    text = request.params["id"]
    if not _POSITIVE.fullmatch(text):
        raise RefusedError(error)
    return int(text)


def page_of(items: dict[Any, Any], request: Request) -> dict[str, Any]:
    """Show one page of a list, newest first."""
    page = _number(request.query.get("page", ""), 1)
    size = min(_number(request.query.get("page_size", ""), PAGE_SIZE), LARGEST_PAGE)
    shown = islice(reversed(items.values()), (page - 1) * size, page * size)
    found = [item.shown() for item in shown]
    return {"items": found, "page": page, "page_size": size, "total": len(items)}


def _number(text: str, default: int) -> int:
    return int(text) if _POSITIVE.fullmatch(text) else default


def endpoint_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Check those fields of an endpoint that are there; give them as an `Endpoint` keeps them."""
    found: dict[str, Any] = {
        name: fields[name] for name in ("url", "enabled_events", "status") if name in fields
    }
    if "url" in found and not _is_reachable(found["url"]):
        raise RefusedError("INVALID_URL")
    if "enabled_events" in found:
        if not are_among(found["enabled_events"], EVENTS):
            raise RefusedError("INVALID_ENABLED_EVENTS")
        found["enabled_events"] = tuple(dict.fromkeys(found["enabled_events"]))
    if "status" in found and found["status"] not in ("active", "disabled"):
        raise RefusedError("INVALID_STATUS")
    secret = fields.get("secret")
    if isinstance(secret, str) and secret:
        found["secret"] = secret
    limits = {name: fields.get(name) for name in ("max_attempts", "timeout_seconds")}
    return found | {name: limit for name, limit in limits.items() if is_whole(limit) and limit}


def _is_reachable(url: Any) -> TypeGuard[str]:
    """Tell whether a webhook may go there: by HTTPS, or by HTTP to this machine."""
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0 or parts.username is not None:
            return False
    except ValueError:  # a port that is none, or a broken IPv6 address
        return False
    local = parts.hostname in {"localhost", "127.0.0.1"}
    return parts.scheme == "https" or (parts.scheme == "http" and local)


def are_among(names: Any, known: frozenset[str]) -> TypeGuard[list[str]]:
    """Tell whether this is a list of at least one of the known names, and of no other."""
    return (
        isinstance(names, list)
        and bool(names)
        and all(isinstance(name, str) and name in known for name in names)
    )


def is_whole(value: Any) -> TypeGuard[int]:
    """Tell whether this is an amount in minor units: a whole number, zero included."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def is_key(value: Any) -> TypeGuard[str]:
    """Tell whether this can be an idempotency_key, or an external_user_id."""
    return isinstance(value, str) and len(value) in KEY_LENGTH
