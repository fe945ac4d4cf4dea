"""The two hosts, httpx and httpx2, by name: for the clients that a sandbox gives, and what they sign in with.

Law of this file: neither is imported before somebody asks for it, and nobody else here imports one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from resilient_client._libraries import HOMES, LibraryName, imported


class Host(NamedTuple):
    """A library, and what is made for it."""

    http: Any  # httpx, or httpx2
    resilient: Any  # resilient_client, or resilient_client.httpx2


def host(library: LibraryName) -> Host:
    """Import a library, and our clients and auths for it. Raises ValueError for any other, ImportError where it is not installed."""
    return Host(imported(library), import_module(HOMES[library]))
