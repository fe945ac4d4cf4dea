"""The demonstration: what it plays, prints and draws, and that it finds out a client that does wrong."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import httpx
import pytest
from click.testing import CliRunner
from programs import INTERRUPTIBLE
from rich.console import Console

from resilient_client import HmacAuth
from resilient_client.cli import main
from resilient_client.demo import perform
from resilient_client.demo.live import Board
from resilient_client.demo.play import Met
from resilient_client.demo.scenes import SCENES
from resilient_client.sandbox import sandbox_names
from resilient_client.sandbox.clock import ScaledClock, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from resilient_client.demo.script import Vendor
    from resilient_client.sandbox import Sandbox

SPEED = "25"
DOCUMENTED = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 99]  # 0trace's list, but for the reserved 9
CALLS = [call for scene in SCENES for call in scene.calls()]
ASKED = len({call.creates for call in CALLS if call.creates is not None})


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as somebody at a shell would, with nothing in the environment that asks for colours."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "resilient_client", "demo", *arguments],
        env=plain_environment() | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def plain_environment() -> dict[str, str]:
    telling = {"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "PYTHONIOENCODING"}
    return {name: value for name, value in os.environ.items() if name not in telling} | {"PYTHONUTF8": "1"}


def calls_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {call["name"]: call for call in document["calls"]}


@dataclass
class Run:
    """What one run of the whole demonstration left behind."""

    document: dict[str, Any]
    timeline: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Play all of it once, with a document and a timeline."""
    picture = tmp_path_factory.mktemp("demo") / "timeline.svg"
    done = CliRunner().invoke(main, ["demo", "--json", "--speed", SPEED, "--timeline", str(picture)])
    assert done.exit_code == 0, done.output
    return Run(json.loads(done.stdout), picture.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def document(run: Run) -> dict[str, Any]:
    """Give what one run says in JSON."""
    return run.document


# --- what is played


def test_demo_makes_everything_once(document: dict[str, Any]) -> None:
    """All that was asked for exists once, whatever went wrong, and there is enough of it to tell."""
    summary = document["summary"]

    assert [summary[name] for name in ("asked", "made", "duplicates", "lost")] == [ASKED, ASKED, 0, 0]
    assert ASKED >= 50
    assert document["problems"] == []
    assert document["ok"] is True


def test_demo_plays_every_api_that_has_a_sandbox(document: dict[str, Any]) -> None:
    """All five, each with its own numbers, which add up to those of the summary."""
    apis = document["apis"]

    assert tuple(apis) == sandbox_names()
    for name in ("calls", "attempts", "asked", "made", "duplicates", "lost"):
        assert document["summary"][name] == sum(api["summary"][name] for api in apis.values())
    assert apis["dual"]["title"] == "DUAL API"


def test_calls_have_names_of_their_own() -> None:
    """Requests are told apart by their call's name, and it has room in the table."""
    names = [call.name for call in CALLS]

    assert len(names) == len(set(names))
    assert max(len(name) for name in names) <= 17


def test_demo_meets_every_code_that_0trace_documents(document: dict[str, Any]) -> None:
    """All codes of the vendor's list are met; 9 is reserved, and never sent."""
    assert document["apis"]["zerotrace"]["codes"] == {"met": DOCUMENTED, "reserved": [9]}
    zerotrace = [call for call in document["calls"] if call["api"] == "zerotrace"]
    assert all(seen["code"] != 9 for call in zerotrace for seen in call["seen"])


def test_demo_refuses_of_its_own_accord_what_a_caller_can_bring_about(document: dict[str, Any]) -> None:
    """Only what cannot be brought about from outside is planned: all other codes are real refusals."""
    real = {seen["code"] for call in document["calls"] for seen in call["seen"] if seen["fault"] is None}

    assert set(DOCUMENTED) - {11, 99} <= real
    assert {"TOKEN_EXPIRED", "RATE_LIMIT_EXCEEDED", "DUPLICATE_RESOURCE", 4001, 409} <= real
    assert {"INSUFFICIENT_SCOPE", "OPERATOR_USER_NOT_FOUND", "Conflict", "Forbidden"} <= real


def test_demo_has_the_line_break_in_every_way(document: dict[str, Any]) -> None:
    """All faults of the line are carried out: that is more than being planned."""
    faults = {seen["fault"] for call in document["calls"] for seen in call["seen"]}

    assert {"reset", "close", "lose", "lose-reset", "truncate", "html-503"} <= faults


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
    for name, least in {"throttled": 2, "throttled-proxy": 3, "unavailable": 4, "hook-later": 3}.items():
        assert waits[name][0] >= least
    assert waits["nonce-twice"] == [0]
    assert calls["nonce-twice"]["attempts"][0]["change"] == ["nonce"]
    assert calls["throttled-long"]["reason"] == "wait_too_long"
    assert calls["impatient"]["reason"] == "deadline"


def test_demo_sends_twice_what_has_a_key_and_nothing_else(document: dict[str, Any]) -> None:
    """A lost create is sent again under its key; one that has none may have been applied, and is not."""
    calls = calls_of(document)

    assert [len(calls[name]["seen"]) for name in ("reply-lost", "reply-gone", "move-lost")] == [2, 2, 2]
    for name in ("qr-no-key", "object-lost", "unkeyed-lost"):
        assert (len(calls[name]["seen"]), calls[name]["maybe_applied"]) == (1, True)
    assert calls["echo"]["result"] == "DUPLICATE_RESOURCE"
    assert calls["echo"]["maybe_applied"] is True


def test_demo_renews_a_token_for_all_and_overrides_on_request(document: dict[str, Any]) -> None:
    """A refused token is replaced once; a conflict is overridden where its caller asks for it."""
    calls = calls_of(document)
    renewed = [
        attempt["change"] for number in range(1, 5) for attempt in calls[f"list-{number}"]["attempts"][:-1]
    ]

    assert renewed
    assert all(change == ["refresh"] for change in renewed)
    assert calls["visit-replaced"]["attempts"][0]["change"] == ["override"]
    assert calls["visit-again"]["attempts"][0]["change"] == []
    assert calls["unwelcome"]["reason"] == "not_retryable"


def test_demo_shows_failures_as_they_are(document: dict[str, Any]) -> None:
    """A failure that is to be expected is in the report as one, with what to tell the user or what to do."""
    calls = calls_of(document)

    assert calls["unknown-order"]["result"] == "NOT_FOUND"
    assert calls["switched-off"]["result"] == "AUTH_DISABLED"
    assert "operator" in calls["switched-off"]["remedy"]
    assert "too small" in calls["too-small"]["user_message"]


# --- what is printed


def test_demo_prints_a_row_for_every_call_and_ends_with_the_summary() -> None:
    """Piped, it prints plain lines of at most 80 columns, in the order of the script, and nothing on stderr."""
    done = python("--speed", SPEED)
    lines = done.stdout.splitlines()
    rows = [line for line in lines if line.startswith("✓")]

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [call.name for call in CALLS] == [row.split()[1] for row in rows]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout)
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []
    assert "0trace Partner API: codes met: 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 99; 9" in done.stdout
    attempts = sum(int(row.split()[2]) for row in rows)
    assert (
        f"{len(CALLS)} calls, {attempts} attempts; {ASKED} creates asked for, {ASKED} made, 0 duplicates, 0 lost"
        == lines[-1]
    )


def test_demo_plays_some_apis_where_some_are_named_and_is_ascii_where_nothing_else_can_be_written() -> None:
    """--api picks, and may be repeated; on a console that takes ASCII only, nothing else is written."""
    done = python(
        "--speed",
        SPEED,
        "--api",
        "integration",
        "--api",
        "openpoly",
        PYTHONIOENCODING="ascii",
        PYTHONUTF8="0",
    )
    lines = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert [line for line in lines if line.startswith("=== ")] == [
        "=== OpenPoly Operator API",
        "=== Reten Activities Integration API",
    ]
    assert "ok move-lost          2 RemoteProtocolError >" in done.stdout
    assert lines[-1].endswith("creates asked for, 9 made, 0 duplicates, 0 lost")


def test_demo_json_is_one_document_and_nothing_else(run: Run) -> None:
    """With --json, and a timeline beside it, stdout is one document; the timeline has a row for every call."""
    rows = re.findall(r'<g class="row">\n<text [^>]*><title>[^<]*</title>([^<]*)', run.timeline)

    assert [name for name in rows if name != "(sign-ins)"] == [call.name for call in CALLS]
    assert len(run.timeline) < 200_000
    ET.fromstring(run.timeline.encode())  # noqa: S314 - the text is this test's own
    assert f"{len(CALLS)} calls, {run.document['summary']['attempts']} attempts" in run.timeline


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_demo_stops_at_once_when_interrupted() -> None:
    """Ctrl-C ends it in the middle of its waits, with exit status 130 and without a traceback."""
    command = ["-c", INTERRUPTIBLE, "demo", "--speed", "0.1", "--api", "zerotrace"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", *command],
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


# --- what is seen while it goes on


class Halfway:
    """A stage on which half of everything has happened."""

    scenes = SCENES

    clock = SimpleNamespace(sleeping=17)

    @staticmethod
    def met(vendor: Vendor | None = None) -> Met:
        del vendor
        return Met(attempts=123, faults=98, retries=67)


def drawn(width: int, encoding: str = "utf-8") -> list[str]:
    """Draw the board once, on a console of so many columns."""
    console = Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding=encoding),
        width=width,
        force_terminal=True,
        no_color=True,
    )
    board = Board(Halfway(), plain=encoding == "ascii")  # type: ignore[arg-type]  # all that a board asks a stage
    for _ in range(24):
        board.note(SimpleNamespace(scene=SCENES[0]))  # type: ignore[arg-type]  # all that it asks of a call
    with console.capture() as capture:
        console.print(board)
    return re.sub(r"\x1b\[[0-9;]*m", "", capture.get()).splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [40, 50, 60, 80, 200])
def test_the_board_fits_any_terminal(width: int, encoding: str) -> None:
    """A bar for every API, the counters below, no line wider than the terminal, ASCII where that is all it takes."""
    lines = drawn(width, encoding)
    text = " ".join(line.strip() for line in lines)

    assert all(len(line) <= width for line in lines)
    assert [line.split()[-1] for line in lines[:5]] == ["24/48", "0/24", "0/16", "0/10", "0/11"]
    assert re.fullmatch("0trace +(━+|-+) +24/48", lines[0])
    assert "123 attempts, 17 waiting now, 98 faults met, 67 retries" in text
    if encoding == "ascii":
        assert text.isascii()
    if width >= 60:
        assert len(lines) == 6


def seen_in_a_terminal(columns: int) -> str:
    """Run a part of the demonstration in a terminal of so many columns, and give all that is written to it."""
    import fcntl  # noqa: PLC0415 - Windows has none
    import termios  # noqa: PLC0415 - Windows has none

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = plain_environment() | {"TERM": "xterm-256color"}
    command = ["-m", "resilient_client", "demo", "--speed", SPEED, "--api", "integration", "--api", "dual"]
    with subprocess.Popen(
        [sys.executable, *command], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as running:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
            while select.select([ours], [], [], 30)[0] and (part := os.read(ours, 65536)):
                written += part
        os.close(ours)
        assert running.wait(30) == 0
    return written.decode()


def shown(written: str) -> list[str]:
    """Do as a terminal does: give the lines that are left in the end."""
    lines, at = [""], 0
    for sign in re.findall("\x1b\\[[0-9;?]*[A-Za-z]|[^\x1b]", written):
        if sign == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif sign == "\x1b[1A":
            at -= 1
        elif sign == "\x1b[2K":
            lines[at] = ""
        elif len(sign) == 1 and sign != "\r":
            lines[at] += sign
    while not lines[-1]:
        lines.pop()
    return lines


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_in_a_terminal_there_are_bars_and_counters_that_leave_no_trace() -> None:
    """At 60 columns no line is broken by the terminal; the board is taken away, the rows and the summary stay."""
    written = seen_in_a_terminal(60)
    counters = re.findall(r"(\d+) attempts, \d+ waiting now, \d+ faults met, \d+ retries", written)
    left = shown(written)

    assert max(int(attempts) for attempts in counters) > 0
    assert re.search("Reten Integration +\x1b.*━", written)
    assert all(len(line) <= 60 for line in left)
    assert not any("waiting now" in line for line in left)
    assert sum(line.startswith("✓") for line in left) == 16 + 11
    assert " ".join(left).endswith("8 creates asked for, 8 made, 0 duplicates, 0 lost")


# --- the timeline's file


@pytest.mark.parametrize("name", ["timeline.png", "timeline", "svg", "missing/timeline.svg", "folder.svg"])
def test_a_timeline_that_cannot_be_written_is_refused_before_anything_is_played(
    name: str, tmp_path: Path
) -> None:
    """Another suffix, a folder that is not there, one in the file's place: one line says so, exit status 2."""
    (tmp_path / "folder.svg").mkdir()
    done = CliRunner().invoke(main, ["demo", "--timeline", str(tmp_path / name)])

    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(
        r"Error: (a timeline is an .svg or an .html file \(got|cannot write) .*\n", done.stderr
    )
    assert [each.name for each in tmp_path.iterdir()] == ["folder.svg"]


def test_a_timeline_may_be_a_page_and_replaces_an_older_one(tmp_path: Path) -> None:
    """The suffix decides, in capitals too; what was there before is gone."""
    page = tmp_path / "timeline.HTML"
    page.write_text("older", encoding="utf-8")
    done = CliRunner().invoke(main, ["demo", "--speed", "100", "--api", "openpoly", "--timeline", str(page)])

    assert done.exit_code == 0, done.output
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>\n<html lang=")


def test_a_timeline_that_can_no_longer_be_written_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the folder goes while all is played, the report is printed all the same, and one line says what failed."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def open_client(api: Sandbox[Any]) -> httpx.Client:
        folder.rmdir()
        return api.client()

    status = perform(apis=["openpoly"], speed=100, timeline=folder / "timeline.svg", open_client=open_client)
    printed = capsys.readouterr()

    assert status == 1
    assert printed.out.splitlines()[-1].endswith("0 duplicates, 0 lost")
    assert re.fullmatch(r"cannot write '.*timeline\.svg': No such file or directory\n", printed.err)


# --- the books: a client that does wrong is found out


class Tampering(httpx.HTTPTransport):
    """Sends over a real socket, after having done something wrong."""

    def __init__(self, change: Callable[[httpx.Request], httpx.Response | None]) -> None:
        super().__init__()
        self._change = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._change(request)
        return answer if answer is not None else super().handle_request(request)


class Insistent(httpx.HTTPTransport):
    """Sends again whatever got no reply, as a well-meaning proxy might."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return super().handle_request(request)
        except httpx.TransportError:
            return super().handle_request(request)


class EachForItself(httpx.Auth):
    """Signs in for every call."""

    requires_response_body = True

    def __init__(self, api: Sandbox[Any]) -> None:
        self._login = httpx.Request("POST", f"{api.base_url}/auth/token", headers={"X-API-Key": api.key})

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        answer = yield self._login
        request.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield request


def played_with(
    open_client: Callable[[Sandbox[Any]], httpx.Client], capsys: pytest.CaptureFixture[str], *apis: str
) -> tuple[int, dict[str, Any]]:
    """Play some APIs' scenes with a client that does wrong."""
    status = perform(apis=apis, speed=float(SPEED), as_json=True, open_client=open_client)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, document


def test_a_new_key_for_every_attempt_is_reported_as_duplicates(capsys: pytest.CaptureFixture[str]) -> None:
    """A client that makes a key per attempt makes orders twice when replies get lost: the books show it."""
    numbers = itertools.count()

    def new_key(request: httpx.Request) -> None:
        if "Idempotency-Key" in request.headers:
            request.headers["Idempotency-Key"] = f"one-key-per-attempt-{next(numbers)}"

    status, document = played_with(lambda api: api.client(transport=Tampering(new_key)), capsys, "zerotrace")
    summary, problems = document["summary"], document["problems"]

    assert (status, document["ok"]) == (1, False)
    # reply-lost and bad-day lose one reply each, lost-twice two; cut-short is sent again by its caller.
    assert (summary["duplicates"], summary["lost"], summary["made"] - 1) == (4, 0, 25 + 5)
    assert "lost-twice: 3 of it exist, and one was asked for" in problems
    assert "keyed-otherwise: ended with 200, not with INVALID_REQUEST" in problems
    assert "keyed-otherwise: exists, and should not" in problems
    assert "reply-lost: the idempotency key changed from attempt to attempt" in problems


def test_a_success_without_an_order_is_reported_as_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """A client that says 200 where nothing was made is found out in the ledger, exit status 1."""

    def pretend(request: httpx.Request) -> httpx.Response | None:
        if request.headers.get("X-Sandbox-Call") != "order-1":
            return None
        return httpx.Response(200, json={"code": 0, "data": {"id": "NOWHERE"}})

    status, document = played_with(lambda api: api.client(transport=Tampering(pretend)), capsys, "zerotrace")
    summary = document["summary"]

    assert (status, *(summary[name] for name in ("duplicates", "lost", "made"))) == (1, 0, 1, 24)
    assert document["problems"] == [
        "order-1: asked for, and does not exist",
        "order-1: the server has not seen it",
        "order-1: 1 attempts told, 0 seen by the server",
    ]
    assert calls_of(document)["order-1"]["result"] == "200"


def test_sending_unkeyed_creates_twice_is_reported_as_duplicates(capsys: pytest.CaptureFixture[str]) -> None:
    """Where something on the way repeats what got no reply, what has no key is made twice: the books show each."""
    status, document = played_with(
        lambda api: api.client(transport=Insistent()),
        capsys,
        "dual",
        "openpoly",
    )
    apis, problems = document["apis"], document["problems"]

    assert status == 1
    assert (apis["dual"]["summary"]["duplicates"], apis["openpoly"]["summary"]["duplicates"]) == (1, 1)
    assert "object-lost: 2 of it exist, and one was asked for" in problems
    assert "unkeyed-lost: 2 of it exist, and one was asked for" in problems
    assert "object-lost: 1 attempts told, 2 seen by the server" in problems


def test_a_sign_in_for_every_call_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """A client whose callers do not share their token does what is asked, with too many sign-ins: exit status 1."""
    status, document = played_with(
        lambda api: api.client(auth=EachForItself(api)), capsys, "customer_verification"
    )
    too_many = [problem for problem in document["problems"] if "sign-ins" in problem]

    assert status == 1
    assert len(too_many) == 1
    assert re.fullmatch(r"customer_verification: \d+ sign-ins where 2 had to be enough", too_many[0])


def test_a_client_that_knows_nothing_of_the_api_is_found_wanting(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain httpx, with the same signer, loses orders: the report is printed to its end all the same, exit status 1."""

    def open_client(api: Sandbox[Any]) -> httpx.Client:
        return httpx.Client(base_url=api.base_url, auth=HmacAuth(api.key, api.secret), trust_env=False)

    status = perform(apis=["zerotrace"], speed=float(SPEED), open_client=open_client)
    printed = capsys.readouterr().out

    assert status == 1
    assert "✗  upstream-2         1 503 UPSTREAM_ERROR" in printed
    assert "problem: upstream-2: asked for, and does not exist" in printed
    assert "13 made, 1 duplicates, 14 lost" in " ".join(printed.splitlines()[-2:])


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
