"""Stand-ins for the shipped APIs that keep the vendor's contract: signatures, nonces, budgets, keys, state.

A mock replays what it was given; a sandbox refuses what the vendor would refuse. A client that reuses a nonce, re-serialises
a signed body or comes back too early finds out here.

    with Sandbox("zerotrace", seed=7, faults=schedule) as api:      # a server on 127.0.0.1
        client = httpx.Client(base_url=api.base_url)

    api = Sandbox("zerotrace")                                      # the same rules in memory
    client = httpx.Client(base_url=api.base_url, transport=httpx.MockTransport(api.handler))

httpx2 is served likewise; this package imports neither library before it is asked for a client of it.

Each API is one file: its state and its rules. What goes wrong besides is said by `faults`: a rate, a line (see `spec`), a
`Schedule`, `RandomFaults`, or any function.

The way of a request: `_server` (sockets) or `_memory` (the objects of httpx or httpx2) makes a `Request` of it and hands it in at the `Desk`; the
API's state answers with a `Reply`, spoiled by a fault or not; `_server` or `_memory` carries the reply out.
"""

from resilient_client.sandbox._api import Api, Clock, Faults, Reply, Request, Seen
from resilient_client.sandbox._sandbox import Sandbox, sandbox_names
from resilient_client.sandbox.customer_verification import CustomerVerification
from resilient_client.sandbox.dual import Dual
from resilient_client.sandbox.faults import RandomFaults, every_fault
from resilient_client.sandbox.integration import Integration
from resilient_client.sandbox.openpoly import Openpoly
from resilient_client.sandbox.schedule import Schedule
from resilient_client.sandbox.spec import read_faults
from resilient_client.sandbox.zerotrace import Order, Zerotrace

__all__ = [
    "Api",
    "Clock",
    "CustomerVerification",
    "Dual",
    "Faults",
    "Integration",
    "Openpoly",
    "Order",
    "RandomFaults",
    "Reply",
    "Request",
    "Sandbox",
    "Schedule",
    "Seen",
    "Zerotrace",
    "every_fault",
    "read_faults",
    "sandbox_names",
]
