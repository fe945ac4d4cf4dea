"""Two files made `resilient-client check` end in a traceback: an example of a success that no rule takes, and one nested too deeply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resilient_client import Policy, PolicyError, load_policy

if TYPE_CHECKING:
    from pathlib import Path


def test_an_example_of_a_success_contradicts_its_rule() -> None:
    """A 200 that the rule does not match is told as what it is: another verdict, and no retry."""
    policy = Policy.model_validate(
        {
            "api": "acme",
            "rules": [
                {
                    "name": "BUSY",
                    "when": {"status": 503},
                    "retry": {"unsafe": True},
                    "examples": [{"given": {"status": 200}, "expect": {"retry": True}}],
                }
            ],
        }
    )

    findings = [finding for finding in policy.lint() if finding.code == "contradicting-example"]

    assert [finding.rule for finding in findings] == ["BUSY", "BUSY"]  # its name, and that it is not retried


def test_a_file_that_is_nested_too_deeply_is_a_policy_error(tmp_path: Path) -> None:
    """It names the file, and is no RecursionError."""
    path = tmp_path / "deep.toml"
    path.write_text("x = " + "[" * 100_000)

    with pytest.raises(PolicyError, match=r"deep\.toml: nested too deeply"):
        load_policy(path)


def test_a_table_that_asks_for_a_code_where_none_is_known_is_a_finding() -> None:
    """The rule's other table matches; of this one the check says why it never does."""
    policy = Policy.model_validate(
        {"api": "acme", "rules": [{"name": "DOWN", "when": [{"status": 500}, {"code": 5}]}]}
    )

    (finding,) = (each for each in policy.lint() if each.code == "overlaps")

    assert "[envelope] does not say where a code is" in finding.message
