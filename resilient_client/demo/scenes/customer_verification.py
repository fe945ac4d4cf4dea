"""The Customer Verification API: tokens that end, waits that are asked for, and a 409 that is an echo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resilient_client.demo.script import Call, Data, Scene, Site, Vendor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client.sandbox import Sandbox
    from resilient_client.sandbox.customer_verification import CustomerVerification

__all__ = ["CUSTOMER_VERIFICATION", "SCENES"]

_AT = "@example.com"  # an e-mail address marks a customer by the call that created them


def _created(api: CustomerVerification) -> Iterator[str]:
    for customer in api.customers.values():
        yield customer.fields["email"].removesuffix(_AT)


CUSTOMER_VERIFICATION = Vendor(
    name="customer_verification",
    short="Customer Verification",
    created=_created,
    sign_in="POST /auth/token",
)


def _customer(name: str, **changes: Any) -> Data:
    return {
        "firstName": "Ada",
        "lastName": "King",
        "email": f"{name}{_AT}",
        "dateOfBirth": "1990-12-10",
    } | changes


def _create(name: str, *faults: str | None, **more: Any) -> Call:
    """Make a call for a customer who must exist afterwards."""
    call = Call(
        name=name,
        route="POST /customers",
        ends="201",
        body=_customer(name),
        faults=faults,
        creates=name,
    )
    return replace(call, **more)


def _refused(name: str, ends: str, **changes: Any) -> Call:
    """Make a create that must not bring a customer about."""
    return _create(name, ends=ends, creates=None, body=_customer(name, **changes))


def _end_tokens(api: CustomerVerification) -> None:
    """End all tokens before their time, as the client has no way to know."""
    for token in api.tokens.values():
        token.ends = 0


def _read_only(api: Sandbox[CustomerVerification]) -> Data:
    return {"auth": None, "headers": {"X-API-Key": api.credentials["read_only_key"]}}


_SHARED = Site(
    CUSTOMER_VERIFICATION, planned={"POST /auth/token": ("latency:0.3", "latency:0.3")}, sign_ins=2
)
_SMALL = Site(CUSTOMER_VERIFICATION, {"limit": 3, "per": 6.0})  # a sign-in and two customers in 6 seconds
_EVERYDAY = Site(CUSTOMER_VERIFICATION)
_FORGETFUL = Site(CUSTOMER_VERIFICATION, {"honours_keys": False})

SCENES: tuple[Scene, ...] = (
    Scene(
        "Nobody has a token",
        "Four callers at once: one of them signs in, for all.",
        _SHARED,
        tuple((_create(f"customer-{number}"),) for number in range(1, 5)),
        first=True,
    ),
    Scene(
        "The token ends early",
        "Who comes with it is refused; one signs in anew, for all, and each is sent again.",
        _SHARED,
        tuple((Call(name=f"list-{number}", route="GET /customers", ends="200"),) for number in range(1, 5)),
        meets="TOKEN_EXPIRED",
        first=True,
        before=_end_tokens,
    ),
    Scene(
        "Told to wait",
        "By the API, by a proxy in front of it that knows no codes, and by a 503.",
        _EVERYDAY,
        (
            (_create("throttled-api", "RATE_LIMIT_EXCEEDED:2"),),
            (_create("throttled-proxy", "RATE_LIMIT_EXCEEDED#4:3"),),
            (_create("unavailable", "SERVICE_UNAVAILABLE#2:4"),),
        ),
    ),
    Scene(
        "A small allowance",
        "Four customers at once, where three requests fit into 6 seconds.",
        _SMALL,
        tuple((_create(f"allowed-{number}"),) for number in range(1, 5)),
        meets="RATE_LIMIT_EXCEEDED",
        first=True,
    ),
    Scene(
        "Ridden out under one key",
        "A 500 is tried again for every method, and a create keeps its key.",
        _EVERYDAY,
        (
            (_create("stormy", "INTERNAL_SERVER_ERROR", "INTERNAL_SERVER_ERROR"),),
            (_create("reply-gone", "lose"),),
            (
                _create("renamed"),
                Call(
                    name="rename",
                    route="PATCH /customers/{id}",
                    params=lambda told: {"id": told["renamed"]["id"]},
                    body={"lastName": "Lovelace"},
                    ends="200",
                    faults=("INTERNAL_SERVER_ERROR",),
                ),
            ),
        ),
    ),
    Scene(
        "An echo",
        "Where keys are ignored, the retry of a lost create meets what it has made itself.",
        _FORGETFUL,
        (
            (
                _create("echo", "lose", ends="DUPLICATE_RESOURCE"),
                Call(
                    name="echo-found",
                    route="GET /customers",
                    body={"email": f"echo{_AT}"},
                    ends="200",
                ),
            ),
        ),
        meets="DUPLICATE_RESOURCE",
    ),
    Scene(
        "Refused, and why",
        "The field that was wrong is named; the words are fit for a user.",
        _EVERYDAY,
        (
            (_refused("no-birthday", "VALIDATION_ERROR", dateOfBirth=None),),
            (_refused("odd-birthday", "INVALID_FIELD_FORMAT", dateOfBirth="10.12.1990"),),
            (_create("may-not", ends="INSUFFICIENT_PERMISSIONS", creates=None, signed=_read_only),),
        ),
    ),
)
