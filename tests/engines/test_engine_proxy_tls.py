"""Proxies and TLS over both engines: what is given to the transport is what is used.

Law of this file: certificates are made for 127.0.0.1 by a CA of the test's own, and nothing leaves this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest
import trustme
from both import ONE, Engine, over_both, within
from loopback import Loopback, page

from resilient_client import AsyncResilientClient, outcome_of
from resilient_client.engines import aiohttp_session
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytest_generate_tests = over_both

FAR = "http://far.test/path?q=1"
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
BASIC = "Basic dXNlcjpzZWNyZXQtd29yZA=="  # user:secret-word


class Certified:
    """A server's certificate, and what trusts it."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.server)
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)


@pytest.fixture(scope="module")
def certified() -> Certified:
    """Make one certificate for all tests of this file."""
    return Certified()


class Tunnel:
    """A proxy that knows CONNECT: what it was asked for, and its answers, the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.heads: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        writer.write(answer)
        if answer == OPEN:
            host, port = head.split(" ")[1].split(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        await _hang_up(writer)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen, and give the address; wait for every connection in the end."""
        talks: list[asyncio.Task[None]] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.append(asyncio.create_task(self._serve(reader, writer)))

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await asyncio.gather(*talks)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    await _hang_up(writer)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


# ----------------------------------------------------------------------------------------------------- proxies


def test_plain_http_goes_to_the_proxy_in_full_and_a_retry_on_the_same_connection(engine: Engine) -> None:
    """The target is the whole address."""

    async def scenario() -> None:
        with Loopback(page(503), page(200, b"by proxy")) as proxy:
            async with engine.client(
                clock=VirtualClock(), proxy=httpx.Proxy(proxy.url), limits=ONE
            ) as client:
                assert (await client.get(FAR)).content == b"by proxy"
            assert [exchange.target for exchange in proxy.exchanges] == [FAR] * 2
            assert [exchange.headers["host"] for exchange in proxy.exchanges] == ["far.test"] * 2
            assert proxy.connections == 1

    within(5, scenario)


def test_a_proxys_own_headers_go_to_the_proxy(engine: Engine) -> None:
    """Its credentials, say, as a header."""

    async def scenario() -> None:
        with Loopback(page(503), page(200)) as proxy:
            given = httpx.Proxy(proxy.url, headers={"Proxy-Authorization": BASIC})
            async with engine.client(clock=VirtualClock(), proxy=given) as client:
                await client.get(FAR, headers={"X-Mine": "1"})
            assert [exchange.headers["proxy-authorization"] for exchange in proxy.exchanges] == [BASIC] * 2
            assert [exchange.headers["x-mine"] for exchange in proxy.exchanges] == ["1"] * 2

    within(5, scenario)


def test_the_name_and_the_password_in_a_proxys_address_become_its_header(engine: Engine) -> None:
    """As with httpx's own."""

    async def scenario() -> None:
        with Loopback(page(503), page(200)) as proxy:
            given = httpx.Proxy(proxy.url.replace("//", "//user:secret-word@"))
            async with engine.client(clock=VirtualClock(), proxy=given) as client:
                await client.get(FAR)
            assert [exchange.headers["proxy-authorization"] for exchange in proxy.exchanges] == [BASIC] * 2

    within(5, scenario)


def test_https_goes_through_a_tunnel_and_a_retry_through_the_same_one(
    engine: Engine, certified: Certified
) -> None:
    """The proxy sees the host alone."""

    async def scenario() -> None:
        tunnel = Tunnel(OPEN)
        with Loopback(page(503), page(200, b"ok"), tls=certified.server) as server:
            async with (
                tunnel.serving() as proxy,
                engine.client(
                    clock=VirtualClock(), proxy=httpx.Proxy(proxy), verify=certified.trusting, limits=ONE
                ) as client,
            ):
                assert (await client.get(f"{server.url}/path?token=secret")).content == b"ok"
            assert len(tunnel.heads) == 1
            assert tunnel.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n")
            assert "secret" not in tunnel.heads[0]
            assert [exchange.target for exchange in server.exchanges] == ["/path?token=secret"] * 2

    within(5, scenario)


def test_a_tunnel_that_is_refused_is_a_proxy_error_and_nothing_was_sent(
    engine: Engine, certified: Certified
) -> None:
    """A POST without a key is tried again: the host has not heard of it."""

    async def scenario() -> None:
        tunnel = Tunnel(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", OPEN)
        with Loopback(page(200, b"ok"), tls=certified.server) as server:
            async with (
                tunnel.serving() as proxy,
                engine.client(
                    clock=VirtualClock(), proxy=httpx.Proxy(proxy), verify=certified.trusting
                ) as client,
            ):
                response = await client.post(server.url, json={"amount": 1})
            assert response.content == b"ok"
            first = outcome_of(response).attempts[0]
            assert isinstance(first.error, httpx.ProxyError)
            assert not outcome_of(response).maybe_applied
            assert len(server.exchanges) == 1

    within(5, scenario)


def test_a_proxy_that_is_not_there_is_a_connect_error(engine: Engine) -> None:
    """Nothing was sent."""

    async def scenario() -> None:
        with Loopback() as gone:
            address = gone.url
        async with engine.client(clock=VirtualClock(), proxy=httpx.Proxy(address)) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.post(FAR)
            assert not outcome_of(caught.value).maybe_applied

    within(5, scenario)


# --------------------------------------------------------------------------------------------------------- TLS


def test_a_retry_goes_out_on_the_tls_connection_that_the_failure_came_in_on(
    engine: Engine, certified: Certified
) -> None:
    """One handshake."""

    async def scenario() -> None:
        with Loopback(*[page(503, b"no")] * 3, page(200, b"ok"), tls=certified.server) as server:
            async with engine.client(clock=VirtualClock(), verify=certified.trusting, limits=ONE) as client:
                assert (await client.get(server.url)).content == b"ok"
            assert server.connections == 1

    within(5, scenario)


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    engine: Engine, certified: Certified
) -> None:
    """Trying again would not help; the exception is a ConnectError, and nothing was sent."""

    async def scenario() -> None:
        with Loopback(page(200), tls=certified.server) as server:
            async with engine.client(clock=VirtualClock()) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                    await client.get(server.url)
            outcome = outcome_of(caught.value)
            assert (len(outcome.attempts), outcome.maybe_applied) == (1, False)
            assert server.exchanges == []

    within(5, scenario)


def test_verification_can_be_switched_off(engine: Engine, certified: Certified) -> None:
    """At the transport."""

    async def scenario() -> None:
        with Loopback(page(200, b"ok"), tls=certified.server) as server:
            async with engine.client(clock=VirtualClock(), verify=False) as client:
                assert (await client.get(server.url)).content == b"ok"

    within(5, scenario)


def test_what_the_client_is_told_of_certificates_does_not_reach_a_transport_of_ones_own(
    engine: Engine, certified: Certified
) -> None:
    """Beside `transport=`, httpx leaves `verify` aside."""

    async def scenario() -> None:
        with Loopback(page(200), tls=certified.server) as server:
            transport = engine.transport()
            async with AsyncResilientClient(transport=transport, verify=certified.trusting) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(server.url)

    within(5, scenario)


def test_a_server_that_speaks_no_tls_is_a_connect_error(engine: Engine, certified: Certified) -> None:
    """It may be a passing failure: it is tried again."""

    async def scenario() -> None:
        with Loopback(page(200)) as server:
            async with engine.client(clock=VirtualClock(), verify=certified.trusting) as client:
                with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.ConnectTimeout)) as caught:
                    await client.get(server.url.replace("http:", "https:"), timeout=0.3)
                assert not server.exchanges
                assert len(outcome_of(caught.value).attempts) == 5

    within(5, scenario)


def test_the_name_that_the_certificate_is_asked_for_can_be_given_with_the_request(engine: Engine) -> None:
    """`extensions={"sni_hostname": …}`, where the address is a number."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.test").configure_cert(server_side)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def scenario() -> None:
        with Loopback(page(503), page(200, b"ok"), tls=server_side) as server:
            async with engine.client(clock=VirtualClock(), verify=trusting) as client:
                response = await client.get(server.url, extensions={"sni_hostname": "api.test"})
                assert response.content == b"ok"

    within(5, scenario)


def test_a_pinned_certificate_that_is_another_is_a_connect_error(certified: Certified) -> None:
    """By aiohttp's own means, given with a session: nothing was sent."""

    def session() -> aiohttp.ClientSession:
        return aiohttp_session(connector=aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(b"0" * 32)))

    async def scenario() -> None:
        with Loopback(page(200), tls=certified.server) as server:
            async with Engine("aiohttp").client(client=session, clock=VirtualClock()) as client:
                with pytest.raises(httpx.ConnectError) as caught:
                    await client.post(server.url)
            assert not outcome_of(caught.value).maybe_applied
            assert server.exchanges == []

    within(5, scenario)
