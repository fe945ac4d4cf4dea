"""`resilient-client sandbox`: what it serves, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner

from resilient_client import HmacAuth, ResilientClient
from resilient_client.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER = {
    "fromCcy": "BTC",
    "toCcy": "XMR",
    "direction": "from",
    "amount": 0.01,
    "type": "fixed",
    "toAddress": "there",
}


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a program of its own; whatever happens, it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "resilient_client", "sandbox", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def introduced(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Read the one JSON document that it prints when it serves."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.rstrip() == "}":
            break
    document: dict[str, Any] = json.loads(text)
    return document


def test_all_five_are_served_on_this_machine_alone_with_their_credentials() -> None:
    """Without a name, each API is served on a port of its own, and its URL and credentials are printed."""
    with command("--json") as process:
        told = introduced(process)
        for api in told.values():
            assert httpx.URL(api["base_url"]).host == "127.0.0.1"
            assert api["credentials"]["key"]
            report = httpx.get(f"{httpx.URL(api['base_url']).copy_with(path='/_sandbox')}", trust_env=False)
            assert report.json()["requests"] == 0

    assert set(told) == {"zerotrace", "customer_verification", "dual", "openpoly", "integration"}
    assert len({api["base_url"] for api in told.values()}) == len(told)


def test_a_client_of_another_process_comes_through_and_can_ask_what_went_wrong() -> None:
    """The faults that were asked for happen, and the report names them."""
    with command(
        "zerotrace", "--json", "--speed", "100", "--faults", "POST /v1/create = UPSTREAM_ERROR, lose"
    ) as process:
        api = introduced(process)["zerotrace"]
        with ResilientClient(
            "zerotrace",
            base_url=api["base_url"],
            auth=HmacAuth(api["credentials"]["key"], api["credentials"]["secret"]),
            trust_env=False,
        ) as client:
            assert client.post("/v1/create", json=ORDER).json()["data"]["token"] is None
            report = client.get(str(httpx.URL(api["base_url"]).copy_with(path="/_sandbox"))).json()

    assert [(seen["status"], seen["fault"]) for seen in report["seen"]] == [
        (503, "UPSTREAM_ERROR"),
        (200, "lose"),
        (200, None),
    ]
    assert report["injected"] == {"UPSTREAM_ERROR": 1, "lose": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_with_a_summary(number: signal.Signals) -> None:
    """Ctrl-C is the way to stop it: exit status 0, nothing on stderr, and a line on what was seen."""
    with command("zerotrace", "--verbose") as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(5)]
        url = told[1].split()[1]
        httpx.post(f"{url}/v1/price", trust_env=False)
        line = process.stdout.readline()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)

    assert told[4].startswith("Nothing leaves this machine.")
    assert line.split()[1:] == ["zerotrace", "POST", "/v1/price", "401", "2"]
    assert rest == "zerotrace: 1 requests; injected: nothing\n"
    assert (process.returncode, errors) == (0, "")


def test_the_same_seed_gives_the_same_credentials() -> None:
    """Configuration written for one run fits the next."""
    told = []
    for seed in ("7", "7", "8"):
        with command("zerotrace", "dual", "--json", "--seed", seed) as process:
            told.append({name: api["credentials"] for name, api in introduced(process).items()})

    assert told[0] == told[1] != told[2]


def test_each_api_can_have_faults_of_its_own() -> None:
    """One line of faults serves several APIs, which have no route in common."""
    faults = "dual: GET /templates = RATE_LIMITED; integration: GET /activities/tasks = html-503"
    with command("dual", "integration", "--json", "--faults", faults) as process:
        told = introduced(process)
        statuses = [
            httpx.get(
                f"{told[name]['base_url']}{path}",
                headers={"x-api-key": told[name]["credentials"]["key"]},
                trust_env=False,
            ).status_code
            for name, path in (("dual", "/templates"), ("integration", "/activities/tasks"))
        ]

    assert statuses == [429, 503]


def test_a_busy_port_is_one_clear_line() -> None:
    """The port that is taken is named; nothing is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(main, ["sandbox", "zerotrace", "--port", str(port)])

    assert done.exit_code == 2
    assert done.output.startswith(f"Error: the zerotrace sandbox cannot listen on 127.0.0.1:{port}: ")
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["zerotrac"], "there is no sandbox for 'zerotrac'; there is one for"),
        (["zerotrace", "--faults", "UPSTREAM=0.1"], "no such fault in the zerotrace sandbox: 'UPSTREAM'"),
        (["zerotrace", "--faults", "1.5"], "a rate of faults is from 0 to 1"),
        (["zerotrace", "--faults", "absent.toml"], "absent.toml"),
        (["zerotrace", "--port", "70000"], "70000 is not in the range"),
        (["--port", "65535"], "5 APIs do not fit above it"),
        (["--speed", "0"], "0.0 is not in the range"),
        (["--speed", "nan"], "Invalid value for '--speed': nan is not a number."),
        (["--speed", "inf"], "inf is not in the range"),
        (
            ["--faults", "GET /templates = lose"],
            'a clause for one API alone begins as in "zerotrace: lose=0.1"',
        ),
    ],
)
def test_bad_flags_are_told_in_one_line(arguments: list[str], complaint: str) -> None:
    """What cannot be served is said, with what would be right, exit status 2, and nothing is started."""
    done = CliRunner().invoke(main, ["sandbox", *arguments])

    assert done.exit_code == 2
    assert complaint in done.output.splitlines()[-1]
    assert "Traceback" not in done.output
