"""The 0trace Partner API: every code that its documents name, and a line that breaks in every way."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resilient_client.auth import HmacAuth
from resilient_client.demo.script import Call, Data, Scene, Site, Vendor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.clock import Clock
    from resilient_client.sandbox import Sandbox, Zerotrace

__all__ = ["SCENES", "ZEROTRACE"]

_WALLET = "wallet-of-"  # what marks an order by the call that made it, whatever key was sent


def _created(api: Zerotrace) -> Iterator[str]:
    for order in api.orders.values():
        yield json.loads(order.body)["toAddress"].removeprefix(_WALLET)


ZEROTRACE = Vendor(
    name="zerotrace",
    short="0trace",
    created=_created,
    reserved=frozenset({9}),  # https://0trace.io/api/errors/cookbook
    complete=True,
)


def _order(name: str, **changes: Any) -> Data:
    return {
        "fromCcy": "BTC",
        "toCcy": "XMR",
        "direction": "from",
        "amount": 0.01,
        "type": "fixed",
        "toAddress": f"{_WALLET}{name}",
    } | changes


def _create(name: str, *faults: str | None, changes: Data | None = None, **more: Any) -> Call:
    """Make a call for an order that must exist afterwards."""
    call = Call(name=name, route="POST /v1/create", ends="200", faults=faults, creates=name)
    call = replace(call, **more)
    return replace(call, body=_order(call.creates or name, **(changes or {})))


def _refused(name: str, ends: str, *faults: str | None, changes: Data | None = None, **more: Any) -> Call:
    """Make a create that must not bring an order about."""
    return _create(name, *faults, changes=changes, ends=ends, creates=None, **more)


def _quote(name: str, *faults: str | None, ends: str = "200", **more: Any) -> Call:
    return Call(name=name, route="POST /v1/price", ends=ends, body=_order(name), faults=faults, **more)


def _of(name: str, **more: Any) -> Callable[[Data], Data]:
    """Name the order that an earlier call made, by id and token."""
    return lambda told: {"id": told[name]["id"], "token": told[name]["token"], **more}


# --- signers that do not do what the client's own does


def _unsigned(_api: Sandbox[Zerotrace]) -> Data:
    return {"auth": None}


def _wrong_secret(api: Sandbox[Zerotrace]) -> Data:
    return {"auth": HmacAuth(api.key, "not-the-secret")}


def _newest_secret(api: Sandbox[Zerotrace]) -> Data:
    return {"auth": HmacAuth(api.key, api.secret)}


def _nonces(*nonces: str) -> Callable[[Sandbox[Zerotrace]], Data]:
    """Sign with these nonces, in this order: two processes that share a poor generator."""

    def signed(api: Sandbox[Zerotrace]) -> Data:
        left = iter(nonces)
        return {"auth": HmacAuth(api.key, api.secret, nonce=lambda: next(left))}

    return signed


# --- what happens at the servers


def _begin_upgrade(api: Zerotrace) -> None:
    api.maintenance = True


def _switch_off(api: Zerotrace) -> None:
    api.enabled = False


def _end_upgrade(api: Zerotrace, clock: Clock) -> None:
    """End it 1.5 seconds after everybody has met it, or 10 real seconds on where somebody does not come."""
    waiting = {call.name for scene in SCENES if scene.site is _UPGRADED for call in scene.calls()}
    until = time.monotonic() + 10  # a machine that is busy is not faster because its clock is
    while not waiting <= {seen.call for seen in tuple(api.requests)} and time.monotonic() < until:
        clock.sleep(0.1)
    clock.sleep(1.5)
    api.maintenance = False


_EVERYDAY = Site(ZEROTRACE, {"codes_cap": 1})
_RETIRED = Site(ZEROTRACE)
_UPGRADED = Site(ZEROTRACE, begins=_begin_upgrade, meanwhile=_end_upgrade)
_SMALL = Site(ZEROTRACE, {"budget": 100, "per": 8.0})  # two orders in 8 seconds

_KEPT = {"idempotency_key": "the-caller-keeps-this-one"}
_ONCE = "a-nonce-that-was-used-before"  # 16 to 64 characters

SCENES: tuple[Scene, ...] = (
    Scene(
        "A good day",
        "Nothing goes wrong: one attempt each.",
        _EVERYDAY,
        (
            *((_create(f"order-{number}"),) for number in range(1, 5)),
            (
                _create("life-create"),
                Call(name="life-qr", route="POST /v1/qr", ends="200", body=_of("life-create")),
                Call(name="life-read", route="GET /v1/order", ends="200", body=_of("life-create")),
                Call(
                    name="life-refund",
                    route="POST /v1/emergency",
                    ends="EMERGENCY_INVALID_CHOICE",
                    body=_of("life-create", choice="REFUND"),
                ),
            ),
        ),
    ),
    Scene(
        "Refused for good",
        "The call itself is wrong: it is sent once, and the policy says what to do.",
        _EVERYDAY,
        (
            (_refused("no-address", "INVALID_REQUEST", changes={"toAddress": ""}),),
            (
                _create("keyed", options={"idempotency_key": "the-key-of-one-order"}),
                _refused(
                    "keyed-otherwise", "INVALID_REQUEST", options={"idempotency_key": "the-key-of-one-order"}
                ),
            ),
            (Call(name="unsigned", route="GET /v1/codes", ends="AUTH_REQUIRED", signed=_unsigned),),
            (
                Call(
                    name="unknown-order",
                    route="GET /v1/order",
                    ends="NOT_FOUND",
                    body={"id": "NOBODY0001", "token": "-"},
                ),
            ),
            (_refused("too-small", "LIMIT_MIN", changes={"amount": 0.00001}),),
            (_refused("too-large", "LIMIT_MAX", changes={"amount": 1}),),
            (
                Call(name="code-1-of-1", route="POST /v1/codes", ends="200"),
                Call(name="code-2-of-1", route="POST /v1/codes", ends="LIMIT_EXCEEDED"),
            ),
        ),
    ),
    Scene(
        "Keys and signatures",
        "A nonce that was used before is cured by a fresh one; a wrong secret is not.",
        _EVERYDAY,
        (
            (
                Call(name="nonce-once", route="GET /v1/codes", ends="200", signed=_nonces(_ONCE)),
                _create("nonce-twice", signed=_nonces(_ONCE, "a-nonce-never-seen-before")),
            ),
            (_refused("wrong-secret", "AUTH_INVALID", signed=_wrong_secret),),
        ),
        meets="AUTH_INVALID",
    ),
    Scene(
        "The account changes hands",
        "Two processes rotate the keys at once; then the operator switches the account off.",
        _RETIRED,
        (
            (
                Call(name="rotate-first", route="POST /v1/keys/rotate", ends="200"),
                Call(name="rotate-second", route="POST /v1/keys/rotate", ends="ROTATION_CONFLICT"),
                _refused("switched-off", "AUTH_DISABLED", signed=_newest_secret, before=_switch_off),
            ),
        ),
        meets="ROTATION_CONFLICT",
        first=True,
    ),
    Scene(
        "The line breaks",
        "Was it done, or not? What carries a key is sent again; what carries none is not.",
        _EVERYDAY,
        (
            (_create("reset", "reset"),),
            (_create("closed", "close"),),
            (_create("reply-lost", "lose"),),
            (_create("lost-twice", "lose", "lose"),),
            (_create("balancer", "html-503"),),
            (
                _create("cut-short", "truncate", ends="RemoteProtocolError", options=_KEPT),
                _create("cut-short-again", creates="cut-short", options=_KEPT),
            ),
            (
                Call(
                    name="error-cut-short",
                    route="GET /v1/order",
                    ends="RemoteProtocolError",
                    body={"id": "NOBODY0002", "token": "-"},
                    faults=("truncate",),
                ),
            ),
            (
                Call(
                    name="qr-no-key",
                    route="POST /v1/qr",
                    ends="ReadError",
                    body={"id": "-"},
                    faults=("reset",),
                ),
            ),
        ),
    ),
    Scene(
        "Something unforeseen",
        "500 is worth one more try: an order under the key that it already has.",
        _EVERYDAY,
        (
            (_create("internal", "INTERNAL"),),
            (_quote("internal-quote", "INTERNAL"),),
            (_refused("internal-twice", "INTERNAL", "INTERNAL", "INTERNAL"),),
        ),
    ),
    Scene(
        "An upgrade",
        "Maintenance, for as long as it takes; it ends 1.5 s after all have met it.",
        _UPGRADED,
        tuple((_create(f"upgrade-{number}"),) for number in range(1, 4)),
        meets="MAINTENANCE",
    ),
    Scene(
        "A supplier is down",
        "Tried again after 1, 2, 5 and 10 seconds, as long as the caller has time.",
        _EVERYDAY,
        (
            (
                _quote(
                    "impatient", ends="UPSTREAM_ERROR", always="UPSTREAM_ERROR", options={"deadline": 15.0}
                ),
            ),
            (_create("upstream-2", *["UPSTREAM_ERROR"] * 2),),
            (_create("upstream-3", *["UPSTREAM_ERROR"] * 3),),
            (_create("bad-day", "reset", "UPSTREAM_ERROR", "RATE_LIMIT:2", "lose", "INTERNAL"),),
        ),
    ),
    Scene(
        "Told to wait",
        "Never sooner than the server asks; and not at all, where it asks for too much.",
        _EVERYDAY,
        (
            (_create("throttled", "RATE_LIMIT:2"),),
            (_quote("throttled-long", "RATE_LIMIT:900", ends="RATE_LIMIT"),),
        ),
    ),
    Scene(
        "A burst",
        "Four orders at once, on a budget of two in 8 seconds: it is really spent.",
        _SMALL,
        tuple((_create(f"burst-{number}"),) for number in range(1, 5)),
        meets="RATE_LIMIT",
        first=True,
    ),
)
