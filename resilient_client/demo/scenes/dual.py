"""The DUAL API: logins that end, times to come back at, and no keys at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resilient_client.demo.script import Call, Data, Scene, Site, Vendor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client.sandbox.dual import Dual

__all__ = ["DUAL", "SCENES"]

_HOOKS = "https://hooks.example/"  # the rest of a webhook's URL marks it by the call that made it


def _created(api: Dual) -> Iterator[str]:
    for template in api.templates.values():
        yield template.name
    for made in api.objects.values():
        yield made.properties["made_by"]
    for webhook in api.webhooks.values():
        yield webhook.url.removeprefix(_HOOKS)


DUAL = Vendor(name="dual", short="DUAL", created=_created, sign_in="POST /wallets/login")


def _webhook(name: str, *faults: str | None, **more: Any) -> Call:
    """Make a call for a webhook that must exist afterwards."""
    call = Call(
        name=name,
        route="POST /webhooks",
        ends="200",
        body={"url": f"{_HOOKS}{name}", "events": ["object.created"]},
        faults=faults,
        creates=name,
    )
    return replace(call, **more)


def _template(name: str, kind: str = "string", **more: Any) -> Call:
    call = Call(
        name=name,
        route="POST /templates",
        ends="200",
        body={"name": name, "properties": {"made_by": {"type": kind}}},
        creates=name,
    )
    return replace(call, **more)


def _read(name: str, *faults: str | None, ends: str = "200", **more: Any) -> Call:
    return Call(name=name, route="GET /objects", ends=ends, faults=faults, **more)


def _object(name: str, template: str, *faults: str | None, **more: Any) -> Call:
    """Make a call for an object that must exist afterwards."""

    def body(told: Data) -> Data:
        return {"template_id": told[template]["id"], "properties": {"made_by": name}}

    call = Call(name=name, route="POST /objects", ends="200", body=body, faults=faults, creates=name)
    return replace(call, **more)


_EVERYDAY = Site(DUAL, {"retry_after_as": "epoch"})
_SHORT_LIVED = Site(DUAL, {"token_life": 7.0}, sign_ins=2)

SCENES: tuple[Scene, ...] = (
    Scene(
        "A login ends meanwhile",
        "Told to wait for longer than the token lives: one signs in anew, before all go again.",
        _SHORT_LIVED,
        tuple((_read(f"overnight-{number}", "UNAVAILABLE:8"),) for number in range(1, 4)),
        first=True,
    ),
    Scene(
        "A token that still lives",
        "Refused all the same: a new one would not help, so none is fetched.",
        _EVERYDAY,
        ((_read("unwelcome", "AUTHENTICATION_ERROR", ends="AUTHENTICATION_ERROR"),),),
    ),
    Scene(
        "A time to come back at",
        "This Retry-After is a moment (epoch seconds); what was refused may be sent again.",
        _EVERYDAY,
        (
            (_webhook("hook-later", "RATE_LIMITED:3"),),
            (_read("read-later", "RATE_LIMITED:2"),),
        ),
    ),
    Scene(
        "No keys",
        "A create whose reply was lost may have been done: not sent twice. A read is.",
        _EVERYDAY,
        (
            (
                _template("template"),
                _object("object-lost", "template", "lose", ends="RemoteProtocolError"),
                Call(
                    name="object-found",
                    route="GET /indexer/search",
                    body=lambda told: {"template_id": told["template"]["id"]},
                    ends="200",
                ),
            ),
            (_read("read-lost", "lose"),),
            (_webhook("hook-failed", "SERVER_ERROR", ends="SERVER_ERROR", creates=None),),
            (_read("read-failed", "SERVER_ERROR", "SERVER_ERROR"),),
        ),
    ),
    Scene(
        "Refused for good",
        "By code 4001, or by the status alone; the message is never read.",
        _EVERYDAY,
        (
            (_template("odd-schema", "colour", ends="INVALID_TEMPLATE_SCHEMA", creates=None),),
            (
                _template("name-taken"),
                _template(
                    "name-taken-again",
                    ends="CONFLICT",
                    creates=None,
                    body={"name": "name-taken", "properties": {}},
                ),
            ),
            (Call(name="no-object", route="GET /objects/{id}", params={"id": "obj_0"}, ends="NOT_FOUND"),),
        ),
        meets="CONFLICT",
    ),
)
