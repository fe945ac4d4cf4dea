"""Replies that somebody captured, in the words of a policy's examples: HAR files, and what `curl -i` prints.

Law of this file: what cannot be part of a reply is left out, and what is no capture at all is told by a ValueError of one line.

Source: the HTTP Archive format 1.2, http://www.softwareishard.com/blog/har-12-spec/; RFC 9112 for raw replies.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from .masking import one_line, secrets_of, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Captured", "headers_of", "of_har", "of_raw", "of_text", "worded"]

_FRAMING = frozenset(
    {"content-encoding", "transfer-encoding", "content-length"}
)  # done with when a body is captured
_RESPONDS = "HTTP/"  # how a status line begins


class Captured(NamedTuple):
    """A reply, and the request that it answers."""

    given: dict[str, Any]  # as an example of a policy file has it
    request_body: Any  # the JSON document that was sent; None where there was none


def worded(text: str | None) -> dict[str, Any]:
    """Give a body as an example has it: `json` where it is that, else `text`."""
    if not text:
        return {}
    document = _document(text)
    return {"text": text} if document is None else {"json": document}


def of_text(raw: bytes, *, method: str = "GET", path: str = "/") -> list[Captured]:
    """Give the replies of a capture, whichever kind it is: a HAR file is JSON, and a raw reply begins with its status line.

    Raises:
        ValueError: it is neither.
    """
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return list(of_har(raw))
    return [of_raw(raw, method=method, path=path)]


def of_har(raw: bytes) -> Iterator[Captured]:
    """Give each reply of a HAR file, in its order; requests that were never answered have none.

    Raises:
        ValueError: it is no HAR file.
    """
    try:
        for entry in json.loads(raw)["log"]["entries"]:
            request, response = entry["request"], entry["response"]
            status = int(response["status"])
            if status >= 100:  # 0 stands for a request that was blocked or broken off
                given = {
                    "status": status,
                    "headers": _named(response.get("headers", ())),
                    "method": str(request["method"]).upper(),
                    "path": urlsplit(str(request["url"])).path or "/",
                    "request_headers": _named(request.get("headers", ())),
                    **worded(_without_secrets(request, _content(response.get("content", {})))),
                }
                yield Captured(given, _document(str((request.get("postData") or {}).get("text") or "")))
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"this is no HAR file: {_about(error)}") from None


def _without_secrets(request: Any, text: str | None) -> str | None:
    """Take out of a reply what its request carried that nobody else may read: a server may say it back."""
    if text is None:
        return None
    sent = str((request.get("postData") or {}).get("text") or "").encode()
    try:
        asked = httpx.Request(
            str(request["method"]), str(request["url"]), headers=_named(request.get("headers", ()))
        )
    except httpx.InvalidURL:
        return text
    return without(text, secrets_of(asked, sent))


def of_raw(raw: bytes, *, method: str = "GET", path: str = "/") -> Captured:
    """Give a reply that was written down as it came; of several in a row, as `curl` prints them, the last.

    Raises:
        ValueError: it does not begin with a status line.
    """
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").lstrip("\n")
    head, _, body = text.partition("\n\n")
    # An interim reply, a proxy's own, a redirect that was followed: each is a head of its own before the last.
    while body.startswith(_RESPONDS):
        head, _, body = body.partition("\n\n")
    line, *fields = head.split("\n")
    version, _, rest = line.strip().partition(" ")
    status = rest.strip().partition(" ")[0]
    if not version.startswith(_RESPONDS) or not (
        status.isdecimal() and status.isascii() and len(status) == 3
    ):
        raise ValueError(
            f"a reply begins with a line such as HTTP/1.1 429 Too Many Requests (got {one_line(line, 60)!r})"
        )
    pairs = (field.partition(":") for field in fields if ":" in field)
    given = {
        "status": int(status),
        "headers": headers_of((name, value) for name, _, value in pairs),
        "method": method,
        "path": path,
        **worded(body.rstrip("\n")),
    }
    return Captured(given, None)


def headers_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Gather headers as an example has them: of a name that comes twice, the first value counts.

    What only frames a body is left out, and so are HTTP/2's pseudo-headers; what is not ASCII cannot travel and becomes "?".
    """
    found: dict[str, str] = {}
    seen = set(_FRAMING)
    for name, value in pairs:
        plain = _ascii(name.strip())
        if plain and not plain.startswith(":") and plain.casefold() not in seen:
            seen.add(plain.casefold())
            found[plain] = _ascii(value.strip())
    return found


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _named(headers: Any) -> dict[str, str]:
    return headers_of((str(each["name"]), str(each["value"])) for each in headers)


def _content(content: Any) -> str | None:
    text = content.get("text")
    if text is None or content.get("encoding") != "base64":
        return text if text is None else str(text)
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error:
        return None


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _about(error: Exception) -> str:
    return f"{error} is not there" if isinstance(error, KeyError) else one_line(str(error))
