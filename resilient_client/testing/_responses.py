"""The replies that the real APIs send, built from the examples that their policies carry."""

from __future__ import annotations

import copy
import json
import math
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

from resilient_client._compile import statuses
from resilient_client._flow.rulebook import Pointer, as_code
from resilient_client._libraries import LibraryName, imported
from resilient_client._slips import near
from resilient_client.loading import PolicyError, load_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Literal, Unpack

    import httpx
    import httpx2

    from resilient_client._words import Example, Rule
    from resilient_client.policy import Policy


__all__ = ["Words", "error_response", "place"]


class Words(TypedDict, total=False):
    """What of an error's example may be asked to be different: the keywords of `error_response`, but for `library`."""

    status: int | None
    retry_after: float | str | None
    message: str | None
    field: str | None
    request_id: str | None
    headers: Mapping[str, str] | None


@overload
def error_response(
    policy: str | Path | Policy, error: str | int, *, library: Literal["httpx"] = ..., **words: Unpack[Words]
) -> httpx.Response: ...
@overload
def error_response(
    policy: str | Path | Policy, error: str | int, *, library: Literal["httpx2"], **words: Unpack[Words]
) -> httpx2.Response: ...
def error_response(  # noqa: PLR0913 - what a test wants to be different
    policy: str | Path | Policy,
    error: str | int,
    *,
    status: int | None = None,
    retry_after: float | str | None = None,
    message: str | None = None,
    field: str | None = None,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    library: LibraryName = "httpx",
) -> httpx.Response | httpx2.Response:
    """Build the response that the real API would send for one of its errors.

    Args:
        policy: a shipped policy's name, a path, or a `Policy`.
        error: a rule's name ("RATE_LIMIT"), the API's own code (5), or a status that the policy knows.
        status: another status than the example's.
        retry_after: the Retry-After header: seconds, or a text as it is.
        message: the vendor's words, put where the policy's envelope keeps them.
        field: the field at fault, put likewise.
        request_id: put likewise, and in the header that the policy names.
        headers: further headers.
        library: whose `Response` it is.

    Raises:
        PolicyError: the policy has no such error, or no example of it; the message lists what it has.
        ModuleNotFoundError: the library is not installed.
    """
    loaded = load_policy(policy) if isinstance(policy, str | Path) else policy
    example, asked_for = _find(loaded, error)
    given = example.given
    answered = status or asked_for or given.status
    lines = {
        name: value
        for name, value in given.headers.items()
        if retry_after is None or name.casefold() not in {"retry-after", "x-ratelimit-reset"}
    }
    if retry_after is not None:
        lines["Retry-After"] = _seconds(retry_after)
    body = copy.deepcopy(given.json_)
    if body is not None:
        envelope = loaded.envelope
        for places, value in (
            (envelope.message, message),
            (envelope.field, field),
            (envelope.request_id, request_id),
        ):
            if value is not None:
                place(body, [places] if isinstance(places, str) else list(places), value)
    if request_id is not None:
        names = loaded.envelope.request_id_header
        lines[names if isinstance(names, str) else names[0]] = request_id
    lines.update(headers or {})
    kind: type[httpx.Response | httpx2.Response] = imported(library).Response
    if body is not None:
        lines.setdefault("Content-Type", "application/json")
        return kind(answered, headers=lines, content=json.dumps(body).encode())
    return kind(answered, headers=lines, text=given.text or "")


def _seconds(retry_after: float | str) -> str:
    # RFC 9110 10.2.3: whole seconds; what is rounded is rounded up.
    return retry_after if isinstance(retry_after, str) else str(math.ceil(retry_after))


_Found = tuple["Example", int | None]  # an example, and the status that was asked for where it has another


def _find(policy: Policy, error: str | int) -> _Found:
    """Find the example of an error: by the rule's name, by the API's code, by the status, by what it is like."""
    ways = (_by_name, _by_code_of_an_example, _by_code, _by_status_of_an_example, _by_status, _by_likeness)
    found = next((match for way in ways for match in way(policy, error)), None)
    if found is None:
        names = [rule.name for rule in policy.rules]
        hint = near(str(error), names) or "."
        raise PolicyError(f"{policy.api} has no error {error!r}{hint} It has {', '.join(names)}")
    return found


def _by_name(policy: Policy, error: str | int) -> Iterator[_Found]:
    return ((_first_example(policy, rule), None) for rule in policy.rules if rule.name == error)


def _by_code_of_an_example(policy: Policy, error: str | int) -> Iterator[_Found]:
    return (
        (example, None)
        for rule in _on(policy)
        for example in rule.examples
        if _same(error, _code(policy, example))
    )


def _by_code(policy: Policy, error: str | int) -> Iterator[_Found]:
    for rule in _on(policy):
        codes = [
            *_list(policy.codes.get(rule.name)),
            *(code for when in _whens(rule) for code in _list(when.code)),
        ]
        if any(_same(error, code) for code in codes):
            yield _first_example(policy, rule), None


def _by_status_of_an_example(policy: Policy, error: str | int) -> Iterator[_Found]:
    status = _as_status(error)
    return (
        (example, None) for rule in _on(policy) for example in rule.examples if example.given.status == status
    )


def _by_status(policy: Policy, error: str | int) -> Iterator[_Found]:
    status = _as_status(error)
    for rule in _on(policy):
        if any(status in set(statuses(when.status)) for when in _whens(rule)):
            yield _first_example(policy, rule), status


def _by_likeness(policy: Policy, error: str | int) -> Iterator[_Found]:
    return (
        (_first_example(policy, rule), None)
        for rule in _on(policy)
        if isinstance(error, str) and _plain(rule.name) == _plain(error)
    )


def _on(policy: Policy) -> list[Rule]:
    """List the rules that do not wait for their code."""
    return [
        rule
        for rule in policy.rules
        if rule.name in policy.codes or any(when.code != [] for when in _whens(rule))
    ]


def _first_example(policy: Policy, rule: Rule) -> Example:
    if not rule.examples:
        raise PolicyError(f'{policy.api}, rule "{rule.name}": has no example to build a response from')
    return rule.examples[0]


def _code(policy: Policy, example: Example) -> Any:
    pointers = [Pointer(text) for text in _list(policy.envelope.code)]
    found = (as_code(value) for pointer in pointers for value in pointer.find(example.given.json_))
    return next((code for code in found if code is not None), None)


def _same(error: str | int, code: Any) -> bool:
    return error == code and type(error) is type(code)


def _as_status(error: str | int) -> int | None:
    if isinstance(error, int):
        return error
    return next((status.value for status in HTTPStatus if _plain(status.phrase) == _plain(error)), None)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.casefold())


def _whens(rule: Rule) -> list[Any]:
    return list(rule.when) if isinstance(rule.when, list) else [rule.when]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def place(body: Any, pointers: list[str], value: Any) -> None:
    """Put a value where the first pointer leads that has a place for it."""
    for pointer in pointers:
        *way, last = pointer.split("/")[1:]
        node = body
        for token in way:
            node = node.get(token) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[last] = value
            return
