"""Reten's activities integration API: results that are registered once, and replaced only when somebody says so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resilient_client.demo.script import Call, Data, Scene, Site, Vendor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.sandbox import Sandbox
    from resilient_client.sandbox.integration import Integration

__all__ = ["INTEGRATION", "SCENES"]


def _created(api: Integration) -> Iterator[str]:
    for result in api.writes:
        yield json.loads(result.body)["task_result"]["comment"]


INTEGRATION = Vendor(name="integration", short="Reten Integration", created=_created)


def _tasks(name: str, commerce: str, *faults: str | None) -> Call:
    """Make a call for the tasks of one business."""
    return Call(
        name=name,
        route="GET /activities/tasks",
        body={"external_commerce_id": commerce},
        ends="200",
        faults=faults,
    )


def _result(
    name: str, of: str, number: int, *faults: str | None, code: str = "SALE_COMPLETED", **more: Any
) -> Call:
    """Make a call for a result that must be registered afterwards, for one of the tasks that a call has listed."""

    def body(told: Data) -> Data:
        task = told[of][number]
        return {
            "activity_id": task["id"],
            "commerce_external_id": task["commerceExternalId"],
            "occurred_at": "2026-04-15T10:00:00Z",
            "status": "EFFECTIVE",
            "task_result": {"result": code, "comment": name},
        }

    call = Call(
        name=name,
        route="POST /activity-results/tasks",
        ends="201",
        body=body,
        faults=faults,
        creates=name,
    )
    return replace(call, **more)


def _with(key: str) -> Callable[[Sandbox[Integration]], Data]:
    """Call with another of the tenant's keys."""
    return lambda api: {"headers": {"x-api-key": api.credentials[key]}}


def _without_key(_api: Sandbox[Integration]) -> Data:
    return {"headers": {"x-api-key": ""}}


_TENANT = Site(INTEGRATION)

SCENES: tuple[Scene, ...] = (
    Scene(
        "Was it registered?",
        "Sent again after a lost reply, it meets a result: its own, maybe. Replaced only on request.",
        _TENANT,
        (
            (
                _tasks("tasks-1", "COM-001"),
                _result("visit-lost", "tasks-1", 0, "lose", ends="Conflict", options={"idempotent": True}),
                _result("visit-again", "tasks-1", 0, ends="Conflict", creates=None),
                _result("visit-replaced", "tasks-1", 0, options={"override_conflict": True}),
            ),
        ),
        meets="Conflict",
    ),
    Scene(
        "Server errors",
        "Tried again at growing distances, whatever the method.",
        _TENANT,
        (
            (
                _tasks("tasks-2", "COM-002", "SERVER_ERROR"),
                _result("visit-500", "tasks-2", 0, "SERVER_ERROR", "SERVER_ERROR"),
                _result("visit-503", "tasks-2", 1, "html-503"),
            ),
        ),
    ),
    Scene(
        "Refused, and why",
        "The body of the error is kept for the log, a list of messages as a whole.",
        _TENANT,
        (
            (
                _tasks("tasks-3", "COM-003"),
                _result("odd-code", "tasks-3", 0, code="SOLD", ends="Bad Request", creates=None),
                _result("query-key", "tasks-3", 0, ends="Forbidden", creates=None, signed=_with("query_key")),
                _result("no-api-key", "tasks-3", 0, ends="Unauthorized", creates=None, signed=_without_key),
            ),
        ),
        meets="Forbidden",
    ),
)
