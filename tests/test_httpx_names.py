"""What this library takes from inside httpx: each private name, and each habit it relies on, pinned here."""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
from pathlib import Path

import httpcore
import httpx

import resilient_client
from resilient_client import AsyncResilientClient, ResilientClient, _httpx

PACKAGE = Path(resilient_client.__file__).parent


def test_a_client_has_its_transports_in_two_attributes() -> None:
    """`_transport` and `_mounts`, which `wrap_transports` replaces."""
    with httpx.Client(proxy="http://127.0.0.1:9") as client:
        assert isinstance(client._transport, httpx.HTTPTransport)
        assert [type(transport) for transport in client._mounts.values()] == [httpx.HTTPTransport]


def test_a_transport_has_a_pool_and_a_pool_a_network() -> None:
    """`_pool` and `_network_backend`, which `bound_reads` wraps, once."""
    for transport in (
        httpx.HTTPTransport(),
        httpx.AsyncHTTPTransport(),
        httpx.HTTPTransport(proxy="http://127.0.0.1:9"),
    ):
        for _ in range(2):
            _httpx.bound_reads(transport)
            network = transport._pool._network_backend
            assert type(network).__module__ == "resilient_client._network"
            assert not isinstance(vars(network)["_inner"], type(network))


def test_a_pool_has_its_limits_and_tells_whether_it_speaks_http2() -> None:
    """`_max_connections`, `_max_keepalive_connections` and `_http2`, which `quickened` reads; `create_connection` is public."""
    limits = httpx.Limits(max_connections=7, max_keepalive_connections=3)
    pool = httpx.AsyncHTTPTransport(limits=limits)._pool
    assert (pool._max_connections, pool._max_keepalive_connections, pool._http2) == (7, 3, False)
    assert httpx.AsyncHTTPTransport(http2=True)._pool._http2
    unlimited = httpx.AsyncHTTPTransport(limits=httpx.Limits())._pool
    assert unlimited._max_connections == unlimited._max_keepalive_connections == sys.maxsize
    origin = httpcore.Origin(b"http", b"h", 80)
    assert isinstance(pool.create_connection(origin), httpcore.AsyncHTTPConnection)


def test_a_proxy_has_a_pool_of_another_kind() -> None:
    """By which `quickened` knows it."""
    assert type(httpx.AsyncHTTPTransport()._pool) is httpcore.AsyncConnectionPool
    for proxy in ("http://127.0.0.1:9", "socks5://127.0.0.1:9"):
        pool = httpx.AsyncHTTPTransport(proxy=proxy)._pool
        assert type(pool) is not httpcore.AsyncConnectionPool


def test_a_stream_of_a_file_keeps_the_file() -> None:
    """`_stream` of the stream that httpx builds for content=file, which `replay` rewinds."""
    file = io.BytesIO(b"abc")
    assert httpx.Request("POST", "http://h", content=file).stream._stream is file  # type: ignore[union-attr]


def test_a_multipart_stream_keeps_its_fields() -> None:
    """`fields`, each with a `file`, which `replay` looks at."""
    file = io.BytesIO(b"abc")
    stream = httpx.Request("POST", "http://h", files={"f": file}).stream
    assert [field.file for field in stream.fields] == [file]  # type: ignore[union-attr]


def test_private_names_of_httpx_stand_in_two_files_only() -> None:
    """Outside `_httpx.py`, and `_lean.py`, nothing reaches for `_transport`, `_mounts`, `_pool`, or imports from inside httpx."""
    inside = re.compile(
        r"\._transport\b|\._mounts\b|\._pool\b|\._init_\w*transport\b|from httpx\._|import httpx\._"
    )
    for path in PACKAGE.rglob("*.py"):
        if path.name not in {"_httpx.py", "_httpx2.py", "_lean.py"}:
            assert inside.search(path.read_text("utf-8")) is None, path


def test_clients_take_all_that_httpx_takes() -> None:
    """Parameter by parameter, with the same defaults; ours stand before theirs."""
    for ours, theirs in ((ResilientClient, httpx.Client), (AsyncResilientClient, httpx.AsyncClient)):
        mine = inspect.signature(ours).parameters
        for name, parameter in inspect.signature(theirs).parameters.items():
            assert mine[name].default == parameter.default
            assert mine[name].kind == parameter.kind
        assert list(mine)[:5] == ["policy", "clock", "deadline", "raise_for_status", "debug"]


def test_the_typed_options_are_httpx_own() -> None:
    """The one list of parameters that type checkers see is complete, and has nothing that httpx lacks."""
    for options, theirs in (
        (_httpx.ClientOptions, httpx.Client),
        (_httpx.AsyncClientOptions, httpx.AsyncClient),
    ):
        assert set(options.__annotations__) == set(inspect.signature(theirs).parameters)


def test_the_flow_imports_no_io() -> None:
    """Nothing in `_flow` imports httpx at run time, nor sockets, threads, clocks or chance."""
    banned = {
        "httpx",
        "time",
        "random",
        "socket",
        "threading",
        "asyncio",
        "anyio",
        "secrets",
        "uuid",
        "pydantic",
    }
    for path in (PACKAGE / "_flow").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in typing_only:
                continue
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert banned.isdisjoint(name.split(".")[0] for name in names), (path.name, names)
