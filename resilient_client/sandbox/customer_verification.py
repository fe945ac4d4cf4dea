"""The Customer Verification API: its state and its rules, with no socket and no clock.

The vendor publishes its errors and little else. What that page leaves open is decided here, on the strict side, and
said in the docstring of `CustomerVerification`.

Source: vendor's reference page "Error codes".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from resilient_client.sandbox._api import Api, Faults, RefusedError, Reply, Request
from resilient_client.sandbox._budget import RollingBudget
from resilient_client.sandbox._customer_fields import (
    IDENTITY,
    check_format,
    checked_customer,
    checked_document,
    document_of,
    invalid,
)
from resilient_client.sandbox._host import host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from resilient_client._libraries import LibraryName

State = Literal["NEW", "UNDER_REVIEW", "APPROVED", "NEEDS_ADDITIONAL_INFORMATION"]

KEY_LENGTH = range(1, 255 + 1)  # characters of an Idempotency-Key
PAGE_SIZE = range(1, 100 + 1)  # customers that a list may be asked for
WEBHOOK_AGE = 300.0  # seconds that the timestamp of a webhook may be away

_SIGN_IN = "POST /auth/token"
_CHECK = "POST /webhooks/check"
# They change no customer: any scope will do, and no result is kept for their keys.
_WITHOUT_EFFECT = frozenset({_SIGN_IN, _CHECK})
# Turned away before the budget is looked at, hence free when injected too.
_FREE = frozenset(
    {
        "AUTHENTICATION_FAILED",
        "TOKEN_EXPIRED",
        "INSUFFICIENT_PERMISSIONS",
        "SERVICE_UNAVAILABLE",
        "RATE_LIMIT_EXCEEDED",
    }
)

_OUR_FIELDS = ("id", "state", "createdAt")

# What the examples of the policy file cannot know: the part of `details` that differs from reply to reply.
_PARTICULAR = {
    "TOKEN_EXPIRED": re.compile(r"[0-9]{4}-\S+Z"),
    "RATE_LIMIT_EXCEEDED": re.compile(r"[0-9]+"),
    "INTERNAL_SERVER_ERROR": re.compile(r"req_\w+"),
}


@dataclass(slots=True)
class ApiKey:
    """A key of the account. A test that sets `revoked` has it refused, and the tokens that it signed in for with it."""

    key: str = field(repr=False)
    scopes: tuple[str, ...]
    revoked: bool = False


@dataclass(slots=True)
class Token:
    """A JWT that was issued."""

    owner: ApiKey
    ends: int  # epoch seconds; the `exp` claim
    revoked: bool = False


@dataclass(slots=True)
class Document:
    """A document that was taken; of its content only the digest is kept."""

    id: str
    customer: str  # the id
    type: str
    format: str  # JPG, PNG, PDF
    size: int  # bytes, decoded
    digest: str  # SHA-256 of the decoded content, in hex
    idempotency_key: str | None
    at: float  # monotonic seconds of the sandbox's clock

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "customerId": self.customer,
            "type": self.type,
            "format": self.format,
            "size": self.size,
            "sha256": self.digest,
        }


@dataclass(slots=True)
class Customer:
    """A customer that exists: work that has taken effect."""

    id: str
    number: int  # from 1, in order of creation
    idempotency_key: str | None  # of the create
    at: float  # monotonic seconds of the sandbox's clock
    created: str  # ISO 8601, UTC
    fields: dict[str, str]  # what the caller has told, by the API's names
    state: State = "NEW"
    documents: list[Document] = field(default_factory=list)
    submitted: float = 0.0  # monotonic seconds of the newest submission, where there was one
    amended: bool = False  # told something new since the newest review ended

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of them."""
        return {"id": self.id, "state": self.state, "createdAt": self.created, **self.fields}


@dataclass(frozen=True, slots=True)
class Result:
    """What the first request with an idempotency key came to."""

    path: str
    fingerprint: str  # SHA-256 of the request's body, in hex
    reply: Reply


class CustomerVerification(Api):
    """The verification API, for one account with two keys: one may do everything, one may only read.

    Options: `limit` requests per rolling `per` seconds, `token_life` seconds of a JWT (its end is rounded up to a
    whole second), `honours_keys` (False: Idempotency-Key is ignored), `review` seconds after which a review ends in
    APPROVED by itself (None: only `conclude` ends it). `maintenance` may be set at any time.

    Requests are checked in this order: route, credentials, scope, `maintenance`, limit. Then the injected fault; then
    the work. Where the vendor's page leaves room:

    - A bearer token is judged before a key; only the sign-in wants the key itself. Whatever is not a GET asks for the
      WRITE scope, but for the sign-in and the check of a webhook.
    - Both keys share one limit, sign-ins included; a request that was turned away before or by the limit does not
      count. A RATE_LIMIT_EXCEEDED that is injected asks for 1 second unless told otherwise.
    - X-RateLimit-Reset is when the next request comes back to the budget: on a 429 the moment that Retry-After names,
      rounded up. Replies of something in front of the API (a page, a plain text) have neither these headers nor an
      X-Request-Id.
    - An Idempotency-Key has 1 to 255 characters, and belongs to the path and the bytes that it came with: the same
      again gives the first result again, byte for byte; anything else with it is RESOURCE_CONFLICT. A failure leaves
      its key free.
    - A customer has firstName, lastName, email and dateOfBirth, and may have phoneNumber, country (two letters) and
      postalCode, which needs the country; null is the same as left out. A field that is missing, unknown or no text,
      and a birth in the future, is VALIDATION_ERROR; a text that is written wrongly is INVALID_FIELD_FORMAT.
    - E-mail addresses are unique in the account, without regard to case.
    - PUT replaces the fields, PATCH merges them. `id`, `state` and `createdAt` may be sent along, as read; other
      values for them are RESOURCE_CONFLICT.
    - A document is DOCUMENT_QUALITY_INSUFFICIENT below 1024 bytes, and INVALID_DOCUMENT_FORMAT above ten million (10
      MB), or where it is not Base64 of a JPG, PNG or PDF by its first bytes. The same document may be uploaded twice.
    - A customer under review cannot be changed, given documents, or submitted: RESOURCE_CONFLICT. Neither can an
      approved one be submitted again. A submission without an identity document, or with nothing new since a review
      asked for more, is VERIFICATION_FAILED; that leaves the state as it is.
    - A webhook is signed with the lower-case hex HMAC-SHA256 of `<X-Webhook-Timestamp>.<raw body>` in
      X-Webhook-Signature; the timestamp is in epoch seconds.
    """

    name: ClassVar[str] = "customer_verification"
    base: ClassVar[str] = "/api/v1"
    unknown: ClassVar[str] = "RESOURCE_NOT_FOUND"
    throttles: ClassVar[frozenset[str]] = frozenset({"RATE_LIMIT_EXCEEDED"})
    unsent: ClassVar[frozenset[str]] = frozenset({"WEBHOOK_DELIVERY_FAILED"})

    def __init__(  # noqa: PLR0913 - each is one of the contract's figures, by keyword
        self,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        limit: int = 300,
        per: float = 60.0,
        token_life: float = 3600.0,
        honours_keys: bool = True,
        review: float | None = None,
    ) -> None:
        super().__init__(faults=faults)
        self._seed = seed
        key = ApiKey(f"sandbox-key-{self._made_up('key', 0)[:16]}", ("READ", "WRITE"))
        read_only = ApiKey(f"sandbox-key-{self._made_up('key', 1)[:16]}", ("READ",))
        self.keys: dict[str, ApiKey] = {each.key: each for each in (key, read_only)}
        self.tokens: dict[str, Token] = {}  # by JWT, in order of issue
        self.customers: dict[str, Customer] = {}  # by id, in order of creation
        self.documents: dict[str, Document] = {}  # by id, in order of upload
        self.results: dict[str, Result] = {}  # by idempotency key
        self.maintenance = False
        self._key, self._read_only_key = key.key, read_only.key
        self._jwt_secret = self._made_up("jwt-secret", 0).encode()
        self._webhook_secret = f"sandbox-secret-{self._made_up('webhook-secret', 0)[:32]}"
        self._token_life = token_life
        self._honours_keys = honours_keys
        self._review = review
        self._budget = RollingBudget(limit, per)
        self._by_email: dict[str, Customer] = {}  # in lower case
        self._in_order: list[Customer] = []
        self._replies = 0

    @property
    def credentials(self) -> Mapping[str, str]:
        """The account's two keys, and the secret that its webhooks are signed with."""
        return {
            "key": self._key,
            "read_only_key": self._read_only_key,
            "webhook_secret": self._webhook_secret,
        }

    def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Any]:
        """Carry a JWT, and sign in for it with the key."""
        http, resilient = host(library)
        login = http.Request("POST", f"{base_url}/auth/token", headers={"X-API-Key": self._key})
        return {"auth": resilient.TokenAuth(login, "/token")}

    def requests_spent(self, now: float) -> int:
        """Tell how many requests count against the limit `now` (monotonic seconds of the sandbox's clock)."""
        return self._budget.spent(now)

    def conclude(self, customer_id: str, state: State = "APPROVED") -> None:
        """End a review, as a reviewer would.

        Raises KeyError for a customer that is not there, ValueError for one that is not under review, or for a state
        that no review ends in.
        """
        customer = self.customers[customer_id]
        if customer.state != "UNDER_REVIEW":
            raise ValueError(f"{customer_id} is not under review but {customer.state}")
        if state not in {"APPROVED", "NEEDS_ADDITIONAL_INFORMATION"}:
            raise ValueError(f"a review ends in APPROVED or NEEDS_ADDITIONAL_INFORMATION (got {state!r})")
        customer.state = state
        customer.amended = False

    # --- who asks, and may they ask now

    def admit(self, route: str, request: Request, now: float) -> None:
        """Check all that comes before the work; see the order in the class's docstring."""
        if not self.known(route, request):
            raise RefusedError(
                self.unknown, message="Resource not found", details=f"Nothing answers to {route}"
            )
        owner = self._owner(route, request, now)
        reads = request.method == "GET" or route in _WITHOUT_EFFECT
        if ("READ" if reads else "WRITE") not in owner.scopes:
            raise RefusedError("INSUFFICIENT_PERMISSIONS")
        if self.maintenance:
            raise RefusedError("SERVICE_UNAVAILABLE")
        if wait := self._budget.wait(1, now):
            raise RefusedError("RATE_LIMIT_EXCEEDED", retry_after=wait)

    def charge(self, route: str, fault: str | None, now: float) -> None:  # noqa: ARG002 - each request counts as one
        """Count the request, unless the injected fault is one of those that come before the limit."""
        if fault is None or fault.partition(":")[0].partition("#")[0] not in _FREE:
            self._budget.spend(1, now)

    def _owner(self, route: str, request: Request, now: float) -> ApiKey:
        """Find out whose request it is."""
        bearer = request.bearer if route != _SIGN_IN else None
        if bearer is None:
            owner = self.keys.get(request.headers.get("x-api-key", ""))
            if owner is None or owner.revoked:
                raise RefusedError("AUTHENTICATION_FAILED")
            return owner
        token = self.tokens.get(bearer)  # only what was issued is in there: what is forged or altered is not
        if token is None or token.revoked or token.owner.revoked:
            raise RefusedError(
                "AUTHENTICATION_FAILED",
                message="Invalid token provided",
                details="The token was not issued here, was altered, or has been revoked",
            )
        if token.ends <= self.wall(now):
            raise RefusedError("TOKEN_EXPIRED")
        return token.owner

    # --- the work

    def work(self, route: str, request: Request, now: float) -> Reply:
        """Do what the route is for; a POST with a key only once."""
        do = self.routes[route]
        key = self.key_of(request)
        honoured = self._honours_keys and request.method == "POST" and route not in _WITHOUT_EFFECT
        if key is None or not honoured:
            return cast("Reply", do(self, request, now))
        if len(key) not in KEY_LENGTH:
            raise invalid("Idempotency-Key", "must have 1 to 255 characters")
        fingerprint = hashlib.sha256(request.body).hexdigest()
        first = self.results.get(key)
        if first is None:
            first = Result(request.path, fingerprint, do(self, request, now))
            self.results[key] = first
        elif (first.path, first.fingerprint) != (request.path, fingerprint):
            raise RefusedError(
                "RESOURCE_CONFLICT",
                message="Idempotency key was used before",
                details="It came with another path or another body; a new request needs a new key",
            )
        return first.reply

    def code_of(self, document: Any) -> int | str | None:
        """Find the code where the envelope `{"error": {"code": …}}` has it."""
        return cast("str | None", document.get("error", {}).get("code"))

    def finish(self, route: str, request: Request, reply: Reply, now: float) -> Reply:  # noqa: ARG002 - all alike
        """Add the request's id and what is left of the limit, and tell in an error what no example can know."""
        if reply.status >= 400 and reply.code is None:
            return reply  # not the API's own words: something in front of it, which knows nothing of these
        self._replies += 1
        request_id = f"req_{self._made_up('request', self._replies)[:16]}"
        if reply.status == 429:
            left, wait = 0, int(next(value for name, value in reply.headers if name == "Retry-After"))
        else:
            left = self._budget.budget - self._budget.spent(now)
            wait = self._budget.wait(left + 1, now)  # one more than fits: until the next one comes back
        own = {
            "X-Request-Id": request_id,
            "X-RateLimit-Limit": str(self._budget.budget),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str(math.ceil(self.wall(now) + wait)),
        }
        headers = (*((name, value) for name, value in reply.headers if name not in own), *own.items())
        reply = replace(reply, headers=headers)
        match reply.code:
            case "TOKEN_EXPIRED":
                return _with_particulars(reply, self._ended(request, now))
            case "RATE_LIMIT_EXCEEDED":
                return _with_particulars(reply, str(wait), retryAfter=wait)
            case "INTERNAL_SERVER_ERROR":
                return _with_particulars(reply, request_id)
            case _:
                return reply

    # --- the sign-in, and webhooks

    def _sign_in(self, request: Request, now: float) -> Reply:
        """Issue a JWT (RFC 7519), signed with HS256, that may do what the key may do."""
        owner = self.keys[request.headers["x-api-key"]]
        at = self.wall(now)
        token = Token(owner, math.ceil(at + self._token_life))
        claims = {
            "sub": self._made_up("account", 0)[:16],
            "scope": " ".join(owner.scopes),
            "iat": math.floor(at),
            "exp": token.ends,
            "jti": self._made_up("token", len(self.tokens))[:16],
        }
        signed = f"{_segment({'alg': 'HS256', 'typ': 'JWT'})}.{_segment(claims)}"
        jwt = f"{signed}.{_base64url(hmac.digest(self._jwt_secret, signed.encode(), 'sha256'))}"
        self.tokens[jwt] = token
        return self.json(200, {"token": jwt, "tokenType": "Bearer", "expiresIn": token.ends - math.floor(at)})

    def _ended(self, request: Request, now: float) -> str:
        """Tell when the request's token came to its end; where only the fault says so, that is now."""
        token = self.tokens.get(request.bearer or "")
        at = self.wall(now)
        return _iso(at if token is None else min(at, token.ends))

    def _check_webhook(self, request: Request, now: float) -> Reply:
        """Judge a webhook's signature as a receiver must; for integrators who write one."""
        stamp = request.headers.get("x-webhook-timestamp", "")
        signature = request.headers.get("x-webhook-signature", "")
        expected = hmac.new(
            self._webhook_secret.encode(), stamp.encode() + b"." + request.body, "sha256"
        ).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise RefusedError("WEBHOOK_SIGNATURE_INVALID")
        if not re.fullmatch("[0-9]{1,12}", stamp) or abs(int(stamp) - self.wall(now)) > WEBHOOK_AGE:
            raise RefusedError("WEBHOOK_SIGNATURE_INVALID", details="Timestamp is not within 5 minutes")
        return self.json(200, {"valid": True})

    # --- customers

    def _create(self, request: Request, now: float) -> Reply:
        fields = checked_customer(document_of(request), self._today(now))
        self._keep_unique(fields["email"])
        number = len(self.customers) + 1
        customer = Customer(
            id=f"cus_{self._made_up('customer', number)[:12]}",
            number=number,
            idempotency_key=self.key_of(request),
            at=now,
            created=_iso(self.wall(now)),
            fields=fields,
        )
        self.customers[customer.id] = customer
        self._in_order.append(customer)
        self._by_email[fields["email"].lower()] = customer
        return self.json(201, customer.shown())

    def _read(self, request: Request, now: float) -> Reply:
        return self.json(200, self._find(request, now).shown())

    def _list(self, request: Request, now: float) -> Reply:
        """List the one customer with an `email`, or a page of `limit` from behind the id `after`, oldest first."""
        for name in request.query:
            if name not in {"email", "limit", "after"}:
                raise invalid(name, "is not known here")
        email, after = request.query.get("email"), request.query.get("after")
        size = request.query.get("limit", "50")
        if not re.fullmatch("[0-9]{1,3}", size) or int(size) not in PAGE_SIZE:
            raise invalid("limit", "must be a number from 1 to 100")
        if after is not None and after not in self.customers:
            raise invalid("after", "must be the id of a customer")
        start = self.customers[after].number if after is not None else 0
        if email is None:
            page = self._in_order[start : start + int(size)]
            more = start + len(page) < len(self._in_order)
        else:
            check_format("email", email)
            found = self._by_email.get(email.lower())
            page, more = ([] if found is None else [found]), False
        for customer in page:
            self._move_on(customer, now)
        return self.json(200, {"data": [customer.shown() for customer in page], "hasMore": more})

    def _replace(self, request: Request, now: float) -> Reply:
        return self._update(request, now, {})

    def _merge(self, request: Request, now: float) -> Reply:
        return self._update(request, now, self._find(request, now).fields)

    def _update(self, request: Request, now: float, kept: Mapping[str, str]) -> Reply:
        """Change a customer's fields to the request's, on top of those that are kept."""
        customer = self._changeable(request, now)
        document, shown = document_of(request), customer.shown()
        for name in _OUR_FIELDS:
            if name in document and document.pop(name) != shown[name]:
                raise RefusedError(
                    "RESOURCE_CONFLICT",
                    message=f"Field {name!r} cannot be modified",
                    details="Leave it out, or send it as it was read",
                )
        fields = checked_customer({**kept, **document}, self._today(now))
        self._keep_unique(fields["email"], customer)
        del self._by_email[customer.fields["email"].lower()]
        self._by_email[fields["email"].lower()] = customer
        customer.amended = customer.amended or fields != customer.fields
        customer.fields = fields
        return self.json(200, customer.shown())

    # --- documents, and the review

    def _upload(self, request: Request, now: float) -> Reply:
        customer = self._changeable(request, now)
        kind, form, content = checked_document(document_of(request))
        taken = Document(
            id=f"doc_{self._made_up('document', len(self.documents))[:12]}",
            customer=customer.id,
            type=kind,
            format=form,
            size=len(content),
            digest=hashlib.sha256(content).hexdigest(),
            idempotency_key=self.key_of(request),
            at=now,
        )
        self.documents[taken.id] = taken
        customer.documents.append(taken)
        customer.amended = True
        return self.json(201, taken.shown())

    def _list_documents(self, request: Request, now: float) -> Reply:
        customer = self._find(request, now)
        return self.json(200, {"data": [document.shown() for document in customer.documents]})

    def _verify(self, request: Request, now: float) -> Reply:
        """Submit a customer for review."""
        customer = self._changeable(request, now)
        if customer.state == "APPROVED":
            raise RefusedError(
                "RESOURCE_CONFLICT",
                message="Customer is in APPROVED state",
                details="There is nothing left to verify",
            )
        if not any(document.type in IDENTITY for document in customer.documents):
            raise RefusedError("VERIFICATION_FAILED", details="No identity document has been uploaded")
        if customer.state == "NEEDS_ADDITIONAL_INFORMATION" and not customer.amended:
            raise RefusedError("VERIFICATION_FAILED", details="Nothing has been added since the last review")
        customer.state = "UNDER_REVIEW"
        customer.submitted = now
        return self.json(200, customer.shown())

    routes: ClassVar[Mapping[str, Callable[..., Any]]] = {
        _SIGN_IN: _sign_in,
        "POST /customers": _create,
        "GET /customers": _list,
        "GET /customers/{id}": _read,
        "PUT /customers/{id}": _replace,
        "PATCH /customers/{id}": _merge,
        "POST /customers/{id}/documents": _upload,
        "GET /customers/{id}/documents": _list_documents,
        "POST /customers/{id}/verify": _verify,
        _CHECK: _check_webhook,
    }

    # --- what the work is made of

    def _find(self, request: Request, now: float) -> Customer:
        wanted = request.params["id"]
        customer = self.customers.get(wanted)
        if customer is None:
            raise RefusedError("RESOURCE_NOT_FOUND", details=f"There is no customer with ID {wanted!r}")
        self._move_on(customer, now)
        return customer

    def _changeable(self, request: Request, now: float) -> Customer:
        """Find a customer who is not under review."""
        customer = self._find(request, now)
        if customer.state == "UNDER_REVIEW":
            raise RefusedError("RESOURCE_CONFLICT")
        return customer

    def _move_on(self, customer: Customer, now: float) -> None:
        """End a review that has taken its time; that is noticed when somebody asks."""
        over = self._review is not None and now - customer.submitted >= self._review
        if over and customer.state == "UNDER_REVIEW":
            self.conclude(customer.id)

    def _keep_unique(self, email: str, owner: Customer | None = None) -> None:
        """Refuse an e-mail address that another customer has."""
        holder = self._by_email.get(email.lower())
        if holder is not None and holder is not owner:
            raise RefusedError(
                "DUPLICATE_RESOURCE", details=f"There is a customer with email {email!r} already"
            )

    def _today(self, now: float) -> date:
        return datetime.fromtimestamp(self.wall(now), UTC).date()

    def _made_up(self, what: str, number: int) -> str:
        return hashlib.sha256(f"{self.name}/{self._seed}/{what}/{number}".encode()).hexdigest()


def _segment(part: Mapping[str, Any]) -> str:
    """Write a part of a JWT (RFC 7515 §7.1)."""
    return _base64url(json.dumps(part, separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_particulars(reply: Reply, particular: str, **more: object) -> Reply:
    """Put what is true of this reply in the place of what the example says."""
    document = json.loads(reply.body)
    error = document["error"]
    if "details" in error:
        error["details"] = _PARTICULAR[error["code"]].sub(particular, error["details"])
    error.update(more)
    return replace(reply, body=json.dumps(document, separators=(",", ":")).encode())
