"""What the requests of each create had in common on the wire, after the server's record of them. Pure.

An API that refuses a second one by itself hides a client that would have made it; the wire does not.

Law of this file: it looks at no more than the server has seen. Of a request that never came, and of a whole reply that came too late
for its client, the server knows nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from resilient_client.sandbox.faults import WIRE, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from resilient_client.sandbox import Seen

__all__ = ["WRONGS", "Wire", "inspect"]

WRONGS = {
    "two_keys": "sent under two keys",
    "unkeyed": "sent without the key that is due",
    "two_bodies": "sent with two bodies",
    "nonce_twice": "sent under one nonce twice",
    "resent": "sent again with no key after its reply was lost",
}
"""What no create's requests may be."""

# Kinds that do the work and let no whole reply through. What does no work and has no reply shows in the record's status.
LOSSES = {name for name, kind in WIRE.items() if kind.works} - {"drip", "stale"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What the server has seen of the creates."""

    sent: frozenset[str]  # the creates of which anything arrived
    unclear: frozenset[
        str
    ]  # those of which something arrived that may have been done, for all that its caller can know
    wrongs: Mapping[str, Sequence[str]]  # creates by the names of `WRONGS`
    strays: int = 0  # requests to create something that belong to none of the creates that were asked for


def inspect(requests: Iterable[Seen], *, route: str, asked: Iterable[str], keyed: bool) -> Wire:
    """Look at all requests to a route ("POST /v1/create"); `keyed` tells whether its requests are due to carry a key."""
    of_create: dict[str, list[Seen]] = {mark: [] for mark in asked}
    strays = 0
    for seen in requests:
        if seen.route != route:
            continue
        if seen.call in of_create:
            of_create[seen.call].append(seen)
        else:
            strays += 1
    nonces = Counter(seen.nonce for each in of_create.values() for seen in each)
    wrongs: defaultdict[str, list[str]] = defaultdict(list)
    for mark, each in of_create.items():
        keys = {seen.idempotency_key for seen in each}
        # Of an upload that broke off there is no body to compare.
        bodies = {seen.digest for seen in each if seen.fault != "reset-upload"}
        if len(keys) > 1:
            wrongs["two_keys"].append(mark)
        if keyed and None in keys:
            wrongs["unkeyed"].append(mark)
        if len(bodies) > 1:
            wrongs["two_bodies"].append(mark)
        if any(seen.nonce is not None and nonces[seen.nonce] > 1 for seen in each):
            wrongs["nonce_twice"].append(mark)
        # No policy has a rule that repeats a POST without a key when nothing is known of its first reply: what rules say
        # "whatever the method" of are replies.
        if any(
            _lost(before) and not (keyed and before.idempotency_key is not None)
            for before, _ in pairwise(each)
        ):
            wrongs["resent"].append(mark)
    return Wire(
        sent=frozenset(mark for mark, each in of_create.items() if each),
        unclear=frozenset(mark for mark, each in of_create.items() if any(map(_unclear, each))),
        wrongs=wrongs,
        strays=strays,
    )


def _lost(seen: Seen) -> bool:
    """Tell whether no whole reply went out."""
    return seen.status is None or (seen.fault is not None and parse(seen.fault).kind in LOSSES)


def _unclear(seen: Seen) -> bool:
    return seen.worked or _lost(seen) or (seen.status is not None and seen.status >= 500)
