"""What can go wrong: the names of the faults, and faults by chance or from a specification. Plans are in `schedule`.

A fault is one word: a kind of the wire (`WIRE`), or the name of an error that the API documents. What may follow it:

    latency:0.5        seconds, of the sandbox's clock
    RATE_LIMIT:2       whole seconds of Retry-After
    INVALID_REQUEST#2  the second example of that error in the policy file
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
from bisect import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from resilient_client.sandbox._documented import documented

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resilient_client.sandbox._api import Faults, Reply, Request
    from resilient_client.sandbox._documented import Documented


@dataclass(frozen=True, slots=True)
class Kind:
    """A way in which a request goes wrong between the client and the API."""

    works: bool  # whether the API does what was asked
    about: str
    seconds: float | None = None  # for kinds that take time, unless told


WIRE: Mapping[str, Kind] = {
    "close": Kind(works=False, about="the connection is closed where a reply was due"),
    "reset": Kind(works=False, about="the connection is reset (RST) where a reply was due"),
    "reset-upload": Kind(works=False, about="the connection is reset while the request's body is being sent"),
    "garbage": Kind(works=False, about="what comes back is not HTTP"),
    "html-503": Kind(works=False, about="a load balancer's page"),
    "lose": Kind(works=True, about="the work is done, then the connection is closed with no reply"),
    "lose-reset": Kind(works=True, about="the work is done, then the connection is reset with no reply"),
    "lose-garbage": Kind(works=True, about="the work is done, and what comes back is not HTTP"),
    "truncate": Kind(
        works=True, about="the work is done; half of the body comes, then the connection is closed"
    ),
    "reset-body": Kind(
        works=True, about="the work is done; half of the body comes, then the connection is reset"
    ),
    "latency": Kind(works=True, about="the work is done, and the reply comes late", seconds=1.0),
    "drip": Kind(works=True, about="the work is done, and its body comes drop by drop", seconds=1.0),
    "stale": Kind(works=True, about="all is well; but the next request on this connection finds it closed"),
}
"""The kinds that every API has, by name."""

_ENDINGS: Mapping[str, Any] = {
    "lose": "close",
    "lose-reset": "reset",
    "lose-garbage": "garbage",
} | {name: name for name in ("close", "reset", "reset-upload", "garbage", "truncate", "reset-body")}

_WHOLE = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{0,9}\.?[0-9]{1,9}")
_ROUTE = re.compile(r"[A-Z]+ /\S*")
_BOUNDARY = re.compile(r'(?i:boundary)="?([^";]+)')
_UPLOAD = "reset-upload"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault's name, read."""

    kind: str  # of `WIRE`, or a documented error's name
    seconds: float | None = None  # as told, or as the kind has them
    example: int = 1  # of the documented error's, counted from 1

    @property
    def works(self) -> bool:
        """Tell whether the API does what was asked."""
        return self.kind in WIRE and WIRE[self.kind].works

    def spoil(self, reply: Reply) -> Reply:
        """Give the reply as it goes out, or does not."""
        match self.kind:
            case "latency":
                return replace(reply, delay=self.seconds or 0.0)
            case "drip":
                return replace(reply, over=self.seconds or 0.0)
            case "stale":
                return replace(reply, stale=True)
            case _:
                return replace(reply, ending=_ENDINGS[self.kind])


class AbsentError(ValueError):
    """There is no such fault, or no such route, in this API; another one may have it."""


def parse(text: str) -> Fault:
    """Read a fault's name. Raises ValueError where what follows it is no number; whether it exists is the API's to say."""
    # Names of documented errors may hold blanks, but neither of these two signs.
    named, colon, seconds = text.partition(":")
    kind, sharp, example = named.partition("#")
    of_wire = WIRE.get(kind)
    default = of_wire.seconds if of_wire else None
    if colon and of_wire and default is None:
        raise ValueError(f"fault {text!r}: {kind} takes no seconds")
    if colon and not (_SECONDS if of_wire else _WHOLE).fullmatch(seconds):
        raise ValueError(
            f"fault {text!r}: {'' if of_wire else 'whole '}seconds must follow the colon, as in {kind}:2"
        )
    if sharp and of_wire:
        raise ValueError(f"fault {text!r}: {kind} has no examples to choose from")
    if sharp and not (_WHOLE.fullmatch(example) and int(example)):
        raise ValueError(
            f"fault {text!r}: after the # comes the number of one of its examples, as in {kind}#2"
        )
    return Fault(kind, seconds=float(seconds) if colon else default, example=int(example) if sharp else 1)


def find(text: str, api: str) -> Fault:
    """Read the name of a fault of this API. Raises AbsentError, a ValueError, for one that the API does not have."""
    fault = parse(text)
    if fault.kind not in WIRE:
        example_of(api, fault.kind, fault.example)
    return fault


def example_of(api: str, error: str, number: int) -> Documented:
    """Look up a documented error's example, counted from 1. Raises AbsentError where the policy file has none."""
    table = documented(api)
    if error not in table:
        known = ", ".join([*WIRE, *table])
        raise AbsentError(f"no such fault in the {api} sandbox: {error!r}; there are {known}")
    if not 1 <= number <= len(table[error]):
        raise AbsentError(
            f"no such fault in the {api} sandbox: {error}#{number}; it has {len(table[error])} examples"
        )
    return table[error][number - 1]


def every_fault(name: str) -> tuple[str, ...]:
    """List all faults that chance may pick for an API: the kinds of the wire, and each error that the API itself sends.

    Raises ValueError for an API that has no sandbox.
    """
    from resilient_client.sandbox._sandbox import api_class  # noqa: PLC0415 - it imports this file

    unsent = api_class(name).unsent
    return (*WIRE, *(error for error in documented(name) if error not in unsent))


def check_route(route: str) -> str:
    """Give the route back. Raises ValueError for one that is not "METHOD /path"."""
    if not _ROUTE.fullmatch(route):
        raise ValueError(f'a route is written "METHOD /path", without the base path (got {route!r})')
    return route


class RandomFaults:
    """Faults by chance, the same for the same seed.

    Each request that the API was about to accept fails with the probability `rate`, by one of `kinds`: names, or names with
    weights. `routes` ("POST /v1/create") limits it to some. What a request meets depends on the seed, on whose request it is, and
    on how many of the same came before; not on the order in which callers arrive. Whose it is tells its `X-Sandbox-Call`
    header, else its method, path, query and body: a retry has the same ones, and equal requests of several callers are one
    sequence. Nothing counts that a client makes up anew for each run, as its idempotency keys, nonces and boundaries.

    Where heads are asked about (`early`, as every sandbox does), "reset-upload" is drawn there and nowhere else: by the tag, else
    by the route alone, for no body is known yet. It strikes, and counts, before the API has looked at the request; all other
    faults are drawn after, at a rate that leaves `rate` in all. Whom a "stale" connection harms is for the client's pool to
    say. May be asked from any thread.
    """

    def __init__(
        self,
        rate: float,
        *,
        kinds: Sequence[str] | Mapping[str, float],
        seed: int = 0,
        routes: Iterable[str] | None = None,
    ) -> None:
        """Set up.

        Raises ValueError for a rate outside of 0 to 1, an ill-written route, or where there is nothing to pick from;
        TypeError for one string where a list belongs, or for names in no order, which no seed could pick from.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"a rate of faults is from 0 to 1 (got {rate!r})")
        if isinstance(kinds, str | set | frozenset):
            raise TypeError(f"kinds of faults: a list of names, or names with weights (got {kinds!r})")
        if isinstance(routes, str):
            raise TypeError(f"routes is a list: [{routes!r}]")
        weights = dict(kinds) if isinstance(kinds, Mapping) else dict.fromkeys(kinds, 1.0)
        if not weights or not all(0 < weight < math.inf for weight in weights.values()):
            raise ValueError("kinds of faults: at least one is needed, and each weight is above 0")
        for name in weights:
            parse(name)
        self.rate = rate
        self.seed = seed
        self._names = tuple(weights)
        total = math.fsum(weights.values())
        self._whole = _Draw(rate, weights)
        self._early = _Draw(rate * weights.pop(_UPLOAD, 0.0) / total, {_UPLOAD: 1.0})
        left = 1 - self._early.rate  # of all requests, those whose upload goes through
        self._late = _Draw((rate - self._early.rate) / left if left else 0.0, weights)
        self._asks_early = False
        self._routes = frozenset(map(check_route, routes)) if routes is not None else None
        self._sightings: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<RandomFaults rate={self.rate} seed={self.seed} kinds={list(self._names)}>"

    def __call__(self, route: str, request: Request, /) -> str | None:
        """Draw for this request; a broken upload only where heads are never asked about."""
        if self._routes is not None and route not in self._routes:
            return None
        whose = f"{route} {request.call or _content(request)}"
        return self._pick(self._late if self._asks_early else self._whole, whose)

    def early(self, route: str, request: Request, /) -> str | None:
        """Draw for a request of which only the head has come: a broken upload, or nothing yet."""
        self._asks_early = True
        if self._routes is not None and route not in self._routes:
            return None
        return self._pick(self._early, f"early {route} {request.call}" if request.call else f"early {route}")

    def _pick(self, draw: _Draw, whose: str) -> str | None:
        with self._lock:
            number = self._sightings[whose]
            self._sightings[whose] += 1
        return draw.pick(hashlib.sha256(f"{self.seed}/{whose}/{number}".encode()).digest())


class _Draw:
    """A rate, and what to pick from by weight."""

    def __init__(self, rate: float, weights: Mapping[str, float]) -> None:
        self.rate = rate
        self._names = tuple(weights)
        self._sums = tuple(accumulate(weights.values()))

    def pick(self, digest: bytes) -> str | None:
        """Turn 16 bytes or more into a name, or None."""
        if _fraction(digest[:8]) >= self.rate:
            return None
        at = _fraction(digest[8:16]) * self._sums[-1]
        return self._names[bisect(self._sums, at, hi=len(self._names) - 1)]


def _content(request: Request) -> str:
    """Give a digest of what is asked, without the boundary that a client makes up for a form with files (RFC 2046 §5.1.1)."""
    body, boundary = request.body, _BOUNDARY.search(request.headers.get("content-type", ""))
    if boundary is not None:
        body = body.replace(boundary[1].encode("latin-1"), b"")
    asked = repr((request.method, request.path, *request.query.items())).encode()
    return hashlib.sha256(asked + b"\n" + body).hexdigest()


def _fraction(part: bytes) -> float:
    """Make a number from 0 to below 1 of eight bytes."""
    return (int.from_bytes(part) >> 11) / 2**53  # as many bits as a float holds: no rounding up to 1


class InTurn:
    """Several deciders: the first that names a fault has its way; a broken upload, which is named early, goes before all."""

    def __init__(self, deciders: Iterable[Faults]) -> None:
        self._deciders = tuple(deciders)

    def __call__(self, route: str, request: Request, /) -> str | None:
        """Ask one after the other."""
        return next((fault for each in self._deciders if (fault := each(route, request)) is not None), None)

    def early(self, route: str, request: Request, /) -> str | None:
        """Ask those that can decide early."""
        early = (getattr(each, "early", None) for each in self._deciders)
        return next((fault for ask in early if ask and (fault := ask(route, request)) is not None), None)
