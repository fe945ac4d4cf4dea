"""Which library a thing is of, httpx or httpx2, and what is said where the two are mixed, or one is missing.

Law of this file: a library is imported when somebody asks for it by name, and not before.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Literal

__all__ = ["HOMES", "LibraryName", "imported", "is_librarys", "library_of", "refuse_other"]

LibraryName = Literal["httpx", "httpx2"]

HOMES: dict[str, str] = {"httpx": "resilient_client", "httpx2": "resilient_client.httpx2"}
"""The libraries, and where the clients over each are."""


def library_of(thing: object) -> Any:
    """Give the module, httpx or httpx2, whose class a request, a response, a client or an exception is of.

    Raises:
        TypeError: it is of neither.
    """
    for library in _libraries_of(thing):
        return sys.modules[library]
    raise TypeError(f"{type(thing).__name__} is neither httpx's nor httpx2's")


def is_librarys(thing: object) -> bool:
    """Tell whether a thing is httpx's or httpx2's, by its class or one below it."""
    return bool(_libraries_of(thing))


def _libraries_of(thing: object) -> list[str]:
    """Name the libraries that have a class of a thing's. What a class says of its module others may have changed: openai does."""
    loaded = [(name, sys.modules[name]) for name in HOMES if name in sys.modules]
    return [
        name
        for name, module in loaded
        if any(getattr(module, kind.__name__, None) is kind for kind in type(thing).__mro__)
    ]


def imported(library: LibraryName) -> Any:
    """Import a library by its name.

    Raises:
        ValueError: it has another name.
        ModuleNotFoundError: it is not installed; the message says what to install.
    """
    if library not in HOMES:
        raise ValueError(f"the libraries are {' and '.join(HOMES)} (got {library!r})")
    try:
        return import_module(library)
    except ModuleNotFoundError as missing:
        if missing.name != "httpx2":
            raise
        raise ModuleNotFoundError(
            "this needs httpx2: pip install 'resilient-client[httpx2]'", name=missing.name
        ) from missing


def refuse_other(thing: object, library: str, what: str) -> None:
    """Refuse a transport, an auth or a request of the other library, on which something would fail without a word about it.

    Raises:
        TypeError: it is of the other library alone; the message says what to do.
    """
    of = _libraries_of(thing)
    if of and library not in of:
        other = of[0]
        raise TypeError(
            f"{type(thing).__name__} is {what} of {other}, and this client or transport is one of {library}: their classes are not the "
            f"same. What goes with {other} is in {HOMES[other]}, what goes with {library} in {HOMES[library]}"
        )
