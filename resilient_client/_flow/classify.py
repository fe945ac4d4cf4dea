"""What does this reply mean? Pure: status, headers and body in, a verdict out, and no reply makes it raise."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_client import hints
from resilient_client.outcome import Verdict

from .rulebook import (
    BodyHint,
    BucketHint,
    Clause,
    Code,
    HeaderHint,
    Hint,
    Pointer,
    Retry,
    Rule,
    Rulebook,
    as_code,
    as_text,
    category_of,
    parse,
    status_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resilient_client._http import Headers

__all__ = ["Reading", "classify", "network_reading", "server_wait"]


class Reading(NamedTuple):
    """A reply as its policy understands it."""

    verdict: Verdict
    rule: Rule | None  # None: no rule speaks of it
    retry: Retry | None  # what the rule allows, or what the server's own word makes of it


def classify(  # noqa: PLR0913 - the parts of a reply
    rules: Rulebook,
    status: int,
    headers: Headers,
    body: bytes | None,
    *,
    method: str = "GET",
    path: str = "/",
    now: float | None,
) -> Reading:
    """Read one reply by the policy.

    `body` is the decoded body, or None where it is not known (too long, broken off, never read): then the status and the
    headers decide. `now` is the epoch time that the server's hints are measured from, where the reply shows no Date of its own;
    without either, only hints that are delays are told.
    """
    document = parse(body) if body is not None and len(body) <= rules.body_limit else None
    envelope = rules.envelope
    code = _first_code(envelope.code, document)
    rule = _first_rule(rules, code, status, headers, document, method, path)
    retry = _allowed(rules, rule, status, headers)
    if rule is None and status < 400:
        return Reading(rules.success(status), None, None)
    request_id = _first_header(envelope.request_id_header, headers) or _first_id(
        envelope.request_id, document
    )
    verdict = Verdict(
        name=rule.name if rule else status_name(status),
        category=rule.category if rule else category_of(status),
        status=status,
        code=code,
        # A condition (an expired token, a caller's wish) is known to the flow alone.
        retryable=retry is not None and retry.only_if is None,
        cause=rule.cause
        if rule
        else f"The API answered {status}, and the policy has no rule for this reply.",
        remedy=rule.remedy if rule else "Look the status and the code up on the API's error page.",
        user_message=rule.user_message if rule else "The request could not be completed.",
        source=rule.source if rule else "",
        message=_first_text(envelope.message, document),
        field=_first_text(envelope.field, document),
        details=_first(envelope.details, document),
        request_id=request_id,
        retry_after=server_wait(retry.after if retry else _RETRY_AFTER, headers, document, now),
    )
    return Reading(verdict, rule, retry)


_RETRY_AFTER: tuple[Hint, ...] = (HeaderHint("Retry-After", "retry-after"),)


def _first_rule(  # noqa: PLR0913, PLR0917 - the parts of a reply, each of which a rule may ask about
    rules: Rulebook,
    code: Code | None,
    status: int,
    headers: Headers,
    document: Any,
    method: str,
    path: str,
) -> Rule | None:
    for _, rule, clause in rules.candidates(code, status):
        if (clause.statuses is None or status in clause.statuses) and _holds(
            clause, headers, document, method, path
        ):
            return rule
    return None


def _holds(clause: Clause, headers: Headers, document: Any, method: str, path: str) -> bool:
    for name, wanted in clause.headers:
        value = headers.get(name)
        if isinstance(wanted, bool):
            if (value is not None) is not wanted:
                return False
        elif value is None or value.strip().casefold() != wanted.casefold():
            return False
    for pointer, wanted in clause.body:
        if not any(_equal(found, wanted) for found in pointer.find(document)):
            return False
    return clause.routes is None or clause.routes.match(method, path)


def _equal(found: Any, wanted: Any) -> bool:
    # In Python True == 1; in an API's documents it is not.
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def _allowed(rules: Rulebook, rule: Rule | None, status: int, headers: Headers) -> Retry | None:
    allowed = rule.retry if rule else None
    if rules.should_retry is None or (rule is None and status < 400):
        return allowed
    word = headers.get(rules.should_retry, "").strip().casefold()
    if word == "false":
        return None
    if word == "true":
        return allowed if allowed is not None and allowed.unsafe else rules.default_retry
    return allowed


def server_wait(places: Iterable[Hint], headers: Headers, document: Any, now: float | None) -> float | None:
    """Find how many seconds the server asks to wait; the first place with a value that can be read wins."""
    clock: float | None = None
    present = _present(headers)
    for place in places:
        wait: float | None = None
        match place:
            case HeaderHint(header, kind):
                if _on_the_wire(header) not in present:
                    continue
                clock = clock or _clock(headers, now)
                wait = _measured(partial(hints.wait_from_lines, headers.get_list(header), kind), clock)
            case BodyHint(pointer, kind):
                clock = clock or _clock(headers, now)
                waits = (
                    _measured(partial(hints.wait_from_value, value, kind), clock)
                    for value in pointer.find(document)
                )
                wait = next((found for found in waits if found is not None), None)
            case BucketHint(need, have, rate):
                wait = hints.bucket_wait(
                    *(next(pointer.find(document), None) for pointer in (need, have, rate))
                )
        if wait is not None:
            return wait
    return None


_NO_CLOCK = -1.0


def _clock(headers: Headers, now: float | None) -> float:
    # Points in time are measured by the server's own clock, where the reply shows it.
    return hints.server_now(headers.get_list("Date"), _NO_CLOCK if now is None else now)


def _measured(read: Callable[[float], float | None], clock: float) -> float | None:
    if clock != _NO_CLOCK:
        return read(clock)
    # Without a clock only a delay can be told: it is what does not depend on the time.
    wait = read(1.0)
    return wait if wait == read(1e6) else None


def _found(pointers: Iterable[Pointer], document: Any) -> Iterator[Any]:
    """Yield what the pointers lead to, in order; most of those that a policy names lead nowhere."""
    is_object = isinstance(document, dict)
    for pointer in pointers:
        if not is_object or not pointer.parts or pointer.parts[0] in document:
            yield from pointer.find(document)


def _first(pointers: Iterable[Pointer], document: Any) -> Any:
    return next(_found(pointers, document), None)


def _first_code(pointers: Iterable[Pointer], document: Any) -> Code | None:
    for value in _found(pointers, document):
        code = as_code(value)
        if code is not None:
            return code
    return None


def _first_text(pointers: Iterable[Pointer], document: Any) -> str | None:
    for value in _found(pointers, document):
        text = as_text(value)
        if text is not None:
            return text
    return None


def _first_id(pointers: Iterable[Pointer], document: Any) -> str | None:
    code = _first_code(pointers, document)
    return None if code is None else str(code)


def _first_header(names: Iterable[str], headers: Headers) -> str | None:
    present = _present(headers)
    for name in names:
        if _on_the_wire(name) in present and (value := headers.get(name)):
            return str(value)
    return None


def _present(headers: Headers) -> set[bytes]:
    """List the names of a reply's headers: to ask httpx's own for each takes ten times as long."""
    return {name.lower() for name, _ in headers.raw}


@lru_cache(1024)
def _on_the_wire(name: str) -> bytes:
    """Write a header's name, which a policy names, in the case in which names are compared."""
    return name.lower().encode("latin-1", "replace")


_NEVER_SENT = "The connection to the API could not be made; nothing was sent."
_LOST = "The request was sent, or begun, and no whole answer came back."


def network_reading(rules: Rulebook, error: Exception, *, sent: bool, worth_repeating: bool) -> Reading:
    """Read an attempt that brought no answer: by the policy's network rule."""
    rule = rules.network
    verdict = Verdict(
        name=rule.name,
        category=rule.category,
        retryable=worth_repeating,
        cause=_LOST if sent else _NEVER_SENT,
        remedy="Check the address, the network and any proxy; where the request may have been sent, look up whether it "
        "took effect before making it again.",
        user_message="The service could not be reached. Please try again in a moment.",
        message=str(error) or None,
    )
    return Reading(verdict, rule, rule.retry if worth_repeating else None)
