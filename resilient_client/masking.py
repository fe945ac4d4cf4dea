"""What must not be seen, and how it is hidden: in logs, reprs, exception texts and outcomes.

Law of this file: a value is secret by the name it goes under, and once it is known to be, it is taken out wherever the server
echoes it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from .outcome import Verdict

__all__ = [
    "MASK",
    "header_is_secret",
    "mask",
    "masked_headers",
    "masked_json",
    "one_line",
    "values_without_secrets",
    "without_secrets",
]

MASK = "***"

_SECRET_NAME = re.compile(
    r"auth|cookie|secret|token|passw|credential|signature|x-api-|api[-_]?key|apikey|\bkey\b|sign$|nonce|otp|session|jwt",
    re.IGNORECASE,
)
_NOT_SECRET = frozenset(
    {"idempotency-key", "idempotency_key", "www-authenticate", "proxy-authenticate", "x-api-version"}
)
_SHORTEST = 6  # characters: what is shorter is no secret worth the name, and would blot out common words


def header_is_secret(name: str) -> bool:
    """Tell whether a header's (or a body field's) value is one that logs must not show."""
    return name.casefold() not in _NOT_SECRET and _SECRET_NAME.search(name) is not None


def masked_headers(headers: httpx.Headers) -> list[tuple[str, str]]:
    """List headers with the secret values hidden, in order."""
    return [
        (name, MASK if header_is_secret(name) else _one_line(value)) for name, value in headers.multi_items()
    ]


def masked_json(value: Any, depth: int = 0) -> Any:
    """Copy a JSON value with what looks secret by its name hidden."""
    if depth > 20:
        return "…"
    if isinstance(value, dict):
        return {
            name: MASK
            if header_is_secret(str(name)) and inner not in (None, "")
            else masked_json(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [masked_json(inner, depth + 1) for inner in value]
    return value


def without_secrets(text: str, headers: httpx.Headers) -> str:
    """Take out of a text every secret value that these headers carry."""
    for name, value in headers.multi_items():
        if not header_is_secret(name):
            continue
        for part in _secrets_in(value):
            if len(part) >= _SHORTEST and part in text:
                text = text.replace(part, MASK)
    return text


def _secrets_in(value: str) -> list[str]:
    # "Bearer abc": the server may echo the credentials without the scheme; "a=1; b=2": or one cookie of several.
    pairs = [pair.partition("=")[2].strip() for pair in value.split(";")] if "=" in value else []
    return [value, value.partition(" ")[2].strip(), *pairs]


def mask(verdict: Verdict, headers: httpx.Headers) -> Verdict:
    """Take the request's own secrets out of what the server said."""
    message = None if verdict.message is None else without_secrets(verdict.message, headers)
    details = values_without_secrets(verdict.details, headers)
    if message == verdict.message and details == verdict.details:
        return verdict
    return replace(verdict, message=message, details=details)


def values_without_secrets(value: Any, headers: httpx.Headers, depth: int = 0) -> Any:
    """Copy a JSON value with every secret that these headers carry taken out of its texts."""
    if isinstance(value, str):
        return without_secrets(value, headers)
    if depth > 20:
        return "…"
    if isinstance(value, dict):
        return {name: values_without_secrets(inner, headers, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [values_without_secrets(inner, headers, depth + 1) for inner in value]
    return value


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)


def one_line(text: str, limit: int = 300) -> str:
    """Make a text from a server safe for one line of a log: no control characters, and not long."""
    flat = _one_line(text)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
