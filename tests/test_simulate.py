"""The simulator, and by it the claims that the protections make: bars on virtual time, each beside what happens without them.

Law of this file: a claim is a number of a run that anybody can repeat, and a control shows that it could be missed.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from resilient_client import Policy, load_policy
from resilient_client.cli import main
from resilient_client.protection import BreakerConfig
from resilient_client.simulate import (
    Books,
    Crowd,
    Evenly,
    Latency,
    Loop,
    Outage,
    Phase,
    Poisson,
    Route,
    Scenario,
    at_most,
    simulate,
    usual_rate,
)
from resilient_client.simulate.books import Done, percentile
from resilient_client.simulate.picture import svg
from resilient_client.simulate.server import Seen

if TYPE_CHECKING:
    from pathlib import Path

    from resilient_client._guard.settings import Protections
    from resilient_client.simulate import Arrivals

DEFAULT = load_policy("default")
ZEROTRACE = load_policy("zerotrace")
THREE_RETRIES = at_most(DEFAULT, 3)
MIXED = (Route("GET", "/v1/coins", 60), Route("POST", "/v1/qr", 25), Route("POST", "/v1/create", 15))
PARKING: Protections = {"breaker": BreakerConfig(park=True)}

budgeted = pytest.mark.parametrize("budget", [True, False], ids=["budget", "no budget"])


TWENTY = Evenly(20)


def play(arrivals: Arrivals = TWENTY, duration: float = 10.0, **scenario: Any) -> Books:
    """Simulate 10 s of 20 calls a second to any API, but for what is given."""
    return simulate(Scenario(**{"policy": DEFAULT, "arrivals": arrivals, "duration": duration} | scenario))


def named(books: Books) -> dict[str, Phase]:
    """Give the phases by their names."""
    return {phase.name: phase for phase in books.phases()}


def amplification(phase: Phase) -> float:
    """Give the requests for each call of a phase in which there were calls."""
    assert phase.amplification is not None
    return phase.amplification


def p99(books: Books) -> float:
    """Give the time, in seconds, that 99 % of the calls do not exceed."""
    assert books.whole.p99 is not None
    return books.whole.p99


# ------------------------------------------------------------------------------------------------------- retry budget


def outage(rate: float, length: float = 60.0, *, budget: bool = True) -> Books:
    """Let all be well for a minute, and then be down for a while, with three retries at the most."""
    return play(
        Evenly(rate),
        60.0 + length + 5.0,
        policy=THREE_RETRIES,
        outage=Outage(60.0, length),
        protections={"budget": budget},
    )


def test_an_outage_of_a_minute_meets_hardly_more_than_the_calls() -> None:
    """100 calls a second, three retries: at most 1.05 requests for each call, and 1.10 in the first 5 s."""
    phases = named(outage(100))

    assert amplification(phases["outage"]) <= 1.05
    assert amplification(phases["first"]) <= 1.10


def test_without_a_budget_an_outage_meets_four_requests_for_each_call() -> None:
    """The control: a first attempt and three retries."""
    assert amplification(named(outage(10, budget=False))["outage"]) == pytest.approx(4, abs=0.1)
    assert amplification(named(outage(100, 5.0, budget=False))["first"]) > 3


@budgeted
def test_an_outage_meets_hardly_more_than_the_calls_of_a_slow_client(budget: bool) -> None:  # noqa: FBT001 - a case
    """One call a second, which had worked for a minute: at most 1.10, and without a budget more than 3.5."""
    requests = amplification(named(outage(1, budget=budget))["outage"])

    assert requests <= 1.10 if budget else requests > 3.5


@pytest.mark.parametrize(("retries", "runs", "least", "most"), [(3, 5, 0.998, 1.0), (0, 1, 0.78, 0.82)])
def test_single_faults_are_retried_as_if_there_were_no_budget(
    retries: int, runs: int, least: float, most: float
) -> None:
    """One request in five fails: with three retries 0.9984 of the calls could succeed; without, four in five do."""
    policy = at_most(DEFAULT, retries)
    books = [play(Evenly(100), 40.0, policy=policy, faults=0.2, seed=seed) for seed in range(runs)]

    assert least <= fmean(each.whole.success or 0 for each in books) <= most


# ------------------------------------------------------------------------------------------------------------ parking


@cache
def parked(seed: int, *, park: bool = True) -> Books:
    """Let a thousand clients with 45 s to spare meet an outage of 30 s."""
    return play(
        Evenly(100),
        100.0,
        clients=1000,
        deadline=45.0,
        outage=Outage(60.0, 30.0),
        protections=PARKING if park else {},
        seed=seed,
    )


def test_calls_that_can_wait_for_the_end_of_an_outage_succeed() -> None:
    """At least 99.5 % of them, and the server meets at most a tenth of its normal load while it is down."""
    books = parked(0)
    down = named(books)["outage"]

    assert (books.whole.success or 0) >= 0.995
    assert (down.success or 0) >= 0.995
    assert (down.load or 0) <= 0.10


def test_those_who_waited_are_all_let_go_within_a_ramp() -> None:
    """Three thousand in 10 s: the load grows evenly to twice its mean, beside that of every day."""
    books = parked(0)

    assert books.peak is not None
    assert 2 * 3000 / 10 / 100 - 1 <= books.peak <= 1 + 1.25 * 2 * 3000 / 10 / 100


def test_no_call_waits_past_its_deadline() -> None:
    """45 s, and not a moment more."""
    assert max(call.ended - call.began for call in parked(0).calls) <= 45.0 + 1e-6


def test_without_parking_the_calls_of_an_outage_fail_and_the_server_meets_them_all() -> None:
    """The control."""
    down = named(parked(0, park=False))["outage"]

    assert down.success == 0
    assert (down.load or 0) >= 1


# ------------------------------------------------------------------------------------------------------------- pacing


def workers(seed: int = 0, *, pace: bool = True, others: float = 0.0) -> Books:
    """Let 32 workers spend 1, 5 and 50 units as fast as they may, of 2500 a minute."""
    return play(
        Loop(32), 360.0, policy=ZEROTRACE, routes=MIXED, protections={"pace": pace}, others=others, seed=seed
    )


def test_a_published_budget_is_used_up_without_a_429() -> None:
    """At least 99 % of it over the five minutes after the first."""
    runs = [workers(seed) for seed in range(4)]

    assert fmean(books.spent(60.0, 360.0) / (5 * 2500) for books in runs) >= 0.99
    assert [books.whole.throttled for books in runs] == [0] * 4


def test_without_pacing_the_same_budget_is_met_by_429s() -> None:
    """The control."""
    assert workers(pace=False).whole.throttled > 100


def test_a_herd_that_is_told_one_second_comes_back_spread() -> None:
    """A hundred calls that are refused at one moment: their retries arrive over at least 200 ms, none too early."""
    policy = Policy.model_validate({"extends": "default", "pace": {"budget": 100, "per": 1}})
    books = play(Crowd(200), policy=policy)
    retries = [seen.at for seen in books.requests][200:]

    assert books.whole.throttled == len(retries) == 100
    assert min(retries) >= 1.0
    assert max(retries) - min(retries) >= 0.2


def test_one_429_holds_every_caller_back_and_then_lets_them_go_spread_out() -> None:
    """Somebody else spends of the same budget: after a 429 nobody goes for the second it asks for, and then no crowd."""
    books = workers(others=10.0)
    refused = [seen.at for seen in books.requests if seen.status == 429]

    assert 0 < len(refused) <= 30
    for at in refused:
        after = [seen for seen in books.requests if seen.at > at + 0.02]  # what was in the air has arrived
        assert all(seen.at >= at + 1.0 for seen in after[:1])
        drip = 10 * 2500 / 60 + 2 * 50
        assert all(
            sum(seen.cost for seen in after if begin <= seen.at < begin + 10) <= drip
            for begin in (at, at + 1, at + 5)
        )
    assert workers(pace=False, others=10.0).whole.throttled > 5 * len(refused)


# ------------------------------------------------------------------------------------------------------------ hedging


def test_hedging_cuts_the_tail_for_a_twentieth_more_load() -> None:
    """3 % of the answers take 1 s: the 99th percentile falls by at least 80 %, for at most 5.5 % more requests."""
    plain = play(Evenly(100), 100.0, stalls=0.03)
    hedged = play(Evenly(100), 100.0, stalls=0.03, protections={"hedge": 0.05})

    assert p99(plain) == pytest.approx(1.0)
    assert p99(hedged) <= 0.2 * p99(plain)
    assert plain.whole.requests == plain.whole.calls < hedged.whole.requests <= 1.055 * hedged.whole.calls


def test_a_server_that_is_slow_all_over_is_not_hedged_into_the_ground() -> None:
    """A fifth of the answers are late: hedges stay a twentieth of the requests, and do not follow them."""
    books = play(Evenly(100), 100.0, stalls=0.2, protections={"hedge": 0.05})

    assert amplification(books.whole) <= 1.055


def test_an_answer_that_is_worse_than_none_does_not_win_a_race() -> None:
    """Faults beside stalls: a hedge that fails leaves the first request its chance, and no retry is needed for it."""
    books = play(Evenly(100), 60.0, stalls=0.03, faults=0.1, protections={"hedge": 0.05})

    assert (books.whole.success or 0) >= 0.999


# ----------------------------------------------------------------------------------------------------------- bulkhead


def goodput(limit: Any, capacity: int, latency: Latency) -> float:
    """Give the requests a second that work, once four workers for each place have settled down."""
    books = play(
        Loop(4 * capacity), 15.0, capacity=capacity, latency=latency, protections={"bulkhead": limit}
    )
    return sum(seen.status == 200 for seen in books.requests if 5 <= seen.at < 15) / 10


@pytest.mark.parametrize(
    ("capacity", "latency"), [(5, Latency()), (8, Latency(spread=0.3)), (20, Latency(spread=0.1))]
)
def test_a_learned_limit_comes_near_the_best_one(capacity: int, latency: Latency) -> None:
    """A server that bears so many requests at a time: at least nine tenths of what the best fixed limit achieves."""
    fixed = [goodput(limit, capacity, latency) for limit in (capacity // 2, capacity, capacity + 1)]

    assert goodput("adaptive", capacity, latency) >= 0.9 * max(fixed)
    assert fixed[0] < 0.6 * max(fixed)  # the control


def test_without_a_bulkhead_half_of_the_calls_fail_at_a_full_server() -> None:
    """The control: with one, all succeed."""
    without, learned = (
        play(Loop(40), 6.0, capacity=10, protections={"bulkhead": limit}) for limit in (False, "adaptive")
    )

    assert (without.whole.success or 0) < 0.6
    assert (learned.whole.success or 0) > 0.99


# ------------------------------------------------------------------------------------------------------ the simulator


def test_the_same_scenario_gives_the_same_books() -> None:
    """To the last digit, with all that chance has a say in."""

    def books(seed: int) -> tuple[list[Done], list[Seen]]:
        found = play(
            Poisson(30),
            40.0,
            latency=Latency(0.05, 0.5),
            faults=0.1,
            stalls=0.05,
            deadline=20.0,
            outage=Outage(10.0, 5.0),
            processes=3,
            protections=PARKING | {"hedge": 0.05, "bulkhead": 50},
            seed=seed,
        )
        return list(found.calls), list(found.requests)

    assert books(7) == books(7)
    assert books(7) != books(8)


def test_every_call_ends_once_and_every_request_is_somebodys() -> None:
    """The books add up, whatever goes wrong."""
    books = play(faults=0.3, outage=Outage(3.0, 2.0, "refused"), stalls=0.1, timeout=0.5, processes=4)

    assert len(books.calls) == 200
    assert sum(call.requests for call in books.calls) == len(books.requests)
    assert all(call.ended >= call.began for call in books.calls)


def test_each_process_has_protections_of_its_own() -> None:
    """Ten processes have ten retry budgets, and an outage meets more retries."""
    one, ten = (
        play(Evenly(100), 20.0, outage=Outage(10.0, 5.0), clients=100, processes=processes)
        for processes in (1, 10)
    )

    assert amplification(named(ten)["outage"]) - 1 > 2 * (amplification(named(one)["outage"]) - 1)


@pytest.mark.parametrize(
    ("kind", "status", "took"),
    [("503", 503, 0.01), ("refused", None, 0.01), ("hang", None, 5.0), ("NOT_IMPLEMENTED", 501, 0.01)],
)
def test_a_server_is_down_in_several_ways(kind: str, status: int | None, took: float) -> None:
    """It answers at once, with an error of the policy's; refuses; or keeps its callers until their timeout."""
    books = play(policy=at_most(DEFAULT, 0), outage=Outage(5.0, 2.0, kind))
    down = [call for call in books.calls if 5.0 <= call.began < 6.9]

    assert {seen.status for seen in books.requests if 5.0 <= seen.at < 7.0} == {status}
    assert [call.ended - call.began for call in down] == pytest.approx([took] * len(down))
    assert not any(call.ok for call in down)


def test_a_deadline_ends_an_attempt_that_hangs() -> None:
    """What is left of the call's time is what its attempt may take."""
    books = play(deadline=2.0, outage=Outage(5.0, 2.0, "hang"))

    assert max(call.ended - call.began for call in books.calls) == pytest.approx(2.0)


def test_the_published_budget_is_enforced_in_any_rolling_window() -> None:
    """Whoever pays no attention to it: never more than 2500 units within a minute, and nearly so many."""
    books = play(Poisson(60), 100.0, policy=ZEROTRACE)
    spent = [(seen.at, seen.cost) for seen in books.requests if seen.cost]

    most = max(sum(cost for at, cost in spent if end - 60 < at <= end) for end, _ in spent[::50])
    assert 2490 <= most <= 2500
    assert books.whole.throttled > 100
    assert play(Poisson(60), 100.0, policy=ZEROTRACE, limited=False).whole.throttled == 0


def test_a_route_that_is_called_more_often_than_another_by_weight() -> None:
    """Three in four calls take 50 units, and one in four takes one."""
    routes = (Route.read("POST /v1/create=3"), Route.read("GET /v1/coins"))
    books = play(Evenly(100), policy=ZEROTRACE, routes=routes, limited=False)
    units = Counter(seen.cost for seen in books.requests)

    assert units[50.0] / units.total() == pytest.approx(0.75, abs=0.05)
    assert set(units) == {1.0, 50.0}


def test_latency_is_spread_around_its_median() -> None:
    """Half of the calls take less, half of them more."""
    phase = play(Evenly(100), latency=Latency(0.2, 0.5)).whole

    assert phase.p50 == pytest.approx(0.2, rel=0.1)
    assert phase.p99 == pytest.approx(0.2 * 2.718 ** (0.5 * 2.33), rel=0.2)


def test_workers_call_one_after_the_other() -> None:
    """Two of them, 50 ms each: 40 calls a second, and none begins before the one before it has ended."""
    books = play(Loop(2))

    assert books.whole.calls == pytest.approx(400, abs=4)
    mine = [call for call in books.calls if call.caller == 0]
    assert all(later.began >= earlier.ended for earlier, later in pairwise(mine))


@pytest.mark.parametrize(
    ("policy", "rate"), [("default", 100.0), ("zerotrace", 0.8 * 2500 / 60), ("dual", 0.8 * 300 / 60)]
)
def test_the_usual_rate_leaves_a_fifth_of_a_published_budget(policy: str, rate: float) -> None:
    """A hundred a second where none is published."""
    assert usual_rate(load_policy(policy).rulebook, [Route("GET", "/")]) == pytest.approx(rate)


def test_retries_are_bounded_and_never_added() -> None:
    """A rule that retries once goes on retrying once; a schedule ends earlier; the network's are bounded too."""
    policy = at_most(ZEROTRACE, 2)
    retries = {rule.name: rule.retry.retries for rule in policy.rules if rule.retry is not None}

    assert retries == dict.fromkeys(retries, 2) | {"AUTH_INVALID": 1, "INTERNAL": 1}
    assert policy.network.retries == 2
    assert at_most(ZEROTRACE, 99).network.retries == ZEROTRACE.network.retries


# ---------------------------------------------------------------------------------------------------------- the books


def test_a_percentile_is_one_of_the_numbers() -> None:
    """The least that so large a share does not exceed."""
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([0.5], 0.5) == 0.5
    assert percentile([], 0.5) is None


def books_of(*calls: Done) -> Books:
    """Make the books of an outage from 10 to 20 s."""
    scenario = Scenario(policy=DEFAULT, arrivals=Evenly(1), duration=60.0, outage=Outage(10.0, 10.0))
    return Books(scenario, calls, [Seen(at, 200, 0.0) for at in range(60)])


def done(ended: float, reason: Any = "success") -> Done:
    """Make a call that took no time."""
    return Done(ended, ended, reason, 1, 0.0, 0)


def test_recovery_is_the_first_span_in_which_all_is_well_again() -> None:
    """With few calls a span is as long as it takes for ten of them."""
    bad = [done(at, "attempts_exhausted") for at in range(10, 31)]
    good = [done(at) for at in range(31, 60)]

    assert books_of(*good).recovery == pytest.approx(0.0)
    assert books_of(*bad, *good).recovery == pytest.approx(12.0)
    assert books_of(*bad).recovery is None


def test_load_is_told_as_against_that_before_the_outage() -> None:
    """One request a second before, during and after."""
    books = books_of()

    assert books.normal == pytest.approx(1.0)
    assert [phase.load for phase in books.phases()] == pytest.approx([1.0] * 4)
    assert books.peak == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"duration": 0.0}, "duration must be seconds above 0"),
        ({"clients": 0}, "clients must be at least 1"),
        ({"faults": 2.0}, "faults must be a share from 0 to 1"),
        ({"processes": 200}, "at most one for each of the 100 callers"),
        ({"outage": Outage(60.0, 60.0)}, "the calls must go on after the outage"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused(wrong: dict[str, Any], told: str) -> None:
    """The message names the word and says what is right."""
    with pytest.raises(ValueError, match=told):
        play(**wrong)


@pytest.mark.parametrize("text", ["/v1/create", "POST v1", "GET /a=0", "GET /a=x", "GET /a=inf", ""])
def test_a_route_that_is_none_is_refused(text: str) -> None:
    """A method and a path, and a weight above 0."""
    with pytest.raises(ValueError, match=r"a route is|the weight of a route"):
        Route.read(text)


# --------------------------------------------------------------------------------------------------------- the command


def command(*arguments: str) -> str:
    """Run it as on a wide terminal, and give what it prints."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["simulate", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


SHORT = ("default", "--clients", "20", "--rate", "20", "--before", "10s", "--outage", "6s", "--for", "20s")


def test_the_command_prints_a_sentence_and_a_table() -> None:
    """No line is wider than 100 columns, and none ends in a blank; it prints the same each time."""
    printed = command(*SHORT)

    assert printed == command(*SHORT)
    assert "The server was down for 6 s" in printed
    assert [line.split(",")[0].split()[0] for line in printed.splitlines() if " s    " in line] == [
        "before",
        "outage",
        "its",
        "after",
    ]
    assert all(len(line) <= 100 and line == line.rstrip() for line in printed.splitlines())


def test_the_command_prints_one_json_document() -> None:
    """It holds what the table holds, unrounded."""
    document = json.loads(command(*SHORT, "--json"))

    assert [phase["name"] for phase in document["phases"]] == ["before", "outage", "first", "after", "all"]
    assert document["protected_by"] == ["a retry budget"]
    assert document["phases"][-1]["calls"] == 400
    assert document["phases"][-1]["end"] is None


def test_the_command_takes_every_protection() -> None:
    """Each by an option of its own."""
    document = json.loads(
        command(
            "zerotrace",
            *SHORT[1:],
            *("--deadline", "20s", "--park", "--pace", "--hedge", "0.05", "--bulkhead", "adaptive"),
            *("--no-budget", "--poisson", "--faults", "0.1", "--json"),
        )
    )

    assert document["protected_by"] == [
        "a circuit breaker that lets calls wait",
        "pacing",
        "hedging of 0.05",
        "a bulkhead",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["zerotrace", "--workers", "4", "--pace", "--for", "2m"], "of what the API publishes was used"),
        (["zerotrace", "--crowd", "10"], "10 calls at once"),
        (["default", "--no-budget", "--for", "5s", "--processes", "2"], "in 2 processes"),
        (["default", "--for", "500ms", "--breaker", "--retries", "0", "--bulkhead", "5"], "50 calls"),
    ],
)
def test_the_command_says_what_was_simulated(arguments: list[str], told: str) -> None:
    """Who calls and how often, and what came of it."""
    assert told in " ".join(command(*arguments).split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-policy"],
        ["default", "--outage", "5x"],
        ["default", "--outage", "0s"],
        ["default", "--outage", "5s", "--outage-kind", "NO_SUCH_ERROR"],
        ["default", "--outage", "5s", "--for", "10s"],
        ["default", "--park"],
        ["default", "--pace"],
        ["default", "--rate", "5", "--workers", "5"],
        ["default", "--route", "nowhere"],
        ["default", "--bulkhead", "many"],
        ["default", "--bulkhead", "0"],
        ["default", "--picture", "books.png"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    """And says in the last line what is wrong, without a traceback."""
    result = CliRunner().invoke(main, ["simulate", *arguments])

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("more", [[], ["--outage", "10s", "--before", "10s"], ["--crowd", "5"]])
def test_the_picture_is_sound(tmp_path: Path, more: list[str]) -> None:
    """It is well-formed, shades the outage, has the colours of light and dark pages, and is the same each time."""
    rate = [] if "--crowd" in more else ["--rate", "20"]
    command("zerotrace", *rate, *more, "--picture", str(tmp_path / "one.svg"))
    command("zerotrace", *rate, *more, "--picture", str(tmp_path / "two.svg"))
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")

    assert drawn == (tmp_path / "two.svg").read_text(encoding="utf-8")
    ET.fromstring(drawn)  # noqa: S314 - made a line above
    assert ("down" in drawn.partition("</style>")[2]) is ("--outage" in more)
    assert "prefers-color-scheme:dark" in drawn
    assert "NaN" not in drawn


def test_a_picture_that_cannot_be_written_exits_with_2(tmp_path: Path) -> None:
    """In one line."""
    place = str(tmp_path / "nowhere" / "books.svg")
    result = CliRunner().invoke(main, ["simulate", "default", "--crowd", "1", "--picture", place])

    assert result.exit_code == 2
    assert "cannot write" in result.stderr


def test_a_stretch_in_which_no_call_ended_is_a_gap() -> None:
    """Nothing is said of the success of nobody."""
    assert svg(parked(0)).count('class="worked"') >= 2
