"""Moving money through OpenPoly's simulator: what a key in the body is worth, and what to do where there is none.

The API is a stand-in that keeps OpenPoly's contract in memory, and loses replies as it is told. Time is virtual: nothing is
really waited for. Run it: python examples/openpoly.py
"""

from __future__ import annotations

import httpx

from resilient_client import ApiError, outcome_of
from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.testing import VirtualClock

TOP_UP = {"external_user_id": "player-7", "direction": "credit", "amount_minor": 1250}

# "lose" means that the money is moved and the reply is lost. One fault per request that the API was about to accept.
FAULTS = ["SERVER_ERROR", "lose", None, "lose", None, "lose", None]


def main() -> None:
    """Top a wallet up three times, and be refused once."""
    faults = Schedule().add("POST /simulator/operations", FAULTS)
    api = Sandbox("openpoly", clock=VirtualClock(), faults=faults)
    with api.client(raise_for_status=True) as client:
        client.post("/launch", json={"external_user_id": "player-7"})

        print("A key in the body, a failure and a lost reply:")
        response = client.post("/simulator/operations", json=TOP_UP | {"idempotency_key": "top-up-1"})
        for attempt in outcome_of(response).attempts:
            print(f"  attempt {attempt.number}: {attempt.status or type(attempt.error).__name__}")
        print(f"  operations that exist: {len(api.state.operations)}")

        print("A key in the extension, which the client writes into the body:")
        key = {"resilience": {"idempotency_key": "top-up-2"}}
        response = client.post("/simulator/operations", json=TOP_UP, extensions=key)
        print(
            f"  operation {response.json()['item']['id']} has the key {outcome_of(response).idempotency_key}"
        )

        print("No key, and a lost reply:")
        try:
            client.post("/simulator/operations", json=TOP_UP)
        except httpx.TransportError as error:
            outcome = outcome_of(error)
            print(f"  sent {len(outcome.attempts)} time, may have been applied: {outcome.maybe_applied}")
        newest = client.get("/balance-operations", params={"page_size": 1}).json()["items"][0]
        print(f"  looked up before doing it again: operation {newest['id']} {newest['status']}")

        balance = client.get("/simulator/wallets/player-7").json()["item"]["balance_minor"]
        print(f"Three top-ups of 1250 make {balance}")

        print("A user whom no launch has made known:")
        try:
            client.post("/simulator/operations", json=TOP_UP | {"external_user_id": "player-8"})
        except ApiError as error:
            print(f"  {error.name}: {error.remedy}")
            report = error.support_report(scopes=["simulator:write"]).splitlines()
            wanted = ("request path", "response status", "request id", "key scopes")
            print("\n".join(f"  {line}" for line in report if line.startswith(wanted)))


if __name__ == "__main__":
    main()
