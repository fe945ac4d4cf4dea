"""Playing a policy's examples: what they prove, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_client import load_policy
from resilient_client._rehearse import contradictions

if TYPE_CHECKING:
    from pathlib import Path

EXTENDING = """
api = "mine"
extends = "default"

[idempotency]
length = [16, 64]

[[rules]]
name = "BUSY"
when = { status = 503, code = "busy" }
retry = { wait = 3, retries = 2 }
examples = [{ given = { status = 503, json = { code = "busy" } }, expect = { retry = true, waits = [3, 3] } }]
"""


def test_inherited_examples_are_not_played_under_another_policys_tables(tmp_path: Path) -> None:
    """An example of the default policy uses a key of ten characters, which this one forbids."""
    (tmp_path / "mine.toml").write_text(EXTENDING)
    policy = load_policy(tmp_path / "mine.toml")
    assert [rule.name for rule in policy.own_rules] == ["BUSY"]
    assert list(contradictions(policy)) == []


def test_an_example_that_cannot_be_played_is_told_and_does_not_raise(tmp_path: Path) -> None:
    """Its own key is one that its own policy forbids."""
    lying = EXTENDING.replace(
        'code = "busy" } },',
        'code = "busy" }, method = "POST", request_headers = { Idempotency-Key = "short" } },',
    )
    (tmp_path / "mine.toml").write_text(lying)
    (line,) = contradictions(load_policy(tmp_path / "mine.toml"))
    assert line.startswith(
        'rule "BUSY", example 1: cannot be played: mine takes idempotency keys of 16 to 64 characters'
    )


def test_an_example_that_lies_is_told(tmp_path: Path) -> None:
    """With what it expects and what is done."""
    (tmp_path / "mine.toml").write_text(EXTENDING.replace("waits = [3, 3]", "waits = [3]"))
    assert list(contradictions(load_policy(tmp_path / "mine.toml"))) == [
        'rule "BUSY", example 1: expects waits [3.0], and the client does [3.0, 3.0]'
    ]
