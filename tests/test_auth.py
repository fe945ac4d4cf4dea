"""HmacAuth signs the exact bytes; TokenAuth signs in once, whoever asks, however many ask, and whatever goes wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import httpx
import pytest
from loopback import WAYS, Caller, Exchange, Loopback, page, run

from resilient_client import (
    ApiError,
    AsyncResilientClient,
    HmacAuth,
    ResilientClient,
    ResilientTransport,
    TokenAuth,
    outcome_of,
)
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

URL = "https://api.test/things"
LOGIN = "https://api.test/login"
SECRET = "secret-word"


def mock(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    return httpx.MockTransport(answer)


def login() -> httpx.Request:
    return httpx.Request("POST", LOGIN, json={"user": "me", "password": "pass-word"})


# --------------------------------------------------------------------------------------------------- HmacAuth


@pytest.mark.parametrize(
    ("key", "message", "expected"),
    [
        # RFC 4231, test cases 2 and 3.
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    ],
)
def test_the_published_vectors_come_out(key: bytes, message: bytes, expected: str) -> None:
    request = httpx.Request("POST", URL, content=message)
    next(HmacAuth("key-name", key).sync_auth_flow(request))
    assert request.headers["x-api-sign"] == expected
    assert request.headers["x-api-key"] == "key-name"
    assert 16 <= len(request.headers["x-api-nonce"]) <= 64


def generator() -> Iterator[bytes]:
    yield b"some "
    yield b"bytes"


BODIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "empty bytes": {"content": b""},
    "bytes": {"content": b"\x00\xff"},
    "text": {"content": "žluťoučký"},
    "json": {"json": {"amount": 1.10, "é": None}},
    "form": {"data": {"a": "1&2", "b": ["x", "y"]}},
    "multipart": {"files": {"f": ("n.txt", b"content")}, "data": {"a": "1"}},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", [*BODIES, "generator"])
@pytest.mark.parametrize("digest", ["sha256", "sha512", "sha3_256"])
def test_what_is_signed_is_what_is_on_the_wire(way: str, body: str, digest: str) -> None:
    async def agenerator() -> AsyncIterator[bytes]:
        yield b"some "
        yield b"bytes"

    async def scenario() -> None:
        with Loopback(page(503), page(200)) as server:
            async with Caller(
                way, clock=VirtualClock(), auth=HmacAuth("key-name", SECRET, digest=digest)
            ) as client:
                options = BODIES.get(body) or {}
                if body == "generator":
                    options = {"content": generator() if way == "threads" else agenerator()}
                await client.request("PUT", server.url, **options)
            assert len(server.exchanges) == 2
            for exchange in server.exchanges:
                wanted = hmac.new(SECRET.encode(), exchange.body, digest).hexdigest()
                assert exchange.headers["x-api-sign"] == wanted
            if body == "generator":
                assert server.exchanges[0].body == b"some bytes"

    run(way, scenario)


def test_no_nonce_is_ever_used_twice() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["x-api-nonce"])
        return httpx.Response(503 if len(seen) % 5 else 200)

    with ResilientClient(
        clock=VirtualClock(), auth=HmacAuth("key-name", SECRET), transport=mock(answer), budget=False
    ) as client:
        for _ in range(100):
            client.get(URL)
    assert len(seen) == len(set(seen)) == 500


def test_headers_nonce_and_message_can_be_ones_own() -> None:
    auth = HmacAuth(
        "key-name",
        SECRET,
        key_header="K",
        sign_header="S",
        nonce_header="N",
        nonce=lambda: "n" * 16,
        message=lambda request, nonce: (
            f"{request.method}|{request.url.path}|{nonce}|".encode() + request.content
        ),
    )
    request = httpx.Request("POST", URL, content=b"body")
    next(auth.sync_auth_flow(request))
    wanted = hmac.new(SECRET.encode(), b"POST|/things|" + b"n" * 16 + b"|body", hashlib.sha256).hexdigest()
    assert (request.headers["k"], request.headers["n"], request.headers["s"]) == (
        "key-name",
        "n" * 16,
        wanted,
    )
    assert set(auth.headers) == {"K", "S", "N"}


@pytest.mark.parametrize(
    ("key", "secret", "options", "told"),
    [
        ("", SECRET, {}, "key"),
        (None, SECRET, {}, "key"),
        ("   ", SECRET, {}, "key"),
        (b"key", SECRET, {}, "key"),
        ("key-name", "", {}, "secret"),
        ("key-name", None, {}, "secret"),
        ("key-name", b"  \n", {}, "secret"),
        ("key-name", SECRET, {"digest": "sha255"}, "digest"),
        ("key-name", SECRET, {"digest": ""}, "digest"),
        ("key-name", SECRET, {"digest": "shake_128"}, "digest"),
    ],
)
def test_what_cannot_be_used_is_refused_when_the_auth_is_made_without_the_secret_in_the_message(
    key: Any, secret: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=told) as caught:
        HmacAuth(key, secret, **options)
    assert SECRET not in str(caught.value)


def test_a_key_with_a_newline_from_a_file_is_refused_or_cleaned_before_it_can_be_printed() -> None:
    with Loopback(page(200)) as server:
        auth: HmacAuth | None = None
        told = ""
        try:
            auth = HmacAuth("key-abcdef\n", SECRET)
        except ValueError as error:
            told = str(error)
        assert "abcdef" not in told
        if auth is not None:
            with ResilientClient(clock=VirtualClock(), auth=auth) as client:
                client.get(server.url)
                assert server.exchanges[0].headers["x-api-key"] == "key-abcdef"


def test_an_hmac_auth_does_not_show_what_it_holds() -> None:
    auth = HmacAuth("key-name", SECRET)
    assert "key-name" not in repr(auth)
    assert SECRET not in repr(auth) + str(auth)


def test_it_works_with_a_plain_client() -> None:
    with Loopback(page(200)) as server, httpx.Client(auth=HmacAuth("key-name", SECRET)) as client:
        client.post(server.url, json={"a": 1})
        exchange = server.exchanges[0]
        assert (
            exchange.headers["x-api-sign"] == hmac.new(SECRET.encode(), exchange.body, "sha256").hexdigest()
        )


# --------------------------------------------------------------------------------------- TokenAuth: one login


class Api:
    """An API that wants a token, on a real socket, with a slow login."""

    def __init__(self, slow: float = 0.1) -> None:
        self.slow = slow
        self.logins = 0
        self.asked = threading.Event()  # a login has come
        self.good = "none"
        self.login_says: bytes | Callable[[Exchange], None] | None = None
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        if exchange.target == "/login":
            with self._lock:
                self.logins += 1
                number = self.logins
            self.asked.set()
            exchange.wait(self.slow)
            if self.login_says is None:
                self.good = f"tok-{number:04}"
                exchange.say(page(200, b'{"token": "%s"}' % self.good.encode()))
            elif callable(self.login_says):
                self.login_says(exchange)
            else:
                exchange.say(self.login_says)
        elif exchange.headers.get("authorization") == f"Bearer {self.good}":
            exchange.say(page(200, b"ok"))
        else:
            exchange.say(page(401, b'{"error": {"code": 401}}'))


def crowd(
    way: str, server: Loopback, auth: TokenAuth, count: int = 20, **options: Any
) -> list[httpx.Response | Exception]:
    """Let many threads or tasks make one call each, all at once; give what each got."""
    results: list[httpx.Response | Exception] = []
    given: dict[str, Any] = {
        "clock": VirtualClock(),
        "timeout": httpx.Timeout(5, pool=10),
        "auth": auth,
    } | options

    if way == "threads":
        gate = threading.Barrier(count)
        with ResilientClient("dual", **given) as client:

            def work(_: int) -> httpx.Response | Exception:
                gate.wait(5)
                try:
                    return client.get(f"{server.url}/objects")
                except Exception as error:  # noqa: BLE001 - the test looks at it
                    return error

            with ThreadPoolExecutor(count) as threads:
                return list(threads.map(work, range(count)))

    async def scenario() -> None:
        async with AsyncResilientClient("dual", **given) as client, anyio.create_task_group() as tasks:

            async def work() -> None:
                try:
                    results.append(await client.get(f"{server.url}/objects"))
                except Exception as error:  # noqa: BLE001 - the test looks at it
                    results.append(error)

            for _ in range(count):
                tasks.start_soon(work)

    anyio.run(scenario, backend=way)
    return results


def statuses(results: list[httpx.Response | Exception]) -> list[object]:
    return [result.status_code if isinstance(result, httpx.Response) else result for result in results]


@pytest.mark.parametrize("way", WAYS)
def test_twenty_callers_without_a_token_sign_in_once(way: str) -> None:
    api = Api()
    with Loopback(api) as server:
        results = crowd(way, server, TokenAuth(httpx.Request("POST", f"{server.url}/login")))
        assert statuses(results) == [200] * 20
        assert api.logins == 1


@pytest.mark.parametrize("way", WAYS)
def test_twenty_callers_whose_token_has_died_sign_in_once(way: str) -> None:
    api = Api(slow=0.1)
    clock = VirtualClock()
    with Loopback(api) as server:
        auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"), lifetime=100)
        with ResilientClient("dual", clock=clock, auth=auth) as client:
            client.get(f"{server.url}/objects")
        clock.advance(200)
        api.good = "none"
        assert statuses(crowd(way, server, auth, clock=clock)) == [200] * 20
        assert api.logins == 2


@pytest.mark.parametrize("way", WAYS)
def test_twenty_callers_who_meet_a_401_for_their_expired_token_sign_in_once(way: str) -> None:
    api = Api(slow=0.1)
    clock = VirtualClock()
    with Loopback(api) as server:
        auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"), lifetime=100, leeway=0)
        with ResilientClient("dual", clock=clock, auth=auth) as client:
            client.get(f"{server.url}/objects")
        api.good = "none"
        late = threading.Event()

        def answer(exchange: Exchange) -> None:
            if exchange.target != "/login" and not late.is_set():
                late.set()
                clock.advance(200)  # the token outlives itself while the calls are on their way
            api(exchange)

        server._pages = (answer,)
        assert statuses(crowd(way, server, auth, clock=clock)) == [200] * 20
        assert api.logins == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_login_is_an_api_error_to_every_waiter(way: str) -> None:
    api = Api()
    api.login_says = page(403, b'{"error": {"code": 403, "message": "no such user"}}')
    with Loopback(api) as server:
        results = crowd(way, server, TokenAuth(httpx.Request("POST", f"{server.url}/login")))
        assert [type(result) for result in results] == [ApiError] * 20
        assert {result.response.status_code for result in results if isinstance(result, ApiError)} == {403}
        assert len({id(result) for result in results}) == 20
        # One login, or one more for a caller that came after it had failed; never one for each.
        assert api.logins <= 3


@pytest.mark.parametrize("way", WAYS)
def test_a_login_that_nobody_answers_is_the_network_error_to_every_waiter_without_twenty_logins(
    way: str,
) -> None:
    api = Api()
    api.login_says = lambda exchange: exchange.hang_up()
    with Loopback(api) as server:
        results = crowd(way, server, TokenAuth(httpx.Request("POST", f"{server.url}/login")))
        assert [type(result) for result in results] == [httpx.RemoteProtocolError] * 20
        assert api.logins <= 3


@pytest.mark.parametrize("way", WAYS)
def test_a_login_whose_answer_breaks_off_is_the_network_error_to_every_waiter(way: str) -> None:
    api = Api()
    api.login_says = page(200, b'{"tok', "Content-Length: 30", close=True)

    def breaking(exchange: Exchange) -> None:
        exchange.say(page(200, b'{"tok', "Content-Length: 30"))
        exchange.hang_up()

    api.login_says = breaking
    with Loopback(api) as server:
        results = crowd(way, server, TokenAuth(httpx.Request("POST", f"{server.url}/login")))
        assert [type(result) for result in results] == [httpx.RemoteProtocolError] * 20
        assert api.logins <= 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("failure", ["refused", "network"])
def test_a_renewal_that_fails_fails_for_every_waiter_with_few_logins(way: str, failure: str) -> None:
    api = Api(slow=0.1)
    clock = VirtualClock()
    with Loopback(api) as server:
        auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"), lifetime=100, leeway=0)
        with ResilientClient("dual", clock=clock, auth=auth) as client:
            client.get(f"{server.url}/objects")
        api.good = "none"
        api.login_says = page(403) if failure == "refused" else lambda exchange: exchange.hang_up()
        clock.advance(99)
        together = threading.Barrier(20)

        def answer(exchange: Exchange) -> None:
            if exchange.target != "/login":
                together.wait(5)
                clock.advance(1)
            api(exchange)

        server._pages = (answer,)
        results = crowd(way, server, auth, clock=clock)
        assert {type(result) for result in results} == {
            ApiError if failure == "refused" else httpx.RemoteProtocolError
        }
        assert api.logins <= 1 + 3


def test_a_network_error_of_a_login_can_be_told_from_one_of_the_call() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        ResilientClient(clock=VirtualClock(), auth=TokenAuth(login), transport=mock(answer)) as client,
        pytest.raises(httpx.ConnectError) as caught,
    ):
        client.get(URL)
    assert caught.value.request.url == LOGIN


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_when_the_leader_is_cancelled_another_takes_over(backend: str) -> None:
    api = Api(slow=5)

    async def scenario() -> None:
        with Loopback(api) as server:
            auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"))
            results: list[int] = []
            async with AsyncResilientClient(clock=VirtualClock(), auth=auth, timeout=5) as client:

                async def lead(scope: anyio.CancelScope) -> None:
                    with scope:
                        await client.get(f"{server.url}/objects")

                async def wait() -> None:
                    results.append((await client.get(f"{server.url}/objects")).status_code)

                scope = anyio.CancelScope()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lead, scope)
                    # The leader's login has come, and is not answered.
                    assert await anyio.to_thread.run_sync(api.asked.wait, 5)
                    api.slow = 0
                    for _ in range(5):
                        tasks.start_soon(wait)
                    await anyio.sleep(0.05)  # they wait for it
                    scope.cancel()
            assert results == [200] * 5
            assert api.logins == 2

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_when_a_waiter_is_cancelled_nobody_else_notices(backend: str) -> None:
    api = Api(slow=0.2)

    async def scenario() -> None:
        with Loopback(api) as server:
            auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"))
            results: list[int] = []
            async with AsyncResilientClient(clock=VirtualClock(), auth=auth, timeout=5) as client:

                async def call() -> None:
                    results.append((await client.get(f"{server.url}/objects")).status_code)

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(call)
                    await anyio.sleep(0.05)
                    with anyio.move_on_after(0.05):
                        await call()
                    tasks.start_soon(call)
            assert results == [200] * 2
            assert api.logins == 1

    anyio.run(scenario, backend=backend)


# ---------------------------------------------------------------------------------- TokenAuth: a token's life


def jwt(**claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}.c2lnbmF0dXJl"


class Logins:
    """An API without a network: its logins give the tokens that a test names."""

    def __init__(
        self, clock: VirtualClock, token: Callable[[int], str] = lambda number: f"tok-{number:04}"
    ) -> None:
        self.clock = clock
        self.token = token
        self.count = 0
        self.seen: list[str] = []
        self.says: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            self.count += 1
            return httpx.Response(200, json={"token": self.token(self.count)})
        self.seen.append(request.headers["authorization"])
        return self.says(request)


def test_a_jwt_says_itself_when_it_ends() -> None:
    clock = VirtualClock()
    api = Logins(clock, lambda _: jwt(exp=clock.time() + 1000))
    with ResilientClient(clock=clock, auth=TokenAuth(login, lifetime=5), transport=mock(api)) as client:
        for _ in range(97):
            client.get(URL)
            clock.advance(10)
        assert api.count == 1
        clock.advance(5)
        client.get(URL)
        assert api.count == 2


@pytest.mark.parametrize("exp", [True, "1", None, -5, 1e300, float("nan"), [1], {}])
def test_a_jwt_that_says_nonsense_is_a_token_like_any_other(exp: Any) -> None:
    clock = VirtualClock()
    api = Logins(clock, lambda _: jwt(exp=exp))
    with ResilientClient(clock=clock, auth=TokenAuth(login, lifetime=1000), transport=mock(api)) as client:
        client.get(URL)
        clock.advance(800)
        client.get(URL)
        assert api.count == 1
        clock.advance(300)
        client.get(URL)
        assert api.count == 2


@pytest.mark.parametrize(
    "token", ["a.b.c", "..", "a.b", "e30.e30.e30", "a." + "_" * 5000 + ".c", "a.bnVsbA.c", "a.W10.c"]
)
def test_what_only_looks_like_a_jwt_is_sent_as_it_is(token: str) -> None:
    clock = VirtualClock()
    api = Logins(clock, lambda _: token)
    with ResilientClient(clock=clock, auth=TokenAuth(login), transport=mock(api)) as client:
        assert client.get(URL).status_code == 200
    assert api.seen == [f"Bearer {token}"]


def test_a_token_is_renewed_a_little_before_its_end_by_the_transports_clock() -> None:
    clock = VirtualClock()
    api = Logins(clock)
    with ResilientClient(
        clock=clock, auth=TokenAuth(login, lifetime=3600, leeway=30), transport=mock(api)
    ) as client:
        client.get(URL)
        clock.advance(3569)
        client.get(URL)
        assert api.count == 1
        clock.advance(2)
        client.get(URL)
        assert api.count == 2
    assert api.seen[-1] == "Bearer tok-0002"


def test_a_short_lived_token_is_not_renewed_for_every_call() -> None:
    clock = VirtualClock()
    api = Logins(clock)
    with ResilientClient(
        clock=clock, auth=TokenAuth(login, lifetime=20, leeway=30), transport=mock(api)
    ) as client:
        for _ in range(15):
            client.get(URL)
            clock.advance(1)
    assert api.count == 1


def test_a_token_that_is_past_its_life_at_birth_does_not_go_round_in_circles() -> None:
    clock = VirtualClock()
    api = Logins(clock, lambda number: jwt(exp=1000 + number))
    api.says = lambda _: httpx.Response(401, json={"error": {"code": 401}})
    with ResilientClient("dual", clock=clock, auth=TokenAuth(login), transport=mock(api)) as client:
        assert client.get(URL).status_code == 401
    assert api.count <= 2
    assert len(api.seen) <= 2


def test_a_401_with_a_live_token_is_not_worth_a_login_and_one_with_a_dead_token_is_worth_one() -> None:
    clock = VirtualClock()
    api = Logins(clock)
    api.says = lambda _: httpx.Response(401, json={"error": {"code": 401}})
    with ResilientClient(
        "dual", clock=clock, auth=TokenAuth(login, lifetime=100, leeway=0), transport=mock(api)
    ) as client:
        response = client.get(URL)
        assert outcome_of(response).reason == "not_retryable"
        assert (api.count, len(api.seen)) == (1, 1)

        def die(_: httpx.Request) -> httpx.Response:
            clock.advance(101)
            return httpx.Response(401, json={"error": {"code": 401}})

        api.says = die
        response = client.get(URL)
        assert response.status_code == 401
        assert (api.count, len(api.seen)) == (2, 3)


def test_a_login_that_is_answered_401_is_not_followed_by_another_login() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(401, json={"error": {"code": 401, "message": "wrong password"}})

    for way in ("resilient", "plain"):
        seen.clear()
        transport: Any = (
            ResilientTransport("dual", mock(answer), clock=VirtualClock())
            if way == "resilient"
            else mock(answer)
        )
        with (
            httpx.Client(transport=transport, auth=TokenAuth(login, lifetime=1)) as client,
            pytest.raises(ApiError) as caught,
        ):
            client.get(URL)
        assert seen == ["/login"]
        assert caught.value.response.status_code == 401
        assert caught.value.request.url == LOGIN


def test_a_login_that_meets_a_passing_error_is_tried_again() -> None:
    said = iter([httpx.Response(503), httpx.Response(200, json={"token": "tok-0001"}), httpx.Response(200)])
    with ResilientClient(
        clock=VirtualClock(),
        auth=TokenAuth(httpx.Request("GET", LOGIN)),
        transport=mock(lambda _: next(said)),
    ) as client:
        assert client.get(URL).status_code == 200


@pytest.mark.parametrize("request_kind", ["request", "callable"])
def test_a_login_is_a_request_or_a_callable_and_can_be_sent_time_and_again(request_kind: str) -> None:
    bodies: list[bytes] = []
    clock = VirtualClock()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            bodies.append(request.read())
            return httpx.Response(200, json={"token": f"tok-{len(bodies)}"})
        return httpx.Response(200)

    auth = TokenAuth(login() if request_kind == "request" else login, lifetime=100)
    with ResilientClient(clock=clock, auth=auth, transport=mock(answer)) as client:
        for _ in range(3):
            client.get(URL)
            clock.advance(100)
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert b"pass-word" in bodies[0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_token_auth_serves_sync_and_async(backend: str) -> None:
    clock = VirtualClock()
    api = Logins(clock)
    auth = TokenAuth(login)
    with ResilientClient(clock=clock, auth=auth, transport=mock(api)) as client:
        client.get(URL)

    async def scenario() -> None:
        async with AsyncResilientClient(clock=clock, auth=auth, transport=mock(api)) as client:
            await client.get(URL)

    anyio.run(scenario, backend=backend)
    assert api.count == 1
    assert api.seen == ["Bearer tok-0001"] * 2


def test_threads_and_tasks_that_share_a_token_auth_share_its_login() -> None:
    api = Api(slow=0.3)
    with Loopback(api) as server:
        auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"))
        results: list[object] = []

        def thread() -> None:
            results.extend(statuses(crowd("threads", server, auth, 4)))

        def loop(backend: str) -> None:
            results.extend(statuses(crowd(backend, server, auth, 4)))

        workers = [
            threading.Thread(target=thread),
            *(threading.Thread(target=loop, args=(b,)) for b in ("asyncio", "trio")),
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(10)
        assert results == [200] * 12
        assert api.logins == 1


# ------------------------------------------------------------------------------------- TokenAuth: odd answers


@pytest.mark.parametrize(
    "said",
    [
        httpx.Response(200, json={}),
        httpx.Response(200, json={"token": ""}),
        httpx.Response(200, json={"token": None}),
        httpx.Response(200, json={"token": 5}),
        httpx.Response(200, json={"token": ["a"]}),
        httpx.Response(200, json={"token": "a\r\nX-Evil: 1"}),
        httpx.Response(200, json={"token": "caf\u00e9"}),
        httpx.Response(200, json={"token": "a\x00b"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, content=b"[" * 50_000),
        httpx.Response(200),
        httpx.Response(302, headers={"Location": "/elsewhere"}),
    ],
)
def test_a_login_that_brings_no_token_is_an_api_error_that_says_so(said: httpx.Response) -> None:
    with (
        ResilientClient(
            clock=VirtualClock(), auth=TokenAuth(login), transport=mock(lambda _: said)
        ) as client,
        pytest.raises(ApiError, match="token") as caught,
    ):
        client.get(URL)
    assert caught.value.response.status_code == said.status_code


def test_the_token_can_be_anywhere_and_be_sent_in_any_header() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            return httpx.Response(200, json={"data": [{"a/b": "one"}]}, headers={"X-Tok": "two"})
        seen.append(request.headers["x-token"])
        return httpx.Response(200)

    for auth in (
        TokenAuth(login, "/data/0/a~1b", header="X-Token", scheme=""),
        TokenAuth(login, lambda response: response.headers["X-Tok"], header="X-Token", scheme="Token"),
    ):
        with ResilientClient(clock=VirtualClock(), auth=auth, transport=mock(answer)) as client:
            client.get(URL)
    assert seen == ["one", "Token two"]


def test_a_token_function_that_fails_raises_what_it_raised_and_blocks_nobody() -> None:
    auth = TokenAuth(login, lambda response: str(response.json()["missing"]))
    api = Logins(VirtualClock())
    with ResilientClient(clock=VirtualClock(), auth=auth, transport=mock(api)) as client:
        for _ in range(2):
            with pytest.raises(KeyError, match="missing"):
                client.get(URL)
    assert api.count == 2


def test_a_login_function_that_fails_raises_what_it_raised_and_blocks_nobody() -> None:
    def broken() -> httpx.Request:
        raise LookupError("no password in the vault")

    with ResilientClient(
        clock=VirtualClock(), auth=TokenAuth(broken), transport=mock(lambda _: httpx.Response(200))
    ) as client:
        for _ in range(2):
            with pytest.raises(LookupError, match="vault"):
                client.get(URL)


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (("https://a.test/login",), {}, "login"),
        ((None,), {}, "login"),
        ((login, "token"), {}, "/token"),
        ((login,), {"lifetime": 0}, "lifetime"),
        ((login,), {"lifetime": -1}, "lifetime"),
        ((login,), {"lifetime": float("nan")}, "lifetime"),
    ],
)
def test_what_cannot_be_used_for_tokens_is_refused_at_once(
    arguments: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        TokenAuth(*arguments, **options)


@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
def test_with_a_plain_client_a_401_leads_to_one_new_login_and_no_more(way: str) -> None:
    logins = 0
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal logins
        if request.url.path == "/login":
            logins += 1
            return httpx.Response(200, json={"token": f"tok-{logins}"})
        calls.append(request.headers["authorization"])
        good = request.headers["authorization"] == "Bearer tok-2" and request.url.path != "/never"
        return httpx.Response(200 if good else 401)

    auth = TokenAuth(login)
    if way == "sync":
        with httpx.Client(transport=mock(answer), auth=auth) as client:
            first, never = client.get(URL), client.get("https://api.test/never")
    else:

        async def scenario() -> tuple[httpx.Response, httpx.Response]:
            async with httpx.AsyncClient(transport=mock(answer), auth=auth) as client:
                return await client.get(URL), await client.get("https://api.test/never")

        first, never = anyio.run(scenario, backend=way)
    assert (first.status_code, never.status_code) == (200, 401)
    assert calls == ["Bearer tok-1", "Bearer tok-2", "Bearer tok-2", "Bearer tok-3"]
    assert logins == 3


def test_with_a_plain_client_a_one_shot_body_is_not_sent_again_after_a_401() -> None:
    with Loopback(page(200, b'{"token": "tok-1"}'), page(401), page(200)) as server:
        auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"))
        with httpx.Client(auth=auth) as client:
            assert client.post(server.url, content=(part for part in (b"a", b"b"))).status_code == 401
        assert [exchange.body for exchange in server.exchanges] == [b"", b"ab"]


def test_with_a_plain_client_a_file_is_sent_again_whole_after_a_401_or_not_at_all() -> None:
    with Loopback(
        page(200, b'{"token": "tok-1"}'), page(401), page(200, b'{"token": "tok-2"}'), page(200)
    ) as server:
        auth = TokenAuth(httpx.Request("POST", f"{server.url}/login"))
        with httpx.Client(auth=auth) as client:
            status = client.post(f"{server.url}/up", content=io.BytesIO(b"payload")).status_code
        bodies = [exchange.body for exchange in server.exchanges if exchange.target == "/up"]
        assert (status, bodies) in ((401, [b"payload"]), (200, [b"payload"] * 2))


def test_a_login_hangs_for_no_longer_than_the_timeouts_of_its_caller() -> None:
    def never(exchange: Exchange) -> None:
        exchange.wait(3)
        exchange.hang_up()

    with (
        Loopback(never) as server,
        ResilientClient(
            clock=VirtualClock(), auth=TokenAuth(httpx.Request("POST", f"{server.url}/login")), timeout=0.2
        ) as client,
    ):
        begun = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"{server.url}/objects")
        assert time.monotonic() - begun < 2.5


# ----------------------------------------------------------------------------------- an auth of the user's own


class Stamp(httpx.Auth):
    """A user's own auth that opts in: a number in a header, another one for every attempt."""

    headers = ("X-Stamp",)
    renews = frozenset({"nonce"})

    def __init__(self) -> None:
        self.number = 0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self.number += 1
        request.headers["X-Stamp"] = str(self.number)
        request.extensions["resilience.auth"] = self
        yield request


class Renewing(httpx.Auth):
    """A user's own token auth: fetches a token in a request of its own, and forgets it when it is told to."""

    headers = ("X-Token",)
    renews = frozenset({"token"})

    def __init__(self) -> None:
        self.token: str | None = None

    def token_expired(self, request: httpx.Request, now: float, lifetime: float | None = None) -> bool:
        return True

    def forget(self, request: httpx.Request) -> None:
        self.token = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.token is None:
            response = yield httpx.Request("POST", LOGIN)
            self.token = response.headers["X-New"]
        request.headers["X-Token"] = self.token
        request.extensions["resilience.auth"] = self
        yield request


@pytest.mark.parametrize("way", WAYS)
def test_an_auth_of_ones_own_opts_in_and_is_run_for_every_attempt(way: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["x-stamp"])
        if len(seen) == 4:
            return httpx.Response(307, headers={"Location": "https://other.test/"} if len(seen) == 4 else {})
        return httpx.Response(503 if len(seen) < 4 else 200)

    async def scenario() -> None:
        async with Caller(way, clock=VirtualClock(), auth=Stamp(), transport=mock(answer)) as client:
            await client.get(URL)

    run(way, scenario)
    assert seen == ["1", "2", "3", "4"]


@pytest.mark.parametrize("way", WAYS)
def test_an_auth_of_ones_own_can_renew_its_token(way: str) -> None:
    seen: list[str | None] = []
    logins = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal logins
        if request.url.path == "/login":
            logins += 1
            return httpx.Response(200, headers={"X-New": f"new-{logins}"})
        seen.append(request.headers.get("x-token"))
        return httpx.Response(401 if len(seen) == 1 else 200)

    async def scenario() -> None:
        async with Caller(
            way, "dual", clock=VirtualClock(), auth=Renewing(), transport=mock(answer)
        ) as client:
            assert (await client.get(URL)).status_code == 200

    run(way, scenario)
    assert seen == ["new-1", "new-2"]


def test_an_auth_of_ones_own_that_says_nothing_of_its_headers_has_its_authorization_taken_off_elsewhere() -> (
    None
):
    class Silent(httpx.Auth):
        """Opts in, and tells nothing."""

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["Authorization"] = "Mine 1"
            request.extensions["resilience.auth"] = self
            yield request

    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        if request.url.host == "api.test":
            return httpx.Response(307, headers={"Location": "https://other.test/"})
        return httpx.Response(503 if len(seen) < 3 else 200)

    with ResilientClient(
        clock=VirtualClock(), auth=Silent(), transport=mock(answer), follow_redirects=True
    ) as client:
        client.get(URL)
    assert seen == ["Mine 1", None, None]


def test_an_auth_that_breaks_on_a_later_attempt_raises_what_it_raised_and_says_what_was_tried() -> None:
    class Breaking(Stamp):
        """Signs once."""

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            if self.number:
                raise LookupError("the key store is closed")
            yield from super().auth_flow(request)

    with (
        ResilientClient(
            clock=VirtualClock(), auth=Breaking(), transport=mock(lambda _: httpx.Response(503))
        ) as client,
        pytest.raises(LookupError, match="closed") as caught,
    ):
        client.get(URL)
    assert outcome_of(caught.value).reason == "cannot_change"
    assert any("503" in note for note in caught.value.__notes__)


def test_an_auth_that_never_comes_to_its_request_is_stopped() -> None:
    class Endless(Stamp):
        """Sends requests of its own, for ever, from the second attempt on."""

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            while self.number:
                yield httpx.Request("GET", LOGIN)
            yield from super().auth_flow(request)

    sent = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        assert sent < 50
        return httpx.Response(503 if request.url.path != "/login" else 200)

    with (
        ResilientClient(clock=VirtualClock(), auth=Endless(), transport=mock(answer)) as client,
        pytest.raises(RuntimeError, match="never"),
    ):
        client.get(URL)
