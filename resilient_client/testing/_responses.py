"""The replies that the real APIs send, built from the examples that their policies carry."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from resilient_client.loading import PolicyError, load_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_client._words import Rule
    from resilient_client.policy import Policy

__all__ = ["error_response"]


def error_response(  # noqa: PLR0913 - what a test wants to be different
    policy: str | Path | Policy,
    error: str | int,
    *,
    status: int | None = None,
    retry_after: float | str | None = None,
    message: str | None = None,
    field: str | None = None,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Build the response that the real API would send for one of its errors.

    Args:
        policy: a shipped policy's name, a path, or a `Policy`.
        error: a rule's name ("RATE_LIMIT"), the API's own code (5), or a status that the policy knows.
        status: another status than the example's.
        retry_after: the Retry-After header: seconds, or a text as it is.
        message: the vendor's words, put where the policy's envelope keeps them.
        field: the field at fault, put likewise.
        request_id: put likewise, and in the header that the policy names.
        headers: further headers.

    Raises:
        PolicyError: the policy has no such error, or no example of it; the message lists what it has.
    """
    loaded = load_policy(policy) if isinstance(policy, str | Path) else policy
    rule = _find(loaded, error)
    if not rule.examples:
        raise PolicyError(f'{loaded.api}, rule "{rule.name}": has no example to build a response from')
    given = rule.examples[0].given
    lines = {
        name: value
        for name, value in given.headers.items()
        if retry_after is None or name.casefold() not in {"retry-after", "x-ratelimit-reset"}
    }
    if retry_after is not None:
        lines["Retry-After"] = _seconds(retry_after)
    body = copy.deepcopy(given.json_)
    if body is not None:
        envelope = loaded.envelope
        for places, value in (
            (envelope.message, message),
            (envelope.field, field),
            (envelope.request_id, request_id),
        ):
            if value is not None:
                _place(body, [places] if isinstance(places, str) else list(places), value)
    if request_id is not None:
        names = loaded.envelope.request_id_header
        lines[names if isinstance(names, str) else names[0]] = request_id
    lines.update(headers or {})
    if body is not None:
        lines.setdefault("Content-Type", "application/json")
        return httpx.Response(status or given.status, headers=lines, content=json.dumps(body).encode())
    return httpx.Response(status or given.status, headers=lines, text=given.text or "")


def _seconds(retry_after: float | str) -> str:
    if isinstance(retry_after, float) and retry_after.is_integer():
        return str(int(retry_after))
    return str(retry_after)


def _find(policy: Policy, error: str | int) -> Rule:
    for rule in policy.rules:
        if rule.name == error:
            return rule
    for wanted in (_by_code, _by_status, _by_likeness):
        for rule in policy.rules:
            if wanted(rule, error):
                return rule
    known = ", ".join(rule.name for rule in policy.rules)
    raise PolicyError(f"{policy.api} has no error {error!r}; it has {known}")


def _whens(rule: Rule) -> list[Any]:
    return list(rule.when) if isinstance(rule.when, list) else [rule.when]


def _by_code(rule: Rule, error: str | int) -> bool:
    return any(error == code for when in _whens(rule) for code in _list(when.code))


def _by_status(rule: Rule, error: str | int) -> bool:
    return any(error == status for when in _whens(rule) for status in _list(when.status))


def _by_likeness(rule: Rule, error: str | int) -> bool:
    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]+", "_", text.casefold())

    return isinstance(error, str) and plain(rule.name) == plain(error)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _place(body: Any, pointers: list[str], value: str) -> None:
    """Put a value where the first pointer leads that has a place for it."""
    for pointer in pointers:
        *way, last = pointer.split("/")[1:]
        node = body
        for token in way:
            node = node.get(token) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[last] = value
            return
