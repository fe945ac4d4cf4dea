"""What it costs to classify a reply by a policy of ten rules, and by one of ten thousand.

python -m _speed.rules
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import httpx

from resilient_client import Policy

from .counts import function_calls

__all__ = ["FEW", "MANY", "measured", "policy", "reply"]

FEW, MANY = 10, 10_000
ROUNDS, CALLS = 40, 200


def policy(rules: int) -> Policy:
    """Make a policy with so many rules, each of them for a code of its own."""
    return Policy.model_validate(
        {
            "api": "measured",
            "envelope": {"code": "/code"},
            "rules": [
                {
                    "name": f"RULE_{number}",
                    "when": {"status": 400 + number % 50, "code": number},
                    "category": "validation",
                    "cause": "The request was refused.",
                    "remedy": "Send another.",
                }
                for number in range(rules)
            ],
        }
    )


def reply(rules: int) -> httpx.Response:
    """Make a reply that the last of them is for."""
    number = rules - 1
    return httpx.Response(400 + number % 50, json={"code": number})


def measured() -> dict[str, Any]:
    """Count the function calls of both, and time them in turns."""
    policies = {rules: policy(rules) for rules in (FEW, MANY)}
    replies = {rules: reply(rules) for rules in policies}
    for rules, each in policies.items():
        assert each.classify(replies[rules]).name == f"RULE_{rules - 1}"  # noqa: S101 - else nothing was measured
    took: dict[int, list[float]] = {rules: [] for rules in policies}
    for _ in range(ROUNDS):
        for rules, each in policies.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                each.classify(replies[rules])
            took[rules].append((time.perf_counter() - begun) / CALLS)
    return {
        "calls": [function_calls(lambda r=r: policies[r].classify(replies[r])) for r in policies],
        "took": [statistics.median(times) for times in took.values()],
        "ratio": statistics.median(many / few for few, many in zip(*took.values(), strict=True)),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured()))
