"""Every fault of the sandbox, over both engines: what the caller is told, and what the API saw, is the same.

Law of this file: the sandbox serves on a socket, so that the faults are the wire's own.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from both import ENGINES, Engine, over_both

from resilient_client import Outcome, outcome_of
from resilient_client.sandbox import RandomFaults, Sandbox, Schedule, every_fault
from resilient_client.sandbox.faults import WIRE
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_client.sandbox import Seen

pytest_generate_tests = over_both

CREATE = "POST /v1/create"
ORDER = {"fromCcy": "BTC", "toCcy": "XMR", "direction": "from", "amount": 0.01, "type": "fixed"}
CREDIT = {"external_user_id": "player-7", "direction": "credit", "amount_minor": 1250}

# As they are planned: what is late is later than the read timeout, what drips is in time.
PLANNED = dict.fromkeys(WIRE) | {"latency": "latency:30", "drip": "drip:0.02"}

# What the caller is raised for a body that breaks off where httpx names it otherwise.
NAMED_BY_AIOHTTP = {"truncate": httpx.ReadError}

QUICK = httpx.Timeout(5, read=0.15)


@dataclass
class Told:
    """What one call came to: for its caller, and for the API."""

    status: int | None = None
    raised: type[Exception] | None = None
    body: bytes = b""
    note: str = ""  # on what was raised
    path: str | None = None  # of the request that it was raised for
    outcome: Outcome | None = None
    seen: list[Seen] = field(default_factory=list)
    made: int = 0
    connections: int = 0

    @property
    def attempts(self) -> list[tuple[int | None, str]]:
        """Each attempt: the status, and what it was taken for."""
        assert self.outcome is not None
        return [(attempt.status, attempt.verdict.name) for attempt in self.outcome.attempts]

    @property
    def summary(self) -> Mapping[str, Any]:
        """All that has to be the same over both engines."""
        assert self.outcome is not None
        return {
            "status": self.status,
            "note": bool(self.note),
            "path": self.path,
            "attempts": self.attempts,
            "reason": self.outcome.reason,
            "maybe_applied": self.outcome.maybe_applied,
            "seen": [(seen.fault, seen.status, seen.worked) for seen in self.seen],
            "made": self.made,
            "connections": self.connections,
        }


async def call(client: httpx.AsyncClient, told: Told, method: str, path: str, **options: Any) -> None:
    """Make a call, and note what comes of it."""
    try:
        async with client.stream(method, path, **options) as response:
            told.status = response.status_code
            told.outcome = outcome_of(response)
            told.body = await response.aread()
    except httpx.TransportError as error:
        told.raised, told.outcome = type(error), outcome_of(error)
        told.note, told.path = "".join(error.__notes__), error.request.url.path


def create(engine: str, *faults: str) -> Told:
    """Make an order, which has a key and a signature, that meets these faults."""
    told = Told()

    async def scenario() -> None:
        with Sandbox("zerotrace", faults=Schedule().add(CREATE, faults)) as api:
            transport = Engine(engine).transport()
            async with api.async_client(
                library="httpx", transport=transport, clock=VirtualClock(), timeout=QUICK
            ) as client:
                await call(client, told, "POST", "/v1/create", json={**ORDER, "toAddress": "there"})
            told.seen, told.made = list(api.state.requests), len(api.state.orders)
            told.connections = api.connections

    asyncio.run(scenario())
    return told


def credit(engine: str, *faults: str) -> Told:
    """Move money, without a key, in a call that meets these faults."""
    told = Told()

    async def scenario() -> None:
        faulty = Schedule().add("POST /simulator/operations", faults)
        with Sandbox("openpoly", faults=faulty) as api:
            transport = Engine(engine).transport()
            async with api.async_client(
                library="httpx", transport=transport, clock=VirtualClock(), timeout=QUICK
            ) as client:
                await client.post("/launch", json={"external_user_id": "player-7"})
                await call(client, told, "POST", "/simulator/operations", json=CREDIT)
            told.seen = [seen for seen in api.state.requests if seen.path.endswith("/operations")]
            told.made, told.connections = len(api.state.operations), api.connections

    asyncio.run(scenario())
    return told


def codes(engine: str, method: str, *faults: str) -> Told:
    """Ask for the codes, or drop one: signed, without a key, and harmless when done twice."""
    told = Told()

    async def scenario() -> None:
        with Sandbox("zerotrace", faults=Schedule().add(f"{method} /v1/codes", faults)) as api:
            transport = Engine(engine).transport()
            async with api.async_client(
                library="httpx", transport=transport, clock=VirtualClock(), timeout=QUICK
            ) as client:
                await call(client, told, method, "/v1/codes", params={"id": "7"})
            told.seen, told.connections = list(api.state.requests), api.connections

    asyncio.run(scenario())
    return told


FAULTS = {kind: PLANNED[kind] or kind for kind in WIRE}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_create_that_meets_a_fault_comes_to_the_same_over_both(kind: str) -> None:
    """It has a key: it is sent again under it wherever its answer was lost, and one order is made."""
    theirs, *ours = (create(engine, FAULTS[kind]) for engine in ENGINES)

    for told in (theirs, *ours):
        assert told.summary == theirs.summary
        assert told.made == 1
        assert len({seen.nonce for seen in told.seen}) == len(told.seen)
        assert len({seen.idempotency_key for seen in told.seen}) == 1
    for told in ours:
        assert told.raised is NAMED_BY_AIOHTTP.get(kind, theirs.raised)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_movement_without_a_key_that_meets_a_fault_is_sent_once_over_both(kind: str) -> None:
    """Nobody sends it again, the engine no more than the library; what may have been done is said to be in doubt."""
    theirs, *ours = (credit(engine, FAULTS[kind]) for engine in ENGINES)

    for told in (theirs, *ours):
        assert told.summary == theirs.summary
        assert len(told.seen) == 1
        assert told.made == WIRE[kind].works
    for told in ours:
        assert told.raised is NAMED_BY_AIOHTTP.get(kind, theirs.raised)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_request_that_may_be_repeated_is_repeated_by_the_library_alone(kind: str, method: str) -> None:
    """By itself aiohttp would send these once more, under the nonce that was used."""
    theirs, *ours = (codes(engine, method, FAULTS[kind]) for engine in ENGINES)

    for told in (theirs, *ours):
        assert told.summary == theirs.summary
        assert len({seen.nonce for seen in told.seen}) == len(told.seen) == len(told.attempts)


@pytest.mark.parametrize("kind", ["lose", "lose-reset", "lose-garbage", "latency"])
def test_a_call_whose_every_answer_is_lost_ends_with_httpxs_own_exception(kind: str) -> None:
    """After the last attempt; what it is called is the same, too."""
    theirs, *ours = (create(engine, *[FAULTS[kind]] * 5) for engine in ENGINES)

    for told in (theirs, *ours):
        assert told.summary == theirs.summary
        assert told.raised is theirs.raised is not None
        assert told.summary["reason"] == "attempts_exhausted"
        assert told.summary["maybe_applied"]
        assert told.note.startswith("resilient_client (zerotrace): ")


def test_three_503_and_then_a_200_use_one_connection(engine: Engine) -> None:
    """A retry goes out where the failure came in."""
    told = create(engine.name, *["html-503"] * 3)

    assert [status for status, _ in told.attempts] == [503, 503, 503, 200]
    assert told.connections == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_forty_creates_at_once_with_every_second_one_failing_are_made_once_each(
    engine: Engine, seed: int
) -> None:
    """Every fault of the API and of the wire at a rate of one half, eight calls at a time: what the outcomes say is so."""
    kinds = [kind for kind in every_fault("zerotrace") if kind not in {"latency", "drip"}]
    ended: dict[str, Outcome] = {}

    async def scenario() -> None:
        faults = RandomFaults(0.5, kinds=kinds, seed=seed)
        with Sandbox("zerotrace", clock=VirtualClock(), faults=faults) as api:
            turn = asyncio.Semaphore(8)
            async with api.async_client(library="httpx", transport=engine.transport()) as client:

                async def one(wallet: str) -> None:
                    told = Told()
                    order = {**ORDER, "toAddress": wallet}
                    async with turn:
                        await call(
                            client, told, "POST", "/v1/create", json=order, headers={"X-Sandbox-Call": wallet}
                        )
                    assert told.outcome is not None
                    ended[wallet] = told.outcome

                await asyncio.gather(*(one(f"wallet-{number}") for number in range(40)))

        made = [json.loads(order.body)["toAddress"] for order in api.state.orders.values()]
        assert len(set(made)) == len(made)
        assert sum(len(outcome.attempts) for outcome in ended.values()) == len(api.state.requests)
        assert {wallet for wallet, outcome in ended.items() if outcome.reason == "success"} <= set(made)
        assert {wallet for wallet, outcome in ended.items() if outcome.maybe_applied} >= set(made) - {
            wallet for wallet, outcome in ended.items() if outcome.reason == "success"
        }

    asyncio.run(scenario())
