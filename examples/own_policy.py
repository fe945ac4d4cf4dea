"""An API of your own: its errors in a file (`acme.toml`, beside this one), the client in one line.

The API is a list of replies, and time is virtual. Run it: python examples/own_policy.py
"""

from __future__ import annotations

from pathlib import Path

import httpx

from resilient_client import PolicyError, ResilientClient, load_policy, outcome_of
from resilient_client.testing import VirtualClock, error_response

ACME = Path(__file__).with_name("acme.toml")


def main() -> None:
    """Classify replies by the policy, then let a client act on them, then break the policy."""
    policy = load_policy(ACME)
    print(f"{policy.title}: {len(policy.rules)} rules, its own and those of the default policy")
    for name in ("LOCK_TIMEOUT", "OUT_OF_STOCK", "THROTTLED", "NOT_FOUND"):
        verdict = policy.classify(error_response(policy, name))
        print(
            f"  {verdict.status} {verdict.name}: {verdict.category}, {'may be retried' if verdict.retryable else 'final'}"
        )

    replies = iter(
        [
            error_response(policy, "THROTTLED"),
            error_response(policy, "LOCK_TIMEOUT"),
            httpx.Response(201, json={"order": 8}),
        ]
    )
    clock = VirtualClock()
    transport = httpx.MockTransport(lambda _request: next(replies))
    with ResilientClient(policy, clock=clock, transport=transport) as client:
        response = client.post("https://acme.example/orders", json={"sku": 4711})
    outcome = outcome_of(response)
    print(f"POST /orders: {' -> '.join(attempt.verdict.name for attempt in outcome.attempts)}")
    print(f"  waited {outcome.slept:.1f} s on the virtual clock, key {outcome.idempotency_key}")

    broken = ACME.read_text(encoding="utf-8").replace("schedule = [1, 3]", "shedule = [1, 3]")
    path = Path.cwd() / "broken.toml"
    try:
        path.write_text(broken, encoding="utf-8")
        load_policy(path)
    except PolicyError as error:
        print(f"A slip in the file: {str(error).replace(str(path.parent), '…')}")
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
