"""Policies: what a bad one is told, what extending and making one in Python do, and that the shipped ones keep their word."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import tenacity
from scenario import Run, Within, answer, in_turn, spread, up_to

import resilient_client.policy
from resilient_client import Policy, PolicyError, ResilientClient, load_policy, policy_names
from resilient_client._rehearse import contradictions
from resilient_client.loading import folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = 'api = "acme"\n'
RULE = HEAD + '[[rules]]\nname = "LOCKED"\n'
SHIPPED = ["customer_verification", "default", "dual", "integration", "openpoly", "zerotrace"]
BUSY = answer(503)
OK = answer(200)

# What the file says, and what the message must name: the rule, the field, the mend.
BAD: dict[str, tuple[str, list[str]]] = {
    "unknown key": (HEAD + "[limit]\nwait = 3\n", ["limit", '"limits"']),
    "unknown key of a table": (HEAD + "[limits]\nwaits = 3\n", ["limits.waits", '"wait"']),
    "unknown key of a rule": (RULE + "catgory = 1\n", ["LOCKED", "catgory", '"category"']),
    "unknown key of a retry": (RULE + "retry = { retrys = 3 }\n", ["LOCKED", "retry.retrys", '"retries"']),
    "unknown key of a when": (RULE + "when = { stauts = 503 }\n", ["LOCKED", "when.stauts", '"status"']),
    "unknown key of an example": (
        RULE + "[[rules.examples]]\ngiven = { status = 503 }\nexpect = { retries = true, retry = true }\n",
        ["LOCKED", "retries"],
    ),
    "missing api": ('title = "x"\n', ["api", "add it"]),
    "missing name": (HEAD + "[[rules]]\nwhen = { status = 503 }\n", ["rule", "1", "name", "add it"]),
    "title is a number": (HEAD + "title = 5\n", ["title", "5"]),
    "rules is a table": (HEAD + "[rules]\nname = 1\n", ["rules"]),
    "a status as text": (RULE + 'when = { status = "503" }\n', ["LOCKED", "when.status", "503"]),
    "a status that is none": (RULE + "when = { status = 1000 }\n", ["LOCKED", "when.status", "1000"]),
    "a code that is true": (
        RULE + "when = { code = true }\n",
        ["LOCKED", "when.code", "string or an integer"],
    ),
    "a code that is a fraction": (RULE + "when = { code = 1.5 }\n", ["LOCKED", "when.code", "1.5"]),
    "retries as text": (RULE + 'retry = { retries = "four" }\n', ["LOCKED", "retry.retries", "four"]),
    "retries as a number in quotes": (RULE + 'retry = { retries = "4" }\n', ["LOCKED", "retry.retries", "4"]),
    "unsafe as a word": (RULE + 'retry = { unsafe = "yes" }\n', ["LOCKED", "retry.unsafe", "yes"]),
    "unsafe as text": (RULE + 'retry = { unsafe = "perhaps" }\n', ["LOCKED", "retry.unsafe", "perhaps"]),
    "negative retries": (RULE + "retry = { retries = -1 }\n", ["LOCKED", "retry.retries", ">= 0", "-1"]),
    "negative wait": (RULE + "retry = { wait = -5 }\n", ["LOCKED", "retry.wait"]),
    "endless wait": (RULE + "retry = { wait = inf }\n", ["LOCKED", "retry.wait"]),
    "negative backoff": (
        RULE + "retry = { backoff = { first = -1 } }\n",
        ["LOCKED", "retry.backoff.first", ">= 0"],
    ),
    "negative schedule": (
        RULE + "retry = { schedule = [1, -2] }\n",
        ["LOCKED", "retry.schedule", ">= 0", "-2"],
    ),
    "empty schedule": (RULE + "retry = { schedule = [] }\n", ["LOCKED", "retry.schedule"]),
    "shrinking backoff": (
        RULE + "retry = { backoff = { factor = 0.5 } }\n",
        ["LOCKED", "retry.backoff.factor", ">= 1"],
    ),
    "for nothing": (RULE + "retry = { for = 0 }\n", ["LOCKED", "retry.for", "> 0"]),
    "negative limit": (HEAD + "[limits]\nwait = -300\n", ["limits.wait", ">= 0", "-300"]),
    "a limit that is no number": (HEAD + "[limits]\nwait = nan\n", ["limits.wait"]),
    "negative budget": (HEAD + "[pace]\nbudget = -1\n", ["pace", "budget", "> 0"]),
    "bad pointer": (HEAD + '[envelope]\ncode = "error.code"\n', ["envelope.code", '"/error/code"']),
    "bad pointer in a list": (HEAD + '[envelope]\ncode = ["/a", "b"]\n', ["envelope.code", '"/b"']),
    "bad pointer of a rule": (RULE + "when = { body = { ok = false } }\n", ["LOCKED", "when.body", '"/ok"']),
    "bad route": (HEAD + '[idempotency]\nroutes = ["/v1/create"]\n', ["idempotency.routes", "METHOD /path"]),
    "bad route without a slash": (
        HEAD + '[idempotency]\nroutes = ["POST v1"]\n',
        ["idempotency.routes", "METHOD /path"],
    ),
    "bad route of a rule": (
        RULE + 'when = { route = "post /v1" }\n',
        ["LOCKED", "when.route", "METHOD /path"],
    ),
    "stars in the middle": (RULE + 'when = { route = "GET /a/**/b" }\n', ["LOCKED", "when.route", "end"]),
    "unknown category": (
        RULE + 'category = "ratelimit"\n',
        ["LOCKED", "category", "ratelimit", '"rate_limit"'],
    ),
    "unknown change": (
        RULE + 'retry = { change = ["nonces"] }\n',
        ["LOCKED", "retry.change", "nonces", '"nonce"'],
    ),
    "unknown condition": (
        RULE + 'retry = { only_if = "token" }\n',
        ["LOCKED", "retry.only_if", "token_expired"],
    ),
    "unknown reading": (
        RULE + 'retry = { after = [{ header = "X", as = "epochs" }] }\n',
        ["LOCKED", "retry.after", "epochs", '"epoch"'],
    ),
    "unknown jitter": (
        RULE + 'retry = { backoff = { jitter = "half" } }\n',
        ["LOCKED", "retry.backoff.jitter", "full"],
    ),
    "schedule and backoff": (
        RULE + "retry = { schedule = [1], backoff = {} }\n",
        ["LOCKED", "retry", "schedule and backoff", "keep one"],
    ),
    "wait and schedule": (
        RULE + "retry = { schedule = [1], wait = 1 }\n",
        ["LOCKED", "retry", "schedule", "wait", "keep one"],
    ),
    "more retries than waits": (
        RULE + "retry = { schedule = [1], retries = 2 }\n",
        ["LOCKED", "retry", "schedule"],
    ),
    "stop in a file": (RULE + "retry = { stop = 3 }\n", ["LOCKED", "retry.stop", "retries"]),
    "override without its table": (
        RULE + 'retry = { change = ["override"] }\n',
        ["LOCKED", "[override]", "add one"],
    ),
    "codes of nobody": (
        HEAD + 'codes = { LOCKD = 4 }\n[[rules]]\nname = "LOCKED"\n',
        ["codes", "LOCKD", '"LOCKED"'],
    ),
    "two of one name": (RULE + '[[rules]]\nname = "LOCKED"\n', ["LOCKED", "two rules", "rename"]),
    "a wait over the longest": (
        RULE + "retry = { schedule = [1, 301] }\n",
        ["LOCKED", "301", "300", "limits.wait"],
    ),
    "length the wrong way round": (HEAD + "[idempotency]\nlength = [9, 8]\n", ["idempotency.length", "swap"]),
    "unknown base": ('extends = "defualt"\n', ["extends", "defualt", '"default"']),
    "base that is no text": ("extends = 5\n", ["extends"]),
    "base that is not there": ('extends = "nowhere.toml"\n', ["nowhere.toml", "no such"]),
    "itself": ('extends = "bad.toml"\n', ["extends", "bad.toml", "itself"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_told_where_and_how_to_mend_it(tmp_path: Path, kind: str) -> None:
    """The message names the file, the rule, the field and the mend."""
    toml, wanted = BAD[kind]
    path = tmp_path / "bad.toml"
    path.write_text(toml, encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    message = str(caught.value)
    assert [text for text in [str(path), *wanted] if text not in message] == []
    assert "pydantic" not in message
    assert "Traceback" not in message


@pytest.mark.parametrize("kind", BAD)
def test_one_fault_is_told_once(tmp_path: Path, kind: str) -> None:
    """No second line that names another mend, such as a list where a table was right."""
    path = tmp_path / "bad.toml"
    path.write_text(BAD[kind][0], encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert str(caught.value).splitlines()[1:] == []


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind.startswith("unknown key")])
def test_the_key_that_was_written_is_not_its_own_mend(tmp_path: Path, kind: str) -> None:
    """A key that another table has is no key of this one."""
    path = tmp_path / "bad.toml"
    path.write_text(BAD[kind][0], encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    found = re.search(r'unknown key "([^"]+)"; did you mean "([^"]+)"', str(caught.value))
    assert found is not None
    assert found[1].rpartition(".")[2] != found[2]


def test_a_client_refuses_a_bad_file_when_it_is_made(tmp_path: Path) -> None:
    """Not at the first request."""
    path = tmp_path / "bad.toml"
    path.write_text("nonsense = 1\n", encoding="utf-8")
    with pytest.raises(PolicyError, match="nonsense"):
        ResilientClient(path)
    with pytest.raises(PolicyError, match="nonsense"):
        ResilientClient(str(path))


def test_every_fault_is_told_of_its_own_rule(tmp_path: Path) -> None:
    """Several at once, one line each."""
    path = tmp_path / "bad.toml"
    path.write_text(
        HEAD + '[[rules]]\nname = "A"\ncategory = "x"\n[[rules]]\nname = "B"\nretry = { retries = -1 }\n',
        encoding="utf-8",
    )
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    first, second = str(caught.value).splitlines()
    assert f'{path}, rule "A": category' in first
    assert f'{path}, rule "B": retry.retries must be >= 0 (got -1)' in second


def test_a_fault_of_toml_is_told_with_its_line(tmp_path: Path) -> None:
    """As the parser says it."""
    path = tmp_path / "bad.toml"
    path.write_text('api = "acme"\ntitle = "x"\n[[rules\n', encoding="utf-8")
    with pytest.raises(PolicyError, match="line 3") as caught:
        load_policy(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_what_there_is(tmp_path: Path) -> None:
    """The path, and the shipped names."""
    with pytest.raises(PolicyError, match="zerotrace") as caught:
        load_policy(tmp_path / "nowhere.toml")
    assert "nowhere.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("zerotrce", "zerotrace"), ("Dual", "dual"), ("customer-verification", "customer_verification")],
)
def test_a_wrong_name_is_told_the_right_one(wrong: str, right: str) -> None:
    """The nearest, and all of them."""
    with pytest.raises(PolicyError, match=f'"{right}"') as caught:
        load_policy(wrong)
    assert [name for name in SHIPPED if name not in str(caught.value)] == []


def test_a_file_that_is_not_utf_8_is_told_so(tmp_path: Path) -> None:
    """TOML is UTF-8."""
    path = tmp_path / "bad.toml"
    path.write_bytes('api = "ä"\n'.encode("latin-1"))
    with pytest.raises(PolicyError, match=r"bad\.toml"):
        load_policy(path)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """Nor is anything else that cannot be read."""
    path = tmp_path / "folder.toml"
    path.mkdir()
    with pytest.raises(PolicyError, match=r"folder\.toml"):
        load_policy(path)


def test_what_is_neither_name_nor_path_nor_policy_is_told_so() -> None:
    """With what it may be."""
    for wrong in (5, b"zerotrace", object(), {"api": "x"}):
        with pytest.raises(PolicyError):
            ResilientClient(wrong)  # type: ignore[arg-type]  # that is the point


def test_a_policy_error_is_a_value_error() -> None:
    """So that nobody must know it to catch it."""
    assert issubclass(PolicyError, ValueError)


def test_a_policy_made_in_python_is_checked_as_well() -> None:
    """The same words, the same checks."""
    with pytest.raises(ValueError, match="exclude each other"):
        Policy.model_validate(
            {"api": "acme", "rules": [{"name": "A", "retry": {"schedule": [1], "wait": 1}}]}
        )


# -------------------------------------------------------------------------------------------------------------- extends


@pytest.fixture
def files(tmp_path: Path) -> Any:
    """Write files beside each other and give the path of the last."""

    def write(**texts: str) -> Path:
        path = tmp_path
        for name, text in texts.items():
            path = tmp_path / f"{name}.toml"
            path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_circle_of_policies_is_refused(files: Any) -> None:
    """However long."""
    path = files(a='extends = "b.toml"\n', b='extends = "c.toml"\n', c='extends = "a.toml"\n')
    with pytest.raises(PolicyError, match="itself") as caught:
        load_policy(path)
    assert "extends" in str(caught.value)


def test_a_fault_of_the_base_is_told_of_the_base(files: Any) -> None:
    """Its own file and rule."""
    path = files(base=RULE + 'category = "x"\n', mine='extends = "base.toml"\n')
    with pytest.raises(PolicyError, match=r'base\.toml, rule "LOCKED": category'):
        load_policy(path)


BASE_POLICY = """
api = "acme"
title = "Acme"
[envelope]
code = "/code"
message = "/msg"
[limits]
wait = 100
body = 1000
[[rules]]
name = "A"
when = { status = 500 }
category = "server"
cause = "base A"
retry = {}
[[rules]]
name = "B"
when = { status = 503 }
category = "server"
cause = "base B"
remedy = "base B"
retry = { wait = 1 }
[[rules]]
name = "C"
when = { status = "5xx" }
category = "server"
"""


def test_a_policy_starts_from_another(files: Any) -> None:
    """Tables are merged key by key; a namesake is replaced in its place and whole; other rules go first."""
    mine = """
extends = "base.toml"
title = "My Acme"
[envelope]
message = "/message"
[limits]
wait = 50
[[rules]]
name = "D"
when = { status = 502 }
[[rules]]
name = "B"
when = { status = [502, 503] }
category = "upstream"
retry = { wait = 7, retries = 1 }
[[rules]]
name = "E"
when = { status = 504 }
"""
    policy = load_policy(files(base=BASE_POLICY, mine=mine))
    assert [rule.name for rule in policy.rules] == ["D", "E", "A", "B", "C"]
    assert (policy.api, policy.title) == ("acme", "My Acme")
    assert (policy.envelope.code, policy.envelope.message) == ("/code", "/message")
    assert (policy.limits.wait, policy.limits.body) == (50, 1000)
    replaced = policy.rules[3]
    assert (replaced.category, replaced.cause, replaced.remedy) == ("upstream", "", "")


def test_own_rules_win_over_inherited_ones(run: Run, files: Any) -> None:
    """They are asked first, and a namesake keeps its place."""
    mine = (
        'extends = "base.toml"\n[[rules]]\nname = "D"\nwhen = { status = 500, body = { "/why" = "quota" } }\n'
    )
    path = files(base=BASE_POLICY, mine=mine)
    assert run(path, answer(500, {"why": "quota"})).outcome.verdict.name == "D"
    ended = run(path, answer(500, {"why": "other", "code": 7, "msg": "hm"}))
    assert (ended.outcome.verdict.name, ended.outcome.verdict.code, ended.attempts) == ("A", 7, 5)


def test_extending_goes_on_over_several_files(files: Any) -> None:
    """The nearest word counts."""
    middle = 'extends = "base.toml"\n[limits]\nwait = 60\n[[rules]]\nname = "M"\nwhen = { status = 418 }\n'
    path = files(base=BASE_POLICY, middle=middle, mine='extends = "middle.toml"\n[limits]\nbody = 5\n')
    policy = load_policy(path)
    assert (policy.limits.wait, policy.limits.body) == (60, 5)
    assert [rule.name for rule in policy.rules] == ["M", "A", "B", "C"]


def test_the_base_stays_as_it_is(files: Any) -> None:
    """A shipped policy is not changed by those that extend it."""
    before = load_policy("dual").model_dump()
    load_policy(
        files(mine='extends = "dual"\ntitle = "x"\ncodes = { OBJECT_LOCKED = 1 }\n[limits]\nwait = 1\n')
    )
    assert load_policy("dual").model_dump() == before


def test_codes_switch_a_waiting_rule_on(run: Run, files: Any) -> None:
    """The one-liner: from now on this code is retried, and classified so."""
    path = files(mine='extends = "dual"\ncodes = { OBJECT_LOCKED = 4230 }\n')
    locked = answer(422, {"error": {"code": 4230, "message": "?"}})
    ended = run(path, in_turn(locked, answer(200)), "POST", "/ebus/actions")
    assert ended.response.status_code == 200
    verdict = load_policy(path).classify(locked(httpx.Request("GET", "https://x")))
    assert (verdict.name, verdict.retryable) == ("OBJECT_LOCKED", True)
    assert list(contradictions(load_policy(path))) == []


def test_codes_replace_the_codes_of_a_rule(run: Run, files: Any) -> None:
    """Those it had no longer count, and what else it asks still does."""
    path = files(
        mine=HEAD
        + 'codes = { LIMIT = ["a", 7] }\n[envelope]\ncode = "/code"\n'
        + '[[rules]]\nname = "LIMIT"\nwhen = { status = 400, code = "old" }\nretry = { wait = 1 }\n'
    )
    assert len(run(path, answer(400, {"code": "a"})).requests) == 5
    assert len(run(path, answer(400, {"code": 7})).requests) == 5
    assert len(run(path, answer(400, {"code": "7"})).requests) == 1
    assert len(run(path, answer(400, {"code": "old"})).requests) == 1
    assert len(run(path, answer(422, {"code": "a"})).requests) == 1


# ------------------------------------------------------------------------------------------------------ made in Python


def made(**retry: Any) -> Policy:
    rule = {"name": "BUSY", "when": {"status": 503}, "category": "server", "retry": retry}
    return Policy.model_validate({"api": "acme", "rules": [rule]})


TENACITY: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "wait_fixed": ({"wait": tenacity.wait_fixed(3)}, [3, 3, 3, 3]),
    "wait_fixed + wait_random": (
        {"wait": tenacity.wait_fixed(3) + tenacity.wait_random(0, 1)},
        [Within(3, 4)] * 4,
    ),
    "wait_combine": (
        {"wait": tenacity.wait_combine(tenacity.wait_fixed(1), tenacity.wait_fixed(2))},
        [3, 3, 3, 3],
    ),
    "wait_chain": (
        {"wait": tenacity.wait_chain(*(tenacity.wait_fixed(seconds) for seconds in (1, 4, 9)))},
        [1, 4, 9, 9],
    ),
    "wait_incrementing": ({"wait": tenacity.wait_incrementing(1, 2)}, [1, 3, 5, 7]),
    "wait_exponential": ({"wait": tenacity.wait_exponential(multiplier=1, max=5)}, [1, 2, 4, 5]),
    "wait_random_exponential": (
        {"wait": tenacity.wait_random_exponential(multiplier=1, max=3)},
        up_to(1, 2, 3, 3),
    ),
    "wait_none": ({"wait": tenacity.wait_none()}, [0, 0, 0, 0]),
    "stop_after_attempt": ({"wait": tenacity.wait_fixed(2), "stop": tenacity.stop_after_attempt(3)}, [2, 2]),
    "one attempt": ({"wait": tenacity.wait_fixed(2), "stop": tenacity.stop_after_attempt(1)}, []),
    "stop_after_delay": ({"wait": tenacity.wait_fixed(4), "stop": tenacity.stop_after_delay(10)}, [4, 4, 4]),
    "stop_before_delay": ({"wait": tenacity.wait_fixed(4), "stop": tenacity.stop_before_delay(10)}, [4, 4]),
    "stop either": (
        {
            "wait": tenacity.wait_fixed(4),
            "stop": tenacity.stop_after_attempt(9) | tenacity.stop_after_delay(4),
        },
        [4],
    ),
    "stop both": (
        {
            "wait": tenacity.wait_fixed(4),
            "stop": tenacity.stop_after_attempt(2) & tenacity.stop_after_delay(12),
        },
        [4, 4, 4],
    ),
    "a function that waits": ({"wait": lambda state: state.attempt_number * 1.5}, [1.5, 3, 4.5, 6]),
    "a function that stops": ({"wait": 1, "stop": lambda state: state.attempt_number >= 2}, spread(1)),
    "a wait and retries": ({"wait": tenacity.wait_fixed(3), "retries": 2}, [3, 3]),
    "a stop alone": ({"stop": tenacity.stop_after_attempt(3)}, up_to(0.5, 1)),
    "a stop and a schedule": ({"schedule": [1, 2], "stop": tenacity.stop_after_attempt(2)}, spread(1)),
}


@pytest.mark.parametrize("kind", TENACITY)
def test_tenacitys_objects_are_kept_to_exactly(run: Run, kind: str) -> None:
    """No jitter is added to what the user made."""
    retry, waits = TENACITY[kind]
    ended = run(made(**retry), BUSY)
    assert ended.waits == waits
    assert ended.outcome.reason == "attempts_exhausted"


def test_a_server_that_asks_for_more_gets_it(run: Run) -> None:
    """Its wait is a lower bound under the user's own too, unless the policy does not listen to it."""
    told = answer(503, headers={"Retry-After": "9"})
    assert run(made(wait=tenacity.wait_fixed(3)), told).waits == spread(9, 9, 9, 9)
    assert run(made(wait=tenacity.wait_fixed(3), after=[]), told).waits == [3, 3, 3, 3]


def test_tenacitys_waits_see_what_was_tried(run: Run) -> None:
    """The attempt's number, its outcome, and the seconds that were waited so far."""
    seen: list[tuple[int, float, str]] = []

    def wait(state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None
        seen.append((state.attempt_number, state.idle_for, state.outcome.result().name))
        return 2.0

    run(made(wait=wait, retries=2), BUSY)
    assert seen == [(1, 0, "BUSY"), (2, 2.0, "BUSY"), (3, 4.0, "BUSY")]


def test_a_wait_that_does_not_fit_is_not_begun(run: Run) -> None:
    """The deadline and the longest wait bound the user's own waits as well."""
    assert run(made(wait=tenacity.wait_fixed(30)), BUSY, client={"deadline": 20}).outcome.reason == "deadline"
    assert run(made(wait=tenacity.wait_fixed(301)), BUSY).outcome.reason == "wait_too_long"
    assert run(made(wait=lambda _state: float("nan")), BUSY).outcome.reason == "wait_too_long"
    assert run(made(wait=lambda _state: float("inf")), BUSY).outcome.reason == "wait_too_long"


def test_a_policy_of_one_client_is_shared_by_its_calls(run: Run) -> None:
    """It keeps no progress: the same object serves call after call."""
    policy = made(wait=tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(2)), retries=2)
    assert [run(policy, BUSY).waits for _ in range(3)] == [[1, 2]] * 3


def test_a_policy_made_in_python_may_extend_a_shipped_one(run: Run) -> None:
    """With the same words as a file."""
    policy = Policy.model_validate({"extends": "dual", "codes": {"OBJECT_LOCKED": 4230}})
    assert policy.api == "dual"
    assert (
        run(policy, in_turn(answer(409, {"error": {"code": 4230}}), OK), "POST").response.status_code == 200
    )


# ----------------------------------------------------------------------------------------------------- shipped policies


def test_the_shipped_names_are_these() -> None:
    """In alphabetical order."""
    assert list(policy_names()) == SHIPPED


def test_the_schema_is_the_one_of_the_models() -> None:
    """What editors check against is what the library checks against."""
    schema = (folder() / "policy.schema.json").read_text(encoding="utf-8")
    assert schema == resilient_client.policy.json_schema()
    assert json.loads(schema)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_example_of_every_shipped_policy_holds(name: str) -> None:
    """They are what the flow does."""
    assert list(contradictions(load_policy(name))) == []


@pytest.mark.parametrize(
    ("name", "rule"), [(name, rule.name) for name in SHIPPED for rule in load_policy(name).rules]
)
def test_every_rule_is_explained_and_proves_itself(name: str, rule: str) -> None:
    """Cause, remedy, a message for the user, a source and an example."""
    policy = load_policy(name)
    found = next(one for one in policy.rules if one.name == rule)
    assert found.cause.strip()
    assert found.remedy.strip()
    assert found.user_message.strip()
    assert (found.source or policy.source).strip()
    assert found.examples


LIES: dict[str, tuple[str, str]] = {
    "retry": ("expect = { retry = false }", "retry"),
    "waits": ("expect = { retry = true, waits = [1, 2, 5] }", "waits"),
    "reason": ('expect = { retry = true, reason = "deadline" }', "reason"),
    "change": ('expect = { retry = true, change = ["nonce"] }', "change"),
    "name": ('expect = { retry = true, name = "OTHER" }', "name"),
    "retry_after": ("expect = { retry = true, retry_after = 3 }", "retry_after"),
}


@pytest.mark.parametrize("kind", LIES)
def test_an_example_that_lies_is_reported(files: Any, kind: str) -> None:
    """By rule, number, what was expected and what is done."""
    expect, what = LIES[kind]
    path = files(
        mine=HEAD
        + '[[rules]]\nname = "BUSY"\nwhen = { status = 503 }\nretry = { wait = 2 }\n'
        + "[[rules.examples]]\ngiven = { status = 503 }\nexpect = { retry = true, waits = [2, 2, 2, 2] }\n"
        + f"[[rules.examples]]\ngiven = {{ status = 503 }}\n{expect}\n"
    )
    told = list(contradictions(load_policy(path)))
    assert len(told) == 1
    assert '"BUSY"' in told[0]
    assert "example 2" in told[0]
    assert what in told[0]


# --------------------------------------------------------------------------------------------------------- look-up cost


def large(count: int, when: Callable[[int], dict[str, Any]]) -> Policy:
    rules = [{"name": f"R{number}", "when": when(number)} for number in range(count)]
    rules.append({"name": "REST", "when": {"status": "5xx"}})
    return Policy.model_validate({"api": "acme", "envelope": {"code": "/code"}, "rules": rules})


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "codes": lambda number: {"code": f"c{number}"},
    "codes of one status": lambda number: {"code": number, "status": 503},
    "codes of a class": lambda number: {"code": number, "status": "5xx"},
    "lists of codes": lambda number: {"code": [f"a{number}", f"b{number}"]},
    "codes and conditions": lambda number: {
        "code": number,
        "status": 503,
        "headers": {"x-a": True},
        "body": {"/a": 1},
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_look_up_examines_no_more_rules_of_ten_thousand_than_of_ten(shape: str) -> None:
    """Compiled by code and status, whether the code is known or not."""
    few, many = large(10, SHAPES[shape]).rulebook, large(10_000, SHAPES[shape]).rulebook
    for code in ("c7", 7, "a7", "unknown", None):
        for status in (503, 404):
            examined = len(many.candidates(code, status))
            assert examined == len(few.candidates(code, status))
            assert examined <= 2


def test_a_rule_is_found_among_ten_thousand() -> None:
    """The right one, and the first of those that match."""
    policy = large(10_000, SHAPES["codes of one status"])
    assert policy.classify(httpx.Response(503, json={"code": 9_999})).name == "R9999"
    assert policy.classify(httpx.Response(503, json={"code": -1})).name == "REST"
    assert policy.classify(httpx.Response(500, json={"code": 7})).name == "REST"


def test_the_first_rule_that_matches_wins_whatever_it_asks_about() -> None:
    """In file order, across rules that ask for a code, for a status, for both or for neither."""
    rules: list[dict[str, Any]] = [
        {"name": "status first", "when": {"status": 503, "headers": {"x-a": "1"}}},
        {"name": "code", "when": {"code": 7}},
        {"name": "status", "when": {"status": 503}},
        {"name": "both, too late", "when": {"status": 503, "code": 8}},
        {"name": "anything", "when": {}},
    ]
    policy = Policy.model_validate({"api": "acme", "envelope": {"code": "/code"}, "rules": rules})

    def name(status: int, code: int, **headers: str) -> str:
        lines = {key.replace("_", "-"): value for key, value in headers.items()}
        return policy.classify(httpx.Response(status, json={"code": code}, headers=lines)).name

    assert name(503, 7, x_a="1") == "status first"
    assert name(503, 7) == "code"
    assert name(404, 7) == "code"
    assert name(503, 8) == "status"
    assert name(404, 8) == "anything"
