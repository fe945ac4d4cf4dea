"""The policies that the examples bring for the SDKs: they prove themselves, and docs/sdks.md shows the rules that they have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sdks import OPENAI, Sdk, with_sdks

from resilient_client import load_policy
from resilient_client._lint import lint
from resilient_client._rehearse import contradictions

pytest_generate_tests = with_sdks

PAGE = Path(__file__).parent.parent.parent / "docs" / "sdks.md"

_TEXTS = {"title", "source", "cause", "remedy", "user_message", "examples"}  # what the page leaves out


def without_texts(rules: dict[str, Any]) -> dict[str, Any]:
    """Leave of a policy what the client goes by."""
    kept = {name: value for name, value in rules.items() if name not in _TEXTS}
    kept["rules"] = [
        {name: value for name, value in rule.items() if name not in _TEXTS} for rule in rules["rules"]
    ]
    return kept


def test_the_policy_proves_itself(sdk: Sdk) -> None:
    """Its examples agree with its rules."""
    assert list(contradictions(load_policy(sdk.policy))) == []


def test_the_policy_has_no_warning(sdk: Sdk) -> None:
    """`resilient-client check` finds nothing but its sources, which say to retry."""
    assert {one.severity for one in lint(load_policy(sdk.policy))} == {"note"}


def test_the_page_shows_the_policys_rules(sdk: Sdk) -> None:
    """What docs/sdks.md explains is what is in the file, but for the texts and the examples."""
    text = PAGE.read_text(encoding="utf-8")
    shown = re.search(rf"^```toml\n# {sdk.policy.name}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert shown is not None

    assert tomllib.loads(shown[1]) == without_texts(tomllib.loads(sdk.policy.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("project_spend_limit_exceeded", "QUOTA_EXHAUSTED"),
        ("rate_limit_exceeded", "RATE_LIMIT"),
        ("something_new", "TOO_MANY_REQUESTS"),
    ],
)
def test_openais_codes_tell_one_429_from_another(code: str, name: str) -> None:
    """By the code where there is one; a code that nobody knows is a rate limit as the standards have it."""
    verdict = load_policy(OPENAI.policy).classify(httpx2.Response(429, json={"error": {"code": code}}))

    assert verdict.name == name
