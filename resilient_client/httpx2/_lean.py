# Written by tests/twin.py from resilient_client/_lean.py: what is to be changed here is changed there.
"""The short way through httpx2's client: what it would do, without the work that this very call does not need.

httpx2 parses each address anew, copies the headers four times, and goes through cookies, an auth, redirects and hooks that nobody has
given it. A request that has none of these is built from what the one before it has
shown, and goes straight to its transport.

Law of this file: whatever is out of the ordinary goes httpx2's own way, and so does everything where somebody has put a method of
their own in the place of one that is passed by. What reaches the wire and what comes back are httpx2's to the byte, which
`tests/test_lean*.py` compare. A private name of httpx2's client stands here or in `_httpx2.py`.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from operator import attrgetter, is_
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
from httpx2 import _client as theirs
from httpx2._types import AuthTypes

from ._httpx2 import HOST

if TYPE_CHECKING:
    from httpx2._types import (
        CookieTypes,
        HeaderTypes,
        QueryParamTypes,
        RequestContent,
        RequestData,
        RequestExtensions,
        RequestFiles,
        TimeoutTypes,
    )

__all__ = ["UNSET", "AsyncBound", "AuthTypes", "Bound", "Lean", "UseClientDefault"]

UNSET = httpx2.USE_CLIENT_DEFAULT
UseClientDefault = theirs.UseClientDefault
Bound, AsyncBound = theirs.BoundSyncStream, theirs.BoundAsyncStream  # they know how long a response took

_LOGGER = logging.getLogger("httpx2")
_MOST = 256  # addresses that a client remembers: their queries may hold secrets
_LONGEST = 1024  # characters of one of them
_PASSED_BY = frozenset(
    [
        "_merge_url",
        "_merge_headers",
        "_merge_cookies",
        "_merge_queryparams",
        "_set_timeout",
        "_build_request_auth",
        "_send_handling_auth",
        "_send_handling_redirects",
        "_send_single_request",
    ]
)


# Instrumentation replaces them on httpx2's class, on one below it, or on a single client, before this library is loaded or later.
_replaced_above = attrgetter("build_request", "send")
_replaced_below = attrgetter(*sorted(_PASSED_BY))


def _originals(host: Any) -> tuple[object, ...] | None:
    """Give the methods that httpx2 wrote; None where one of them has been replaced already."""
    methods = (*_replaced_above(host), *_replaced_below(host))
    for method in methods:
        if type(method) is not FunctionType or method.__code__.co_filename != theirs.__file__:
            return None
    return methods


_ORIGINAL = {host: _originals(host) for host in (httpx2.Client, httpx2.AsyncClient)}


_EXTRACT = httpx2.Cookies.extract_cookies
_JAR = type(httpx2.Cookies().jar)


class _Known(NamedTuple):
    """What a client remembers of an address."""

    base_url: httpx2.URL  # that it was merged with
    url: httpx2.URL
    given: (
        list[tuple[bytes, bytes]] | None
    )  # the client's own headers, where a request without a body has been built of them
    headers: httpx2.Headers | None  # what became of them in it


class Lean(theirs.BaseClient):
    """The short way, as far as threads and tasks go it alike."""

    _resilient_over: type[
        httpx2.Client | httpx2.AsyncClient
    ]  # a name that no subclass takes for something of its own
    _known: dict[tuple[str, str], _Known]  # by method and address
    _bare: dict[
        tuple[str, bytes], tuple[list[tuple[bytes, bytes]], httpx2.Headers]
    ]  # the last two of these, by method and host

    def build_request(  # noqa: PLR0913 - httpx2's own
        self,
        method: str,
        url: httpx2.URL | str,
        *,
        content: RequestContent | None = None,
        data: RequestData | None = None,
        files: RequestFiles | None = None,
        json: Any | None = None,
        params: QueryParamTypes | None = None,
        headers: HeaderTypes | None = None,
        cookies: CookieTypes | None = None,
        timeout: TimeoutTypes | UseClientDefault = UNSET,
        extensions: RequestExtensions | None = None,
    ) -> httpx2.Request:
        """Build a request, as `httpx2.Client.build_request` does."""
        is_short = (
            type(url) is type(method) is str
            and len(url) <= _LONGEST
            and params is None
            and not (cookies or self.params or self.cookies)
            and self._is_httpxs_own()
        )
        if not is_short:
            return super().build_request(
                method,
                url,
                content=content,
                data=data,
                files=files,
                json=json,
                params=params,
                headers=headers,
                cookies=cookies,
                timeout=timeout,
                extensions=extensions,
            )
        key: Any = method, url
        is_bare = headers is None and content is None and data is None and files is None and json is None
        base_url, given = self.base_url, self.headers.raw
        known = self._known.get(key)
        is_new = known is None or known.base_url is not base_url
        if known is None or is_new:
            merged = self._merge_url(url)
            known = _Known(base_url, merged, *self._bare.get((method, merged.netloc), (None, None)))
        if not is_bare:
            own = self._merge_headers(headers)
        elif known.headers is None or known.given != given:
            own = httpx2.Headers(given)
        else:
            own = known.headers
        extensions = {} if extensions is None else extensions
        if "timeout" not in extensions:
            timeouts = self.timeout if isinstance(timeout, UseClientDefault) else httpx2.Timeout(timeout)
            extensions = dict(**extensions, timeout=timeouts.as_dict())
        if own is known.headers:
            bare = httpx2.Request(
                method, known.url, headers=own, stream=httpx2.ByteStream(b""), extensions=extensions
            )
            bare.read()
            if is_new:
                self._remember(key, known)
            return bare
        request = httpx2.Request(
            method,
            known.url,
            content=content,
            data=data,
            files=files,
            json=json,
            headers=own,
            extensions=extensions,
        )
        if is_bare:  # made of nothing but the client's own headers and address
            headers_of = httpx2.Headers(request.headers)
            known = known._replace(given=given, headers=headers_of)
            if len(self._bare) >= _MOST:
                self._bare = {}
            self._bare[method, known.url.netloc] = given, headers_of
        self._remember(key, known)
        return request

    def _remember(self, key: tuple[str, str], known: _Known) -> None:
        if self.base_url is known.base_url:
            if len(self._known) >= _MOST and key not in self._known:
                self._known = {}
            self._known[key] = known

    def _is_httpxs_own(self) -> bool:
        """Tell whether the methods that are passed by are httpx2's."""
        originals = _ORIGINAL[self._resilient_over]
        # What wraps a method may well be equal to it.
        return (
            originals is not None
            and all(
                map(is_, (*_replaced_above(self._resilient_over), *_replaced_below(type(self))), originals)
            )
            and _PASSED_BY.isdisjoint(self.__dict__)
        )

    def _goes_straight(self, request: httpx2.Request, auth: AuthTypes | UseClientDefault | None) -> bool:
        """Tell whether a request has nothing to go through on its way to its transport; it sets out then."""
        hooks, parts = self._event_hooks, HOST.parts_of(request.url)
        if (
            self._state is theirs.ClientState.CLOSED
            or not (auth is None or (self._auth is None and isinstance(auth, UseClientDefault)))
            or hooks["request"]
            or hooks["response"]
            or not parts[0]  # the cookie jar refuses what has no scheme
            or parts[1]  # the name and the password of an auth
            or self.max_redirects < 0
            or not self._is_httpxs_own()
        ):
            return False
        self._state = theirs.ClientState.OPENED
        if "timeout" not in request.extensions:
            self._set_timeout(request)
        return True

    def _arrived(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """Do with a response what httpx2 does with each."""
        response.request = request
        response.history = []
        response.default_encoding = self._default_encoding
        cookies, headers = self.cookies, response.headers
        if (
            "set-cookie" in headers
            or "set-cookie2" in headers
            or type(cookies.jar) is not _JAR
            or type(cookies) is not httpx2.Cookies
            or len(vars(cookies)) > 1  # a method of its own
            or httpx2.Cookies.extract_cookies is not _EXTRACT
        ):
            cookies.extract_cookies(response)
        if _LOGGER.isEnabledFor(logging.INFO):
            _LOGGER.info(
                'HTTP Request: %s %s "%s %d %s"',
                request.method,
                request.url,
                response.http_version,
                response.status_code,
                response.reason_phrase,
            )

    def _redirected(
        self,
        request: httpx2.Request,
        response: httpx2.Response,
        follow_redirects: bool | UseClientDefault,  # noqa: FBT001 - httpx2's own
    ) -> httpx2.Request | None:
        """Build the request that a redirect asks for, and give it where it is to be sent at once."""
        if self.follow_redirects if isinstance(follow_redirects, UseClientDefault) else follow_redirects:
            return self._build_redirect_request(request, response)
        with suppress(httpx2.RemoteProtocolError):
            response.next_request = self._build_redirect_request(request, response)
        return None
