"""Twenty tasks, one expired token, one sign-in: `AsyncResilientClient` with `TokenAuth`.

The API is a function in memory, and time is virtual. Run it: python examples/async_client.py
"""

from __future__ import annotations

import asyncio

import httpx

from resilient_client import AsyncResilientClient, TokenAuth, outcome_of
from resilient_client.testing import VirtualClock, error_response

BASE = "https://verify.example/api/v1"


class Api:
    """A small API: it signs in, calls a token dead when told to, and is busy once."""

    def __init__(self) -> None:
        self.sign_ins = 0
        self.dead = {"token-1"}
        self.busy = 1

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        await asyncio.sleep(0)
        if request.url.path.endswith("/login"):
            self.sign_ins += 1
            return httpx.Response(200, json={"token": f"token-{self.sign_ins}"})
        token = request.headers["Authorization"].removeprefix("Bearer ")
        if token in self.dead:
            return error_response("customer_verification", "TOKEN_EXPIRED")
        if self.busy:
            self.busy -= 1
            return error_response("customer_verification", "RATE_LIMIT_EXCEEDED", retry_after=30)
        return httpx.Response(200, json={"id": request.url.path.rpartition("/")[2], "status": "verified"})


async def main() -> None:
    """Ask for twenty customers at once."""
    api, clock = Api(), VirtualClock()
    auth = TokenAuth(httpx.Request("POST", f"{BASE}/login", json={"user": "demo", "password": "demo"}))
    client = AsyncResilientClient(
        "customer_verification",
        base_url=BASE,
        auth=auth,
        clock=clock,
        transport=httpx.MockTransport(api),
    )
    async with client:
        responses = await asyncio.gather(*(client.get(f"/customers/{number}") for number in range(20)))

    attempts = [len(outcome_of(response).attempts) for response in responses]
    print(f"{sum(response.is_success for response in responses)} of {len(responses)} calls succeeded")
    print(f"sign-ins: {api.sign_ins} (the first token, and one renewal for all who met it dead)")
    print(f"attempts per call: {min(attempts)} to {max(attempts)}")
    print(f"waited, on the virtual clock: {', '.join(f'{seconds:.1f} s' for seconds in clock.sleeps)}")


if __name__ == "__main__":
    asyncio.run(main())
