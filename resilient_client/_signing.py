"""Signing: the headers of a request that its key, its secret, its body and a nonce make. `auth.py` makes an auth of it."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._flow.attempt import AUTH

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ._http import Request

__all__ = ["Signing"]

Req = TypeVar("Req", bound="Request")


class Signing(Generic[Req]):
    """An auth's signature. Comes before the library's `Auth`."""

    requires_request_body = True
    renews = frozenset({"nonce"})

    def __init__(  # noqa: PLR0913 - what differs between APIs that sign
        self,
        key: str,
        secret: str | bytes,
        *,
        digest: str = "sha256",
        key_header: str = "X-API-KEY",
        sign_header: str = "X-API-SIGN",
        nonce_header: str = "X-API-NONCE",
        nonce: Callable[[], str] | None = None,
        message: Callable[[Req, str], bytes] | None = None,
    ) -> None:
        if not _is_given(key, str):
            raise ValueError(
                "HmacAuth needs a key: pass the API key that the vendor gave you (is its variable set?)"
            )
        if not _is_given(secret, str | bytes):
            raise ValueError(
                "HmacAuth needs a secret: pass the API secret that belongs to the key (is its variable set?)"
            )
        for name, value in (("key", key), ("secret", secret)):
            if isinstance(value, str) and (value != value.strip() or not value.isprintable()):
                raise ValueError(
                    f"HmacAuth: the {name} has white space around it, or holds what no header takes: strip() it where it is read"
                )
        try:
            hmac.new(b"k", b"", digest)
        except (ValueError, TypeError):
            raise ValueError(
                f"HmacAuth cannot use the digest {digest!r}; sha256 and sha512 are the usual ones"
            ) from None
        self._key = key
        self._secret = secret.encode() if isinstance(secret, str) else secret
        self._digest = digest
        self._key_header, self._sign_header, self._nonce_header = key_header, sign_header, nonce_header
        self._nonce = nonce or _random_nonce
        self._message = message
        self.headers = (key_header, sign_header, nonce_header)

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Sign the request."""
        nonce = self._nonce()
        message = request.content if self._message is None else self._message(request, nonce)
        request.headers[self._key_header] = self._key
        request.headers[self._nonce_header] = nonce
        request.headers[self._sign_header] = hmac.new(self._secret, message, self._digest).hexdigest()
        request.extensions[AUTH] = self
        yield request

    def __repr__(self) -> str:
        return f"HmacAuth(key=***, secret=***, digest={self._digest!r})"


def _is_given(value: Any, kind: Any) -> bool:
    """Tell whether a credential is there: a variable that is not set comes as None, or as an empty text."""
    return isinstance(value, kind) and bool(value.strip())


def _random_nonce() -> str:
    return secrets.token_hex(16)
