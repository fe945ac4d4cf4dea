"""A batch job that the API never has to refuse, an outage that is waited out together, and a stalled read that is overtaken.

Eight workers make 120 orders. 0trace allows 2500 weight units within 60 seconds and an order costs 50, so pacing lets fifty go and
has the others wait for their turn. Then the API is down for 20 seconds, and the workers wait behind one probe at a time. The APIs are
stand-ins in memory, and clocks run fast, so that minutes take a second. Run it: python examples/protected.py
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import httpx

from resilient_client import CircuitOpen, ResilientClient, outcome_of
from resilient_client.protection import BreakerConfig
from resilient_client.sandbox import Sandbox
from resilient_client.sandbox.clock import ScaledClock
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from resilient_client import Outcome
    from resilient_client.sandbox import Request

WORKERS = 8
ORDERS = 120
OUTAGE = range(60, 80)  # seconds: the second fifty would go then

ORDER = {
    "fromCcy": "BTC",
    "toCcy": "ETH",
    "direction": "from",
    "amount": "0.01",
    "type": "fixed",
    "toAddress": "0x52908400098527886E0F7030069857D2E4169EE7",
}


def place(client: ResilientClient, number: int) -> Outcome:
    """Make one order, by a key of the job's own, so that the job can be run again."""
    key = {"resilience": {"idempotency_key": f"batch-7-order-{number}"}}
    return outcome_of(client.post("/v1/create", json=ORDER, extensions=key))


def batch() -> None:
    """Make the orders, within the API's budget and through its outage."""
    clock = ScaledClock(speed=200)

    def trouble(route: str, request: Request) -> str | None:  # noqa: ARG001 - the sandbox gives it
        return "UPSTREAM_ERROR" if int(clock.monotonic()) in OUTAGE else None

    api = Sandbox("zerotrace", clock=clock, faults=trouble)
    breaker = BreakerConfig(in_a_row=5, park=True)
    with (
        api.client(pace=True, breaker=breaker, deadline=600) as client,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        outcomes = list(workers.map(partial(place, client), range(ORDERS)))

    statuses = Counter(seen.status for seen in api.state.requests)
    made = sum(outcome.reason == "success" for outcome in outcomes)
    print(f"{made} of {ORDERS} orders made; orders that exist: {len(api.state.orders)}")
    print(f"the API said 429 {statuses[429]} times, and 503 {statuses[503]} times in {len(OUTAGE)} s")
    longest = max(outcome.queued for outcome in outcomes)
    print(f"the job took {clock.monotonic():.0f} s; the longest turn was {longest:.0f} s in coming")


class Catalogue:
    """Answers after 0.2 s, but for one request, which stalls until its caller has been answered."""

    def __init__(self, stalls: int) -> None:
        self.clock = VirtualClock()
        self._numbers = count(1)
        self._stalls = stalls  # the number of that request
        self.answered = threading.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request with its number."""
        number = next(self._numbers)
        self.clock.advance(0.2)
        if number == self._stalls:
            self.answered.wait(10)
        return httpx.Response(200, request=request, json=number)


def reads() -> None:
    """Learn from 150 reads what is usual; the next one stalls."""
    api = Catalogue(stalls=151)
    wire = httpx.MockTransport(api)
    with ResilientClient(transport=wire, clock=api.clock, hedge=0.05) as client:
        for _ in range(151):
            response = client.get("https://shop.example/items")
        api.answered.set()
    print(f"request 151 stalled; its caller has the answer to request {response.json()}")
    print(f"requests sent beside it: {outcome_of(response).hedges}")


def refused() -> None:
    """Ask a host that fails, without the time to wait for it."""
    api = Sandbox("zerotrace", clock=VirtualClock(), faults="UPSTREAM_ERROR=1")
    with api.client(breaker=BreakerConfig(in_a_row=5)) as client:
        answered = outcome_of(client.get("/v1/codes"))
        print(f"the first caller gets the API's own answer: {answered.verdict.name}, {answered.reason}")
        try:
            client.get("/v1/codes")
        except CircuitOpen as error:
            print(f"the next one is not sent; ask again in a second or so: {1 <= error.retry_after <= 1.2}")


def main() -> None:
    """Play the three."""
    batch()
    reads()
    refused()


if __name__ == "__main__":
    main()
