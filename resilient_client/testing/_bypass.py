"""Refusing the one way of mocking that goes round every transport, and with it round every retry."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["refuse_bypass"]

_WHY = (
    'respx.mock(using="httpx") replaces the way in which a client picks its transport: no resilient transport is asked, '
    "nothing is retried, and a test of retries would test nothing. Leave `using` out: respx then stands in for the "
    "connections, below the transports. Or use the fixture api_mock."
)


@contextmanager
def refuse_bypass() -> Iterator[None]:
    """Refuse `respx.mock(using="httpx")`, and say why and what to do instead. Without respx there is nothing to refuse.

    Raises:
        RuntimeError: on entering, where such a mock is active already; meanwhile, from whoever starts one.
    """
    try:
        from respx.mocks import HTTPXMocker  # noqa: PLC0415 - an extra, and heavy
    except ModuleNotFoundError:
        yield
        return
    if HTTPXMocker.routers:
        raise RuntimeError(_WHY)

    def refuse(_router: Any) -> None:
        raise RuntimeError(_WHY)

    # respx offers no place to say no: each of its mocks registers itself with the class that stands for its mode.
    with patch.object(HTTPXMocker, "register", refuse):
        yield
