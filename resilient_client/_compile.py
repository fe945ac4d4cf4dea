"""From a policy's words to the frozen tables that the flow reads: see `_flow/rulebook.py` for what they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from ._flow import plain
from ._flow import rulebook as tables
from ._flow.classify import classify
from ._guard.pace import Window
from ._guard.settings import Paced, Protection
from .hints import default_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import _words as words
    from ._guard.settings import Protections
    from ._http import Response
    from .outcome import Verdict
    from .policy import Policy

__all__ = ["compiled", "statuses", "verdict_on"]

RETRIES = 4  # where a rule says "retry" and no number: five attempts in all


def _exponential(backoff: words.Backoff) -> plain.Plain:
    return plain.exponential(backoff.first, backoff.factor, backoff.max)


def _stop(retries: int | None, duration: float | None) -> plain.Plain:
    return plain.stop(None if retries is None else retries + 1, duration)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _pointers(value: Any) -> tuple[tables.Pointer, ...]:
    return tuple(tables.Pointer(text) for text in _several(value))


def _pointer(text: str | None) -> tables.Pointer | None:
    return None if text is None else tables.Pointer(text)


def _hint(given: Any) -> tables.Hint:
    if isinstance(given, str):
        if given.startswith("/"):
            return tables.BodyHint(tables.Pointer(given), "number")
        return tables.HeaderHint(given, default_kind(given))
    if hasattr(given, "header"):
        return tables.HeaderHint(given.header, given.kind or default_kind(given.header))
    if hasattr(given, "body"):
        return tables.BodyHint(tables.Pointer(given.body), given.kind or "number")
    return tables.BucketHint(
        tables.Pointer(given.need), tables.Pointer(given.have), tables.Pointer(given.rate)
    )


def _retry(given: words.Retry, backoff: words.Backoff) -> tables.Retry:
    foreign = given.stop is not None or callable(given.wait)
    spread: Any = "add"
    if given.schedule is not None:
        wait: Any = plain.chain(given.schedule)
    elif callable(given.wait):
        wait, spread = given.wait, "none"
    elif given.wait is not None:
        wait = plain.chain((given.wait,))
    else:
        backoff = given.backoff or backoff
        wait, spread = _exponential(backoff), backoff.jitter
    retries = given.retries
    if retries is None and given.duration is None:
        retries = RETRIES if given.schedule is None else len(given.schedule)
    change = tuple(given.change)
    requires = change if given.requires is None else tuple(given.requires)
    return tables.Retry(
        wait=wait,
        stop=given.stop or _stop(retries, given.duration),
        spread=spread,
        floor_only=given.schedule is not None,
        foreign=foreign,
        duration=given.duration,
        after=tuple(_hint(place) for place in given.after),
        unsafe=given.unsafe,
        change=change,
        requires=frozenset(kind for kind in requires if given.requires is not None or kind != "nonce"),
        only_if=given.only_if,
    )


def statuses(given: Any) -> Iterator[int]:
    """List the statuses that a `when` names, classes spelt out."""
    for status in _several(given):
        if isinstance(status, int):
            yield status
        else:
            start = int(status[0]) * 100
            yield from range(start, start + 100)


class _Index:
    """The look-up tables while they are being filled, in file order."""

    def __init__(self) -> None:
        self.by_code: dict[tables.Code, list[tables.Entry]] = {}
        self.by_status: dict[int | None, list[tables.Entry]] = {}
        self.read: set[int] = set()

    def add(self, place: int, rule: tables.Rule, when: words.When, codes: Any) -> None:
        named = frozenset(statuses(when.status))
        code = when.code if codes is None else codes
        self.read |= {status for status in named if status < 400}
        clause = tables.Clause(
            statuses=named if code is not None and named else None,
            headers=tuple(when.headers.items()),
            body=tuple((tables.Pointer(pointer), value) for pointer, value in when.body.items()),
            routes=tables.Routes(_several(when.route)) if when.route is not None else None,
        )
        entry = (place, rule, clause)
        if code is not None:  # an empty list of codes waits for its code, and nothing else finds it
            for one in _several(code):
                self.by_code.setdefault(one, []).append(entry)
            return
        for status in named or (None,):
            self.by_status.setdefault(status, []).append(entry)


def compiled(policy: Policy) -> tables.Rulebook:
    """Compile a policy."""
    backoff = type(policy.network.backoff)()  # the format's own default
    index = _Index()
    for place, given in enumerate(policy.rules):
        rule = tables.Rule(
            name=given.name,
            category=given.category,
            cause=given.cause,
            remedy=given.remedy,
            user_message=given.user_message,
            source=given.source or policy.source,
            retry=_retry(given.retry, backoff) if given.retry is not None else None,
        )
        for when in _several(given.when):
            index.add(place, rule, when, policy.codes.get(given.name))
    envelope, idempotency = policy.envelope, policy.idempotency
    return tables.Rulebook(
        api=policy.api,
        title=policy.title or policy.api,
        network=_network(policy),
        envelope=tables.Envelope(
            code=_pointers(envelope.code),
            message=_pointers(envelope.message),
            field=_pointers(envelope.field),
            details=_pointers(envelope.details),
            request_id=_pointers(envelope.request_id),
            request_id_header=tuple(_several(envelope.request_id_header)),
        ),
        idempotency=tables.Idempotency(
            header=idempotency.header,
            field=_pointer(idempotency.field),
            quoted=idempotency.quoted,
            shortest=idempotency.length[0] if idempotency.length else 0,
            longest=idempotency.length[1] if idempotency.length else sys.maxsize,
            routes=tables.Routes(idempotency.routes),
        ),
        longest_wait=policy.limits.wait,
        body_limit=policy.limits.body,
        nonce_header=policy.signing.nonce,
        token_lifetime=policy.token.lifetime,
        override_field=_pointer(policy.override.field) if policy.override else None,
        override_value=policy.override.value if policy.override else True,
        should_retry=policy.should_retry,
        default_retry=_server_says_so(backoff),
        at_once=frozenset(range(100, 400)) - index.read,
        protection=Protection().with_(cast("Protections", dict(policy.protect))),
        paces=tuple(_paced(pace) for pace in _several(policy.pace)),
        by_code=index.by_code,
        by_status=index.by_status,
    )


def _paced(pace: words.Pace) -> Paced:
    windows = [Window(pace.budget, pace.per)]
    if pace.burst is not None:
        windows.append(Window(pace.burst, 1.0))
    return Paced(
        windows=tuple(windows),
        routes=tables.Routes(pace.routes) if pace.routes else None,
        costs=tuple((tables.Routes([route]), cost) for route, cost in pace.cost.items()),
    )


def _network(policy: Policy) -> tables.Rule:
    network = policy.network
    return tables.Rule(
        name="NETWORK_ERROR",
        category="network",
        retry=tables.Retry(
            wait=_exponential(network.backoff),
            stop=_stop(network.retries, None),
            spread=network.backoff.jitter,
        ),
    )


def _server_says_so(backoff: words.Backoff) -> tables.Retry:
    return tables.Retry(
        wait=_exponential(backoff),
        stop=_stop(RETRIES, None),
        spread="full",
        after=(_hint("retry-after-ms"), _hint("Retry-After")),
        unsafe=True,
    )


def verdict_on(rules: tables.Rulebook, response: Response) -> Verdict:
    """Classify a response that somebody has in hand."""
    try:
        content: bytes | None = response.content
    except Exception:  # noqa: BLE001 - not read, or closed: then the status and the headers decide
        content = None
    try:
        request = response.request
    except RuntimeError:  # a response that was made without one
        method, path = "GET", "/"
    else:
        method, path = request.method, request.url.path
    return classify(
        rules, response.status_code, response.headers, content, method=method, path=path, now=None
    ).verdict
