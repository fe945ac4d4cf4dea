"""Which rules of a draft hold? Each has to judge a reply of its own, beside all the others and those that are inherited.

Law of this file: a rule that is left has an example, and what the example expects is what the client does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_client._rehearse import rehearse
from resilient_client._words import Given
from resilient_client.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .rules import Drafted

__all__ = ["proved"]


def proved(
    top: dict[str, Any], drafted: Sequence[Drafted], folder: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Give each rule's table with its example, and the names of the rules that can never be asked.

    `top` are the draft's other tables, `folder` is where it will stand: from there, what it extends is looked for.
    """
    left = list(drafted)
    while True:
        policy = _policy(top, [rule.table for rule in left], folder)
        examples = {rule.name: _example(policy, rule) for rule in left}
        holding = [rule for rule in left if examples[rule.name] is not None]
        # Where one goes that stood in for an inherited rule, that one is back, and may take what another was proved by.
        if len(holding) == len(left):
            tables = [{**rule.table, "examples": [examples[rule.name]]} for rule in holding]
            return tables, [rule.name for rule in drafted if rule.name not in examples]
        left = holding


def _policy(top: dict[str, Any], rules: list[dict[str, Any]], folder: Path) -> Policy:
    return Policy.model_validate({**top, "rules": rules}, context={"folder": folder})


def _example(policy: Policy, rule: Drafted) -> dict[str, Any] | None:
    """Take the first reply that the rule itself judges, and say what the client does about it."""
    for given in rule.givens:
        rehearsal = rehearse(policy.rulebook, Given.model_validate(given))
        first = rehearsal.outcome.attempts[0].verdict
        if first.name == rule.name:
            expect: dict[str, Any] = {"retry": len(rehearsal.outcome.attempts) > 1}
            if first.retry_after is not None and expect["retry"]:
                expect["waits"] = [_whole(wait) for wait in rehearsal.waits]
                expect["retry_after"] = _whole(first.retry_after)
            return {"given": given, "expect": expect}
    return None


def _whole(seconds: float) -> float:
    """Write 30.0 as 30."""
    return int(seconds) if seconds.is_integer() else seconds
