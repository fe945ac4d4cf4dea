"""What an API may answer, in any order: sequences of faults for property tests with hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from resilient_client._libraries import LibraryName, imported, library_of
from resilient_client.loading import resolved

from ._convert import to_httpx, to_httpx2
from ._responses import error_response

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    import httpx2
    from hypothesis.strategies import SearchStrategy

    from resilient_client.policy import Policy


__all__ = ["Fault", "FaultSequence", "fault_sequences"]

_NETWORK = ("ConnectError", "ConnectTimeout", "ReadError", "ReadTimeout", "WriteError", "RemoteProtocolError")
_PAGES = (502, 503, 504)  # what load balancers answer by themselves
_BUSY = frozenset({429, 503})  # RFC 9110 10.2.3 and RFC 6585 4: the statuses that come with Retry-After
_LONGEST = 400  # seconds: beyond the 300 that a policy waits unless it says otherwise


@dataclass(frozen=True)
class Fault:
    """One answer: an error by name, a network error by class, a load balancer's page or a success by status."""

    what: str | int | type[httpx.TransportError | httpx2.TransportError]
    retry_after: int | None = None  # seconds; None: as the policy's example has it

    @overload
    def answer(self, policy: Policy, library: Literal["httpx"] = ...) -> httpx.Response: ...
    @overload
    def answer(self, policy: Policy, library: Literal["httpx2"]) -> httpx2.Response: ...
    def answer(self, policy: Policy, library: LibraryName = "httpx") -> httpx.Response | httpx2.Response:
        """Make the answer that this API would give, in the classes of one library.

        Raises:
            httpx.TransportError: the network error that it is; in httpx2 `httpx2.TransportError`.
            PolicyError: the policy has no error of that name.
        """
        if isinstance(self.what, type):
            failure = self.what("a fault of the test")
            raise to_httpx(failure) if library == "httpx" else to_httpx2(failure)
        if isinstance(self.what, str):
            return error_response(policy, self.what, retry_after=self.retry_after, library=library)
        kind: type[httpx.Response | httpx2.Response] = imported(library).Response
        if self.what < 400:
            return kind(self.what, json={})
        return kind(self.what, html=f"<html><h1>{self.what}</h1></html>")

    def __repr__(self) -> str:
        what = self.what.__name__ if isinstance(self.what, type) else repr(self.what)
        return (
            f"Fault({what})" if self.retry_after is None else f"Fault({what}, retry_after={self.retry_after})"
        )


_SUCCESS = Fault(200)


class Handler(Protocol):
    """What answers a request of either library."""

    @overload
    def __call__(self, request: httpx.Request, /) -> httpx.Response: ...
    @overload
    def __call__(self, request: httpx2.Request, /) -> httpx2.Response: ...


@dataclass(frozen=True, repr=False)
class FaultSequence:
    """What an API answers, in order; once it is over, every request succeeds."""

    policy: Policy
    faults: tuple[Fault, ...]

    def handler(self) -> Handler:
        """Give a function that plays the sequence from its start, in the classes of the library that asks it.

        It is for `httpx.MockTransport`, for `httpx2.MockTransport`, or a respx side effect.
        """
        left = iter(self.faults)

        def answer(request: Any) -> Any:
            return next(left, _SUCCESS).answer(self.policy, library_of(request).__name__)

        return answer

    def __repr__(self) -> str:
        return f"<{self.policy.api}: {', '.join(map(repr, self.faults)) or 'no faults'}>"


def fault_sequences(
    policy: str | Path | Policy, *, max_size: int = 6, library: LibraryName = "httpx"
) -> SearchStrategy[FaultSequence]:
    """Give a hypothesis strategy: up to `max_size` answers in a row that this API may well give.

    Among them are its documented errors, with and without Retry-After, network errors before and after the request was
    sent, pages of load balancers, and successes. A failing example shrinks towards few answers and towards successes.
    As hypothesis runs a test's body many times between set-up and tear-down, make the client and its `VirtualClock` in
    the body. A network error is of `library`'s class; played to a client of the other library it is of that one's.

    Raises:
        ModuleNotFoundError: hypothesis is not installed.
        PolicyError: the policy cannot be used.
    """
    try:
        from hypothesis import strategies as st  # noqa: PLC0415 - not everybody who mocks tests properties
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "fault_sequences needs hypothesis: pip install hypothesis", name="hypothesis"
        ) from error
    loaded = resolved(policy)
    documented = {rule.name: rule.examples[0].given.status for rule in loaded.rules if rule.examples}
    waits = st.none() | st.integers(0, _LONGEST)
    answers: list[SearchStrategy[Fault]] = [
        st.just(_SUCCESS),
        *(
            st.builds(Fault, st.just(name), waits) if status in _BUSY else st.just(Fault(name))
            for name, status in documented.items()
        ),
        st.sampled_from([Fault(status) for status in _PAGES]),
        st.sampled_from([Fault(getattr(imported(library), name)) for name in _NETWORK]),
    ]
    return st.lists(st.one_of(answers), max_size=max_size).map(
        lambda faults: FaultSequence(loaded, tuple(faults))
    )
