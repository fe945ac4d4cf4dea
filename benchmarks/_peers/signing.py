"""Scenarios: what a second attempt is signed with, and who fetches a token."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import httpx
from loopback import Loopback, page

from resilient_client import HmacAuth, TokenAuth
from resilient_client.sandbox import Sandbox, Schedule

from .clients import HttpxPeer, Wishes
from .observe import NONE, OK, ending, noted_waits, scenario

if TYPE_CHECKING:
    from collections.abc import Generator

    from loopback import Exchange

    from .clients import Peer

GROUP = "Signatures and tokens"
CALLERS = 20
PATIENCE = 5.0  # seconds that the callers are waited for


def signed_call(peer: Peer, fault: str) -> str:
    """Tell how often a signed GET is sent that fails so once, with how many nonces, and how the call ends."""
    troubles = Schedule().add("GET /v1/codes", [fault])
    with (
        noted_waits(),
        Sandbox("zerotrace", faults=troubles) as api,
        peer.open(Wishes(policy="zerotrace")) as session,
    ):
        _, end = ending(peer, session, "GET", f"{api.base_url}/v1/codes", auth=HmacAuth(api.key, api.secret))
        nonces = {seen.nonce for seen in api.state.requests}
        return f"{len(api.state.requests)} sent, {len(nonces)} nonce{'s' * (len(nonces) > 1)}: {end}"


@scenario(
    GROUP,
    "signed, 503",
    'A signed GET to an API that takes no nonce twice (`Sandbox("zerotrace")`) is answered 503 once. The signer is this library\'s '
    "`HmacAuth` for all: an `httpx.Auth`, whose headers are copied for what is not over httpx.",
)
def nonce_after_503(peer: Peer) -> str:
    """Fail once for a reason that has nothing to do with the signature."""
    return signed_call(peer, "UPSTREAM_ERROR")


@scenario(
    GROUP,
    "signed, 401 code 3",
    "The same API answers 401 with code 3 once. Its page has the client sign again under a new nonce, once; a 401 with code 4 is final.",
)
def nonce_after_401(peer: Peer) -> str:
    """Refuse the signature once."""
    return signed_call(peer, "AUTH_INVALID")


class Refreshing(httpx.Auth):
    """What httpx's documentation shows (Advanced, Authentication): a 401 fetches another token, once."""

    requires_response_body = True

    def __init__(self, login: str) -> None:
        self._login = login
        self._token = "none"  # noqa: S105 - not yet

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send with the token, and once more with another."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == 401:
            answer = yield httpx.Request("POST", self._login)
            self._token = answer.json()["token"]
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


class Bank:
    """A server that gives a token to whoever asks, and can end the one that everybody holds."""

    def __init__(self) -> None:
        self.issued = 0
        self.dead = ""
        self._met = threading.Barrier(CALLERS)
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        held = exchange.headers.get("authorization", "").removeprefix("Bearer").strip()
        if exchange.target == "/login":
            with self._lock:
                self.issued += 1
                token = f"t{self.issued}"
            exchange.say(page(200, json.dumps({"token": token}).encode()))
        elif held in {"none", self.dead}:
            if held == self.dead:
                self._met.wait(PATIENCE)  # so that all of them have sent the dead one
            exchange.say(page(401, b'{"error": {"code": "TOKEN_EXPIRED", "message": "log in"}}'))
        else:
            exchange.say(OK)


@scenario(
    GROUP,
    f"{CALLERS} callers, one dead token",
    f"{CALLERS} calls at once meet a token that has just ended: how often one of them signs in. This library with its `TokenAuth`; the "
    "others over httpx with the refreshing auth of httpx's documentation, which works above them.",
)
def sign_ins(peer: Peer) -> str:
    """End the token that everybody holds."""
    if not isinstance(peer, HttpxPeer):
        return NONE
    bank = Bank()
    with Loopback(bank) as server, peer.open(Wishes(policy="customer_verification")) as session:
        login = f"{server.url}/login"
        ours = peer.name == "resilient-client"
        auth = TokenAuth(httpx.Request("POST", login)) if ours else Refreshing(login)
        session.send("GET", server.url, auth=auth)
        bank.dead, before = f"t{bank.issued}", bank.issued
        session.together(CALLERS, "GET", server.url, auth=auth)
        return str(bank.issued - before)
