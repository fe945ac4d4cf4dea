"""JSON Web Tokens that are signed with HMAC-SHA256 (RFC 7515, RFC 7519): made, and read back by who made them."""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


def signed_token(secret: bytes, claims: Mapping[str, Any]) -> str:
    """Make a token."""
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    signed = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{signed}.{_base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"


def claims_of(secret: bytes, token: str) -> dict[str, Any] | None:
    """Read a token that was signed with this secret; None for any other."""
    signed, _, signature = token.rpartition(".")
    expected = _base64url(hmac.digest(secret, signed.encode(), "sha256"))
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        return None
    claims = signed.partition(".")[2]
    return cast("dict[str, Any]", json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
