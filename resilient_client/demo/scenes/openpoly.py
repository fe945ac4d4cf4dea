"""The OpenPoly operator API: keys that travel in the body, money that must move once, and scopes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resilient_client.demo.script import Call, Data, Scene, Site, Vendor
from resilient_client.sandbox import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.sandbox import Sandbox
    from resilient_client.sandbox.openpoly import Openpoly

__all__ = ["OPENPOLY", "SCENES"]

_PLAYER = "player-of-"  # whose wallet a movement is of marks it by the call that made it


def _created(api: Openpoly) -> Iterator[str]:
    for operation in api.operations.values():
        yield operation.external_user_id.removeprefix(_PLAYER)


OPENPOLY = Vendor(name="openpoly", short="OpenPoly", created=_created)


def _move(name: str, *faults: str | None, keyed: bool = True, **more: Any) -> Call:
    """Make a call for a movement that must be there afterwards, once."""
    call = Call(
        name=name,
        route="POST /simulator/operations",
        ends="201",
        body={"external_user_id": f"{_PLAYER}{name}", "direction": "credit", "amount_minor": 1250},
        faults=faults,
        creates=name,
        options={"idempotency_key": f"key-of-{name}"} if keyed else {},
    )
    return replace(call, **more)


def _with(key: str) -> Callable[[Sandbox[Openpoly]], Data]:
    """Call with another of the operator's keys."""
    return lambda api: {"headers": {"Authorization": f"Bearer {api.credentials[key]}"}}


def _launch_all(api: Openpoly) -> None:
    """Have every player visit, for a movement needs one who is known."""
    calls = [call for scene in SCENES for call in scene.calls() if call.name != "stranger"]
    for call in calls:
        request = Request(
            method="POST",
            path=f"{api.base}/launch",
            query={},
            headers={"authorization": f"Bearer {api.credentials['key']}"},
            body=json.dumps({"external_user_id": f"{_PLAYER}{call.name}"}).encode(),
        )
        api.answer(request, 0.0)


_OPERATOR = Site(OPENPOLY, begins=_launch_all)

SCENES: tuple[Scene, ...] = (
    Scene(
        "One movement",
        "The key travels in the body: whatever gets lost, the money moves once.",
        _OPERATOR,
        (
            (
                _move("move-lost", "lose"),
                Call(
                    name="move-found",
                    route="GET /simulator/operations/{idempotency_key}",
                    params={"idempotency_key": "key-of-move-lost"},
                    ends="200",
                ),
            ),
            (_move("move-lost-twice", "lose", "lose-reset"),),
            (_move("move-balancer", "html-503", "html-503"),),
            (_move("move-throttled", "RATE_LIMITED:3"),),
        ),
    ),
    Scene(
        "No key",
        "The same without one: it may have been done, so it is not sent twice.",
        _OPERATOR,
        (
            (_move("unkeyed-lost", "lose", keyed=False, ends="RemoteProtocolError"),),
            (_move("unkeyed-503", "html-503", keyed=False, ends="SERVER_ERROR", creates=None),),
        ),
    ),
    Scene(
        "Scopes and users",
        "Refused before anything moves; an escalation has all that it needs.",
        _OPERATOR,
        (
            (_move("out-of-scope", ends="INSUFFICIENT_SCOPE", creates=None, signed=_with("read_only_key")),),
            (_move("revoked", ends="INVALID_API_KEY", creates=None, signed=_with("revoked_key")),),
            (_move("stranger", ends="OPERATOR_USER_NOT_FOUND", creates=None),),
        ),
        meets="INSUFFICIENT_SCOPE",
    ),
)
