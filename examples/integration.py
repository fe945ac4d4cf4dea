"""Submit results to Reten's integration API, lose a reply, and see that the result is there once; then correct one.

This API has no idempotency keys: it refuses a second result for the same activity instead. So a result may be sent
again, and the 409 that then comes back may be the echo of one's own first attempt; the outcome tells. The API is a
stand-in in memory that keeps the vendor's contract, and time is virtual. Run it: python examples/integration.py
"""

from __future__ import annotations

from typing import Any

from resilient_client import ApiError, ResilientClient, outcome_of, raise_for_status
from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.testing import VirtualClock

SUBMIT = "/activity-results/tasks"

# What goes wrong, in the order of the submissions. "lose" means that the result is registered and the reply is lost.
FAULTS = [None, "SERVER_ERROR", "RATE_LIMITED:5", None, "lose"]


def result_of(task: dict[str, Any], code: str, **more: Any) -> dict[str, Any]:
    """Write the result of a task of the listing."""
    return {
        "activity_id": task["id"],
        "commerce_external_id": task["commerceExternalId"],
        "occurred_at": "2025-06-15T10:30:00Z",
        "status": "EFFECTIVE",
        "task_result": {"result": code, **more},
    }


def submit(client: ResilientClient, result: dict[str, Any], **ask: bool) -> str:
    """Submit one result and tell how it went; `idempotent` says that it does no harm to send it twice."""
    asked = {"resilience": {"idempotent": True, **ask}}
    response = client.post(SUBMIT, json=result, extensions=asked)
    outcome = outcome_of(response)
    way = " -> ".join(attempt.verdict.name for attempt in outcome.attempts)
    if response.status_code == 409 and outcome.maybe_applied:
        there = client.get(f"{SUBMIT}/{result['activity_id']}").json()["taskResult"]["result"]
        return f"{way}: {'our own' if there == result['task_result']['result'] else 'not ours'}"
    raise_for_status(response)
    return way


def main() -> None:
    """Submit three results, then a wrong one, then a correction."""
    schedule = Schedule().add(f"POST {SUBMIT}", FAULTS)
    api = Sandbox("integration", clock=VirtualClock(), faults=schedule, activities=3)
    with api.client() as client:
        types = client.get("/task-result-type-configs").json()
        dated = [each["code"] for each in types if each["requiresFutureScheduledAt"]]
        print(f"{len(types)} result codes, of which these need a date: {', '.join(dated)}")

        tasks = client.get("/activities/tasks", params={"status": "PENDING"}).json()["data"]
        for number, task in enumerate(tasks, 1):
            print(f"result {number}: {submit(client, result_of(task, 'SALE_COMPLETED'))}")

        try:
            submit(client, result_of(tasks[0], "RESCHEDULE", comment=5))
        except ApiError as error:
            print(f"refused: {error.name}: {'; '.join(error.outcome.verdict.details)}")

        correction = result_of(tasks[0], "NOT_INTERESTED")
        print(f"correction: {submit(client, correction, override_conflict=True)}")

    print(f"activities: {len(tasks)}, results that stand: {len(api.state.results)}")
    print(f"ever registered, per activity: {[api.state.written()[task['id']] for task in tasks]}")


if __name__ == "__main__":
    main()
