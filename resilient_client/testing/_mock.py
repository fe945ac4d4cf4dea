"""A respx router that speaks policy: routes as policies write them, errors by name, a plan that must come true.

It stands in for the connections, as respx does by default, so that requests go through the transports and retries
happen as they do in production. Law of this file: what was not planned is an AssertionError, which no client retries,
and it is remembered, so that code which swallows it is found out.
"""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from resilient_client._flow.rulebook import Routes
from resilient_client.loading import resolved

from ._bypass import refuse_bypass
from ._responses import error_response

try:
    import respx
    from respx.models import AllMockedAssertionError, Call
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "api_mock needs respx: pip install 'resilient-client[testing]'", name="respx"
    ) from error

from ._bridge import as_host, bridge_respx, is_httpx2_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Unpack

    from resilient_client.policy import Policy

    from ._responses import Words

__all__ = ["ApiMock", "MockedApi", "MockedRoute"]


class ApiMock:
    """Stands in for APIs: `api_mock("zerotrace").post("/v1/create").fails("INTERNAL").then(200)`.

    A context manager, outside of which nothing is mocked; the fixture `api_mock` is one. It takes every request that
    httpx or httpx2 is about to send over a connection, from any thread or task; of several routes that fit, those with a
    `base_url` come first, then the one that was made first. Where another respx router is active too, what fits no
    route here is left to that one.

    Raises:
        AssertionError: from the client, a request that was not planned; at the end of the block, or of the test,
            whatever was planned and did not come, or came unplanned.
    """

    def __init__(self) -> None:
        self._router = _Router(self._answer, self._remember)
        self._routes: list[MockedRoute] = []
        self._surprises: list[AssertionError] = []
        self._unknown: list[httpx.Request] = []
        self._lock = threading.Lock()
        self._active = ExitStack()

    def __call__(
        self, policy: str | Path | Policy, base_url: str | None = None, *, assert_all_called: bool = True
    ) -> MockedApi:
        """Mock an API.

        Args:
            policy: a shipped policy's name, a path, or a `Policy`: it knows the errors.
            base_url: the scheme, the host and the path that requests must go to; any will do when left out.
            assert_all_called: whether routes that are never called, and replies that are never used, fail at the end.

        Raises:
            PolicyError: the policy cannot be used.
            ValueError: the base URL has no scheme or no host.
        """
        return MockedApi(self, resolved(policy), _checked(base_url), assert_all_called=assert_all_called)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self.assert_all_called()
        else:
            self.note_surprises(error)

    def start(self) -> None:
        """Take requests from now on, and refuse mocks that would go round the transports."""
        with ExitStack() as stack:
            stack.enter_context(refuse_bypass())
            self._router.start()
            stack.callback(self._router.stop)
            if is_httpx2_installed():  # its clients are answered whenever it is imported
                stack.enter_context(bridge_respx())
            self._active = stack.pop_all()

    def stop(self) -> None:
        """Take no more requests."""
        self._active.close()

    def assert_all_called(self) -> None:
        """Assert that all that was planned has come, and nothing else.

        Raises:
            AssertionError: it tells of each route with replies that were not used, and of each request that was not
            planned.
        """
        lines = [f"  {line}" for route in self._routes for line in route.left_over()]
        lines += [str(surprise) for surprise in self._surprises]
        if lines:
            raise AssertionError("\n".join(("api_mock: it did not go as planned", *lines)))

    def note_surprises(self, error: BaseException) -> None:
        """Tell an error that ends a test of the requests that nobody had planned: they may be its cause."""
        for surprise in self._surprises:
            if surprise is not error:
                error.add_note(str(surprise))

    def route(self, api: MockedApi, method: str, path: str) -> MockedRoute:
        """Give an API's route, the same one whenever it is asked for."""
        made = MockedRoute(api, method.upper(), path)
        for route in self._routes:
            if route.is_same(made):
                return route
        self._routes.append(made)
        return made

    def _answer(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            # False comes before True.
            fitting = sorted(
                (route for route in self._routes if route.fits(request)), key=lambda each: each.is_anywhere
            )
            try:
                if not fitting:
                    raise _unknown(request, self._routes)
                return fitting[0].answer(request)
            except AllMockedAssertionError:
                raise  # another router may have a route: the router asks them, and has it remembered
            except AssertionError as surprise:
                self._surprises.append(surprise)
                raise

    def _remember(self, request: httpx.Request, surprise: AssertionError) -> None:
        """Remember a request that no router knows, once: several routers may pass it round."""
        with self._lock:
            if not any(known is request for known in self._unknown):
                self._unknown.append(request)
                self._surprises.append(surprise)

    def __repr__(self) -> str:
        return f"ApiMock({', '.join(map(str, self._routes))})"


class MockedApi:
    """One API that is mocked: ask it for its routes. Made by `api_mock(policy)`."""

    def __init__(
        self, mock: ApiMock, policy: Policy, base_url: httpx.URL | None, *, assert_all_called: bool
    ) -> None:
        self._mock = mock
        self.policy = policy
        self.base_url = base_url
        self.asserts_all_called = assert_all_called

    def request(self, method: str, path: str) -> MockedRoute:
        """Give the route of a method and a path, written as policies write it: `/orders/{id}`, `/files/**`.

        It fits whatever ends with that path; one that names no segment, `/` or `/{id}`, fits the whole path alone,
        below the base URL where there is one. Asked for twice, it is the same route: what is planned then is added.

        Raises:
            ValueError: the path does not begin with a slash.
        """
        if not path.startswith("/"):
            raise ValueError(
                f"a route's path begins with a slash (got {path!r}); the host and the base path go into base_url"
            )
        return self._mock.route(self, method, path)

    def get(self, path: str) -> MockedRoute:
        """Give the route of GET; see `request`."""
        return self.request("GET", path)

    def post(self, path: str) -> MockedRoute:
        """Give the route of POST; see `request`."""
        return self.request("POST", path)

    def put(self, path: str) -> MockedRoute:
        """Give the route of PUT; see `request`."""
        return self.request("PUT", path)

    def patch(self, path: str) -> MockedRoute:
        """Give the route of PATCH; see `request`."""
        return self.request("PATCH", path)

    def delete(self, path: str) -> MockedRoute:
        """Give the route of DELETE; see `request`."""
        return self.request("DELETE", path)


@dataclass
class _Planned:
    """A reply that is to come."""

    said: str  # as the test said it
    make: Callable[[httpx.Request], httpx.Response]
    left: float  # how often it is still to come


class MockedRoute:
    """One route of an API, and its plan. Each method adds to the plan and gives the route back, so that they chain."""

    def __init__(self, api: MockedApi, method: str, path: str) -> None:
        base = api.base_url
        self.policy = api.policy
        self.calls: list[Call] = []
        """What came, in order: respx's records, each with its `request` and, where there was one, its `response`, in httpx's classes."""
        self._asserts_all_called = api.asserts_all_called
        self._base = base
        self._name = f"{method} {path}"
        whole = f"{'' if base is None else base.path}{path}"
        self._routes = Routes([f"{method} {whole}"])
        # Any path ends with "/", and any but that with "/{id}".
        self._size = len(_segments(whole)) if all(map(_is_placeholder, _segments(path))) else None
        self._plan: list[_Planned] = []

    @property
    def call_count(self) -> int:
        """How many requests came."""
        return len(self.calls)

    def fails(self, error: str | int, *, times: int = 1, **words: Unpack[Words]) -> Self:
        """Answer with one of the API's errors.

        Args:
            error: a rule's name, the API's code, or a status; see `error_response`.
            times: how often.
            words: what is to be different from the policy's example; see `error_response`.

        Raises:
            PolicyError: the policy has no such error; the message names the nearest.
            ValueError: `times` is below 1, or an earlier reply goes on for ever.
        """
        return self._add(_said("fails", error, words), _failer(self.policy, error, words), times)

    def always_fails(self, error: str | int, **words: Unpack[Words]) -> Self:
        """Answer with one of the API's errors from now on; see `fails`."""
        return self._add(_said("always_fails", error, words), _failer(self.policy, error, words), math.inf)

    def raises(self, error: Exception | type[Exception], *, times: int = 1) -> Self:
        """Fail as the network does: `raises(httpx.ReadTimeout)`.

        Each client gets its own library's exception, `httpx2.ReadTimeout` where it is of httpx2's, whichever is named here.

        Raises:
            ValueError: `times` is below 1, or an earlier reply goes on for ever.
        """
        return self._add(f"raises({_named(error)})", _raiser(error), times)

    def always_raises(self, error: Exception | type[Exception]) -> Self:
        """Fail as the network does from now on."""
        return self._add(f"always_raises({_named(error)})", _raiser(error), math.inf)

    def returns(
        self,
        status: int = 200,
        *,
        times: int = 1,
        json: Any = None,
        text: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Answer with a reply of your own; what it takes is `httpx.Response`'s.

        Raises:
            ValueError: `times` is below 1, or an earlier reply goes on for ever.
        """
        return self._add(f"returns({status})", _replier(status, json, text, headers), times)

    then = returns
    """The same, for what comes after a failure: `.fails("INTERNAL").then(200)`."""

    def always_returns(
        self,
        status: int = 200,
        *,
        json: Any = None,
        text: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Answer with a reply of your own from now on."""
        return self._add(f"always_returns({status})", _replier(status, json, text, headers), math.inf)

    def _add(self, said: str, make: Callable[[httpx.Request], httpx.Response], times: float) -> Self:
        if times < 1:
            raise ValueError(f"{self}: a reply comes once or more often (got times={times!r})")
        if self._plan and self._plan[-1].left == math.inf:
            raise ValueError(f"{self}: nothing comes after {self._plan[-1].said}, which goes on for ever")
        self._plan.append(_Planned(f"{said} {times} times" if 1 < times < math.inf else said, make, times))
        return self

    # ------------------------------------------------------------------------------ what ApiMock asks of its routes

    @property
    def is_anywhere(self) -> bool:
        """Whether any host will do."""
        return self._base is None

    def is_same(self, other: MockedRoute) -> bool:
        """Tell whether two routes are of one API, and written alike."""
        return self.policy is other.policy and (self._name, self._base) == (other._name, other._base)

    def fits(self, request: httpx.Request) -> bool:
        """Tell whether a request is for this route."""
        base, url = self._base, request.url
        here = base is None or (base.scheme, base.host, base.port) == (url.scheme, url.host, url.port)
        sized = self._size is None or self._size == len(_segments(url.path))
        return here and sized and self._routes.match(request.method, url.path)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer with what is planned next.

        Raises:
            AssertionError: all that was planned has come already.
            Exception: the one that is planned.
        """
        self.calls.append(Call(request, None))
        planned = next((planned for planned in self._plan if planned.left), None)
        if planned is None:
            raise AssertionError(
                f"api_mock: {self} was called {self.call_count} time(s), more often than planned\n"
                f"  planned: {', '.join(planned.said for planned in self._plan) or 'nothing'}\n"
                f"  came:    {', '.join(_shown(call.request) for call in self.calls)}"
            )
        planned.left -= 1
        response = planned.make(request)
        self.calls[-1] = Call(request, response)
        return response

    def left_over(self) -> list[str]:
        """Tell, in a line, what was planned and did not come; in none where there is nothing to tell."""
        # What goes on for ever may come any number of times, but the route must be called at all.
        unused = [
            planned.said
            for planned in self._plan
            if planned.left and (planned.left < math.inf or not self.calls)
        ]
        if not self._asserts_all_called or (self.calls and not unused):
            return []
        came = f"was called {self.call_count} time(s)" if self.calls else "was never called"
        return [f"{self} {came}; planned and not used: {', '.join(unused) or 'nothing'}"]

    def __str__(self) -> str:
        return f"{self._name} ({self.policy.api}{'' if self._base is None else f' at {self._base}'})"

    def __repr__(self) -> str:
        return f"<MockedRoute {self}>"


class _Router(respx.MockRouter):
    """A router that asks one function, instead of routes of its own."""

    def __init__(
        self,
        answer: Callable[[httpx.Request], httpx.Response],
        remember: Callable[[httpx.Request, AssertionError], None],
    ) -> None:
        super().__init__(using="httpcore", assert_all_called=False)
        self._answer = answer
        self._remember = remember

    def _later(self) -> list[respx.Router]:
        """List the routers that respx asks after this one: those before it did not know the request."""
        routers = [] if self.Mocker is None else list(self.Mocker.routers)
        return routers[routers.index(self) + 1 :] if self in routers else []

    # respx does not tell a router whether another one has answered, so this one asks them itself.

    def handler(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._answer(request)
        except AllMockedAssertionError as error:
            unknown = error
        for router in self._later():
            with suppress(AllMockedAssertionError):
                return router.handler(request)
        self._remember(request, unknown)
        raise unknown

    async def async_handler(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._answer(request)
        except AllMockedAssertionError as error:
            unknown = error
        for router in self._later():
            with suppress(AllMockedAssertionError):
                return await router.async_handler(request)
        self._remember(request, unknown)
        raise unknown


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _is_placeholder(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}")


def _checked(base_url: str | None) -> httpx.URL | None:
    if base_url is None:
        return None
    url = httpx.URL(base_url)
    if not url.scheme or not url.host:
        raise ValueError(f"base_url is a whole URL, https://host/base (got {base_url!r})")
    return url


def _unknown(request: httpx.Request, routes: list[MockedRoute]) -> AllMockedAssertionError:
    known = "".join(f"\n  {route}" for route in routes)
    return AllMockedAssertionError(f"api_mock: no route for {_shown(request)}; there are:{known or ' none'}")


def _shown(request: httpx.Request) -> str:
    # Without the query: its values can be secrets.
    return f"{request.method} {request.url.copy_with(query=None)}"


def _said(method: str, error: str | int, words: Words) -> str:
    return f"{method}({', '.join([repr(error), *(f'{name}={value!r}' for name, value in words.items())])})"


def _named(error: Exception | type[Exception]) -> str:
    return error.__name__ if isinstance(error, type) else repr(error)


def _failer(policy: Policy, error: str | int, words: Words) -> Callable[[httpx.Request], httpx.Response]:
    error_response(policy, error, **words)  # a slip is told here, and not where the request comes
    return lambda _request: error_response(policy, error, **words)


def _raiser(error: Exception | type[Exception]) -> Callable[[httpx.Request], httpx.Response]:
    def made() -> Exception:
        return error("planned by the test") if isinstance(error, type) else error

    def fail(_request: httpx.Request) -> httpx.Response:
        raise as_host(made())

    made()  # a slip is told here, and not where the request comes
    return fail


def _replier(
    status: int, json: Any, text: str | None, headers: Mapping[str, str] | None
) -> Callable[[httpx.Request], httpx.Response]:
    def reply(_request: httpx.Request | None = None) -> httpx.Response:
        return httpx.Response(status, json=json, text=text, headers=headers)

    reply()  # a slip is told here, and not where the request comes
    return reply
