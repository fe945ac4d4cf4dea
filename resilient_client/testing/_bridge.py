"""respx for httpx2's clients: the routes that answer httpx's answer them, too.

respx stands in for httpcore's connections; here its own class that does so stands in for httpcore2's as well, and asks the
same routers. Law of this file: nothing of respx is replaced, and a router sees httpx's requests alone and answers in httpx's
words: what comes and goes is converted on either side of it.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from ._convert import errors_as, stream_as, to_httpx

try:
    from respx.mocks import HTTPCoreMocker
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "bridge_respx needs respx: pip install 'resilient-client[testing]'", name="respx"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

__all__ = ["as_host", "bridge_respx", "is_httpx2_installed"]

_answers_httpx2: ContextVar[bool] = ContextVar("answers_httpx2", default=False)


def bridge_respx() -> AbstractContextManager[None]:
    """Let every active respx router answer httpx2's clients as well, as long as the block lasts.

    The routers are those of respx's default mode, started before the block or in it. A router is asked with an `httpx.Request`
    and answers with an `httpx.Response`; the client gets httpx2's, and httpx's exceptions as httpx2's of the same name. Where
    no router is active, and where a route passes through, httpx2 sends the request. It nests, holds for all threads and tasks,
    and is no decorator.

    Raises:
        ModuleNotFoundError: httpx2 is not installed.
    """
    if not is_httpx2_installed():
        raise ModuleNotFoundError(
            "bridge_respx needs httpx2: pip install 'resilient-client[httpx2]'", name="httpx2"
        )
    return _Block()


def is_httpx2_installed() -> bool:
    """Tell whether there can be clients of httpx2's, imported already or not."""
    return find_spec("httpx2") is not None


def as_host(error: Exception) -> Exception:
    """Give an exception that a router raises so that the client which it answers gets it as its own.

    For httpx's clients it is converted here; for httpx2's nothing need be done, as all that a router raises is converted.
    """
    return error if _answers_httpx2.get() else to_httpx(error)


class _Block(AbstractContextManager[None]):
    """As long as one is open, httpx2's clients are answered."""

    # contextlib's own would be a decorator, too: one that has ended before an async function begins.

    def __enter__(self) -> None:
        _HTTPCore2Mocker.enter()

    def __exit__(self, *_: object) -> None:
        _HTTPCore2Mocker.leave()


class _HTTPCore2Mocker(HTTPCoreMocker):
    """Stands in for httpcore2's connections, and asks the routers that stand in for httpcore's."""

    name = ""  # not in respx's registry, which would give it routers of its own
    targets: ClassVar[list[str]] = [
        f"httpcore2.{target.removeprefix('httpcore.')}"
        for target in HTTPCoreMocker.targets
        if target.startswith("httpcore.")
    ]
    _patches: ClassVar[list[Any]] = []
    _blocks: ClassVar[int] = 0  # how many are open
    _lock = threading.Lock()

    @classmethod
    def enter(cls) -> None:
        with cls._lock:
            cls.start()
            cls._blocks += 1

    @classmethod
    def leave(cls) -> None:
        with cls._lock:
            cls._blocks -= 1
            if cls._blocks == 0:
                cls.stop(force=True)  # though there are routers: they go on without httpx2

    @classmethod
    def mock(cls, spec: Callable[..., Any]) -> Callable[..., Any]:
        mocked: Callable[..., Any] = super().mock(spec)  # type: ignore[no-untyped-call]  # respx has no types here
        if mocked is spec:  # a subclass's, which has its base's
            return mocked

        def send(connection: Any, request: Any) -> Any:
            # With no router there is nothing to ask, and a body is not to be read beforehand.
            return (mocked if cls.routers else spec)(connection, request)

        return send

    @classmethod
    def handler(cls, httpx_request: httpx.Request) -> httpx.Response:
        with errors_as("httpx2"), _for_httpx2():
            response: httpx.Response = super().handler(httpx_request)  # type: ignore[no-untyped-call]  # nor here
        return response

    @classmethod
    async def async_handler(cls, httpx_request: httpx.Request) -> httpx.Response:
        with errors_as("httpx2"), _for_httpx2():
            response: httpx.Response = await super().async_handler(httpx_request)  # type: ignore[no-untyped-call]  # nor here
        return response

    @classmethod
    def from_sync_httpx_response(
        cls,
        httpx_response: httpx.Response,
        target: Any,  # noqa: ARG003 - the signature is respx's
        **kwargs: Any,  # noqa: ARG003 - so is this
    ) -> Any:
        import httpcore2  # noqa: PLC0415 - what is patched is loaded

        return httpcore2.Response(
            status=httpx_response.status_code,
            headers=httpx_response.headers.raw,
            content=stream_as("httpx2", httpx_response.stream),
            extensions=httpx_response.extensions,
        )


@contextmanager
def _for_httpx2() -> Iterator[None]:
    token = _answers_httpx2.set(True)
    try:
        yield
    finally:
        _answers_httpx2.reset(token)
