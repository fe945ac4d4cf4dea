"""The customer_verification sandbox's contract: every refusal and every effect, and the resilient client against it."""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import hmac
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from resilient_client import load_policy, outcome_of
from resilient_client.sandbox import RandomFaults, Sandbox, Schedule, every_fault
from resilient_client.sandbox.faults import WIRE
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.sandbox import Api
    from resilient_client.sandbox.customer_verification import CustomerVerification, State

API = "customer_verification"
CREATE = "POST /customers"
CUSTOMER = {"firstName": "Ada", "lastName": "King", "email": "ada@example.com", "dateOfBirth": "1990-02-28"}
LIMIT = 10_000_000  # bytes of a decoded document


def document(content: bytes = b"%PDF-1.7" + bytes(2000), kind: str = "PASSPORT") -> dict[str, str]:
    return {"type": kind, "content": base64.b64encode(content).decode()}


class Caller:
    """A plain httpx client with the account's key, and what it does most."""

    def __init__(self, api: Sandbox[CustomerVerification], client: httpx.Client, clock: VirtualClock) -> None:
        self.api = api
        self.client = client
        self.clock = clock
        self.state = api.state

    def __call__(
        self, method: str, path: str, body: object = b"", *, key: str | None = None, **headers: str | None
    ) -> httpx.Response:
        """Send; a body that is no bytes goes as JSON, `headers` replace (`x_api_key=…`) or leave out (None)."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"x-api-key": self.api.key, "idempotency-key": key}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = [(name.encode(), value.encode()) for name, value in lines.items() if value is not None]
        return self.client.request(method, path, content=content, headers=sent)

    def create(self, *, key: str | None = None, **changes: object) -> httpx.Response:
        return self("POST", "/customers", CUSTOMER | changes, key=key)

    def customer(self, state: State = "NEW") -> str:
        """Make a customer in a state, and give the id."""
        made = f"/customers/{self.create().json()['id']}"
        identity = made.rpartition("/")[2]
        if state != "NEW":
            self("POST", f"{made}/documents", document())
            self("POST", f"{made}/verify")
        if state not in {"NEW", "UNDER_REVIEW"}:
            self.state.conclude(identity, state)
        return identity

    def token(self, key: str | None = None) -> str:
        """Sign in."""
        jwt: str = self("POST", "/auth/token", x_api_key=key or self.api.key).json()["token"]
        return jwt

    def by_token(self, jwt: str, method: str = "GET", path: str = "/customers") -> httpx.Response:
        return self(method, path, x_api_key=None, authorization=f"Bearer {jwt}")


@pytest.fixture
def caller_of() -> Iterator[Callable[..., Caller]]:
    """Open a sandbox in memory, with these options."""
    opened: list[httpx.Client] = []

    def open_(**options: Any) -> Caller:
        clock = VirtualClock()
        api = Sandbox(API, clock=clock, **{"seed": 7, **options})
        client = httpx.Client(base_url=api.base_url, transport=httpx.MockTransport(api.handler))
        opened.append(client)
        return Caller(api, client, clock)

    yield open_
    for each in opened:
        each.close()


@pytest.fixture
def caller(caller_of: Callable[..., Caller]) -> Caller:
    return caller_of()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., list[httpx.Response]]:
    """Give a way to make calls in turn through the sandbox's resilient client: in a thread, or in a task."""

    def in_a_thread(
        api: Sandbox[Any], *calls: tuple[str, str, object], **options: Any
    ) -> list[httpx.Response]:
        with api.client(**options) as client:
            return [client.request(method, path, json=body) for method, path, body in calls]

    def in_a_task(api: Sandbox[Any], *calls: tuple[str, str, object], **options: Any) -> list[httpx.Response]:
        async def all_of_them() -> list[httpx.Response]:
            async with api.async_client(**options) as client:
                return [await client.request(method, path, json=body) for method, path, body in calls]

        return asyncio.run(all_of_them())

    return in_a_thread if request.param == "sync" else in_a_task


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def field(response: httpx.Response) -> tuple[int, str, str]:
    return *error(response), response.json()["error"]["field"]


def effects(state: CustomerVerification) -> Any:
    return copy.deepcopy((state.customers, state.documents, state.results, state.tokens))


def routes(state: Api) -> list[tuple[str, int | None]]:
    return [(seen.route, seen.status) for seen in state.requests]


# --- every error of the page, by a real cause


def wrong_key(caller: Caller) -> Callable[[], httpx.Response]:
    return lambda: caller("GET", "/customers", x_api_key="sandbox-key-of-nobody")


def old_token(caller: Caller) -> Callable[[], httpx.Response]:
    jwt = caller.token()
    caller.clock.advance(3600)
    return lambda: caller.by_token(jwt)


def read_only(caller: Caller) -> Callable[[], httpx.Response]:
    return lambda: caller("POST", "/customers", CUSTOMER, x_api_key=caller.api.credentials["read_only_key"])


def no_email(caller: Caller) -> Callable[[], httpx.Response]:
    return lambda: caller.create(email=None)


def odd_birthday(caller: Caller) -> Callable[[], httpx.Response]:
    return lambda: caller.create(dateOfBirth="28.02.1990")


def a_gif(caller: Caller) -> Callable[[], httpx.Response]:
    path = f"/customers/{caller.customer()}/documents"
    return lambda: caller("POST", path, document(b"GIF89a" + bytes(2000)))


def a_thumbnail(caller: Caller) -> Callable[[], httpx.Response]:
    path = f"/customers/{caller.customer()}/documents"
    return lambda: caller("POST", path, document(b"%PDF-".ljust(1023)))


def no_such_customer(caller: Caller) -> Callable[[], httpx.Response]:
    return lambda: caller("GET", "/customers/cus_nobody")


def under_review(caller: Caller) -> Callable[[], httpx.Response]:
    path = f"/customers/{caller.customer('UNDER_REVIEW')}"
    return lambda: caller("PATCH", path, {"firstName": "Augusta"})


def same_email(caller: Caller) -> Callable[[], httpx.Response]:
    caller.create(key="one key")
    return lambda: caller.create(key="another key")


def nothing_to_verify(caller: Caller) -> Callable[[], httpx.Response]:
    path = f"/customers/{caller.customer()}/verify"
    return lambda: caller("POST", path)


def wrong_signature(caller: Caller) -> Callable[[], httpx.Response]:
    return lambda: caller("POST", "/webhooks/check", b"{}", x_webhook_signature="0" * 64)


def spent_limit(caller: Caller) -> Callable[[], httpx.Response]:
    for _ in range(300):
        caller("GET", "/customers")
    return caller.create


def maintenance(caller: Caller) -> Callable[[], httpx.Response]:
    caller.state.maintenance = True
    return caller.create


CAUSES = {
    "AUTHENTICATION_FAILED": wrong_key,
    "TOKEN_EXPIRED": old_token,
    "INSUFFICIENT_PERMISSIONS": read_only,
    "VALIDATION_ERROR": no_email,
    "INVALID_FIELD_FORMAT": odd_birthday,
    "INVALID_DOCUMENT_FORMAT": a_gif,
    "RESOURCE_NOT_FOUND": no_such_customer,
    "RESOURCE_CONFLICT": under_review,
    "DUPLICATE_RESOURCE": same_email,
    "VERIFICATION_FAILED": nothing_to_verify,
    "DOCUMENT_QUALITY_INSUFFICIENT": a_thumbnail,
    "WEBHOOK_SIGNATURE_INVALID": wrong_signature,
    "RATE_LIMIT_EXCEEDED": spent_limit,
    "SERVICE_UNAVAILABLE": maintenance,
}
ONLY_INJECTED = {"INTERNAL_SERVER_ERROR", "NOT_SUPPORTED", "SERVER_ERROR"}


@pytest.mark.parametrize("name", CAUSES)
def test_an_error_has_its_cause_and_no_effect(caller: Caller, name: str) -> None:
    """Each error comes with the documented status and code, is what the policy takes it for, and changes nothing."""
    provoke = CAUSES[name](caller)
    before = effects(caller.state)

    response = provoke()

    verdict = load_policy(API).classify(response)
    assert (verdict.name, verdict.code) == (name, name)
    assert verdict.message
    assert effects(caller.state) == before


def test_no_error_is_left_without_a_cause() -> None:
    """Every error of the policy that the API sends has a cause here; only failures inside or before it are injected."""
    documented = [name for name in every_fault(API) if name not in WIRE]

    assert sorted(documented) == sorted({*CAUSES, *ONLY_INJECTED})
    assert "WEBHOOK_DELIVERY_FAILED" not in documented  # met in delivery logs, never as a reply


# --- who asks


def test_key_and_token_both_let_in(caller: Caller) -> None:
    """A caller shows the key itself, or the JWT that it was given for it."""
    assert caller("GET", "/customers").status_code == 200
    assert caller.by_token(caller.token()).status_code == 200


def test_token_is_a_signed_jwt_that_tells_its_end(caller: Caller) -> None:
    """Three parts in unpadded base64url: HS256, claims with `iat` and `exp`, and the HMAC over the first two."""
    reply = caller("POST", "/auth/token").json()

    head, claims, signature = reply["token"].split(".")
    signed = hmac.digest(caller.state._jwt_secret, f"{head}.{claims}".encode(), "sha256")
    told = read_segment(claims)
    assert read_segment(head) == {"alg": "HS256", "typ": "JWT"}
    assert told["iat"] == caller.clock.time()
    assert told["exp"] == told["iat"] + 3600
    assert told["scope"] == "READ WRITE"
    assert signature == base64.urlsafe_b64encode(signed).decode().rstrip("=")
    assert (reply["tokenType"], reply["expiresIn"]) == ("Bearer", 3600)
    assert caller.api.key not in json.dumps(told)


def read_segment(part: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def write_segment(claims: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "forge",
    [
        lambda jwt: f"{write_segment({'alg': 'none'})}.{jwt.split('.')[1]}.",
        lambda jwt: ".".join([jwt.split(".")[0], write_segment({"exp": 2**40}), jwt.split(".")[2]]),
        lambda jwt: jwt[:-1] + ("A" if jwt[-1] != "A" else "B"),
        lambda jwt: jwt + "=",
        lambda jwt: jwt.rpartition(".")[0],
        lambda _: "é" * 20,
        lambda _: "..",
    ],
    ids=[
        "unsigned",
        "other-claims",
        "other-signature",
        "padded",
        "two-parts",
        "not-ascii",
        "empty",
    ],
)
def test_forged_token_is_authentication_failed(caller: Caller, forge: Callable[[str], str]) -> None:
    """A token that was not issued here, or was altered, is not called expired: a new one would be no help."""
    response = caller.by_token(forge(caller.token()))

    assert error(response) == (401, "AUTHENTICATION_FAILED")


def test_token_of_another_account_is_authentication_failed(caller_of: Callable[..., Caller]) -> None:
    """A genuine token lets nobody in elsewhere."""
    ours, theirs = caller_of(), caller_of(seed=8)

    assert error(ours.by_token(theirs.token())) == (401, "AUTHENTICATION_FAILED")


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer "}], ids=str
)
def test_no_credentials_are_authentication_failed(caller: Caller, headers: dict[str, str]) -> None:
    """Without a key and without a bearer token nobody is let in."""
    response = caller("GET", "/customers", x_api_key=None, **headers)

    assert error(response) == (401, "AUTHENTICATION_FAILED")


def test_bad_token_is_not_made_good_by_a_key(caller: Caller) -> None:
    """A bearer token is judged where there is one, whatever else was sent."""
    response = caller("GET", "/customers", authorization="Bearer nonsense")

    assert error(response) == (401, "AUTHENTICATION_FAILED")


def test_sign_in_wants_the_key(caller: Caller) -> None:
    """A token cannot be traded for another one: it would never end."""
    jwt = caller.token()

    assert error(caller.by_token(jwt, "POST", "/auth/token")) == (401, "AUTHENTICATION_FAILED")


def test_token_lives_to_its_end_and_says_when_that_was(caller_of: Callable[..., Caller]) -> None:
    """A token is good until the second that `exp` names, and from then on the error tells that second."""
    caller = caller_of(token_life=90)
    jwt = caller.token()
    end = datetime.fromtimestamp(caller.clock.time() + 90, UTC)

    caller.clock.advance(89.9)
    alive = caller.by_token(jwt)
    caller.clock.advance(0.1)
    dead = caller.by_token(jwt)
    caller.clock.advance(1000)
    long_dead = caller.by_token(jwt)

    assert alive.status_code == 200
    assert error(dead) == (401, "TOKEN_EXPIRED")
    assert dead.json()["error"]["details"] == f"Token expired at {end:%Y-%m-%dT%H:%M:%SZ}"
    assert long_dead.json() == dead.json()


def test_injected_expiry_tells_the_time_of_the_sandbox(caller_of: Callable[..., Caller]) -> None:
    """A token that only a fault calls dead ended now, not on the day that the vendor's example shows."""
    caller = caller_of(faults=Schedule().add("GET /customers", ["TOKEN_EXPIRED"]))

    response = caller.by_token(caller.token())

    now = datetime.fromtimestamp(caller.clock.time(), UTC)
    assert error(response) == (401, "TOKEN_EXPIRED")
    assert response.json()["error"]["details"] == f"Token expired at {now:%Y-%m-%dT%H:%M:%SZ}"


def test_revoked_key_takes_its_tokens_along(caller: Caller) -> None:
    """What a revoked key signed in for is refused as the key is; the other key goes on."""
    jwt = caller.token()
    caller.state.keys[caller.api.key].revoked = True

    assert error(caller("GET", "/customers")) == (401, "AUTHENTICATION_FAILED")
    assert error(caller.by_token(jwt)) == (401, "AUTHENTICATION_FAILED")
    assert caller("GET", "/customers", x_api_key=caller.api.credentials["read_only_key"]).status_code == 200


def test_revoked_token_leaves_its_key_alone(caller: Caller) -> None:
    """One token can be taken back by itself, also after its end."""
    jwt, other = caller.token(), caller.token()
    caller.state.tokens[jwt].revoked = True

    assert error(caller.by_token(jwt)) == (401, "AUTHENTICATION_FAILED")
    assert caller.by_token(other).status_code == 200


def test_read_only_key_reads_and_nothing_else(caller: Caller) -> None:
    """Without the WRITE scope all that changes a customer is refused, with a token of that key as well."""
    path = f"/customers/{caller.customer()}"
    jwt = caller.token(caller.api.credentials["read_only_key"])
    writes = [
        ("POST", "/customers"),
        ("PUT", path),
        ("PATCH", path),
        ("POST", f"{path}/documents"),
        ("POST", f"{path}/verify"),
    ]

    assert {error(caller.by_token(jwt, *write)) for write in writes} == {(403, "INSUFFICIENT_PERMISSIONS")}
    assert caller.by_token(jwt, "GET", path).status_code == 200


def test_credentials_tokens_and_ids_follow_from_the_seed(caller_of: Callable[..., Caller]) -> None:
    """The same seed makes the same keys, tokens, ids and request ids; another seed makes others."""

    def made_with(seed: int) -> list[str]:
        caller = caller_of(seed=seed)
        jwt, created = caller.token(), caller.create()
        taken = caller("POST", f"/customers/{created.json()['id']}/documents", document())
        ids = [created.json()["id"], created.headers["X-Request-Id"], taken.json()["id"]]
        return [*caller.api.credentials.values(), jwt, *ids]

    first, again, other = made_with(1), made_with(1), made_with(2)
    assert first == again
    assert [one for one, another in zip(first, other, strict=True) if one == another] == []
    assert first[0].startswith("sandbox-key-")


# --- customers


def test_customer_can_be_made_and_read(caller: Caller) -> None:
    """A create answers 201 with the customer, who can then be read by id."""
    more = {"phoneNumber": "+15551234567", "country": "DE", "postalCode": "10115"}
    made = caller.create(key="key-1", **more)

    shown = made.json()
    assert made.status_code == 201
    assert shown == {
        "id": shown["id"],
        "state": "NEW",
        "createdAt": "2025-06-15T15:06:40Z",
        **CUSTOMER,
        **more,
    }
    assert caller("GET", f"/customers/{shown['id']}").json() == shown
    (customer,) = caller.state.customers.values()
    assert (customer.id, customer.idempotency_key) == (shown["id"], "key-1")


@pytest.mark.parametrize("name", ["firstName", "lastName", "email", "dateOfBirth"])
def test_missing_field_is_named(caller: Caller, name: str) -> None:
    """What is required and not there, or null, is VALIDATION_ERROR for that field."""
    body = {key: value for key, value in CUSTOMER.items() if key != name}

    assert field(caller("POST", "/customers", body)) == (400, "VALIDATION_ERROR", name)
    assert field(caller.create(**{name: None})) == (400, "VALIDATION_ERROR", name)
    assert caller.state.customers == {}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"email": 5}, "email"),
        ({"email": ["ada@example.com"]}, "email"),
        ({"dateOfBirth": {"year": 1990}}, "dateOfBirth"),
        ({"phoneNumber": True}, "phoneNumber"),
        ({"phoneNumber": float("nan")}, "phoneNumber"),
        ({"lastName": 10**400}, "lastName"),
        ({"emial": "ada@example.com"}, "emial"),
        ({"id": "cus_mine"}, "id"),
        ({"state": "APPROVED"}, "state"),
        ({"postalCode": "10115"}, "country"),
        ({"dateOfBirth": "2025-06-16"}, "dateOfBirth"),
    ],
    ids=str,
)
def test_field_that_may_not_be_so_is_named(caller: Caller, changes: dict[str, Any], name: str) -> None:
    """A wrong type, an unknown field, one of the API's own, or a birth tomorrow is VALIDATION_ERROR for it."""
    assert field(caller.create(**changes)) == (400, "VALIDATION_ERROR", name)
    assert caller.state.customers == {}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"dateOfBirth": "19900228"}, "dateOfBirth"),
        ({"dateOfBirth": "1990-2-28"}, "dateOfBirth"),
        ({"dateOfBirth": "1990-02-30"}, "dateOfBirth"),
        ({"dateOfBirth": "1990-02-28\n"}, "dateOfBirth"),
        ({"dateOfBirth": "１９９０-02-28"}, "dateOfBirth"),  # noqa: RUF001 - digits that are none of ASCII's
        ({"dateOfBirth": ""}, "dateOfBirth"),
        ({"phoneNumber": "15551234567"}, "phoneNumber"),
        ({"phoneNumber": "+05551234567"}, "phoneNumber"),
        ({"phoneNumber": "+1 555 1234567"}, "phoneNumber"),
        ({"phoneNumber": "+1234567890123456"}, "phoneNumber"),
        ({"email": "ada"}, "email"),
        ({"email": "ada@example"}, "email"),
        ({"email": "ada@exa mple.com"}, "email"),
        ({"email": "ada@-example.com"}, "email"),
        ({"email": "ada@" + "example." * 40 + "com"}, "email"),
        ({"email": "a" * 100_000}, "email"),
        ({"country": "Germany"}, "country"),
        ({"country": "DE", "postalCode": "1011"}, "postalCode"),
        ({"country": "US", "postalCode": "1234-56789"}, "postalCode"),
        ({"country": "GB", "postalCode": "10115"}, "postalCode"),
        ({"country": "ZZ", "postalCode": "no such thing!"}, "postalCode"),
        ({"firstName": " "}, "firstName"),
        ({"firstName": "Ada\x00"}, "firstName"),
        ({"lastName": "x" * 101}, "lastName"),
        ({"lastName": "\ud800"}, "lastName"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_ill_written_field_is_named(caller: Caller, changes: dict[str, str], name: str) -> None:
    """A text that is not written as the API reads it is INVALID_FIELD_FORMAT for that field."""
    assert field(caller.create(**changes)) == (422, "INVALID_FIELD_FORMAT", name)
    assert caller.state.customers == {}


def test_birth_of_today_is_taken(caller: Caller) -> None:
    """Today is judged by the sandbox's clock, in UTC."""
    assert caller.create(dateOfBirth="2025-06-15").status_code == 201


@pytest.mark.parametrize(
    ("country", "postal_code"),
    [("US", "12345-6789"), ("GB", "SW1A 1AA"), ("NL", "1012 AB"), ("CA", "K1A 0B1"), ("ZZ", "AB-12")],
)
def test_postal_codes_are_written_as_their_country_does(
    caller: Caller, country: str, postal_code: str
) -> None:
    """A country whose form is known has its own; any other takes letters, digits, blanks and hyphens."""
    assert caller.create(country=country, postalCode=postal_code).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"email": 1' + b"0" * 5000 + b"}",
        b'{"a":' * 5000,
    ],
    ids=lambda body: ascii(body)[:20],
)
@pytest.mark.parametrize("path", ["", "/documents"])
def test_body_that_is_no_json_object_is_a_validation_error(caller: Caller, body: bytes, path: str) -> None:
    """A body that cannot be read is VALIDATION_ERROR for the body, whatever is wrong with it."""
    target = f"/customers/{caller.customer()}{path}"
    method = "POST" if path else "PUT"
    before = effects(caller.state)

    assert field(caller(method, target, body)) == (400, "VALIDATION_ERROR", "body")
    assert effects(caller.state) == before


def test_same_email_is_a_duplicate_in_any_case(caller: Caller) -> None:
    """The address is what makes a customer the same, however its letters are written."""
    caller.create()

    assert error(caller.create(firstName="Other")) == (409, "DUPLICATE_RESOURCE")
    assert error(caller.create(email="ADA@Example.com")) == (409, "DUPLICATE_RESOURCE")
    assert len(caller.state.customers) == 1


def test_duplicate_can_be_looked_up(caller: Caller) -> None:
    """A list asked for an address holds the one who has it, or nobody."""
    made = caller.create(email="ada+1@example.com").json()

    found = caller.client.get(
        "/customers", params={"email": "Ada+1@example.com"}, headers={"X-API-Key": caller.api.key}
    )
    assert found.json() == {"data": [made], "hasMore": False}
    assert caller("GET", "/customers?email=nobody@example.com").json() == {"data": [], "hasMore": False}


def test_list_is_paged_in_order_of_creation(caller: Caller) -> None:
    """A page holds `limit` customers from behind `after`, and says whether more come."""
    made = [caller.create(email=f"ada{number}@example.com").json() for number in range(5)]
    first = caller("GET", "/customers?limit=2").json()
    second = caller("GET", f"/customers?limit=3&after={made[1]['id']}").json()

    assert first == {"data": made[:2], "hasMore": True}
    assert second == {"data": made[2:], "hasMore": False}
    assert caller("GET", "/customers").json() == {"data": made, "hasMore": False}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("emial=ada@example.com", (400, "VALIDATION_ERROR", "emial")),
        ("limit=0", (400, "VALIDATION_ERROR", "limit")),
        ("limit=101", (400, "VALIDATION_ERROR", "limit")),
        ("limit=" + "9" * 5000, (400, "VALIDATION_ERROR", "limit")),
        ("limit=%D9%A3", (400, "VALIDATION_ERROR", "limit")),
        ("after=cus_nobody", (400, "VALIDATION_ERROR", "after")),
        ("email=ada+1@example.com", (422, "INVALID_FIELD_FORMAT", "email")),
        ("email=", (422, "INVALID_FIELD_FORMAT", "email")),
    ],
)
def test_query_that_cannot_be_meant_is_refused(
    caller: Caller, query: str, expected: tuple[int, str, str]
) -> None:
    """A misspelt filter would list everybody, and a plus that is not escaped is a blank: both are told."""
    assert field(caller("GET", f"/customers?{query}")) == expected


def test_patch_merges_and_put_replaces(caller: Caller) -> None:
    """A PATCH changes what it names, and null takes a field away; a PUT leaves nothing that it does not name."""
    path = f"/customers/{caller.customer()}"
    patched = caller("PATCH", path, {"phoneNumber": "+15551234567", "country": "DE"}).json()
    shorter = caller("PATCH", path, {"country": None}).json()
    put = caller("PUT", path, CUSTOMER | {"lastName": "Byron"}).json()

    assert (patched["phoneNumber"], patched["country"], patched["email"]) == (
        "+15551234567",
        "DE",
        CUSTOMER["email"],
    )
    assert set(patched) - set(shorter) == {"country"}
    assert {name: put[name] for name in CUSTOMER} == CUSTOMER | {"lastName": "Byron"}
    assert "phoneNumber" not in put
    assert caller("GET", path).json() == put


def test_update_is_checked_as_a_create_is(caller: Caller) -> None:
    """An update must leave a whole customer: required fields, formats, a postal code that fits the country."""
    path = f"/customers/{caller.customer()}"
    caller("PATCH", path, {"country": "DE", "postalCode": "10115"})

    assert field(caller("PUT", path, {"firstName": "Ada"})) == (400, "VALIDATION_ERROR", "lastName")
    assert field(caller("PATCH", path, {"email": None})) == (400, "VALIDATION_ERROR", "email")
    assert field(caller("PATCH", path, {"country": "GB"})) == (422, "INVALID_FIELD_FORMAT", "postalCode")
    assert caller("GET", path).json()["country"] == "DE"


def test_update_cannot_take_anothers_email(caller: Caller) -> None:
    """Addresses stay unique; one's own is no conflict, and one that was given up is free again."""
    path = f"/customers/{caller.customer()}"
    caller.create(email="grace@example.com")

    taken = caller("PATCH", path, {"email": "Grace@example.com"})
    own = caller("PATCH", path, {"email": "Ada@example.com"})
    moved = caller("PATCH", path, {"email": "ada@example.org"})

    assert error(taken) == (409, "DUPLICATE_RESOURCE")
    assert (own.status_code, moved.status_code) == (200, 200)
    assert caller.create().status_code == 201


def test_immutable_field_is_a_conflict_unless_it_is_as_it_was(caller: Caller) -> None:
    """What was read may be sent back whole; another id, state or date of creation may not."""
    path = f"/customers/{caller.customer()}"
    read = caller("GET", path).json()

    assert caller("PUT", path, read).json() == read
    for name in ("id", "state", "createdAt"):
        assert error(caller("PUT", path, read | {name: "APPROVED"})) == (409, "RESOURCE_CONFLICT")
    assert caller("GET", path).json() == read


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/customers/cus_nobody"),
        ("GET", "/customers/"),
        ("GET", "/customers/..%2F..%2Fetc%2Fpasswd"),
        ("GET", "/customers/%FF%00%ED%A0%80"),
        ("GET", "//customers"),
        ("DELETE", "/customers"),
        ("POST", "/customers/cus_nobody/verify"),
        ("POST", "/customers/cus_nobody/documents"),
        ("PATCH", "/customers/cus_nobody"),
        ("GET", "/customers/cus_nobody/documents"),
    ],
)
def test_what_is_not_there_is_not_found(caller: Caller, method: str, path: str) -> None:
    """An unknown customer and an unknown route are RESOURCE_NOT_FOUND."""
    assert error(caller(method, path, {})) == (404, "RESOURCE_NOT_FOUND")


# --- documents


@pytest.mark.parametrize(
    ("start", "form"), [(b"\xff\xd8\xff\xe0", "JPG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"%PDF-1.4", "PDF")]
)
def test_document_is_taken_and_its_digest_kept(caller: Caller, start: bytes, form: str) -> None:
    """A JPG, PNG or PDF, told by its first bytes, is taken; what arrived can be compared by its SHA-256."""
    identity, content = caller.customer(), start + bytes(3000)
    made = caller("POST", f"/customers/{identity}/documents", document(content, "ID_CARD"))

    (taken,) = caller.state.documents.values()
    assert made.status_code == 201
    assert made.json() == {
        "id": taken.id,
        "customerId": identity,
        "type": "ID_CARD",
        "format": form,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert caller("GET", f"/customers/{identity}/documents").json() == {"data": [made.json()]}


@pytest.mark.parametrize(
    ("size", "status"), [(1023, 422), (1024, 201), (LIMIT, 201), (LIMIT + 1, 422), (LIMIT + 3, 422)]
)
def test_sizes_of_a_document_are_inclusive(caller: Caller, size: int, status: int) -> None:
    """A document has at least 1024 bytes to be legible, and at most ten million once decoded."""
    response = caller("POST", f"/customers/{caller.customer()}/documents", document(b"%PDF-".ljust(size)))

    assert response.status_code == status
    if status == 422:
        small = size < 1024
        assert error(response)[1] == ("DOCUMENT_QUALITY_INSUFFICIENT" if small else "INVALID_DOCUMENT_FORMAT")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not Base64!",
        "é" * 2000,
        "\ud800",
        "JVBERi0" * 301,
        f"data:application/pdf;base64,{document()['content']}",
        base64.encodebytes(b"%PDF-1.7" + bytes(2000)).decode(),
    ],
    ids=lambda text: ascii(text)[:12],
)
def test_what_is_no_base64_of_a_document_is_refused(caller: Caller, content: str) -> None:
    """Only strict Base64 of a known format is taken: no data URL, no missing padding, no line breaks."""
    path = f"/customers/{caller.customer()}/documents"

    response = caller("POST", path, {"type": "PASSPORT", "content": content})

    assert error(response) == (422, "INVALID_DOCUMENT_FORMAT")
    assert caller.state.documents == {}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"type": "SELFIE"}, "type"),
        ({"type": []}, "type"),
        ({"content": 7}, "content"),
        ({"name": "a.pdf"}, "name"),
    ],
    ids=str,
)
def test_wrong_field_of_a_document_is_named(caller: Caller, changes: dict[str, Any], name: str) -> None:
    """A document has a known type and a content in text, and nothing else."""
    response = caller("POST", f"/customers/{caller.customer()}/documents", document() | changes)

    assert field(response) == (400, "VALIDATION_ERROR", name)


# --- the review


def test_review_is_ended_by_the_test(caller: Caller) -> None:
    """A customer with an identity document goes under review, and stays there until somebody ends it."""
    identity = caller.customer()
    caller("POST", f"/customers/{identity}/documents", document())
    submitted = caller("POST", f"/customers/{identity}/verify")
    caller.clock.advance(10**6)
    waiting = caller("GET", f"/customers/{identity}").json()["state"]
    caller.state.conclude(identity)

    assert (submitted.status_code, submitted.json()["state"], waiting) == (
        200,
        "UNDER_REVIEW",
        "UNDER_REVIEW",
    )
    assert caller("GET", f"/customers/{identity}").json()["state"] == "APPROVED"


@pytest.mark.parametrize("way", ["/customers/{}", "/customers", "/customers?email=ada@example.com"])
def test_review_can_end_by_itself(caller_of: Callable[..., Caller], way: str) -> None:
    """With `review` a customer is approved so many seconds after the submission, whichever way one looks."""
    caller = caller_of(review=120)
    identity = caller.customer("UNDER_REVIEW")

    def state() -> str:
        reply = caller("GET", way.format(identity)).json()
        return str((reply["data"][0] if "data" in reply else reply)["state"])

    caller.clock.advance(119.5)
    before = state()
    caller.clock.advance(0.5)
    assert (before, state()) == ("UNDER_REVIEW", "APPROVED")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"firstName": "Augusta"}),
        ("PUT", "", CUSTOMER),
        ("POST", "/documents", document()),
        ("POST", "/verify", {}),
    ],
)
def test_customer_under_review_cannot_be_changed(
    caller: Caller, method: str, path: str, body: object
) -> None:
    """Until the review has ended every change is RESOURCE_CONFLICT, and nothing is changed."""
    target = f"/customers/{caller.customer('UNDER_REVIEW')}{path}"
    before = effects(caller.state)

    assert error(caller(method, target, body)) == (409, "RESOURCE_CONFLICT")
    assert effects(caller.state) == before


def test_approved_customer_is_not_submitted_again(caller: Caller) -> None:
    """There is nothing left to verify; but an address may still change."""
    path = f"/customers/{caller.customer('APPROVED')}"

    assert error(caller("POST", f"{path}/verify")) == (409, "RESOURCE_CONFLICT")
    assert caller("PATCH", path, {"country": "DE"}).status_code == 200


def test_proof_of_address_does_not_identify(caller: Caller) -> None:
    """A submission needs a document that shows who it is."""
    path = f"/customers/{caller.customer()}"
    caller("POST", f"{path}/documents", document(kind="PROOF_OF_ADDRESS"))

    assert error(caller("POST", f"{path}/verify")) == (422, "VERIFICATION_FAILED")
    assert caller("GET", path).json()["state"] == "NEW"


@pytest.mark.parametrize("more", ["document", "field"])
def test_review_that_asks_for_more_wants_something_new(caller: Caller, more: str) -> None:
    """The same again is VERIFICATION_FAILED; with another document or another field it is taken."""
    path = f"/customers/{caller.customer('NEEDS_ADDITIONAL_INFORMATION')}"
    caller("PATCH", path, {"firstName": CUSTOMER["firstName"]})  # nothing new
    refused = caller("POST", f"{path}/verify")
    if more == "document":
        caller("POST", f"{path}/documents", document(kind="PROOF_OF_ADDRESS"))
    else:
        caller("PATCH", path, {"country": "DE"})

    assert error(refused) == (422, "VERIFICATION_FAILED")
    assert caller("POST", f"{path}/verify").json()["state"] == "UNDER_REVIEW"


def test_only_a_review_can_be_ended_and_only_in_two_ways(caller: Caller) -> None:
    """`conclude` refuses what no reviewer could do."""
    identity = caller.customer()
    with pytest.raises(ValueError, match="is not under review but NEW"):
        caller.state.conclude(identity)
    with pytest.raises(KeyError):
        caller.state.conclude("cus_nobody")
    caller("POST", f"/customers/{identity}/documents", document())
    caller("POST", f"/customers/{identity}/verify")
    with pytest.raises(ValueError, match="NEEDS_ADDITIONAL_INFORMATION"):
        caller.state.conclude(identity, "NEW")


# --- idempotency keys


def test_same_key_and_body_give_the_first_result_again(caller: Caller) -> None:
    """A replay is answered byte for byte as the first time, also where the customer has changed since."""
    first = caller.create(key="key-1")
    caller("PATCH", f"/customers/{first.json()['id']}", {"firstName": "Augusta"})
    replay = caller.create(key="key-1")

    assert (replay.status_code, replay.content) == (201, first.content)
    assert replay.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert len(caller.state.customers) == 1


def test_keys_protect_every_post(caller: Caller) -> None:
    """An upload is not doubled and a submission not refused when they come a second time with their keys."""
    path = f"/customers/{caller.customer()}"
    uploads = [caller("POST", f"{path}/documents", document(), key="upload") for _ in range(2)]
    submissions = [caller("POST", f"{path}/verify", key="submission") for _ in range(2)]

    assert uploads[0].content == uploads[1].content
    assert [response.status_code for response in submissions] == [200, 200]
    assert len(caller.state.documents) == 1


def test_key_with_another_body_or_path_is_a_conflict(caller: Caller) -> None:
    """A key belongs to the bytes and the path that it came with."""
    caller.create(key="key-1")
    respaced = json.dumps(CUSTOMER, indent=1).encode()
    other_path = "/customers/cus_nobody/verify"

    assert error(caller.create(key="key-1", email="grace@example.com")) == (409, "RESOURCE_CONFLICT")
    assert error(caller("POST", "/customers", respaced, key="key-1")) == (409, "RESOURCE_CONFLICT")
    assert error(caller("POST", other_path, CUSTOMER, key="key-1")) == (409, "RESOURCE_CONFLICT")
    assert len(caller.state.customers) == 1


def test_failure_leaves_its_key_free(caller: Caller) -> None:
    """A key is taken by work that was done, not by a refusal."""
    caller.create(key="key-1", email="nonsense")

    assert caller.create(key="key-1").status_code == 201


@pytest.mark.parametrize(("length", "status"), [(0, 400), (1, 201), (255, 201), (256, 400)])
def test_key_has_1_to_255_characters(caller: Caller, length: int, status: int) -> None:
    """Other lengths are VALIDATION_ERROR for the header."""
    response = caller.create(key="k" * length)

    assert response.status_code == status
    if status == 400:
        assert field(response) == (400, "VALIDATION_ERROR", "Idempotency-Key")


def test_ignored_keys_protect_nothing(caller_of: Callable[..., Caller]) -> None:
    """With `honours_keys=False` a create that comes again is a duplicate, and an upload is done twice."""
    caller = caller_of(honours_keys=False)
    path = f"/customers/{caller.create(key='key-1').json()['id']}"
    again = caller.create(key="key-1")
    for _ in range(2):
        caller("POST", f"{path}/documents", document(), key="key-2")

    assert error(again) == (409, "DUPLICATE_RESOURCE")
    assert len(caller.state.documents) == 2


def test_sign_in_is_not_replayed(caller: Caller) -> None:
    """A second sign-in with the same key in its header gives a new token: a replayed one would be dead some day."""
    tokens = {caller("POST", "/auth/token", key="key-1").json()["token"] for _ in range(2)}

    assert len(tokens) == 2


# --- the limit, and what every reply carries


def limits(response: httpx.Response) -> tuple[int, int, int]:
    """Give limit, remaining, and seconds until the reset by the reply's own date."""
    date = parsedate_to_datetime(response.headers["Date"]).timestamp()
    limit, remaining, reset = (
        int(response.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")
    )
    return limit, remaining, reset - int(date)


def test_limit_counts_down_and_comes_back_request_by_request(caller_of: Callable[..., Caller]) -> None:
    """Remaining is what still fits; Reset is when the oldest request of the window comes back."""
    caller = caller_of(limit=3)
    seen = []
    for passed in (0, 10, 20, 30, 30):
        caller.clock.advance(passed)
        seen.append(limits(caller("GET", "/customers")))

    assert seen == [(3, 2, 60), (3, 1, 50), (3, 0, 30), (3, 0, 10), (3, 1, 30)]


def test_spent_limit_says_how_long_in_one_voice(caller_of: Callable[..., Caller]) -> None:
    """Header, body and reset of a 429 agree, round up, and whoever keeps to them finds room."""
    caller = caller_of(limit=1)
    caller("GET", "/customers")
    caller.clock.advance(17.25)
    refused = caller("GET", "/customers")

    body = refused.json()["error"]
    assert error(refused) == (429, "RATE_LIMIT_EXCEEDED")
    assert (refused.headers["Retry-After"], body["retryAfter"]) == ("43", 43)
    assert body["details"] == "Rate limit exceeded. Retry after 43 seconds"
    assert limits(refused) == (1, 0, 44)  # 60.25 s past the date's whole second, rounded up
    caller.clock.advance(42)
    assert caller("GET", "/customers").headers["Retry-After"] == "1"
    caller.clock.advance(1)
    assert caller("GET", "/customers").status_code == 200


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ("RATE_LIMIT_EXCEEDED", 1),
        ("RATE_LIMIT_EXCEEDED:2", 2),
        ("RATE_LIMIT_EXCEEDED#2:5", 5),
        ("RATE_LIMIT_EXCEEDED#3", 1),
    ],
)
def test_injected_429_speaks_in_one_voice_too(
    caller_of: Callable[..., Caller], fault: str, seconds: int
) -> None:
    """What the fault asks for is in the header, in the body and in the reset, and is not counted."""
    caller = caller_of(faults=Schedule().add(CREATE, [fault]))
    response = caller.create()

    assert (response.headers["Retry-After"], response.json()["error"]["retryAfter"]) == (
        str(seconds),
        seconds,
    )
    assert limits(response) == (300, 0, seconds)
    assert caller.state.requests_spent(caller.clock.monotonic()) == 0


def test_what_is_turned_away_does_not_count(caller_of: Callable[..., Caller]) -> None:
    """What is refused before the work starts is free; work that fails is not."""
    caller = caller_of(limit=2)
    wrong_key(caller)()
    read_only(caller)()
    caller("GET", "/nowhere")
    caller.state.maintenance = True
    caller("GET", "/customers")
    caller.state.maintenance = False
    free = caller.state.requests_spent(caller.clock.monotonic())
    no_email(caller)()
    caller.token()
    caller("GET", "/customers")

    assert (free, caller.state.requests_spent(caller.clock.monotonic())) == (0, 2)


def test_both_keys_share_the_limit(caller_of: Callable[..., Caller]) -> None:
    """The limit is the account's, not the key's."""
    caller = caller_of(limit=1)
    caller("GET", "/customers")

    response = caller("GET", "/customers", x_api_key=caller.api.credentials["read_only_key"])

    assert error(response) == (429, "RATE_LIMIT_EXCEEDED")


def test_every_reply_has_an_id_of_its_own_and_the_limit(caller_of: Callable[..., Caller]) -> None:
    """Successes, refusals and injected errors all carry X-Request-Id and the state of the limit, as of now."""
    faults = Schedule().add(
        "GET /customers", ["INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "TOKEN_EXPIRED"]
    )
    caller = caller_of(faults=faults)
    replies = [caller("GET", "/customers") for _ in range(4)]
    replies += [caller.create(), caller.create(), wrong_key(caller)(), caller("GET", "/nowhere")]

    ids = [reply.headers["X-Request-Id"] for reply in replies]
    assert len(set(ids)) == len(replies)
    assert [limits(reply)[:2] for reply in replies] == [
        (300, left) for left in (299, 299, 299, 298, 297, 296, 296, 296)
    ]
    assert {limits(reply)[2] for reply in replies} == {60}
    assert replies[0].json()["error"]["details"] == f"Request ID: {ids[0]}"


@pytest.mark.parametrize("fault", ["html-503", "SERVER_ERROR", "NOT_SUPPORTED", "RATE_LIMIT_EXCEEDED#4"])
def test_reply_of_something_in_front_knows_nothing_of_the_api(
    caller_of: Callable[..., Caller], fault: str
) -> None:
    """A balancer's page or a proxy's text has no request id and no limit to tell."""
    caller = caller_of(faults=Schedule().add(CREATE, [fault]))
    response = caller.create()

    assert response.status_code in {429, 503, 505}
    assert [name for name in response.headers if name.startswith("x-r")] == []


# --- webhooks


def webhook(caller: Caller, body: bytes, *, age: float = 0, **changes: str) -> httpx.Response:
    """Have a webhook checked that was signed `age` seconds ago."""
    stamp = changes.get("stamp", str(int(caller.clock.time() - age)))
    secret = caller.api.credentials["webhook_secret"]
    signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, "sha256").hexdigest()
    headers = {"x_webhook_timestamp": stamp, "x_webhook_signature": changes.get("signature", signature)}
    return caller("POST", "/webhooks/check", body, **headers)


@pytest.mark.parametrize("age", [-300, 0, 300])
def test_right_signature_is_confirmed(caller: Caller, age: float) -> None:
    """A webhook signed over timestamp and raw body is valid while it is at most five minutes away."""
    assert webhook(caller, b'{"state": "APPROVED"}\xff', age=age).json() == {"valid": True}


@pytest.mark.parametrize(
    ("age", "changes"),
    [
        (301, {}),
        (-301, {}),
        (0, {"stamp": ""}),
        (0, {"stamp": "soon"}),
        (0, {"stamp": "9" * 5000}),
        (0, {"stamp": "²"}),
        (0, {"signature": ""}),
        (0, {"signature": "é"}),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_wrong_signature_or_time_is_refused(caller: Caller, age: float, changes: dict[str, str]) -> None:
    """A signature that does not fit, or fits a time that is none or too far away, is refused."""
    response = webhook(caller, b"{}", age=age, **changes)

    assert error(response) == (401, "WEBHOOK_SIGNATURE_INVALID")


# --- faults


WIRE_ENDINGS: dict[str, type[httpx.TransportError] | int] = {
    "close": httpx.RemoteProtocolError,
    "reset": httpx.ReadError,
    "reset-upload": httpx.ReadError,
    "garbage": httpx.RemoteProtocolError,
    "html-503": 503,
    "lose": httpx.RemoteProtocolError,
    "lose-reset": httpx.ReadError,
    "lose-garbage": httpx.RemoteProtocolError,
    "truncate": httpx.RemoteProtocolError,
    "reset-body": httpx.ReadError,
    "latency": 201,
    "drip": 201,
    "stale": 201,
}


@pytest.mark.parametrize("fault", every_fault(API))
def test_every_fault_can_be_injected(caller_of: Callable[..., Caller], fault: str) -> None:
    """Each fault ends a create as it says; the work is done by those that say so, and by no other."""
    plan = Schedule().add(CREATE, [fault])
    caller = caller_of(faults=plan)
    ending: object
    try:
        response = caller.create(key="key-1")
        ending = response.status_code if fault in WIRE else load_policy(API).classify(response).name
    except httpx.TransportError as broken:
        ending = type(broken)

    works = fault in WIRE and WIRE[fault].works
    (seen,) = caller.state.requests
    assert ending == WIRE_ENDINGS.get(fault, fault)
    assert (seen.fault, seen.worked, len(caller.state.customers)) == (fault, works, int(works))
    assert plan.left() == {}
    assert caller.state.tally() == {fault: 1}


def test_fault_spares_nobody_the_checks(caller_of: Callable[..., Caller]) -> None:
    """A request that the API refuses by itself takes nothing from the plan."""
    plan = Schedule().add(CREATE, ["lose"])
    caller = caller_of(faults=plan)

    assert error(read_only(caller)()) == (403, "INSUFFICIENT_PERMISSIONS")
    assert plan.left() == {(CREATE, None): ("lose",)}


# --- through the resilient client


def test_lost_create_is_not_doubled(ask: Callable[..., list[httpx.Response]]) -> None:
    """A create whose reply was lost is sent again with its key, and answered with the customer that it made."""
    faults = Schedule().add(CREATE, ["lose", "lose-garbage", "INTERNAL_SERVER_ERROR"])
    api = Sandbox(API, clock=VirtualClock(), faults=faults)
    (response,) = ask(api, ("POST", "/customers", CUSTOMER))

    assert response.json()["id"] in api.state.customers
    assert len(api.state.customers) == 1
    assert len(outcome_of(response).attempts) == 4
    assert len({seen.idempotency_key for seen in api.state.requests if seen.route == CREATE}) == 1


def test_echo_of_a_lost_create_is_told(ask: Callable[..., list[httpx.Response]]) -> None:
    """Where keys are ignored, the retry meets its own first attempt: the outcome says so, the list has it."""
    api = Sandbox(API, clock=VirtualClock(), faults=Schedule().add(CREATE, ["lose"]), honours_keys=False)
    response, found = ask(
        api, ("POST", "/customers", CUSTOMER), ("GET", f"/customers?email={CUSTOMER['email']}", None)
    )

    outcome = outcome_of(response)
    assert error(response) == (409, "DUPLICATE_RESOURCE")
    assert (outcome.verdict.name, outcome.reason, outcome.maybe_applied) == (
        "DUPLICATE_RESOURCE",
        "not_retryable",
        True,
    )
    assert [customer["id"] for customer in found.json()["data"]] == list(api.state.customers)


def test_duplicate_of_another_is_no_echo(ask: Callable[..., list[httpx.Response]]) -> None:
    """A DUPLICATE_RESOURCE that answers a first attempt is about somebody else's create."""
    api = Sandbox(API, clock=VirtualClock())
    _, response = ask(api, ("POST", "/customers", CUSTOMER), ("POST", "/customers", CUSTOMER))

    assert error(response) == (409, "DUPLICATE_RESOURCE")
    assert not outcome_of(response).maybe_applied


def test_expired_token_is_renewed_once(ask: Callable[..., list[httpx.Response]]) -> None:
    """A client whose clock is behind learns from the API that its token has ended, signs in once more, and goes on."""
    ahead = VirtualClock()
    api = Sandbox(API, clock=ahead, token_life=60)

    class Aging(httpx.MockTransport):
        """Lets the API's time pass behind the client's back, after each reply."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.method == "POST" and request.url.path.endswith("/customers"):
                ahead.advance(60)
            return response

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return self.handle_request(request)

    behind = VirtualClock()
    made, read = ask(
        api,
        ("POST", "/customers", CUSTOMER),
        ("GET", "/customers", None),
        clock=behind,
        transport=Aging(api.handler),
    )

    assert (made.status_code, read.status_code) == (201, 200)
    assert [attempt.verdict.name for attempt in outcome_of(read).attempts] == ["TOKEN_EXPIRED", "OK"]
    assert outcome_of(read).attempts[0].change == ("refresh",)
    assert routes(api.state) == [
        ("POST /auth/token", 200),
        (CREATE, 201),
        ("GET /customers", 401),
        ("POST /auth/token", 200),
        ("GET /customers", 200),
    ]
    assert behind.sleeps == []


def test_token_is_renewed_before_its_end(ask: Callable[..., list[httpx.Response]]) -> None:
    """A client whose clock is right reads the end from the JWT, and no call meets a dead token."""
    clock = VirtualClock()
    api = Sandbox(API, clock=clock, token_life=60, faults=Schedule().add(CREATE, ["latency:59"]))
    made, read = ask(api, ("POST", "/customers", CUSTOMER), ("GET", "/customers", None), timeout=100)

    assert (made.status_code, read.status_code) == (201, 200)
    assert routes(api.state) == [
        ("POST /auth/token", 200),
        (CREATE, 201),
        ("POST /auth/token", 200),
        ("GET /customers", 200),
    ]


def test_crowd_with_a_dead_token_signs_in_once() -> None:
    """Twenty tasks whose token the API calls dead share one sign-in."""
    api = Sandbox(API, clock=VirtualClock())

    async def crowd() -> list[httpx.Response]:
        async with api.async_client() as client:
            await client.get("/customers")
            for token in api.state.tokens.values():
                token.ends = 0
            return await asyncio.gather(*(client.get("/customers") for _ in range(20)))

    responses = asyncio.run(crowd())
    assert {response.status_code for response in responses} == {200}
    assert len(api.state.tokens) == 2


def test_forged_token_is_not_renewed(ask: Callable[..., list[httpx.Response]]) -> None:
    """AUTHENTICATION_FAILED and WEBHOOK_SIGNATURE_INVALID are no reason to sign in again."""
    faults = Schedule().add("GET /customers", ["AUTHENTICATION_FAILED"])
    api = Sandbox(API, clock=VirtualClock(), faults=faults)
    refused, unsigned = ask(api, ("GET", "/customers", None), ("POST", "/webhooks/check", {}))

    assert [error(refused)[1], error(unsigned)[1]] == ["AUTHENTICATION_FAILED", "WEBHOOK_SIGNATURE_INVALID"]
    assert len(api.state.tokens) == 1


def test_spent_limit_is_waited_out(ask: Callable[..., list[httpx.Response]]) -> None:
    """Ten calls against a limit of four a minute all succeed, none of them by coming back too early."""
    clock = VirtualClock()
    api = Sandbox(API, clock=clock, limit=4)
    responses = ask(api, *[("GET", "/customers", None)] * 10)

    refusals = [seen for seen in api.state.requests if seen.status == 429]
    assert {response.status_code for response in responses} == {200}
    assert 0 < len(refusals) == len(clock.sleeps)
    assert clock.monotonic() >= 120  # eleven requests, four a minute


def test_lost_sign_in_is_made_again(ask: Callable[..., list[httpx.Response]]) -> None:
    """A sign-in that is refused for its rate, or whose reply is lost, is tried again like any call."""
    faults = Schedule().add("POST /auth/token", ["RATE_LIMIT_EXCEEDED:2", "lose"])
    api = Sandbox(API, clock=VirtualClock(), faults=faults)
    (response,) = ask(api, ("GET", "/customers", None))

    assert response.status_code == 200
    assert len(api.state.tokens) == 2


def test_lost_upload_and_submission_take_effect_once(ask: Callable[..., list[httpx.Response]]) -> None:
    """Every POST carries a key, so that a lost reply is fetched again and no 409 comes of it."""
    faults = Schedule().add("POST /customers/{id}/documents", ["lose-garbage"])
    faults.add("POST /customers/{id}/verify", ["lose-reset"])
    clock = VirtualClock()
    api = Sandbox(API, clock=clock, faults=faults)
    (made,) = ask(api, ("POST", "/customers", CUSTOMER))
    path = f"/customers/{made.json()['id']}"
    uploaded, submitted = ask(api, ("POST", f"{path}/documents", document()), ("POST", f"{path}/verify", {}))

    assert (uploaded.status_code, submitted.json()["state"]) == (201, "UNDER_REVIEW")
    assert len(api.state.documents) == 1


def test_lost_patch_is_not_repeated(ask: Callable[..., list[httpx.Response]]) -> None:
    """Nothing protects a PATCH: the caller gets the network's error, with the word that it may have taken effect."""
    api = Sandbox(API, clock=VirtualClock(), faults=Schedule().add("PATCH /customers/{id}", ["lose"]))
    (made,) = ask(api, ("POST", "/customers", CUSTOMER))
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        ask(api, ("PATCH", f"/customers/{made.json()['id']}", {"country": "DE"}))

    assert outcome_of(caught.value).maybe_applied
    assert len(outcome_of(caught.value).attempts) == 1
    assert [customer.fields["country"] for customer in api.state.customers.values()] == ["DE"]


def test_bad_day_is_ridden_out() -> None:
    """With a curable fault on every third create, thirty calls make thirty customers, none of them twice."""
    kinds = ["lose", "reset", "garbage", "stale", "RATE_LIMIT_EXCEEDED", "INTERNAL_SERVER_ERROR"]
    api = Sandbox(API, clock=VirtualClock(), faults=RandomFaults(0.33, kinds=kinds, seed=3, routes=[CREATE]))
    with api.client() as client:
        responses = [
            client.post(
                "/customers",
                json=CUSTOMER | {"email": f"ada{number}@example.com"},
                extensions={"resilience": {"idempotency_key": f"key-{number}"}},
            )
            for number in range(30)
        ]

    assert len(api.state.injected) > 10
    assert api.state.tally()["lose"] > 0
    assert {response.status_code for response in responses} == {201}
    assert [customer.idempotency_key for customer in api.state.customers.values()] == [
        f"key-{number}" for number in range(30)
    ]


# --- over a socket


def test_whole_way_over_a_socket() -> None:
    """Sign-in, a lost create, an upload of half a million bytes and the submission work over a real connection."""
    content = b"%PDF-1.7" + bytes(500_000)
    with Sandbox(API, clock=VirtualClock(), faults=Schedule().add(CREATE, ["lose", "reset-upload"])) as api:
        with api.client() as client:
            made = client.post("/customers", json=CUSTOMER)
            path = f"/customers/{made.json()['id']}"
            uploaded = client.post(f"{path}/documents", json=document(content))
            submitted = client.post(f"{path}/verify")
        assert api.connections > 0

    assert [made.status_code, uploaded.status_code, submitted.status_code] == [201, 201, 200]
    assert uploaded.json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(api.state.customers) == 1
    assert len({reply.headers["X-Request-Id"] for reply in (made, uploaded, submitted)}) == 3
