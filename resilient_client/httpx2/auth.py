# Written by tests/twin.py from resilient_client/auth.py: what is to be changed here is changed there.
"""Signing and tokens: `httpx2.Auth`s that a resilient transport runs again for each further attempt.

An auth takes part by leaving itself in `request.extensions["resilience.auth"]`, naming the headers that it sets in `headers`, and
saying in `renews` what it makes anew ("nonce", "token"). Under a plain httpx2 transport it works as any auth does.
"""

from __future__ import annotations

import httpx2

from ._httpx2 import HOST
from resilient_client._signing import Signing
from resilient_client._token import Token

__all__ = ["HmacAuth", "TokenAuth"]


class HmacAuth(Signing[httpx2.Request], httpx2.Auth):
    """Sign the exact bytes of the body, with a nonce that is never used twice.

    The signature is the lower-case hex HMAC of the body as it goes on the wire, keyed with the secret; an empty body signs as zero
    bytes, and the nonce is not part of what is signed. The defaults are 0trace's (https://0trace.io/api/authentication).

    Args:
        key: the public half of the credentials, sent as it is.
        secret: the private half, text or bytes; it never leaves this object.
        digest: a hash of `hashlib`'s, by name.
        key_header, sign_header, nonce_header: the headers to set.
        nonce: makes a nonce; 32 random hex characters when left out.
        message: gives the bytes to sign from the request and its nonce, for an API that signs more than the body.

    Raises:
        ValueError: the key or the secret is missing, or there is no such digest.
    """


class TokenAuth(Token[httpx2.Request, httpx2.Response], httpx2.Auth):
    """Carry a token that is signed in for when there is none, and again when it ends or the API calls it dead.

    However many threads and tasks meet a dead token, one of them signs in and the others wait for it. A token's end is known from its
    JWT `exp`, or from `lifetime`, and judged by the transport's clock; it is renewed `leeway` seconds before (at most a tenth of its
    life). The sign-in itself carries no token, and a 401 that answers it ends the call.

    Args:
        login: the request that signs in, with an absolute URL, or a callable that makes one.
        token: where the token is in the answer: a JSON pointer, or a callable on the response.
        lifetime: seconds that a token lives which does not say so itself.
        leeway: seconds before its end at which a token is renewed.
        header, scheme: how the token is sent; `Authorization: Bearer …` when left out.
        shared: a store through which processes share the token, encrypted: one signs in, and the others take what it got.
        shared_as: whose token it is, a name for the account: all who share a store and this name share one token.

    Raises:
        TypeError, ValueError: login, token, lifetime or shared_as cannot be used, or the store has no `encryption_key`.
        ApiError: from the call that needed it: the sign-in was refused, or its answer holds no token.
    """

    _resilient_over = HOST
