"""Replies that somebody captured, in the words of a policy's examples: HAR files, and what `curl -i` prints.

Source: the HTTP Archive format 1.2, http://www.softwareishard.com/blog/har-12-spec/; RFC 9112 for raw replies.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["of_har", "of_raw", "worded"]

_ERROR = 400  # the first status that is one
_FRAMING = frozenset(
    {"content-encoding", "transfer-encoding", "content-length"}
)  # done with when a body is captured


def worded(text: str | None) -> dict[str, Any]:
    """Give a body as an example has it: `json` where it is that, else `text`."""
    if not text:
        return {}
    try:
        return {"json": json.loads(text)}
    except (ValueError, RecursionError):
        return {"text": text}


def of_har(text: str) -> Iterator[dict[str, Any]]:
    """Give each reply of a HAR file that is an error. Raises ValueError where the text is no HAR."""
    try:
        entries = json.loads(text)["log"]["entries"]
        for entry in entries:
            request, response = entry["request"], entry["response"]
            if int(response["status"]) >= _ERROR:
                yield {
                    "status": int(response["status"]),
                    "headers": _named(response.get("headers", ())),
                    "method": str(request["method"]).upper(),
                    "path": urlsplit(str(request["url"])).path or "/",
                    "request_headers": _named(request.get("headers", ())),
                    **worded(_content(response.get("content", {}))),
                }
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"this is no HAR file: {_about(error)}") from None


def of_raw(raw: bytes, *, method: str = "GET", path: str = "/") -> dict[str, Any]:
    """Give a reply that was written down as it came. Raises ValueError where it does not begin with a status line."""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    while True:
        head, _, body = text.partition("\n\n")
        line, *fields = head.split("\n")
        version, _, rest = line.strip().partition(" ")
        status = rest.partition(" ")[0]
        if not version.startswith("HTTP/") or not (status.isdecimal() and len(status) == 3):
            raise ValueError(
                f"a reply begins with a line such as HTTP/1.1 429 Too Many Requests (got {line[:60]!r})"
            )
        # curl prints interim replies and a proxy's own one before the last.
        if not body.startswith("HTTP/"):
            break
        text = body
    pairs = (field.partition(":") for field in fields if ":" in field)
    headers = {
        name.strip(): value.strip() for name, _, value in pairs if name.strip().lower() not in _FRAMING
    }
    return {
        "status": int(status),
        "headers": headers,
        "method": method.upper(),
        "path": path,
        **worded(body.rstrip("\n")),
    }


def _named(headers: Any) -> dict[str, str]:
    found = {str(each["name"]): str(each["value"]) for each in headers}
    return {name: value for name, value in found.items() if name.lower() not in _FRAMING and name[:1] != ":"}


def _content(content: Any) -> str | None:
    text = content.get("text")
    if text is None or content.get("encoding") != "base64":
        return text if text is None else str(text)
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except binascii.Error:
        return None


def _about(error: Exception) -> str:
    return f"{error} is not there" if isinstance(error, KeyError) else str(error)
