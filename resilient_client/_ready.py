"""Compiled forms of policy files, with which a client needs no pydantic: where they are, when they are used, how they are made.

Law of this file: a form is used if and only if this very version of the library made it, and each file that it was made of is as it
was, byte for byte. Else the policy is read as if there were no form; what a form says that is missing, out of date, cut off or not
a form at all is never an error.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from . import __version__
from ._shapes import SOURCES, book_of, document_of
from .loading import PolicyError, base_file, folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ._flow.rulebook import Rulebook

__all__ = ["beside", "form_of", "ready"]

FORMAT = 1  # one more whenever a form that is as it was would mean something else
MADE_BY = f"resilient_client {__version__}, format {FORMAT}"


def beside(path: Path) -> Path:
    """Give the place of a policy file's form: acme.compiled.json for acme.toml, compiled/<name>.json for a shipped policy."""
    if path.parent == folder():
        return path.parent / "compiled" / f"{path.stem}.json"
    return path.with_suffix(".compiled.json")


def ready(path: Path) -> Rulebook | None:
    """Read a policy file's form; None where there is none that can be used."""
    try:
        document = json.loads(beside(path).read_bytes())
        if type(document) is not dict or document.pop("made_by", None) != MADE_BY:
            return None
        sources = SOURCES.read(document.pop("made_of", None))
        return book_of(document) if _are_as_they_were(sources, path) else None
    except (OSError, ValueError, RecursionError, MemoryError):
        return None


def form_of(path: Path) -> str:
    """Compile a policy file, by way of pydantic: one line of JSON for each rule, and for each thing that a rule is found by.

    Raises:
        PolicyError: the file cannot be read, or says what a policy cannot say, or what JSON cannot.
    """
    from .policy import from_file, lineage  # noqa: PLC0415 - they bring pydantic

    # The digests first: where a file is changed meanwhile, the form is out of date and not wrong.
    sources = [(extends, *_print(file)) for extends, file in lineage(path)]
    rules = from_file(path).rulebook
    try:
        document = {"made_by": MADE_BY, "made_of": SOURCES.write(sources), **document_of(rules)}
        lines = [f"{_json(name)}: {_laid_out(value)}" for name, value in document.items()]
    except ValueError as error:
        raise PolicyError(
            f"{path}, {error}; the file can be used as it is, and cannot be compiled ahead"
        ) from None
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _laid_out(value: Any) -> str:
    return "[\n" + ",\n".join(map(_json, value)) + "\n]" if isinstance(value, list) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _print(path: Path) -> tuple[int, str]:
    """Give a file's size in bytes, and its digest."""
    raw = path.read_bytes()
    return len(raw), blake2b(raw, digest_size=16).hexdigest()


def _are_as_they_were(sources: Sequence[tuple[str, int, str]], path: Path) -> bool:
    """Tell whether the file, and each that it extends, is still what its form was made of."""
    if not sources or sources[0][0]:  # the file itself comes first, and nothing extends it
        return False
    for extends, size, digest in sources:
        found = base_file(extends, path.parent) if extends else path
        if found is None or not found.is_file() or _print(found) != (size, digest):
            return False
        path = found
    return True
