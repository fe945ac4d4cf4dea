"""What must not be seen, and how it is hidden: in logs, reprs, exception texts and outcomes.

Law of this file: a value is secret by the name it goes under, and once it is known to be, it is taken out wherever the server
echoes it.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ._http import Headers, Request
    from .outcome import Verdict

__all__ = [
    "MASK",
    "is_secret",
    "mask",
    "mask_exception",
    "masked_headers",
    "masked_json",
    "one_line",
    "secrets_of",
    "values_without",
    "without",
]

MASK = "***"

_SECRET_WORDS = frozenset(
    [
        "auth",
        "authorization",
        "authentication",
        "cookie",
        "cookie2",
        "secret",
        "secrets",
        "token",
        "tokens",
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "pwd",
        "credential",
        "credentials",
        "signature",
        "signatures",
        "sign",
        "nonce",
        "otp",
        "session",
        "sessionid",
        "jwt",
        "apikey",
        "bearer",
        "key",
    ]
)
_SECRET_PARTS = re.compile(
    r"secret|passw|token|apikey|api[-_]key|credential|signature|^x-api-", re.IGNORECASE
)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_NOT_SECRET = frozenset(
    {"idempotency-key", "idempotency_key", "www-authenticate", "proxy-authenticate", "x-api-version"}
)
_LARGEST_BODY = 65_536  # bytes of a request's body that are searched for secrets
_A_NAME = 64  # characters: the answers for longer names are not kept
_SHORTEST = 6  # characters: what is shorter is no secret worth the name, and would blot out common words


def is_secret(name: str) -> bool:
    """Tell whether a header's (or a body field's) value is one that logs must not show."""
    return _is_secret_short(name) if len(name) <= _A_NAME else _is_secret(name)


def _is_secret(name: str) -> bool:
    if name.casefold() in _NOT_SECRET:
        return False
    return _SECRET_PARTS.search(name) is not None or not _SECRET_WORDS.isdisjoint(
        word.casefold() for word in _WORDS.findall(name)
    )


_is_secret_short = lru_cache(1024)(_is_secret)


def masked_headers(headers: Headers, known: Collection[str] = ()) -> list[tuple[str, str]]:
    """List headers with the secret values hidden, in order; of a Location, the query is one."""
    return [(name, without(_shown(name, value), known)) for name, value in headers.multi_items()]


def _shown(name: str, value: str) -> str:
    if is_secret(name):
        return MASK
    if name.casefold() in {"location", "content-location", "referer", "link"} and "?" in value:
        value = value.partition("?")[0] + "?…"
    return one_line(value, 2000)


def masked_json(value: Any, depth: int = 0) -> Any:
    """Copy a JSON value with what looks secret by its name hidden."""
    if depth > 20:
        return "…"
    if isinstance(value, dict):
        return {
            name: MASK if is_secret(str(name)) and inner not in (None, "") else masked_json(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [masked_json(inner, depth + 1) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # Python's JSON reads NaN and Infinity, and nobody else's does
    return value


def secrets_of(request: Request, body: bytes | None) -> frozenset[str]:
    """List the secret values that a request carries: in its headers, its URL and, where it is in memory, its body.

    Longest first matters to nobody but `without`, which sorts. What is shorter than six characters is left out.
    """
    found: set[str] = set()
    for name, value in request.headers.multi_items():
        if is_secret(name):
            found.update(_credentials(value))
    url = request.url
    if url.userinfo:
        found.update((url.username, url.password))
    if url.query:
        found.update(value for name, value in url.params.multi_items() if is_secret(name))
    if body and len(body) <= _LARGEST_BODY:
        found.update(_in_body(body))
    return frozenset(value for value in found if len(value) >= _SHORTEST)


def _credentials(value: str) -> Iterator[str]:
    value = value.strip()
    yield value
    # "Bearer abc": the server may echo the credentials without the scheme.
    scheme, _, rest = value.partition(" ")
    yield rest.strip()
    if scheme.casefold() == "basic":
        try:
            pair = base64.b64decode(rest, validate=True).decode("utf-8", "replace")
        except ValueError:
            return
        yield pair
        yield pair.partition(":")[2]
    # "a=1; b=2": or one cookie of several.
    if "=" in value:
        for pair in value.split(";"):
            yield pair.partition("=")[2].strip()


def _in_body(body: bytes) -> Iterator[str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        try:
            pairs = parse_qsl(body.decode("ascii"), max_num_fields=1000)
        except ValueError:
            return
        yield from (value for name, value in pairs if is_secret(name))
        return
    yield from _named_secret(document, 0)


def _named_secret(value: Any, depth: int) -> Iterator[str]:
    if depth > 20:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and is_secret(name):
                yield inner
            else:
                yield from _named_secret(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _named_secret(inner, depth + 1)


def without(text: str, known: Collection[str]) -> str:
    """Take every known secret out of a text."""
    for secret in sorted(known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def values_without(value: Any, known: Collection[str], depth: int = 0) -> Any:
    """Copy a JSON value with every known secret taken out of its texts, names of fields included."""
    if isinstance(value, str):
        return without(value, known)
    if depth > 20:
        return "…"
    if isinstance(value, dict):
        return {
            without(str(name), known): values_without(inner, known, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [values_without(inner, known, depth + 1) for inner in value]
    return value


def mask(verdict: Verdict, known: Collection[str]) -> Verdict:
    """Take the known secrets, and what looks like one by its name, out of what the server said."""
    if not known and verdict.details is None:
        return verdict
    code = without(verdict.code, known) if isinstance(verdict.code, str) else verdict.code
    clean = replace(
        verdict,
        code=code,
        message=None if verdict.message is None else without(verdict.message, known),
        field=None if verdict.field is None else without(verdict.field, known),
        request_id=None if verdict.request_id is None else without(verdict.request_id, known),
        details=values_without(masked_json(verdict.details), known),
    )
    return verdict if clean == verdict else clean


def mask_exception(error: BaseException, known: Collection[str]) -> None:
    """Take the known secrets out of the texts of an exception and of those that it came from."""
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None:
            return
        if any(isinstance(part, str) and without(part, known) != part for part in cause.args):
            cause.args = tuple(without(part, known) if isinstance(part, str) else part for part in cause.args)
        cause = cause.__cause__ or cause.__context__


# Control characters of ASCII and of Latin-1 (U+009B begins a terminal's command), and Unicode's line separators.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str, limit: int = 300) -> str:
    """Make a text from a server safe for one line of a log: no control characters, and not long."""
    flat = _CONTROLS.sub(" ", text[: limit * 2])
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
