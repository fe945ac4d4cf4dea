"""The worst case and the timetable of a call: never exceeded, reached where they can be, and what the flow does."""

from __future__ import annotations

import inspect
import itertools
import random
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import tenacity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenario import error_response

from resilient_client import (
    Outcome,
    Policy,
    PolicyError,
    ResilientClient,
    load_policy,
    outcome_of,
    policy_names,
)
from resilient_client._bounds import Row
from resilient_client._ladder import Case
from resilient_client._rehearse import rehearse
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from resilient_client._bounds import Bound

AN_INSTANT = 1e-6  # seconds: what a sum of waits loses by rounding
REFUSED = httpx.ConnectError("refused")


class Renewing(httpx.Auth):
    """An auth of a user's own, which can make anew whatever it is said to."""

    headers = ()

    def __init__(self, *renews: str) -> None:
        self.renews = frozenset(renews)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.extensions["resilience.auth"] = self
        yield request

    def token_expired(self, _request: httpx.Request, _now: float, _lifetime: float | None) -> bool:
        return "token" in self.renews


def policy_of(*rules: dict[str, Any], **tables: Any) -> Policy:
    """Make a policy of these rules, which are named R0, R1 and so on, and whose code is at /code."""
    named = [{"name": f"R{number}", **rule} for number, rule in enumerate(rules)]
    return Policy.model_validate({"api": "made", "envelope": {"code": "/code"}, **tables, "rules": named})


def on(status: int, **retry: Any) -> dict[str, Any]:
    """Say a rule for a status."""
    return {"when": {"status": status}, "retry": retry}


def play(
    policy: Policy,
    method: str,
    path: str,
    replies: Sequence[httpx.Response | Exception],
    took: Sequence[float] = (),
    **options: Any,
) -> tuple[int, list[float], Outcome]:
    """Make one call, answered by these and then a 204; tell how often it was sent, what was slept, and its outcome."""
    clock = VirtualClock()
    waiting, times = iter(replies), iter(took)
    sent = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        takes, patience = next(times, 0.0), request.extensions["timeout"]["read"]
        clock.advance(min(takes, patience))
        if takes > patience:
            raise httpx.ReadTimeout("too slow")
        reply = next(waiting, None)
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            return httpx.Response(204)
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    asked = options.pop("asked", {})
    with ResilientClient(
        policy, transport=httpx.MockTransport(answer), clock=clock, budget=False, **options
    ) as client:
        try:
            outcome = outcome_of(
                client.request(
                    method, f"https://api.test{path}", json={"a": 1}, extensions={"resilience": asked}
                )
            )
        except httpx.TransportError as error:
            outcome = outcome_of(error)
    return sent, clock.sleeps, outcome


# ------------------------------------------------------------------------------------------------ never exceeded

RETRIES = st.one_of(
    st.fixed_dictionaries({}, optional={"retries": st.integers(0, 5)}),
    st.fixed_dictionaries({"wait": st.sampled_from([0, 1, 60, 90])}, optional={"retries": st.integers(0, 3)}),
    st.fixed_dictionaries({"schedule": st.lists(st.sampled_from([0, 1, 5, 50]), min_size=1, max_size=4)}),
    st.fixed_dictionaries(
        {
            "backoff": st.fixed_dictionaries(
                {"jitter": st.sampled_from(["full", "none"])},
                optional={
                    "first": st.sampled_from([0.1, 2, 40]),
                    "factor": st.sampled_from([1, 3]),
                    "max": st.just(7),
                },
            )
        },
        optional={"retries": st.integers(0, 5), "for": st.sampled_from([1, 20, 400])},
    ),
)
MORE = st.fixed_dictionaries(
    {"unsafe": st.booleans()},
    optional={
        "after": st.sampled_from([[], ["/in"], ["retry-after-ms", "Retry-After"]]),
        "change": st.lists(st.sampled_from(["nonce", "refresh", "override"]), unique=True, max_size=2),
        "requires": st.lists(st.sampled_from(["nonce", "refresh"]), unique=True, max_size=1),
        "only_if": st.sampled_from(["token_expired", "override_conflict"]),
    },
)
WHENS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from([200, 409, 429, 500, 503, "5xx", [429, 503]]),
        "code": st.sampled_from([1, 2, "x", [1, "x"]]),
        "headers": st.sampled_from([{"X-Kind": True}, {"X-Kind": "slow"}]),
        "body": st.just({"/ok": False}),
        "route": st.sampled_from(["POST /create", "* /v1/**", ["GET **", "PUT **"]]),
    },
)
RULES = st.lists(
    st.builds(
        lambda when, retry, more: {"when": when, **({} if retry is None else {"retry": {**retry, **more}})},
        WHENS,
        st.one_of(st.none(), RETRIES, RETRIES),
        MORE,
    ),
    min_size=1,
    max_size=4,
)
TABLES = st.fixed_dictionaries(
    {"override": st.just({"field": "/force"}), "limits": st.sampled_from([{}, {"wait": 55}])},
    optional={
        "network": st.sampled_from(
            [{"retries": 0}, {"retries": 2, "backoff": {"first": 3, "jitter": "none"}}]
        ),
        "idempotency": st.just({"routes": ["POST /create"]}),
        "should_retry": st.just("X-Should-Retry"),
        "signing": st.just({"nonce": "X-Nonce"}),
    },
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Retry-After": st.sampled_from(["0", "1", "55", "299", "300", "301", "9" * 40, "soon"]),
        "retry-after-ms": st.sampled_from(["0", "1500", "1e9"]),
        "X-Kind": st.sampled_from(["slow", "fast"]),
        "X-Should-Retry": st.sampled_from(["true", "false"]),
    },
)
REPLIES = st.one_of(
    st.builds(
        lambda status, body, headers: httpx.Response(status, json=body, headers=headers),
        st.sampled_from([200, 400, 409, 418, 429, 500, 503, 503, 529]),
        st.fixed_dictionaries(
            {},
            optional={
                "code": st.sampled_from([1, 2, 3, "x"]),
                "ok": st.booleans(),
                "in": st.sampled_from([0, 0.5, 54, 300, 1e12]),
            },
        ),
        HEADERS,
    ),
    st.sampled_from([REFUSED, httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("garbage")]),
)


def assert_within(bound: Bound, sent: int, sleeps: list[float], outcome: Outcome) -> None:
    """Nothing that a call came to is more than its bound."""
    assert bound.sends is None or sent <= bound.sends
    assert max(sleeps, default=0.0) <= bound.sleep + AN_INSTANT
    assert bound.slept is None or sum(sleeps) <= bound.slept + AN_INSTANT
    assert bound.time is None or outcome.elapsed <= bound.time + AN_INSTANT


@settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=RULES,
    tables=TABLES,
    method=st.sampled_from(["GET", "POST", "PATCH"]),
    path=st.sampled_from(["/create", "/v1/other"]),
    replies=st.lists(REPLIES, min_size=3, max_size=30),
    took=st.lists(st.sampled_from([0.0, 0.2, 2.0]), max_size=10),
    renews=st.sampled_from([(), ("nonce",), ("token",), ("nonce", "token")]),
    deadline=st.sampled_from([None, None, 7.0, 70.0]),
    wishes=st.sets(st.sampled_from(["idempotent", "override_conflict"])),
    seed=st.integers(0, 9),
)
def test_no_call_exceeds_its_bound(  # noqa: PLR0917 - all that a call depends on
    rules: list[dict[str, Any]],
    tables: dict[str, Any],
    method: str,
    path: str,
    replies: list[Any],
    took: list[float],
    renews: tuple[str, ...],
    deadline: float | None,
    wishes: set[str],
    seed: int,
) -> None:
    """Whatever the policy says, the server does and the jitter draws: attempts, sleeps and time stay within it."""
    policy = policy_of(*rules, **tables)
    bound = policy.worst_case(
        method,
        path,
        deadline=deadline,
        timeout=2.0,
        keyed=True if "idempotent" in wishes else None,
        renews=renews,
        override_conflict="override_conflict" in wishes,
    )
    random.seed(seed)  # what the transport draws its jitter from
    auth = Renewing(*renews) if renews else None

    ended = play(
        policy,
        method,
        path,
        replies,
        took,
        auth=auth,
        deadline=deadline,
        timeout=9,
        asked=dict.fromkeys(wishes, True),
    )

    assert_within(bound, *ended)


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), name=st.sampled_from(policy_names()), seed=st.integers(0, 9))
def test_no_call_exceeds_the_bound_of_a_shipped_policy(data: st.DataObject, name: str, seed: int) -> None:
    """Played with the documented errors, other statuses, and a network that fails now and then."""
    policy = load_policy(name)
    documented = [
        error_response(policy, rule.name, retry_after=after)
        for rule in policy.rules
        if rule.examples
        for after in (None, 0, 300)
    ]
    replies = data.draw(st.lists(st.one_of(st.sampled_from(documented), REPLIES), min_size=5, max_size=40))
    bound = policy.worst_case("POST", "/v1/create")
    random.seed(seed)

    assert_within(bound, *play(policy, "POST", "/v1/create", replies, auth=Renewing("nonce", "token")))


# -------------------------------------------------------------------------------------------------------- reached


def worst_replies(policy: Policy, bound: Bound) -> list[httpx.Response | Exception]:
    """Give the replies of a server that has every rule retry as often as it may, one rule after the other."""
    replies: list[httpx.Response | Exception] = []
    for share in bound.shares:
        one = (
            REFUSED
            if share.rule == "NETWORK_ERROR"
            else error_response(policy, share.rule or 0, retry_after=0)
        )
        replies += [one] * (share.retries or 0)
    return replies


@pytest.mark.parametrize("name", policy_names())
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/things"), ("POST", "/v1/create"), ("PATCH", "/v1/x")]
)
def test_a_shipped_policy_reaches_its_most_attempts(name: str, method: str, path: str) -> None:
    """There is a server that makes a call come to it, so that it cannot be told any lower."""
    policy = load_policy(name)
    bound = policy.worst_case(method, path)

    sent, _, outcome = play(
        policy, method, path, worst_replies(policy, bound), auth=Renewing("nonce", "token")
    )

    assert sent == bound.sends
    assert outcome.reason == "success"


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_attempts_before_a_deadline_are_found_among_all_mixtures(order: int) -> None:
    """Two rules whose waits are known: of all sequences of their errors, the busiest comes to the bound."""
    rules = [
        on(500, retries=4, after=[], backoff={"first": 1, "jitter": "none"}),
        on(503, retries=4, after=[], backoff={"first": 3, "factor": 1, "jitter": "none"}),
    ]
    policy = policy_of(*rules[::order], network={"retries": 0})
    bound = policy.worst_case("GET", "/", deadline=9.5)
    errors = [httpx.Response(500), httpx.Response(503)]

    played = [
        play(policy, "GET", "/", [*sequence], deadline=9.5)[0]
        for sequence in itertools.product(errors, repeat=6)
    ]

    assert max(played) == bound.sends == 5  # 1 + 2 + 3 + 3 seconds, and no other four are as short


@pytest.mark.parametrize(
    ("retry", "sends", "sleep", "slept"),
    [
        ({"retries": 0}, 1, 0.0, 0.0),
        ({}, 5, 360.25, 4 * 360.25),
        ({"after": []}, 5, 4.0, 7.5),
        ({"after": [], "retries": 9}, 10, 30.0, 0.5 + 1 + 2 + 4 + 8 + 16 + 30 * 3),
        ({"after": [], "schedule": [1, 2, 5, 10]}, 5, 12.25, 1.45 + 2.65 + 6.25 + 12.25),
        ({"after": [], "wait": 60, "retries": 2}, 3, 72.25, 144.5),
        ({"after": [], "wait": 0, "retries": 2}, 3, 0.0, 0.0),
        ({"after": [], "wait": 10, "for": 25}, 4, 12.25, 25.0),
        ({"retries": 7, "for": 25}, 8, 25.0, 25.0),
        ({"for": 25}, None, 25.0, 25.0),
        ({"after": [], "wait": 400}, 1, 0.0, 0.0),
        ({"after": [], "backoff": {"first": 200, "max": 900}}, 2, 200.0, 200.0),
    ],
)
def test_what_one_rule_can_come_to(
    retry: dict[str, Any], sends: int | None, sleep: float, slept: float | None
) -> None:
    """Its retries, with a fifth and a quarter second of jitter; the longest a server may ask for is 300 s."""
    bound = policy_of(on(500, **retry), network={"retries": 0}).worst_case("GET", "/")

    assert bound.sends == sends
    assert bound.sleep == pytest.approx(sleep)
    assert bound.slept == pytest.approx(slept)
    assert bound.time is None


def test_rules_that_cannot_be_met_do_not_count() -> None:
    """A rule of another route, one that is never reached, one whose change nobody makes, one that is final."""
    policy = policy_of(
        {"when": {"status": 500, "route": "POST /orders"}, "retry": {"unsafe": True}},
        {"when": {"status": 503}},
        on(503),
        on(401, change=["refresh"]),
        on(429, unsafe=True),
        network={"retries": 0},
    )

    met = {
        (method, path): [share.rule for share in policy.worst_case(method, path, renews=()).shares]
        for method, path in [("GET", "/orders"), ("POST", "/v1/orders"), ("POST", "/orders/7")]
    }

    assert met == {
        ("GET", "/orders"): ["R4"],
        ("POST", "/v1/orders"): ["R0", "R4"],
        ("POST", "/orders/7"): ["R4"],
    }


def test_a_key_an_auth_and_a_wish_let_more_be_sent() -> None:
    """What is known of the call, and not the policy alone, says how often it may be sent."""
    policy = policy_of(
        on(500, retries=2),
        on(401, retries=1, change=["refresh"], unsafe=True),
        on(409, retries=3, change=["override"], unsafe=True),
        override={"field": "/force"},
        network={"retries": 0},
        idempotency={"routes": ["POST /create"]},
    )

    assert policy.worst_case("POST", "/x", renews=()).sends == 1
    assert policy.worst_case("POST", "/create", renews=()).sends == 3
    assert policy.worst_case("POST", "/create", keyed=False, renews=()).sends == 1
    assert policy.worst_case("POST", "/x", keyed=True, renews=["token"]).sends == 4
    assert policy.worst_case("POST", "/x", keyed=True).sends == 4  # the policy speaks of tokens
    # The field is put into the body once, however many retries the rule allows.
    assert policy.worst_case("POST", "/x", renews=(), override_conflict=True).sends == 2


def test_the_servers_own_word_adds_retries_even_of_final_errors() -> None:
    """With `should_retry`, each rule, and what no rule speaks of, may be retried four times."""
    policy = policy_of({"when": {"status": 400}}, should_retry="x-should-retry", network={"retries": 0})
    bound = policy.worst_case("POST", "/")
    again = {"x-should-retry": "true", "Retry-After": "0"}
    replies = [*[httpx.Response(400, headers=again)] * 4, *[httpx.Response(404, headers=again)] * 4]

    assert [(share.rule, share.retries) for share in bound.shares] == [("R0", 4), (None, 4)]
    assert play(policy, "POST", "/", replies)[0] == bound.sends == 9


def test_time_is_what_attempts_and_sleeps_take_and_no_more_than_the_deadline() -> None:
    """Nothing bounds an attempt that has no timeout."""
    policy = policy_of(on(500, retries=2, wait=10, after=[]), network={"retries": 0})

    assert policy.worst_case("GET", "/").time is None
    assert policy.worst_case("GET", "/", timeout=5).time == pytest.approx(3 * 5 + 2 * 12.25)
    assert policy.worst_case("GET", "/", deadline=60).time == 60
    assert policy.worst_case("GET", "/", timeout=5, deadline=60).time == pytest.approx(39.5)
    short = policy.worst_case("GET", "/", deadline=10)
    assert (short.sends, short.sleep, short.slept) == (1, 0.0, 0.0)
    hurried = load_policy("default").worst_case("GET", "/", deadline=30)
    assert (hurried.sleep, hurried.slept, hurried.time) == (30, 30, 30)
    assert all(share.sleep <= 30 and (share.slept or 0) <= 30 for share in hurried.shares)


@pytest.mark.parametrize(
    ("retry", "sends", "sleep"),
    [
        ({"stop": tenacity.stop_after_attempt(3)}, 3, 1.0),
        ({"stop": tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(60)}, 3, 1.0),
        ({"stop": tenacity.stop_after_delay(60)}, None, 300.0),
        ({"stop": tenacity.stop_never}, None, 300.0),
        ({"stop": tenacity.stop_before_delay(0.2)}, None, 300.0),
        ({"stop": lambda state: state.attempt_number > 2}, None, 300.0),
        ({"wait": tenacity.wait_fixed(7), "retries": 2}, 3, 7.0),
        ({"wait": tenacity.wait_random(0, 7), "retries": 2}, 3, 300.0),
    ],
)
def test_what_a_users_own_object_will_say_is_not_guessed(
    retry: dict[str, Any], sends: int | None, sleep: float
) -> None:
    """Tenacity's objects that go by attempts and time are asked; of any other, all is taken to be possible."""
    bound = policy_of(on(500, after=[], **retry), network={"retries": 0}).worst_case("GET", "/")

    assert bound.sends == sends
    assert bound.sleep == pytest.approx(sleep)


def test_what_is_known_of_a_call_is_said_in_the_same_words_everywhere() -> None:
    """The worst case, a plan, and what works them out take the same parameters, with the same defaults."""

    def known(function: Any) -> dict[str, Any]:
        parameters = inspect.signature(function).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}

    assert known(Policy.worst_case) == known(Case)
    assert known(Policy.plan) == {"method": "GET", "path": "/", "asked": None, **known(Case)}


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"deadline": 0}, "deadline must be seconds above 0"),
        ({"timeout": -1}, "timeout must be seconds above 0"),
        ({"renews": ["refresh"]}, 'renews holds "nonce", "token", both or nothing'),
    ],
)
def test_what_cannot_be_known_of_a_call_is_refused(known: dict[str, Any], message: str) -> None:
    """With what it should be."""
    with pytest.raises(ValueError, match=message):
        load_policy("default").worst_case("GET", "/", **known)


# ------------------------------------------------------------------------------------------------------ the timetable


def test_a_plan_is_the_timetable_of_a_schedule() -> None:
    """When each attempt goes out, at the earliest and at the latest, and what is new in it."""
    plan = load_policy("zerotrace").plan("UPSTREAM_ERROR", method="POST", path="/v1/create")

    assert (plan.api, plan.rule, plan.method, plan.path) == (
        "zerotrace",
        "UPSTREAM_ERROR",
        "POST",
        "/v1/create",
    )
    assert [(row.attempt, row.earliest, round(row.latest, 6), row.renewed) for row in plan.rows] == [
        (1, 0, 0, ()),
        (2, 1, 1.45, ("nonce",)),
        (3, 3, 4.1, ("nonce",)),
        (4, 8, 10.35, ("nonce",)),
        (5, 18, 22.6, ("nonce",)),
    ]
    assert plan.rows[2].wait == pytest.approx((2.0, 2.65))
    assert (plan.reason, plan.server_decides) == ("attempts_exhausted", True)
    assert (plan.worst.sends, plan.worst.sleep) == (5, 360.25)


def test_a_plan_shows_what_the_server_asks_for() -> None:
    """It is a floor under a schedule; one that is too long ends the call."""
    policy = load_policy("zerotrace")

    assert [row.wait[0] for row in policy.plan("UPSTREAM_ERROR", asked=4).rows] == [0, 4, 4, 5, 10]
    assert [row.wait[0] for row in policy.plan("RATE_LIMIT", asked=7).rows] == [0, 7, 7, 7, 7]
    refused = policy.plan("RATE_LIMIT", asked=301)
    assert (len(refused.rows), refused.reason) == (1, "wait_too_long")
    # A network error has nobody who asks.
    assert policy.plan("NETWORK_ERROR", asked=7).rows == policy.plan("NETWORK_ERROR").rows


def test_a_plan_of_a_rule_with_a_time_ends_with_it() -> None:
    """The last wait is shortened to the end; shorter draws may bring more attempts: the worst case says how many."""
    plan = load_policy("zerotrace").plan("MAINTENANCE")

    assert [row.latest for row in plan.rows] == [
        0,
        0.5,
        1.5,
        3.5,
        7.5,
        15.5,
        31.5,
        63.5,
        123.5,
        183.5,
        243.5,
        300,
    ]
    assert plan.rows[-1].wait == (0.0, 60.0)  # after eleven retries at once it would be the longest
    assert plan.worst.sends == 301


def test_a_plan_counts_what_attempts_take_and_keeps_to_a_deadline() -> None:
    """The latest is as late as the timeouts let it be."""
    policy = policy_of(on(500, retries=3, wait=10, after=[]))

    assert [row.latest for row in policy.plan("R0", timeout=2).rows] == pytest.approx([0, 14.25, 28.5, 42.75])
    late = policy.plan("R0", deadline=25)
    assert [row.latest for row in late.rows] == pytest.approx([0, 12.25, 23.625])
    assert late.reason == "deadline"


@pytest.mark.parametrize(
    ("rule", "known", "reason"),
    [
        ("NOT_FOUND", {}, "not_retryable"),
        ("SERVER_ERROR", {"method": "POST"}, "not_retryable"),
        ("AUTH_INVALID", {"renews": ()}, "cannot_change"),
    ],
)
def test_a_plan_without_a_retry_says_why(rule: str, known: dict[str, Any], reason: str) -> None:
    """It is one row long."""
    plan = load_policy("zerotrace").plan(rule, **known)

    assert plan.rows == (Row(1, 0.0, 0.0, (0.0, 0.0), ()),)
    assert (plan.reason, plan.worst.sends) == (reason, 1)


def test_a_plan_overrides_once() -> None:
    """A field that is in the body already is not put there again."""
    policy = policy_of(on(409, retries=3, wait=0, change=["override"]), override={"field": "/force"})
    plan = policy.plan("R0", override_conflict=True)

    assert [row.renewed for row in plan.rows] == [(), ("override",)]
    assert plan.reason == "cannot_change"


def test_a_rule_that_waits_for_its_code_has_a_plan_too() -> None:
    """What it would do, once it is switched on."""
    assert [row.wait[1] for row in load_policy("dual").plan("OBJECT_LOCKED").rows] == [0, 0.5, 1, 2, 4]


def test_a_rule_that_does_not_exist_is_told_with_its_nearest() -> None:
    """And with those that there are."""
    with pytest.raises(PolicyError, match='zerotrace has no rule "MAINTAINANCE"; did you mean "MAINTENANCE"'):
        load_policy("zerotrace").plan("MAINTAINANCE")
    with pytest.raises(ValueError, match="asked must be seconds, 0 or more"):
        load_policy("zerotrace").plan("MAINTENANCE", asked=-1)


@pytest.mark.parametrize("name", policy_names())
def test_plans_are_what_the_flow_does(name: str) -> None:
    """Each example of a rule, played through the flow with the longest draws, sleeps as the plan says."""
    policy = load_policy(name)
    compared = 0
    for rule in policy.rules:
        for example in rule.examples:
            told = example.given
            played = rehearse(policy.rulebook, told)
            if played.rule is None or played.rule.name != rule.name:
                continue  # the example of a rule that is off shows what happens without it
            renews = [*(["nonce"] if told.signer else []), *(["token"] if told.token == "expired" else [])]
            plan = policy.plan(
                rule.name,
                method=told.method,
                path=told.path,
                asked=played.outcome.attempts[0].verdict.retry_after,
                keyed=True if "Idempotency-Key" in told.request_headers else None,
                renews=renews if rule.name != "TOKEN_EXPIRED" or told.token is None else ["token"],
                override_conflict=told.override_conflict,
            )
            if "X-API-NONCE" in told.request_headers:
                continue  # a nonce made by hand is nothing that a plan knows of
            assert [row.latest for row in plan.rows] == pytest.approx([0.0, *accumulate(played.sleeps)])
            assert [row.renewed for row in plan.rows[1:]] == [
                attempt.change for attempt in played.outcome.attempts[:-1]
            ]
            assert plan.reason == played.outcome.reason
            compared += 1
    assert compared >= len(policy.rules) - 1


def test_a_plan_gives_each_wait_from_its_shortest_to_its_longest() -> None:
    """What is left of a rule's `for` cuts the last wait short, and the more, the later it is."""
    rows = policy_of(on(503, wait=4.0, **{"for": 9.0}, after=[])).plan("R0").rows

    assert [row.wait for row in rows] == [(0.0, 0.0), (4.0, 5.05), (3.95, 5.0)]


def test_hundreds_of_rules_are_bounded_too() -> None:
    """A policy may have been written by a program."""
    rules = [
        {
            "when": {"status": "4xx", "headers": {"x-a": str(number)}, "body": {"/b": number % 7}},
            "retry": {"retries": 1},
        }
        for number in range(400)
    ]
    bound = policy_of(*rules, network={"retries": 0}).worst_case("GET", "/")

    assert bound.sends == 401
