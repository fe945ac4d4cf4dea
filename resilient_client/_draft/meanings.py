"""What a code says by its name, and what the standards say by a status: all that a draft knows of an error that nobody describes.

Law of this file: the standards' answer is the shipped default policy's own, never a second copy of it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from resilient_client._flow.rulebook import status_name
from resilient_client.loading import load_policy

from .envelope import simple

if TYPE_CHECKING:
    from resilient_client._flow.rulebook import Code

__all__ = ["Meaning", "Standard", "humanised", "meaning", "rule_name", "says_nothing", "standard"]


class Meaning(NamedTuple):
    """What a code's name tells."""

    category: str
    statuses: tuple[int, ...]  # with which it is commonly sent, the most common first


_UNFIT = "(invalid|bad|missing|expired|revoked)"
_CREDENTIAL = "(key|token|credentials|session|signature)"
# The first that is found in a code's words counts.
_MEANINGS = tuple(
    (re.compile(words), Meaning(category, statuses))
    for words, category, statuses in (
        (
            r"quota|billing|(insufficient|no|out_of)_(funds|balance|credits?)|payment_required|usage_limit",
            "quota",
            (429, 402, 403),
        ),
        (r"rate_?limit|too_many_requests|throttl|slow_down", "rate_limit", (429, 403)),
        (
            rf"unauthori[sz]ed|unauthenticated|authentication|{_UNFIT}_(api_?)?{_CREDENTIAL}|{_CREDENTIAL}_{_UNFIT}",
            "auth",
            (401, 403),
        ),
        (
            r"forbidden|permission|access_denied|not_allowed|insufficient_(scope|privilege)",
            "permission",
            (403, 401),
        ),
        (r"not_found|no_such|does_not_exist|unknown_(?!error)|resource_missing", "not_found", (404, 410)),
        (r"conflict|already_exists|duplicate|locked|lock_timeout|in_use|idempoten", "conflict", (409, 412)),
        (r"maintenance", "maintenance", (503,)),
        (r"unavailable|overload", "server", (503, 529)),
        (r"timeout|timed_out|deadline_exceeded", "server", (504, 408)),
        (r"internal|server_error|api_error|unexpected|unknown_error", "server", (500,)),
        (
            r"invalid|validation|bad_request|malformed|missing|required|unprocessable|too_large|too_long",
            "validation",
            (400, 422),
        ),
    )
)
_EMPTY = frozenset({"", "error", "errors", "default", "defaulterror", "unexpectederror", "errorresponse"})


class Standard(NamedTuple):
    """What the standards say of a status."""

    name: str  # of a rule for this status alone
    category: str
    cause: str
    remedy: str
    user_message: str
    retry: dict[str, Any] | None  # in the words of a policy file


def meaning(code: Code) -> Meaning | None:
    """Tell what a code's name says; None where it says nothing."""
    words = _words(code)
    return next((told for pattern, told in _MEANINGS if pattern.search(words)), None)


def standard(status: int) -> Standard:
    """Tell what the standards say of a status."""
    policy = load_policy("default")
    verdict = policy.classify(httpx.Response(status))
    rule = next((rule for rule in policy.rules if rule.name == verdict.name), None)
    retry = rule.retry if rule is not None else None
    alone = rule is not None and not isinstance(rule.when, list) and rule.when.status == status
    return Standard(
        name=verdict.name if alone else status_name(status),
        category=verdict.category,
        cause=verdict.cause
        if rule is not None
        else "The document names this status, and says nothing of it.",
        remedy=verdict.remedy,
        user_message=verdict.user_message,
        retry=None if retry is None else retry.model_dump(mode="json", by_alias=True, exclude_unset=True),
    )


def says_nothing(words: str, status: int | None) -> bool:
    """Tell whether words (a description, a code) say no more than the status does, or that this is an error."""
    plain = simple(words)
    if plain in _EMPTY or plain == "aboutblank":
        return True
    return status is not None and plain in {str(status), simple(_phrase(status)), simple(status_name(status))}


def humanised(code: Code) -> str:
    """Put a code into words: card_declined is "Card declined"; of a URI, the last segment counts."""
    words = _words(_last(code)).replace("_", " ").strip()
    return f"{words[:1].upper()}{words[1:]}" if re.search("[a-z]{3}", words) else f"Code {code}"


def rule_name(code: Code, status: int | None) -> str:
    """Make a rule's name of a code: of a URI, the last segment; where nothing is left of it, the status tells."""
    name = _words(_last(code)).strip("_").upper()[:60]
    if name and not name[0].isdigit():
        return name
    return f"{status_name(status) if status is not None else 'CODE'}_{name}".rstrip("_")


def _last(code: Code) -> str:
    return str(code).rstrip("/").rpartition("/")[2] if "://" in str(code) else str(code)


def _words(code: Code) -> str:
    apart = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", str(code))
    return re.sub("[^a-z0-9]+", "_", apart.casefold())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
