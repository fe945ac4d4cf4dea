"""Forty orders at once over aiohttp, on eight connections of which one in three breaks: one argument chooses the engine.

The API is a stand-in on a free port of this machine, which loses replies after the work was done, resets connections and says what is
no HTTP. It needs the extra `aiohttp`. Run it: python examples/aiohttp_engine.py
"""

from __future__ import annotations

import asyncio

import httpx
from httpx_aiohttp import AiohttpTransport

from resilient_client import AsyncResilientClient, Outcome, outcome_of
from resilient_client.sandbox import RandomFaults, Sandbox
from resilient_client.testing import VirtualClock

ORDERS = 40
ORDER = {"fromCcy": "BTC", "toCcy": "XMR", "direction": "from", "amount": 0.01, "type": "fixed"}


async def place(client: AsyncResilientClient, number: int) -> Outcome:
    """Make one order, and tell what it took."""
    order = {**ORDER, "toAddress": f"wallet-{number}"}
    tag = {"X-Sandbox-Call": str(number)}  # so that each order meets the same faults in every run
    return outcome_of(await client.post("/v1/create", json=order, headers=tag))


async def main() -> None:
    """Place the orders, and ask the API what it has seen."""
    faults = RandomFaults(0.33, kinds=["lose", "reset", "garbage"], seed=7)
    with Sandbox("zerotrace", budget=100_000, clock=VirtualClock(), faults=faults) as api:
        engine = AiohttpTransport(limits=httpx.Limits(max_connections=8))
        async with api.async_client(transport=engine) as client:
            outcomes = await asyncio.gather(*(place(client, number) for number in range(ORDERS)))

    made = sum(outcome.reason == "success" for outcome in outcomes)
    sent = sum(len(outcome.attempts) for outcome in outcomes)
    seen = api.state.requests
    errors = {
        type(attempt.error).__name__ for outcome in outcomes for attempt in outcome.attempts if attempt.error
    }
    print(f"{made} of {ORDERS} orders made; orders that exist: {len(api.state.orders)}")
    print(f"attempts of the library: {sent}; requests that the API saw: {len(seen)}")
    print(f"nonces that were used twice: {len(seen) - len({request.nonce for request in seen})}")
    print(f"what broke is called {' or '.join(sorted(errors))}")


if __name__ == "__main__":
    asyncio.run(main())
