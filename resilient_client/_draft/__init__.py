"""Policies to begin with: a starter that is finished from an error page, or a draft from an OpenAPI document.

    document -> errors (envelope, codes, statuses) -> rules -> proved -> TOML

Law of this folder: what is written can be loaded and passes `check`; what a document does not say is listed for a person to look up,
and never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from resilient_client.loading import PolicyError
from resilient_client.policy import Policy

from .document import read
from .errors import errors_of
from .gaps import gaps
from .keys import keys_of
from .proving import proved
from .rules import rules_of
from .schemas import Schemas
from .starter import starter
from .writing import comment, entry, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .document import Document
    from .errors import Errors

__all__ = ["Draft", "base_of", "draft", "starter"]


class Draft(NamedTuple):
    """A policy file that has been drafted."""

    text: str
    rules: int
    look_up: tuple[str, ...]  # what the document does not say


def draft(raw: str, *, name: str, extends: str | None, folder: Path) -> Draft:
    """Draft a policy from an OpenAPI document.

    `raw` is the document, JSON or (with PyYAML) YAML; `name` becomes the policy's `api`; `folder` is where the file will stand, from
    where a path in `extends` is looked for.

    Raises:
        ValueError: it is no OpenAPI document; the message is one line.
        PolicyError: there is no policy to extend.
    """
    try:
        return _drafted(read(raw), name, extends, folder)
    except RecursionError:
        raise ValueError("its schemas are nested too deeply") from None


def _drafted(document: Document, name: str, extends: str | None, folder: Path) -> Draft:
    schemas = Schemas(document)
    errors = errors_of(document, schemas)
    base = base_of(extends, folder) if extends is not None else None
    inherited = [rule.name for rule in base.rules] if base is not None else []
    drafted, untold = rules_of(errors, inherited, alone=base is None)
    top = _top(document, errors, name, extends) | {"idempotency": keys_of(document, schemas)}
    top = {word: said for word, said in top.items() if said}
    rules, left_out = proved(top, drafted, folder)
    look_up = gaps(document, errors, top, untold, left_out)
    by_code = {one.name for one in drafted if one.by_code}
    text = "".join(f"{line}\n" for line in _lines(top, rules, by_code, look_up))
    return Draft(text, len(rules), look_up)


def base_of(extends: str, folder: Path) -> Policy:
    """Load the policy that a file in this folder would extend by this name or path.

    Raises:
        PolicyError: there is none, or it cannot be used.
    """
    try:
        return Policy.model_validate({"api": "new", "extends": extends}, context={"folder": folder})
    except ValidationError as error:
        raise PolicyError(str(error.errors()[0]["ctx"]["error"])) from None


def _top(document: Document, errors: Errors, name: str, extends: str | None) -> dict[str, Any]:
    envelope = errors.envelope
    places = {
        "code": envelope.code,
        "message": envelope.message,
        "field": envelope.field,
        "details": envelope.details,
        "request_id": envelope.request_id,
        "request_id_header": errors.headers("requestid", "traceid", "correlationid"),
    }
    return {
        "api": name,
        "title": document.title(),
        "source": document.source(),
        "extends": extends,
        "should_retry": next(iter(errors.headers("shouldretry")), None),
        "envelope": {part: found[0] if len(found) == 1 else found for part, found in places.items() if found},
    }


def _lines(
    top: dict[str, Any], rules: Sequence[dict[str, Any]], by_code: set[str], look_up: Sequence[str]
) -> Iterator[str]:
    what = top.get("title", top["api"])
    yield from comment(
        f"A draft of a policy for {what}, made from its OpenAPI document. The format's reference is docs/policy-format.md; "
        "durations are seconds."
    )
    if look_up:
        yield "#"
        yield from comment("To be looked up by hand:")
        for gap in look_up:
            yield from comment(gap, mark="- ")
    yield ""
    tables = {word: said for word, said in top.items() if isinstance(said, dict)}
    for word in (word for word in top if word not in tables):
        yield from entry((word,), top[word])
    for word, said in tables.items():
        yield from ("", *table(word, said))
    coded = [rule for rule in rules if rule["name"] in by_code]
    stated = [rule for rule in rules if rule["name"] not in by_code]
    yield from _section("Errors by their code", coded)
    yield from _section("Errors by their status", stated)


def _section(heading: str, rules: Sequence[dict[str, Any]]) -> Iterator[str]:
    if rules:
        yield from ("", "", f"# ---- {heading}")
    for rule in rules:
        yield from _rule(rule)


def _rule(rule: dict[str, Any]) -> Iterator[str]:
    yield from ("", "[[rules]]")
    for word, said in rule.items():
        if word != "examples":
            yield from entry((word,), said)
    for example in rule["examples"]:
        yield from ("", "[[rules.examples]]")
        for word, said in example.items():
            yield from entry((word,), said)
