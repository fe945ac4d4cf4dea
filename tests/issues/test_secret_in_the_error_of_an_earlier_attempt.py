"""An attempt that failed on the way to a success kept its exception's text in the outcome, secrets and all."""

from __future__ import annotations

import httpx
from scenario import Run, answer, in_turn

from resilient_client import outcome_of

SECRET = "s3cr3t-t0k3n"


def test_the_outcome_of_a_success_shows_no_secret(run: Run) -> None:
    """A transport's error that repeats the request's headers is masked in every attempt, not in the last one alone."""

    def leak(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"cannot send {request.headers['authorization']}")

    ended = run(None, in_turn(leak, answer(200)), headers={"Authorization": f"Bearer {SECRET}"})
    outcome = outcome_of(ended.response)

    assert str(outcome.attempts[0].error) == "cannot send ***"
    assert SECRET not in repr(outcome)
