"""What the log says: one line per attempt at DEBUG, one per call that ended in an error at WARNING, on `resilient_client`.

Law of this file: no secret and no query string leaves here, and no line holds a character that a server could use to forge
another line.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from .masking import masked_headers, masked_json, one_line, secrets_of, without

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ._flow.attempt import Call
    from ._http import Headers, Response
    from .outcome import Record, Tried, Verdict

logger = logging.getLogger("resilient_client")
logger.addHandler(logging.NullHandler())  # a program that sets up no logging is not written to

__all__ = [
    "breaker_turned",
    "fields",
    "gave_up",
    "note",
    "observer_failed",
    "stamp",
    "waits_for_its_turn",
    "watch",
]


def fields(verdict: Verdict, *, method: str, path: str, wall: float | None) -> dict[str, Any]:
    """Give what the vendors ask to have logged, JSON-ready: timestamp, requestId, statusCode, errorCode, errorMessage,
    endpoint and field.
    """  # noqa: D205 - the list is the summary
    return {
        "timestamp": stamp(wall),
        "requestId": _line(verdict.request_id),
        "statusCode": verdict.status,
        "errorCode": verdict.name if verdict.code is None else _line(verdict.code),
        "errorName": verdict.name,
        "errorMessage": _line(verdict.message),
        "endpoint": one_line(f"{method} {path}", 2000),
        "field": _line(verdict.field),
        "category": verdict.category,
    }


def _line(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def stamp(wall: float | None) -> str | None:
    """Write an epoch time as ISO 8601 in UTC."""
    if wall is None or not 0 <= wall < 253_402_300_800:  # the year 10000
        return None
    moment = dt.datetime.fromtimestamp(wall, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def watch(*, debug: bool) -> Callable[[Call, Tried | None, Response | None], None]:
    """Give what is told of every attempt: the log, or with `debug` stderr as well."""
    return _debug if debug else _attempt


def _attempt(call: Call, tried: Tried | None, _response: Response | None = None) -> None:
    request, rules = call.request, call.rules
    number, path = len(call.tried) + (tried is None), one_line(request.url.path)
    if tried is None:
        _emit(
            logging.DEBUG,
            "%s: %s %s attempt %d -> %d",
            rules.api, request.method, path, number, call.status,
            extra={"api": rules.api, "endpoint": f"{request.method} {path}", "statusCode": call.status,
                   "attempt": number},
        )  # fmt: skip
        return
    verdict = tried.verdict
    _emit(
            logging.DEBUG,
        "%s: %s %s attempt %d -> %s%s%s",
        rules.api, request.method, path, number, _what(verdict, tried.error),
        f", next in {tried.wait:.3f} s" if call.reason == "success" else "",
        f" with a fresh {', '.join(tried.change)}" if tried.change else "",
        extra=fields(verdict, method=request.method, path=path, wall=call.clock.time() if call.clock is not None else None)
        | {"api": rules.api, "attempt": number, "wait": tried.wait},
    )  # fmt: skip


def _emit(level: int, message: str, *values: object, extra: dict[str, Any]) -> None:
    try:
        logger.log(level, message, *values, extra=extra, stacklevel=2)
    except KeyError:  # a program whose own record factory sets one of these names
        logger.log(level, message, *values, stacklevel=2)


def _what(verdict: Verdict, error: Exception | None) -> str:
    if error is not None:
        return type(error).__name__
    return verdict.name if verdict.status is None else f"{verdict.status} {one_line(verdict.name)}"


def gave_up(record: Record) -> None:
    """Log a call that ended in an error."""
    if not logger.isEnabledFor(logging.WARNING):
        return
    method, path = record.request.method, one_line(record.request.url.path)
    if not record.tried:
        if record.reason != "cannot_change":  # then a sign-in failed, and has been logged
            _emit(
                logging.WARNING,
                "%s: %s %s was not sent: %s (%s)", record.rules.api, method, path, record.reason,
                one_line(str(getattr(record, "error", None))),
                extra={"api": record.rules.api, "endpoint": f"{method} {path}", "reason": record.reason, "attempts": 0},
            )  # fmt: skip
        return
    last = record.tried[-1]
    _emit(
        logging.WARNING,
        "%s: %s %s failed with %s after %d attempt(s): %s%s",
        record.rules.api, method, path, _what(last.verdict, last.error), len(record.tried), record.reason, _twice(record),
        extra=fields(last.verdict, method=method, path=path, wall=record.wall)
        | {"api": record.rules.api, "reason": record.reason, "attempts": len(record.tried),
           "maybeApplied": record.maybe_applied},
    )  # fmt: skip


def _twice(record: Record) -> str:
    """Tell of another layer of retries above this one: the SDKs that Stainless makes, openai's and anthropic's too, count theirs."""
    count = str(record.request.headers.get("x-stainless-retry-count", ""))
    if len(count) > 3 or not (count.isascii() and count.isdecimal() and int(count)):
        return ""
    return (
        f"; the SDK above has retried it, too (x-stainless-retry-count {count}): two layers of retries multiply, "
        "max_retries=0 switches off the SDK's"
    )


def breaker_turned(call: Call, *, is_open: bool) -> None:
    """Log that a breaker has opened, or has closed."""
    host = one_line(call.request.url.host)
    _emit(
        logging.WARNING if is_open else logging.INFO,
        "%s: the breaker of %s is %s",
        call.rules.api, host,
        "open: too many calls failed, and the host is not asked for a while" if is_open else "closed: the host works",
        extra={"api": call.rules.api, "host": host, "breaker": "open" if is_open else "closed"},
    )  # fmt: skip


def waits_for_its_turn(call: Call, seconds: float) -> None:
    """Log that a call waits for the API's budget, so that nobody takes it for lost."""
    if logger.isEnabledFor(logging.DEBUG):
        request = call.request
        _emit(
            logging.DEBUG,
            "%s: %s %s waits %.1f s for its turn",
            call.rules.api, request.method, one_line(request.url.path), seconds,
            extra={"api": call.rules.api, "wait": seconds},
        )  # fmt: skip


def observer_failed(name: str, error: Exception) -> None:
    """Log that an observer's method raised: where, and what."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    _emit(
        logging.WARNING,
        "observer %s failed with %s: %s%s; the call goes on, and this is said once",
        name, type(error).__name__, one_line(str(error)), one_line(where),
        extra={"observer": name},
    )  # fmt: skip


def note(record: Record) -> str:
    """Say in one line what was tried, for the note of an exception."""
    count = len(record.tried)
    what = ", ".join(_what(tried.verdict, tried.error) for tried in record.tried[-6:])
    more = f"the last 6 of {count}: " if count > 6 else ""
    may = " An attempt may have taken effect." if record.maybe_applied else ""
    return (
        f"resilient_client ({record.rules.api}): {count} attempt(s) at {record.request.method} {one_line(record.request.url.path)} in "
        f"{record.ended - record.started:.2f} s: {more}{what}; {record.reason}.{may}"
    )


# --------------------------------------------------------------------------------------------------- debug=True


def _debug(call: Call, tried: Tried | None, response: Response | None) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        _attempt(call, tried)
    request = call.request
    known = call.secrets | secrets_of(request, call.host.body_of(request))
    query = "?…" if request.url.query else ""
    port = f":{request.url.port}" if request.url.port else ""
    lines = [
        f"--> {request.method} {request.url.scheme}://{request.url.host}{port}{one_line(request.url.path)}{query}"
    ]
    lines += _header_lines(request.headers, known)
    lines += _body_lines(call.host.body_of(request), "(a body that is not in memory)", known)
    if response is not None:
        lines.append(f"<-- {response.status_code}")
        lines += _header_lines(response.headers, known)
        body = b"".join(response.stream) if type(response.stream).__name__ == "ByteStream" else None
        plain = None if body is None else call.host.decoded(response, body, call.rules.body_limit)
        lines += _body_lines(plain, "(the body is the caller's to read)", known)
    if tried is not None:
        what = (
            tried.verdict.name
            if tried.error is None
            else f"{type(tried.error).__name__}: {tried.verdict.message}"
        )
        then = (
            f"; again in {tried.wait:.3f} s"
            if len(call.tried) and call.reason == "success"
            else f"; {call.reason}"
        )
        lines.append(f"    {call.rules.api}: {one_line(what)}{then}")
    # One write: the lines of two threads must not mix.
    sys.stderr.write("".join(f"resilient_client {line}\n" for line in lines))
    sys.stderr.flush()


def _header_lines(headers: Headers, known: Collection[str]) -> list[str]:
    return [f"    {name}: {value}" for name, value in masked_headers(headers, known)]


def _body_lines(body: bytes | None, otherwise: str, known: Collection[str]) -> list[str]:
    if body is None:
        return [f"    {otherwise}"]
    if not body:
        return []
    try:
        shown = json.dumps(masked_json(json.loads(body)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return [f"    ({len(body)} bytes that are not JSON)"]
    return [f"    {one_line(without(shown, known), 2000)}"]
