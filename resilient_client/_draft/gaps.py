"""What an OpenAPI document leaves open of how an API fails, as sentences for whoever finishes the draft.

Law of this file: each sentence says what to look up, and what to write where it is found.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .waits import places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient_client._flow.rulebook import Code

    from .document import Document
    from .errors import Errors

__all__ = ["gaps"]

_MOST = 60  # names that are listed
_MAY_PASS = re.compile("lock|in_?progress|in_?use|concurren|busy|try_?again|conflict", re.IGNORECASE)


def gaps(
    document: Document,
    errors: Errors,
    top: dict[str, Any],
    untold: Sequence[Code],
    left_out: Sequence[str],
) -> tuple[str, ...]:
    """List what is to be looked up by hand.

    `untold` are the codes that the document names without saying when they are sent, `left_out` the rules that another one would
    always have been asked before.
    """
    return tuple(_gaps(document, errors, top, untold, left_out))


def _gaps(
    document: Document,
    errors: Errors,
    top: dict[str, Any],
    untold: Sequence[Code],
    left_out: Sequence[str],
) -> Iterator[str]:
    if "source" not in top:
        yield 'The page that lists the errors: source = "https://…".'
    if not errors.coded:
        yield "Codes: the document names none that tells more than the status. Where there are some, each deserves a rule."
    if untold:
        yield f"With which status these codes come, and what they mean: {_listed(untold)}."
    if left_out:
        yield f"These replies are taken by rules of the policy that this one extends: {_listed(left_out)}."
    stated = errors.stated
    if not places(one for status, one in stated.items() if status in {"429", "4XX", "default"}):
        yield "How long to wait after a 429: the document names no header and no field that says it (`after`)."
    yield "Budgets of calls: [pace] keeps a client within what the vendor publishes."
    if "idempotency" not in top:
        yield (
            "Idempotency keys: the document names none. Without them, a POST whose answer was lost or was a 5xx is not sent again."
        )
    else:
        yield "For how long a key is remembered, and what answers a key that is used again for another body."
    yield "Whether a 5xx says that nothing was done: where the vendor says to retry, that rule may say unsafe = true."
    passing = [str(coded.code) for coded in errors.coded if _MAY_PASS.search(str(coded.code))]
    if passing:
        yield f"Whether these pass by themselves, and are worth a retry: {_listed(passing)}."
    if document.has_tokens():
        yield (
            'Which 401 means that a token is past its life: retry = { retries = 1, wait = 0, change = ["refresh"], unsafe = true }.'
        )
    if document.foreign:
        yield "What the document refers to in other files: it was not read."
    yield "Remedies and words for users: here they are the standards' own."


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:_MOST])
    return f"{shown} and {len(names) - _MOST} more" if len(names) > _MOST else shown
