"""Tokens that processes share: one of them signs in, the others take what it got.

The law: a token is never on the server in plain text. It is encrypted (Fernet, https://cryptography.io/en/latest/fernet/)
with a key that only the processes have, under a name that does not say whose it is; without a key there is no shelf.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .link import Script, StoreAwayError

if TYPE_CHECKING:
    from .link import Link

__all__ = ["TokenShelf"]

_FORGET = Script("forget.lua")
_LONGEST = 86_400.0  # seconds for which a token is kept that does not say when it ends


class TokenShelf:
    """Where processes leave tokens for each other, by a key that says what a token is for.

    Nothing here is a must: while the server is away nobody finds a token, and everybody may sign in.

    Raises:
        ImportError: cryptography is not installed: `pip install 'resilient-client[redis]'`.
        ValueError: the encryption key is missing, or is none of Fernet's.
    """

    def __init__(self, link: Link, prefix: str, encryption_key: str | bytes | None) -> None:
        if encryption_key is None:
            raise ValueError(
                "tokens are shared encrypted or not at all: give the store an encryption_key "
                "(cryptography.fernet.Fernet.generate_key() makes one)"
            )
        try:
            from cryptography.fernet import Fernet, InvalidToken  # noqa: PLC0415 - only who shares tokens needs it
        except ImportError as error:
            raise ImportError(
                "sharing tokens needs cryptography: pip install 'resilient-client[redis]'",
                name="cryptography",
            ) from error
        try:
            self._fernet = Fernet(encryption_key)
        except ValueError:
            raise ValueError(
                "encryption_key must be a key of Fernet's, 32 bytes in URL-safe base64"
            ) from None
        self._unreadable = InvalidToken
        self._secret = encryption_key.encode() if isinstance(encryption_key, str) else encryption_key
        self._link, self._prefix = link, prefix
        self._owner = uuid.uuid4().hex

    def __repr__(self) -> str:
        return f"TokenShelf({self._link!r}, encryption_key=***)"

    def get(self, key: str) -> tuple[str, float | None] | None:
        """Find the token for this key, and when it ends (epoch seconds; None: it does not say).

        One that was encrypted with another key is not found.
        """
        return self._open(self._sealed(key))

    def put(self, key: str, token: str, ends: float | None, now: float) -> None:
        """Leave a token, until it ends or for a day; `now` is epoch seconds, too. While the server is away it is not left."""
        seconds = _LONGEST if ends is None else min(ends - now, _LONGEST)
        if seconds <= 0:
            return
        sealed = self._fernet.encrypt(json.dumps([token, ends]).encode())
        with suppress(StoreAwayError):
            self._link.command("SET", self._name(key, "token"), sealed, "PX", max(1, int(seconds * 1000)))

    def forget(self, key: str, token: str) -> None:
        """Take a token away that the API calls dead, unless another has been left since."""
        sealed = self._sealed(key)
        found = self._open(sealed)
        if found is not None and found[0] == token:
            with suppress(StoreAwayError):
                self._link.run(_FORGET, [self._name(key, "token")], [sealed])

    def take_turn(self, key: str, seconds: float) -> bool:
        """Ask to be the one who signs in, for so many seconds at the most. While the server is away everybody is.

        Who is not asks `get` again, and `take_turn`, until there is a token or the turn of the other has ended.
        """
        try:
            words = ("NX", "PX", max(1, int(seconds * 1000)))
            return self._link.command("SET", self._name(key, "turn"), self._me(), *words) is not None
        except StoreAwayError:
            return True

    def end_turn(self, key: str) -> None:
        """Let another sign in: this one has left a token, or has failed to get one."""
        with suppress(StoreAwayError):
            self._link.run(_FORGET, [self._name(key, "turn")], [self._me()])

    def _sealed(self, key: str) -> Any:
        with suppress(StoreAwayError):
            return self._link.command("GET", self._name(key, "token"))
        return None

    def _open(self, sealed: Any) -> tuple[str, float | None] | None:
        if sealed is None:
            return None
        try:
            token, ends = json.loads(self._fernet.decrypt(sealed))
        except self._unreadable:
            return None
        return token, ends

    def _me(self) -> str:
        return f"{self._owner}:{os.getpid()}"  # a forked worker is another

    def _name(self, key: str, part: str) -> str:
        return f"{self._prefix}{{{hmac.new(self._secret, key.encode(), hashlib.sha256).hexdigest()}}}:{part}"
