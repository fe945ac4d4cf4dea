"""What the OpenPoly stand-in keeps: keys, users, movements, endpoints, deliveries, and what the API shows of each.

Source: https://operator-docs.openpoly.app/docs/operator-api/api-keys, …/launch, …/webhook-endpoints and
https://operator-docs.openpoly.app/docs/reference/statuses for the names of fields and states.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

CURRENCY = "IDR"  # of all wallets; the one of the vendor's samples


def stamp(wall: float) -> str:
    """Write epoch seconds as the vendor does: 2026-06-18T00:00:00.000Z."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class ApiKey:
    """A key of an operator. As at the vendor's, its token is not kept: only a hash of it."""

    id: int
    operator: int
    name: str
    scopes: tuple[str, ...]
    key_id: str
    last4: str
    at: float  # epoch seconds
    revoked: float | None = None  # epoch seconds
    last_used: float | None = None  # epoch seconds

    def allows(self, scope: str) -> bool:
        """Tell whether the key may do what needs this scope."""
        return scope in self.scopes or "*" in self.scopes

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "name": self.name,
            "key_id": self.key_id,
            "key_prefix": "op_sandbox",
            "scopes": list(self.scopes),
            "last4": self.last4,
            "last_used_at": None if self.last_used is None else stamp(self.last_used),
            "revoked_at": None if self.revoked is None else stamp(self.revoked),
            "created_at": stamp(self.at),
            "updated_at": stamp(self.at if self.revoked is None else self.revoked),
        }


@dataclass(slots=True)
class Operation:
    """A wallet movement that was recorded: work that has taken effect."""

    id: int
    operator: int
    external_user_id: str
    direction: str
    amount_minor: int
    idempotency_key: str | None
    status: str  # "succeeded", or "failed" where the wallet could not bear it
    balance_minor: int  # of the wallet, after it
    at: float  # epoch seconds

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "external_user_id": self.external_user_id,
            "direction": self.direction,
            "amount_minor": self.amount_minor,
            "currency_code": CURRENCY,
            "idempotency_key": self.idempotency_key,
            "status": self.status,
            "balance_minor": self.balance_minor,
            "created_at": stamp(self.at),
        }


@dataclass(slots=True)
class OperatorUser:
    """A user whom a launch has made known, with the simulator's wallet."""

    id: int
    operator: int
    external_user_id: str
    at: float  # epoch seconds
    balance_minor: int = 0
    launches: int = 0
    operations: dict[int, Operation] = field(default_factory=dict, repr=False)

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of the user."""
        return {"id": self.id, "external_user_id": self.external_user_id, "status": "active"}

    def wallet(self) -> dict[str, Any]:
        """Tell what the API shows of the wallet."""
        return {
            "external_user_id": self.external_user_id,
            "currency_code": CURRENCY,
            "balance_minor": self.balance_minor,
        }


@dataclass(slots=True)
class Endpoint:
    """A webhook endpoint."""

    id: int
    operator: int
    url: str
    enabled_events: tuple[str, ...]
    at: float  # epoch seconds
    changed: float  # epoch seconds
    status: str = "active"
    secret: str | None = field(default=None, repr=False)
    max_attempts: int = 6
    timeout_seconds: int = 5

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it: never the secret."""
        return {
            "id": self.id,
            "url": self.url,
            "status": self.status,
            "enabled_events": list(self.enabled_events),
            "max_attempts": self.max_attempts,
            "timeout_seconds": self.timeout_seconds,
            "has_secret": self.secret is not None,
            "created_at": stamp(self.at),
            "updated_at": stamp(self.changed),
        }


@dataclass(slots=True)
class Delivery:
    """An event as an endpoint is to receive it: POST `body` with `headers` to a receiver to test it."""

    id: int
    operator: int
    endpoint: int
    event_id: str
    event_type: str
    body: bytes
    at: float  # epoch seconds
    headers: dict[str, str] = field(default_factory=dict)  # of the newest attempt
    attempts: int = 0

    def sign(self, secret: str | None, wall: float) -> None:
        """Make the headers of one more attempt, at `wall` epoch seconds.

        Source: https://operator-docs.openpoly.app/docs/webhooks/signatures
        """
        at = stamp(wall)
        self.attempts += 1
        self.headers = {
            "Content-Type": "application/json",
            "X-Polynion-Event-Id": self.event_id,
            "X-Polynion-Timestamp": at,
        }
        if secret is not None:
            signed = at.encode() + b"." + self.body
            # A secret may hold any code points that JSON can, unpaired surrogates included.
            digest = hmac.new(secret.encode(errors="surrogatepass"), signed, hashlib.sha256).hexdigest()
            self.headers["X-Polynion-Signature"] = f"v1={digest}"

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "endpoint_id": self.endpoint,
            "event_id": self.event_id,
            "event_type": self.event_type,
            "status": "sent",
            "attempts": self.attempts,
            "payload": json.loads(self.body),
            "created_at": stamp(self.at),
        }


@dataclass(slots=True)
class Operator:
    """What one operator sees: its own, by what it is looked up by, in order of creation."""

    id: int
    keys: dict[int, ApiKey] = field(default_factory=dict)
    users: dict[str, OperatorUser] = field(default_factory=dict)  # by external_user_id
    operations: dict[int, Operation] = field(default_factory=dict)
    by_key: dict[str, Operation] = field(default_factory=dict)  # by idempotency_key
    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    listeners: dict[str, dict[int, Endpoint]] = field(default_factory=dict)  # the active ones, by event
    deliveries: dict[int, Delivery] = field(default_factory=dict)

    def listen(self, endpoint: Endpoint) -> None:
        """Let an endpoint, where it is active, have the events that it names."""
        if endpoint.status == "active":
            for event in endpoint.enabled_events:
                self.listeners.setdefault(event, {})[endpoint.id] = endpoint

    def listen_no_more(self, endpoint: Endpoint) -> None:
        """Let an endpoint have no more events: before it changes, or goes."""
        for event in endpoint.enabled_events:
            self.listeners.get(event, {}).pop(endpoint.id, None)
