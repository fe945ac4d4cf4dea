"""The errors of an API as its policy file documents them: the one table that replies are made from.

The first example of each rule is the reply of that name; nothing about an error is written a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from resilient_client.loading import load_policy

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Documented:
    """The reply that a vendor documents for one error."""

    status: int
    json: Any
    headers: Mapping[str, str]


@cache
def documented(policy: str) -> Mapping[str, Documented]:
    """Read the shipped policy's errors, by name, in file order; rules without a JSON example are left out."""
    table: dict[str, Documented] = {}
    for rule in load_policy(policy).rules:
        given = rule.examples[0].given if rule.examples else None
        if given is not None and given.json_ is not None:
            table[rule.name] = Documented(status=given.status, json=given.json_, headers=dict(given.headers))
    return table
