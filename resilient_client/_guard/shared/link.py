"""The way to the server: connections that fail fast, scripts, and who asks while it is away.

Law of this file: whoever asks is answered, or refused by `StoreAwayError`, within the timeout. While the server is away one
caller looks whether it is back, at most once in `retry_away` seconds; the others are refused at once.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from resilient_client.clock import SystemClock, default_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient_client.clock import Clock

__all__ = ["Link", "Script", "StoreAwayError", "Times"]

_log = logging.getLogger("resilient_client.shared")


class StoreAwayError(Exception):
    """The server that processes share their state on does not answer, and nothing may be decided without it."""


class Script:
    """A Lua script of this folder."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(name).read_text("utf-8")
        # How the server names a script, https://valkey.io/commands/evalsha/; nothing is kept secret by it.
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Times:
    """Which clock decides: the server's own, or one that only the caller has, a virtual clock, say."""

    def __init__(self, clock: Clock | None) -> None:
        clock = default_clock() if clock is None else clock
        self._clock = None if isinstance(clock, SystemClock) else clock

    def stamp(self, now: float) -> str:
        """Give the time of a decision in microseconds, from the caller's monotonic `now`; nothing: the server knows."""
        if self._clock is None:
            return ""
        return str(micro(now + self._clock.time() - self._clock.monotonic()))

    def monotonic(self) -> float:
        """Tell the caller's time."""
        return time.monotonic() if self._clock is None else self._clock.monotonic()


def micro(value: float) -> int:
    """Give millionths: whole ones, for their sums do not drift."""
    return round(value * 1_000_000)


class Link:
    """The server of one store. Threads may share it; a forked worker opens connections of its own, as redis-py does."""

    def __init__(self, url_or_client: Any, timeout: float, retry_away: float) -> None:
        try:
            import redis  # noqa: PLC0415 - only who shares state needs it
        except ImportError as error:
            raise ImportError(
                "RedisStore needs redis-py: pip install 'resilient-client[redis]'", name="redis"
            ) from error
        self._redis = redis
        self._client = _failing_fast(redis, url_or_client, timeout)
        self.timeout = timeout
        self.retry_away = retry_away
        self._lock = threading.Lock()
        self._away_until: float | None = None  # monotonic seconds, when to look again; None: it is there
        self._looked = False  # in vain, since it went away
        self._why = ""
        self._ahead: float | None = None  # seconds that the server's clock is ahead of the monotonic one here

    def __repr__(self) -> str:
        return "<away>" if self.is_away else "<there>"

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer when it was last asked."""
        return self._away_until is not None

    @property
    def is_gone(self) -> bool:
        """Whether somebody has looked for it since, and in vain: what one question met may have been a hiccup."""
        return self._looked

    def ask(self, script: Script, keys: Sequence[str], arguments: Sequence[object]) -> list[Any]:
        """Let a script decide, and give its answer.

        A server that was frozen finds questions whose askers have given up long ago, and have gone on alone. So each has
        the time on it until which it may be answered, by the server's clock, which is known from its last answer. One
        that is answered too late all the same was told a wrong time, for that clock was set: it is asked again.

        Raises:
            StoreAwayError: the server did not answer, or had not a moment ago.
        """
        self.look()
        for _ in range(2):
            begin = time.monotonic()
            ahead = self._ahead
            before = "" if ahead is None else micro(begin + self.timeout + ahead)
            answer: list[Any] = self._try(self._run, script, keys, (before, *arguments))
            self._ahead = answer[0] / 1e6 - begin
            if len(answer) > 1:
                return answer[1:]
        self._lose(TimeoutError("it answers too late"))
        raise StoreAwayError(self._why)

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """Run a script that may be run at any time.

        Raises:
            StoreAwayError: the server did not answer, or had not a moment ago.
        """
        self.look()
        return self._try(self._run, script, keys, arguments)

    def command(self, *words: object) -> Any:
        """Run a command.

        Raises:
            StoreAwayError: the server did not answer, or had not a moment ago.
        """
        self.look()
        return self._try(self._client.execute_command, *words)

    def look(self) -> None:
        """Return if the server is there, as far as is known; look for it where that is due.

        Raises:
            StoreAwayError: it is not.
        """
        if self._away_until is None:
            return
        with self._lock:
            now = time.monotonic()
            if self._away_until is None:
                return
            if now < self._away_until:
                raise StoreAwayError(self._why)
            self._away_until = now + self.retry_away  # the others go on without it meanwhile
        try:
            self._try(self._client.ping)
        except StoreAwayError:
            self._looked = True
            raise
        with self._lock:
            self._away_until, self._looked = None, False
        _log.info("the shared store is back")

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._client.close()

    def after_fork(self) -> None:
        """Make the lock anew: a thread that this process does not have may hold it."""
        self._lock = threading.Lock()

    def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        try:
            return self._client.evalsha(script.sha, len(keys), *keys, *arguments)
        except self._redis.exceptions.NoScriptError:  # a server that has just started, or forgot
            return self._client.eval(script.text, len(keys), *keys, *arguments)

    def _try(self, question: Callable[..., Any], *words: Any) -> Any:
        try:
            return question(*words)
        except (self._redis.RedisError, OSError) as error:
            # A plain ResponseError is an answer, and a mistake of this package's; those with a name of their own (loading,
            # read-only, out of memory, cluster down) come of a server that cannot decide anything now.
            if type(error) is self._redis.ResponseError:
                raise
            self._lose(error)
            raise StoreAwayError(self._why) from error

    def _lose(self, error: Exception) -> None:
        with self._lock:
            first = self._away_until is None
            self._away_until = time.monotonic() + self.retry_away
            self._why = f"the shared store does not answer ({type(error).__name__}: {error})"
            why = self._why
        if first:
            _log.warning("%s; looking again every %g s", why, self.retry_away)


def _failing_fast(redis: Any, url_or_client: Any, timeout: float) -> Any:
    """Make a client whose questions end within the timeout: redis-py's own retries take seconds to say that nobody listens.

    A client of a cluster, or of Sentinel, finds its servers itself and is used as it is.
    """
    from redis.backoff import NoBackoff  # noqa: PLC0415 - redis is imported only when a store is made
    from redis.retry import Retry  # noqa: PLC0415 - the same

    ours = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "decode_responses": False,
        "protocol": 2,  # one greeting fewer
    }
    if isinstance(url_or_client, str):
        return redis.Redis.from_pool(redis.ConnectionPool.from_url(url_or_client, **ours))
    if not hasattr(url_or_client, "evalsha"):
        raise TypeError(
            f"RedisStore takes a URL or a client of redis-py (got {type(url_or_client).__name__})"
        )
    if not isinstance(url_or_client, redis.Redis) or type(url_or_client.connection_pool) not in {
        redis.ConnectionPool,
        redis.BlockingConnectionPool,
    }:
        return url_or_client
    pool = url_or_client.connection_pool
    theirs = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(("maint_", "orig_", "event_"))  # they belong to the pool that made them
    }
    return redis.Redis.from_pool(redis.ConnectionPool(pool.connection_class, **(theirs | ours)))
