"""The command line: what it prints, how it exits, and that its demonstration finds out a client that does wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner

from resilient_client import HmacAuth, ResilientClient, __version__
from resilient_client.cli import main
from resilient_client.demo import ScaledClock, perform
from resilient_client.demo._clock import StoppedError
from resilient_client.demo.scenes import SCENES, marker
from resilient_client.loading import folder

if TYPE_CHECKING:
    from pathlib import Path

    from resilient_client.sandbox import Sandbox, Zerotrace

SPEED = "25"
DOCUMENTED = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 99]  # the vendor's list, but for the reserved 9
CALLS = [call for scene in SCENES for call in scene.calls()]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python as somebody at a shell would, with nothing in the environment that asks for colours."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=plain_environment() | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def plain_environment() -> dict[str, str]:
    telling = {"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "PYTHONIOENCODING"}
    return {name: value for name, value in os.environ.items() if name not in telling} | {"PYTHONUTF8": "1"}


def calls_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {call["name"]: call for call in document["calls"]}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Give what one run says in JSON."""
    done = CliRunner().invoke(main, ["demo", "--json", "--speed", SPEED])
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# --- the demonstration


def test_demo_makes_every_order_once(document: dict[str, Any]) -> None:
    """Each order that was asked for exists once, whatever went wrong, and there are enough of them to tell."""
    summary = document["summary"]
    asked = len({call.order for call in CALLS if call.order is not None})

    assert (asked, asked, 0, 0) == tuple(summary[name] for name in ("asked", "made", "duplicates", "lost"))
    assert asked >= 25
    assert document["problems"] == []
    assert document["ok"] is True


def test_demo_meets_every_documented_code(document: dict[str, Any]) -> None:
    """All codes of the vendor's list are met; 9 is reserved, and never sent."""
    assert document["codes"] == {"met": DOCUMENTED, "reserved": [9]}
    assert all(seen["code"] != 9 for call in document["calls"] for seen in call["seen"])


def test_demo_refuses_of_its_own_accord_what_a_caller_can_bring_about(document: dict[str, Any]) -> None:
    """Only what cannot be brought about from outside is planned: all other codes are real refusals."""
    real = {seen["code"] for call in document["calls"] for seen in call["seen"] if seen["fault"] is None}

    assert set(DOCUMENTED) - {11, 99} <= real


def test_demo_has_the_line_break_in_every_way(document: dict[str, Any]) -> None:
    """All faults of the line are carried out: that is more than being planned."""
    faults = {seen["fault"] for call in document["calls"] for seen in call["seen"]}

    assert {"reset", "close", "lose", "truncate", "html-503"} <= faults


def test_demo_says_the_same_of_attempts_in_all_places(document: dict[str, Any]) -> None:
    """The sum of the calls' attempts is the summary's, and the server has seen as many as the client tells of."""
    calls = document["calls"]

    assert document["summary"]["calls"] == len(calls) == len(CALLS)
    assert document["summary"]["attempts"] == sum(len(call["seen"]) for call in calls)
    assert all(len(call["attempts"]) in {len(call["seen"]), 0} for call in calls)
    slept = sum(attempt["wait"] for call in calls for attempt in call["attempts"])
    assert document["summary"]["slept"] == pytest.approx(slept, abs=0.1)


def test_demo_waits_as_the_documents_say(document: dict[str, Any]) -> None:
    """1, 2 and 5 seconds for a supplier; not less than Retry-After; once and at once under a fresh nonce."""
    calls = calls_of(document)
    waits = {name: [attempt["wait"] for attempt in calls[name]["attempts"][:-1]] for name in calls}

    assert [wait >= least for wait, least in zip(waits["upstream-3"], [1, 2, 5], strict=True)] == [True] * 3
    assert waits["throttled"][0] >= 2
    assert waits["nonce-twice"] == [0]
    assert calls["nonce-twice"]["attempts"][0]["change"] == ["nonce"]
    assert calls["throttled-long"]["reason"] == "wait_too_long"
    assert calls["impatient"]["reason"] == "deadline"
    assert calls["qr-no-key"]["maybe_applied"] is True


def test_demo_shows_failures_as_they_are(document: dict[str, Any]) -> None:
    """A failure that is to be expected is in the report as one, with what to tell the user or what to do."""
    calls = calls_of(document)

    assert calls["unknown-order"]["result"] == "NOT_FOUND"
    assert calls["switched-off"]["result"] == "AUTH_DISABLED"
    assert "operator" in calls["switched-off"]["remedy"]
    assert "too small" in calls["too-small"]["user_message"]


def test_demo_prints_a_row_for_every_call_and_ends_with_the_summary() -> None:
    """Piped, it prints plain lines of at most 80 columns, in the order of the script, and nothing on stderr."""
    done = python("-m", "resilient_client", "demo", "--speed", SPEED)
    lines = done.stdout.splitlines()
    rows = [line for line in lines if line.startswith("✓")]

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [call.name for call in CALLS] == [row.split()[1] for row in rows]
    assert "\x1b" not in done.stdout
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []
    assert "Codes met: 1 2 3 4 5 6 7 8 10 11 12 13 14 99." in done.stdout
    attempts = sum(int(row.split()[2]) for row in rows)
    assert (
        f"{len(CALLS)} calls, {attempts} attempts; 25 orders asked for, 25 made, 0 duplicates, 0 lost"
        == lines[-1]
    )


def test_demo_in_a_terminal_of_few_characters_is_ascii() -> None:
    """Where nothing but ASCII can be written, nothing else is."""
    done = python(
        "-m", "resilient_client", "demo", "--speed", SPEED, PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "ok upstream-2" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_demo_stops_at_once_when_interrupted() -> None:
    """Ctrl-C ends it in the middle of its waits, with exit status 130 and without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "resilient_client", "demo", "--speed", "0.1"],
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "life-refund" in line:
                break
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, complaint = running.communicate(timeout=10)

    assert (running.returncode, complaint) == (130, "stopped\n")
    assert time.monotonic() - began < 5


# --- the books: a client that does wrong is found out


class Tampering(httpx.HTTPTransport):
    """Sends over a real socket, after having done something wrong."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self._change = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._change(request)
        return answer if answer is not None else super().handle_request(request)


def exit_status_with(change: Any, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Play the demonstration with a client of which every attempt goes through `change`."""

    def open_client(api: Sandbox[Zerotrace], clock: ScaledClock) -> httpx.Client:
        return ResilientClient(
            "zerotrace",
            clock=clock,
            base_url=api.base_url,
            auth=HmacAuth(api.key, api.secret),
            transport=Tampering(change),
            trust_env=False,
        )

    status = perform(speed=float(SPEED), as_json=True, open_client=open_client)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, document


def test_a_new_key_for_every_attempt_is_reported_as_duplicates(capsys: pytest.CaptureFixture[str]) -> None:
    """A client that makes a key per attempt makes orders twice when replies get lost: the books show it, exit status 1."""
    numbers = itertools.count()

    def new_key(request: httpx.Request) -> None:
        if "Idempotency-Key" in request.headers:
            request.headers["Idempotency-Key"] = f"one-key-per-attempt-{next(numbers)}"

    status, document = exit_status_with(new_key, capsys)
    summary, problems = document["summary"], document["problems"]

    assert (status, document["ok"]) == (1, False)
    # reply-lost and bad-day lose one reply each, lost-twice two; cut-short is sent again by its caller.
    assert (summary["duplicates"], summary["lost"], summary["made"] - 1) == (4, 0, 25 + 5)
    assert "lost-twice: 3 orders exist, and one was asked for" in problems
    assert "keyed-otherwise: ended with 200, not with INVALID_REQUEST" in problems
    assert f"{marker('keyed-otherwise')}: an order that should not exist" in problems
    assert "reply-lost: the Idempotency-Key changed from attempt to attempt" in problems


def test_a_success_without_an_order_is_reported_as_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """A client that says 200 where nothing was made is found out in the ledger, exit status 1."""

    def pretend(request: httpx.Request) -> httpx.Response | None:
        if request.headers.get("X-Sandbox-Call") != "order-1":
            return None
        return httpx.Response(200, json={"code": 0, "data": {"id": "NOWHERE"}})

    status, document = exit_status_with(pretend, capsys)
    summary = document["summary"]

    assert (status, *(summary[name] for name in ("duplicates", "lost", "made"))) == (1, 0, 1, 24)
    assert document["problems"] == [
        "order-1: asked for, and no such order exists",
        "order-1: the server has not seen it",
        "order-1: 1 attempts told, 0 seen by the server",
    ]
    assert calls_of(document)["order-1"]["result"] == "200"


def test_a_client_that_knows_nothing_of_the_api_is_found_wanting(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain httpx, with the same signer, loses orders: the report is printed to its end all the same, exit status 1."""

    def open_client(api: Sandbox[Zerotrace], _clock: ScaledClock) -> httpx.Client:
        return httpx.Client(base_url=api.base_url, auth=HmacAuth(api.key, api.secret), trust_env=False)

    status = perform(speed=float(SPEED), open_client=open_client)
    printed = capsys.readouterr().out

    assert status == 1
    assert "✗  upstream-2         1 503 UPSTREAM_ERROR" in printed
    assert "problem: upstream-2: asked for, and no such order exists" in printed
    assert "13 made, 1 duplicates, 14 lost" in printed.splitlines()[-1]


# --- the rest of the command line


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"], ["schema", "--help"]])
def test_help_is_given(arguments: list[str]) -> None:
    """Each command says what it is for, and exits with 0."""
    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_version_is_the_packages_own() -> None:
    """--version names the command and the version."""
    assert f"resilient-client, version {__version__}\n" == CliRunner().invoke(main, ["--version"]).stdout


@pytest.mark.parametrize("arguments", [["dmeo"], ["demo", "--speed", "0"], ["demo", "--speed", "1000"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    """A command that does not exist, and a speed at which time would stand still or fly, are refused."""
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_schema_is_the_one_beside_the_policies() -> None:
    """`schema` prints what is committed as policies/policy.schema.json, byte by byte."""
    done = CliRunner().invoke(main, ["schema"])

    assert done.exit_code == 0
    assert (folder() / "policy.schema.json").read_text(encoding="utf-8") == done.stdout


@pytest.mark.parametrize("missing", ["click", "rich"])
@pytest.mark.parametrize(
    "way",
    [
        ["-m", "resilient_client"],
        ["-c", "import sys; from resilient_client.cli import main; sys.exit(main())"],
    ],
)
def test_without_its_extra_it_says_how_to_get_it(missing: str, way: list[str], tmp_path: Path) -> None:
    """Where click or rich is not installed, one line says what to install; no traceback, exit status 2."""
    (tmp_path / f"{missing}.py").write_text("raise ImportError('not installed')\n", encoding="utf-8")

    done = python(*way, PYTHONPATH=str(tmp_path))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "resilient-client needs click and rich: pip install 'resilient-client[cli]'\n"


# --- the clock


def test_scaled_clock_runs_faster_and_never_wakes_early() -> None:
    """To sleep 2 seconds at speed 100 takes 20 ms, and by the clock it was 2 seconds at least."""
    clock = ScaledClock(100)
    began, real = clock.monotonic(), time.monotonic()
    clock.sleep(2)

    assert clock.monotonic() - began >= 2
    assert 0.02 <= time.monotonic() - real < 1
    assert clock.time() == pytest.approx(time.time(), abs=200)


def test_stopping_a_scaled_clock_wakes_who_sleeps() -> None:
    """Nobody sleeps on when the clock is stopped, nor falls asleep by it again."""
    clock = ScaledClock()
    ended = threading.Event()

    def sleeper() -> None:
        with contextlib.suppress(StoppedError):
            clock.sleep(60)
        ended.set()

    threading.Thread(target=sleeper, daemon=True).start()
    clock.stop()

    assert ended.wait(5)
    with pytest.raises(StoppedError):
        clock.sleep(0.001)
    assert clock.sleeping == 0


def test_scaled_clock_does_not_run_backward() -> None:
    """A speed of nothing or less is a mistake of the caller."""
    with pytest.raises(ValueError, match="above 0"):
        ScaledClock(0)
