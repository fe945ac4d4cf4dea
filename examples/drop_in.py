"""The same function, the same failures: first through `httpx.Client`, then through `ResilientClient`.

The API is a stand-in that keeps 0trace's contract (signatures, nonces, keys) in memory, and fails as it is told. Time is virtual,
so that nothing is really waited for. Run it: python examples/drop_in.py
"""

from __future__ import annotations

import httpx

from resilient_client import ApiError, HmacAuth, ResilientClient, outcome_of, raise_for_status
from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.testing import VirtualClock

ORDER = {
    "fromCcy": "BTC",
    "toCcy": "ETH",
    "direction": "from",
    "amount": "0.01",
    "type": "fixed",
    "toAddress": "0x52908400098527886E0F7030069857D2E4169EE7",
}

# What goes wrong, in the order of the requests. "lose" means that the order is made and the reply is lost.
FAULTS = ["AUTH_INVALID", "RATE_LIMIT:7", "UPSTREAM_ERROR", "lose", None]


def place_order(client: httpx.Client) -> httpx.Response:
    """Do what an application does; it knows nothing of retries."""
    return client.post("/v1/create", json=ORDER)


def main() -> None:
    """Place the order twice."""
    clock = VirtualClock()

    api = Sandbox("zerotrace", clock=clock, faults=Schedule().add("POST /v1/create", FAULTS))
    auth, wire = HmacAuth(api.key, api.secret), httpx.MockTransport(api.handler)
    with httpx.Client(base_url=api.base_url, auth=auth, transport=wire) as client:
        response = place_order(client)
    print(f"httpx.Client:     {response.status_code} {response.text}")

    api = Sandbox("zerotrace", clock=clock, faults=Schedule().add("POST /v1/create", FAULTS))
    auth, wire = HmacAuth(api.key, api.secret), httpx.MockTransport(api.handler)
    with ResilientClient(
        "zerotrace", base_url=api.base_url, auth=auth, transport=wire, clock=clock
    ) as client:
        response = place_order(client)
        refused = client.post("/v1/create", json=ORDER | {"amount": "9000"})
    print(f"ResilientClient:  {response.status_code} order {response.json()['data']['id']}")

    outcome = outcome_of(response)
    for attempt in outcome.attempts:
        renewed = f", renews the {' and '.join(attempt.change)}" if attempt.change else ""
        answer = (
            f"{attempt.status} {attempt.verdict.name}" if attempt.status else type(attempt.error).__name__
        )
        print(f"  attempt {attempt.number}: {answer}, waits {attempt.wait:.2f} s{renewed}")
    print(f"  orders that exist: {len(api.state.orders)}; key of all attempts: {outcome.idempotency_key}")

    print("An error that no retry cures:")
    try:
        raise_for_status(refused)
    except ApiError as error:
        print(f"  {error.name} after {len(error.outcome.attempts)} attempt")
        print(f"  remedy: {error.remedy}")
        print(f"  for the user: {error.user_message}")


if __name__ == "__main__":
    main()
