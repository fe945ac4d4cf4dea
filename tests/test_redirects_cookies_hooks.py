"""All that surrounds a retry in httpx: redirects, cookies, hooks, auths, mounts, proxies, other transports, threads, forks."""

from __future__ import annotations

import asyncio
import hmac
import ssl
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import respx
import trustme
from loopback import WAYS, Caller, Exchange, Loopback, page, run
from scenario import error_response

from resilient_client import (
    AsyncResilientClient,
    AsyncResilientTransport,
    HmacAuth,
    ResilientClient,
    ResilientTransport,
    TokenAuth,
    outcome_of,
)
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

URL = "https://api.test/things"
SIGNED = ("x-api-key", "x-api-sign", "x-api-nonce")


def mock(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    return httpx.MockTransport(answer)


def answers(*responses: httpx.Response) -> Any:
    said = iter(responses)
    return mock(lambda _: next(said))


# ---------------------------------------------------------------------------------------------------- cookies


@pytest.mark.parametrize("way", WAYS)
def test_a_cookie_of_a_discarded_attempt_is_in_the_clients_jar_and_sent_from_then_on(way: str) -> None:
    async def scenario() -> None:
        with Loopback(
            page(503, b"no", "Set-Cookie: lb=node7", "Set-Cookie: b=2; Path=/"), page(200, b"ok")
        ) as server:
            async with Caller(way, clock=VirtualClock()) as client:
                response = await client.get(server.url)
                assert dict(client.real.cookies) == {"lb": "node7", "b": "2"}
                assert "set-cookie" not in response.headers
                await client.get(server.url)
            assert sorted(server.exchanges[-1].headers["cookie"].split("; ")) == ["b=2", "lb=node7"]

    run(way, scenario)


def test_the_last_answer_has_the_last_word_on_a_cookie_in_the_jar() -> None:
    transport = answers(
        httpx.Response(503, headers={"Set-Cookie": "a=old"}),
        httpx.Response(503, headers={"Set-Cookie": "a=older-no-more"}),
        httpx.Response(200, headers={"Set-Cookie": "a=new"}),
    )
    with ResilientClient(clock=VirtualClock(), transport=transport) as client:
        client.get(URL)
        assert dict(client.cookies) == {"a": "new"}


def test_a_cookie_of_a_discarded_attempt_is_kept_for_its_own_host_only() -> None:
    transport = answers(
        httpx.Response(503, headers={"Set-Cookie": "a=1; Domain=evil.test"}),
        httpx.Response(200),
        httpx.Response(200),
    )
    with ResilientClient(clock=VirtualClock(), transport=transport) as client:
        client.get(URL)
        assert dict(client.cookies) == {}


def test_a_bare_transport_carries_the_cookies_over_and_the_final_responses_own_win() -> None:
    transport = answers(
        httpx.Response(503, headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=1")]),
        httpx.Response(503, headers={"Set-Cookie": "c=1"}),
        httpx.Response(200, headers={"Set-Cookie": "a=2", "X-Mine": "1"}),
    )
    with httpx.Client(transport=ResilientTransport(transport=transport, clock=VirtualClock())) as client:
        response = client.get(URL)
        assert dict(client.cookies) == {"a": "2", "b": "1", "c": "1"}
        assert response.headers.get_list("set-cookie") == ["a=1", "b=1", "c=1", "a=2"]
        assert response.headers["x-mine"] == "1"


@pytest.mark.parametrize("status", [404, 503])
def test_cookies_are_carried_over_onto_an_error_as_well(status: int) -> None:
    said = [httpx.Response(503, headers={"Set-Cookie": "a=1"}), *(httpx.Response(status) for _ in range(9))]
    with httpx.Client(transport=ResilientTransport(transport=answers(*said), clock=VirtualClock())) as client:
        client.get(URL)
        assert dict(client.cookies) == {"a": "1"}


def test_a_cookie_that_came_before_the_connection_was_lost_for_good_is_not_lost() -> None:
    calls = iter(range(9))

    def answer(_: httpx.Request) -> httpx.Response:
        if next(calls) == 0:
            return httpx.Response(503, headers={"Set-Cookie": "a=1"})
        raise httpx.ConnectError("gone")

    with ResilientClient(clock=VirtualClock(), transport=mock(answer)) as client:
        with pytest.raises(httpx.ConnectError):
            client.get(URL)
        assert dict(client.cookies) == {"a": "1"}


# -------------------------------------------------------------------------------------------------- redirects


def signature(secret: bytes, body: bytes) -> str:
    return hmac.new(secret, body, "sha256").hexdigest()


class Site:
    """Hosts that redirect as a table says, and remember what they were sent."""

    def __init__(self, table: dict[str, tuple[int, str]], *, fail_first: bool = False) -> None:
        self.table = table
        self.seen: list[httpx.Request] = []
        self.fail_first = fail_first

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        url = str(request.url)
        if self.fail_first and [str(one.url) for one in self.seen].count(url) == 1:
            return httpx.Response(503)
        if url in self.table:
            status, to = self.table[url]
            return httpx.Response(status, headers={"Location": to})
        return httpx.Response(200)


def follow(way: str, site: Site, method: str, start: str, auth: httpx.Auth, **options: Any) -> None:
    async def scenario() -> None:
        async with Caller(
            way, clock=VirtualClock(), auth=auth, transport=mock(site), follow_redirects=True
        ) as client:
            await client.request(method, start, **options)

    run(way, scenario)


def secrets_of(request: httpx.Request) -> dict[str, str]:
    return {name: request.headers[name] for name in (*SIGNED, "authorization") if name in request.headers}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fail_first", [False, True])
def test_a_redirect_to_the_same_origin_is_signed_under_a_fresh_nonce(way: str, *, fail_first: bool) -> None:
    site = Site(
        {"https://a.test/1": (307, "/2"), "https://a.test/2": (308, "https://a.test:443/3")},
        fail_first=fail_first,
    )
    follow(way, site, "PUT", "https://a.test/1", HmacAuth("key-name", "secret-word"), content=b"body")
    assert (
        len({request.headers["x-api-nonce"] for request in site.seen})
        == len(site.seen)
        == (6 if fail_first else 3)
    )
    assert {request.content for request in site.seen} == {b"body"}
    assert {request.headers["x-api-sign"] for request in site.seen} == {signature(b"secret-word", b"body")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_that_becomes_a_get_is_signed_for_its_empty_body(way: str, status: int) -> None:
    site = Site({"https://a.test/1": (status, "/2")})
    follow(way, site, "POST", "https://a.test/1", HmacAuth("key-name", "secret-word"), json={"amount": 1})
    first, second = site.seen
    assert second.method == "GET"
    assert second.content == b""
    assert first.headers["x-api-sign"] == signature(b"secret-word", first.content)
    assert second.headers["x-api-sign"] == signature(b"secret-word", b"")
    assert first.headers["x-api-nonce"] != second.headers["x-api-nonce"]


def test_a_redirect_that_keeps_the_method_keeps_the_key_and_one_that_makes_a_get_is_no_second_order() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/v1/create":
            return httpx.Response(307, headers={"Location": "/v2/v1/create"})
        return httpx.Response(503 if len(seen) < 4 else 200, json={"code": 11})

    auth = HmacAuth("key-name", "secret-word")
    with ResilientClient(
        "zerotrace", clock=VirtualClock(), auth=auth, transport=mock(answer), follow_redirects=True
    ) as client:
        client.post("https://a.test/v1/create", json={"amount": 1})
    assert len(seen) == 4
    assert len({request.headers["idempotency-key"] for request in seen}) == 1


OTHERS = [
    "https://b.test/2",
    "https://a.test:8443/2",
    "http://a.test/2",
    "https://sub.a.test/2",
    "//b.test/2",
    "https://a.test.:443/2",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("to", OTHERS)
@pytest.mark.parametrize("fail_first", [False, True])
def test_a_redirect_to_another_origin_carries_no_signature_and_no_key_not_even_on_a_retry(
    way: str,
    to: str,
    *,
    fail_first: bool,
) -> None:
    site = Site({"https://a.test/1": (307, to)}, fail_first=fail_first)
    follow(way, site, "PUT", "https://a.test/1", HmacAuth("key-name", "secret-word"), content=b"body")
    elsewhere = [request for request in site.seen if request.url.path == "/2"]
    assert len(elsewhere) == 1 + fail_first
    assert [secrets_of(request) for request in elsewhere] == [{}] * len(elsewhere)
    assert all("resilience.auth" not in request.extensions for request in elsewhere)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("header", ["Authorization", "X-Token"])
@pytest.mark.parametrize("to", ["https://b.test/2", "http://a.test/2"])
def test_a_redirect_to_another_origin_carries_no_token_not_even_on_a_retry(
    way: str, header: str, to: str
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            return httpx.Response(200, json={"token": "tok-abcdef"})
        seen.append(request)
        if request.url.path == "/1":
            return httpx.Response(307, headers={"Location": to})
        return httpx.Response(503 if len(seen) < 4 else 401, json={"error": {"code": 401}})

    async def scenario() -> None:
        auth = TokenAuth(httpx.Request("POST", "https://a.test/login"), lifetime=1, header=header)
        async with Caller(
            way, "dual", clock=VirtualClock(), auth=auth, transport=mock(answer), follow_redirects=True
        ) as client:
            await client.get("https://a.test/1")

    run(way, scenario)
    assert [header.casefold() in request.headers for request in seen] == [True, False, False, False]


@pytest.mark.parametrize("way", WAYS)
def test_from_a_to_a_to_b_signs_until_b(way: str) -> None:
    site = Site(
        {"https://a.test/1": (307, "/2"), "https://a.test/2": (307, "https://b.test/3")}, fail_first=True
    )
    follow(way, site, "PUT", "https://a.test/1", HmacAuth("key-name", "secret-word"), content=b"body")
    assert [bool(secrets_of(request)) for request in site.seen] == [True, True, True, True, False, False]


@pytest.mark.parametrize("way", WAYS)
def test_from_a_to_b_to_a_is_not_signed_again(way: str) -> None:
    table = {"https://a.test/1": (307, "https://b.test/2"), "https://b.test/2": (307, "https://a.test/3")}
    site = Site(table, fail_first=True)
    follow(way, site, "PUT", "https://a.test/1", HmacAuth("key-name", "secret-word"), content=b"body")
    assert [bool(secrets_of(request)) for request in site.seen] == [True, True, False, False, False, False]


def test_a_redirect_between_mounts_of_different_policies_is_stripped_as_well() -> None:
    site = Site({"https://a.test/1": (307, "https://b.test/2")}, fail_first=True)
    clock = VirtualClock()
    mounts = {
        "https://a.test": ResilientTransport("zerotrace", mock(site), clock=clock),
        "https://b.test": ResilientTransport("dual", mock(site), clock=clock),
    }
    with httpx.Client(
        mounts=mounts, auth=HmacAuth("key-name", "secret-word"), follow_redirects=True
    ) as client:
        client.put("https://a.test/1", content=b"body", extensions={"resilience": {"idempotent": True}})
    assert [bool(secrets_of(request)) for request in site.seen if request.url.host == "b.test"] in (
        [False],
        [False] * 2,
    )


def test_a_redirect_followed_by_hand_is_not_signed_for_another_origin() -> None:
    site = Site({"https://a.test/1": (307, "https://b.test/2")})
    with ResilientClient(
        clock=VirtualClock(), auth=HmacAuth("key-name", "secret-word"), transport=mock(site)
    ) as client:
        response = client.put("https://a.test/1", content=b"body")
        assert response.next_request is not None
        client.send(response.next_request, auth=None)
    assert [bool(secrets_of(request)) for request in site.seen] == [True, False]


def test_a_redirect_of_a_one_shot_body_is_refused_as_httpx_refuses_it() -> None:
    with (
        Loopback(page(307, b"", "Location: /2"), page(200)) as server,
        ResilientClient(clock=VirtualClock(), follow_redirects=True) as client,
        pytest.raises(httpx.StreamConsumed),
    ):
        client.put(server.url, content=(part for part in (b"a", b"b")))


# ------------------------------------------------------------------------------------------------------ hooks


@pytest.mark.parametrize("way", WAYS)
def test_event_hooks_run_once_for_a_call_as_with_httpx(way: str) -> None:
    async def scenario() -> None:
        seen: list[object] = []

        def on_request(request: httpx.Request) -> None:
            seen.append(request.method)
            request.headers["X-Hooked"] = "1"

        def on_response(response: httpx.Response) -> None:
            seen.append(response.status_code)

        async def aon_request(request: httpx.Request) -> None:
            on_request(request)

        async def aon_response(response: httpx.Response) -> None:
            on_response(response)

        hooks: dict[str, list[Any]] = (
            {"request": [on_request], "response": [on_response]}
            if way == "threads"
            else {"request": [aon_request], "response": [aon_response]}
        )
        with Loopback(page(503), page(302, b"", "Location: /b"), page(503), page(200)) as server:
            async with Caller(way, clock=VirtualClock(), event_hooks=hooks, follow_redirects=True) as client:
                await client.get(server.url)
            assert seen == ["GET", 302, "GET", 200]
            assert all(exchange.headers["x-hooked"] == "1" for exchange in server.exchanges)

    run(way, scenario)


def test_a_hook_that_raises_for_status_works_as_with_httpx() -> None:
    def check(response: httpx.Response) -> None:
        response.read()
        response.raise_for_status()

    with (
        ResilientClient(
            clock=VirtualClock(),
            event_hooks={"response": [check]},
            transport=mock(lambda _: httpx.Response(404, text="no")),
        ) as client,
        pytest.raises(httpx.HTTPStatusError, match="404"),
    ):
        client.get(URL)


# ------------------------------------------------------------------------------------------------ other auths


def test_basic_auth_goes_out_on_every_attempt() -> None:
    with (
        Loopback(page(503), page(200)) as server,
        ResilientClient(clock=VirtualClock(), auth=("user", "pass-word")) as client,
    ):
        client.get(server.url)
        assert [exchange.headers["authorization"] for exchange in server.exchanges] == [
            "Basic dXNlcjpwYXNzLXdvcmQ="
        ] * 2


def test_userinfo_in_the_address_works_with_retries() -> None:
    with Loopback(page(503), page(200)) as server, ResilientClient(clock=VirtualClock()) as client:
        client.get(server.url.replace("http://", "http://user:pass-word@"))
        assert [exchange.headers["authorization"] for exchange in server.exchanges] == [
            "Basic dXNlcjpwYXNzLXdvcmQ="
        ] * 2


def test_netrc_auth_works_with_retries(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login user password pass-word\n")
    with (
        Loopback(page(503), page(200)) as server,
        ResilientClient(clock=VirtualClock(), auth=httpx.NetRCAuth(str(path))) as client,
    ):
        client.get(server.url)
        assert [exchange.headers["authorization"] for exchange in server.exchanges] == [
            "Basic dXNlcjpwYXNzLXdvcmQ="
        ] * 2


def test_a_function_works_as_an_auth_with_retries() -> None:
    def sign(request: httpx.Request) -> httpx.Request:
        request.headers["X-Mine"] = "1"
        return request

    with Loopback(page(503), page(200)) as server, ResilientClient(clock=VirtualClock(), auth=sign) as client:
        client.get(server.url)
        assert [exchange.headers["x-mine"] for exchange in server.exchanges] == ["1"] * 2


@pytest.mark.parametrize("way", WAYS)
def test_digest_auth_works_with_errors_before_and_after_its_challenge(way: str) -> None:
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="abc", qop="auth", algorithm=SHA-256'

    async def scenario() -> None:
        with Loopback(page(503), page(401, b"who?", challenge), page(503), page(200, b"ok")) as server:
            async with Caller(
                way, clock=VirtualClock(), auth=httpx.DigestAuth("user", "pass-word")
            ) as client:
                assert (await client.get(server.url)).content == b"ok"
            assert server.connections == 1
            assert ["authorization" in exchange.headers for exchange in server.exchanges] == [
                False,
                False,
                True,
                True,
            ]

    run(way, scenario)


def test_an_auth_of_ones_own_that_reads_the_response_body_works() -> None:
    class Own(httpx.Auth):
        """An auth that needs to see the body of the answer."""

        requires_response_body = True

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            response = yield request
            if response.status_code == 401:
                request.headers["X-Answer"] = response.text
                yield request

    with Loopback(page(503), page(401, b"say this"), page(200)) as server:
        with ResilientClient(clock=VirtualClock(), auth=Own()) as client:
            assert client.get(server.url).status_code == 200
        assert server.exchanges[-1].headers["x-answer"] == "say this"


# ------------------------------------------------------------------------------------------- mounts, proxies


def test_each_mount_has_its_own_policy_and_none_means_the_clients_transport() -> None:
    def busy(request: httpx.Request) -> httpx.Response:
        return error_response(
            "zerotrace" if request.url.host == "z.test" else "dual", 503, headers={"X-Host": request.url.host}
        )

    clock = VirtualClock()
    mounts: dict[str, Any] = {
        "https://z.test": ResilientTransport("zerotrace", mock(busy), clock=clock),
        "https://d.test": ResilientTransport("dual", mock(busy), clock=clock),
        "https://plain.test": mock(busy),
        "https://none.test": None,
    }
    with ResilientClient("openpoly", clock=clock, mounts=mounts, transport=mock(busy)) as client:
        apis = {
            host: outcome_of(client.get(f"https://{host}.test/")).api
            for host in ("z", "d", "plain", "none", "other")
        }
    assert apis == {
        "z": "zerotrace",
        "d": "dual",
        "plain": "openpoly",
        "none": "openpoly",
        "other": "openpoly",
    }


def test_a_request_may_bring_a_policy_of_its_own() -> None:
    with ResilientClient(clock=VirtualClock(), transport=mock(lambda _: httpx.Response(404))) as client:
        response = client.get(URL, extensions={"resilience": {"policy": "dual"}})
    assert outcome_of(response).api == "dual"


@pytest.mark.parametrize("way", WAYS)
def test_the_environments_proxy_is_used_and_resilient(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        with Loopback(page(503), page(503), page(200, b"by proxy")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "")
            async with Caller(way, clock=VirtualClock()) as client:
                response = await client.get("http://far.test/path")
            assert response.content == b"by proxy"
            assert [exchange.target for exchange in proxy.exchanges] == ["http://far.test/path"] * 3
            assert proxy.connections == 1

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_proxy_of_ones_own_is_resilient(way: str) -> None:
    async def scenario() -> None:
        with Loopback(page(503), page(200, b"by proxy")) as proxy:
            async with Caller(way, clock=VirtualClock(), proxy=proxy.url, trust_env=False) as client:
                assert (await client.get("http://far.test/path")).content == b"by proxy"
            assert len(proxy.exchanges) == 2

    run(way, scenario)


def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(page(500)) as proxy, Loopback(page(503), page(200, b"direct")) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with ResilientClient(clock=VirtualClock()) as client:
            assert client.get(server.url).content == b"direct"
        assert proxy.exchanges == []


@pytest.mark.parametrize("way", WAYS)
def test_verify_is_kept(way: str) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def scenario() -> None:
        with Loopback(page(503), page(200, b"ok"), tls=context) as server:
            async with Caller(way, clock=VirtualClock(), verify=trusting) as client:
                assert (await client.get(server.url)).content == b"ok"
            assert server.connections == 1
            clock = VirtualClock()
            async with Caller(way, clock=clock) as client:
                with pytest.raises(httpx.ConnectError) as caught:
                    await client.get(server.url)
            assert len(outcome_of(caught.value).attempts) == 1
            assert clock.sleeps == []

    run(way, scenario)


def test_wsgi_applications_work_with_retries() -> None:
    calls: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ["wsgi.input"].read())
        start_response("503 No" if len(calls) < 3 else "200 OK", [("Content-Type", "text/plain")])
        return [b"said"]

    with ResilientClient(clock=VirtualClock(), transport=httpx.WSGITransport(app=app)) as client:
        assert client.put("http://app.test/", content=b"body").text == "said"
    assert calls == [b"body"] * 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_asgi_applications_work_with_retries(backend: str) -> None:
    calls: list[bytes] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        calls.append(body)
        await send({"type": "http.response.start", "status": 503 if len(calls) < 3 else 200, "headers": []})
        await send({"type": "http.response.body", "body": b"said"})

    async def scenario() -> None:
        async with AsyncResilientClient(
            clock=VirtualClock(), transport=httpx.ASGITransport(app=app)
        ) as client:
            assert (await client.put("http://app.test/", content=b"body")).text == "said"

    anyio.run(scenario, backend=backend)
    assert calls == [b"body"] * 3


def test_respx_in_its_default_mode_goes_through_the_retries() -> None:
    with respx.mock(assert_all_called=True) as router:
        route = router.get(URL).mock(
            side_effect=[httpx.Response(503), httpx.ConnectError, httpx.Response(200, text="ok")]
        )
        with ResilientClient(clock=VirtualClock()) as client:
            assert client.get(URL).text == "ok"
        assert route.call_count == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_respx_in_its_default_mode_goes_through_the_retries_of_tasks(backend: str) -> None:
    async def scenario() -> None:
        with respx.mock(assert_all_called=True) as router:
            route = router.get(URL).mock(side_effect=[httpx.Response(503), httpx.Response(200, text="ok")])
            async with AsyncResilientClient(clock=VirtualClock()) as client:
                assert (await client.get(URL)).text == "ok"
            assert route.call_count == 2

    anyio.run(scenario, backend=backend)


def test_a_mocked_router_handler_goes_through_the_retries() -> None:
    router = respx.Router()
    router.get(URL).mock(side_effect=[httpx.Response(503), httpx.Response(200)])
    with ResilientClient(clock=VirtualClock(), transport=httpx.MockTransport(router.handler)) as client:
        assert client.get(URL).status_code == 200


def test_a_transport_that_is_resilient_already_does_not_multiply_its_retries() -> None:
    sent = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        return httpx.Response(503)

    clock = VirtualClock()
    with ResilientClient(
        clock=clock, transport=ResilientTransport(transport=mock(answer), clock=clock)
    ) as client:
        client.get(URL)
    assert sent == 5


# ---------------------------------------------------------------------------------- threads, loops and forks


def test_eight_threads_of_fifty_calls_share_one_client_and_one_token() -> None:
    seen: dict[str, int] = {}
    lock = threading.Lock()
    logins = 0

    def answer(exchange: Exchange) -> None:
        nonlocal logins
        with lock:
            if exchange.target == "/login":
                logins += 1
                exchange.say(page(200, b'{"token": "tok-abcdef"}'))
                return
            seen[exchange.target] = seen.get(exchange.target, 0) + 1
            first = seen[exchange.target] == 1
        good = exchange.headers.get("authorization") == "Bearer tok-abcdef"
        exchange.say(page(503 if first else 200 if good else 418, exchange.target.encode()))

    with Loopback(answer) as server:
        auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"))
        with ResilientClient(clock=VirtualClock(), auth=auth) as client, ThreadPoolExecutor(8) as threads:

            def work(thread: int) -> list[bool]:
                done = []
                for number in range(50):
                    response = client.get(f"{server.url}/{thread}/{number}")
                    outcome = outcome_of(response)
                    done.append(
                        response.text == f"/{thread}/{number}"
                        and [a.status for a in outcome.attempts] == [503, 200]
                    )
                return done

            assert all(all(done) for done in threads.map(work, range(8)))
        assert logins == 1
        assert server.connections <= 9


def test_one_token_auth_serves_many_event_loops_one_after_another() -> None:
    logins = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal logins
        if request.url.path == "/login":
            logins += 1
            return httpx.Response(200, json={"token": f"tok-{logins}"})
        return httpx.Response(200 if request.headers["authorization"] == "Bearer tok-1" else 401)

    auth = TokenAuth(httpx.Request("POST", "https://api.test/login"))

    async def scenario() -> None:
        async with AsyncResilientClient(clock=VirtualClock(), auth=auth, transport=mock(answer)) as client:
            statuses = await asyncio.gather(*(client.get(URL) for _ in range(5)))
            assert [response.status_code for response in statuses] == [200] * 5

    async def one_at_a_time() -> None:
        async with AsyncResilientClient(clock=VirtualClock(), auth=auth, transport=mock(answer)) as client:
            assert (await client.get(URL)).status_code == 200

    for _ in range(3):
        asyncio.run(scenario())
        anyio.run(one_at_a_time, backend="trio")
    with ResilientClient(clock=VirtualClock(), auth=auth, transport=mock(answer)) as client:
        assert client.get(URL).status_code == 200
    assert logins == 1


FORK = """
    import os, sys, threading, time, httpx
    from resilient_client import ResilientClient, TokenAuth
    from resilient_client.testing import VirtualClock

    entered, go = threading.Event(), threading.Event()
    logins = []

    def answer(request):
        if request.url.path == "/login":
            logins.append(os.getpid())
            if len(logins) == 1:
                entered.set()
                go.wait(5)
            return httpx.Response(200, json={"token": "tok-%d" % len(logins)})
        return httpx.Response(503 if request.url.path == "/first" and not logins[1:] else 200)

    auth = TokenAuth(httpx.Request("POST", "https://api.test/login"))
    client = ResilientClient(clock=VirtualClock(), auth=auth, transport=httpx.MockTransport(answer))
    leader = threading.Thread(target=lambda: client.get("https://api.test/a"))
    leader.start()
    assert entered.wait(5)
    child = os.fork()  # while the sign-in is under way
    if child == 0:
        begun = time.monotonic()
        status = client.get("https://api.test/b").status_code
        os._exit(0 if status == 200 and logins[-1] == os.getpid() and time.monotonic() - begun < 3 else 1)
    go.set()
    leader.join(5)
    _, code = os.waitpid(child, 0)
    assert client.get("https://api.test/c").status_code == 200
    assert len(logins) == 1, logins
    client.close()
    sys.exit(os.waitstatus_to_exitcode(code))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_a_worker_forked_while_a_sign_in_is_under_way_signs_in_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(FORK)],
        timeout=30,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


FORK_JITTER = """
    import os, httpx
    from resilient_client import ResilientClient
    from resilient_client.testing import VirtualClock

    def wait():
        clock = VirtualClock()
        said = iter([httpx.Response(429, headers={"Retry-After": "1"}), httpx.Response(200)])
        with ResilientClient(clock=clock, transport=httpx.MockTransport(lambda request: next(said))) as client:
            client.get("https://api.test/")
        return clock.sleeps[0]

    wait()
    for _ in range(4):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, repr(wait()).encode())
            os._exit(0)
        os.close(writer)
        print(os.read(reader, 100).decode())
        os.close(reader)
        os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_forked_workers_do_not_wait_the_same_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK_JITTER)],
        timeout=30,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(set(done.stdout.split())) == 4


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_bare_async_transport_works_in_a_plain_client(backend: str) -> None:
    async def scenario() -> None:
        with Loopback(page(503), page(200, b"ok")) as server:
            async with httpx.AsyncClient(transport=AsyncResilientTransport(clock=VirtualClock())) as client:
                response = await client.get(server.url)
                assert response.content == b"ok"
                assert len(outcome_of(response).attempts) == 2

    anyio.run(scenario, backend=backend)
