"""RedisStore: where the processes that call an API share their budgets, breakers and tokens."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, Literal

from .breaker import SharedBreaker
from .budget import SharedBudget
from .link import Link, Times
from .pace import SharedPacer
from .tokens import TokenShelf

if TYPE_CHECKING:
    from resilient_client._guard.breaker import BreakerConfig
    from resilient_client._guard.budget import BudgetConfig
    from resilient_client._guard.pace import Window
    from resilient_client.clock import Clock

__all__ = ["RedisStore"]


class RedisStore:
    """A Redis or Valkey server on which processes share what protects their calls.

    Each decision is one script on the server, by the server's clock. A server that does not answer within `timeout` is
    away: then nobody asks it for `retry_away` seconds, after which one caller looks whether it is back. What happens
    meanwhile is `away`. With `"local"` each process goes on by itself: with a breaker and a retry budget of its own, and,
    after a second look in vain, within the units that it holds of each budget, later within its share. With `"refuse"`
    what cannot be decided is refused, and a call ends with `StoreAway`.

    Threads may share a store, and a forked worker may go on with it: it opens connections of its own.

    Args:
        url_or_client: `redis://host:6379/0`, or a client of redis-py, whose server, credentials and TLS are used with
            connections of this store's own. A client of a cluster or of Sentinel is used as it is: give it short timeouts
            and no retries.
        prefix: what the names of all keys begin with. Each of them expires.
        away: what to do while the server is away.
        share: the part of each budget, from 0 to 1, that this process may use while it is on its own; together they must not
            be more than 1. Left out: one part of as many as there are processes, which the server counts. A process that
            has not reached it within the last minute then has none.
        timeout: seconds to wait for a connection, and for an answer.
        retry_away: seconds between two looks whether the server is back.
        encryption_key: a key of `cryptography.fernet.Fernet`. Without one no tokens are shared.

    Raises:
        ImportError: redis-py is not installed: `pip install 'resilient-client[redis]'`.
        TypeError, ValueError: an argument cannot be used.
    """

    def __init__(  # noqa: PLR0913 - what differs between deployments
        self,
        url_or_client: Any,
        *,
        prefix: str = "resilient_client:",
        away: Literal["local", "refuse"] = "local",
        share: float | None = None,
        timeout: float = 0.2,
        retry_away: float = 1.0,
        encryption_key: str | bytes | None = None,
    ) -> None:
        if away not in {"local", "refuse"}:
            raise ValueError(f'away is "local" or "refuse" (got {away!r})')
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"share is a part of each budget, above 0 and at most 1 (got {share!r})")
        if not timeout > 0:
            raise ValueError(f"timeout must be seconds above 0 (got {timeout!r})")
        if not retry_away >= 0:
            raise ValueError(f"retry_away must be seconds, 0 or more (got {retry_away!r})")
        self._link = Link(url_or_client, timeout, retry_away)
        self._prefix = prefix
        self._away = away
        self._share = share
        self._key = encryption_key
        _ALIVE.add(self)

    def __repr__(self) -> str:
        return f"RedisStore({self._link!r}, prefix={self._prefix!r}, away={self._away!r})"

    def pacer(
        self,
        name: str,
        *windows: Window,
        margin: float = 0.02,
        due: float = 30.0,
        lease: float = 2.0,
        clock: Clock | None = None,
    ) -> SharedPacer:
        """Give the pacer of this name: one budget for all processes that name it so, with the same windows.

        A place in line is kept for `lease` seconds after the time that it was told; then those behind it go on. By a `clock`
        that is not the system's, a virtual one, each caller's own time decides in place of the server's.

        Raises:
            ValueError: no window, or margin, due or lease out of range.
        """
        if not lease > 0:
            raise ValueError(f"lease must be seconds above 0 (got {lease!r})")
        return SharedPacer(
            self._link,
            self._keys("pace", name),
            *windows,
            margin=margin,
            due=due,
            lease=lease,
            times=Times(clock),
            local=self._away == "local",
            share=self._share,
        )

    def breaker(
        self,
        name: str,
        config: BreakerConfig | None = None,
        chance: float = 0.0,
        *,
        clock: Clock | None = None,
    ) -> SharedBreaker:
        """Give the breaker of this name: one for all processes that name it so, with the same numbers.

        `chance` is a random number in [0, 1): how much of the jitter is added where this process opens it.
        """
        return SharedBreaker(
            self._link,
            self._keys("breaker", name),
            config,
            chance,
            times=Times(clock),
            local=self._away == "local",
        )

    def budget(
        self, name: str, config: BudgetConfig | None = None, *, clock: Clock | None = None
    ) -> SharedBudget:
        """Give the retry budget of this name: one for all processes that name it so, with the same numbers."""
        return SharedBudget(
            self._link, self._keys("budget", name), config, times=Times(clock), local=self._away == "local"
        )

    def tokens(self) -> TokenShelf:
        """Give the place where processes leave tokens for each other, encrypted.

        Raises:
            ImportError: cryptography is not installed.
            ValueError: the store has no `encryption_key`, or one that is none of Fernet's. Tokens are not shared then.
        """
        return TokenShelf(self._link, f"{self._prefix}token:", self._key)

    def close(self) -> None:
        """Close the connections. A later question opens new ones."""
        self._link.close()

    def _keys(self, kind: str, name: str) -> str:
        # In a cluster all keys with the same text in braces are on one server, as those of a script must be.
        return f"{self._prefix}{{{name}}}:{kind}"


_ALIVE: weakref.WeakSet[RedisStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_ALIVE):
        store._link.after_fork()  # noqa: SLF001 - this package's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
