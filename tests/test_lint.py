"""Faults of a policy: each is found, is silenced by its remedy, and is not found where it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import tenacity

from resilient_client import Policy, load_policy, policy_names
from resilient_client._lint import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parent.parent
EXAMPLE = {"given": {"status": 500, "method": "PUT"}, "expect": {"retry": True}}


def policy_of(*rules: dict[str, Any], **tables: Any) -> Policy:
    """Make a policy that cites its page, of rules R0, R1 and so on."""
    named = [{"name": f"R{number}", **rule} for number, rule in enumerate(rules)]
    given = {"api": "made", "source": "https://made.example", "envelope": {"code": "/code"}, **tables}
    return Policy.model_validate({**given, "rules": named})


def found(
    policy: Policy, *, but: Iterable[str] = ("no-example",), **options: Any
) -> list[tuple[str, str, str | None]]:
    """List the findings, but for those of these kinds."""
    return [(one.code, one.severity, one.rule) for one in policy.lint(**options) if one.code not in but]


def says(policy: Policy, code: Kind, **options: Any) -> str:
    """Give the one finding of this kind as a sentence."""
    (one,) = [one for one in policy.lint(**options) if one.code == code]
    return f"{one.message}; {one.remedy}"


# ------------------------------------------------------------------------------------------------- no false alarm


@pytest.mark.parametrize("name", policy_names())
def test_the_shipped_policies_have_no_error_and_no_warning(name: str) -> None:
    """What is left is worth knowing, and meant."""
    assert {one.severity for one in load_policy(name).lint()} <= {"note"}


def test_the_examples_policy_has_no_finding() -> None:
    """It extends the default policy, whose rules it does not stand in the way of."""
    assert load_policy(ROOT / "examples" / "acme.toml").lint() == ()


def test_what_is_worth_knowing_of_the_shipped_policies() -> None:
    """A rule that is off by design, and those that send a POST again because the vendor says so."""
    notes = {(name, one.code, one.rule) for name in policy_names() for one in load_policy(name).lint()}

    assert notes == {
        ("dual", "waits-for-code", "OBJECT_LOCKED"),
        ("customer_verification", "unsafe-without-key", "INTERNAL_SERVER_ERROR"),
        ("customer_verification", "unsafe-without-key", "SERVICE_UNAVAILABLE"),
        ("integration", "unsafe-without-key", "SERVER_ERROR"),
        ("zerotrace", "unsafe-without-key", "MAINTENANCE"),
        ("zerotrace", "unsafe-without-key", "UPSTREAM_ERROR"),
        ("zerotrace", "unsafe-without-key", "INTERNAL"),
    }


# ------------------------------------------------------------------------------------------- each kind and its remedy

RETRIED = {"status": 500}

# The fault, what the sentence must hold, and the same policy with its remedy taken.
FAULTS: dict[str, tuple[Policy, list[str], Policy]] = {
    "unreachable": (
        policy_of({"when": {"status": "5xx"}}, {"when": {"status": 503, "code": 11}}),
        ['"R0", before it, takes every reply', 'move it before "R0"'],
        policy_of({"when": {"status": 503, "code": 11}}, {"when": {"status": "5xx"}}),
    ),
    "unreachable: no place for a code": (
        policy_of({"when": {"code": 11}}, envelope={}),
        ["[envelope] does not say where a code is", "JSON pointer"],
        policy_of({"when": {"code": 11}}),
    ),
    "unreachable: what cannot be": (
        policy_of({"when": {"headers": {"X-A": True, "x-a": False}}}),
        ["no reply can be all that it asks for"],
        policy_of({"when": {"headers": {"X-A": True}}}),
    ),
    "unreachable: no table": (
        policy_of({"when": []}),
        ["no reply can be all that it asks for", "an empty list"],
        policy_of({"when": {"status": 500}}),
    ),
    "unreachable: two take it together": (
        policy_of(
            {"when": {"headers": {"X-A": True}}}, {"when": {"headers": {"X-A": False}}}, {"when": RETRIED}
        ),
        ['"R0", "R1", before it, takes every reply'],
        policy_of(
            {"when": RETRIED}, {"when": {"headers": {"X-A": True}}}, {"when": {"headers": {"X-A": False}}}
        ),
    ),
    "overlaps": (
        policy_of({"when": {"status": "5xx"}}, {"when": {"code": 11}}),
        ["never gets 5xx", '"R0", before it', 'move it before "R0"'],
        policy_of({"when": {"code": 11}}, {"when": {"status": "5xx"}}),
    ),
    "overlaps: a status": (
        policy_of({"when": {"status": 503}}, {"when": {"status": [500, 503]}}),
        ["never gets 503"],
        policy_of({"when": {"status": 503}}, {"when": {"status": 500}}),
    ),
    "overlaps: a code": (
        policy_of({"when": {"code": [1, 2]}}, {"when": {"code": [2, 3]}}),
        ["never gets code 2"],
        policy_of({"when": {"code": [1, 2]}}, {"when": {"code": 3}}),
    ),
    "overlaps: a table": (
        policy_of({"when": {"status": 503}}, {"when": [{"status": 503, "code": 1}, {"status": 400}]}),
        ["never gets 503"],
        policy_of({"when": [{"status": 503, "code": 1}, {"status": 400}]}, {"when": {"status": 503}}),
    ),
    "overlaps: a table that cannot be": (
        policy_of({"when": [{"status": 503, "route": []}, {"status": 500}]}),
        ["never gets 503", "no reply can be all"],
        policy_of({"when": {"status": 500}}),
    ),
    "waits-for-code": (
        policy_of({"when": {"status": 423, "code": []}}),
        ["waits for its code", "codes = { R0 = … }"],
        policy_of({"when": {"status": 423, "code": []}}, codes={"R0": 4230}),
    ),
    "empty-rule": (
        policy_of({}),
        ["asks for nothing", '["4xx", "5xx"]'],
        policy_of({"when": {"status": ["4xx", "5xx"]}}),
    ),
    "empty-rule: an empty list": (
        policy_of({"when": {"status": []}}),
        ["asks for nothing"],
        policy_of({"when": {"status": 500}}),
    ),
    "never-retried": (
        policy_of({"when": RETRIED, "retry": {"retries": 0}}),
        ["none is allowed", "leave `retry` out"],
        policy_of({"when": RETRIED}),
    ),
    "never-retried: a change that is not made": (
        policy_of({"when": {"status": 401}, "retry": {"requires": ["refresh"]}}),
        ["requires a change that it does not make", "list in `change`"],
        policy_of({"when": {"status": 401}, "retry": {"requires": ["refresh"], "change": ["refresh"]}}),
    ),
    "never-retried: a wait that is too long": (
        policy_of({"when": RETRIED, "retry": {"wait": 400, "after": []}}),
        ["over the longest allowed, 300 s", "raise limits.wait"],
        policy_of({"when": RETRIED, "retry": {"wait": 400, "after": []}}, limits={"wait": 400}),
    ),
    "over-longest-wait": (
        policy_of({"when": RETRIED, "retry": {"backoff": {"first": 100, "max": 900}}}),
        ["ends at retry 3", "300 s"],
        policy_of({"when": RETRIED, "retry": {"backoff": {"first": 100, "max": 900}, "retries": 2}}),
    ),
    "unbounded-retries": (
        policy_of({"when": RETRIED, "retry": {"for": 60}}),
        ["more than 10,000 times", "retries = 60 as well"],
        policy_of({"when": RETRIED, "retry": {"for": 60, "retries": 60}}),
    ),
    "unbounded-retries: an hour": (
        policy_of({"when": RETRIED, "retry": {"for": 36_000}}),
        ["retries = 1000 as well"],
        policy_of({"when": RETRIED, "retry": {"for": 36_000, "retries": 1000}}),
    ),
    "unbounded-retries: a stop": (
        policy_of({"when": RETRIED, "retry": {"stop": tenacity.stop_after_delay(60)}}),
        ["give its stop a number of attempts"],
        policy_of(
            {
                "when": RETRIED,
                "retry": {"stop": tenacity.stop_after_delay(60) | tenacity.stop_after_attempt(9)},
            }
        ),
    ),
    "unbounded-wait": (
        policy_of({"when": RETRIED}, limits={"wait": 1e6}),
        ["limits.wait is 1e+06 s", "bring it down"],
        policy_of({"when": RETRIED}, limits={"wait": 3600}),
    ),
    "schedule-exceeds-for": (
        policy_of({"when": RETRIED, "retry": {"schedule": [10, 20, 40], "for": 60, "retries": 3}}),
        ["takes 70 s, and it ends after 60 s", "raise for to 70"],
        policy_of({"when": RETRIED, "retry": {"schedule": [10, 20, 40], "for": 70, "retries": 3}}),
    ),
    "schedule-exceeds-deadline": (
        policy_of({"when": RETRIED, "retry": {"schedule": [10, 20, 40]}}),
        ["only the first 2", "before a deadline of 40 s"],
        policy_of({"when": RETRIED, "retry": {"schedule": [10, 20]}}),
    ),
    "schedule-exceeds-deadline: a wait": (
        policy_of({"when": RETRIED, "retry": {"wait": 40}}),
        ["none can be over"],
        policy_of({"when": RETRIED, "retry": {"wait": 4}}),
    ),
    "schedule-exceeds-deadline: a time": (
        policy_of({"when": RETRIED, "retry": {"for": 60, "retries": 60}}),
        ["goes on for 60 s, which is longer than a deadline of 40 s"],
        policy_of({"when": RETRIED, "retry": {"for": 30, "retries": 60}}),
    ),
    "unsafe-without-key": (
        policy_of({"when": RETRIED, "retry": {"unsafe": True}}),
        ["sends POST and PATCH again without a key", "cite in `source`"],
        policy_of(
            {"when": RETRIED, "retry": {"unsafe": True}}, idempotency={"routes": ["POST **", "PATCH **"]}
        ),
    ),
    "unsafe-without-key: on a route": (
        policy_of({"when": {"code": 1, "route": "POST /pay"}, "retry": {"unsafe": True}}),
        ["sends POST again without a key"],
        policy_of({"when": {"code": 1, "status": 409, "route": "POST /pay"}, "retry": {"unsafe": True}}),
    ),
    "unsafe-without-key: inside of a 200": (
        policy_of({"when": {"status": 200, "code": 1}, "category": "server", "retry": {"unsafe": True}}),
        ["sends POST and PATCH again"],
        policy_of({"when": {"status": 200, "code": 1}, "category": "rate_limit", "retry": {"unsafe": True}}),
    ),
    "no-example": (
        policy_of({"when": RETRIED, "retry": {}}),
        ["has no example", "[[rules.examples]]"],
        policy_of({"when": RETRIED, "retry": {}, "examples": [EXAMPLE]}),
    ),
    "contradicting-example": (
        policy_of({"when": RETRIED, "examples": [EXAMPLE]}),
        ["example 1: expects retry True, and the client does False", "correct whichever"],
        policy_of({"when": RETRIED, "retry": {}, "examples": [EXAMPLE]}),
    ),
    "contradicting-example: without an end": (
        policy_of({"when": RETRIED, "retry": {"stop": tenacity.stop_never}, "examples": [EXAMPLE]}),
        ["cannot be played", "never ends"],
        policy_of(
            {"when": RETRIED, "retry": {"stop": tenacity.stop_after_attempt(3)}, "examples": [EXAMPLE]}
        ),
    ),
    "no-source": (
        policy_of(
            {"when": RETRIED}, {"when": {"status": 400}, "source": "https://made.example/400"}, source=""
        ),
        ['no page is cited for "R0"', 'source = "https://…"'],
        policy_of({"when": RETRIED}),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_with_its_remedy_and_is_gone_with_it(name: str) -> None:
    """Each kind, by one policy that has it and by the same with what the finding says to do."""
    code: Any = name.partition(":")[0]
    faulty, words, mended = FAULTS[name]
    sentence = says(faulty, code, deadline=40)

    assert [word for word in words if word not in sentence] == []
    assert code not in {one.code for one in mended.lint(deadline=40)}


def test_every_kind_of_finding_is_in_the_table() -> None:
    """None is left without its proof."""
    assert {name.partition(":")[0] for name in FAULTS} == set(get_args(Kind))


# --------------------------------------------------------------------------------------------------------- its limits


def test_the_usual_order_is_no_overlap() -> None:
    """A code with its status, the code alone, a status with a route, the status, its class: the narrower one first."""
    policy = policy_of(
        {"when": {"status": 429, "code": 5}},
        {"when": {"code": 5}},
        {"when": {"status": 503, "route": "POST /orders"}},
        {"when": {"status": 503, "headers": {"Retry-After": True}}},
        {"when": {"status": [503, 504]}},
        {"when": {"status": "5xx"}},
        {"when": {"status": ["4xx", "5xx"], "headers": {"X-Kind": "odd"}}},
    )

    assert found(policy, but=["no-example", "overlaps"]) == []
    # The last one asks for more than the class before it, which keeps all 5xx from it.
    assert [one.rule for one in policy.lint() if one.code == "overlaps"] == ["R6"]


def test_a_status_that_the_vendor_retries_by_a_page_of_its_own_is_a_note() -> None:
    """The rule cites it: an author who has read it, and a reader who can."""
    rule = {"when": RETRIED, "retry": {"unsafe": True}, "source": "https://made.example/retry"}

    assert found(policy_of(rule)) == [("unsafe-without-key", "note", "R0")]


def test_a_refusal_may_be_repeated_without_a_key() -> None:
    """A 429 or a 401 says that nothing was done."""
    rules = [{"when": {"status": status}, "retry": {"unsafe": True}} for status in (401, 409, 425, 429)]

    assert found(policy_of(*rules)) == []


def test_what_a_policy_inherits_is_told_as_a_note(tmp_path: Path) -> None:
    """Its author cannot move the other's rules, but can replace them."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'api = "mine"\nextends = "default"\n[[rules]]\nname = "DOWN"\nwhen = { status = [503, 504] }\n'
    )
    policy = load_policy(path)
    unreachable = [(one.severity, one.rule, one.remedy) for one in policy.lint() if one.code == "unreachable"]

    assert found(policy, but=["unreachable"]) == [("no-example", "warning", "DOWN")]
    assert unreachable == [
        (
            "note",
            rule,
            f'if that is meant, name the rule that takes its place "{rule}": it then replaces this one',
        )
        for rule in ("SERVICE_UNAVAILABLE", "GATEWAY_TIMEOUT")
    ]


def test_a_deadline_is_compared_with_the_shortest_of_waits() -> None:
    """What may fit in is not said not to."""
    drawn = {"when": RETRIED, "retry": {"retries": 9, "backoff": {"first": 30}}}
    exact = {"when": {"status": 503}, "retry": {"schedule": [1, 2, 5]}}

    assert found(policy_of(drawn, exact), deadline=8.5) == []
    assert found(policy_of(drawn, exact), deadline=8) == [("schedule-exceeds-deadline", "warning", "R1")]
    with pytest.raises(ValueError, match="deadline must be seconds above 0"):
        policy_of(drawn).lint(deadline=0)


def test_the_worst_come_first_and_then_the_order_of_the_file() -> None:
    """What is about the whole policy stands before its rules."""
    policy = policy_of(
        {"when": {"code": []}},
        {"when": {"status": 500}, "retry": {"for": 60}},
        {"when": {"status": 500}},
        limits={"wait": 1e6},
    )

    assert found(policy) == [
        ("unreachable", "error", "R2"),
        ("unbounded-wait", "warning", None),
        ("unbounded-retries", "warning", "R1"),
        ("waits-for-code", "note", "R0"),
    ]


def test_of_many_rules_the_first_few_are_named() -> None:
    """A sentence stays one."""
    policy = policy_of(*({"when": {"code": number}} for number in range(7)), source="")

    assert says(policy, "no-source").startswith('no page is cited for "R0", "R1", "R2", "R3", 3 more, so')


def test_a_finding_is_a_plain_value() -> None:
    """Equal to another of the same words, and not to be changed."""
    (one,) = policy_of({"when": RETRIED}).lint()

    assert one == Finding(one.code, one.severity, one.rule, one.message, one.remedy)
    assert {one} == {Finding("no-example", "warning", "R0", one.message, one.remedy)}


def test_calls_do_not_load_what_only_checks_need() -> None:
    """A client that loads a policy and compiles it loads neither the lint nor the bounds."""
    ask = (
        "import sys\n"
        "from resilient_client import ResilientClient\n"
        "ResilientClient('zerotrace').close()\n"
        "late = {'_lint', '_bounds', '_ladder', '_reach', '_rehearse'}\n"
        "print(sorted(late & {name.rpartition('.')[2] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "[]\n"
