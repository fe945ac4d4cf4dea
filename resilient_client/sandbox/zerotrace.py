"""The 0trace Partner API: its state and its rules, with no socket and no clock.

What the vendor's pages leave open is decided here, on the strict side, and said in the docstring of `Zerotrace`.

Source: https://0trace.io/api/errors/cookbook, https://0trace.io/api/authentication, https://0trace.io/api/rate-limits,
https://0trace.io/api/endpoints/create.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard, cast

from resilient_client.sandbox._api import Api, Faults, RefusedError, Reply, Request
from resilient_client.sandbox._budget import RollingBudget
from resilient_client.sandbox._host import host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_client._libraries import LibraryName

# US dollars for one unit. The rates never move, so that a demonstration can be checked by hand.
RATES: dict[str, Decimal] = {
    "BTC": Decimal(50_000),
    "ETH": Decimal(2_500),
    "XMR": Decimal(160),
    "LTC": Decimal(80),
    "USDT": Decimal(1),
}

COST = {"POST /v1/create": 50, "POST /v1/qr": 5}  # weight units; all else costs 1
NONCE_LENGTH = range(16, 64 + 1)  # characters
NONCE_MEMORY = 300.0  # seconds in which a nonce may not come twice
KEY_LENGTH = range(8, 128 + 1)  # characters of an Idempotency-Key
OVERLAP = 5.0  # seconds in which a rotation signed with the old secret counts as concurrent

_MOST = Decimal(10) ** 15  # no amount in the world is larger; keeps arithmetic on hostile input cheap
_EIGHT_PLACES = Decimal("0.00000001")
_WRITTEN = re.compile(
    r"[0-9]+(\.[0-9]+)?"
)  # an amount as a string; Decimal would take "1_0" and " 1e3 " as well
# Turned away before the budget is looked at, hence free when injected too.
_FREE = frozenset({"AUTH_REQUIRED", "AUTH_INVALID", "AUTH_DISABLED", "MAINTENANCE", "RATE_LIMIT"})


@dataclass(slots=True)
class Order:
    """An order that exists: work that has taken effect."""

    id: str
    token: str = field(repr=False)  # shown to the client once
    idempotency_key: str | None
    body: bytes  # of the create, as it came
    fingerprint: str  # SHA-256 of the body, in hex
    at: float  # monotonic seconds of the sandbox's clock
    view: dict[str, Any]  # what the API shows of it
    choice: str | None = None  # made by POST /v1/emergency

    def shown(self, *, token: str | None = None) -> dict[str, Any]:
        """Tell what goes under `data`; the token only where it is given."""
        return {"id": self.id, "token": token, **self.view, "emergency": {"choice": self.choice}}


class Zerotrace(Api):
    """The partner API, for one partner.

    Options: `budget` weight units per rolling `per` seconds, `codes_cap` reference codes, `enabled` (the partner's record),
    `min_usd` and `max_usd` (US dollars per order). `enabled` and `maintenance` may be set at any time.

    Requests are checked in this order: route, credentials, signature, `enabled`, nonce, `maintenance`, budget. Then the
    injected fault; then the work. Where the vendor's pages leave room:

    - A nonce is remembered as soon as its signature proved right. A disabled partner hears AUTH_DISABLED for a repeated
      nonce also, as the vendor's page on the code says.
    - A request that was turned away before or by the budget spends nothing of it; a failure after that has cost its weight.
    - A create without an Idempotency-Key makes an order each time.
    - An amount is a JSON number, or a string of digits with or without a point between them. Addresses are not checked against
      their network: any text will do.
    - A rotation changes the secret at once; the key stays. A rotation that is still signed with the old secret within
      `OVERLAP` seconds is the loser of two concurrent ones (ROTATION_CONFLICT); anything else signed so is AUTH_INVALID.
    """

    name: ClassVar[str] = "zerotrace"
    base: ClassVar[str] = "/api"
    nonce_header: ClassVar[str | None] = "X-API-NONCE"
    throttles: ClassVar[frozenset[str]] = frozenset({"RATE_LIMIT"})
    unsent: ClassVar[frozenset[str]] = frozenset({"RESERVE_EXCEEDED"})

    def __init__(  # noqa: PLR0913 - each is one of the contract's figures, by keyword
        self,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        budget: int = 2500,
        per: float = 60.0,
        codes_cap: int = 50,
        enabled: bool = True,
        min_usd: float = 1,
        max_usd: float = 5000,
    ) -> None:
        super().__init__(faults=faults)
        self._seed = seed
        self.key = f"sandbox-key-{self._made_up('key', 0)[:16]}"
        self.secret = f"sandbox-secret-{self._made_up('secret', 0)[:32]}"
        self.enabled = enabled
        self.maintenance = False
        self.orders: dict[str, Order] = {}  # by id, in order of creation
        self.codes: dict[str, bool] = {}  # reference code -> still in use
        self.rotations = 0
        self._codes_cap = codes_cap
        self._in_use: dict[str, None] = {}  # the codes that are, in order of creation
        self._limits = Decimal(str(min_usd)), Decimal(str(max_usd))
        self._budget = RollingBudget(budget, per)
        self._by_key: dict[str, Order] = {}
        self._nonces: dict[str, float] = {}  # nonce -> when it was seen first, oldest first
        self._replaced: tuple[str, float] | None = None  # the one before, and when it was replaced

    @property
    def credentials(self) -> Mapping[str, str]:
        """The partner's key and secret; a rotation changes the secret."""
        return {"key": self.key, "secret": self.secret}

    def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Any]:  # noqa: ARG002 - other APIs have a login
        """Sign each request."""
        return {"auth": host(library).resilient.HmacAuth(self.key, self.secret)}

    def weight_spent(self, now: float) -> int:
        """Tell the weight units that count against the budget `now` (monotonic seconds of the sandbox's clock)."""
        return self._budget.spent(now)

    # --- who asks, and may they ask now

    def admit(self, route: str, request: Request, now: float) -> None:
        """Check all that comes before the work; see the order in the class's docstring.

        Source: https://0trace.io/api/authentication, https://0trace.io/api/rate-limits
        """
        if not self.known(route, request):
            raise RefusedError("NOT_FOUND")
        self._authenticate(route, request, now)
        if self.maintenance:
            raise RefusedError("MAINTENANCE")
        if wait := self._budget.wait(COST.get(route, 1), now):
            raise RefusedError("RATE_LIMIT", retry_after=wait)

    def charge(self, route: str, fault: str | None, now: float) -> None:
        """Spend the route's weight, unless the injected fault is one of those that come before the budget."""
        if fault is None or fault.partition(":")[0].partition("#")[0] not in _FREE:
            self._budget.spend(COST.get(route, 1), now)

    def _authenticate(self, route: str, request: Request, now: float) -> None:
        key, sign = request.headers.get("x-api-key"), request.headers.get("x-api-sign")
        nonce = request.headers.get("x-api-nonce", "")
        if not key or not sign:
            raise RefusedError("AUTH_REQUIRED")
        if (
            len(nonce) not in NONCE_LENGTH
            or key != self.key
            or not self._is_signed(route, request, sign, now)
        ):
            raise RefusedError("AUTH_INVALID")
        while self._nonces and now - next(iter(self._nonces.values())) >= NONCE_MEMORY:
            del self._nonces[next(iter(self._nonces))]
        seen_before = nonce in self._nonces
        self._nonces.setdefault(nonce, now)
        if not self.enabled:
            raise RefusedError("AUTH_DISABLED")
        if seen_before:
            raise RefusedError("AUTH_INVALID")

    def _is_signed(self, route: str, request: Request, sign: str, now: float) -> bool:
        return any(
            _signs(secret, request.body, sign) for secret in (self.secret, *self._outlived(route, now))
        )

    def _outlived(self, route: str, now: float) -> list[str]:
        """Give the old secret while this route still knows it: for saying that a rotation came second."""
        if self._replaced is None or route != "POST /v1/keys/rotate":
            return []
        old, at = self._replaced
        return [old] if now - at < OVERLAP else []

    # --- the work

    def work(self, route: str, request: Request, now: float) -> Reply:
        """Do what the route is for."""
        return self.json(200, {"code": 0, "data": self.routes[route](self, request, now)})

    def code_of(self, document: Any) -> int | str | None:
        """Find the code where the envelope `{"code": n, …}` has it."""
        return cast("int | None", document.get("code"))

    def _price(self, request: Request, _now: float) -> dict[str, Any]:
        """Quote, with the bounds; an amount outside of them is quoted all the same."""
        return self._quote(_document(request))

    def _create(self, request: Request, now: float) -> dict[str, Any]:
        """Make an order, or find the one that the key has made already.

        Source: https://0trace.io/api/endpoints/create
        """
        key = request.headers.get("idempotency-key")
        if key is not None and len(key) not in KEY_LENGTH:
            raise RefusedError("INVALID_REQUEST")
        fingerprint = hashlib.sha256(request.body).hexdigest()
        earlier = self._by_key.get(key) if key is not None else None
        if earlier is not None:
            if earlier.fingerprint != fingerprint:
                raise RefusedError("INVALID_REQUEST", status=409)
            return earlier.shown()
        document = _document(request)
        view = self._order_view(document)
        number = len(self.orders) + 1
        order = Order(
            id=self._made_up("order", number)[:6].upper() + f"{number:04d}",
            token=self._made_up("token", number)[:32],
            idempotency_key=key,
            body=request.body,
            fingerprint=fingerprint,
            at=now,
            view=view,
        )
        self.orders[order.id] = order
        if key is not None:
            self._by_key[key] = order
        return order.shown(token=order.token)

    def _order(self, request: Request, _now: float) -> dict[str, Any]:
        return self._find(request.query).shown()

    def _qr(self, request: Request, _now: float) -> dict[str, Any]:
        order = self._find(_document(request))
        paying = order.view["from"]
        return {
            "id": order.id,
            "uri": f"{paying['code'].lower()}:{paying['address']}?amount={paying['amount']}",
        }

    def _emergency(self, request: Request, _now: float) -> dict[str, Any]:
        document = _document(request)
        if document.get("choice") != "EXCHANGE":
            raise RefusedError("EMERGENCY_INVALID_CHOICE")
        order = self._find(document)
        order.choice = "EXCHANGE"
        return order.shown()

    def _new_code(self, _request: Request, _now: float) -> dict[str, Any]:
        if len(self._in_use) >= self._codes_cap:
            raise RefusedError("LIMIT_EXCEEDED")
        code = f"ref-{self._made_up('code', len(self.codes))[:10]}"
        self.codes[code] = True
        self._in_use[code] = None
        return {"code": code}

    def _drop_code(self, request: Request, _now: float) -> dict[str, Any]:
        """Take a code out of use; it is named in the query or in the body."""
        code = request.query.get("code") or _document(request).get("code")
        if not isinstance(code, str) or code not in self._in_use:
            raise RefusedError("NOT_FOUND")
        self.codes[code] = False
        del self._in_use[code]
        return {"code": code}

    def _list_codes(self, _request: Request, _now: float) -> dict[str, Any]:
        return {"codes": list(self._in_use), "cap": self._codes_cap}

    def _rotate(self, request: Request, now: float) -> dict[str, Any]:
        """Replace the secret, unless the request is signed with the one that was replaced a moment ago."""
        if not _signs(self.secret, request.body, request.headers["x-api-sign"]):
            raise RefusedError("ROTATION_CONFLICT")
        self._replaced = (self.secret, now)
        self.rotations += 1
        self.secret = f"sandbox-secret-{self._made_up('secret', self.rotations)[:32]}"
        return {"apiKey": self.key, "apiSecret": self.secret}

    routes: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "POST /v1/price": _price,
        "POST /v1/create": _create,
        "GET /v1/order": _order,
        "POST /v1/qr": _qr,
        "POST /v1/emergency": _emergency,
        "GET /v1/codes": _list_codes,
        "POST /v1/codes": _new_code,
        "DELETE /v1/codes": _drop_code,
        "POST /v1/keys/rotate": _rotate,
    }

    # --- what the work is made of

    def _find(self, named: Any) -> Order:
        """Find an order by id and token; which of the two is wrong is not told."""
        order = self.orders.get(str(named.get("id")))
        if order is None or named.get("token") != order.token:
            raise RefusedError("NOT_FOUND")
        return order

    def _order_view(self, document: dict[str, Any]) -> dict[str, Any]:
        """Check a create as POST /v1/price does, then what only a create checks: address, type, bounds."""
        quote = self._quote(document)
        kind, refund = document.get("type"), document.get("refundAddress")
        right = (
            _is_text(document.get("toAddress"))
            and kind in ("fixed", "float")  # a tuple: what is looked for may be unhashable
            and (_is_text(refund) if kind == "float" or refund is not None else True)
        )
        if not right:
            raise RefusedError("INVALID_REQUEST")
        usd, (least, most) = Decimal(quote["from"]["usd"]), self._limits
        if usd < least:
            raise RefusedError("LIMIT_MIN")
        if usd > most:
            raise RefusedError("LIMIT_MAX")
        quote["from"]["address"] = f"sandbox-deposit-{self._made_up('deposit', len(self.orders))[:20]}"
        quote["to"]["address"] = document["toAddress"]
        return {"type": kind, "status": "NEW", **quote}

    def _quote(self, document: dict[str, Any]) -> dict[str, Any]:
        source, target, direction = (document.get(name) for name in ("fromCcy", "toCcy", "direction"))
        if not (_is_text(source) and _is_text(target)) or source not in RATES or target not in RATES:
            raise RefusedError("INVALID_REQUEST")
        if source == target or direction not in ("from", "to"):
            raise RefusedError("INVALID_REQUEST")
        usd = _amount(document.get("amount")) * RATES[source if direction == "from" else target]
        return {"from": self._side(source, usd), "to": self._side(target, usd)}

    def _side(self, currency: Any, usd: Decimal) -> dict[str, Any]:
        rate, (least, most) = RATES[currency], self._limits
        return {
            "code": currency,
            "amount": f"{usd / rate:.8f}",
            "min": str((least / rate).quantize(_EIGHT_PLACES, ROUND_UP)),
            "max": str((most / rate).quantize(_EIGHT_PLACES, ROUND_DOWN)),
            "usd": f"{usd.normalize():f}",
        }

    def _made_up(self, what: str, number: int) -> str:
        return hashlib.sha256(f"{self.name}/{self._seed}/{what}/{number}".encode()).hexdigest()


def _signs(secret: str, body: bytes, sign: str) -> bool:
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), sign.encode())


def _document(request: Request) -> dict[str, Any]:
    """Read the body as a JSON object."""
    try:
        return request.document()
    except ValueError:
        raise RefusedError("INVALID_REQUEST") from None


def _amount(value: Any) -> Decimal:
    """Read a positive number, or a string of one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RefusedError("INVALID_REQUEST")
    if isinstance(value, str) and not _WRITTEN.fullmatch(value):
        raise RefusedError("INVALID_REQUEST")
    amount = Decimal(str(value))
    if not (amount.is_finite() and _EIGHT_PLACES <= amount <= _MOST):
        raise RefusedError("INVALID_REQUEST")
    return amount


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())
