"""What an integration of DUAL has to live with: creates without idempotency keys, logins that end, locks, and limits.

The API is a stand-in that keeps DUAL's contract in memory, and fails as it is told. Time is virtual, so that nothing is
really waited for. Run it: python examples/dual.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from resilient_client import ApiError, Policy, outcome_of, raise_for_status
from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from resilient_client import ResilientClient

# No code is published for a locked object, so its rule is off as shipped. Who knows the code switches it on, in two
# lines of TOML or, as here, in one of Python.
MINE = Policy.model_validate({"extends": "dual", "codes": {"OBJECT_LOCKED": 4230}})


def make_once(client: ResilientClient, template_id: str, serial: str) -> Any:
    """Make an object. Where the reply is lost, look whether it exists: the client does not send such a create twice."""
    document = {"template_id": template_id, "properties": {"serial": serial}}
    try:
        return raise_for_status(client.post("/objects", json=document)).json()
    except httpx.TransportError as error:
        if not outcome_of(error).maybe_applied:
            raise
        print(f"  {type(error).__name__}: it may have been made, so it is looked for")
        items = client.get("/indexer/search", params={"template_id": template_id}).json()["items"]
        return next(each for each in items if each["properties"]["serial"] == serial)


def main() -> None:
    """Go through a day with DUAL."""
    clock = VirtualClock()
    faults = Schedule().add("POST /objects", ["lose"])  # the object is made, and the reply is lost
    api = Sandbox("dual", clock=clock, faults=faults, action_time=0.05, locked_code=4230)
    with api.client(policy=MINE) as client:
        template = client.post("/templates", json={"name": "ring", "properties": {"serial": "string"}}).json()

        print("A create whose reply is lost:")
        ring = make_once(client, template["id"], "R-1")
        print(f"  objects that exist: {len(api.state.objects)}")

        print("A day later:")
        clock.advance(86_400)
        status = client.get(f"/objects/{ring['id']}").status_code
        routes = [seen.route for seen in api.state.requests]
        print(f"  {status} after {routes.count('POST /wallets/login')} logins")

        print("Two actions on one object, the second while the first is in flight:")
        action = {"action_type": "transfer", "object_id": ring["id"], "payload": {"to": ring["owner_id"]}}
        first, second = (client.post("/ebus/actions", json=action) for _ in range(2))
        met = {attempt.verdict.name for attempt in outcome_of(second).attempts[:-1]}
        print(f"  {first.status_code}, then {' and '.join(met)} until it was {second.status_code}")

        print("Twelve webhooks at once, where five a second are allowed:")
        hook = {"url": "https://hooks.example/dual", "events": ["object.transferred"]}
        made = [client.post("/webhooks", json=hook).is_success for _ in range(12)]
        waits = [seen.status for seen in api.state.requests].count(429)
        print(f"  {sum(made)} made, after {waits} waits that the API asked for")

        print("An error that no retry cures:")
        response = client.post("/templates", json={"name": "cup", "properties": {"born": "date"}})
        try:
            raise_for_status(response)
        except ApiError as error:
            print(f"  {error.name}, code {error.code}, at {error.field}")
            print(f"  remedy: {error.remedy}")


if __name__ == "__main__":
    main()
