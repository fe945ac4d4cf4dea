"""How protections are set: by a policy's `[protect]`, by keywords, and for one request; what cannot be is refused at once."""

from __future__ import annotations

import gc
import os
import pickle
import re
import signal
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from crew import BASE, guard_of, left_in, policy

from resilient_client import (
    AsyncResilientClient,
    AsyncResilientTransport,
    PolicyError,
    ResilientClient,
    ResilientTransport,
    load_policy,
    outcome_of,
)
from resilient_client._guard.guards import _WORLDS
from resilient_client.errors import BulkheadFull, CircuitOpen, PaceExceeded
from resilient_client.protection import (
    Adaptive,
    BreakerConfig,
    BudgetConfig,
    BulkheadConfig,
    HedgeConfig,
    forget,
)
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scenario import Run

PACED = {"budget": 5, "per": 10}


def ok(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200)


def client_of(
    given: Any = None, answer: Callable[[httpx.Request], httpx.Response] = ok, **options: Any
) -> ResilientClient:
    return ResilientClient(
        given, transport=httpx.MockTransport(answer), **{"clock": VirtualClock()} | options
    )


def written(folder: Path, protect: str) -> Path:
    file = folder / "acme.toml"
    file.write_text(
        f'extends = "default"\napi = "acme"\n[pace]\nbudget = 5\nper = 10\n[protect]\n{protect}\n'
    )
    return file


# ------------------------------------------------------------------------------------ the same by a line or a keyword

SAME: list[tuple[str, dict[str, Any]]] = [
    ("budget = true", {"budget": True}),
    ("budget = false", {"budget": False}),
    ("budget = { capacity = 50, crowd = 0 }", {"budget": BudgetConfig(capacity=50, crowd=0)}),
    ("pace = true", {"pace": True}),
    ("breaker = true", {"breaker": True}),
    (
        "breaker = { in_a_row = 3, open_for = 2.5, park = true }",
        {"breaker": BreakerConfig(in_a_row=3, open_for=2.5, park=True)},
    ),
    ("hedge = 0.1", {"hedge": 0.1}),
    ("hedge = true", {"hedge": True}),
    ("hedge = { extra_load = 0.1, burst = 3 }", {"hedge": HedgeConfig(extra_load=0.1, burst=3)}),
    ("bulkhead = 7", {"bulkhead": 7}),
    ('bulkhead = "adaptive"', {"bulkhead": "adaptive"}),
    ("bulkhead = true", {"bulkhead": Adaptive()}),
    ("bulkhead = { limit = 7, queue = 2 }", {"bulkhead": BulkheadConfig(7, queue=2)}),
    (
        "bulkhead = { limit = { start = 3, ceiling = 9 } }",
        {"bulkhead": BulkheadConfig(Adaptive(start=3, ceiling=9))},
    ),
]


@pytest.mark.parametrize(("line", "keyword"), SAME, ids=[line for line, _ in SAME])
def test_a_line_of_the_policy_does_what_the_keyword_does(
    line: str, keyword: dict[str, Any], tmp_path: Path
) -> None:
    """They find the very same engines."""
    clock = VirtualClock()
    file = written(tmp_path, "")
    with client_of(file, clock=clock, **keyword) as by_keyword:
        expected = guard_of(by_keyword)
        with client_of(written(tmp_path, line), clock=clock) as by_line:
            found = guard_of(by_line)
    for name in ("budget", "breaker", "bulkhead", "hedge", "crowd", "park"):
        assert getattr(found, name) is getattr(expected, name), name
    assert [pacer for _, pacer in found.paces] == [pacer for _, pacer in expected.paces]
    assert bool(found.paces) == ("pace" in keyword)


@pytest.mark.parametrize(
    ("line", "keyword", "engine"),
    [
        ("budget = { capacity = 50 }", {"budget": False}, "budget"),
        ("breaker = true", {"breaker": False}, "breaker"),
        ("bulkhead = 7", {"bulkhead": False}, "bulkhead"),
        ("hedge = 0.1", {"hedge": False}, "hedge"),
    ],
)
def test_a_keyword_outweighs_the_line(
    line: str, keyword: dict[str, Any], engine: str, tmp_path: Path
) -> None:
    """And leaves the others as the policy has them."""
    with client_of(written(tmp_path, f"{line}\npace = true"), **keyword) as client:
        assert getattr(guard_of(client), engine) is None
        assert guard_of(client).paces


def test_a_keyword_outweighs_the_line_for_pacing(tmp_path: Path) -> None:
    """`pace=False` under `pace = true`."""
    with client_of(written(tmp_path, "pace = true"), pace=False) as client:
        assert guard_of(client).paces == ()


def test_a_policy_that_extends_another_changes_single_lines(tmp_path: Path) -> None:
    """The rest of the base's `[protect]` stays."""
    written(tmp_path, "breaker = true\nbulkhead = 7")
    own = tmp_path / "own.toml"
    own.write_text('extends = "acme.toml"\n[protect]\nbulkhead = 3\n')
    with client_of(own) as client:
        assert guard_of(client).breaker is not None
        assert guard_of(client).bulkhead.limit == 3


def test_a_requests_own_policy_brings_its_own_protections(run: Run) -> None:
    """Its `[protect]`, its `[pace]`; the client's keywords hold for it too."""
    other = policy("other", pace={"budget": 1, "per": 10}, protect={"pace": True})
    clock = VirtualClock()
    for _ in range(3):
        run(None, ok, clock=clock)
    assert clock.sleeps == []
    run(None, ok, ask={"policy": other}, clock=clock)
    assert run(None, ok, ask={"policy": other}, clock=clock).outcome.queued > 10
    before = clock.monotonic()
    run(None, ok, ask={"policy": other}, client={"pace": False}, clock=clock)
    assert clock.monotonic() == before


def test_nothing_but_the_budget_is_on_from_the_start() -> None:
    """A small script meets no queue, no pace, no breaker and no second request."""
    with client_of() as client:
        guard = guard_of(client)
    assert guard.budget is not None
    assert (guard.breaker, guard.bulkhead, guard.hedge, guard.paces, guard.gated) == (
        None,
        None,
        None,
        (),
        False,
    )


# -------------------------------------------------------------------------------------------------- what cannot be

WRONG_LINES = [
    ("budget = 5", "protect.budget"),
    ('budget = "yes"', "protect.budget"),
    ("budget = { capacity = 0 }", "transient must be at least 1 and at most the capacity"),
    ('budget = { capacity = "x" }', "capacity"),
    ("budget = { capacity = 1.5 }", "capacity"),
    ("budget = { capacty = 5 }", 'there is no "capacty" here; it takes capacity'),
    ("pace = 1", "protect.pace"),
    ('breaker = "yes"', "protect.breaker"),
    ("breaker = { windw = 1 }", 'there is no "windw" here; it takes window'),
    ("breaker = { window = {} }", "window"),
    ("breaker = { buckets = 2.5 }", "buckets"),
    ("breaker = { in_a_row = 2.5 }", "in_a_row"),
    ("breaker = { failure_rate = 2 }", "failure_rate must be a share above 0, at most 1"),
    ("breaker = { park = 1 }", "park is true or false"),
    ("hedge = 0.9", "protect.hedge"),
    ("hedge = 0", "protect.hedge"),
    ('hedge = "0.1"', "protect.hedge"),
    ("hedge = { extra_load = 0.9 }", "extra_load must be a share above 0, at most 0.5"),
    ("bulkhead = 0", "protect.bulkhead"),
    ("bulkhead = 2.5", "protect.bulkhead"),
    ('bulkhead = "adaptiv"', '"adaptive"'),
    ("bulkhead = { limit = 2.5 }", "limit"),
    ("bulkhead = { limit = -1.0 }", "limit"),
    ("bulkhead = { limit = { strat = 3 } }", 'there is no "strat" here; it takes start'),
    ("bulkhead = { limit = { start = 0 } }", "floor, start and ceiling must be at least 1"),
    ("bulkhead = [1]", "protect.bulkhead"),
    ("brekaer = true", 'did you mean "breaker"?'),
    ('scope = "a"', "protect.scope"),
]


@pytest.mark.parametrize(("line", "problem"), WRONG_LINES, ids=[line for line, _ in WRONG_LINES])
def test_a_line_that_cannot_be_is_refused_by_its_place_and_the_mend(
    line: str, problem: str, tmp_path: Path
) -> None:
    """When the file is loaded, in words of the format and not of the validator."""
    with pytest.raises(PolicyError) as caught:
        load_policy(written(tmp_path, line))
    text = str(caught.value)
    assert "acme.toml" in text
    assert "protect" in text
    assert problem in text
    assert "tag" not in text
    assert "_kind_of_setting" not in text


def test_pacing_by_nothing_is_refused(tmp_path: Path) -> None:
    """`pace = true` where the policy publishes no budget is a slip."""
    file = tmp_path / "acme.toml"
    file.write_text('extends = "default"\napi = "acme"\n[protect]\npace = true\n')
    with pytest.raises(PolicyError, match="pace"):
        load_policy(file)


WRONG_KEYWORDS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"budget": 1}, TypeError, "budget is True or False, a BudgetConfig (got 1)"),
    ({"pace": 1}, TypeError, "pace is True or False, or (requests, seconds) such as (100, 60) (got 1)"),
    ({"breaker": {}}, TypeError, "breaker is True or False, a BreakerConfig (got {})"),
    ({"breaker": BreakerConfig}, TypeError, "breaker is True or False, a BreakerConfig"),
    ({"bulkhead": 0}, ValueError, "bulkhead must be at least 1 call at a time (got 0)"),
    ({"bulkhead": -3}, ValueError, "bulkhead must be at least 1 call at a time (got -3)"),
    ({"bulkhead": 2.5}, TypeError, 'bulkhead is True or False, a number of calls, "adaptive"'),
    ({"bulkhead": "adaptiv"}, TypeError, 'bulkhead is True or False, a number of calls, "adaptive"'),
    ({"scope": None}, TypeError, "scope is a text (got None)"),
    ({"shared": "redis://x"}, TypeError, "shared is a RedisStore, or None"),
]


@pytest.mark.parametrize(
    "kind", [ResilientClient, AsyncResilientClient, ResilientTransport, AsyncResilientTransport]
)
@pytest.mark.parametrize(
    ("keyword", "error", "problem"), WRONG_KEYWORDS, ids=[str(keyword) for keyword, _, _ in WRONG_KEYWORDS]
)
def test_a_keyword_that_cannot_be_is_refused_when_the_client_is_made(
    kind: Callable[..., object], keyword: dict[str, Any], error: type[Exception], problem: str
) -> None:
    """By clients and transports alike, and the message says what it takes."""
    with pytest.raises(error, match=re.escape(problem)):
        kind(**keyword)


@pytest.mark.parametrize("limit", [2.5, -1.0, "5"])
def test_a_bulkhead_of_no_whole_number_is_refused(limit: Any) -> None:
    """A limit below one would let nobody go, for ever."""
    with pytest.raises((TypeError, ValueError), match="limit"):
        BulkheadConfig(limit)


@pytest.mark.parametrize("kind", [ResilientTransport, AsyncResilientTransport])
def test_a_transport_knows_its_keywords(kind: Callable[..., object]) -> None:
    """A slip of the pen is not swallowed."""
    with pytest.raises(TypeError, match=r"'brekaer'.*breaker"):
        kind(brekaer=True)


def test_an_option_of_a_request_that_is_no_switch_is_refused() -> None:
    """Before anything is held, and nothing is left held."""
    with client_of(bulkhead=1) as client:
        with pytest.raises(TypeError, match="park"):
            client.get(BASE, extensions={"resilience": {"park": 1}})
        assert left_in(guard_of(client)) == {}


def test_a_key_that_the_policy_forbids_leaves_nothing_held() -> None:
    """The ValueError comes before a place, a turn or a permit is taken."""
    with client_of("zerotrace", bulkhead=1, pace=True, breaker=True) as client:
        for ask in ({"idempotency_key": "short"}, {"idempotency_key": "short", "deadline": 5}):
            with pytest.raises(ValueError, match="8 to 128"):
                client.post(f"{BASE}/v1/create", json={}, extensions={"resilience": ask})
        assert left_in(guard_of(client)) == {}


# --------------------------------------------------------------------------------------------- beginning anew


def test_forget_begins_anew() -> None:
    """Full budgets and closed breakers, for clients that exist already."""
    with client_of(answer=lambda _: httpx.Response(503), breaker=BreakerConfig(in_a_row=1)) as client:
        client.post(BASE)
        with pytest.raises(CircuitOpen):
            client.post(BASE)
        forget()
        assert client.post(BASE).status_code == 503


def test_forget_in_the_middle_of_a_call_harms_nobody() -> None:
    """The call gives back what it holds to those that granted it."""
    before: list[Any] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        forget()
        return httpx.Response(200)

    with client_of(policy(pace=PACED), answer, bulkhead=1, breaker=True, pace=True) as client:
        before.append(guard_of(client))
        assert client.get(BASE).status_code == 200
        assert left_in(before[0]) == {}
        assert left_in(guard_of(client)) == {}
        assert guard_of(client) is not before[0]


def test_a_client_that_is_gone_leaves_no_world_behind() -> None:
    """The engines of a virtual clock live as long as the clock."""
    client_of(bulkhead=1).get(BASE)
    gc.collect()
    before = len(_WORLDS)
    for _ in range(10):
        client_of(bulkhead=1).get(BASE)
    gc.collect()
    assert len(_WORLDS) <= before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings(
    "ignore:.*fork.*:DeprecationWarning"
)  # Python 3.12 and later, of threads and fork
def test_a_forked_worker_begins_anew() -> None:
    """A place, a permit or a lock that a thread of the parent held is not held in the child."""
    held, go = threading.Event(), threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/held":
            held.set()
            assert go.wait(10)
        return httpx.Response(503 if request.url.path == "/down" else 200)

    options: dict[str, Any] = {
        "bulkhead": 1,
        "breaker": BreakerConfig(in_a_row=1),
        "budget": BudgetConfig(capacity=14, crowd=0),
    }
    with client_of(answer=answer, **options) as client:
        other = client_of(answer=answer, clock=VirtualClock(), breaker=options["breaker"])
        other.post(f"{BASE}/down")
        thread = threading.Thread(target=client.get, args=(f"{BASE}/held",))
        thread.start()
        assert held.wait(10)
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # one that waits for ever has failed
            fine = False
            try:
                fine = (
                    client.get(BASE, extensions={"resilience": {"deadline": 5}}).status_code == 200
                    and other.post(f"{BASE}/down").status_code == 503
                    and left_in(guard_of(client)) == {}
                )
            finally:
                os._exit(0 if fine else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert guard_of(client).bulkhead.in_use == 1
        go.set()
        thread.join()
        with pytest.raises(CircuitOpen):
            other.post(f"{BASE}/down")


# ------------------------------------------------------------------------------------------------------- pickling


def refused_by(kind: type[Exception]) -> Exception:
    """Give the error of a call that was refused."""
    clock = VirtualClock()
    if kind is CircuitOpen:
        client = client_of(
            answer=lambda _: httpx.Response(503), clock=clock, breaker=BreakerConfig(in_a_row=1)
        )
        client.post(BASE)
    elif kind is PaceExceeded:
        client = client_of(policy(pace={"budget": 1, "per": 60}), clock=clock, pace=True, deadline=5)
        client.get(BASE)
    else:
        client = client_of(clock=clock, bulkhead=BulkheadConfig(1, queue=0))
        guard_of(client).bulkhead.acquire()
    with pytest.raises(kind) as caught:
        client.get(f"{BASE}/refused", headers={"Authorization": "Bearer s3cret"})
    return caught.value


@pytest.mark.parametrize("kind", [CircuitOpen, PaceExceeded, BulkheadFull])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_refusal_travels_to_other_processes(kind: type[Exception], protocol: int) -> None:
    """With its request, its times and its outcome."""
    error = refused_by(kind)
    copy: Any = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert copy.request.url == error.request.url  # type: ignore[attr-defined]  # it has one
    assert outcome_of(copy) == outcome_of(error)
    for name in ("retry_after", "retry_at"):
        assert getattr(copy, name, None) == getattr(error, name, None)


@pytest.mark.parametrize("kind", [CircuitOpen, PaceExceeded, BulkheadFull])
def test_a_refusal_names_the_host_and_no_secret(kind: type[Exception]) -> None:
    """What is logged by accident is fit to be logged; its verdict blames nobody's signature."""
    error = refused_by(kind)
    assert "api.example" in str(error)
    assert "s3cret" not in f"{error!r} {outcome_of(error)!r} {getattr(error, '__notes__', '')}"
    verdict = outcome_of(error).verdict
    assert verdict.name == "NOT_SENT"
    assert "signed" not in verdict.cause
