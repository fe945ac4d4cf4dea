"""The command line for policies: what it prints, what its exit status says, and that nothing a user types makes it fall over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from resilient_client import load_policy, policy_names
from resilient_client.cli import main

if TYPE_CHECKING:
    from click.testing import Result

OPENAPI = Path(__file__).parent / "openapi"
COMMANDS = ["check", "explain", "new", "plan", "policies", "show"]

GOOD = """\
api = "acme"
source = "https://acme.example/errors"

[envelope]
code = "/code"

[[rules]]
name = "BUSY"
when = { status = 503, code = "busy" }
retry = { schedule = [1, 60] }

[[rules.examples]]
given = { status = 503, json = { code = "busy" } }
expect = { retry = true, waits = [1, 60] }
"""
WARNED = GOOD.split("\n[[rules.examples]]", maxsplit=1)[0]
WRONG = GOOD.replace("waits = [1, 60]", "waits = [2, 60]")
UNUSABLE = GOOD.replace("schedule", "shedule")


def run(*arguments: str, given: str | bytes | None = None, columns: int = 80) -> Result:
    """Run the command as somebody at a shell would, what is given being what stands on stdin."""
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(main, arguments, input=given)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(*arguments: str, given: str | bytes | None = None) -> Any:
    """Run the command with --json, and read what it prints."""
    return json.loads(run(*arguments, "--json", given=given).stdout)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relative paths be the test's own."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"good": GOOD, "warned": WARNED, "wrong": WRONG, "unusable": UNUSABLE}.items():
        Path(f"{name}.toml").write_text(text, encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- policies


def test_policies_lists_what_is_shipped() -> None:
    """A line for each, with its name first."""
    lines = run("policies").stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["name", *policy_names()]


def test_policies_are_told_in_json() -> None:
    """With where their facts come from."""
    assert [one["name"] for one in told("policies")] == list(policy_names())
    assert told("policies")[-1] == {
        "name": "zerotrace",
        "title": load_policy("zerotrace").title,
        "rules": len(load_policy("zerotrace").rules),
        "source": "https://0trace.io/api/errors/cookbook",
    }


# ----------------------------------------------------------------------------------------------------------------- show


def test_show_has_a_row_for_every_rule() -> None:
    """In the order in which they are asked."""
    lines = run("show", "zerotrace", columns=100).stdout.splitlines()
    names = [rule.name for rule in load_policy("zerotrace").rules]

    assert [line.split()[0] for line in lines if line.split() and line.split()[0] in names] == names


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("zerotrace", "Idempotency-Key of 8 to 128 characters, made for POST /v1/create"),
        ("zerotrace", "X-API-NONCE is new on every attempt"),
        ("zerotrace", "2500 in 60 s"),
        ("openpoly", "the body's /idempotency_key, where the caller brings one"),
        ("dual", "reads: 300 in 60 s, 50 per second"),
        ("default", "up to 4 times, backoff 0.5 s to 30 s, where that is safe"),
    ],
)
def test_show_tells_what_else_a_policy_knows(policy: str, said: str) -> None:
    """Keys, nonces, budgets, and what is done where no answer came."""
    assert said in " ".join(told("show", policy)["settings"].values())


@pytest.mark.parametrize(
    ("policy", "rule", "does"),
    [
        ("zerotrace", "NOT_FOUND", "fail"),
        ("zerotrace", "AUTH_INVALID", "once, after Retry-After, else at once, with a new nonce, any method"),
        (
            "zerotrace",
            "UPSTREAM_ERROR",
            "after 1, 2, 5, 10 s, Retry-After at the least, with a new nonce, any method",
        ),
        (
            "dual",
            "AUTHENTICATION_ERROR",
            "once, after Retry-After, else at once, with a new token, only if token expired, any method",
        ),
        (
            "default",
            "SERVER_ERROR",
            "up to 4 times, after Retry-After, else backoff 0.5 s to 30 s, where that is safe",
        ),
    ],
)
def test_show_says_in_a_line_what_is_done(policy: str, rule: str, does: str) -> None:
    """How often, when, with what anew, and for which methods."""
    assert told("show", policy, "--rule", rule)["rules"][0]["does"] == does


def test_show_tells_all_of_one_rule() -> None:
    """Cause, remedy, words for users and the page."""
    printed = run("show", "zerotrace", "--rule", "RATE_LIMIT").stdout

    assert printed.startswith("RATE_LIMIT  (rate_limit)\n  matches   status 429\n")
    assert [line.split()[0] for line in printed.splitlines() if line[2:3].strip()] == [
        *("RATE_LIMIT", "matches", "then", "cause", "remedy", "for", "source")
    ]


def test_show_of_a_rule_that_does_not_exist_names_those_that_do() -> None:
    """On stderr, exit status 2."""
    done = run("show", "good.toml", "--rule", "BUSYY")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "acme has no rule 'BUSYY'; it has BUSY" in done.stderr


# -------------------------------------------------------------------------------------------------------------- explain


def test_explain_tells_rule_reason_steps_and_source() -> None:
    """What matched, what is done and when, and what the vendor's page says."""
    done = run("explain", "zerotrace", "--status", "401", "--body", '{"code": 3}', "--signer")

    assert done.exit_code == 0
    assert done.stdout.splitlines()[:6] == [
        "zerotrace: GET / was answered 401, code 3",
        "AUTH_INVALID  (auth)",
        "  matched   status is 401; code is 3",
        "  then      sent again once, as long as the API answers so:",
        "            attempt 2: at once, with a new nonce",
        "  ends with attempts_exhausted",
    ]
    assert "  source    https://0trace.io/api/authentication" in done.stdout.splitlines()


def test_explain_is_told_in_json() -> None:
    """The same, for programs."""
    said = told("explain", "default", "--status", "429", "--header", "Retry-After: 7", "--method", "post")

    assert (said["api"], said["method"], said["rule"], said["retried"]) == (
        "default",
        "POST",
        "TOO_MANY_REQUESTS",
        True,
    )
    assert said["steps"][0] == {"attempt": 2, "least": 7.0, "most": 8.65, "change": []}
    assert said["verdict"]["retry_after"] == 7


def test_explain_of_many_attempts_shows_the_first() -> None:
    """And how many there may be."""
    printed = run("explain", "default", "--status", "503", "--deadline", "2").stdout
    assert "sent again 2 times, or up to 4 times where the waits are drawn shorter" in " ".join(
        printed.split()
    )

    Path("long.toml").write_text(
        GOOD.replace("schedule = [1, 60]", "retries = 40, wait = 1"), encoding="utf-8"
    )
    lines = run("explain", "long.toml", "--status", "503", "--body", '{"code": "busy"}').stdout.splitlines()
    assert "            … and 28 more" in lines


def test_explain_of_a_success_says_so() -> None:
    """There is nothing wrong with it: exit status 0."""
    done = run("explain", "zerotrace", "--status", "200", "--body", '{"code": 0}')

    assert done.exit_code == 0
    assert "it is a success" in done.stdout


def test_explain_of_what_no_rule_speaks_of_exits_with_1() -> None:
    """So that a build can tell that the policy has a gap."""
    done = run("explain", "zerotrace", "--status", "418", "--body", '{"code": 7}')

    assert done.exit_code == 1
    assert "no rule: the status alone says what it is" in done.stdout
    assert "LIMIT_MIN: status is 400, and it is 418" in " ".join(done.stdout.split())


HAR = json.dumps(
    {
        "log": {
            "entries": [
                {
                    "request": {"method": "GET", "url": "https://api.example/ok"},
                    "response": {"status": 200, "content": {"text": '{"code": 0}'}},
                },
                {
                    "request": {
                        "method": "POST",
                        "url": "https://api.example/v1/create?api_key=hunter2-hunter2",
                        "headers": [
                            {"name": "Idempotency-Key", "value": "order-2041"},
                            {"name": "Cookie", "value": "session=cookie-of-mine"},
                            {"name": "X-API-KEY", "value": "key-of-mine"},
                        ],
                    },
                    "response": {
                        "status": 503,
                        "content": {"text": '{"code": 10, "msg": "no key-of-mine, no cookie-of-mine"}'},
                    },
                },
                {
                    "request": {"method": "GET", "url": "https://api.example/teapot"},
                    "response": {"status": 418},
                },
            ]
        }
    }
)


@pytest.mark.parametrize("way", ["file", "dash", "stdin"])
def test_explain_reads_a_har_file(way: str) -> None:
    """Each error of it, successes aside; one that no rule speaks of makes the exit status 1."""
    Path("traffic.har").write_text(HAR, encoding="utf-8")
    flags = {"file": ["--har", "traffic.har"], "dash": ["--har", "-"], "stdin": []}[way]
    done = run("explain", "zerotrace", *flags, given=HAR)

    assert done.exit_code == 1
    assert [line for line in done.stdout.splitlines() if "was answered" in line] == [
        "zerotrace: POST /v1/create was answered 503, code 10",
        "zerotrace: GET /teapot was answered 418",
    ]


def test_explain_of_a_har_file_is_a_list_in_json() -> None:
    """However many errors there are in it."""
    documents = told("explain", "zerotrace", "--har", "-", given=HAR)

    assert [one["verdict"]["name"] for one in documents] == ["MAINTENANCE", "IM_A_TEAPOT"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_explain_prints_no_secret_of_the_traffic(flags: list[str]) -> None:
    """Neither what the request carried, nor where the server echoes it."""
    printed = run("explain", "zerotrace", "--har", "-", *flags, given=HAR).stdout

    assert "no ***, no ***" in printed
    assert [word for word in ("hunter2", "cookie-of-mine", "key-of-mine") if word in printed] == []


def test_explain_knows_a_key_that_was_sent_in_the_body() -> None:
    """With it, a POST may be sent twice."""
    body = json.dumps({"idempotency_key": "order-2041"})
    traffic = {
        "request": {"method": "POST", "url": "https://api.example/v1/x", "postData": {"text": body}},
        "response": {"status": 500},
    }
    (said,) = told("explain", "openpoly", "--har", "-", given=json.dumps({"log": {"entries": [traffic]}}))

    assert said["retried"] is True


@pytest.mark.parametrize("flags", [[], ["--raw", "-"]])
def test_explain_reads_what_curl_prints(flags: list[str]) -> None:
    """With the request told by flags."""
    raw = b'HTTP/1.1 401 Unauthorized\r\nX-Request-Id: r-1\r\n\r\n{"code": 3}'
    said = told("explain", "zerotrace", *flags, "--path", "/v1/qr", "--method", "POST", "--signer", given=raw)

    assert (said["rule"], said["method"], said["path"], said["retried"]) == (
        "AUTH_INVALID",
        "POST",
        "/v1/qr",
        True,
    )


def test_explain_takes_the_body_from_a_file() -> None:
    """By an @ before its name."""
    Path("body.json").write_text('{"code": 10}', encoding="utf-8")

    assert told("explain", "zerotrace", "--status", "503", "--body", "@body.json")["rule"] == "MAINTENANCE"


def test_explain_prints_nothing_that_moves_a_terminals_cursor() -> None:
    """Whatever a server writes into its messages and codes."""
    body = json.dumps({"error": {"code": "\x1b[2J\x9bx", "message": "\x1b]0;title\x07 a\nb"}})
    printed = run("explain", "default", "--status", "400", "--body", body, "--path", "/\u009b").stdout

    assert printed.replace("\n", "").isprintable()


# ---------------------------------------------------------------------------------------------------------------- check


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["good.toml"], 0),
        (["good.toml", "zerotrace"], 0),
        (["warned.toml"], 0),
        (["warned.toml", "--strict"], 1),
        (["good.toml", "--strict", "--deadline", "30"], 1),
        (["wrong.toml"], 1),
        (["wrong.toml", "good.toml"], 1),
        (["unusable.toml"], 2),
        (["nowhere.toml", "wrong.toml"], 2),
        (["no-such-policy"], 2),
    ],
)
def test_checks_exit_status_says_what_was_found(flags: list[str], status: int) -> None:
    """The worst of all files counts."""
    assert run("check", *flags).exit_code == status
    assert run("check", *flags, "--json").exit_code == status


def test_check_groups_what_it_finds_by_file() -> None:
    """With the rule and the mend."""
    printed = run("check", "good.toml", "wrong.toml").stdout

    assert printed.splitlines()[:2] == ["good.toml: nothing found", "wrong.toml: 1 error"]
    assert 'rule "BUSY" example 1: expects waits [2.0, 60.0], and the client does [1.0, 60.0]' in " ".join(
        printed.split()
    )
    assert "-> correct whichever the vendor's page belies" in printed


def test_check_says_why_a_file_cannot_be_used() -> None:
    """On stderr, with the place and the mend; the other files are checked all the same."""
    done = run("check", "unusable.toml", "nowhere.toml", "good.toml")

    assert done.stdout == "good.toml: nothing found\n"
    assert 'unusable.toml, rule "BUSY": unknown key "retry.shedule"; did you mean "schedule"?' in done.stderr
    assert "nowhere.toml: no such policy file" in done.stderr


def test_check_is_told_in_json() -> None:
    """One entry for each file, in the order that was asked for."""
    good, wrong, unusable = told("check", "good.toml", "wrong.toml", "unusable.toml")

    assert good == {"policy": "good.toml", "ok": True, "error": None, "findings": []}
    assert (wrong["ok"], wrong["findings"][0]["code"], wrong["findings"][0]["rule"]) == (
        False,
        "contradicting-example",
        "BUSY",
    )
    assert (unusable["ok"], "did you mean" in unusable["error"]) == (False, True)


def test_check_looks_at_a_file_once() -> None:
    """However often it is named."""
    assert run("check", "good.toml", "good.toml").stdout == "good.toml: nothing found\n"


@pytest.mark.parametrize("text", ["api = ", "x = " + "[" * 5000, "\x00", 'api = "\ud800"'])
def test_a_file_that_is_no_policy_is_told_in_a_sentence(text: str) -> None:
    """Exit status 2, and no traceback."""
    Path("odd.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    done = run("check", "odd.toml")

    assert done.exit_code == 2
    assert done.stderr.startswith("Error: odd.toml: ")


# ----------------------------------------------------------------------------------------------------------------- plan


def test_plan_is_a_timetable() -> None:
    """Each attempt with its earliest and latest second, its wait and what is new; then the worst case."""
    done = run("plan", "zerotrace", "UPSTREAM_ERROR", columns=100)
    lines = done.stdout.splitlines()

    assert done.exit_code == 0
    assert lines[0] == "zerotrace, UPSTREAM_ERROR: GET /"
    assert [" ".join(line.split()) for line in lines[1:7]] == [
        "attempt earliest latest wait",
        "1 0 s 0 s",
        "2 1 s 1.45 s 1 to 1.45 s with a new nonce",
        "3 3 s 4.1 s 2 to 2.65 s with a new nonce",
        "4 8 s 10.35 s 5 to 6.25 s with a new nonce",
        "5 18 s 22.6 s 10 to 12.25 s with a new nonce",
    ]
    assert lines[7] == "  ends with attempts_exhausted"
    assert any(line.startswith("  at worst  5 attempts, 1441 s of waiting") for line in lines)


def test_plan_is_told_in_json() -> None:
    """As the library tells it."""
    said = told("plan", "default", "TOO_MANY_REQUESTS", "--asked", "7", "--deadline", "20")

    assert [row["earliest"] for row in said["rows"]] == [0, 7, 14]
    assert (said["reason"], said["server_decides"]) == ("deadline", True)


@pytest.mark.parametrize(
    ("flags", "attempts"), [([], 1), (["--key"], 5), (["--key", "--deadline", "0.1"], 1), (["--no-key"], 1)]
)
def test_plan_asks_what_the_request_is(flags: list[str], attempts: int) -> None:
    """Its method, its key, its deadline."""
    said = told("plan", "default", "INTERNAL_SERVER_ERROR", "--method", "POST", *flags)

    assert len(said["rows"]) == attempts


def test_plan_of_many_attempts_shows_the_first() -> None:
    """And when the last one goes out."""
    printed = run("plan", "zerotrace", "MAINTENANCE", "--asked", "1").stdout

    assert "… and 184 more, the last after 300 s" in printed


def test_plan_of_a_final_error_has_one_attempt() -> None:
    """The reply goes to the caller."""
    assert "ends with not_retryable" in run("plan", "zerotrace", "NOT_FOUND").stdout


# ------------------------------------------------------------------------------------------------------------------ new


@pytest.mark.parametrize("source", [[], ["--openapi", str(OPENAPI / "nested_codes.json")]])
def test_new_writes_a_policy_that_passes_the_check(source: list[str]) -> None:
    """Under its name, in this folder; and says what comes next."""
    done = run("new", "fresh", *source)

    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "What is wrong with it: resilient-client check fresh.toml"
    assert run("check", "--strict", "fresh.toml").exit_code == 0
    assert load_policy("fresh.toml").api == "fresh"
    assert load_policy("fresh.toml").extends == "default"


def test_new_never_writes_over_a_file() -> None:
    """Unless it is told to."""
    done = run("new", "good")
    assert (done.exit_code, done.stderr) == (2, "Error: good.toml is there already; --force writes over it\n")
    assert Path("good.toml").read_text(encoding="utf-8") == GOOD

    assert run("new", "good", "--force").exit_code == 0
    assert load_policy("good.toml").api == "good"


def test_new_prints_the_policy_where_it_is_asked_to() -> None:
    """And writes nothing."""
    done = run("new", "fresh", "-o", "-")

    assert done.stdout.startswith("# What one API does when it fails")
    assert not Path("fresh.toml").exists()


@pytest.mark.parametrize(
    ("extends", "expected"),
    [("none", None), ("", None), ("dual", "dual"), ("good.toml", "good.toml")],
)
def test_new_extends_what_it_is_told_to(extends: str, expected: str | None) -> None:
    """A shipped policy, a file, or nothing."""
    assert run("new", "fresh", "--extends", extends).exit_code == 0
    assert load_policy("fresh.toml").extends == expected


def test_new_reads_a_document_from_stdin() -> None:
    """And tells what it has made of it in JSON."""
    given = (OPENAPI / "problem_details.json").read_text(encoding="utf-8")
    said = told("new", "fresh", "--openapi", "-", "-o", "sub.toml", given=given)

    assert (said["file"], said["rules"], len(said["look_up"]) > 3) == ("sub.toml", 6, True)
    assert run("check", "sub.toml").exit_code == 0


def test_new_tells_the_policy_itself_in_json_where_it_writes_none() -> None:
    """As one text."""
    said = told("new", "fresh", "-o", "-")

    assert said["policy"] == run("new", "fresh", "-o", "-").stdout
    assert (said["rules"], said["look_up"]) == (6, [])


@pytest.mark.parametrize(
    ("flags", "given", "complaint"),
    [
        (["../up"], "", "'../up' is no name"),
        (["zerotrace"], "", "zerotrace is a shipped policy's name"),
        (["fresh", "--extends", "nope"], "", 'extends "nope", and no shipped policy has that name'),
        (
            ["fresh", "--extends", "nope", "--openapi", str(OPENAPI / "swagger_2.json")],
            "",
            'Error: extends "nope"',
        ),
        (["fresh", "-o", "no/such/folder.toml"], "", "cannot be written: No such file or directory"),
        (["fresh", "--openapi", "nowhere.json"], "", "nowhere.json"),
        (["fresh", "--openapi", "."], "", "'.'"),
        (["fresh", "--openapi", "-"], "{}", "<stdin>: this is no OpenAPI document"),
        (["fresh", "--openapi", "-"], "{", "<stdin>: not valid JSON"),
        (["fresh", "--openapi", "-"], b"\xff", "<stdin>: is not UTF-8"),
    ],
)
def test_new_says_what_is_in_its_way(flags: list[str], given: str | bytes, complaint: str) -> None:
    """In a line on stderr, exit status 2; nothing is written."""
    done = run("new", *flags, given=given)

    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert not Path("fresh.toml").exists()


# ---------------------------------------------------------------------------------------------------------- all of them


HELPED = """\
import sys
from resilient_client.cli import main
try:
    main()
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_loads_nothing_heavy(command: str | None) -> None:
    """It answers at once, for what the commands work with is loaded when they run."""
    flags = [command, "--help"] if command is not None else ["--help"]
    done = subprocess.run(
        [sys.executable, "-c", HELPED, *flags], capture_output=True, encoding="utf-8", timeout=30, check=True
    )
    loaded = set(done.stderr.split())

    assert "Usage:" in done.stdout
    assert loaded.isdisjoint({"httpx", "pydantic", "tenacity", "anyio", "rich.console", "rich.table"})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_the_exit_status_means(command: str) -> None:
    """Of each command."""
    assert "The exit status is 0" in " ".join(run(command, "--help").stdout.split())


def is_whole(line: str, columns: int) -> bool:
    """Tell whether a line keeps to the width, or is an address, which is never broken."""
    return len(line) <= min(columns, 100) or "://" in line.rsplit(maxsplit=1)[-1]


PRINTING = [
    ["policies"],
    ["show", "zerotrace"],
    ["show", "dual"],
    ["show", "default", "--rule", "CONFLICT"],
    ["explain", "zerotrace", "--status", "503", "--body", '{"code": 10}'],
    ["explain", "default", "--status", "418"],
    ["check", "zerotrace", "wrong.toml", "dual"],
    ["plan", "zerotrace", "UPSTREAM_ERROR"],
    ["plan", "zerotrace", "MAINTENANCE", "--asked", "1"],
]


@pytest.mark.parametrize("columns", [50, 80, 200])
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_what_is_printed_fits(arguments: list[str], columns: int) -> None:
    """Plain lines without spaces at their ends, as wide as the terminal is, but no wider than can be read."""
    lines = run(*arguments, columns=columns).stdout.splitlines()

    assert lines
    assert [line for line in lines if not is_whole(line, columns)] == []
    assert [line for line in lines if line != line.rstrip() or "\x1b" in line] == []


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_the_same_is_told_in_json(arguments: list[str]) -> None:
    """One document, and nothing else."""
    assert told(*arguments)


def shell(*arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    environment = {
        name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "COLUMNS"}
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "resilient_client", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment | more.pop("env", {}),
        **more,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe breaks otherwise there")
@pytest.mark.parametrize(
    "arguments",
    [["show", "default"], ["explain", "default", "--status", "503"], ["new", "x", "-o", "-"]],
    ids=" ".join,
)
def test_a_pipe_that_is_closed_early_is_no_reason_to_complain(arguments: list[str]) -> None:
    """As `| head -1` does."""
    reading, writing = os.pipe()
    os.close(reading)
    with shell(*arguments, stdout=writing) as process:
        os.close(writing)
        _, complaint = process.communicate(timeout=30)

    assert complaint == b""


def test_a_terminal_of_few_characters_is_printed_to_all_the_same() -> None:
    """What it cannot show is replaced."""
    Path("other.toml").write_text(GOOD.replace('"acme"', '"\u00e4\u4e2d"'), encoding="utf-8")
    with shell(
        "show", "other.toml", stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ) as process:
        printed, complaint = process.communicate(timeout=30)

    assert (process.returncode, complaint) == (0, b"")
    assert printed.startswith(b"??\n")


@pytest.mark.parametrize("output", ["-", "n\u00e4her.toml"])
def test_a_policy_is_utf_8_whatever_the_terminal_takes(output: str) -> None:
    """Printed or written."""
    text = (OPENAPI / "swagger_2.json").read_text(encoding="utf-8").replace("Acme", "\u00c4cme")
    Path("api.json").write_text(text, encoding="utf-8")
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    with shell(
        *("new", "fresh", "--openapi", "api.json", "-o", output), stdout=subprocess.PIPE, env=ascii_only
    ) as process:
        printed, complaint = process.communicate(timeout=30)

    assert (process.returncode, complaint) == (0, b"")
    assert "\u00c4cme Classic" in (printed if output == "-" else Path(output).read_bytes()).decode()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no closing a stream in its shell")
def test_a_closed_stdin_is_as_good_as_an_empty_one() -> None:
    """There is nothing to explain."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m resilient_client explain default <&-'],
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "Error: there is nothing to explain" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", ""],
        ["check", "."],
        ["check", "--deadline", "0", "good.toml"],
        ["explain"],
        ["explain", "default"],
        ["explain", "nope", "--status", "400"],
        ["explain", "default", "--status", "42"],
        ["explain", "default", "--status", "400", "--har", "-"],
        ["explain", "default", "--body", "{}"],
        ["explain", "default", "--status", "400", "--header", "no sign"],
        ["explain", "default", "--status", "400", "--body", "@nowhere.json"],
        ["explain", "default", "--status", "400", "--path", "https://[x"],
        ["explain", "default", "--status", "500", "--method", "POST", "--key", "\u00e4"],
        ["explain", "zerotrace", "--status", "500", "--method", "POST", "--key", "short"],
        ["explain", "default", "--raw", "good.toml"],
        ["explain", "default", "--har", "good.toml"],
        ["explain", "default", "--har", "nowhere.har"],
        ["plan", "zerotrace"],
        ["plan", "zerotrace", "NO_SUCH_RULE"],
        ["plan", "zerotrace", "RATE_LIMIT", "--path", "\x01"],
        ["plan", "zerotrace", "RATE_LIMIT", "--asked", "nan"],
        ["plan", "zerotrace", "RATE_LIMIT", "--timeout", "0"],
        ["show", "nope"],
        ["show", "unusable.toml"],
        ["new"],
    ],
    ids=repr,
)
def test_what_cannot_be_asked_exits_with_2(arguments: list[str]) -> None:
    """With a sentence on stderr, and nothing on stdout."""
    done = run(*arguments, given="")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr


@pytest.mark.parametrize("text", ['{"log": {"entries": []}}', '{"log": 1}', "hello", "\x00"])
def test_a_capture_with_nothing_to_explain_exits_with_2(text: str) -> None:
    """No error in it, or no capture at all."""
    done = run("explain", "default", given=text)

    assert (done.exit_code, done.stdout) == (2, "")


def test_odd_methods_and_headers_are_explained_all_the_same() -> None:
    """What cannot travel is replaced."""
    done = run(
        "explain",
        "default",
        "--status",
        "400",
        "--method",
        "\u00e9 x",
        "--header",
        "X=\u00e9",
        "--header",
        "A:b=c",
    )

    assert (done.exit_code, done.stdout.splitlines()[1]) == (0, "BAD_REQUEST  (validation)")
