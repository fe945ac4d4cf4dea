"""Who calls: the resilient client, and the control, which is plain httpx in the loop that people write around it.

A caller makes one create and tells what it would tell its own user: made, not made, or may have been made. Each does it twice, for
threads and for tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import httpx

from resilient_client import outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_client.clock import Clock
    from resilient_client.sandbox import Sandbox

__all__ = ["Caller", "Naive", "Resilient"]

PAUSES = (0.0, 0.5, 1.0)  # seconds before each attempt of the control


class Caller(Protocol):
    """Makes creates: opens its clients, then says of each create whether it was made; None where it may have been."""

    name: str
    title: str  # for the report

    def open(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.Client:
        """Open the client that all threads share."""

    def aopen(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.AsyncClient:
        """Open the client that all tasks share."""

    def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
        """Make one create in a thread; `request` is what `httpx.Client.post` takes."""

    async def acreate(
        self, client: httpx.AsyncClient, request: Mapping[str, Any], clock: Clock
    ) -> bool | None:
        """Make one create in a task."""


class Resilient:
    """The client that is put to the proof, and a caller who believes its outcome."""

    name = "resilient"
    title = "the resilient client"

    def open(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.Client:
        """Open a resilient client with the API's policy."""
        return api.client(timeout=timeout)

    def aopen(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.AsyncClient:
        """Open a resilient client with the API's policy."""
        return api.async_client(timeout=timeout)

    def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:  # noqa: ARG002 - it waits by itself
        """Ask once."""
        try:
            return self.told(client.post(**request))
        except httpx.HTTPError as error:
            return self.told(error)

    async def acreate(
        self,
        client: httpx.AsyncClient,
        request: Mapping[str, Any],
        clock: Clock,  # noqa: ARG002 - it waits by itself
    ) -> bool | None:
        """Ask once."""
        try:
            return self.told(await client.post(**request))
        except httpx.HTTPError as error:
            return self.told(error)

    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        """Read what the call ended with: a success that came whole, or an outcome that says what may have happened."""
        if isinstance(end, httpx.Response) and end.is_success:
            return True
        return None if outcome_of(end).maybe_applied else False


class Naive:
    """The control: three attempts at whatever failed, no key, and what is left has failed."""

    name = "naive"
    title = "plain httpx in a naive retry loop"

    def open(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.Client:
        """Open a plain client that may ask."""
        return httpx.Client(
            base_url=api.base_url, timeout=timeout, trust_env=False, **api.state.sign_in(api.base_url)
        )

    def aopen(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.AsyncClient:
        """Open a plain client that may ask."""
        return httpx.AsyncClient(
            base_url=api.base_url, timeout=timeout, trust_env=False, **api.state.sign_in(api.base_url)
        )

    def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
        """Ask until it works, three times at most."""
        for pause in PAUSES:
            clock.sleep(pause)
            try:
                response = client.post(**request)
            except httpx.HTTPError:
                continue
            if not _is_worth_a_retry(response):
                return response.is_success
        return False

    async def acreate(
        self, client: httpx.AsyncClient, request: Mapping[str, Any], clock: Clock
    ) -> bool | None:
        """Ask until it works, three times at most."""
        for pause in PAUSES:
            await clock.asleep(pause)
            try:
                response = await client.post(**request)
            except httpx.HTTPError:
                continue
            if not _is_worth_a_retry(response):
                return response.is_success
        return False


def _is_worth_a_retry(response: httpx.Response) -> bool:
    return response.status_code == 429 or response.status_code >= 500
