"""The idempotency key of a call: where it comes from, and how it is put on the request.

The caller's own is respected, wherever the API takes it (a header, a quoted header, a field of the body), and checked before
anything is sent; where the policy asks for one and the caller brings none, one is made, once for all attempts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .rulebook import SAFE_METHODS, Pointer

if TYPE_CHECKING:
    from .attempt import Call

__all__ = ["give", "with_field"]


def give(call: Call) -> None:  # noqa: C901 - a key may come in four ways
    """Give the call its idempotency key, where it brings one or the policy makes one.

    Raises:
        ValueError, TypeError: the caller's key is one that the policy forbids, or is no string.
    """
    request = call.request
    idempotency = call.rules.idempotency
    wanted = call.option("idempotency_key")
    if wanted is not None:
        key = _checked(call, wanted)
        if idempotency.field is None:
            request.headers[idempotency.header] = _dressed(key, quoted=idempotency.quoted)
        elif request.method in SAFE_METHODS:
            return  # a redirect has made a GET of it, and left the body behind
        elif _key_in_body(call, idempotency.field) != key:
            _put_in_body(call, idempotency.field, key)
        call.key = key
        return
    if request.method in SAFE_METHODS:
        return  # it changes nothing, so there is nothing to keep from happening twice
    carried = _key_in_body(call, idempotency.field) if idempotency.field is not None else None
    if carried is None and idempotency.header in request.headers:
        carried = request.headers[idempotency.header]
        if not carried and idempotency.shortest:
            _checked(call, carried)
        if idempotency.quoted:
            carried = _undressed(carried)
    if carried:
        call.key = _checked(call, carried)
    elif idempotency.routes and idempotency.routes.match(request.method, request.url.path):
        call.key = _made(call)
        if idempotency.field is not None:
            _put_in_body(call, idempotency.field, call.key)
        else:
            request.headers[idempotency.header] = _dressed(call.key, quoted=idempotency.quoted)


def _checked(call: Call, key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key must be a string, not {type(key).__name__}")
    idempotency = call.rules.idempotency
    if not idempotency.shortest <= len(key) <= idempotency.longest:
        raise ValueError(
            f"{call.rules.api} takes idempotency keys of {idempotency.shortest} to {idempotency.longest} characters; "
            f"this one has {len(key)}. Nothing was sent. Leave the key out to have one made, or use uuid.uuid4()."
        )
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError(
            "an idempotency key is printable ASCII, for it travels in a header. Nothing was sent."
        )
    return key


def _made(call: Call) -> str:
    """Make a key of a length that the API takes."""
    idempotency, key = call.rules.idempotency, call.setting.new_key()
    while len(key) < idempotency.shortest:
        key += call.setting.new_key()
    if len(key) > idempotency.longest:
        key = key.replace("-", "")[: idempotency.longest]
    return key


# RFC 9651 3.3.3: a string stands in double quotes, with \ before quotes and backslashes.
def _dressed(key: str, *, quoted: bool) -> str:
    if not quoted:
        return key
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _undressed(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return value


def _key_in_body(call: Call, pointer: Pointer) -> str | None:
    document = _document(call)
    if document is None:
        return None
    found = next(pointer.find(document), None)
    return found if isinstance(found, str) and found else None


def _document(call: Call) -> dict[str, Any] | None:
    body = call.host.body_of(call.request)
    if not body or body.lstrip()[:1] != b"{" or "content-encoding" in call.request.headers:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _put_in_body(call: Call, pointer: Pointer, key: str) -> None:
    body = call.host.body_of(call.request)
    changed = with_field(body, pointer, key) if body is not None else None
    if changed is None:
        raise ValueError(
            f"{call.rules.api} takes its idempotency key in the JSON body at {pointer.text}, and this request's body is "
            "no JSON object. Nothing was sent."
        )
    # The bytes differ from what was signed, so whatever signs must sign again.
    call.request = call.host.again(call.request, call.stream, changed)
    call.stream = call.request.stream
    call.sign_first = call.auth is not None


def with_field(body: bytes, pointer: Pointer, value: Any) -> bytes | None:
    """Add a field to a JSON object, leaving every other byte as it was where the field is new.

    None where that cannot be done: the body is no JSON object in UTF-8, the pointer's way is not there, or the field has
    the value already (a request that changes nothing is not worth sending).
    """
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not pointer.parts:
        return None
    target: Any = document
    for part in pointer.parts[:-1]:
        target = target.get(part) if isinstance(target, dict) else None
    last = pointer.parts[-1]
    if not isinstance(target, dict) or (
        last in target and target[last] == value and target[last] is not None
    ):
        return None
    if target is document and last not in document:
        # A splice keeps the caller's own spelling of numbers, spaces and escapes.
        head = body.rstrip()[:-1].rstrip()
        comma = b"" if head.endswith(b"{") and not document else b","
        return head + comma + json.dumps({last: value}, separators=(",", ":"))[1:].encode()
    target[last] = value
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
