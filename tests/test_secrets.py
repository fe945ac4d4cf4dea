"""No secret is seen: not in a log, a repr, an exception, an outcome or on stderr, even when the server says it back to us."""

from __future__ import annotations

import io
import json
import logging
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from loopback import Loopback, page

from resilient_client import (
    ApiError,
    HmacAuth,
    Policy,
    ResilientClient,
    ResilientTransport,
    TokenAuth,
    outcome_of,
    raise_for_status,
)
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

HMAC_SECRET = "hmacsecret-5d1f08aa"
API_KEY = "apikey-9b44e1c2"
TOKEN = "bearertoken-77aa21f0"
PASSWORD = "loginpassword-c0ffee42"
COOKIE = "cookievalue-1234abcd"
QUERY = "queryvalue-feedbeef"
USERINFO = "userinfo-deadbeef"
FIELD = "bodysecret-0badcafe"
EVERY = (HMAC_SECRET, API_KEY, TOKEN, PASSWORD, COOKIE, QUERY, USERINFO, FIELD)


def mock(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    return httpx.MockTransport(answer)


class Ear:
    """Hears all that a call leaves behind: logs with every extra, what it printed, what it raised and what it returned."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
        self.caplog = caplog
        self.capsys = capsys
        self.heard: list[str] = []
        caplog.set_level(logging.DEBUG, "resilient_client")

    def __call__(self, got: object) -> None:
        response = got if isinstance(got, httpx.Response) else None
        error = got if isinstance(got, BaseException) else None
        try:
            outcome = outcome_of(got)
        except LookupError:
            pass
        else:
            self.heard += [repr(outcome), str(outcome), repr(outcome.verdict), repr(outcome.attempts)]
        if response is not None and response.status_code >= 400:
            error = None
            try:
                raise_for_status(response)
            except ApiError as raised:
                error = raised
        if error is not None:
            self.heard += [str(error), repr(error), *getattr(error, "__notes__", ())]
            self.heard += traceback.format_exception_only(error)
        if isinstance(error, ApiError):
            self.heard += [
                json.dumps(error.log_record()),
                error.support_report(),
                repr(error.verdict),
                repr(error.outcome),
            ]
            self.heard += [
                str(value) for value in (error.code, error.field, error.request_id, error.cause, error.remedy)
            ]

    def everything(self) -> str:
        for record in self.caplog.records:
            if record.name.startswith("resilient_client"):
                self.heard += [record.getMessage(), json.dumps(vars(record), default=str)]
        captured = self.capsys.readouterr()
        return "\n".join([*self.heard, captured.out, captured.err])


@pytest.fixture
def ear(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Ear:
    return Ear(caplog, capsys)


def attempt(client: httpx.Client, *arguments: Any, **options: Any) -> object:
    try:
        return client.request(*arguments, **options)
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error


def told(heard: str, secret: str) -> list[str]:
    """Give the surroundings of each place where a secret is seen, so that a failure says where."""
    return [heard[max(0, at - 60) : at + 20] for at in range(len(heard)) if heard.startswith(secret, at)]


def echoing(
    where: str, status: int, secret_of: Callable[[httpx.Request], str]
) -> Callable[[httpx.Request], httpx.Response]:
    """Make a server that says a request's secret back to it, in a place of the test's choice."""

    def answer(request: httpx.Request) -> httpx.Response:
        secret = secret_of(request)
        bodies: dict[str, Any] = {
            "message": {"error": {"message": f"what is {secret} supposed to be?"}},
            "flat message": {"message": f"bad credentials: {secret}."},
            "code": {"error": {"code": secret}},
            "field": {"error": {"code": "x", "field": secret}},
            "details": {"error": {"code": "x", "details": {"got": [{"value": secret}], secret: 1}}},
            "named details": {
                "error": {"code": "x", "details": {"password": secret, "Authorization": secret}}
            },
            "request id": {"error": {"code": "x", "request_id": secret}},
        }
        headers = {"X-Request-Id": secret} if where == "request id header" else {}
        if where == "other header":
            headers = {
                "X-Echo": secret,
                "WWW-Authenticate": f'Bearer error="{secret}"',
                "Set-Cookie": f"s={secret}",
            }
        if where == "text":
            return httpx.Response(status, text=f"<html>{secret}</html>", headers=headers)
        return httpx.Response(status, json=bodies.get(where, {}), headers=headers)

    return answer


PLACES = [
    "message", "flat message", "code", "field", "details", "named details", "request id", "request id header", "other header",
    "text",
]  # fmt: skip


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("status", [401, 503])
@pytest.mark.parametrize("debug", [False, True])
def test_a_token_that_the_server_says_back_is_not_told(
    ear: Ear, where: str, status: int, *, debug: bool
) -> None:
    answer = echoing(where, status, lambda request: request.headers["authorization"].partition(" ")[2])
    with ResilientClient(clock=VirtualClock(), transport=mock(answer), debug=debug) as client:
        ear(attempt(client, "GET", "https://api.test/a", headers={"Authorization": f"Bearer {TOKEN}"}))
    assert told(ear.everything(), TOKEN) == []


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("header", ["X-API-KEY", "X-API-SIGN"])
def test_a_key_or_a_signature_that_the_server_says_back_is_not_told(
    ear: Ear, where: str, header: str
) -> None:
    secrets: set[str] = set()

    def secret_of(request: httpx.Request) -> str:
        secrets.add(request.headers[header])
        return request.headers[header]

    # Another signature for each attempt: the caller's own request carries the first, the last reply tells the last.
    auth = HmacAuth(API_KEY, HMAC_SECRET, message=lambda request, nonce: nonce.encode() + request.content)
    with ResilientClient(
        "default", clock=VirtualClock(), transport=mock(echoing(where, 503, secret_of)), auth=auth
    ) as client:
        ear(attempt(client, "GET", "https://api.test/a"))
    heard = ear.everything()
    assert {secret: told(heard, secret) for secret in secrets if secret in heard} == {}
    assert HMAC_SECRET not in heard


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("secret", [COOKIE, QUERY, USERINFO, PASSWORD])
def test_a_cookie_a_query_value_or_a_password_that_the_server_says_back_is_not_told(
    ear: Ear, where: str, secret: str
) -> None:
    with ResilientClient(
        clock=VirtualClock(),
        transport=mock(echoing(where, 503, lambda _: secret)),
        cookies={"sid": COOKIE},
        debug=True,
    ) as client:
        ear(
            attempt(
                client,
                "GET",
                f"https://user:{USERINFO}@api.test/a",
                params={"api_key": QUERY},
                headers={"X-Password": PASSWORD},
            )
        )
    assert told(ear.everything(), secret) == []


@pytest.mark.parametrize("where", PLACES)
def test_a_password_of_the_body_that_the_server_says_back_is_not_told(ear: Ear, where: str) -> None:
    with ResilientClient(
        clock=VirtualClock(), transport=mock(echoing(where, 422, lambda _: FIELD)), debug=True
    ) as client:
        ear(attempt(client, "POST", "https://api.test/a", json={"user": "me", "password": FIELD}))
    assert told(ear.everything(), FIELD) == []


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("form", [False, True])
def test_the_password_of_a_login_that_is_refused_is_not_told(ear: Ear, where: str, *, form: bool) -> None:
    body: dict[str, Any] = {"data" if form else "json": {"user": "me", "password": PASSWORD}}
    auth = TokenAuth(httpx.Request("POST", "https://api.test/login", **body))
    transport = mock(echoing(where, 403, lambda _: PASSWORD))
    with ResilientClient(clock=VirtualClock(), transport=transport, auth=auth, debug=True) as client:
        ear(attempt(client, "GET", "https://api.test/a"))
    assert told(ear.everything(), PASSWORD) == []


def test_the_password_of_basic_auth_is_not_told_when_the_server_decodes_it(ear: Ear) -> None:
    transport = mock(echoing("flat message", 401, lambda _: PASSWORD))
    with ResilientClient(clock=VirtualClock(), transport=transport, auth=("user", PASSWORD)) as client:
        ear(attempt(client, "GET", "https://api.test/a"))
    assert told(ear.everything(), PASSWORD) == []


def test_a_token_in_the_answer_of_a_login_that_cannot_be_used_is_not_told(ear: Ear) -> None:
    said = {"token": [TOKEN], "access_token": TOKEN, "refresh_token": f"{TOKEN}-2"}
    auth = TokenAuth(httpx.Request("POST", "https://api.test/login"))
    with ResilientClient(
        clock=VirtualClock(), transport=mock(lambda _: httpx.Response(200, json=said)), auth=auth, debug=True
    ) as client:
        ear(attempt(client, "GET", "https://api.test/a"))
    assert told(ear.everything(), TOKEN) == []


def everywhere(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/login":
        return httpx.Response(200, json={"token": TOKEN})
    if request.url.path == "/lost":
        raise httpx.ReadTimeout("too slow")
    if request.url.path == "/good":
        return httpx.Response(200, json={"token": TOKEN}, headers={"Set-Cookie": f"s={COOKIE}"})
    return httpx.Response(503, json={"error": {"code": "x", "message": "no"}})


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("path", ["/bad", "/lost", "/good"])
@pytest.mark.parametrize("kind", ["hmac", "token"])
def test_nothing_that_was_given_in_confidence_is_told_of_any_call(
    ear: Ear, *, debug: bool, path: str, kind: str
) -> None:
    login = httpx.Request("POST", "https://api.test/login", json={"password": PASSWORD})
    auth = HmacAuth(API_KEY, HMAC_SECRET) if kind == "hmac" else TokenAuth(login)
    with ResilientClient(
        clock=VirtualClock(),
        transport=mock(everywhere),
        auth=auth,
        cookies={"sid": COOKIE},
        debug=debug,
        deadline=100,
    ) as client:
        ear(
            attempt(
                client,
                "PUT",
                f"https://user:{USERINFO}@api.test{path}",
                params={"q": QUERY},
                json={"client_secret": FIELD, "password": PASSWORD},
            )
        )
        ear.heard += [
            repr(client),
            repr(auth),
            str(auth),
            repr(client._transport),
            repr(client._transport.__dict__),
        ]
    heard = ear.everything()
    assert {secret: told(heard, secret) for secret in EVERY if secret in heard} == {}


def test_debug_shows_each_request_and_each_response_without_what_is_secret(ear: Ear) -> None:
    with ResilientClient(
        clock=VirtualClock(), transport=mock(everywhere), auth=HmacAuth(API_KEY, HMAC_SECRET), debug=True
    ) as client:
        client.put(
            "https://api.test/bad",
            params={"q": QUERY},
            json={"password": PASSWORD},
            headers={"X-Mine": "seen"},
        )
    shown = ear.capsys.readouterr().err
    assert shown.count("PUT") >= 5
    assert shown.count("503") >= 5
    assert all(secret not in shown for secret in EVERY)


@pytest.mark.parametrize("header", ["X-API-KEY", "Authorization", "X-Auth-Token"])
def test_a_secret_with_a_newline_in_it_is_not_told_by_the_refusal_to_send_it(ear: Ear, header: str) -> None:
    with Loopback(page(200)) as server, ResilientClient(clock=VirtualClock(), debug=True) as client:
        got = attempt(client, "GET", server.url, headers={header: f"{TOKEN}\n"})
        assert isinstance(got, Exception)
        ear(got)
    assert told(ear.everything(), TOKEN) == []


def test_a_proxys_password_is_not_told_when_the_proxy_cannot_be_reached(ear: Ear) -> None:
    with ResilientClient(
        clock=VirtualClock(), proxy=f"http://user:{USERINFO}@127.0.0.1:9", trust_env=False
    ) as client:
        ear(attempt(client, "GET", "http://api.test/a"))
        ear.heard += [repr(client), repr(client._mounts)]
    assert told(ear.everything(), USERINFO) == []


def test_an_idempotency_key_that_is_refused_and_options_that_are_wrong_tell_no_secret(ear: Ear) -> None:
    with ResilientClient("zerotrace", clock=VirtualClock(), transport=mock(everywhere)) as client:
        for options in ({"idempotency_key": "x"}, {"idempotency_key": 5}, {"wrong": TOKEN}, {"deadline": -1}):
            got = attempt(
                client,
                "POST",
                "https://api.test/v1/create",
                headers={"Authorization": TOKEN},
                params={"q": QUERY},
                extensions={"resilience": options},
            )
            assert isinstance(got, ValueError | TypeError)
            ear(got)
    heard = ear.everything()
    assert QUERY not in heard
    assert TOKEN not in heard


def test_a_redirects_target_tells_no_secret_of_its_query(ear: Ear) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/a":
            return httpx.Response(302, headers={"Location": f"/b?signature={QUERY}"})
        return httpx.Response(404)

    with ResilientClient(
        clock=VirtualClock(), transport=mock(answer), follow_redirects=True, debug=True
    ) as client:
        ear(attempt(client, "GET", "https://api.test/a"))
    assert told(ear.everything(), QUERY) == []


# -------------------------------------------------------------------------------------------------- one line

BREAKS = [
    "\n",
    "\r\n",
    "\r",
    "\v",
    "\f",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x85",
    "\u2028",
    "\u2029",
    "\x1b[2K",
    "\x00",
    "\x9b2K",
]
FORGED = "2026-01-01 CRITICAL root: forged"


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("where", ["message", "code", "field", "request id", "details", "path"])
def test_a_server_or_a_path_cannot_forge_a_line_of_a_log(ear: Ear, where: str, broken: str) -> None:
    evil = f"x{broken}{FORGED}"
    document: dict[str, Any] = {"error": {"code": "c", "message": "m"}}
    if where != "path":
        document["error"] |= {{"request id": "request_id"}.get(where, where): evil}
    transport = mock(lambda _: httpx.Response(503, json=document))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter(
            "%(levelname)s %(message)s %(endpoint)s %(requestId)s %(errorCode)s %(errorMessage)s %(field)s"
        )
    )
    handler.addFilter(lambda record: hasattr(record, "requestId"))
    logger = logging.getLogger("resilient_client")
    logger.addHandler(handler)
    try:
        with ResilientClient(clock=VirtualClock(), transport=transport, debug=True) as client:
            path = quote(f"/x{broken}{FORGED}") if where == "path" else "/a"
            response = client.get(f"https://api.test{path}")
    finally:
        logger.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6, lines  # five attempts, one end
    assert all(line.startswith(("DEBUG ", "WARNING ")) for line in lines)
    with pytest.raises(ApiError) as caught:
        raise_for_status(response)
    assert len(str(caught.value).splitlines()) == 1
    for line in [*caught.value.support_report().splitlines(), *ear.capsys.readouterr().err.splitlines()]:
        assert not line.lstrip().startswith(FORGED)
    for text in (stream.getvalue(), str(caught.value), caught.value.support_report()):
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert "\x00" not in text


def test_the_note_of_a_lost_call_is_one_line(ear: Ear) -> None:
    def lost(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no\n{FORGED}")

    with ResilientClient(clock=VirtualClock(), transport=mock(lost), debug=True) as client:
        got = attempt(client, "GET", f"https://api.test/a%0A{FORGED.replace(' ', '%20')}")
    assert isinstance(got, httpx.ConnectError)
    assert [len(note.splitlines()) for note in got.__notes__] == [1]
    for record in ear.caplog.records:
        if record.name == "resilient_client":
            assert len(record.getMessage().splitlines()) == 1


def test_a_message_of_megabytes_makes_no_line_of_megabytes(ear: Ear) -> None:
    policy = Policy.model_validate(
        {
            "api": "wide",
            "envelope": {"message": "/m", "code": "/c", "field": "/f", "request_id": "/i"},
            "limits": {"body": 10**7},
        }
    )
    text = "m" * 1_000_000
    document = {"m": text, "c": text, "f": text, "i": text}
    transport = ResilientTransport(
        policy, mock(lambda _: httpx.Response(404, json=document)), clock=VirtualClock()
    )
    with httpx.Client(transport=transport) as client:
        response = client.get("https://api.test/a")
    with pytest.raises(ApiError) as caught:
        raise_for_status(response)
    assert len(str(caught.value)) < 10_000
    assert len(caught.value.support_report()) < 20_000
    assert all(len(record.getMessage()) < 10_000 for record in ear.caplog.records)
