"""What the Customer Verification API lets into a customer's fields and documents. No state in here.

Source: vendor's reference page "Error codes", Validation errors; where it is silent, the standards named below.
"""

from __future__ import annotations

import base64
import contextlib
import re
from datetime import date
from typing import TYPE_CHECKING, Any

from resilient_client.sandbox._api import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_client.sandbox._api import Request

DOCUMENT_LIMIT = 10_000_000  # bytes, decoded
QUALITY_FLOOR = 1024  # bytes, decoded: nothing that is smaller can be read by a reviewer
MAGIC = {"JPG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "PDF": b"%PDF-"}
IDENTITY = ("PASSPORT", "ID_CARD", "DRIVING_LICENCE")
DOCUMENT_TYPES = (*IDENTITY, "PROOF_OF_ADDRESS")

_REQUIRED = ("firstName", "lastName", "email", "dateOfBirth")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address, with a dot in the domain.
_EMAIL = re.compile(
    r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,63}"
)
_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")  # ITU-T E.164: at most 15 digits
_COUNTRY = re.compile(r"[A-Z]{2}")  # ISO 3166-1 alpha-2
_ANY_POSTAL_CODE = re.compile(r"[A-Z0-9](?:[A-Z0-9 -]{0,8}[A-Z0-9])?")
_POSTAL_CODES = {
    "AT": re.compile(r"[1-9][0-9]{3}"),
    "CA": re.compile(r"[A-Z][0-9][A-Z] [0-9][A-Z][0-9]"),
    "CH": re.compile(r"[1-9][0-9]{3}"),
    "DE": re.compile(r"[0-9]{5}"),
    "ES": re.compile(r"[0-9]{5}"),
    "FR": re.compile(r"[0-9]{5}"),
    "GB": re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}"),
    "IT": re.compile(r"[0-9]{5}"),
    "JP": re.compile(r"[0-9]{3}-[0-9]{4}"),
    "NL": re.compile(r"[1-9][0-9]{3} [A-Z]{2}"),
    "US": re.compile(r"[0-9]{5}(?:-[0-9]{4})?"),
}


def document_of(request: Request) -> dict[str, Any]:
    """Read the body as a JSON object."""
    try:
        return request.document()
    except ValueError:
        raise invalid("body", "must be a JSON object") from None


def invalid(name: str, why: str) -> RefusedError:
    """Make the refusal of a field that is missing, or holds what it may not."""
    return RefusedError("VALIDATION_ERROR", field=name, details=f"Field {name!r} {why}")


def checked_customer(document: Mapping[str, Any], today: date) -> dict[str, str]:
    """Check a customer's fields, and give those that were told."""
    for name, value in document.items():
        if name not in _FORMATS:
            raise invalid(name, "is not known here")
        if value is not None and not isinstance(value, str):
            raise invalid(name, "must be a text")
    fields: dict[str, str] = {name: document[name] for name in _FORMATS if document.get(name) is not None}
    for name in _REQUIRED:
        if name not in fields:
            raise invalid(name, "is required")
    if "postalCode" in fields and "country" not in fields:
        raise invalid("country", "is required for a postal code")
    for name, value in fields.items():
        check_format(name, value)
    postal_code = _POSTAL_CODES.get(fields.get("country", ""))
    if postal_code is not None and "postalCode" in fields:
        check_format("postalCode", fields["postalCode"], postal_code.fullmatch)
    if date.fromisoformat(fields["dateOfBirth"]) > today:
        raise invalid("dateOfBirth", "must not be in the future")
    return fields


def check_format(name: str, text: str, strictly: Callable[[str], object] | None = None) -> None:
    """Refuse a text that is not written as this field is; `strictly` judges in place of the field's own rule."""
    well_formed, how = _FORMATS[name]
    if not (strictly or well_formed)(text):
        raise RefusedError("INVALID_FIELD_FORMAT", field=name, details=f"Field {name!r} is written {how}")


def checked_document(document: Mapping[str, Any]) -> tuple[str, str, bytes]:
    """Check a document, and give its type, its format and its decoded content."""
    for name in document:
        if name not in {"type", "content"}:
            raise invalid(name, "is not known here")
    kind, content = document.get("type"), document.get("content")
    if kind not in DOCUMENT_TYPES:
        raise invalid("type", f"must be one of {', '.join(DOCUMENT_TYPES)}")
    if not isinstance(content, str):
        raise invalid("content", "must be a document as a Base64 string")
    decoded = b""
    with contextlib.suppress(ValueError):  # it is no Base64
        decoded = base64.b64decode(content, validate=True)
    form = next((form for form, magic in MAGIC.items() if decoded.startswith(magic)), None)
    if form is None or len(decoded) > DOCUMENT_LIMIT:
        raise RefusedError("INVALID_DOCUMENT_FORMAT")
    if len(decoded) < QUALITY_FLOOR:
        raise RefusedError("DOCUMENT_QUALITY_INSUFFICIENT")
    return str(kind), form, decoded


def _is_name(text: str) -> bool:
    return text.isprintable() and text == text.strip() and 1 <= len(text) <= 100


def _is_email(text: str) -> bool:
    return (
        len(text) <= 254 and _EMAIL.fullmatch(text) is not None
    )  # RFC 5321 §4.5.3.1.3, without the brackets


def _is_date(text: str) -> bool:
    if _DATE.fullmatch(text) is None:  # Python reads other forms, too
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


# The fields of a customer: what judges their text, and how it is written.
_FORMATS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "firstName": (_is_name, "in 1 to 100 printable characters, with no blanks around"),
    "lastName": (_is_name, "in 1 to 100 printable characters, with no blanks around"),
    "email": (_is_email, "as name@example.com"),
    "dateOfBirth": (_is_date, "as YYYY-MM-DD"),
    "phoneNumber": (_PHONE.fullmatch, "in E.164 format, as +15551234567"),
    "country": (_COUNTRY.fullmatch, "as two capital letters (ISO 3166-1)"),
    "postalCode": (_ANY_POSTAL_CODE.fullmatch, "the way its country writes it"),
}
