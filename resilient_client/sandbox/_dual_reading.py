"""Reading what was sent to DUAL: a JSON body, a form, a number of the query. What is none is a validation error."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from resilient_client.sandbox._api import RefusedError
from resilient_client.sandbox._dual_schema import Misfit, details, misfits_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_client.sandbox._api import Request
    from resilient_client.sandbox._dual_schema import Property

DEPTH = 32  # levels of a JSON body

_BOUNDARY = re.compile(r'multipart/form-data\s*;.*\bboundary="?([^";,]{1,70})"?', re.IGNORECASE)
_FILE = re.compile(
    rb'^content-disposition:[ \t]*form-data;[^\r\n]*\bname="?file"?(?=[;\r\n]|$)',
    re.IGNORECASE | re.MULTILINE,
)
_FILENAME = re.compile(rb'\bfilename="([^"\r\n]*)"', re.IGNORECASE)
_KIND = re.compile(rb"^content-type:[ \t]*([^;\r\n]+)", re.IGNORECASE | re.MULTILINE)


def invalid(message: str, *misfits: Misfit) -> RefusedError:
    """Make the refusal of a request that does not fit: code 400."""
    return RefusedError("VALIDATION_ERROR", message=message, details=details(misfits))


def body_of(request: Request, wanted: Mapping[str, Property]) -> dict[str, Any]:
    """Read the body as a JSON object that has what is wanted, no text of that blank; null is the same as left out.

    Source: https://dual-docs.vercel.app/docs/developer-tools/error-reference (the Content-Type of a POST)
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid("Invalid request", Misfit("Content-Type", "Must be application/json"))
    try:
        document = request.document()
    except ValueError:
        raise invalid("Invalid request", Misfit("body", "Not a JSON object")) from None
    if not _is_sound(document):
        raise invalid(
            "Invalid request", Misfit("body", f"Deeper than {DEPTH} levels, or holds what is no number")
        )
    document = {name: each for name, each in document.items() if each is not None}
    misfits = misfits_in(wanted, document, closed=False)
    misfits += [
        Misfit(name, "Must not be blank")
        for name, each in wanted.items()
        if each.required and isinstance(document.get(name), str) and not document[name].strip()
    ]
    if misfits:
        raise invalid("Invalid request", *misfits)
    return document


def _is_sound(document: Any) -> bool:
    """Tell whether a document is of a depth that can be walked, and has no NaN for a number (RFC 8259 §6)."""
    level = [document]
    for _ in range(DEPTH):
        children = [
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, dict | list)
        ]
        level = [each for group in children for each in group]
        if any(isinstance(each, float) and not math.isfinite(each) for each in level):
            return False
        if not level:
            return True
    return False


def misfits_of_texts(values: list[Any], at: str) -> list[Misfit]:
    """List what in `values` is no text, or blank."""
    return [
        Misfit(f"{at}.{number}", "Not a text")
        for number, each in enumerate(values)
        if not (isinstance(each, str) and each.strip())
    ]


def whole_number(request: Request, name: str, otherwise: int) -> int:
    """Read a whole number of the query."""
    text = request.query.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise invalid("Invalid request", Misfit(name, "Not a whole number"))
    return int(text)


def is_https(url: str) -> bool:
    """Tell whether something can be sent to this URL by HTTPS."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
        )
    except ValueError:
        return False


def file_in(request: Request) -> tuple[str, str, bytes]:
    """Find the part `file` of a form (RFC 7578): its file name, its type, its bytes."""
    boundary = _BOUNDARY.match(request.headers.get("content-type", ""))
    if boundary is None:
        raise invalid("Invalid request", Misfit("Content-Type", "Must be multipart/form-data"))
    for part in (b"\r\n" + request.body).split(b"\r\n--" + boundary[1].encode("latin-1"))[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        if _FILE.search(head):
            name, kind = _FILENAME.search(head), _KIND.search(head)
            return (
                name[1].decode("utf-8", "replace") if name else "",
                kind[1].decode("latin-1").strip() if kind else "application/octet-stream",
                content,
            )
    raise invalid("Invalid request", Misfit("file", "Required"))
