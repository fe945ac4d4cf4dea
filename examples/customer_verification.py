"""Onboard a customer on a bad day: sign-in, create, document, review, and what a 409 means.

The API wants tokens that end, limits requests, and knows a customer by the e-mail address. A create whose reply was
lost is sent again with its key; where the API ignores keys, the retry meets its own first attempt, and the outcome
says so. The API is a stand-in in memory that keeps the vendor's contract, and time is virtual.
Run it: python examples/customer_verification.py
"""

from __future__ import annotations

import base64
from typing import Any

import httpx

from resilient_client import ApiError, ResilientClient, TokenAuth, outcome_of, raise_for_status
from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.testing import VirtualClock

ADA = {"firstName": "Ada", "lastName": "King", "email": "ada@example.com", "dateOfBirth": "1990-12-10"}
PASSPORT = {"type": "PASSPORT", "content": base64.b64encode(b"%PDF-1.7" + bytes(4000)).decode()}


def register(client: httpx.Client, customer: dict[str, str]) -> dict[str, Any]:
    """Create a customer, or find the one that a lost attempt of this very call has made."""
    response = client.post("/customers", json=customer)
    outcome = outcome_of(response)
    print("  " + " -> ".join(attempt.verdict.name for attempt in outcome.attempts))
    if outcome.verdict.name == "DUPLICATE_RESOURCE" and outcome.maybe_applied:
        found = raise_for_status(client.get("/customers", params={"email": customer["email"]}))
        print("  may be our own: looked up by its e-mail address")
        made: dict[str, Any] = found.json()["data"][0]
    else:
        made = raise_for_status(response).json()
    return made


def onboard(title: str, *, honours_keys: bool) -> None:
    """Take one customer from the create to the review."""
    print(title)
    faults = Schedule().add("POST /customers", ["TOKEN_EXPIRED", "RATE_LIMIT_EXCEEDED:20", "lose"])
    faults.add("POST /customers/{id}/documents", ["INTERNAL_SERVER_ERROR"])
    clock = VirtualClock()
    api = Sandbox("customer_verification", clock=clock, faults=faults, honours_keys=honours_keys)

    # With the real API: ResilientClient("customer_verification", base_url="https://…/api/v1", auth=auth)
    login = httpx.Request("POST", f"{api.base_url}/auth/token", headers={"X-API-Key": api.key})
    auth, wire = TokenAuth(login, "/token"), httpx.MockTransport(api.handler)
    with ResilientClient(
        "customer_verification", base_url=api.base_url, auth=auth, transport=wire, clock=clock
    ) as client:
        path = f"/customers/{register(client, ADA)['id']}"
        uploaded = raise_for_status(client.post(f"{path}/documents", json=PASSPORT))
        print(f"  document taken after {len(outcome_of(uploaded).attempts)} attempts")
        print(f"  {raise_for_status(client.post(f'{path}/verify')).json()['state']}")
        try:
            raise_for_status(client.patch(path, json={"lastName": "Lovelace"}))
        except ApiError as error:
            print(f"  {error.name}, for the user: {error.user_message}")
            record = error.log_record()
            print("  for the log:", {name: record[name] for name in ("statusCode", "errorCode", "requestId")})
        api.state.conclude(path.rpartition("/")[2])  # the reviewer, at the vendor's
        print(f"  {raise_for_status(client.get(path)).json()['state']}")
    print(f"  customers: {len(api.state.customers)}, sign-ins: {len(api.state.tokens)}")
    print(f"  waited at least 20 s for the rate limit: {max(clock.sleeps) >= 20}")


if __name__ == "__main__":
    onboard("A vendor that honours keys:", honours_keys=True)
    onboard("A vendor that ignores them:", honours_keys=False)
