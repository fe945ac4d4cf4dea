"""The zerotrace sandbox's contract: every refusal and every effect, over a real socket and in memory alike."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from resilient_client.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.sandbox import Zerotrace

CREATE = {
    "fromCcy": "BTC",
    "toCcy": "XMR",
    "direction": "from",
    "amount": 0.01,
    "type": "fixed",
    "toAddress": "an-address",
}


class Clock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0  # seconds

    def time(self) -> float:
        return 1_700_000_000 + self.now

    def monotonic(self) -> float:
        return self.now


class Partner:
    """A caller that signs as the vendor's page says, unless it is told to do something wrong."""

    def __init__(self, api: Sandbox[Zerotrace], client: httpx.Client, clock: Clock) -> None:
        self.api = api
        self.client = client
        self.clock = clock
        self._nonces = itertools.count()

    def __call__(
        self, method: str, path: str, body: object = b"", *, key: str | None = None, **other: str | None
    ) -> httpx.Response:
        """Send; `other` replaces a header by its last word (`nonce=…`, `KEY=…`), or leaves it out (None)."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "X-API-KEY": self.api.key,
            "X-API-SIGN": sign(self.api.secret, content),
            "X-API-NONCE": f"nonce-{next(self._nonces):016d}",
            "Idempotency-Key": key,
        }
        headers |= {f"X-API-{name.upper()}": value for name, value in other.items()}
        sent = {name: value for name, value in headers.items() if value is not None}
        return self.client.request(method, path, content=content, headers=sent)

    def create(self, *, key: str | None = None, **changes: object) -> httpx.Response:
        return self("POST", "/v1/create", CREATE | changes, key=key)


def sign(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def error(response: httpx.Response) -> tuple[int, dict[str, Any]]:
    return response.status_code, response.json()


def envelope(code: int, name: str) -> dict[str, Any]:
    return {"code": code, "msg": name}


@pytest.fixture(params=["socket", "memory"])
def partner_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., Partner]]:
    """Open a sandbox with these options; the way that requests take makes no difference to any test here."""
    opened: list[Any] = []

    def open_(**options: Any) -> Partner:
        clock = Clock()
        api = Sandbox("zerotrace", seed=7, clock=clock, **options)
        if request.param == "socket":
            opened.append(api.start())
            client = httpx.Client(base_url=api.base_url)
        else:
            client = httpx.Client(base_url=api.base_url, transport=httpx.MockTransport(api.handler))
        opened.append(client)
        return Partner(api, client, clock)

    yield open_
    for each in reversed(opened):
        each.close()


@pytest.fixture
def partner(partner_of: Callable[..., Partner]) -> Partner:
    return partner_of()


# --- credentials, signature, nonce


@pytest.mark.parametrize("missing", ["KEY", "SIGN"])
def test_missing_credentials_are_auth_required(partner: Partner, missing: str) -> None:
    """Without X-API-KEY or X-API-SIGN the answer is code 2."""
    assert (401, envelope(2, "AUTH_REQUIRED")) == error(partner("GET", "/v1/codes", **{missing: None}))


@pytest.mark.parametrize("nonce", [None, "", "x" * 15, "x" * 65])
def test_missing_or_ill_sized_nonce_is_auth_invalid(partner: Partner, nonce: str | None) -> None:
    """A nonce that is not there, or not 16 to 64 characters long, is code 3, not code 2."""
    assert (401, envelope(3, "AUTH_INVALID")) == error(partner("GET", "/v1/codes", nonce=nonce))


@pytest.mark.parametrize("nonce", ["x" * 16, "x" * 64])
def test_nonce_lengths_are_inclusive(partner: Partner, nonce: str) -> None:
    """Nonces of exactly 16 and exactly 64 characters are taken."""
    assert partner("GET", "/v1/codes", nonce=nonce).status_code == 200


def test_unknown_key_is_auth_invalid(partner: Partner) -> None:
    """A key that belongs to nobody looks on the wire like a wrong signature."""
    assert (401, envelope(3, "AUTH_INVALID")) == error(partner("GET", "/v1/codes", KEY="nobody"))


def test_signature_of_a_reserialised_body_is_auth_invalid(partner: Partner) -> None:
    """What is signed must be the very bytes that are sent: the same JSON without its spaces is another body."""
    signed_otherwise = sign(partner.api.secret, json.dumps(CREATE, separators=(",", ":")).encode())

    response = partner("POST", "/v1/create", CREATE, sign=signed_otherwise)

    assert (401, envelope(3, "AUTH_INVALID")) == error(response)
    assert partner.api.state.orders == {}


def test_upper_case_signature_is_auth_invalid(partner: Partner) -> None:
    """The signature is lower-case hex."""
    response = partner("GET", "/v1/codes", sign=sign(partner.api.secret, b"").upper())

    assert (401, envelope(3, "AUTH_INVALID")) == error(response)


def test_empty_body_is_signed_as_zero_bytes(partner: Partner) -> None:
    """A GET is signed over nothing; the nonce is no part of what is signed."""
    assert partner("GET", "/v1/codes", sign=sign(partner.api.secret, b"")).status_code == 200


def test_reused_nonce_is_auth_invalid_for_five_minutes(partner: Partner) -> None:
    """The second use of a nonce is refused until 300 seconds have passed since the first."""
    nonce = "only-once-please-0"
    statuses = []
    for passed in (0, 0, 299.5, 0.5):
        partner.clock.now += passed
        statuses.append(partner("GET", "/v1/codes", nonce=nonce).status_code)

    assert statuses == [200, 401, 401, 200]


def test_nonce_of_a_wrongly_signed_request_is_not_used_up(partner: Partner) -> None:
    """Only a right signature proves whose nonce it was."""
    nonce = "still-unused-nonce"
    partner("GET", "/v1/codes", nonce=nonce, sign="0" * 64)

    assert partner("GET", "/v1/codes", nonce=nonce).status_code == 200


def test_disabled_partner_is_told_so_even_with_a_reused_nonce(partner_of: Callable[..., Partner]) -> None:
    """A disabled partner with a right signature gets code 4 each time; with a wrong one, code 3."""
    partner = partner_of(enabled=False)
    nonce = "the-same-nonce-twice"

    assert (401, envelope(4, "AUTH_DISABLED")) == error(partner("GET", "/v1/codes", nonce=nonce))
    assert (401, envelope(4, "AUTH_DISABLED")) == error(partner("GET", "/v1/codes", nonce=nonce))
    assert (401, envelope(3, "AUTH_INVALID")) == error(partner("GET", "/v1/codes", sign="0" * 64))


def test_credentials_follow_from_the_seed() -> None:
    """The same seed makes the same credentials, another seed others; nobody takes them for real ones."""
    first, again, other = (Sandbox("zerotrace", seed=seed) for seed in (1, 1, 2))

    assert (first.key, first.secret) == (again.key, again.secret)
    assert first.secret != other.secret
    assert first.key.startswith("sandbox-key-")
    assert first.secret.startswith("sandbox-secret-")


# --- budget and maintenance


def test_spent_budget_tells_when_enough_weight_has_aged_out(partner_of: Callable[..., Partner]) -> None:
    """Retry-After is in whole seconds, rounded up; coming back then, and no sooner, finds room."""
    partner = partner_of(budget=100)
    partner.create()
    partner.clock.now += 10.25
    partner.create()
    partner.clock.now += 20.5

    refused = partner.create()  # the first 50 units come back 60 s after they were spent: in 29.25 s
    partner.clock.now += 29
    still_refused = partner.create()
    partner.clock.now += 1

    assert (429, envelope(5, "RATE_LIMIT")) == error(refused)
    assert refused.headers["Retry-After"] == "30"
    assert still_refused.headers["Retry-After"] == "1"
    assert partner.create().status_code == 200


def test_whole_seconds_are_not_rounded_further(partner_of: Callable[..., Partner]) -> None:
    """A budget that is free in exactly 60 seconds says 60, and keeps its word."""
    partner = partner_of(budget=1)
    partner("GET", "/v1/codes")

    assert partner("GET", "/v1/codes").headers["Retry-After"] == "60"
    partner.clock.now += 60
    assert partner("GET", "/v1/codes").status_code == 200


def test_routes_have_their_weights_and_refusals_are_free(partner_of: Callable[..., Partner]) -> None:
    """A create weighs 50, a qr 5, all else 1; what the budget or the signature check refuses weighs nothing."""
    partner = partner_of(budget=56)
    data = partner.create().json()["data"]
    named = {"id": data["id"], "token": data["token"]}
    partner("POST", "/v1/qr", named)
    partner("GET", "/v1/order", sign="0" * 64)
    partner("POST", "/v1/qr", named)
    partner("GET", "/v1/codes")

    assert [seen.code for seen in partner.api.state.requests] == [0, 0, 3, 5, 0]
    assert partner.api.state.weight_spent(partner.clock.now) == 56
    assert partner.api.state.weight_spent(partner.clock.now + 60) == 0


def test_maintenance_is_503_until_it_is_over(partner: Partner) -> None:
    """In maintenance mode every signed request gets code 10, and nothing is done or spent."""
    partner.api.state.maintenance = True
    assert (503, envelope(10, "MAINTENANCE")) == error(partner.create())
    partner.api.state.maintenance = False

    assert partner.api.state.weight_spent(partner.clock.now) == 0
    assert partner.create().status_code == 200


# --- orders and their keys


def test_create_makes_an_order_that_can_be_read(partner: Partner) -> None:
    """The token is shown by the create; with it the order can be read, and is in the ledger with its key and body."""
    data = partner.create(key="key-number-1").json()["data"]
    read = partner("GET", f"/v1/order?id={data['id']}&token={data['token']}").json()

    (order,) = partner.api.state.orders.values()
    assert (order.id, order.idempotency_key, json.loads(order.body)) == (data["id"], "key-number-1", CREATE)
    assert read == {"code": 0, "data": data | {"token": None}}
    assert (data["from"]["usd"], data["to"]["amount"]) == ("500", "3.12500000")


def test_replayed_key_gives_the_same_order_without_its_token(partner: Partner) -> None:
    """The same key with the same bytes is the same order, and the token is not shown again."""
    first = partner.create(key="key-number-1").json()["data"]
    replay = partner.create(key="key-number-1").json()["data"]

    assert first["token"] is not None
    assert replay == first | {"token": None}
    assert len(partner.api.state.orders) == 1


def test_key_with_another_body_is_409(partner: Partner) -> None:
    """A key belongs to the bytes that it came with; other bytes are refused, also where they mean the same."""
    partner.create(key="key-number-1")
    respaced = json.dumps(CREATE, indent=1).encode()

    assert (409, envelope(1, "INVALID_REQUEST")) == error(partner.create(key="key-number-1", amount=0.02))
    assert (409, envelope(1, "INVALID_REQUEST")) == error(
        partner("POST", "/v1/create", respaced, key="key-number-1")
    )
    assert len(partner.api.state.orders) == 1


@pytest.mark.parametrize(("length", "status"), [(7, 400), (8, 200), (128, 200), (129, 400)])
def test_key_length_is_8_to_128(partner: Partner, length: int, status: int) -> None:
    """Shorter and longer keys are code 1."""
    assert partner.create(key="k" * length).status_code == status


def test_create_without_a_key_makes_an_order_each_time(partner: Partner) -> None:
    """Nothing protects a create that carries no key from being done twice."""
    partner.create()
    partner.create()

    assert len(partner.api.state.orders) == 2


def test_refused_create_leaves_its_key_free(partner: Partner) -> None:
    """A key is taken by an order, not by a failure."""
    partner.create(key="key-number-1", amount=0)

    assert partner.create(key="key-number-1").status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"fromCcy": "DOGE"},
        {"fromCcy": ["BTC"]},
        {"toCcy": "BTC"},
        {"direction": "up"},
        {"direction": {}},
        {"amount": 0},
        {"amount": -1},
        {"amount": True},
        {"amount": "plenty"},
        {"amount": "1_0"},
        {"amount": " 0.01"},
        {"amount": "0.01\n"},
        {"amount": "1e-2"},
        {"amount": ".01"},
        {"amount": "1."},
        {"amount": "\u0661"},
        {"amount": float("nan")},
        {"amount": float("inf")},
        {"amount": None},
        {"toAddress": ""},
        {"toAddress": 5},
        {"type": "swap"},
        {"type": []},
        {"type": "float"},
        {"type": "float", "refundAddress": " "},
    ],
    ids=str,
)
def test_wrong_fields_are_invalid_request(partner: Partner, changes: dict[str, Any]) -> None:
    """Every field of a create is checked, and the answer does not tell which one was wrong."""
    assert (400, envelope(1, "INVALID_REQUEST")) == error(partner.create(**changes))
    assert partner.api.state.orders == {}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000, b'{"amount": 1' + b"0" * 5000 + b"}"]
)
def test_body_that_is_no_json_object_is_invalid_request(partner: Partner, body: bytes) -> None:
    """A body that cannot be read is code 1, whatever is wrong with it."""
    assert (400, envelope(1, "INVALID_REQUEST")) == error(partner("POST", "/v1/create", body))


def test_float_order_with_a_refund_address_is_taken(partner: Partner) -> None:
    """A floating rate needs somewhere to send a refund to."""
    assert partner.create(type="float", refundAddress="another-address").status_code == 200


@pytest.mark.parametrize(
    ("currency", "amount", "outcome"),
    [
        ("USDT", "0.99", 7),
        ("USDT", 1, 0),
        ("USDT", 5000, 0),
        ("USDT", 5000.01, 8),
        ("BTC", 0.1, 0),
        ("BTC", 0.101, 8),
    ],
)
def test_limits_are_in_dollars_and_inclusive(
    partner: Partner, currency: str, amount: object, outcome: int
) -> None:
    """Below 1 dollar is code 7, above 5000 dollars code 8."""
    response = partner.create(fromCcy=currency, amount=amount)

    assert (400 if outcome else 200, outcome) == (response.status_code, response.json()["code"])


def test_price_tells_the_bounds_and_does_not_enforce_them(partner: Partner) -> None:
    """A quote for too much is a quote, with min and max for both sides."""
    asked = {"fromCcy": "BTC", "toCcy": "USDT", "direction": "to", "amount": 90_000}
    data = partner("POST", "/v1/price", asked).json()["data"]

    assert data["from"]["amount"] == "1.80000000"
    assert (data["from"]["min"], data["from"]["max"]) == ("0.00002000", "0.10000000")
    assert (data["to"]["min"], data["to"]["max"]) == ("1.00000000", "5000.00000000")


def test_qr_is_for_the_holder_of_the_token(partner: Partner) -> None:
    """A qr names where and how much to pay; with a wrong token there is no such order."""
    data = partner.create().json()["data"]

    good = partner("POST", "/v1/qr", {"id": data["id"], "token": data["token"]})
    bad = partner("POST", "/v1/qr", {"id": data["id"], "token": "guess"})

    assert good.json()["data"]["uri"] == f"btc:{data['from']['address']}?amount=0.01000000"
    assert (404, envelope(6, "NOT_FOUND")) == error(bad)


@pytest.mark.parametrize("query", ["", "?id=nope&token=nope", "?token=nope"])
def test_unknown_order_is_not_found(partner: Partner, query: str) -> None:
    """A missing id and an unknown one look the same."""
    assert (404, envelope(6, "NOT_FOUND")) == error(partner("GET", f"/v1/order{query}"))


def test_emergency_choice_must_be_exactly_exchange(partner: Partner) -> None:
    """Anything but "EXCHANGE" is code 12 and changes nothing; the right choice takes effect."""
    data = partner.create().json()["data"]
    named = {"id": data["id"], "token": data["token"]}

    for wrong in ("exchange", "REFUND", None):
        refused = partner("POST", "/v1/emergency", named | {"choice": wrong})
        assert (400, envelope(12, "EMERGENCY_INVALID_CHOICE")) == error(refused)
    assert partner.api.state.orders[data["id"]].choice is None

    assert partner("POST", "/v1/emergency", named | {"choice": "EXCHANGE"}).status_code == 200
    assert partner.api.state.orders[data["id"]].choice == "EXCHANGE"


# --- codes, keys, routes


def test_codes_are_capped_and_can_be_given_back(partner_of: Callable[..., Partner]) -> None:
    """At the cap a new code is code 13; a deleted one makes room, and cannot be deleted twice."""
    partner = partner_of(codes_cap=2)
    first, second = (partner("POST", "/v1/codes", {}).json()["data"]["code"] for _ in range(2))

    assert (403, envelope(13, "LIMIT_EXCEEDED")) == error(partner("POST", "/v1/codes", {}))
    assert partner("DELETE", "/v1/codes", {"code": first}).status_code == 200
    assert (404, envelope(6, "NOT_FOUND")) == error(partner("DELETE", f"/v1/codes?code={first}"))
    assert partner("GET", "/v1/codes").json()["data"]["codes"] == [second]
    assert partner("POST", "/v1/codes").status_code == 200


def test_loser_of_two_rotations_is_told_so(partner: Partner) -> None:
    """Two rotations signed with one secret: the second is code 14 and rotates nothing; later it is just wrong."""
    body = b"{}"
    signed = sign(partner.api.secret, body)

    won = partner("POST", "/v1/keys/rotate", body, sign=signed)
    lost = partner("POST", "/v1/keys/rotate", body, sign=signed)

    assert won.json()["data"]["apiSecret"] == partner.api.secret
    assert (409, envelope(14, "ROTATION_CONFLICT")) == error(lost)
    assert partner.api.state.rotations == 1
    assert partner("POST", "/v1/price", body, sign=signed).status_code == 401
    partner.clock.now += 5
    assert (401, envelope(3, "AUTH_INVALID")) == error(partner("POST", "/v1/keys/rotate", body, sign=signed))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/create"), ("POST", "/v2/create"), ("POST", "/v1/create/"), ("GET", "/")]
)
def test_unknown_route_is_not_found(partner: Partner, method: str, path: str) -> None:
    """A route that does not exist is code 6, for a wrong method too."""
    assert (404, envelope(6, "NOT_FOUND")) == error(partner(method, path))


def test_route_outside_the_base_path_is_not_found(partner: Partner) -> None:
    """The API lives under /api, and nowhere else."""
    url = partner.api.base_url.removesuffix("/api") + "/v1/codes"

    assert (404, envelope(6, "NOT_FOUND")) == error(partner("GET", url))


def test_requests_are_noted_with_their_outcome(partner: Partner) -> None:
    """The sandbox keeps what it saw: route, time, status, code, key, nonce and body of each request, in order."""
    partner.create(key="key-number-1")
    partner.clock.now += 2
    partner("GET", "/v1/order")

    first, second = partner.api.state.requests
    assert (first.route, first.time, first.status, first.code) == ("POST /v1/create", 1000.0, 200, 0)
    assert (first.idempotency_key, first.nonce) == ("key-number-1", "nonce-0000000000000000")
    assert json.loads(first.body) == CREATE
    assert (second.method, second.route, second.time, second.code) == ("GET", "GET /v1/order", 1002.0, 6)


def test_replies_carry_the_date_of_the_sandbox(partner: Partner) -> None:
    """The Date header is told by the sandbox's clock, not by the machine's."""
    assert partner("GET", "/v1/codes").headers["Date"] == "Tue, 14 Nov 2023 22:30:00 GMT"


def test_unknown_api_names_those_that_exist() -> None:
    """A name without a sandbox is a ValueError that lists the names with one."""
    with pytest.raises(ValueError, match=r"no sandbox for 'zerotrac'; there is one for .*zerotrace"):
        Sandbox("zerotrac")


def test_unknown_option_is_a_type_error() -> None:
    """An option that the API does not have is not swallowed."""
    with pytest.raises(TypeError, match="bugdet"):
        Sandbox("zerotrace", bugdet=100)
