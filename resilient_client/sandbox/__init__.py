"""Stand-ins for the shipped APIs that keep the vendor's contract: signatures, nonces, budgets, keys, state.

A mock replays what it was given; a sandbox refuses what the vendor would refuse. A client that reuses a nonce, re-serialises
a signed body or comes back too early finds out here.

    with Sandbox("zerotrace", seed=7, faults=schedule) as api:      # a server on 127.0.0.1
        client = httpx.Client(base_url=api.base_url)

    api = Sandbox("zerotrace")                                      # the same rules in memory
    client = httpx.Client(base_url=api.base_url, transport=httpx.MockTransport(api.handler))

The way of a request: `_server` (sockets) or `_memory` (httpx objects) makes a `Request` of it; the API's state (`zerotrace`)
answers with a `Reply`; `Schedule` says what goes wrong on the way; `_server` or `_memory` carries the reply out.
"""

from resilient_client.sandbox._api import Api, Clock, Faults, Reply, Request, Seen
from resilient_client.sandbox._sandbox import Sandbox
from resilient_client.sandbox.schedule import Schedule
from resilient_client.sandbox.zerotrace import Order, Zerotrace

__all__ = ["Api", "Clock", "Faults", "Order", "Reply", "Request", "Sandbox", "Schedule", "Seen", "Zerotrace"]
