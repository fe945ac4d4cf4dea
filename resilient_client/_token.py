"""A token that is signed in for once, however many threads and tasks need it. `auth.py` makes an auth of it.

The way to a token is one generator, as the flow of a call is: it yields a request to send, a flight (another caller's sign-in) to
wait for, a question to the store that processes share, or seconds to wait, and the two ends of this file that the client drives carry that
out, in a thread or in a task.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._flow.attempt import AUTH, BEGUN, FAILED, OPTIONS
from ._flow.rulebook import Pointer
from ._wake import from_any_thread
from .clock import Clock, default_clock
from .outcome import mark_exception, record_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from ._http import Library, Request, Response
    from .shared import RedisStore

__all__ = ["Token"]


class _Held:
    """A token, when it was had, and when it ends (epoch seconds; None: it does not say)."""

    __slots__ = ("ends", "line", "since")

    def __init__(self, line: str, since: float, ends: float | None) -> None:
        self.line = line  # the value of the header
        self.since = since
        self.ends = ends


class _Flight:
    """One sign-in under way, and who waits for it."""

    __slots__ = ("done", "error", "failure", "pid", "wakers")

    def __init__(self) -> None:
        self.pid = os.getpid()  # a forked worker has the flight, and nobody to land it
        self.done = False
        self.error: Exception | None = None  # what the transport says the sign-in ended with
        self.failure: Callable[[], Exception] | None = None
        self.wakers: list[Callable[[], object]] = []


Req = TypeVar("Req", bound="Request")
Resp = TypeVar("Resp", bound="Response")

_Step = Any  # a request, a flight, seconds or a question (a partial)

_TURN = 30.0  # seconds that a caller waits for another's sign-in before signing in itself
_GLANCE = 0.1  # seconds between two looks whether another process has signed in


class Token(Generic[Req, Resp]):
    """An auth's token, and the way to one. Comes before the library's `Auth`."""

    _resilient_over: Library  # a name that no subclass takes for something of its own

    renews = frozenset({"token"})

    def __init__(  # noqa: PLR0913 - what differs between APIs with tokens
        self,
        login: Req | Callable[[], Req],
        token: str | Callable[[Resp], str] = "/token",  # noqa: S107 - a JSON pointer
        *,
        lifetime: float | None = None,
        leeway: float = 30.0,
        header: str = "Authorization",
        scheme: str = "Bearer",
        shared: RedisStore | None = None,
        shared_as: str = "",
    ) -> None:
        if not isinstance(login, self._resilient_over.Request) and not callable(login):
            raise TypeError(
                f"TokenAuth: login is an {self._resilient_over.name}.Request, or a callable that returns one"
            )
        if isinstance(token, str) and not token.startswith("/"):
            raise ValueError(f'TokenAuth: token is a JSON pointer and begins with "/": "/{token}"')
        if lifetime is not None and not lifetime > 0:
            raise ValueError(f"TokenAuth: lifetime is seconds above 0, or None (got {lifetime!r})")
        if (shared is None) != (not shared_as):
            raise ValueError(
                "TokenAuth: shared and shared_as go together: shared_as names the account whose token it is"
            )
        self._shelf = shared.tokens() if shared is not None else None
        self._shared_as = shared_as
        self._dead = ""  # the line that the API called dead last
        self._login = login
        self._pointer = Pointer(token) if isinstance(token, str) else None
        self._extract = token if callable(token) else None
        self._lifetime = lifetime
        self._leeway = leeway
        self._header = header
        self._scheme = scheme
        self.headers = (header,)
        self._clock: Clock = default_clock()  # until a resilient transport's answer brings its own
        self._current: _Held | None = None
        self._flight: _Flight | None = None
        self._lock = threading.Lock()
        _ALIVE.add(self)

    def __repr__(self) -> str:
        return f"TokenAuth(header={self._header!r}, token=***)"

    # ------------------------------------------------------------------------------- what the transport asks

    def forget(self, request: Request) -> None:
        """Take the token that this request carried for dead, unless it has been replaced already."""
        with self._lock:
            if self._current is not None and self._current.line == request.headers.get(self._header):
                self._dead = self._current.line
                self._current = None

    def token_expired(self, request: Request, now: float, lifetime: float | None = None) -> bool:
        """Tell whether the token that this request carried is past its life at the epoch second `now`.

        `lifetime` is the API's own, for a token of which nothing else is known.
        """
        with self._lock:
            token = self._current
        line = request.headers.get(self._header)
        if line is None:
            return False
        if token is None or token.line != line:
            return True  # another caller has called it dead, or renewed it, since
        ends = token.ends if token.ends is not None or lifetime is None else token.since + lifetime
        return ends is not None and now >= ends

    # ------------------------------------------------------------------------------------- the way to a token

    def _usable(self) -> _Held | None:
        token = self._current
        if (
            token is None or token.ends is None or token.ends <= token.since
        ):  # past its life at birth: the API's to judge
            return token
        lead = min(self._leeway, (token.ends - token.since) / 10)
        return token if self._clock.time() < token.ends - lead else None

    def _steps(self, request: Request) -> Generator[_Step, Any, _Held]:
        """Lead to a token: yields what is to be done, and is sent what came of it. No I/O, and no waiting, of its own."""
        while True:
            with self._lock:
                token = self._usable()
                if token is not None:
                    return token
                flight, mine = self._flight, False
                if flight is None or flight.done or flight.pid != os.getpid():
                    flight = self._flight = _Flight()
                    mine = True
            if mine:
                return (yield from self._sign_in(flight, request))
            yield flight
            if flight.failure is not None:
                raise flight.failure()
            if not flight.done:  # it takes too long, or its leader is stuck behind this very caller
                with self._lock:
                    if self._flight is flight:
                        self._flight = None

    def _left_by_another(self) -> Generator[_Step, Any, _Held | None]:
        """Take the token that another process has left; None: it is this one's turn to sign in."""
        shelf, name = self._shelf, self._shared_as
        while shelf is not None:
            found = yield partial(shelf.get, name)
            if found is not None:
                line, ends = found
                now = self._clock.time()
                if line != self._dead and (ends is None or now < ends - self._leeway):
                    return _Held(line, now, ends)
                yield partial(shelf.forget, name, line)
            if (yield partial(shelf.take_turn, name, _TURN)):
                return None
            yield _GLANCE
        return None

    def _sign_in(self, flight: _Flight, request: Request) -> Generator[_Step, Any, _Held]:
        shelf, name = self._shelf, self._shared_as
        try:
            token = yield from self._left_by_another()
            if token is None:
                try:
                    response = yield self._login_request(request, flight)
                    record = record_of(response)
                    if record is not None:  # the deadline of the call that needs it began with the sign-in
                        request.extensions.setdefault(BEGUN, record.started)
                    token = self._token_in(response)
                except Exception:
                    if shelf is not None:
                        yield partial(shelf.end_turn, name)
                    raise
                if shelf is not None:
                    yield partial(shelf.put, name, token.line, token.ends, token.since)
                    yield partial(shelf.end_turn, name)
        except GeneratorExit as end:
            # Closed by whoever drove it: because sending failed, or because the task was cancelled.
            if shelf is not None:
                shelf.end_turn(name)
            cause = flight.error or _network_error(end, self._resilient_over)
            self._land(flight, self._again(cause) if cause is not None else None)
            raise
        except Exception as error:
            self._land(flight, self._again(error))
            raise
        except BaseException:
            self._land(flight, None)
            raise
        with self._lock:
            self._current = token
        self._land(flight, None)
        return token

    def _land(self, flight: _Flight, failure: Callable[[], Exception] | None) -> None:
        with self._lock:
            flight.failure = failure
            flight.done = True
            if self._flight is flight:
                self._flight = None
            wakers, flight.wakers = flight.wakers, []
        for wake in wakers:
            wake()

    def _again(self, error: Exception) -> Callable[[], Exception]:
        """Make the error anew for each who waited: one exception must not be raised in two threads."""

        def make() -> Exception:
            response = getattr(error, "response", None)
            if response is not None:
                made = self._resilient_over.error_of(response, problem=str(error))
                if made is not None:
                    return made
            if isinstance(error, self._resilient_over.TransportError):
                made_anew: Exception = copy.copy(error)
                made_anew.__notes__ = []  # of the call that it ends, each has one of its own
                record = record_of(error)
                if record is not None:
                    mark_exception(made_anew, record)
                return made_anew
            return error

        return make

    def _login_request(self, needs_it: Request, flight: _Flight) -> Request:
        login = self._login
        made: Any = (
            self._resilient_over.again(login, login.stream)
            if isinstance(login, self._resilient_over.Request)
            else login()
        )
        if not isinstance(made, self._resilient_over.Request):
            raise TypeError(
                f"TokenAuth: login returned {type(made).__name__}, not an {self._resilient_over.name}.Request"
            )
        request: Request = made
        request.extensions[FAILED] = partial(setattr, flight, "error")
        if "timeout" in needs_it.extensions:  # a request that is made by hand has none at all
            request.extensions.setdefault("timeout", needs_it.extensions["timeout"])
        options = needs_it.extensions.get(OPTIONS)
        if isinstance(options, dict) and "deadline" in options:
            request.extensions.setdefault(OPTIONS, {"deadline": options["deadline"]})
        return request

    def _token_in(self, response: Response | None) -> _Held:
        if response is None:
            raise RuntimeError("a sign-in was answered by nothing")
        record = record_of(response)
        if record is not None and isinstance(record.clock, Clock):
            self._clock = record.clock
        error = self._resilient_over.error_of(response)
        if error is not None:
            raise error
        value = self._value(response)
        if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
            where = f"at {self._pointer.text}" if self._pointer is not None else "by the function given"
            problem = f"the sign-in was answered {response.status_code}, and no token was found {where}"
            raise self._resilient_over.error_of(response, problem=problem) or RuntimeError(problem)
        since = self._clock.time()
        ends = _jwt_end(value)
        if ends is None and self._lifetime is not None:
            ends = since + self._lifetime
        return _Held(f"{self._scheme} {value}".strip(), since, ends)

    def _value(self, response: Any) -> Any:
        if self._extract is not None:
            return self._extract(response)
        try:
            document = response.json()
        except (ValueError, RecursionError):
            return None
        return next(self._pointer.find(document), None) if self._pointer is not None else None

    def _carry(self, request: Request, token: _Held) -> None:
        request.headers[self._header] = token.line
        request.extensions[AUTH] = self

    def _refused_plainly(self, request: Request, response: Response, once_more: Any) -> bool:
        """Tell whether a plain transport brought a 401 that a new token may cure; a resilient one has seen to it."""
        if response.status_code != 401 or record_of(response) is not None or once_more is None:
            return False
        self.forget(request)
        request.stream = once_more
        return True

    # ------------------------------------------------------------------- httpx's own two ways, alike but for await

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Give the request a token, signing in first where there is none."""
        for last in (False, True):
            steps = self._steps(request)
            try:
                step = next(steps)
                while True:
                    match step:
                        case _Flight():
                            self._wait(step)
                            step = next(steps)
                        case float():
                            self._clock.sleep(step)
                            step = next(steps)
                        case partial():
                            step = steps.send(_ask(step))
                        case _:
                            response = yield step
                            response.read()
                            step = steps.send(response)
            except StopIteration as end:
                self._carry(request, end.value)
            finally:
                steps.close()
            once_more = self._resilient_over.replay(request)  # judged before it is sent
            response = yield request
            if last or not self._refused_plainly(request, response, once_more):
                return

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Give the request a token, signing in first where there is none."""
        for last in (False, True):
            steps = self._steps(request)
            try:
                step = next(steps)
                while True:
                    match step:
                        case _Flight():
                            await self._await(step)
                            step = next(steps)
                        case float():
                            await self._clock.asleep(step)
                            step = next(steps)
                        case partial():
                            step = steps.send(await _aask(step))
                        case _:
                            response = yield step
                            await response.aread()
                            step = steps.send(response)
            except StopIteration as end:
                self._carry(request, end.value)
            finally:
                steps.close()
            once_more = self._resilient_over.replay(request)  # judged before it is sent
            response = yield request
            if last or not self._refused_plainly(request, response, once_more):
                return

    def _wait(self, flight: _Flight) -> None:
        landed = threading.Event()
        with self._lock:
            if flight.done:
                return
            flight.wakers.append(landed.set)
        landed.wait(_TURN)

    async def _await(self, flight: _Flight) -> None:
        import anyio  # noqa: PLC0415 - only who has to wait pays for it

        landed = anyio.Event()
        wake = from_any_thread(landed)
        with self._lock:
            if flight.done:
                return
            flight.wakers.append(wake)
        with anyio.move_on_after(_TURN):
            await landed.wait()


def _ask(question: Callable[[], Any]) -> Any:
    return question()


async def _aask(question: Callable[[], Any]) -> Any:
    import anyio.to_thread  # noqa: PLC0415 - only who shares tokens needs it

    return await anyio.to_thread.run_sync(question)


def _network_error(end: BaseException, host: Library) -> Any:
    """Find the network error during which a generator was closed, if that is why."""
    cause = end.__context__
    for _ in range(8):
        if cause is None or isinstance(cause, host.TransportError):
            return cause
        cause = cause.__context__
    return None


def _jwt_end(token: str) -> float | None:
    """Read the `exp` claim of a JWT (RFC 7519 4.1.4), in epoch seconds; the signature is the API's to check."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends = claims.get("exp") if isinstance(claims, dict) else None
        if isinstance(ends, bool) or not isinstance(ends, int | float) or not 0 <= ends < 1e12:
            return None
        return float(ends)
    except (ValueError, RecursionError):
        return None


# A lock that another thread held while the process forked stays locked in the child for ever.
_ALIVE: weakref.WeakSet[Token[Any, Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for auth in list(_ALIVE):
        auth._lock = threading.Lock()  # noqa: SLF001 - this module's own
        auth._flight = None  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
