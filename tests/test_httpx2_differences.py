"""What differs between the two hosts, row by row of the table in docs/httpx2.md; and what the two share in one program.

Law of this file: each heading below the first is a row of that table; the talks of httpx2, the last rows, are in `test_httpx2_talks.py`.
"""

from __future__ import annotations

import json
import logging
import pickle
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trustme
import truststore
import zstandard
from httpx_aiohttp import AiohttpTransport
from loopback import Loopback, page, run
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from talks import HOME, LIBRARIES, THREE_WAYS, On

import resilient_client
import resilient_client.httpx2
from resilient_client import Policy, outcome_of
from resilient_client.protection import BreakerConfig, BulkheadConfig
from resilient_client.telemetry import OpenTelemetryObserver, instrument_client
from resilient_client.testing import VirtualClock, assert_attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from pytest_httpx import HTTPXMock

PAGE = Path(__file__).parent.parent / "docs" / "httpx2.md"
URL = "https://api.example/things"
OTHER = {httpx: httpx2, httpx2: httpx}
ALL = (resilient_client, resilient_client.httpx2)


def answering(library: ModuleType, *statuses: int, headers: Any = None) -> Any:
    """Make a transport of a library's that answers with these statuses in turn, the last one for ever."""
    left = list(statuses)

    def answer(request: Any) -> Any:
        return library.Response(left.pop(0) if len(left) > 1 else left[0], headers=headers)

    return library.MockTransport(answer)


def client_of(library: ModuleType, policy: Any = None, **options: Any) -> Any:
    """Make a client of a library's for threads, with a clock of its own unless one is given."""
    options.setdefault("clock", VirtualClock())
    return HOME[library].ResilientClient(policy, **options)


def printed(program: str) -> str:
    """Run a program in a process of its own; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_row_of_the_page_has_its_tests() -> None:
    """And there is no test of a difference that the page does not tell of."""
    table = PAGE.read_text("utf-8").partition("## What differs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!\| httpx)(.+?) \|", table, re.MULTILINE)
    sources = [Path(__file__), Path(__file__).with_name("test_httpx2_talks.py")]
    headings = [
        name
        for path in sources
        for name in re.findall(r"^# -{3,} (.+)$", path.read_text("utf-8"), re.MULTILINE)
    ]

    assert rows == headings[1:]


# ---------------------------------------------------------------------------------------- both in one program


def test_exceptions_catch_those_of_their_own_library() -> None:
    """A refusal of httpx2's is no ApiError of httpx's, nor the other way round; `outcome_of` takes both."""
    for library in (httpx, httpx2):
        ours, others = HOME[library], HOME[OTHER[library]]
        with (
            client_of(library, transport=answering(library, 404), raise_for_status=True) as client,
            pytest.raises(ours.ApiError) as raised,
        ):
            client.get(URL)
        assert isinstance(raised.value, library.HTTPStatusError)
        assert not isinstance(raised.value, (others.ApiError, OTHER[library].HTTPError))
        assert outcome_of(raised.value).verdict.name == "NOT_FOUND"


def test_a_policy_an_observer_and_a_clock_serve_both() -> None:
    """They know neither library."""

    class Notes:
        def __init__(self) -> None:
            self.errors: list[type[Exception]] = []

        def on_give_up(self, event: Any) -> None:
            self.errors.append(type(event.error))

    policy = Policy.model_validate(
        {"api": "acme", "rules": [{"name": "FULL", "when": {"status": 507}, "retry": {"schedule": [3]}}]}
    )
    clock, notes = VirtualClock(), Notes()
    for library in (httpx, httpx2):
        with client_of(
            library, policy, clock=clock, observers=[notes], transport=answering(library, 507, 200)
        ) as client:
            assert_attempts(client.get(URL), "FULL", "OK")

        def lost(request: Any, library: Any = library) -> Any:
            raise library.ReadTimeout("silence", request=request)

        losing = library.MockTransport(lost)
        with (
            client_of(library, clock=clock, observers=[notes], transport=losing) as client,
            pytest.raises(library.ReadTimeout),
        ):
            client.post(URL)
    assert len(clock.sleeps) == 2
    assert notes.errors == [httpx.ReadTimeout, httpx2.ReadTimeout]


@pytest.mark.parametrize(("first", "second"), [(httpx, httpx2), (httpx2, httpx)], ids=["httpx", "httpx2"])
def test_clients_of_both_keep_to_one_pace(first: Any, second: Any) -> None:
    """The API counts requests, whoever sends them."""
    clock = VirtualClock()
    with (
        client_of(first, clock=clock, pace=(2, 60), transport=answering(first, 200)) as one,
        client_of(second, clock=clock, pace=(2, 60), deadline=10, transport=answering(second, 200)) as other,
    ):
        one.get(URL)
        other.get(URL)
        with pytest.raises(HOME[second].PaceExceeded) as refused:
            other.get(URL)
        assert isinstance(refused.value, second.PoolTimeout)
        assert outcome_of(one.get(URL)).queued >= 60


@pytest.mark.parametrize(("first", "second"), [(httpx, httpx2), (httpx2, httpx)], ids=["httpx", "httpx2"])
def test_clients_of_both_go_by_one_breaker(first: Any, second: Any) -> None:
    """A host that has failed one is not asked by the other."""
    clock, breaker = VirtualClock(), BreakerConfig(in_a_row=2)
    with (
        client_of(first, clock=clock, breaker=breaker, transport=answering(first, 503)) as one,
        client_of(second, clock=clock, breaker=breaker, transport=answering(second, 200)) as other,
    ):
        assert outcome_of(one.get(URL)).reason == "circuit_open"
        with pytest.raises(HOME[second].CircuitOpen) as refused:
            other.get(URL)
        assert isinstance(refused.value, second.TransportError)


@pytest.mark.parametrize(("first", "second"), [(httpx, httpx2), (httpx2, httpx)], ids=["httpx", "httpx2"])
def test_clients_of_both_share_a_bulkhead_unless_they_are_kept_apart(first: Any, second: Any) -> None:
    """By `scope`, as any two clients."""
    clock, bulkhead = VirtualClock(), BulkheadConfig(1, queue=0)
    transport = answering(second, 200)
    with (
        Loopback(page(200, b"being read")) as server,
        client_of(first, clock=clock, bulkhead=bulkhead) as one,
        client_of(second, clock=clock, bulkhead=bulkhead, transport=transport) as other,
        client_of(second, clock=clock, bulkhead=bulkhead, transport=transport, scope="apart") as apart,
        one.stream("GET", server.url),
    ):
        with pytest.raises(HOME[second].BulkheadFull):
            other.get(server.url)
        assert apart.get(server.url).is_success


def test_clients_of_both_draw_on_one_retry_budget() -> None:
    """What one has spent on retries the other has not got."""
    clock = VirtualClock()
    with (
        client_of(httpx, clock=clock, transport=answering(httpx, 503)) as one,
        client_of(httpx2, clock=clock, transport=answering(httpx2, 503)) as other,
    ):
        while outcome_of(one.get(URL)).reason != "budget_exhausted":
            pass
        assert len(outcome_of(other.get(URL)).attempts) == 1


@LIBRARIES
def test_transports_of_the_other_library_are_refused_when_a_client_is_made(library: Any) -> None:
    """Its own, its mounts', and one that is resilient already."""
    ours, other = HOME[library], OTHER[library]
    theirs, of_tasks = other.MockTransport(lambda _: None), other.AsyncHTTPTransport()
    makers: list[Callable[[], Any]] = [
        lambda: ours.ResilientClient(transport=theirs),
        lambda: ours.ResilientClient(mounts={"https://": theirs}),
        lambda: ours.ResilientClient(transport=HOME[other].ResilientTransport()),
        lambda: ours.ResilientTransport(transport=theirs),
        lambda: ours.AsyncResilientClient(transport=of_tasks),
        lambda: ours.AsyncResilientClient(mounts={"https://": of_tasks}),
        lambda: ours.AsyncResilientTransport(transport=of_tasks),
    ]
    for make in makers:
        with pytest.raises(
            TypeError, match=f"is a transport of {other.__name__}, and .* is one of {library.__name__}:"
        ):
            make()


@LIBRARIES
def test_a_plain_client_of_the_other_library_is_refused_at_its_first_request(library: Any) -> None:
    """By the resilient transport that it was given; nothing is sent."""
    other = OTHER[library]
    with (
        Loopback(page(200)) as server,
        other.Client(transport=HOME[library].ResilientTransport(clock=VirtualClock())) as client,
    ):
        with pytest.raises(
            TypeError, match=f"is a request of {other.__name__}, and .* is one of {library.__name__}:"
        ):
            client.get(server.url)
        assert server.connections == 0


@LIBRARIES
def test_auths_and_responses_of_the_other_library_are_refused(library: Any) -> None:
    """A TypeError, before anything is sent."""
    ours, other = HOME[library], OTHER[library]
    login = other.Request("POST", URL)
    with pytest.raises(TypeError, match="HmacAuth"):
        ours.ResilientClient(auth=HOME[other].HmacAuth("a-key", "a-secret"))
    with pytest.raises(TypeError, match=f"login is an {library.__name__}.Request"):
        ours.TokenAuth(login)
    with (
        client_of(library, transport=answering(library, 500), auth=ours.TokenAuth(lambda: login)) as client,
        pytest.raises(TypeError, match=f"not an {library.__name__}.Request"),
    ):
        client.get(URL)
    with pytest.raises(TypeError, match=f"is no {library.__name__}.Response"):
        ours.raise_for_status(other.Response(500, request=login))


@pytest.mark.parametrize("way", ["asyncio", "trio"])
def test_a_timeout_of_httpxs_is_none_to_httpx2(way: str) -> None:
    """As to a plain client of httpx2's: it fails at the first connection, and is not tried again."""

    async def scenario() -> None:
        with Loopback(page(200)) as server:
            async with On(httpx2, way, clock=VirtualClock(), timeout=httpx.Timeout(5)) as client:
                with pytest.raises(TypeError) as failed:
                    await client.get(server.url)
                assert len(outcome_of(failed.value).attempts) == 1
            assert server.connections == 0

    run(way, scenario)


# ----------------------------------------------------------------------------------------------- certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make an authority that no store knows."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server_side(authority: trustme.CA) -> ssl.SSLContext:
    """Make what a server for 127.0.0.1 shows."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    return made


@LIBRARIES
def test_certificates_are_certifis_or_the_systems(library: Any) -> None:
    """The one loads certifi's file; the other asks the system, by truststore where that has a service for it."""
    loaded = printed(
        f"import sys, {library.__name__}\n"
        f"from {HOME[library].__name__} import ResilientClient\n"
        "ResilientClient()\n"
        "print(*(name for name in ('certifi', 'truststore') if name in sys.modules))"
    )

    assert loaded == {httpx: "certifi", httpx2: "truststore"}[library]


@LIBRARIES
@THREE_WAYS
def test_a_certificate_that_nobody_vouches_for_is_refused_once(
    library: Any, way: str, server_side: ssl.SSLContext
) -> None:
    """It cannot get better, so it is not asked for again."""

    async def scenario() -> None:
        with Loopback(page(200), tls=server_side) as server:
            async with On(library, way, clock=VirtualClock()) as client:
                with pytest.raises(library.ConnectError) as refused:
                    await client.get(server.url)
                assert_attempts(refused.value, library.ConnectError)
                assert outcome_of(refused.value).reason == "not_retryable"
            assert (server.connections, server.exchanges) == (1, [])

    run(way, scenario)


@LIBRARIES
@THREE_WAYS
@pytest.mark.parametrize("kind", [ssl.SSLContext, truststore.SSLContext], ids=["ssl", "truststore"])
def test_what_is_given_as_verify_is_what_is_trusted(
    library: Any, way: str, kind: Any, authority: trustme.CA, server_side: ssl.SSLContext
) -> None:
    """A context of either kind, over every network."""
    trusting = kind(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(cadata=authority.cert_pem.bytes().decode())

    async def scenario() -> None:
        with Loopback(page(503), page(200, b"trusted"), tls=server_side) as server:
            async with On(library, way, clock=VirtualClock(), verify=trusting) as client:
                assert (await client.get(server.url)).content == b"trusted"
            assert server.connections == 1

    run(way, scenario)


class _LateObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        raise ssl.SSLCertVerificationError("the system does not trust it")


class _LateSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own
        super().do_handshake(block)
        self.close()
        raise ssl.SSLCertVerificationError("the system does not trust it")


@LIBRARIES
@THREE_WAYS
def test_a_certificate_that_the_system_refuses_after_the_handshake_is_refused_once(
    library: Any, way: str, authority: trustme.CA, server_side: ssl.SSLContext
) -> None:
    """So truststore does it on Windows and macOS: its objects ask the system when TLS has no objection."""
    asking = ssl.create_default_context()
    authority.configure_trust(asking)
    asking.sslobject_class, asking.sslsocket_class = _LateObject, _LateSocket

    async def scenario() -> None:
        with Loopback(page(200), tls=server_side) as server:
            async with On(library, way, clock=VirtualClock(), verify=asking) as client:
                with pytest.raises(library.ConnectError) as refused:
                    await client.get(server.url)
                assert outcome_of(refused.value).reason == "not_retryable"
            assert (server.connections, server.exchanges) == (1, [])

    run(way, scenario)


@LIBRARIES
def test_a_file_that_the_environment_names_is_trusted(
    library: Any,
    authority: trustme.CA,
    server_side: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`SSL_CERT_FILE`, for both; not with `trust_env=False`."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Loopback(page(200), tls=server_side) as server:
        with client_of(library) as client:
            assert client.get(server.url).is_success
        with client_of(library, trust_env=False) as client, pytest.raises(library.ConnectError):
            client.get(server.url)


# ----------------------------------------------------------------------------------------- `response.elapsed`


@LIBRARIES
@THREE_WAYS
@pytest.mark.parametrize("options", [{}, {"auth": ("name", "password")}], ids=["short", "its own"])
def test_elapsed_is_there_when_a_body_has_been_read_or_closed(
    library: Any, way: str, options: dict[str, Any]
) -> None:
    """Of plain, retried and streamed responses, by the short way and by the library's own; not before, as ever."""

    async def scenario() -> None:
        pages = [
            page(200, b"plain"),
            page(503),
            page(200, b"retried"),
            page(200, b"streamed"),
            page(200, b"left"),
        ]
        with Loopback(*pages) as server:
            async with On(library, way, clock=VirtualClock(), **options) as client:
                for body in (b"plain", b"retried"):
                    response = await client.get(server.url)
                    assert response.content == body
                    assert response.elapsed.total_seconds() > 0
                for done_with in (client.raw, client.close):
                    response = await client.open("GET", server.url)
                    with pytest.raises(RuntimeError, match="after the response has been read or closed"):
                        _ = response.elapsed
                    await done_with(response)
                    await client.close(response)
                    assert response.elapsed.total_seconds() > 0

    run(way, scenario)


@LIBRARIES
def test_elapsed_of_a_pickled_response(library: Any) -> None:
    """httpx2 keeps it in the stream, which does not travel."""
    with Loopback(page(200, b"sent on")) as server, client_of(library) as client:
        copied = pickle.loads(pickle.dumps(client.get(server.url)))  # noqa: S301 - our own

    assert copied.content == b"sent on"
    if library is httpx:
        assert copied.elapsed.total_seconds() > 0
    else:
        with pytest.raises(RuntimeError, match="elapsed"):
            _ = copied.elapsed


# ------------------------------------------------------------------------------------------- `client.query()`


def test_query_is_a_method_of_httpx2s_clients() -> None:
    """Those of httpx send the same by `request`."""
    assert hasattr(client_of(httpx2), "query")
    assert not hasattr(client_of(httpx), "query")


@LIBRARIES
@THREE_WAYS
def test_a_query_is_repeated_without_a_key(library: Any, way: str) -> None:
    """It is safe, body or not (RFC 10008): the same bytes again, and nothing may have been applied."""
    policy = Policy.model_validate(
        {"api": "acme", "extends": "default", "idempotency": {"routes": ["* /search"]}}
    )

    async def scenario() -> None:
        with Loopback(page(500), lambda exchange: exchange.hang_up(), page(200, b"found")) as server:
            async with On(library, way, policy, clock=VirtualClock()) as client:
                response = await client.request("QUERY", f"{server.url}/search", json={"name": "Ann"})
                assert response.content == b"found"
                outcome = outcome_of(response)
                assert (len(outcome.attempts), outcome.maybe_applied) == (3, False)
            assert {exchange.body for exchange in server.exchanges} == {b'{"name":"Ann"}'}
            assert not any("idempotency-key" in exchange.headers for exchange in server.exchanges)

    run(way, scenario)


def test_query_goes_through_the_retries() -> None:
    """The method of httpx2's, as `get` and the others."""
    with client_of(httpx2, transport=answering(httpx2, 503, 200)) as client:
        assert_attempts(client.query(URL, json={}), 503, 200)


# ----------------------------------------------------------------------------- a `QUERY` that a 302 redirects


@LIBRARIES
@THREE_WAYS
def test_a_query_that_is_redirected(library: Any, way: str) -> None:
    """By a 302, to another path: httpx makes it a GET without its body. It is signed for what it has become."""
    auth = HOME[library].HmacAuth(
        "a-key", "a-secret", message=lambda request, nonce: request.method.encode() + request.content
    )

    async def scenario() -> None:
        with Loopback(page(302, b"", "Location: /found"), page(503), page(200)) as server:
            async with On(library, way, clock=VirtualClock(), auth=auth, follow_redirects=True) as client:
                response = await client.request("QUERY", server.url, content=b"who?")
                assert_attempts(response, 503, 200)
            became = {httpx: ("GET", b""), httpx2: ("QUERY", b"who?")}[library]
            assert [(exchange.method, exchange.body) for exchange in server.exchanges] == [
                ("QUERY", b"who?"), became, became,
            ]  # fmt: skip
            signatures = [exchange.headers["x-api-sign"] for exchange in server.exchanges]
            assert signatures[1] == signatures[2]
            assert (signatures[0] == signatures[1]) == (library is httpx2)

    run(way, scenario)


# ------------------------------------------------------------------- a redirect to what is no address, not followed


@LIBRARIES
@THREE_WAYS
@pytest.mark.parametrize("options", [{}, {"auth": ("name", "password")}], ids=["short", "its own"])
def test_a_redirect_to_what_is_no_address(library: Any, way: str, options: dict[str, Any]) -> None:
    """By httpx it is looked at though nobody follows; httpx2 hands the redirect over. To follow it fails with both."""

    async def scenario() -> None:
        with Loopback(page(302, b"", "Location: http://[::1")) as server:
            async with On(library, way, clock=VirtualClock(), **options) as client:
                if library is httpx2:
                    response = await client.get(server.url)
                    assert (response.status_code, response.next_request) == (302, None)
                else:
                    with pytest.raises(httpx.RemoteProtocolError):
                        await client.get(server.url)
                with pytest.raises(library.RemoteProtocolError):
                    await client.get(server.url, follow_redirects=True)

    run(way, scenario)


# ------------------------------------------------------------------------------------------- bodies in zstd


@LIBRARIES
def test_an_error_in_zstd_is_read_by_its_code(library: Any) -> None:
    """It is asked for, and what comes is understood."""
    policy = Policy.model_validate(
        {"api": "acme", "envelope": {"code": "/code"}, "rules": [{"name": "BUSY", "when": {"code": "busy"}}]}
    )
    body = zstandard.compress(json.dumps({"code": "busy"}).encode())
    with (
        Loopback(page(409, body, "Content-Encoding: zstd")) as server,
        client_of(library, policy) as client,
    ):
        response = client.get(server.url)
        assert "zstd" in server.exchanges[0].headers["accept-encoding"]

    assert response.json() == {"code": "busy"}
    assert_attempts(response, "BUSY")


@LIBRARIES
def test_whose_package_undoes_zstd(library: Any) -> None:
    """Without zstandard httpx does not ask for it; httpx2 has another one."""
    offered = printed(
        "import sys\n"
        "sys.modules['zstandard'] = None\n"
        f"from {HOME[library].__name__} import ResilientClient\n"
        "print(ResilientClient().headers['Accept-Encoding'])"
    )

    assert ("zstd" in offered.split(", ")) == (library is httpx2)


# --------------------------------------------------------------------------------------------------- `NO_PROXY`


@LIBRARIES
@THREE_WAYS
def test_a_network_in_no_proxy(library: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`127.0.0.0/8` keeps httpx2's requests from the proxy, and httpx's not."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    async def scenario() -> None:
        with Loopback(page(200, b"by proxy")) as proxy, Loopback(page(200, b"straight")) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
            async with On(library, way, clock=VirtualClock()) as client:
                response = await client.get(server.url)
            assert response.content == {httpx: b"by proxy", httpx2: b"straight"}[library]

    run(way, scenario)


# ---------------------------------------------------------------------------------------------- `User-Agent`


@LIBRARIES
def test_a_client_says_who_it_is(library: Any) -> None:
    """By its library's name, as a plain client does."""
    with Loopback(page(200)) as server, client_of(library) as client:
        client.get(server.url)
        library.get(server.url)
        ours, theirs = (exchange.headers["user-agent"] for exchange in server.exchanges)

    assert ours == theirs == f"python-{library.__name__}/{library.__version__}"


# ------------------------------------------------------------------------------------------- names of loggers


@LIBRARIES
@THREE_WAYS
@pytest.mark.parametrize("options", [{}, {"auth": ("name", "password")}], ids=["short", "its own"])
def test_a_call_is_one_line_however_many_attempts_it_has(
    library: Any, way: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """On the library's own logger, as a plain client's; a redirect that is followed is a line of its own."""

    async def scenario() -> None:
        with Loopback(page(503), page(302, b"", "Location: /there"), page(200)) as server:
            with caplog.at_level(logging.INFO):
                async with On(library, way, clock=VirtualClock(), follow_redirects=True, **options) as client:
                    await client.get(server.url)
            assert [(record.name, record.getMessage()) for record in caplog.records] == [
                (library.__name__, f'HTTP Request: GET {server.url}{path} "HTTP/1.1 {status}"')
                for path, status in (("", "302 Said So"), ("/there", "200 Said So"))
            ]

    run(way, scenario)


@LIBRARIES
def test_what_is_logged_of_connections_and_of_attempts(
    library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG: httpcore's lines under its own name, once per attempt; this library's under `resilient_client`, whatever is beneath."""
    with (
        Loopback(page(503), page(404)) as server,
        client_of(library) as client,
        caplog.at_level(logging.DEBUG),
    ):
        client.get(server.url)
    names = {record.name.partition(".")[0] for record in caplog.records}
    core = {httpx: "httpcore", httpx2: "httpcore2"}[library]
    begun = [
        record for record in caplog.records if record.getMessage().startswith("send_request_headers.started")
    ]

    assert names == {library.__name__, core, "resilient_client"}
    assert [record.name for record in begun] == [f"{core}.http11"] * 2
    own = [record.getMessage() for record in caplog.records if record.name == "resilient_client"]
    assert [re.sub(r"in \d\.\d+ s", "in … s", line) for line in own] == [
        "default: GET / attempt 1 -> 503 SERVICE_UNAVAILABLE, next in … s",
        "default: GET / attempt 2 -> 404 NOT_FOUND",
        "default: GET / failed with 404 NOT_FOUND after 2 attempt(s): not_retryable",
    ]


# -------------------------------------------------------------------------------------------- OpenTelemetry


@pytest.fixture
def tracing() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    """Keep the spans of a test, those of httpx's instrumentation included."""
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    HTTPXClientInstrumentor().instrument(tracer_provider=tracers)
    yield tracers, exporter
    HTTPXClientInstrumentor().uninstrument()
    tracers.shutdown()


@LIBRARIES
def test_calls_have_spans_on_both_and_attempts_on_httpx(
    library: Any, tracing: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    """The instrumentation that makes the spans of attempts, and hands the trace on to the API, knows httpx alone."""
    tracers, exporter = tracing
    observer = OpenTelemetryObserver(tracer_provider=tracers)
    with Loopback(page(503), page(200)) as server, client_of(library, observers=[observer]) as client:
        client.get(server.url)
    spans = exporter.get_finished_spans()
    (call,) = [span for span in spans if span.kind is SpanKind.INTERNAL]
    attempts = [span for span in spans if span.kind is SpanKind.CLIENT]

    assert [event.name for event in call.events] == ["resilient_client.retry"]
    assert call.attributes is not None
    assert call.attributes["resilient_client.attempts"] == 2
    assert len(attempts) == {httpx: 2, httpx2: 0}[library]
    assert ["traceparent" in exchange.headers for exchange in server.exchanges] == [library is httpx] * 2


def test_instrumenting_a_client_of_httpx2s_is_refused() -> None:
    """At once, and with what there is instead."""
    with client_of(httpx2) as client, pytest.raises(TypeError, match="OpenTelemetryObserver"):
        instrument_client(client)


# ------------------------------------------------------------------------------------- the engine of aiohttp


def test_the_engine_of_aiohttp_is_httpxs() -> None:
    """httpx-aiohttp's transport is refused, as any of httpx's."""
    resilient_client.AsyncResilientClient(transport=AiohttpTransport())
    for options in ({"transport": AiohttpTransport()}, {"mounts": {"https://": AiohttpTransport()}}):
        with pytest.raises(TypeError, match="AiohttpTransport is a transport of httpx,"):
            resilient_client.httpx2.AsyncResilientClient(**options)


# --------------------------------------------------------------------------------------------- pytest-httpx


def test_pytest_httpx_mocks_httpx_alone(httpx_mock: HTTPXMock) -> None:
    """What a client of httpx2's sends goes past it, to the network."""
    httpx_mock.add_response(text="mocked")
    with Loopback(page(200, b"real")) as server, client_of(httpx) as one, client_of(httpx2) as other:
        assert one.get(server.url).text == "mocked"
        assert other.get(server.url).text == "real"


# ------------------------------------------------------------------------------------- `httpx2.alias_httpx()`


def test_after_the_alias_there_is_one_library() -> None:
    """`import httpx` gives httpx2 then, and `resilient_client` gives what `resilient_client.httpx2` has."""
    told = printed(
        "import httpx2\n"
        "httpx2.alias_httpx()\n"
        "import httpx, resilient_client, resilient_client.httpx2\n"
        "transport = httpx.MockTransport(lambda request: httpx.Response(404))\n"
        "with resilient_client.ResilientClient(transport=transport, raise_for_status=True) as client:\n"
        "    try:\n"
        "        client.get('https://api.example/')\n"
        "    except resilient_client.httpx2.ApiError as error:\n"
        "        print(isinstance(error, (httpx.HTTPStatusError, resilient_client.ApiError)))\n"
        "print(all(getattr(resilient_client, name) is getattr(resilient_client.httpx2, name) for name in resilient_client.__all__))\n"
    )

    assert told.split() == ["True", "True"]
