"""`explain` against the client itself: what it says of a reply is what a real call then does."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import tenacity

from resilient_client import (
    HmacAuth,
    Policy,
    ResilientClient,
    TokenAuth,
    load_policy,
    outcome_of,
    policy_names,
)
from resilient_client.explanation import Explanation, Step, explain
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client import Outcome
    from resilient_client._words import Given

BASE = "https://api.example"
LOGIN = "/the/login"
BODILESS = {"GET", "HEAD", "OPTIONS", "TRACE", "DELETE"}
EXAMPLES = [
    pytest.param(name, rule.name, number, id=f"{name}-{rule.name}-{number}")
    for name in policy_names()
    for rule in load_policy(name).rules
    for number in range(len(rule.examples))
]


@pytest.fixture(params=[1, 2])
def _draws(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the jitter fall as this seed has it."""
    before = random.getstate()
    random.seed(request.param)
    yield
    random.setstate(before)


def jwt(expires: float) -> str:
    def part(claims: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part({'exp': int(expires)})}.c2ln"


class Server:
    """Answers every call alike; a token that it gives out is live or past its life when it is used, as the example has it."""

    def __init__(self, given: Given, clock: VirtualClock) -> None:
        self.given = given
        self.clock = clock

    def __call__(self, request: httpx.Request) -> httpx.Response:
        given = self.given
        if request.url.path == LOGIN:
            life = 1 if given.token == "expired" else 1_000_000
            return httpx.Response(200, json={"token": jwt(self.clock.time() + life)})
        if given.token == "expired":
            self.clock.advance(2)
        if given.json_ is None:
            return httpx.Response(given.status, headers=given.headers, text=given.text or "")
        headers = {"Content-Type": "application/json"} | given.headers
        return httpx.Response(given.status, headers=headers, content=json.dumps(given.json_).encode())


def called(policy: Policy, given: Given) -> Outcome:
    """Make a real call with all that the example says that its caller holds, and tell how it went."""
    clock = VirtualClock()
    auth: httpx.Auth | None = None
    if given.signer:
        auth = HmacAuth("a-partner", "a-secret-of-the-partner")
    elif given.token is not None:
        auth = TokenAuth(lambda: httpx.Request("POST", BASE + LOGIN))
    asked = {"override_conflict": True} if given.override_conflict else {}
    with ResilientClient(
        policy, clock=clock, transport=httpx.MockTransport(Server(given, clock)), auth=auth
    ) as client:
        response = client.request(
            given.method,
            BASE + given.path,
            headers=given.request_headers,
            content=None if given.method in BODILESS else b'{"sample":1}',
            extensions={"resilience": asked},
        )
    return outcome_of(response)


# ------------------------------------------------------------------------------------- what is said is what is done


@pytest.mark.usefixtures("_draws")
@pytest.mark.parametrize(("policy", "rule", "number"), EXAMPLES)
def test_what_is_explained_is_what_a_client_does(policy: str, rule: str, number: int) -> None:
    """For every example of every shipped policy: attempts, waits, changes, the end, and whether it may have been applied."""
    loaded = load_policy(policy)
    given = next(one for one in loaded.rules if one.name == rule).examples[number].given
    said, did = explain(loaded, given), called(loaded, given)

    assert said.reason == did.reason
    assert said.maybe_applied is did.maybe_applied
    assert said.verdict == did.attempts[0].verdict
    assert said.rule == did.attempts[0].verdict.name
    assert said.sends is not None
    assert len(said.steps) + 1 <= len(did.attempts) <= said.sends
    for step, attempt in zip(said.steps, did.attempts, strict=False):
        assert step.least - 1e-9 <= attempt.wait <= step.most + 1e-9
        assert step.change == attempt.change


def test_what_no_rule_speaks_of_is_what_a_client_leaves_alone() -> None:
    """The reply goes to the caller, and the status says what it is."""
    policy = load_policy("default")
    said = explain(policy, {"status": 418})
    did = called(policy, policy.rules[0].examples[0].given.model_copy(update={"status": 418, "json_": None}))

    assert (said.rule, said.retried, said.reason) == (None, False, did.reason)
    assert said.verdict == did.verdict
    assert said.matched == ()


@pytest.mark.parametrize("status", [200, 204, 302, 304])
def test_a_success_goes_to_the_caller_as_it_is(status: int) -> None:
    """No rule of the policy speaks of it."""
    said = explain(load_policy("zerotrace"), {"status": status, "json": {"code": 0}})

    assert (said.reason, said.rule, said.steps, said.sends) == ("success", None, (), 1)
    assert said.verdict.category == "success"


SLACK_LIKE = Policy.model_validate(
    {
        "api": "chat",
        "envelope": {"code": "/error"},
        "rules": [
            {
                "name": "RATE_LIMITED",
                "when": {"status": 200, "code": "ratelimited"},
                "category": "rate_limit",
                "retry": {"retries": 2, "wait": 3, "unsafe": True},
            }
        ],
    }
)


@pytest.mark.parametrize(("code", "reason"), [("ratelimited", "attempts_exhausted"), (None, "success")])
def test_an_error_inside_a_success_is_told_from_a_success(code: str | None, reason: str) -> None:
    """By the code alone, as the client does."""
    said = explain(SLACK_LIKE, {"status": 200, "json": {"ok": code is None, "error": code}})

    assert said.reason == reason


# ------------------------------------------------------------------------------------------------------- the steps


def steps(said: Explanation) -> list[tuple[float, float]]:
    return [(round(step.least, 3), round(step.most, 3)) for step in said.steps]


def test_a_wait_that_the_server_asks_for_is_only_added_to() -> None:
    """By a fifth and a quarter of a second, at the most."""
    said = explain(load_policy("default"), {"status": 429, "headers": {"Retry-After": "10"}})

    assert steps(said) == [(10, 12.25)] * 4


def test_a_backoff_is_drawn_from_nothing_on() -> None:
    """Up to its ceiling, which doubles."""
    assert steps(explain(load_policy("default"), {"status": 503})) == [(0, 0.5), (0, 1), (0, 2), (0, 4)]


def test_a_step_tells_which_attempt_and_what_is_new() -> None:
    """Counted from the first attempt, which is 1."""
    said = explain(load_policy("zerotrace"), {"status": 401, "json": {"code": 3}, "signer": True})

    assert said.steps == (Step(attempt=2, least=0, most=0, change=("nonce",)),)


def test_a_deadline_cuts_the_steps() -> None:
    """What does not fit is not begun."""
    said = explain(load_policy("default"), {"status": 429, "headers": {"Retry-After": "7"}}, deadline=20)

    assert (len(said.steps), said.reason) == (2, "deadline")
    assert said.because == "the next wait may not be over before the deadline"


def test_no_wait_is_longer_than_the_deadline() -> None:
    """Whatever the jitter draws."""
    said = explain(policy_with({"wait": 10, "retries": 1}), {"status": 503}, deadline=11)

    assert steps(said) == [(10, 11)]


def test_a_rule_that_goes_by_time_may_send_more_often_than_its_steps() -> None:
    """Where the waits are drawn shorter: then the number of retries is the bound."""
    said = explain(load_policy("zerotrace"), {"status": 503, "json": {"code": 10}})

    assert (len(said.steps), said.sends) == (11, 301)


def policy_with(retry: dict[str, Any], **more: Any) -> Policy:
    return Policy.model_validate(
        {"api": "acme", "rules": [{"name": "BUSY", "when": {"status": 503}, "retry": retry}], **more}
    )


def test_no_bound_is_told_where_there_is_none() -> None:
    """A rule that goes by time, whose waits may be nothing."""
    assert explain(policy_with({"for": 60}), {"status": 503}).sends is None


def test_a_call_that_never_ends_is_told() -> None:
    """By the name of the API and the status, in one line."""
    with pytest.raises(ValueError, match="acme: a call that is always answered 503 never ends"):
        explain(policy_with({"wait": 0.001, "for": 1000}), {"status": 503})


def test_objects_of_tenacity_are_asked() -> None:
    """A policy that was made in Python is explained like any other."""
    retry = {"wait": tenacity.wait_fixed(2), "stop": tenacity.stop_after_attempt(3)}

    assert steps(explain(policy_with(retry), {"status": 503})) == [(2, 2), (2, 2)]


# ------------------------------------------------------------------------------------------------------ and the why


def test_what_matched_is_told_with_what_was_found() -> None:
    """Each thing that the rule asked for."""
    said = explain(load_policy("zerotrace"), {"status": 401, "json": {"code": 3}})

    assert [(one.part, one.asks, one.finds, one.holds) for one in said.matched] == [
        ("status", "status is 401", "401", True),
        ("code", "code is 3", "3", True),
    ]


EVERY_PART = Policy.model_validate(
    {
        "api": "acme",
        "envelope": {"code": "/code"},
        "rules": [
            {
                "name": "ALL",
                "when": {
                    "status": "4xx",
                    "code": ["x", "y"],
                    "headers": {"X-Kind": "Soft", "X-Left": False},
                    "body": {"/ok": False},
                    "route": ["POST /orders/{id}"],
                },
            }
        ],
    }
)
FITTING: dict[str, Any] = {
    "status": 409,
    "json": {"code": "y", "ok": False},
    "headers": {"x-kind": "SOFT"},
    "method": "POST",
    "path": "/api/orders/7",
}


def test_every_part_of_a_when_is_told() -> None:
    """Status, code, headers, body and route."""
    said = explain(EVERY_PART, FITTING)

    assert [(one.asks, one.finds) for one in said.matched] == [
        ("status is 4xx", "409"),
        ("code is x or y", "y"),
        ("header X-Kind is Soft", "SOFT"),
        ("header X-Left is not there", "not there"),
        ("body /ok is False", "False"),
        ("route is POST /orders/{id}", "POST /api/orders/7"),
    ]


@pytest.mark.parametrize(
    ("change", "part", "finds"),
    [
        ({"status": 500}, "status", "500"),
        ({"json": {"code": "z", "ok": False}}, "code", "z"),
        ({"json": {"ok": False}}, "code", "none"),
        ({"headers": {}}, "header", "not there"),
        ({"headers": {"X-Kind": "soft", "X-Left": "1"}}, "header", "1"),
        ({"json": {"code": "x", "ok": 0}}, "body", "0"),
        ({"json": {"code": "x"}}, "body", "not there"),
        ({"path": "/orders"}, "route", "POST /orders"),
    ],
)
def test_a_rule_that_lacks_one_thing_is_a_near_miss(change: dict[str, Any], part: str, finds: str) -> None:
    """It is told with what the reply has in its place."""
    (miss,) = explain(EVERY_PART, FITTING | change).near

    assert (miss.rule, miss.lacks.part, miss.lacks.finds, miss.lacks.holds) == ("ALL", part, finds, False)


def test_a_rule_that_lacks_two_things_is_no_near_miss() -> None:
    """It would be noise."""
    assert explain(EVERY_PART, FITTING | {"status": 500, "path": "/"}).near == ()


def test_where_a_code_was_found_other_codes_are_no_news() -> None:
    """A reply of code 8 is none of the other codes."""
    assert explain(load_policy("zerotrace"), {"status": 400, "json": {"code": 8}}).near == ()


def test_rules_behind_the_one_that_was_taken_are_no_near_misses() -> None:
    """They would not have been asked."""
    taken = {"name": "TAKEN", "when": {"status": 400}}
    behind = {"name": "BEHIND", "when": {"status": 400, "headers": {"X-Kind": True}}}
    policies = [
        Policy.model_validate({"api": "a", "rules": order}) for order in ([taken, behind], [behind, taken])
    ]

    assert [[miss.rule for miss in explain(one, {"status": 400}).near] for one in policies] == [
        [],
        ["BEHIND"],
    ]


@pytest.mark.parametrize(
    ("policy", "given", "because"),
    [
        ("zerotrace", {"status": 400, "json": {"code": 7}}, ""),
        ("zerotrace", {"status": 401, "json": {"code": 3}}, "holds no signer"),
        (
            "zerotrace",
            {"status": 503, "json": {"code": 10}, "request_headers": {"X-API-NONCE": "made-by-hand-0001"}},
            "X-API-NONCE made by hand",
        ),
        ("customer_verification", {"status": 401, "json": {"error": {"code": "TOKEN_EXPIRED"}}}, "sign in"),
        ("dual", {"status": 401, "json": {"error": {"code": 401}}, "token": "live"}, "past its life"),
        ("integration", {"status": 409, "json": {"error": "Conflict"}}, "override the conflict"),
        ("default", {"status": 500, "method": "POST"}, "a POST may take effect twice"),
        ("default", {"status": 429, "headers": {"Retry-After": "86400"}}, "asks for 86400 s"),
    ],
)
def test_it_says_what_kept_the_request_from_being_sent_again(
    policy: str, given: dict[str, Any], because: str
) -> None:
    """In a sentence, where the reason alone leaves a question."""
    said = explain(load_policy(policy), given)

    assert not said.retried
    assert because in said.because
    assert bool(because) is bool(said.because)


def test_it_says_that_the_servers_own_word_forbids_it() -> None:
    """With the header that holds it."""
    policy = policy_with({}, should_retry="X-Should-Retry")
    said = explain(policy, {"status": 503, "headers": {"X-Should-Retry": "false"}})

    assert (said.retried, said.because) == (False, "the server says so: X-Should-Retry is false")


def test_a_wait_that_outlasts_the_rules_own_time_is_told() -> None:
    """It is not over the longest wait, so that is not what ended the call."""
    said = explain(policy_with({"for": 10, "wait": 1}), {"status": 503, "headers": {"Retry-After": "20"}})

    assert said.reason == "wait_too_long"
    assert "what is left of the rule's time" in said.because


# ------------------------------------------------------------------------------------------------ what it takes in


def test_no_secret_of_the_request_is_in_it() -> None:
    """Wherever the server echoes it: in the code, a header, the body, the message."""
    secret = "sk_live_0123456789"
    policy = Policy.model_validate(
        {
            "api": "acme",
            "envelope": {"code": "/code", "message": "/message", "details": "/details"},
            "rules": [
                {"name": "A", "when": {"status": 400, "headers": {"X-Echo": "x"}}},
                {"name": "B", "when": {"status": 400, "body": {"/echo": "x"}}},
                {"name": "C", "when": {"status": 400, "body": {"/api_key": "x"}}},
                {"name": "D", "when": {"status": 400, "code": "x"}},
                {"name": "E", "when": {"status": 400, "headers": {"Set-Cookie": "x"}}},
            ],
        }
    )
    said = explain(
        policy,
        {
            "status": 400,
            "json": {
                "code": secret,
                "message": f"no key {secret}",
                "echo": secret,
                "api_key": "another",
                "details": [secret],
            },
            "headers": {"X-Echo": f"was {secret}", "Set-Cookie": "session=mine"},
            "request_headers": {"Authorization": f"Bearer {secret}"},
            "path": f"/orders?api_key={secret}",
        },
    )

    assert len(said.near) == 5
    assert secret not in repr(said)
    assert "another" not in repr(said)
    assert "session=mine" not in repr(said)


@pytest.mark.parametrize("path", ["/orders/7?page=2", "orders/7", "https://api.example/orders/7?page=2#top"])
def test_of_a_path_only_the_path_counts(path: str) -> None:
    """A whole URL does as well; the query is left out."""
    said = explain(EVERY_PART, FITTING | {"path": path, "method": "post"})

    assert (said.rule, said.method, said.path) == ("ALL", "POST", "/orders/7")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": 99}, "greater than or equal to 100"),
        ({"status": 400, "body": "?"}, "body"),
        ({"status": 400, "path": f"/{'x' * 70_000}"}, "is no path of a URL"),
        ({"status": 400, "path": "https://[broken"}, "Invalid IPv6 URL"),
        (
            {"status": 500, "method": "POST", "request_headers": {"Idempotency-Key": "short"}},
            "keys of 8 to 128",
        ),
    ],
)
def test_what_no_reply_can_be_is_a_value_error(given: dict[str, Any], said: str) -> None:
    """A status that does not exist, a word that examples do not have, a path that is none, a key that the policy forbids."""
    with pytest.raises(ValueError, match=said):
        explain(load_policy("zerotrace"), given)
