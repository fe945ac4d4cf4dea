"""Every example runs as a reader would run it: alone, from another folder, with warnings as errors and no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("test_"))
PYTEST_FILES = sorted(path.name for path in EXAMPLES.glob("test_*.py"))

# What each must say: an example that runs and shows nothing would pass otherwise.
SAYS = {
    "aiohttp_engine.py": [
        "40 of 40 orders made; orders that exist: 40",
        "attempts of the library: 59; requests that the API saw: 59",
        "nonces that were used twice: 0",
    ],
    "protected.py": [
        "120 of 120 orders made; orders that exist: 120",
        "the API said 429 0 times",
        "its caller has the answer to request 152",
        "requests sent beside it: 1",
        "UPSTREAM_ERROR, attempts_exhausted",
        "ask again in a second or so: True",
    ],
    "openai_sdk.py": [
        "One, two, three. RATE_LIMIT -> OVERLOADED -> OK",
        "after 2 attempts",
        "off, insufficient_quota: RateLimitError, not_retryable, requests: 1",
        "left on, rate_limit_exceeded: RateLimitError, attempts_exhausted, requests: 15",
    ],
    "anthropic_sdk.py": [
        "One, two, three. OVERLOADED -> OK",
        "lost after 1 request, not_retryable: it may have been answered",
        "2 attempts, and the first may have been answered, and paid for",
        "One, ... overloaded_error within a 200, requests: 1",
    ],
    "async_client.py": ["20 of 20 calls succeeded", "sign-ins: 2"],
    "customer_verification.py": [
        "TOKEN_EXPIRED -> RATE_LIMIT_EXCEEDED -> NETWORK_ERROR -> CREATED",
        "TOKEN_EXPIRED -> RATE_LIMIT_EXCEEDED -> NETWORK_ERROR -> DUPLICATE_RESOURCE",
        "may be our own: looked up by its e-mail address",
        "RESOURCE_CONFLICT, for the user: A review is still in progress.",
        "customers: 1, sign-ins: 2",
    ],
    "dual.py": [
        "objects that exist: 1",
        "200 after 2 logins",
        "200, then OBJECT_LOCKED until it was 200",
        "12 made, after 2 waits that the API asked for",
        "INVALID_TEMPLATE_SCHEMA, code 4001, at born",
    ],
    "integration.py": [
        "result 2: SERVER_ERROR -> RATE_LIMITED -> CREATED",
        "result 3: NETWORK_ERROR -> Conflict: our own",
        "correction: Conflict -> CREATED",
        "ever registered, per activity: [2, 1, 1]",
    ],
    "observability.py": [
        "INTERNAL GET zerotrace",
        "'http.request.resend_count': 2",
        "resilient_client.retries 1",
    ],
    "openpoly.py": [
        "attempt 3: 201",
        "operations that exist: 1",
        "operation 2 has the key top-up-2",
        "sent 1 time, may have been applied: True",
        "Three top-ups of 1250 make 3750",
        "OPERATOR_USER_NOT_FOUND: Launch a session",
        "key scopes: simulator:write",
    ],
    "drop_in.py": [
        "httpx.Client:     401",
        "ResilientClient:  200",
        "orders that exist: 1;",
        "LIMIT_MAX after 1 attempt",
    ],
    "own_policy.py": [
        "THROTTLED -> LOCK_TIMEOUT -> CREATED",
        'unknown key "retry.shedule"; did you mean "schedule"?',
    ],
}


def run(*command: str, folder: Path) -> str:
    """Run Python in a folder that is not the project's, and give what it printed."""
    # A proxy that nothing listens on: whatever tried to leave this machine would fail.
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env={**os.environ, **nowhere, "NO_PROXY": "127.0.0.1,localhost"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_runs_and_says_what_it_is_about(name: str, tmp_path: Path) -> None:
    """An example exits with 0 and prints what it shows."""
    printed = run(str(EXAMPLES / name), folder=tmp_path)

    assert [line for line in SAYS[name] if line not in printed] == []


@pytest.mark.parametrize("name", PYTEST_FILES)
def test_an_example_of_tests_passes(name: str, tmp_path: Path) -> None:
    """A file that shows how to test passes under pytest, with none of its tests left out."""
    printed = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / name), folder=tmp_path)

    assert "passed" in printed
    assert "skipped" not in printed


def test_all_examples_are_run() -> None:
    """Nothing in the folder is left out: each script has its line in SAYS, and there is a file of tests."""
    assert sorted(SAYS) == SCRIPTS
    assert PYTEST_FILES == ["test_with_respx.py", "test_with_the_kit.py"]
