"""What is true of one call before anything is sent: its key, whether its body can be sent twice, whether it may be.

Law of this file: it is judged before the first send, by what the request is, never by what a retry would find out.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from resilient_client.outcome import Record, Tried

from . import key
from .classify import network_reading
from .rulebook import IDEMPOTENT_METHODS, SAFE_METHODS, Rulebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_client._http import URL, Host, Request, Response

    from .steps import Told

__all__ = [
    "AUTH",
    "BEGUN",
    "FAILED",
    "HOP",
    "OPTIONS",
    "Call",
    "Setting",
    "arrive",
    "begin",
    "check_options",
    "deadline_seconds",
]

OPTIONS = "resilience"  # the request extension that callers write
AUTH = "resilience.auth"  # the one in which an auth leaves itself
HOP = "resilience.hop"  # the one in which a call leaves what its redirects must know
BEGUN = "resilience.begun"  # the one in which an auth leaves when its sign-in began (monotonic seconds)
FAILED = (
    "resilience.failed"  # the one in which an auth leaves who is told of the error that its sign-in ends with
)
KNOWN_OPTIONS = frozenset(
    {"policy", "deadline", "retry", "idempotency_key", "idempotent", "override_conflict", "park"}
)

_NEVER_SENT = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "CircuitOpen", "StoreAway"}
)
_IN_CONNECTING = frozenset(
    {"ConnectTimeout", "ConnectError", "ConnectionRefusedError", "ClientConnectorError", "gaierror"}
)
_CALLERS_OWN = frozenset({"UnsupportedProtocol", "LocalProtocolError"})
_DEADLY = frozenset({"SSLCertVerificationError"})


class Setting(Protocol):
    """What all calls of one transport share; the transport is it."""

    clock: Any

    @property
    def host(self) -> Host:
        """What knows the HTTP library."""

    @property
    def keep_cookies(self) -> Callable[[Any, Any], None] | None:
        """Take the cookies of a discarded response; None: they go onto the final one."""

    def chance(self) -> float:
        """Draw a number in [0, 1)."""

    def new_key(self) -> str:
        """Make an idempotency key that nobody else makes."""


class Call(Record):
    """One call: what was asked for, what is known of it before it is sent, and (as a Record) what came of it."""

    options: Mapping[str, Any] | None = None
    until: float | None = None  # monotonic seconds
    auth: Any = None  # the auth that is run again for each further attempt
    sign_first = False  # a redirect on the same origin: sign before the first send too
    stream: Any = None  # the body once more, for further attempts; None where it cannot be sent twice
    searched: Request | None = None  # whose secrets are known
    cookies: tuple[bytes, ...] = ()  # the Set-Cookie lines of discarded responses
    body: bytes | None = None  # what the body becomes in the next attempt, where the policy changes it
    error: Exception | None = None  # what the call ended with, where it was no response
    opening: Told | None = None  # what the first attempt brought, until the flow looks at it
    begun = False  # `begin` has judged it, and the caller's own request can be sent as it is
    travelled = False  # its extensions tell its redirects of it
    watch: Callable[[Call, Tried | None, Response | None], None] | None = None  # told of every attempt
    guard: Any = None  # what protects it; None: nothing does
    entry: Any = None  # what its newest attempt holds of that
    asleep = False  # it waits before a retry
    price = 0  # what the retry budget took for its newest retry
    reporter: Any = None  # what tells those who observe the call; None where nobody does

    def __init__(self, request: Request, rules: Rulebook, started: float, setting: Setting) -> None:
        self.request = request
        self.rules = rules
        self.started = self.ended = started
        self.setting = setting

    @property
    def clock(self) -> Any:
        """The transport's clock."""
        return self.setting.clock

    @property
    def host(self) -> Host:
        """What knows the HTTP library."""
        return self.setting.host

    def broke(self, error: Exception, at: float, wall: float) -> None:
        """Note that the body of its success broke off in the caller's hands: the answer is lost, and the work may be done."""
        reading = network_reading(self.rules, error, sent=True, worth_repeating=False)
        verdict = dataclasses.replace(reading.verdict, status=self.status)
        since = self.tried[-1].at + self.tried[-1].wait if self.tried else self.started
        self.tried = (*self.tried, Tried(reading.rule, verdict, error, at=at, elapsed=max(0.0, at - since)))
        self.reason, self.ended, self.wall = "not_retryable", at, wall
        self.maybe_applied = self.maybe_applied or self.leaves_traces()

    def option(self, name: str, default: Any = None) -> Any:
        """Give what the caller asked for in the request's extensions."""
        return self.options.get(name, default) if self.options else default

    def watched(self, tried: Tried | None, response: Response | None) -> None:
        """Tell whoever watches of an attempt, None being the one that succeeded."""
        if self.watch is not None:
            self.watch(self, tried, response)

    def keep_cookies(self, response: Response) -> None:
        """Keep the cookies of a response that will be discarded."""
        lines = [value for name, value in response.headers.raw if name.lower() == b"set-cookie"]
        if not lines:
            return
        if self.setting.keep_cookies is not None:
            self.setting.keep_cookies(self.request, response)
        else:
            self.cookies += tuple(lines)

    def may_repeat(self) -> bool:
        """Tell whether the request does no harm when it arrives twice (RFC 9110 9.2.2, or by its key)."""
        return (
            self.request.method in IDEMPOTENT_METHODS
            or self.key is not None
            or bool(self.option("idempotent"))
        )

    def leaves_traces(self) -> bool:
        """Tell whether the request can change anything that its caller asked for (RFC 9110 9.2.1): a sign-in does not."""
        return self.request.method not in SAFE_METHODS and FAILED not in self.request.extensions


class Hop:
    """What a request tells the one that follows it on a redirect: httpx copies the extensions."""

    __slots__ = ("origin", "owner", "until")

    def __init__(self, request: Request, until: float | None) -> None:
        self.owner = weakref.ref(request)
        self.origin = _origin(request.url)
        self.until = until


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def arrive(request: Request, auth: Any, deadline: float | None, now: float) -> tuple[Any, bool, float | None]:
    """Tell a new call from a redirected one; give the auth that may sign it, whether to sign first, and the deadline.

    A redirect keeps the first request's deadline. On the same origin it is signed anew, for its body or its method may have
    changed; for any other origin the signature is taken off, and nothing signs it any more.
    """
    hop = request.extensions.get(HOP)
    if not isinstance(hop, Hop) or hop.owner() is request:
        begun = min(request.extensions.pop(BEGUN, now), now)
        until = None if deadline is None else begun + deadline
        if auth is not None or until is not None:
            request.extensions[HOP] = Hop(request, until)
        return auth, False, until
    if auth is None or _origin(request.url) == hop.origin:
        return auth, auth is not None, hop.until
    for name in headers_set_by(auth):
        request.headers.pop(name, None)
    del request.extensions[AUTH]
    return None, False, hop.until


def headers_set_by(auth: Any) -> tuple[str, ...]:
    """List the headers that an auth says it sets; Authorization where it does not say."""
    return tuple(getattr(auth, "headers", ("Authorization",)))


def check_options(options: object) -> None:
    """Refuse what `extensions={"resilience": …}` cannot mean, before anything is sent.

    Raises:
        TypeError: it is no dict, or has a key that does not exist.
    """
    if not isinstance(options, dict):
        raise TypeError(f'extensions["resilience"] must be a dict, not {type(options).__name__}')
    unknown = sorted(str(name) for name in options if name not in KNOWN_OPTIONS)
    if unknown:
        raise TypeError(
            f'extensions["resilience"] has no {", ".join(map(repr, unknown))}; '
            f"it takes {', '.join(sorted(KNOWN_OPTIONS))}"
        )
    for name in ("retry", "idempotent", "override_conflict", "park"):
        if not isinstance(options.get(name, False), bool):
            raise TypeError(f'extensions["resilience"]["{name}"] is True or False, not {options[name]!r}')


def deadline_seconds(value: object) -> float | None:
    """Check a deadline: None, or seconds above 0.

    Raises:
        ValueError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"deadline must be seconds above 0, or None for no deadline (got {value!r})")
    return float(value) if value != float("inf") else None


def begin(call: Call) -> None:
    """Judge what the call can do, and give it its idempotency key.

    Raises:
        ValueError, TypeError: the caller's key is one that the policy forbids, or is no string. Nothing has been sent.
    """
    call.stream = call.setting.host.replay(call.request)
    if call.options is not None or call.request.method not in SAFE_METHODS:
        key.give(call)


def longer_than(response: Response, limit: int) -> bool:
    """Tell whether a response says itself that its body is longer than this many bytes."""
    length = response.headers.get("Content-Length", "")
    return length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > limit)


def never_sent(error: Exception) -> bool:
    """Tell whether an error means that nothing of the request has left."""
    return not _NEVER_SENT.isdisjoint(_kinds(error)) and not _broke_later(error)


def lost(error: Exception) -> bool:
    """Tell whether the request may have arrived: whatever is not known to have kept it from leaving counts as that."""
    kinds = _kinds(error)
    return (_NEVER_SENT.isdisjoint(kinds) or _broke_later(error)) and "UnsupportedProtocol" not in kinds


def _broke_later(error: Exception) -> bool:
    """Tell whether what a transport calls a failure to connect says otherwise by its cause.

    httpx-aiohttp 0.2 calls every broken connection a ConnectTimeout, also one that broke after the request was sent.
    """
    cause = error.__cause__
    return (
        cause is not None
        and "ConnectTimeout" in _kinds(error)
        and not isinstance(cause, TimeoutError)
        and _IN_CONNECTING.isdisjoint(_kinds(cause))
    )


def worth_repeating(error: Exception) -> bool:
    """Tell whether a network error may pass: not the caller's own mistake, and not a certificate that does not fit."""
    if "TransportError" not in _kinds(error) or not _CALLERS_OWN.isdisjoint(_kinds(error)):
        return False
    cause: BaseException | None = error
    for _ in range(8):  # httpx wraps httpcore, which wraps ssl
        if cause is None:
            return True
        if not _DEADLY.isdisjoint(_kinds(cause)):
            return False
        cause = cause.__cause__ or cause.__context__
    return True


def _kinds(error: BaseException) -> set[str]:
    # By name, so that the sister libraries with httpx's exceptions are understood as well.
    return {kind.__name__ for kind in type(error).__mro__}
