"""The APIs that are put to the proof: what a create is, and where the server's ledger shows it. Data only.

Each create carries a mark in its body that no other carries, and the ledger is searched by it: what the server's state holds, not
the requests that it has seen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resilient_client.sandbox import Zerotrace
    from resilient_client.sandbox.customer_verification import CustomerVerification
    from resilient_client.sandbox.integration import Integration

__all__ = ["SUBJECTS", "Subject"]

NO_LIMIT = 10**12  # of whatever the operator limits: more than any run can spend


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One API, and its create."""

    name: str
    api: str  # the sandbox's name
    path: str  # that is posted to, below the base URL
    options: Callable[[int], Mapping[str, Any]]  # of the sandbox, for so many creates
    setting: str  # what these options change, for the report
    marks: Callable[[Any, int], Sequence[str]]  # as many as are asked for, given the sandbox's state
    body: Callable[[Any, str], Mapping[str, Any]]  # of the create that carries this mark, given the state
    held: Callable[[Any], Mapping[str, int]]  # how many of each mark the state holds


def _numbered(_state: object, creates: int) -> Sequence[str]:
    return [f"create-{number:05d}" for number in range(creates)]


def _order(_state: object, mark: str) -> Mapping[str, Any]:
    return {
        "fromCcy": "BTC",
        "toCcy": "XMR",
        "direction": "from",
        "amount": "0.01",
        "type": "fixed",
        "toAddress": mark,
    }


def _orders(state: Zerotrace) -> Mapping[str, int]:
    return Counter(order.view["to"]["address"] for order in state.orders.values())


def _customer(_state: object, mark: str) -> Mapping[str, Any]:
    return {"firstName": "Ada", "lastName": "Byron", "dateOfBirth": "1980-12-10", "email": mark}


def _emails(_state: object, creates: int) -> Sequence[str]:
    return [f"create-{number:05d}@example.com" for number in range(creates)]


def _customers(state: CustomerVerification) -> Mapping[str, int]:
    return Counter(customer.fields["email"] for customer in state.customers.values())


def _activities(state: Integration, creates: int) -> Sequence[str]:
    return list(state.activities)[:creates]


def _result(state: Integration, mark: str) -> Mapping[str, Any]:
    return {
        "activity_id": mark,
        "commerce_external_id": state.activities[mark].commerce_external_id,
        "occurred_at": "2026-04-15T10:30:00Z",
        "status": "EFFECTIVE",
        "task_result": {"result": "SALE_COMPLETED"},
    }


def _results(state: Integration) -> Mapping[str, int]:
    return state.written()


SUBJECTS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject(
            name="zerotrace",
            api="zerotrace",
            path="/v1/create",
            options=lambda _: {"budget": NO_LIMIT},
            setting="the operator has raised the budget of 2500 units a minute",
            marks=_numbered,
            body=_order,
            held=_orders,
        ),
        Subject(
            name="customer_verification",
            api="customer_verification",
            path="/customers",
            options=lambda _: {"limit": NO_LIMIT},
            setting="the operator has raised the limit of requests",
            marks=_emails,
            body=_customer,
            held=_customers,
        ),
        Subject(
            name="customer_verification_keyless",
            api="customer_verification",
            path="/customers",
            options=lambda _: {"limit": NO_LIMIT, "honours_keys": False},
            setting="the operator has raised the limit of requests, and ignores idempotency keys",
            marks=_emails,
            body=_customer,
            held=_customers,
        ),
        Subject(
            name="integration",
            api="integration",
            path="/activity-results/tasks",
            options=lambda creates: {"activities": creates},
            setting="one result for each activity of the tenant; the API knows no keys",
            marks=_activities,
            body=_result,
            held=_results,
        ),
    )
}
