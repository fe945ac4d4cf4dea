"""The proof: it holds for the resilient client under every fault, and it finds out each kind of client that does wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner

from resilient_client.cli import main
from resilient_client.prove import SUBJECTS, Naive, Resilient, perform
from resilient_client.prove.books import Books, Told, balance
from resilient_client.prove.run import Run
from resilient_client.sandbox import Sandbox, every_fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.testing import Result

    from resilient_client.clock import Clock
    from resilient_client.prove import Caller

PATIENCE = 0.25  # real seconds: a busy machine may trip it, and then the books have to be right as well

NOTHING: dict[str, Any] = {
    "confirmed": 0,
    "failed": 0,
    "unknown_made": 0,
    "unknown_not_made": 0,
    "duplicated": 0,
    "lost": 0,
    "denied": 0,
    "untold": 0,
    "unasked": 0,
    "problems": (),
}
COLUMNS = [name for name in NOTHING if name not in {"unasked", "problems"}]


def books(**what: Any) -> Books:
    return Books(**({"asked": 1} | NOTHING | what))


def run(
    capsys: pytest.CaptureFixture[str],
    subject: str,
    caller: Caller | None = None,
    *,
    creates: int,
    rate: float = 0.3,
    seed: int = 0,
) -> tuple[int, dict[str, Any]]:
    """Put a client to the proof; give the exit status and what is said of the one API."""
    status = perform(
        [subject], creates=creates, rate=rate, seed=seed, caller=caller, patience=PATIENCE, as_json=True
    )
    document = json.loads(capsys.readouterr().out)
    [entry] = document["apis"]
    assert document["ok"] is entry["ok"] is (status == 0)
    return status, entry


# --- the client


@pytest.mark.parametrize(("rate", "seed"), [(0.3, 1), (0.8, 2)])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_resilient_client_doubles_nothing_loses_nothing_and_lies_to_nobody(
    subject: str, rate: float, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under all faults at once, every create is in one of the columns that may hold any, and the server has nothing else."""
    status, entry = run(capsys, subject, creates=150, rate=rate, seed=seed)

    assert (status, entry["problems"]) == (0, [])
    assert [entry[name] for name in ("duplicated", "lost", "denied", "untold", "unasked")] == [0] * 5
    assert sum(entry[name] for name in COLUMNS) == entry["asked"] == 150
    assert set(entry["faults"]) <= set(every_fault(SUBJECTS[subject].api))


def test_every_fault_strikes_and_many_creates_come_through_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A proof in which nothing goes wrong, or nothing is ever confirmed, would prove nothing."""
    _, entry = run(capsys, "zerotrace", creates=150, rate=0.8, seed=9)  # its first attempts alone meet all

    assert set(entry["faults"]) == set(every_fault("zerotrace"))
    assert sum(entry["faults"].values()) > 120
    assert entry["confirmed"] > 15


def test_without_faults_every_create_is_made_and_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    """At a rate of 0 nothing is injected."""
    status, entry = run(capsys, "zerotrace", creates=20, rate=0)

    assert (status, entry["faults"], entry["unasked"]) == (0, {}, 0)
    assert entry["asked"] == 20
    # All but those that a busy machine answered too late.
    assert entry["confirmed"] + entry["unknown_made"] == 20


def test_a_late_reply_is_too_late_for_the_client() -> None:
    """Latency is longer than the client waits, so that it is a lost reply and no mere delay."""
    one = Run(SUBJECTS["zerotrace"], caller=Resilient(), creates=1, rate=1, seed=0, patience=PATIENCE)
    late = one.sandbox.state.fault(one.late)

    assert late.kind == "latency"
    assert late.seconds is not None
    assert late.seconds / one.clock.speed > PATIENCE


def test_the_same_seed_has_the_same_faults_for_the_same_create() -> None:
    """What a create meets the n-th time that the API would have accepted it does not depend on who comes first."""
    first, second = drawn(seed=3), drawn(seed=3)

    assert first.keys() == second.keys()
    for mark, faults in first.items():
        both = min(len(faults), len(second[mark]))
        assert faults[:both] == second[mark][:both]
    assert first != drawn(seed=4)


def drawn(seed: int) -> dict[str | None, list[str | None]]:
    """Run a few creates, and give what each drew: all requests but those that found a stale connection closed."""
    with Run(
        SUBJECTS["zerotrace"], caller=Resilient(), creates=30, rate=0.5, seed=seed, patience=PATIENCE
    ) as one:
        assert len(list(one.play())) == 30
    faults = defaultdict(list)
    for seen in one.sandbox.state.requests:
        if seen.fault != "stale" or seen.worked:
            faults[seen.call].append(seen.fault)
    return faults


# --- the control, and other clients that do wrong


def test_a_naive_loop_makes_duplicates_and_loses_orders(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain httpx, three attempts, no key: orders exist twice, and of others its caller is told that there are none."""
    status, entry = run(capsys, "zerotrace", Naive(), creates=150, rate=0.5)

    assert status == 1
    assert entry["duplicated"] > 5
    assert entry["denied"] > 0
    assert sum(entry[name] for name in COLUMNS) == 150
    assert any("made more than once (create-" in problem for problem in entry["problems"])


@pytest.mark.parametrize("subject", ["customer_verification", "integration"])
def test_a_naive_loop_denies_what_the_server_has(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the server itself refuses a second one, the loop takes the echo of its own lost create for a failure."""
    status, entry = run(capsys, subject, Naive(), creates=80, rate=0.5)

    assert (status, entry["duplicated"]) == (1, 0)
    assert entry["denied"] > 0


class Tampering(httpx.HTTPTransport):
    """Sends over a real socket, under a key of its own."""

    numbers = count()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Idempotency-Key"] = f"one-key-per-attempt-{next(self.numbers)}"
        return super().handle_request(request)


class AsyncTampering(httpx.AsyncHTTPTransport):
    """The same for tasks."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Idempotency-Key"] = f"one-key-per-attempt-{next(Tampering.numbers)}"
        return await super().handle_async_request(request)


class NewKeyForEachAttempt(Resilient):
    def open(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.Client:
        return api.client(timeout=timeout, transport=Tampering())

    def aopen(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.AsyncClient:
        return api.async_client(timeout=timeout, transport=AsyncTampering())


class NeverUncertain(Resilient):
    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        return isinstance(end, httpx.Response) and end.is_success


class Boastful(Resilient):
    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        return True


class WithoutOutcome(Resilient):
    def told(self, end: httpx.Response | httpx.HTTPError) -> bool | None:
        if isinstance(end, httpx.Response) and end.is_success:
            return True
        raise LookupError("there is no outcome")


@pytest.mark.parametrize(
    ("caller", "column"),
    [
        (NewKeyForEachAttempt(), "duplicated"),
        (NeverUncertain(), "denied"),
        (Boastful(), "lost"),
        (WithoutOutcome(), "untold"),
    ],
    ids=["new-key-for-each-attempt", "never-uncertain", "boastful", "without-outcome"],
)
def test_a_client_that_does_wrong_fails_the_proof(
    caller: Caller, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each wrong of its own kind is found in its own column, and in no other."""
    status, entry = run(capsys, "zerotrace", caller, creates=60, rate=0.5)
    wrong = {name for name in ("duplicated", "lost", "denied", "untold", "unasked") if entry[name]}

    assert (status, wrong) == (1, {column})
    assert entry["problems"] != []


def test_what_nobody_asked_for_fails_the_proof(capsys: pytest.CaptureFixture[str]) -> None:
    """A client that makes one order for another is found out twice: one is lost, and one is nobody's."""

    class Mistaken(Resilient):
        def create(self, client: httpx.Client, request: Mapping[str, Any], clock: Clock) -> bool | None:
            other = {**request["json"], "toAddress": "elsewhere"}
            return super().create(client, {**request, "json": other}, clock)

    status, entry = run(capsys, "zerotrace", Mistaken(), creates=1, rate=0)

    assert (status, entry["lost"], entry["unasked"]) == (1, 1, 1)
    assert entry["problems"] == [
        "1 lost: told made, and the server holds none (create-00000)",
        "1 held by the server, and asked for by nobody (elsewhere)",
    ]


def test_a_client_that_cannot_be_opened_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What a client's making raises is raised, from the tasks' side too, and nobody waits for ever."""

    class Unopened(Resilient):
        def aopen(self, api: Sandbox[Any], timeout: httpx.Timeout) -> httpx.AsyncClient:
            raise RuntimeError("it cannot be had")

    with pytest.raises(RuntimeError, match="it cannot be had"):
        run(capsys, "zerotrace", Unopened(), creates=2)


# --- the books


@pytest.mark.parametrize(
    ("made", "held", "column"),
    [
        (True, 1, "confirmed"),
        (False, 0, "failed"),
        (None, 1, "unknown_made"),
        (None, 0, "unknown_not_made"),
    ],
)
def test_what_may_be_is_in_the_books_without_a_problem(*, made: bool | None, held: int, column: str) -> None:
    """A caller may be told the truth, or that it is not known."""
    balanced = balance(["a"], [Told("a", made)], {"a": held})

    assert balanced == books(**{column: 1})
    assert balanced.ok


@pytest.mark.parametrize(
    ("made", "held", "column", "problem"),
    [
        (True, 2, "duplicated", "1 made more than once (a)"),
        (None, 2, "duplicated", "1 made more than once (a)"),
        (False, 2, "duplicated", "1 made more than once (a)"),
        (True, 0, "lost", "1 lost: told made, and the server holds none (a)"),
        (False, 1, "denied", "1 lost: told not made, and the server holds one (a)"),
    ],
)
def test_what_must_not_be_is_a_problem(*, made: bool | None, held: int, column: str, problem: str) -> None:
    """Two of one is a duplicate whatever its caller was told; what was told and is not so is a loss."""
    balanced = balance(["a"], [Told("a", made)], {"a": held})

    assert balanced == books(**{column: 1}, problems=(problem,))
    assert not balanced.ok


def test_a_caller_who_is_told_nothing_is_a_problem() -> None:
    """Its failure is in the books, in words."""
    balanced = balance(["a"], [Told("a", None, failure="KeyError: 'b'")], {"a": 1})

    assert balanced == books(
        untold=1,
        problems=("1 told nothing: neither an answer nor an outcome (a)", "KeyError: 'b' (1 of them)"),
    )


def test_books_that_do_not_add_up_are_a_problem() -> None:
    """Whoever was told twice, or not at all, is named; of many, the first three."""
    asked = ["a", "b", "c", "d", "e"]

    balanced = balance(asked, [Told("e", made=True), Told("e", made=True)], {"e": 1})
    assert balanced.problems == ("5 not told, or told twice (a, b, c and others)",)


# --- the command


def command(*arguments: str, **environment: str) -> Result:
    plain = dict.fromkeys(("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"))
    return CliRunner().invoke(main, ["prove", *arguments], env={**plain, "COLUMNS": "80", **environment})


def test_prove_prints_one_json_document() -> None:
    """With --json there is nothing else, and the document says with what it was made."""
    done = command("--json", "--creates", "20", "--seed", "3", "--api", "integration")
    document = json.loads(done.stdout)
    [entry] = document.pop("apis")

    assert (done.exit_code, done.stderr) == (0, "")
    assert document == {"client": "resilient", "creates": 20, "faults": 0.3, "seed": 3, "ok": True}
    assert list(entry) == [
        "api",
        "ok",
        "asked",
        *COLUMNS,
        "unasked",
        "requests",
        "faults",
        "seconds",
        "creates_per_second",
        "problems",
    ]
    assert (entry["api"], entry["asked"]) == ("integration", 20)
    assert entry["requests"] >= 20 - entry["failed"]


def test_prove_prints_plain_lines_where_nobody_is_looking() -> None:
    """Piped, it says how far it is after each tenth, then the books, in lines of at most 80 columns."""
    done = command("--creates", "20", "--faults", "0.1")
    lines = done.stdout.splitlines()

    assert done.exit_code == 0
    assert [line.split()[:2] for line in lines if line.endswith("requests")] == [
        [str(told), "told,"] for told in range(2, 21, 2)
    ]
    assert "the operator has raised the budget of 2500 units" in done.stdout.replace("\n", " ")
    assert f"  {'asked':<50}{20:>8}" in lines
    assert f"  {'made more than once':<50}{0:>8}" in lines
    assert "zerotrace: proved; " in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []


def test_prove_shows_a_bar_in_a_terminal() -> None:
    """Where somebody is looking, a bar takes the place of the lines."""
    done = command("--creates", "20", "--faults", "0", FORCE_COLOR="1")

    assert done.exit_code == 0
    assert "20/20" in done.stdout
    assert "\x1b[" in done.stdout
    assert "2 told, " not in [line.strip() for line in done.stdout.splitlines()]


def test_prove_naive_exits_with_1_and_names_what_went_wrong() -> None:
    """The control fails, in words."""
    done = command("--naive", "--creates", "40", "--faults", "0.5", "--seed", "5")

    assert done.exit_code == 1
    assert "by plain httpx in a naive retry loop" in done.stdout.replace("\n", " ")
    assert "problem: " in done.stdout
    assert "zerotrace: NOT proved; " in done.stdout


def test_prove_all_goes_to_every_api() -> None:
    """The choices of the command are the subjects that there are, in their order."""
    done = command("--json", "--api", "all", "--creates", "1", "--faults", "0")

    assert [entry["api"] for entry in json.loads(done.stdout)["apis"]] == list(SUBJECTS)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--faults", "1.5"], "Invalid value for --faults: a share is from 0 to 1, and not 1.5"),
        (["--faults", "-0.1"], "Invalid value for --faults: a share is from 0 to 1, and not -0.1"),
        (["--faults", "nan"], "Invalid value for --faults: a share is from 0 to 1, and not nan"),
        (["--creates", "0"], "Invalid value for '--creates': 0 is not in the range x>=1."),
        (["--creates", "many"], "Invalid value for '--creates': 'many' is not a valid integer range."),
        (["--api", "dual"], "Invalid value for '--api': 'dual' is not one of "),
    ],
)
def test_prove_refuses_wrong_flags_in_one_line(arguments: list[str], complaint: str) -> None:
    """A flag that cannot be is refused before anything is done, with exit status 2."""
    done = command(*arguments)
    [said] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]

    assert (done.exit_code, done.stdout) == (2, "")
    assert said.startswith(f"Error: {complaint}")


# Where the tests run in the background, SIGINT is ignored, and so it would be by what they start.
INTERRUPTIBLE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('resilient_client', run_name='__main__', alter_sys=True)"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_prove_stops_at_once_when_interrupted() -> None:
    """Ctrl-C ends it in the middle of its calls, with exit status 130, and without a traceback or a word of its threads."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", INTERRUPTIBLE, "prove", "--creates", "20000"],
        env=os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "minute." in line:  # the last word of the heading
                break
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, complaint = running.communicate(timeout=10)

    assert (running.returncode, complaint) == (130, "stopped\n")
    assert time.monotonic() - began < 5
