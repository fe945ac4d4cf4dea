"""The kit for users' tests: each part does what it says, and fails where a client is broken.

The broken clients are real ones with one thing done wrong: a clock that does not wait, a policy that does not heed the
server, a layer below that makes a new key for each attempt, a signer with one nonce.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest
import respx
from hypothesis import find, given, settings
from hypothesis import strategies as st
from respx.mocks import HTTPCoreMocker, HTTPXMocker

from resilient_client import (
    AsyncResilientClient,
    AsyncResilientTransport,
    HmacAuth,
    Outcome,
    Policy,
    PolicyError,
    ResilientClient,
    ResilientTransport,
    load_policy,
    outcome_of,
)
from resilient_client.clock import SYSTEM, SystemClock, default_clock
from resilient_client.sandbox import Sandbox
from resilient_client.testing import (
    ApiMock,
    Fault,
    FaultSequence,
    VirtualClock,
    assert_attempts,
    assert_fresh_nonces,
    assert_same_key,
    assert_waits,
    error_response,
    fault_sequences,
    refuse_bypass,
    use_clock,
)
from resilient_client.testing._responses import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BASE = "https://0trace.io/api"
BACKENDS = ["asyncio", "trio"]


class Sleepless(VirtualClock):
    """A clock on which no time passes, whatever is slept."""

    def sleep(self, seconds: float, /) -> None:
        self.sleeps.append(seconds)


class NewKeys(httpx.BaseTransport):
    """A layer below the retries that gives every attempt a key of its own."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Idempotency-Key"] = str(uuid.uuid4())
        return self._inner.handle_request(request)


HASTY = Policy.model_validate(
    {
        "api": "zerotrace",
        "extends": "zerotrace",
        "rules": [
            {
                "name": "RATE_LIMIT",
                "when": {"code": 5},
                "category": "rate_limit",
                "retry": {"wait": 1, "after": [], "unsafe": True},
            }
        ],
    }
)
"""0trace's policy, with no ear for what the server asks."""


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    """Put a virtual clock in place."""
    with use_clock(VirtualClock()) as clock:
        yield clock


def client(policy: str | Policy = "zerotrace", **options: Any) -> ResilientClient:
    """Make a client of 0trace's API."""
    usual: dict[str, Any] = {"base_url": BASE, "auth": HmacAuth("a-key", "a-secret")}
    return ResilientClient(policy, **(usual | options))


def outcome(*answers: str | int | type[Exception], **options: Any) -> Outcome:
    """Place an order, with these answers in turn, and give what the call went through."""
    with ApiMock() as api_mock:
        plan(api_mock, *answers)
        with client(**options) as one:
            return outcome_of(one.post("/v1/create", json={}))


def plan(api_mock: ApiMock, *answers: str | int | type[Exception]) -> Any:
    """Plan answers for orders: errors by name, exceptions by class, replies by status."""
    route = api_mock("zerotrace").post("/v1/create")
    for answer in answers:
        if isinstance(answer, str):
            route.fails(answer, retry_after=7 if answer == "RATE_LIMIT" else None)
        elif isinstance(answer, int):
            route.then(answer)
        else:
            route.raises(answer)
    return route


# ----------------------------------------------------------------------------------------------------------- use_clock


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResilientClient()._transport,
        lambda: AsyncResilientClient()._transport,
        ResilientTransport,
        AsyncResilientTransport,
    ],
)
def test_a_client_that_names_no_clock_goes_by_the_one_in_use(make: Callable[[], Any]) -> None:
    """Clients and transports, sync and async, take the clock of the block that they are made in."""
    with use_clock(VirtualClock()) as clock:
        transport = make()

    assert transport.core.clock is clock


def test_a_clock_that_is_named_has_its_way() -> None:
    """`clock=` goes before the clock in use."""
    with use_clock(VirtualClock()):
        own = VirtualClock()

        assert ResilientTransport(clock=own).core.clock is own


def test_what_was_made_before_keeps_its_clock() -> None:
    """A client of a module's, made before the block, is not touched by it."""
    before = ResilientTransport()
    with use_clock(VirtualClock()):
        assert before.core.clock is SYSTEM


def test_clocks_in_use_nest() -> None:
    """The inner clock has its way until its block ends, by an error as well."""
    with use_clock(VirtualClock()) as outer:
        with use_clock(VirtualClock()) as inner:
            assert default_clock() is inner
        with pytest.raises(LookupError), use_clock(VirtualClock()):
            raise LookupError
        assert default_clock() is outer
    assert isinstance(default_clock(), SystemClock)


def test_clocks_in_use_may_overlap() -> None:
    """Each block takes out its own entry, also where another began later and goes on, or has the same clock."""
    first, second = VirtualClock(), VirtualClock()
    one, other, again = use_clock(first), use_clock(second), use_clock(first)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert default_clock() is second
    again.__enter__()
    other.__exit__(None, None, None)
    assert default_clock() is first
    again.__exit__(None, None, None)
    assert default_clock() is SYSTEM


def test_threads_see_the_clock_in_use(clock: VirtualClock) -> None:
    """A client that a thread of the test makes goes by it."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ResilientTransport).result().core.clock is clock


@pytest.mark.parametrize("backend", BACKENDS)
def test_tasks_see_the_clock_in_use(backend: str, clock: VirtualClock) -> None:
    """A client that a task of the test makes goes by it."""

    async def make() -> AsyncResilientTransport:
        return AsyncResilientTransport()

    assert anyio.run(make, backend=backend).core.clock is clock


def test_a_client_on_another_clock_leaves_no_trace_on_the_one_in_use(clock: VirtualClock) -> None:
    """What tells a client that ignores the clock from one that goes by it is what the clock has slept."""
    outcome("RATE_LIMIT", 200, clock=VirtualClock())
    assert clock.sleeps == []

    outcome("RATE_LIMIT", 200)
    assert len(clock.sleeps) == 1


# -------------------------------------------------------------------------------------------------------- assert_waits


def test_waits_are_asserted_in_order(clock: VirtualClock) -> None:
    """A number is what was asked for, jitter being added; a pair is a range; an ellipsis is any number of waits."""
    call = outcome("RATE_LIMIT", httpx.ReadTimeout, "UPSTREAM_ERROR", 200)

    assert_waits(call, 7, (0, 0.5), 1)
    assert_waits(call, ..., 1)
    assert_waits(call, 7, ...)
    assert_waits(call, ..., 7, ..., (0, 0.5), 1, ...)
    assert len(clock.sleeps) == 3


@pytest.mark.parametrize(
    "expected",
    [(), (7,), (7, (0, 0.5), 1, 1), (5, ...), (9, ...), (..., (2, 3)), ((0, 6.99), ...), (..., 7)],
)
@pytest.mark.usefixtures("clock")
def test_other_waits_fail(expected: tuple[Any, ...]) -> None:
    """Too few, too many, shorter and longer ones, and those in another order."""
    call = outcome("RATE_LIMIT", httpx.ReadTimeout, "UPSTREAM_ERROR", 200)

    with pytest.raises(AssertionError, match="expected waits"):
        assert_waits(call, *expected)


@pytest.mark.usefixtures("clock")
def test_a_client_that_does_not_retry_fails_the_waits() -> None:
    """One attempt has no waits."""
    call = outcome("RATE_LIMIT", policy=load_policy("default").model_copy(update={"rules": []}))

    assert_waits(call)
    with pytest.raises(AssertionError, match=r"expected waits: 7 to 8\.65 s\nactual waits:   none"):
        assert_waits(call, 7)


@pytest.mark.usefixtures("clock")
def test_a_client_that_waits_too_short_fails_the_waits() -> None:
    """A wait below what the server asked for is told, with the whole call."""
    call = outcome("RATE_LIMIT", 200, policy=HASTY)

    with pytest.raises(AssertionError) as failed:
        assert_waits(call, 7)
    assert re.fullmatch(
        r"expected waits: 7 to 8\.65 s\n"
        r"actual waits:   1\.\d\d s\n"
        r"the call \(zerotrace\), which ended as success after 1\.\d\d s:\n"
        r"  1\. RATE_LIMIT \(429\), then waited 1\.\d\d s, renewed nonce\n"
        r"  2\. OK \(200\)",
        str(failed.value),
    )


def test_a_client_that_ignores_its_clock_fails_the_waits() -> None:
    """Waits that are told of, while no time passed, are not believed."""
    call = outcome("RATE_LIMIT", 200, clock=Sleepless())

    with pytest.raises(
        AssertionError, match=r"come to [78]\.\d\d s, and by its clock the whole call took 0\.00 s"
    ):
        assert_waits(call, 7)


@pytest.mark.usefixtures("clock")
def test_a_wait_is_a_number_or_a_range() -> None:
    """Anything else is a slip of the test's."""
    with pytest.raises(
        TypeError, match=r"a wait is seconds, a pair \(least, most\) of them, or \.\.\. \(got '7'\)"
    ):
        assert_waits(outcome("RATE_LIMIT", 200), "7")  # type: ignore[arg-type]  # it is what is tested


# ----------------------------------------------------------------------------------------------------- assert_attempts


@pytest.mark.usefixtures("clock")
def test_attempts_are_asserted_in_order() -> None:
    """By the verdict's name, the status, the exception's class; an ellipsis is any number of attempts."""
    call = outcome("RATE_LIMIT", httpx.ReadTimeout, 200)

    assert_attempts(call, "RATE_LIMIT", "NETWORK_ERROR", "OK")
    assert_attempts(call, 429, httpx.ReadTimeout, 200)
    assert_attempts(call, 429, httpx.TransportError, ...)
    assert_attempts(call, ..., "OK")


@pytest.mark.parametrize(
    "expected",
    [
        (),
        ("RATE_LIMIT", "OK"),
        ("RATE_LIMIT", "NETWORK_ERROR", "OK", "OK"),
        ("RATE_LIMIT", httpx.ConnectError, "OK"),
        ("NETWORK_ERROR", "RATE_LIMIT", "OK"),
        (503, ...),
        (..., "RATE_LIMIT"),
    ],
)
@pytest.mark.usefixtures("clock")
def test_other_attempts_fail(expected: tuple[Any, ...]) -> None:
    """Too few, too many, another error, another order."""
    call = outcome("RATE_LIMIT", httpx.ReadTimeout, 200)

    with pytest.raises(AssertionError, match="expected attempts"):
        assert_attempts(call, *expected)


@pytest.mark.usefixtures("clock")
def test_a_client_that_does_not_retry_fails_the_attempts() -> None:
    """The message tells what was expected, and the whole call."""
    with ApiMock() as api_mock:
        plan(api_mock, "RATE_LIMIT")
        response = client().post("/v1/create", json={}, extensions={"resilience": {"retry": False}})

    with pytest.raises(AssertionError) as failed:
        assert_attempts(response, "RATE_LIMIT", "OK")
    assert str(failed.value) == (
        "expected attempts: RATE_LIMIT, OK\n"
        "the call (zerotrace), which ended as retry_disabled after 0.00 s:\n"
        "  1. RATE_LIMIT (429)"
    )


@pytest.mark.usefixtures("clock")
def test_responses_exceptions_and_outcomes_are_taken() -> None:
    """Whatever has an outcome can be asserted on; for what has none, the reason is told."""
    with ApiMock() as api_mock:
        api_mock("zerotrace").get("/v1/codes").always_raises(httpx.ConnectError)
        with pytest.raises(httpx.ConnectError) as caught:
            client().get("/v1/codes")

    assert_attempts(caught.value, *["NETWORK_ERROR"] * 5)
    assert_waits(caught.value, (0, 0.5), (0, 1), (0, 2), (0, 4))
    with pytest.raises(LookupError, match="did not come through a resilient transport"):
        assert_attempts(httpx.Response(200), "OK")


# ------------------------------------------------------------------------------- assert_same_key, assert_fresh_nonces


@pytest.mark.usefixtures("clock")
def test_one_call_has_one_key_and_as_many_nonces_as_attempts() -> None:
    """What the client does holds."""
    with ApiMock() as api_mock, client() as one:
        route = plan(api_mock, "RATE_LIMIT", httpx.ReadTimeout, 200)
        one.post("/v1/create", json={})

    assert_same_key(route)
    assert_fresh_nonces(route)


@pytest.mark.usefixtures("clock")
def test_a_client_that_makes_a_new_key_fails() -> None:
    """Two attempts under two keys are two orders."""
    with ApiMock() as api_mock, client(transport=NewKeys()) as one:
        route = plan(api_mock, "RATE_LIMIT", 200)
        one.post("/v1/create", json={})

    with pytest.raises(
        AssertionError, match=r"one idempotency key was to be in Idempotency-Key of every request\n  1\. "
    ):
        assert_same_key(route)


@pytest.mark.usefixtures("clock")
def test_a_client_that_drops_the_key_fails() -> None:
    """No key at all is not one key."""
    with ApiMock() as api_mock:
        route = api_mock("default").put("/orders/{id}").fails(503).then(200)
        with ResilientClient() as one:
            one.put("https://api.example/orders/1")

    with pytest.raises(AssertionError, match=r"  1\. None\n  2\. None"):
        assert_same_key(route)


def test_another_body_under_the_same_key_fails() -> None:
    """A key stands for one body; who sends another under it asks for something else."""
    with ApiMock() as api_mock, httpx.Client(headers={"Idempotency-Key": "one-and-the-same"}) as plain:
        route = plan(api_mock, 200, 200)
        for amount in ("1", "2"):
            plain.post(f"{BASE}/v1/create", json={"amount": amount})

    with pytest.raises(AssertionError, match="one key and different bodies"):
        assert_same_key(route)


def test_a_key_is_looked_for_where_the_policy_has_it() -> None:
    """An API that takes its key in the body has it there."""
    policy = load_policy("openpoly")
    field = policy.idempotency.field
    assert field is not None
    name = field.removeprefix("/")
    with ApiMock() as api_mock, httpx.Client() as plain:
        route = api_mock(policy).post("/bets").returns(times=3)
        plain.post("https://api.example/bets", json={name: "one-and-the-same"})
        plain.post("https://api.example/bets", json={name: "one-and-the-same"})
        assert_same_key(route)
        plain.post("https://api.example/bets", content=b"no JSON")

    with pytest.raises(AssertionError, match=f"was to be in {field} of every request"):
        assert_same_key(route)


@pytest.mark.usefixtures("clock")
def test_a_nonce_that_is_used_twice_fails() -> None:
    """A signer that never makes a new nonce is found out."""
    auth = HmacAuth("a-key", "a-secret", nonce=lambda: "0123456789abcdef")
    with ApiMock() as api_mock, client(auth=auth) as one:
        route = plan(api_mock, "RATE_LIMIT", 200)
        one.post("/v1/create", json={})

    with pytest.raises(
        AssertionError, match=r"a new X-API-NONCE was to be on every request\n  1\. '0123456789abcdef'"
    ):
        assert_fresh_nonces(route)


def test_a_nonce_that_is_not_there_fails() -> None:
    """Requests that are not signed have no nonces."""
    with ApiMock() as api_mock, httpx.Client() as plain:
        route = plan(api_mock, 200, 200)
        for _ in range(2):
            plain.post(f"{BASE}/v1/create")

    with pytest.raises(AssertionError, match=r"  1\. None\n  2\. None"):
        assert_fresh_nonces(route)


def test_a_policy_without_nonces_cannot_be_asked_for_them() -> None:
    """The assertion would hold for nothing, so it says so."""
    with ApiMock() as api_mock:
        route = api_mock("default", assert_all_called=False).get("/things")

    with pytest.raises(ValueError, match=r"the policy default has no nonce: it names none in signing\.nonce"):
        assert_fresh_nonces(route)


@pytest.mark.parametrize("check", [assert_same_key, assert_fresh_nonces])
@pytest.mark.usefixtures("clock")
def test_one_request_proves_nothing(check: Callable[[Any], None]) -> None:
    """A client that does not retry does not pass for one that kept its key."""
    with ApiMock() as api_mock, client() as one:
        route = plan(api_mock, 200)
        one.post("/v1/create", json={})

    with pytest.raises(AssertionError, match=r"had 1 request\(s\): it takes two to compare"):
        check(route)


# ----------------------------------------------------------------------------------------------------------- api_mock


@pytest.mark.usefixtures("clock")
def test_a_plan_is_played_in_order() -> None:
    """Errors as the API words them, exceptions and replies come as planned, and what came is kept."""
    with ApiMock() as api_mock, client(raise_for_status=False) as one:
        route = (
            api_mock("zerotrace")
            .post("/v1/create")
            .fails("RATE_LIMIT", retry_after=7, message="Slow down")
            .raises(httpx.ReadTimeout("nothing came"))
            .then(201, json={"code": 0}, headers={"X-Request-Id": "r-1"})
        )
        response = one.post("/v1/create", json={"amount": "1"})

    assert (response.status_code, response.json(), response.headers["X-Request-Id"]) == (
        201,
        {"code": 0},
        "r-1",
    )
    assert route.call_count == 3
    assert [call.request.content for call in route.calls] == [b'{"amount":"1"}'] * 3
    assert [call.has_response for call in route.calls] == [True, False, True]
    assert route.calls[0].response.json()["msg"] == "Slow down"
    assert route.calls[0].response.headers["Retry-After"] == "7"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("clock")
def test_a_plan_is_played_to_tasks(backend: str) -> None:
    """Under asyncio and trio as in threads."""

    async def call() -> httpx.Response:
        async with AsyncResilientClient("zerotrace", base_url=BASE) as one:
            return await one.get("/v1/codes")

    with ApiMock() as api_mock:
        api_mock("zerotrace").get("/v1/codes").fails("UPSTREAM_ERROR").then(200)
        assert_attempts(anyio.run(call, backend=backend), "UPSTREAM_ERROR", "OK")


@pytest.mark.usefixtures("clock")
def test_a_reply_can_be_planned_several_times_and_for_ever() -> None:
    """`times` counts; what is planned with "always" does not end."""
    with ApiMock() as api_mock, client() as one:
        api = api_mock("zerotrace")
        api.get("/a").fails("UPSTREAM_ERROR", times=2).raises(httpx.ReadError, times=2).returns(204)
        api.get("/b").always_fails("UPSTREAM_ERROR")
        api.get("/c").always_raises(httpx.ConnectError)
        api.get("/d").always_returns(200, text="still here")

        assert_attempts(one.get("/a"), 503, 503, httpx.ReadError, httpx.ReadError, 204)
        assert_attempts(one.get("/b"), *[503] * 5)
        with pytest.raises(httpx.ConnectError):
            one.get("/c")
        assert [one.get("/d").text for _ in range(3)] == ["still here"] * 3


@pytest.mark.parametrize(
    ("path", "fits", "fits_not"),
    [
        ("/v1/create", ["/v1/create", "/api/v1/create"], ["/v1/create/2", "/v1", "/v2/create"]),
        ("/orders/{id}", ["/orders/7", "/api/orders/8"], ["/orders", "/orders/7/items"]),
        ("/files/**", ["/files/a/b", "/api/files/a"], ["/v1/file/a"]),
        ("/", ["/", ""], ["/a", "/a/b"]),
        ("/{id}", ["/7", "/7/"], ["/", "/a/7"]),
    ],
)
def test_a_route_is_written_as_policies_write_it(path: str, fits: list[str], fits_not: list[str]) -> None:
    """It is matched against the end of the path, with `{…}` for a segment and `/**` for all that follows."""
    with ApiMock() as api_mock, httpx.Client(base_url="https://any.example") as plain:
        route = api_mock("default").get(path).always_returns()
        for each in fits:
            assert plain.get(each, params={"page": "2"}).is_success

    assert route.call_count == len(fits)
    for each in fits_not:
        assert not route.fits(httpx.Request("GET", f"https://any.example{each}"))
    assert not route.fits(httpx.Request("POST", f"https://any.example{fits[0]}"))


def test_a_base_url_binds_routes_to_a_host() -> None:
    """Scheme, host, port and base path must be the base URL's, which may end with a slash."""
    with ApiMock() as api_mock:
        route = api_mock("zerotrace", "https://0trace.io/api/", assert_all_called=False).get("/v1/codes")

    urls = {
        "https://0trace.io/api/v1/codes": True,
        "https://0trace.io:443/api/v1/codes": True,
        "https://0trace.io/v1/codes": False,
        "https://0trace.io:8443/api/v1/codes": False,
        "http://0trace.io/api/v1/codes": False,
        "https://other.example/api/v1/codes": False,
    }
    assert {url: route.fits(httpx.Request("GET", url)) for url in urls} == urls


@pytest.mark.parametrize(
    ("path", "fits", "fits_not"),
    [("/", "https://0trace.io/api/", "/v1/codes"), ("/{id}", "https://0trace.io/api/7", "/orders/7")],
)
def test_a_path_without_a_name_is_the_whole_path_below_the_base(path: str, fits: str, fits_not: str) -> None:
    """The root of an API is not all of it."""
    route = ApiMock()("zerotrace", BASE).get(path)

    assert route.fits(httpx.Request("GET", fits))
    assert not route.fits(httpx.Request("GET", f"{BASE}{fits_not}"))
    assert not route.fits(httpx.Request("GET", f"https://0trace.io/other{path}"))


def test_policies_share_one_router() -> None:
    """Routes at a base URL come before those for any host, then what was made first comes first."""
    with ApiMock() as api_mock, httpx.Client() as plain:
        api_mock("default").get("/status").always_returns(text="first")
        second = api_mock("dual", assert_all_called=False).get("/status").always_returns(text="second")
        api_mock("zerotrace", BASE).get("/status").always_returns(text="0trace")
        api_mock("zerotrace", BASE).post("/status").fails("MAINTENANCE")

        assert plain.get("https://api.example/status").text == "first"
        assert plain.get(f"{BASE}/status").text == "0trace"
        assert plain.post(f"{BASE}/status").json()["code"] == 10

    assert second.call_count == 0


def test_a_route_that_is_asked_for_again_is_the_same() -> None:
    """What is planned then is added, and what came can be looked up by its name; another host's is another route."""
    with ApiMock() as api_mock, httpx.Client() as plain:
        api_mock("zerotrace").get("/v1/codes").returns(200)
        api_mock("zerotrace").get("/v1/codes").then(404)
        elsewhere = api_mock("zerotrace", "https://other.example", assert_all_called=False).get("/v1/codes")

        assert [plain.get(f"{BASE}/v1/codes").status_code for _ in range(2)] == [200, 404]
        assert api_mock("zerotrace").request("get", "/v1/codes").call_count == 2
        assert elsewhere.call_count == 0


def test_every_method_has_its_route() -> None:
    """The five usual ones have a method of their own, all others are asked for by name."""
    with ApiMock() as api_mock, httpx.Client() as plain:
        api = api_mock("default")
        routes = [
            api.get("/x"),
            api.post("/x"),
            api.put("/x"),
            api.patch("/x"),
            api.delete("/x"),
            api.request("OPTIONS", "/x"),
        ]
        for route, method in zip(routes, ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"), strict=True):
            route.then(200)
            plain.request(method, "https://api.example/x")

    assert [route.call_count for route in routes] == [1] * 6


def test_a_misspelt_error_is_told_at_once() -> None:
    """With the nearest name, where the plan is made and not where the request comes."""
    route = ApiMock()("zerotrace").post("/v1/create")

    with pytest.raises(
        PolicyError, match="zerotrace has no error 'INTERNL'; did you mean \"INTERNAL\"\\? It has "
    ):
        route.fails("INTERNL")
    with pytest.raises(PolicyError, match=r"zerotrace has no error 'ORDER_LOST'\. It has "):
        route.always_fails("ORDER_LOST")


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        (lambda mock: mock("zerotrce"), r'Did you mean "zerotrace"\?'),
        (
            lambda mock: mock("zerotrace", "0trace.io"),
            r"base_url is a whole URL, https://host/base \(got '0trace\.io'\)",
        ),
        (lambda mock: mock("zerotrace").get("https://0trace.io/x"), "a route's path begins with a slash"),
        (
            lambda mock: mock("zerotrace").get("/x").then(times=0),
            r"a reply comes once or more often \(got times=0\)",
        ),
        (
            lambda mock: mock("zerotrace").get("/x").always_fails("INTERNAL").then(200),
            r"GET /x \(zerotrace\): nothing comes after always_fails\('INTERNAL'\), which goes on for ever",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(slip: Callable[[ApiMock], Any], told: str) -> None:
    """Each slip of a test's is told where it is made."""
    with pytest.raises(ValueError, match=told):
        slip(ApiMock())


@pytest.mark.parametrize(
    "slip",
    [
        lambda route: route.returns(json=object()),
        lambda route: route.always_returns(json=object()),
        lambda route: route.raises(httpx.HTTPStatusError),
        lambda route: route.always_raises(httpx.HTTPStatusError),
    ],
)
def test_a_reply_that_cannot_be_made_is_told_at_once(slip: Callable[[Any], Any]) -> None:
    """Where it is planned: where the request comes, the code under test could swallow it."""
    route = ApiMock()("zerotrace").get("/x")

    with pytest.raises(TypeError):
        slip(route)
    assert route.left_over() == ["GET /x (zerotrace) was never called; planned and not used: nothing"]


def test_the_words_of_an_error_are_those_of_error_response() -> None:
    """`fails` takes what `error_response` takes: the two lists are the same. Only the library is always respx's."""
    parameters = inspect.signature(error_response).parameters
    words = {name: hint.__forward_arg__ for name, hint in Words.__annotations__.items()}

    assert words == {
        name: each.annotation
        for name, each in parameters.items()
        if name not in {"policy", "error", "library"}
    }
    assert list(words) == list(parameters)[2:-1]


# ---------------------------------------------------------------------------------------------- plans that do not hold


@pytest.mark.usefixtures("clock")
def test_more_requests_than_planned_fail() -> None:
    """A client that tries once more than it should is told, with the plan and with what came."""
    mock = ApiMock()
    mock.start()
    try:
        route = plan(mock, "RATE_LIMIT", 200)
        with client() as one:
            one.post("/v1/create", json={})
            with pytest.raises(AssertionError) as failed:
                one.post("/v1/create?secret=1", json={})
    finally:
        mock.stop()

    assert route.call_count == 3
    assert str(failed.value) == (
        "api_mock: POST /v1/create (zerotrace) was called 3 time(s), more often than planned\n"
        "  planned: fails('RATE_LIMIT', retry_after=7), returns(200)\n"
        "  came:    POST https://0trace.io/api/v1/create, POST https://0trace.io/api/v1/create, "
        "POST https://0trace.io/api/v1/create"
    )


@pytest.mark.usefixtures("clock")
def test_a_request_that_nobody_planned_fails_and_is_not_retried() -> None:
    """It is no network error to the client, which lets it through at once; it tells the routes, and no query."""
    mock = ApiMock()
    mock.start()
    try:
        mock("zerotrace", BASE).post("/v1/create")
        with client() as one, pytest.raises(AssertionError) as failed:
            one.get("/v1/codes?secret=1")
    finally:
        mock.stop()

    assert str(failed.value) == (
        "api_mock: no route for GET https://0trace.io/api/v1/codes; there are:\n"
        "  POST /v1/create (zerotrace at https://0trace.io/api)"
    )
    assert len(outcome_of(failed.value).attempts) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("clock")
def test_a_request_of_a_task_that_nobody_planned_fails_too(backend: str) -> None:
    """Under asyncio and trio as in threads."""

    async def call() -> None:
        async with AsyncResilientClient("zerotrace", base_url=BASE) as one:
            await one.get("/v1/codes")

    mock = ApiMock()
    mock.start()
    try:
        with pytest.raises(AssertionError, match=r"no route for GET .*; there are: none") as failed:
            anyio.run(call, backend=backend)
    finally:
        mock.stop()
    assert len(outcome_of(failed.value).attempts) == 1


@pytest.mark.parametrize("path", ["/v1/create", "/v1/other"])
@pytest.mark.usefixtures("clock")
def test_code_that_swallows_the_failure_is_found_out(path: str) -> None:
    """What was not planned fails at the end, too."""

    def swallow() -> None:
        with ApiMock() as api_mock, client() as one:
            plan(api_mock, 200)
            one.post("/v1/create", json={})
            try:
                one.post(path, json={})
            except Exception:  # noqa: BLE001 - what code under test may well do
                return

    with pytest.raises(AssertionError, match=r"it did not go as planned\napi_mock: .*/v1/(create|other)"):
        swallow()


def test_an_error_that_follows_from_it_tells_of_it() -> None:
    """A test that ends otherwise, because of what was not planned, has it in the notes of its error."""

    def look_up(plain: httpx.Client) -> None:
        try:
            plain.get("https://api.example/")
        except AssertionError:
            raise KeyError("answer") from None

    with pytest.raises(KeyError) as failed, ApiMock(), httpx.Client() as plain:
        look_up(plain)

    assert failed.value.__notes__ == ["api_mock: no route for GET https://api.example/; there are: none"]


def test_what_came_through_is_not_noted_on_itself() -> None:
    """The failure that ends a test says it once."""
    with pytest.raises(AssertionError) as failed, ApiMock(), httpx.Client() as plain:
        plain.get("https://api.example/")

    assert not hasattr(failed.value, "__notes__")


@pytest.mark.usefixtures("clock")
def test_a_client_that_does_not_retry_leaves_replies_over() -> None:
    """Replies that were not used, and routes that were never called, fail at the end."""

    def call_once() -> None:
        with ApiMock() as api_mock, httpx.Client() as plain:
            plan(api_mock, "RATE_LIMIT", 200)
            api_mock("zerotrace").get("/v1/codes").raises(httpx.ReadError, times=2)
            api_mock("zerotrace").get("/v1/rates").always_returns(200)
            api_mock("zerotrace").get("/v1/assets")
            plain.post(f"{BASE}/v1/create")

    with pytest.raises(AssertionError) as failed:
        call_once()
    assert str(failed.value) == (
        "api_mock: it did not go as planned\n"
        "  POST /v1/create (zerotrace) was called 1 time(s); planned and not used: returns(200)\n"
        "  GET /v1/codes (zerotrace) was never called; planned and not used: raises(ReadError) 2 times\n"
        "  GET /v1/rates (zerotrace) was never called; planned and not used: always_returns(200)\n"
        "  GET /v1/assets (zerotrace) was never called; planned and not used: nothing"
    )


def test_replies_may_be_left_over_where_the_test_says_so() -> None:
    """`assert_all_called=False` is for plans that are wider than any one test."""
    with ApiMock() as api_mock:
        api_mock("zerotrace", assert_all_called=False).get("/v1/codes").then(200)


def test_what_goes_on_for_ever_is_never_left_over() -> None:
    """It is enough that it came once."""
    with ApiMock() as api_mock, httpx.Client() as plain:
        api_mock("zerotrace").get("/v1/codes").always_fails("INTERNAL")
        plain.get(f"{BASE}/v1/codes")


def test_another_router_may_answer_what_this_one_does_not_know() -> None:
    """In either order; and nothing is told of it at the end."""
    with httpx.Client() as plain:
        with ApiMock() as api_mock, respx.mock() as other:
            api_mock("zerotrace").get("/v1/codes").then(text="planned")
            other.get("https://api.example/").respond(text="other")
            assert plain.get("https://api.example/").text == "other"
            assert plain.get(f"{BASE}/v1/codes").text == "planned"
        with respx.mock() as other, ApiMock() as api_mock:
            api_mock("zerotrace").get("/v1/codes").then(text="planned")
            other.get("https://api.example/").respond(text="other")
            assert plain.get("https://api.example/").text == "other"
            assert plain.get(f"{BASE}/v1/codes").text == "planned"


@pytest.mark.parametrize("backend", [None, *BACKENDS])
@pytest.mark.parametrize("other", [ApiMock, respx.mock])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_no_router_knows_is_remembered(
    backend: str | None, other: Callable[[], Any], *, is_first: bool
) -> None:
    """Neither leaves it to the other, whichever is asked first; it is told once."""
    mock = ApiMock()

    async def ask() -> None:
        async with httpx.AsyncClient() as plain:
            with pytest.raises(AssertionError):
                await plain.get("https://api.example/")

    with ExitStack() as stack:
        for each in (mock, other()) if is_first else (other(), mock):
            each.start()
            stack.callback(each.stop)
        if backend is None:
            with pytest.raises(AssertionError):
                httpx.get("https://api.example/")
        else:
            anyio.run(ask, backend=backend)

    with pytest.raises(AssertionError) as failed:
        mock.assert_all_called()
    assert str(failed.value).count("no route for GET https://api.example/") == 1


def test_a_loopback_server_can_be_let_through() -> None:
    """A `pass_through` of respx's works beside it, for a stand-in that listens on a port."""
    with Sandbox("zerotrace") as api, ApiMock() as api_mock, respx.mock() as other, api.client() as one:
        other.route(host="127.0.0.1").pass_through()
        api_mock("zerotrace", BASE).get("/v1/codes").then(text="planned")

        assert one.get("/v1/codes").json()["code"] == 0
        assert httpx.get(f"{BASE}/v1/codes").text == "planned"


def test_the_end_gives_the_connections_back() -> None:
    """By an error as well, and when the start itself fails."""
    with pytest.raises(LookupError), ApiMock():
        raise LookupError
    HTTPXMocker.routers.append(respx.Router())
    try:
        with pytest.raises(RuntimeError):
            ApiMock().start()
    finally:
        HTTPXMocker.routers.clear()

    assert HTTPCoreMocker.routers == []


def test_threads_share_a_plan() -> None:
    """Of many requests at once, each has a reply of its own."""
    together = threading.Barrier(8)

    def call(plain: httpx.Client) -> str:
        together.wait(timeout=10)
        return plain.get("https://api.example/things").text

    with ApiMock() as api_mock, httpx.Client() as plain, ThreadPoolExecutor(8) as pool:
        route = api_mock("default").get("/things")
        for number in range(8):
            route.then(text=str(number))
        texts = [done.result() for done in [pool.submit(call, plain) for _ in range(8)]]

    assert sorted(texts) == [str(number) for number in range(8)]
    assert route.call_count == 8


def test_a_mock_shows_its_routes() -> None:
    """What pytest prints of the fixture, and of a route, is readable."""
    mock = ApiMock()
    route = mock("zerotrace", BASE).post("/v1/create")

    assert repr(mock) == "ApiMock(POST /v1/create (zerotrace at https://0trace.io/api))"
    assert repr(route) == "<MockedRoute POST /v1/create (zerotrace at https://0trace.io/api)>"


# ------------------------------------------------------------------------------------------------------- refuse_bypass


def test_a_mock_that_goes_round_the_transports_is_refused() -> None:
    """With the reason, and with what to do instead; respx's usual mode works on."""
    with refuse_bypass():
        with pytest.raises(RuntimeError, match=r"nothing is retried.* Leave `using` out.* api_mock"):
            respx.mock(using="httpx").start()
        with respx.mock() as usual, httpx.Client() as plain:
            usual.get("https://api.example/").respond(204)
            assert plain.get("https://api.example/").status_code == 204


def test_it_is_refused_from_inside_to_outside() -> None:
    """Blocks nest, and after the last one everything is as respx has it."""
    with refuse_bypass():
        with refuse_bypass():
            pass
        with pytest.raises(RuntimeError):
            respx.mock(using="httpx").start()
    with respx.mock(using="httpx") as bypass, ResilientClient() as one:
        bypass.get("https://api.example/").respond(503)
        response = one.get("https://api.example/")

    with pytest.raises(LookupError):  # the trap itself: if this passes no more, respx has changed
        outcome_of(response)


def test_one_that_is_active_already_is_refused() -> None:
    """Whoever started it before cannot be stopped, so the block is not entered."""
    with respx.mock(using="httpx"), pytest.raises(RuntimeError, match="nothing is retried"), refuse_bypass():
        pytest.fail("entered")


def test_a_mock_of_apis_refuses_it_too() -> None:
    """`ApiMock` is one such block."""
    with ApiMock(), pytest.raises(RuntimeError, match="nothing is retried"):
        respx.mock(using="httpx").start()


# ----------------------------------------------------------------------------------------------------- fault_sequences

calm = settings(max_examples=60, deadline=None, derandomize=True, database=None)
POLICIES = ["zerotrace", "customer_verification", "dual", "openpoly", "integration", "default"]
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)


def most_attempts(policy: Policy, name: str) -> float:
    """Work out, from the words of the policy, how many attempts one rule may judge in a call."""
    retry = next((rule.retry for rule in policy.rules if rule.name == name), None)
    if name == "NETWORK_ERROR":
        return policy.network.retries + 1
    if retry is None:
        return 1
    if retry.retries is not None:
        return retry.retries + 1
    if retry.schedule is not None:
        return len(retry.schedule) + 1
    return float("inf") if retry.duration is not None else 5


def play(
    sequence: FaultSequence, method: str, policy: Policy | None = None
) -> tuple[httpx.Response | Exception, list[httpx.Response | type[Exception]]]:
    """Make a call that is answered by a sequence; give what it ended with, and all that was answered."""
    answered: list[httpx.Response | type[Exception]] = []
    handler = sequence.handler()

    def answer(request: httpx.Request) -> httpx.Response:
        try:
            answered.append(handler(request))
        except Exception as error:
            answered.append(type(error))
            raise
        return answered[-1]  # type: ignore[return-value]  # the branch above has not been taken

    transport = httpx.MockTransport(answer)
    auth = HmacAuth("a-key", "a-secret")
    with ResilientClient(
        policy or sequence.policy, transport=transport, clock=VirtualClock(), auth=auth
    ) as one:
        try:
            return one.request(method, "https://api.example/things", json={"sample": 1}), answered
        except httpx.HTTPError as error:
            return error, answered


@pytest.mark.parametrize("name", POLICIES)
def test_whatever_an_api_answers_a_call_ends_as_its_policy_says(name: str) -> None:
    """It ends in a response or an httpx error, no rule is tried more often than it says, and maybe_applied is right."""
    policy = load_policy(name)

    @calm
    @given(sequence=fault_sequences(name, max_size=8), method=st.sampled_from(["GET", "PUT", "POST"]))
    def holds(sequence: FaultSequence, method: str) -> None:
        ended, answered = play(sequence, method)
        call = outcome_of(ended)

        assert len(call.attempts) == len(answered)
        judged = Counter(
            attempt.verdict.name for attempt in call.attempts if attempt.verdict.category != "success"
        )
        assert {rule: count for rule, count in judged.items() if count > most_attempts(policy, rule)} == {}
        may_have_worked = [
            each.status_code >= 500 if isinstance(each, httpx.Response) else not issubclass(each, NEVER_SENT)
            for each in answered
        ]
        assert call.maybe_applied == (method != "GET" and any(may_have_worked))

    holds()


def test_a_broken_client_is_found_by_the_shortest_sequence() -> None:
    """A client that does not heed Retry-After is caught, and the example shrinks to the one answer that shows it."""

    def waits_too_short(sequence: FaultSequence) -> bool:
        ended, answered = play(sequence, "GET", HASTY)
        asked = [
            float(each.headers.get("Retry-After", 0)) if isinstance(each, httpx.Response) else 0.0
            for each in answered
        ]
        waits = [attempt.wait for attempt in outcome_of(ended).attempts[:-1]]
        return any(wait < least for wait, least in zip(waits, asked, strict=False))

    found = find(fault_sequences("zerotrace"), waits_too_short, settings=settings(calm, max_examples=2000))

    assert repr(found) == "<zerotrace: Fault('RATE_LIMIT')>"  # whose example asks for 7 s


@pytest.mark.parametrize(
    ("like", "shortest"),
    [
        (lambda fault: fault.what == "LIMIT_MIN", "Fault('LIMIT_MIN')"),
        (
            lambda fault: fault.what == "RATE_LIMIT" and (fault.retry_after or 0) > 300,
            "Fault('RATE_LIMIT', retry_after=301)",
        ),
        (lambda fault: fault.what == "MAINTENANCE" and fault.retry_after is None, "Fault('MAINTENANCE')"),
        (lambda fault: isinstance(fault.what, type), "Fault(ConnectError)"),
        (lambda fault: fault.what == httpx.RemoteProtocolError, "Fault(RemoteProtocolError)"),
        (lambda fault: fault.what == 504, "Fault(504)"),
        (lambda fault: fault.what == 200, "Fault(200)"),
    ],
)
def test_all_that_may_happen_is_among_them(like: Callable[[Fault], bool], shortest: str) -> None:
    """Documented errors with and without waits, network errors, pages and successes; each shrinks to itself alone."""
    found = find(
        fault_sequences("zerotrace"),
        lambda sequence: any(like(fault) for fault in sequence.faults),
        settings=settings(calm, max_examples=5000),
    )

    assert repr(found) == f"<zerotrace: {shortest}>"


def test_a_sequence_is_no_longer_than_it_may_be() -> None:
    """`max_size` bounds it; none at all is the simplest."""

    @calm
    @given(fault_sequences("dual", max_size=2))
    def holds(sequence: FaultSequence) -> None:
        assert len(sequence.faults) <= 2

    holds()
    simplest = find(fault_sequences("dual"), lambda _: True, settings=calm)
    assert repr(simplest) == "<dual: no faults>"


def test_a_sequence_is_played_from_its_start_by_each_handler() -> None:
    """Two handlers do not share what is left; when it is over, requests succeed."""
    faults = (Fault("RATE_LIMIT", retry_after=3), Fault(502), Fault(httpx.ReadError))
    sequence = FaultSequence(load_policy("zerotrace"), faults)
    request = httpx.Request("GET", BASE)
    for _ in range(2):
        handler = sequence.handler()
        limited, page = handler(request), handler(request)
        with pytest.raises(httpx.ReadError):
            handler(request)

        assert (limited.json()["code"], limited.headers["Retry-After"]) == (5, "3")
        assert (page.status_code, page.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
        assert [handler(request).status_code for _ in range(3)] == [200] * 3


@pytest.mark.usefixtures("clock")
def test_a_sequence_is_a_side_effect_for_respx() -> None:
    """Network errors are raised where the connection would fail, so that the client sees them as such."""
    sequence = FaultSequence(load_policy("zerotrace"), (Fault(httpx.ReadError), Fault("UPSTREAM_ERROR")))
    with respx.mock() as router, client() as one:
        router.get(f"{BASE}/v1/codes").mock(side_effect=sequence.handler())

        assert_attempts(one.get("/v1/codes"), httpx.ReadError, "UPSTREAM_ERROR", "OK")


# -------------------------------------------------------------------------------------------------------------- httpx2

LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
WAYS = pytest.mark.parametrize("way", ["threads", *BACKENDS])


def ask(library: Any, way: str, url: str = "https://api.example/things", **options: Any) -> Any:
    """GET with a plain client of one library."""
    if way == "threads":
        with library.Client(**options) as plain:
            return plain.get(url)

    async def send() -> Any:
        async with library.AsyncClient(**options) as plain:
            return await plain.get(url)

    return anyio.run(send, backend=way)


@WAYS
@LIBRARIES
def test_a_mocked_api_answers_clients_of_both(library: Any, way: str) -> None:
    """With nothing to switch on: errors as the API words them, and replies of the client's own library."""
    with ApiMock() as api_mock:
        route = (
            api_mock("zerotrace").get("/v1/codes").fails("RATE_LIMIT", retry_after=7).then(json={"code": 0})
        )
        limited, fine = (ask(library, way, f"{BASE}/v1/codes") for _ in range(2))

    assert {type(limited), type(fine)} == {library.Response}
    assert (limited.json()["code"], limited.headers["Retry-After"], fine.json()) == (5, "7", {"code": 0})
    assert [type(call.request) for call in route.calls] == [httpx.Request] * 2


def test_one_route_of_a_mocked_api_answers_both() -> None:
    """They share its plan."""
    with ApiMock() as api_mock:
        route = api_mock("default").get("/things").then(text="one").then(text="two").then(text="three")

        assert [ask(each, "threads").text for each in (httpx2, httpx, httpx2)] == ["one", "two", "three"]

    assert route.call_count == 3


@WAYS
@LIBRARIES
@pytest.mark.parametrize("named", [httpx.ReadTimeout, httpx2.ReadTimeout], ids=["httpx", "httpx2"])
def test_a_planned_failure_of_the_network_is_the_clients_own(library: Any, named: Any, way: str) -> None:
    """Whichever library's class is planned; an object keeps its message, and is the very one in its own library."""
    silence = named("silence")
    with ApiMock() as api_mock:
        api_mock("default").get("/things").raises(named).raises(silence)
        caught = []
        for _ in range(2):
            with pytest.raises(library.ReadTimeout) as failed:
                ask(library, way)
            caught.append(failed.value)

    assert {type(error) for error in caught} == {library.ReadTimeout}
    assert [str(error) for error in caught] == ["planned by the test", "silence"]
    assert (caught[1] is silence) == (named is library.ReadTimeout)


@WAYS
def test_what_nobody_planned_fails_a_client_of_httpx2s(way: str) -> None:
    """An AssertionError, at once and at the end, for a route that is not there and for one call too many."""
    mock = ApiMock()
    mock.start()
    try:
        mock("default").get("/things")
        with pytest.raises(AssertionError, match=r"was called 1 time\(s\), more often than planned"):
            ask(httpx2, way)
        with pytest.raises(AssertionError, match=r"no route for GET https://api\.example/others"):
            ask(httpx2, way, "https://api.example/others")
    finally:
        mock.stop()
    with pytest.raises(AssertionError, match=r"it did not go as planned(?s:.*)more often(?s:.*)no route for"):
        mock.assert_all_called()


@WAYS
def test_another_router_may_answer_clients_of_httpx2s(way: str) -> None:
    """Beside a mocked API, as for httpx; the end of either gives httpx2's connections back."""
    original = httpx2.HTTPTransport()._pool.__class__.handle_request
    with ApiMock() as api_mock, respx.mock() as other:
        api_mock("zerotrace", BASE).get("/v1/codes").then(text="planned")
        other.get("https://api.example/things").respond(text="other")

        assert (ask(httpx2, way, f"{BASE}/v1/codes").text, ask(httpx2, way).text) == ("planned", "other")

    assert httpx2.HTTPTransport()._pool.__class__.handle_request is original


@WAYS
@LIBRARIES
@pytest.mark.usefixtures("clock")
def test_a_resilient_client_of_either_is_judged_alike(library: Any, way: str) -> None:
    """The same plan, the same assertions; only an exception's class is the client's own."""
    home = import_module("resilient_client" if library is httpx else "resilient_client.httpx2")
    options: dict[str, Any] = {"base_url": BASE, "auth": home.HmacAuth("a-key", "a-secret")}

    async def order_in_a_task() -> Any:
        async with home.AsyncResilientClient("zerotrace", **options) as one:
            return await one.post("/v1/create", json={"amount": "1"})

    with ApiMock() as api_mock:
        route = plan(api_mock, "RATE_LIMIT", httpx.ReadTimeout, 200)
        if way == "threads":
            with home.ResilientClient("zerotrace", **options) as one:
                response = one.post("/v1/create", json={"amount": "1"})
        else:
            response = anyio.run(order_in_a_task, backend=way)

    assert isinstance(response, library.Response)
    assert_attempts(response, "RATE_LIMIT", library.ReadTimeout, "OK")
    assert_waits(response, 7, (0, 0.5))
    assert_same_key(route)
    assert_fresh_nonces(route)


@pytest.mark.parametrize(
    "words", [{}, {"retry_after": 20, "message": "Slow down", "headers": {"X-More": "1"}}]
)
def test_a_reply_may_be_of_either_library(words: dict[str, Any]) -> None:
    """It is httpx's unless httpx2 is asked for, and the same otherwise."""
    for error in ("RATE_LIMIT_EXCEEDED", 404):
        usual = error_response("customer_verification", error, **words)
        named = error_response("customer_verification", error, library="httpx", **words)
        other = error_response("customer_verification", error, library="httpx2", **words)

        assert (type(usual), type(named), type(other)) == (httpx.Response, httpx.Response, httpx2.Response)
        assert (other.status_code, other.headers.raw, other.content) == (
            usual.status_code,
            usual.headers.raw,
            usual.content,
        )


@WAYS
@LIBRARIES
@pytest.mark.parametrize("named", [httpx.ReadError, httpx2.ReadError], ids=["httpx", "httpx2"])
def test_faults_are_of_the_library_that_asks(library: Any, named: Any, way: str) -> None:
    """Replies, pages and failures of the network, whichever library names them."""
    sequence = FaultSequence(
        load_policy("zerotrace"), (Fault("RATE_LIMIT", retry_after=3), Fault(502), Fault(named))
    )
    transport = library.MockTransport(sequence.handler())

    limited, page = (ask(library, way, transport=transport) for _ in range(2))
    with pytest.raises(library.ReadError, match=r"^a fault of the test$"):
        ask(library, way, transport=transport)

    assert {type(limited), type(page), type(ask(library, way, transport=transport))} == {library.Response}
    assert (limited.json()["code"], limited.headers["Retry-After"], page.status_code) == (5, "3", 502)


@LIBRARIES
def test_sequences_name_the_failures_of_the_library_asked_for(library: Any) -> None:
    """`fault_sequences(library=…)` is for tests that look into what was drawn."""
    found = find(
        fault_sequences("zerotrace", library=library.__name__),
        lambda sequence: any(fault.what is library.WriteError for fault in sequence.faults),
        settings=settings(calm, max_examples=5000),
    )

    assert repr(found) == "<zerotrace: Fault(WriteError)>"


def printed_by(code: str, folder: Path) -> str:
    """Run a program of its own, and give what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_httpx2_may_be_imported_under_a_mocked_api(tmp_path: Path) -> None:
    """The kit does not import it, and answers its clients nevertheless."""
    code = (
        "import sys\nfrom resilient_client.testing import ApiMock, error_response\n"
        "error_response('zerotrace', 'INTERNAL')\n"
        "with ApiMock() as mock:\n"
        "    mock('zerotrace').get('/v1/codes').then(200, text='mocked')\n"
        "    print('httpx2' in sys.modules)\n"
        "    import httpx2\n"
        "    print(httpx2.get('https://0trace.io/api/v1/codes').text)\n"
    )

    assert printed_by(code, tmp_path).split() == ["False", "mocked"]


def test_where_httpx2_is_used_alone_httpx_is_not_imported(tmp_path: Path) -> None:
    """Neither by replies nor by faults, clocks and assertions: it need not even be there. Only respx needs it."""
    code = (
        "import sys\nsys.modules['httpx'] = sys.modules['httpcore'] = None\n"
        "import httpx2\n"
        "from resilient_client.httpx2 import ResilientClient, load_policy\n"
        "from resilient_client.testing import *\n"
        "policy = load_policy('zerotrace')\n"
        "error_response(policy, 'INTERNAL', library='httpx2')\n"
        "fault_sequences(policy, library='httpx2')\n"
        "faults = (Fault('UPSTREAM_ERROR'), Fault(httpx2.ReadTimeout), Fault(502))\n"
        "transport = httpx2.MockTransport(FaultSequence(policy, faults).handler())\n"
        "with use_clock(VirtualClock()), ResilientClient(policy, transport=transport) as client:\n"
        "    response = client.get('https://api.example/')\n"
        "assert_attempts(response, 'UPSTREAM_ERROR', httpx2.ReadTimeout, 502, 'OK')\n"
        "assert_waits(response, 1, ...)\n"
        "print(type(to_httpx2(response)))\n"
    ).replace("import *", f"import {', '.join(NEEDS_NO_RESPX)}")

    assert printed_by(code, tmp_path) == "<class 'httpx2.Response'>"


NEEDS_NO_RESPX = [
    "Fault",
    "FaultSequence",
    "VirtualClock",
    "assert_attempts",
    "assert_waits",
    "error_response",
    "fault_sequences",
    "to_httpx2",
    "use_clock",
]


# --------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    ("missing", "use", "told"),
    [
        ("respx", "testing.ApiMock", "api_mock needs respx: pip install 'resilient-client[testing]'"),
        (
            "respx",
            "testing.bridge_respx",
            "bridge_respx needs respx: pip install 'resilient-client[testing]'",
        ),
        (
            "httpx2",
            "testing.ApiMock().start()\n    testing.bridge_respx()",
            "bridge_respx needs httpx2: pip install 'resilient-client[httpx2]'",
        ),
        (
            "hypothesis",
            "testing.fault_sequences('zerotrace')",
            "fault_sequences needs hypothesis: pip install hypothesis",
        ),
    ],
)
def test_what_is_not_installed_is_named(missing: str, use: str, told: str, tmp_path: Path) -> None:
    """The error says what to install; the rest of the kit works without."""
    code = (
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "from resilient_client import testing\n"
        "with testing.refuse_bypass(), testing.use_clock(testing.VirtualClock()):\n"
        "    testing.error_response('zerotrace', 'INTERNAL')\n"
        f"try:\n    {use}\nexcept ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == told
