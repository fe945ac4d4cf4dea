"""The errors of an API as its policy file documents them: the one table that replies are made from.

The examples of each rule are the replies of that name; nothing about an error is written a second time.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from resilient_client.loading import load_policy
from resilient_client.testing._responses import place

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Documented:
    """A reply that a vendor documents for one error: JSON, or the text of something in between."""

    status: int
    json: Any
    text: str | None
    headers: Mapping[str, str]


@cache
def documented(policy: str) -> Mapping[str, tuple[Documented, ...]]:
    """Read the shipped policy's errors, by name, in file order; each with all of its examples."""
    return {
        rule.name: tuple(
            Documented(
                status=example.given.status,
                json=example.given.json_,
                text=example.given.text,
                headers=dict(example.given.headers),
            )
            for example in rule.examples
        )
        for rule in load_policy(policy).rules
        if rule.examples
    }


def worded(policy: str, document: Any, words: Mapping[str, Any]) -> Any:
    """Give a copy of an error's document with other words (`message`, `field`, `details`, `request_id`).

    Each is put where the policy's envelope keeps it.
    """
    document = copy.deepcopy(document)
    envelope = load_policy(policy).envelope
    for name, value in words.items():
        if value is not None:
            places = getattr(envelope, name)
            place(document, [places] if isinstance(places, str) else list(places or ()), value)
    return document
