"""The openpoly sandbox's contract: scopes, keys in bodies, wallets and webhooks; and a client that comes through."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from resilient_client import ApiError, outcome_of
from resilient_client.sandbox import Request, Sandbox, Schedule, every_fault
from resilient_client.sandbox._documented import documented
from resilient_client.sandbox.faults import WIRE
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from resilient_client.sandbox.openpoly import Openpoly

USER = "operator-user-1"
MOVE = {"external_user_id": USER, "direction": "credit", "amount_minor": 1250, "idempotency_key": "move-1"}
MOVEMENTS = "/simulator/operations"
WALLET = f"/simulator/wallets/{USER}"
ENDPOINT = {
    "url": "https://operator.example/webhooks",
    "secret": "whsec_test",
    "enabled_events": ["mini_app.redemption.processed", "mini_app.trade.failed"],
}
WRITES = [
    ("POST", "/launch", "launch:write"),
    ("POST", "/api-keys", "api_keys:write"),
    ("POST", "/api-keys/1/revoke", "api_keys:write"),
    ("POST", MOVEMENTS, "simulator:write"),
    ("PUT", WALLET, "simulator:write"),
    ("POST", "/webhooks/endpoints", "webhooks:write"),
    ("PATCH", "/webhooks/endpoints/1", "webhooks:write"),
    ("DELETE", "/webhooks/endpoints/1", "webhooks:write"),
    ("POST", "/webhooks/deliveries/1/replay", "webhooks:write"),
]
READS = [
    ("GET", "/users", "users:read"),
    ("GET", "/balance-operations", "balance_operations:read"),
    ("GET", "/api-keys", "api_keys:read"),
    ("GET", f"{MOVEMENTS}/move-1", "simulator:read"),
    ("GET", WALLET, "simulator:read"),
    ("GET", "/webhooks/endpoints", "webhooks:read"),
    ("GET", "/webhooks/deliveries", "webhooks:read"),
]


class Backend:
    """An operator's backend without a resilient client: what it is told is what the API said."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.api: Sandbox[Openpoly] = Sandbox("openpoly", seed=7, clock=self.clock, **options)
        self.client = httpx.Client(
            base_url=self.api.base_url, transport=httpx.MockTransport(self.api.handler)
        )

    def __call__(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        """Send with the key that has all scopes, or with another; bytes go out as they are."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.api.key if key is None else key}"}
        return self.client.request(method, path, content=content, headers=headers)

    def launch(self, user: str = USER, **how: Any) -> httpx.Response:
        return self("POST", "/launch", {"external_user_id": user}, **how)

    def move(self, **changes: Any) -> httpx.Response:
        """Send the movement with these fields changed; None leaves one out."""
        return self("POST", MOVEMENTS, {k: v for k, v in (MOVE | changes).items() if v is not None})

    def key_with(self, *scopes: str) -> str:
        made = self("POST", "/api-keys", {"name": "worker", "scopes": scopes})
        return str(made.json()["token"])

    @property
    def effects(self) -> Any:
        """A picture of all that the API keeps, which later requests do not change."""
        state = self.api.state
        return copy.deepcopy((state.keys, state.users, state.operations, state.endpoints, state.deliveries))


@pytest.fixture
def backend() -> Backend:
    """Give an operator with one user who was launched."""
    opened = Backend()
    opened.launch()
    return opened


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# --- keys and scopes


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer nobody", "Basic b3A6b3A=", "nobody"]
)
def test_without_a_good_bearer_token_the_key_is_invalid(backend: Backend, header: str | None) -> None:
    """A missing, a mistyped and a foreign credential all look the same."""
    headers = {} if header is None else {"Authorization": header}

    assert refusal(backend.client.get("/users", headers=headers)) == (401, "INVALID_API_KEY")


def test_a_revoked_key_is_invalid(backend: Backend) -> None:
    """The seeded one that was revoked opens nothing."""
    before = backend.effects
    refused = backend.launch("somebody", key=backend.api.credentials["revoked_key"])

    assert refusal(refused) == (401, "INVALID_API_KEY")
    assert backend.effects == before


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in WRITES])
def test_a_key_that_reads_cannot_write(backend: Backend, method: str, path: str) -> None:
    """Every route that changes something needs a scope that the read-only key lacks, whatever its body."""
    before = backend.effects
    refused = backend(method, path, {}, key=backend.api.credentials["read_only_key"])

    assert refusal(refused) == (403, "INSUFFICIENT_SCOPE")
    assert backend.effects == before


@pytest.mark.parametrize(("method", "path", "scope"), [*READS, *WRITES])
def test_a_route_needs_its_own_scope_and_no_other(
    backend: Backend, method: str, path: str, scope: str
) -> None:
    """A key with just this scope passes; one with all but this scope does not."""
    own = backend.key_with(scope)
    others = backend.key_with(*sorted({other for *_, other in [*READS, *WRITES]} - {scope}))

    assert refusal(backend(method, path, {}, key=others)) == (403, "INSUFFICIENT_SCOPE")
    assert backend(method, path, {}, key=own).status_code != 403


def test_every_route_is_in_the_tables_of_this_file() -> None:
    """So that no route is left without its scope being tested."""
    state = Sandbox("openpoly").state
    asked = {
        state.route_of(Request.of(method, state.base + path, [], b"")) for method, path, _ in READS + WRITES
    }

    assert asked == set(state.routes)


def test_a_made_key_works_shows_its_token_once_and_can_be_revoked(backend: Backend) -> None:
    """As the vendor's rotation goes: make the new key, use it, revoke the old one."""
    made = backend("POST", "/api-keys", {"name": "launcher", "scopes": ["launch:write", "launch:write"]})
    item, token = made.json()["item"], made.json()["token"]
    unused = backend("GET", "/api-keys").json()["items"][0]
    backend.clock.advance(60)
    launched = backend.launch(key=token)
    used = backend("GET", "/api-keys").text
    revoked = backend("POST", f"/api-keys/{item['id']}/revoke").json()["item"]
    backend.clock.advance(60)
    again = backend("POST", f"/api-keys/{item['id']}/revoke").json()["item"]

    assert (made.status_code, launched.status_code) == (201, 200)
    assert (item["name"], item["scopes"], item["last4"]) == ("launcher", ["launch:write"], token[-4:])
    assert unused == item | {"last_used_at": None}
    assert json.loads(used)["items"][0]["last_used_at"] == "2025-06-15T15:07:40.000Z"
    assert token not in used
    assert revoked["revoked_at"] == again["revoked_at"] == "2025-06-15T15:07:40.000Z"
    assert refusal(backend.launch(key=token)) == (401, "INVALID_API_KEY")


def test_no_token_is_kept() -> None:
    """What the state holds of a key does not open anything."""
    backend = Backend()
    tokens = backend.api.credentials.values()

    assert not any(token in repr(backend.api.state.keys) for token in tokens)


def test_a_simulator_that_is_off_has_no_routes() -> None:
    """Each of its routes says so to whom has the scope; the rest of the API works."""
    backend = Backend(simulator=False)
    backend.launch()
    routes = [(m, p) for m, p, _ in READS + WRITES if p.startswith("/simulator/")]

    assert len(routes) == 4
    assert [refusal(backend(m, p, MOVE)) for m, p in routes] == [(404, "SIMULATOR_DISABLED")] * 4
    assert refusal(backend("GET", WALLET, key="nobody")) == (401, "INVALID_API_KEY")
    assert backend("GET", "/balance-operations").json()["items"] == []
    backend.api.state.simulator = True
    assert backend.move().status_code == 201


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/users"), ("GET", "/markets/1"), ("GET", "/users/"), ("GET", "/")]
)
def test_unknown_route_is_not_found(backend: Backend, method: str, path: str) -> None:
    """For a wrong method and a wrong path, key or no key; also outside of the base path."""
    assert refusal(backend(method, path)) == (404, "NOT_FOUND")
    assert refusal(backend(method, path, key="nobody")) == (404, "NOT_FOUND")
    assert refusal(backend(method, f"http://openpoly.sandbox{path}")) == (404, "NOT_FOUND")


# --- each error by its cause


WRONG_AMOUNTS: list[Any] = [
    -1,
    12.5,
    1250.0,
    "1250",
    None,
    True,
    [],
    float("nan"),
    float("inf"),
    2**53,
    10**400,
]
WRONG_DIRECTIONS: list[Any] = ["Debit", "refund", "", None, 1, [], {"debit": 1}]
WRONG_EVENTS: list[Any] = [None, [], "mini_app.trade.failed", ["mini_app.trade"], [["mini_app.trade.failed"]]]
WRONG_IDS = ["0", "-1", "1.0", "01", "abc", "%20", "%D9%A1", "9" * 17, "9" * 5000, "undefined"]
WRONG_NAMES: list[Any] = [None, "", " ", 5, ["backend"]]
WRONG_SCOPES: list[Any] = [None, [], "*", ["users:write"], ["*", "users:write"], [["*"]], {"*": 1}]
WRONG_STATUSES: list[Any] = ["paused", "", None, True, [], {}]
WRONG_TEXTS: list[Any] = ["", 5, "x" * 256, ["x"]]
WRONG_URLS: list[Any] = [
    None,
    7,
    "",
    "operator.example/webhooks",
    "http://operator.example/webhooks",
    "http://localhost.example/webhooks",
    "http://127.0.0.1@operator.example/webhooks",
    "ftp://localhost/webhooks",
    "https://",
    "https://[::1/webhooks",
    "https://operator.example:99999/",
    "https://operator.example:0/",
    "https://name:word@operator.example/",
    "https://operator.example/a b",
    "https://operator.example/\n",
    "javascript:alert(1)",
]

ENDPOINT_1 = "/webhooks/endpoints/1"
REFUSED: list[tuple[str, str, Any, tuple[int, str]]] = [
    *(("POST", "/api-keys", {"name": it, "scopes": ["*"]}, (400, "INVALID_NAME")) for it in WRONG_NAMES),
    *(("POST", "/api-keys", {"name": "a", "scopes": it}, (400, "INVALID_SCOPES")) for it in WRONG_SCOPES),
    *(("POST", f"/api-keys/{it}/revoke", None, (400, "INVALID_ID")) for it in WRONG_IDS),
    ("POST", "/api-keys/5/revoke", None, (404, "NOT_FOUND")),
    ("POST", "/api-keys/9999999999999999/revoke", None, (404, "NOT_FOUND")),
    ("POST", "/launch", {}, (400, "INVALID_ID")),
    *(("POST", "/launch", {"external_user_id": it}, (400, "INVALID_ID")) for it in WRONG_TEXTS),
    ("POST", "/launch", {"external_user_id": USER, "host": "other.example"}, (400, "INVALID_URL")),
    ("POST", "/launch", {"external_user_id": USER, "host": []}, (400, "INVALID_URL")),
    *(("POST", MOVEMENTS, MOVE | {"direction": it}, (400, "INVALID_DIRECTION")) for it in WRONG_DIRECTIONS),
    ("POST", MOVEMENTS, MOVE | {"amount_minor": 0}, (400, "INVALID_AMOUNT_MINOR")),
    *(
        ("POST", MOVEMENTS, MOVE | {"amount_minor": it}, (400, "INVALID_AMOUNT_MINOR"))
        for it in WRONG_AMOUNTS
    ),
    *(("POST", MOVEMENTS, MOVE | {"idempotency_key": it}, (400, "INVALID_ID")) for it in WRONG_TEXTS),
    ("POST", MOVEMENTS, MOVE | {"external_user_id": "nobody"}, (404, "OPERATOR_USER_NOT_FOUND")),
    ("POST", MOVEMENTS, MOVE | {"external_user_id": [USER]}, (404, "OPERATOR_USER_NOT_FOUND")),
    ("GET", f"{MOVEMENTS}/move-2", None, (404, "NOT_FOUND")),
    ("GET", "/simulator/wallets/nobody", None, (404, "OPERATOR_USER_NOT_FOUND")),
    ("PUT", "/simulator/wallets/nobody", {"balance_minor": 1}, (404, "OPERATOR_USER_NOT_FOUND")),
    *(("PUT", WALLET, {"balance_minor": it}, (400, "INVALID_AMOUNT_MINOR")) for it in WRONG_AMOUNTS),
    *(("POST", "/webhooks/endpoints", ENDPOINT | {"url": it}, (400, "INVALID_URL")) for it in WRONG_URLS),
    *(
        ("POST", "/webhooks/endpoints", ENDPOINT | {"enabled_events": it}, (400, "INVALID_ENABLED_EVENTS"))
        for it in WRONG_EVENTS
    ),
    *(("PATCH", ENDPOINT_1, {"status": it}, (400, "INVALID_STATUS")) for it in WRONG_STATUSES),
    ("PATCH", ENDPOINT_1, {}, (400, "INVALID_STATUS")),
    ("PATCH", ENDPOINT_1, {"status": "disabled", "url": "ftp://x"}, (400, "INVALID_URL")),
    (
        "PATCH",
        ENDPOINT_1,
        {"url": "https://x.example", "enabled_events": []},
        (400, "INVALID_ENABLED_EVENTS"),
    ),
    *(("PATCH", f"/webhooks/endpoints/{it}", {}, (400, "INVALID_ENDPOINT_ID")) for it in WRONG_IDS),
    ("DELETE", "/webhooks/endpoints/one", None, (400, "INVALID_ENDPOINT_ID")),
    ("POST", "/webhooks/deliveries/-1/replay", None, (400, "INVALID_ENDPOINT_ID")),
    ("PATCH", "/webhooks/endpoints/2", {"status": "active"}, (404, "NOT_FOUND")),
    ("DELETE", "/webhooks/endpoints/2", None, (404, "NOT_FOUND")),
    ("POST", "/webhooks/deliveries/99/replay", None, (404, "NOT_FOUND")),
]


@pytest.mark.parametrize(("method", "path", "body", "error"), REFUSED)
def test_a_refused_request_tells_why_and_changes_nothing(
    backend: Backend, method: str, path: str, body: Any, error: tuple[int, str]
) -> None:
    """Each documented error by its cause, with an endpoint and a delivery there to be harmed."""
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    backend.move(idempotency_key="earlier")
    before = backend.effects

    assert refusal(backend(method, path, body)) == error
    assert backend.effects == before
    assert not backend.api.state.requests[-1].worked


def test_every_error_of_the_vendors_table_has_a_cause_here() -> None:
    """All that chance may pick has a test by its cause, but for the failures that only injection brings."""
    caused = {code for *_, (_, code) in REFUSED} | {
        "INVALID_API_KEY",
        "INSUFFICIENT_SCOPE",
        "SIMULATOR_DISABLED",
    }

    assert set(every_fault("openpoly")) - set(WIRE) - caused == {
        "RATE_LIMITED",
        "NOT_SUPPORTED",
        "SERVER_ERROR",
    }


HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"idempotency_key"',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"amount_minor": 1' + b"0" * 5000 + b"}",
    b'{"idempotency_key": NaN, "name": {}, "external_user_id": {}, "secret": [], "max_attempts": Infinity}',
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/launch", "INVALID_ID"),
        ("POST", "/api-keys", "INVALID_NAME"),
        ("POST", MOVEMENTS, "INVALID_DIRECTION"),
        ("PUT", WALLET, "INVALID_AMOUNT_MINOR"),
        ("POST", "/webhooks/endpoints", "INVALID_URL"),
        ("PATCH", "/webhooks/endpoints/1", "INVALID_STATUS"),
    ],
)
def test_a_body_with_no_fields_meets_the_error_of_the_first(
    backend: Backend, method: str, path: str, code: str, body: bytes
) -> None:
    """Whatever is wrong with it as a whole: not JSON, not an object, not UTF-8, too deep, too long a number."""
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    before = backend.effects

    assert refusal(backend(method, path, body)) == (400, code)
    assert backend.effects == before


@pytest.mark.parametrize("text", ["\ud800", "\x00", "é" * 200, "a/b?c#d"])
def test_any_text_is_taken_as_a_users_id_a_key_and_a_secret(text: str) -> None:
    """Unpaired surrogates included: what comes in comes out, and nothing breaks on the way."""
    backend = Backend()
    backend.launch(text)
    backend("POST", "/webhooks/endpoints", ENDPOINT | {"secret": text})
    moved = backend.move(external_user_id=text, idempotency_key=text)

    assert moved.json()["item"]["external_user_id"] == moved.json()["item"]["idempotency_key"] == text
    assert json.loads(backend.api.state.deliveries[1].body)["data"]["external_user_id"] == text


@pytest.mark.parametrize("target", ["{external_user_id}", "..", "%00", "%ff%fe", "%", "a%2Fb"])
def test_odd_paths_find_nobody(backend: Backend, target: str) -> None:
    """Also where the target is, letter for letter, the template of its route."""
    key = f"Bearer {backend.api.key}".encode()
    asked = Request.of("GET", f"/api/operator/simulator/wallets/{target}", [(b"Authorization", key)], b"")

    assert backend.api.state.answer(asked, 0.0).code == "OPERATOR_USER_NOT_FOUND"


def test_every_error_has_a_request_id_of_its_own() -> None:
    """Refused or injected; a success has none."""
    backend = Backend(faults=Schedule().add("GET /users", ["SERVER_ERROR", "INVALID_NAME", None]))
    errors = [
        *(backend("GET", "/users") for _ in range(2)),
        *(backend("GET", "/nowhere") for _ in range(2)),
        backend("GET", "/users", key="nobody"),
        backend.move(),
    ]
    ids = [error.json()["error"]["request_id"] for error in errors]

    assert len(set(ids)) == len(ids)
    assert all(each.startswith("req_") for each in ids)
    assert "request_id" not in backend("GET", "/users").text


# --- users and wallets


def test_a_launch_makes_a_user_known_once(backend: Backend) -> None:
    """Each launch gives a token of its own, for a minute; the user stays the same."""
    first, second = (backend.launch(USER).json() for _ in range(2))
    other = backend.launch("operator-user-2").json()

    assert first["operator_user"] == second["operator_user"]
    assert first["operator_user"] == {"id": 1, "external_user_id": USER, "status": "active"}
    assert first["expires_at"] == "2025-06-15T15:07:40.000Z"
    assert len({first["launch_url"], second["launch_url"], other["launch_url"]}) == 3
    assert [user.launches for user in backend.api.state.users.values()] == [3, 1]
    assert [user["id"] for user in backend("GET", "/users").json()["items"]] == [2, 1]


def test_a_launch_may_name_the_operators_own_host() -> None:
    """And the URL leads there."""
    backend = Backend(launch_host="play.example")
    launched = backend("POST", "/launch", {"external_user_id": USER, "host": "play.example"})

    assert launched.json()["launch_url"].startswith("https://play.example/launch?token=")


def test_movements_need_a_launch_first() -> None:
    """The same call is refused before the launch, and done after it."""
    backend = Backend()

    assert refusal(backend.move()) == (404, "OPERATOR_USER_NOT_FOUND")
    backend.launch()
    assert backend.move().status_code == 201


@pytest.mark.parametrize(
    ("direction", "balance"),
    [("debit", 3750), ("credit", 6250), ("debit_reversal", 6250), ("credit_reversal", 3750)],
)
def test_a_movement_moves_the_balance_once(backend: Backend, direction: str, balance: int) -> None:
    """Debits and undone credits take, credits and undone debits give."""
    backend("PUT", WALLET, {"balance_minor": 5000})
    moved = backend.move(direction=direction)

    assert moved.status_code == 201
    assert moved.json()["item"] == {
        "id": 1,
        **MOVE,
        "direction": direction,
        "currency_code": "IDR",
        "status": "succeeded",
        "balance_minor": balance,
        "created_at": "2025-06-15T15:06:40.000Z",
    }
    assert backend("GET", WALLET).json()["item"]["balance_minor"] == balance


@pytest.mark.parametrize(
    ("start", "direction", "end"),
    [(1250, "debit", "succeeded"), (1249, "debit", "failed"), (2**53 - 1, "credit", "failed")],
)
def test_a_movement_that_the_wallet_cannot_bear_is_recorded_as_failed(
    backend: Backend, start: int, direction: str, end: str
) -> None:
    """Its key stands for that end from then on, and the balance is as it was."""
    backend("PUT", WALLET, {"balance_minor": start})
    first = backend.move(direction=direction).json()
    backend("PUT", WALLET, {"balance_minor": 5000})

    assert first["item"]["status"] == end
    assert first["item"]["balance_minor"] == (0 if end == "succeeded" else start)
    assert backend.move(direction=direction).json() == first
    assert backend.api.state.users[1].balance_minor == 5000


def test_the_same_key_and_movement_give_the_first_result(backend: Backend) -> None:
    """Also later, after other movements, and with the JSON written otherwise: the balance moved once."""
    first = backend.move()
    backend.clock.advance(3600)
    backend.move(idempotency_key="move-2")
    again = backend("POST", MOVEMENTS, json.dumps(dict(reversed(MOVE.items())), indent=2).encode())

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert len(backend.api.state.operations) == 2
    assert backend.api.state.users[1].balance_minor == 2500


@pytest.mark.parametrize(
    "change",
    [{"amount_minor": 1251}, {"direction": "debit_reversal"}, {"external_user_id": "operator-user-2"}],
)
def test_a_key_that_is_taken_by_another_movement_is_refused(backend: Backend, change: dict[str, Any]) -> None:
    """Nothing moves, and the key goes on standing for the first movement."""
    backend.launch("operator-user-2")
    first = backend.move()
    before = backend.effects
    refused = backend.move(**change)

    assert refusal(refused) == (400, "INVALID_ID")
    assert refused.json()["error"]["message"] == "idempotency_key belongs to another movement"
    assert backend.effects == before
    assert backend.move().content == first.content


def test_a_movement_without_a_key_is_made_each_time(backend: Backend) -> None:
    """Nothing protects it from being done twice."""
    backend.move(idempotency_key=None)
    backend.move(idempotency_key=None)

    assert [each.idempotency_key for each in backend.api.state.operations.values()] == [None, None]
    assert backend.api.state.users[1].balance_minor == 2500


def test_a_refused_movement_leaves_its_key_free(backend: Backend) -> None:
    """A key is taken by a movement, not by an error."""
    backend.move(amount_minor=0)

    assert backend.move().status_code == 201


def test_a_movement_is_found_by_its_key(backend: Backend) -> None:
    """Signs that mean something in a URL included."""
    made = backend.move(idempotency_key="drill:1/a b").json()

    assert backend("GET", f"{MOVEMENTS}/drill%3A1%2Fa%20b").json() == made


def test_what_arrived_is_noted_with_the_key_of_its_body(backend: Backend) -> None:
    """For an operator's ledger: route, key, and whether the work was done."""
    backend.move()
    backend.move(idempotency_key=None)

    launched, keyed, bare = backend.api.state.requests
    assert (launched.route, launched.idempotency_key, launched.worked) == ("POST /launch", None, True)
    assert (keyed.route, keyed.idempotency_key, keyed.worked) == (
        "POST /simulator/operations",
        "move-1",
        True,
    )
    assert (bare.idempotency_key, bare.worked) == (None, True)


def test_movements_are_listed_newest_first_and_by_user(backend: Backend) -> None:
    """By pages; a page that cannot be read is the first, and none is larger than 100."""
    backend.launch("operator-user-2")
    for number in range(5):
        backend.move(idempotency_key=f"m{number}", external_user_id=f"operator-user-{number % 2 + 1}")

    def listed(query: str) -> list[int]:
        return [item["id"] for item in backend("GET", f"/balance-operations?{query}").json()["items"]]

    assert listed("") == [5, 4, 3, 2, 1]
    assert listed("external_user_id=operator-user-2") == [4, 2]
    assert listed("external_user_id=nobody") == []
    assert listed("page_size=2") == [5, 4]
    assert listed("page=3&page_size=2") == [1]
    assert listed("page=9999999999999999&page_size=9999999999999999") == []
    assert listed("page=0&page_size=-1") == listed("page=x") == listed("")
    assert backend("GET", "/users?page_size=500").json() | {"items": []} == {
        "items": [],
        "page": 1,
        "page_size": 100,
        "total": 2,
    }


def test_another_operators_things_are_not_there(backend: Backend) -> None:
    """Neither to read nor to change, by id or by list; the same key and user id are free to both."""
    other = backend.api.credentials["other_operator_key"]
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    backend.move()
    before = backend.effects

    for method, path, body in [
        ("POST", "/api-keys/1/revoke", None),
        ("GET", f"{MOVEMENTS}/move-1", None),
        ("PATCH", "/webhooks/endpoints/1", {"status": "disabled"}),
        ("DELETE", "/webhooks/endpoints/1", None),
        ("POST", "/webhooks/deliveries/1/replay", None),
    ]:
        assert refusal(backend(method, path, body, key=other)) == (404, "NOT_FOUND")
    assert refusal(backend("GET", WALLET, key=other)) == (404, "OPERATOR_USER_NOT_FOUND")
    for path in ("/users", "/balance-operations", "/webhooks/endpoints", "/webhooks/deliveries"):
        assert backend("GET", path, key=other).json()["items"] == []
    backend.api.state.keys[4].last_used = None
    assert backend.effects == before

    backend.launch(key=other)
    moved = backend("POST", MOVEMENTS, MOVE, key=other)
    assert moved.json()["item"]["id"] == 2
    assert [user.balance_minor for user in backend.api.state.users.values()] == [1250, 1250]


# --- webhooks


@pytest.mark.parametrize(
    "url",
    [
        "https://operator.example/webhooks",
        "https://operator.example:8443/a?b=c",
        "HTTPS://OPERATOR.EXAMPLE",
        "http://localhost:8000/webhooks",
        "http://127.0.0.1/webhooks",
    ],
)
def test_an_endpoint_is_https_or_on_this_machine(backend: Backend, url: str) -> None:
    """The secret is taken, and never shown."""
    made = backend("POST", "/webhooks/endpoints", ENDPOINT | {"url": url})

    assert made.status_code == 201
    assert made.json()["item"] == {
        "id": 1,
        "url": url,
        "status": "active",
        "enabled_events": ENDPOINT["enabled_events"],
        "max_attempts": 6,
        "timeout_seconds": 5,
        "has_secret": True,
        "created_at": "2025-06-15T15:06:40.000Z",
        "updated_at": "2025-06-15T15:06:40.000Z",
    }
    assert "whsec" not in backend("GET", "/webhooks/endpoints").text + repr(backend.api.state.endpoints)


def test_settings_of_a_wrong_kind_count_as_not_sent(backend: Backend) -> None:
    """There is no error for them; good ones are kept."""
    wrong = {"secret": 5, "max_attempts": 0, "timeout_seconds": "5"}
    made = backend("POST", "/webhooks/endpoints", ENDPOINT | wrong).json()["item"]
    backend("PATCH", "/webhooks/endpoints/1", {"max_attempts": 3, "timeout_seconds": 9} | {"secret": "s"})
    changed = backend("GET", "/webhooks/endpoints").json()["items"][0]

    assert (made["has_secret"], made["max_attempts"], made["timeout_seconds"]) == (False, 6, 5)
    assert (changed["has_secret"], changed["max_attempts"], changed["timeout_seconds"]) == (True, 3, 9)


def test_a_movement_is_delivered_to_those_who_listen(backend: Backend) -> None:
    """An endpoint gets the events that it names, while it is active and there."""
    for events in (["mini_app.redemption.processed"], ["mini_app.trade.failed"], ["mini_app.payout.pending"]):
        backend("POST", "/webhooks/endpoints", ENDPOINT | {"enabled_events": events})
    deliveries = backend.api.state.deliveries

    def told(**change: Any) -> list[tuple[int, str]]:
        known = len(deliveries)
        backend.move(idempotency_key=None, **change)
        return [(each.endpoint, each.event_type) for each in list(deliveries.values())[known:]]

    assert told() == [(1, "mini_app.redemption.processed")]
    assert told(direction="debit") == []
    assert told(direction="debit_reversal") == [(2, "mini_app.trade.failed")]
    assert told(direction="debit", amount_minor=10**9) == [(2, "mini_app.trade.failed")]
    backend("PATCH", "/webhooks/endpoints/1", {"status": "disabled"})
    assert told() == []
    backend("PATCH", "/webhooks/endpoints/1", {"status": "active"})
    backend("PATCH", "/webhooks/endpoints/3", {"enabled_events": ["mini_app.redemption.processed"]})
    assert [endpoint for endpoint, _ in told()] == [1, 3]
    assert backend("DELETE", "/webhooks/endpoints/1").status_code == 204
    assert [endpoint for endpoint, _ in told()] == [3]


def test_a_replayed_key_delivers_nothing_anew(backend: Backend) -> None:
    """One movement is one event."""
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    backend.move()
    backend.move()

    assert len(backend.api.state.deliveries) == 1


def test_a_delivery_carries_the_signature_that_a_receiver_checks(backend: Backend) -> None:
    """HMAC-SHA256 over the time stamp, a full stop and the raw body; and one id in header and body."""
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    backend.move()
    delivery = backend.api.state.deliveries[1]
    stamp = delivery.headers["X-Polynion-Timestamp"]
    digest = hmac.new(b"whsec_test", f"{stamp}.".encode() + delivery.body, hashlib.sha256).hexdigest()

    assert delivery.headers["X-Polynion-Signature"] == f"v1={digest}"
    assert stamp == "2025-06-15T15:06:40.000Z"
    assert json.loads(delivery.body) == {
        "event_id": delivery.headers["X-Polynion-Event-Id"],
        "event_type": "mini_app.redemption.processed",
        "created_at": stamp,
        "data": {
            "order_id": 1,
            "operator_user_id": 1,
            "external_user_id": USER,
            "external_amount_minor": 1250,
            "currency_code": "IDR",
        },
    }


def test_without_a_secret_nothing_is_signed(backend: Backend) -> None:
    """Such a delivery shows a receiver what a missing signature looks like."""
    backend("POST", "/webhooks/endpoints", ENDPOINT | {"secret": None})
    backend.move()

    assert "X-Polynion-Signature" not in backend.api.state.deliveries[1].headers


def test_a_replay_is_the_same_event_signed_anew(backend: Backend) -> None:
    """With the time of the replay and the secret of that time; it makes no new delivery."""
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    backend.move()
    delivery = backend.api.state.deliveries[1]
    first = dict(delivery.headers)
    backend("PATCH", "/webhooks/endpoints/1", {"secret": "whsec_new"})
    backend.clock.advance(600)
    replayed = backend("POST", "/webhooks/deliveries/1/replay").json()["item"]
    signed = b"2025-06-15T15:16:40.000Z." + delivery.body

    assert (replayed["attempts"], replayed["event_id"]) == (2, first["X-Polynion-Event-Id"])
    assert delivery.headers["X-Polynion-Event-Id"] == first["X-Polynion-Event-Id"]
    assert delivery.headers["X-Polynion-Signature"] == (
        f"v1={hmac.new(b'whsec_new', signed, hashlib.sha256).hexdigest()}"
    )
    assert backend("GET", "/webhooks/deliveries").json()["items"] == [replayed]


def test_a_replay_needs_an_endpoint_that_is_active_and_there(backend: Backend) -> None:
    """Disabled is INVALID_ENDPOINT_ID, deleted is NOT_FOUND, for its changes too."""
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    backend.move()
    backend("PATCH", "/webhooks/endpoints/1", {"status": "disabled"})
    disabled = backend("POST", "/webhooks/deliveries/1/replay")
    backend("DELETE", "/webhooks/endpoints/1")

    assert refusal(disabled) == (400, "INVALID_ENDPOINT_ID")
    assert refusal(backend("POST", "/webhooks/deliveries/1/replay")) == (404, "NOT_FOUND")
    assert refusal(backend("DELETE", "/webhooks/endpoints/1")) == (404, "NOT_FOUND")
    assert backend("POST", "/webhooks/endpoints", ENDPOINT).json()["item"]["id"] == 2
    assert backend.api.state.deliveries[1].attempts == 1


# --- what follows from the seed, and what goes wrong on purpose


def ids(seed: int) -> list[Any]:
    clock = VirtualClock()
    api: Sandbox[Openpoly] = Sandbox("openpoly", seed=seed, clock=clock)
    with httpx.Client(
        base_url=api.base_url,
        transport=httpx.MockTransport(api.handler),
        headers=api.state.sign_in(api.base_url)["headers"],
    ) as client:
        client.post("/webhooks/endpoints", json=ENDPOINT)
        launched = client.post("/launch", json={"external_user_id": USER}).json()
        client.post(MOVEMENTS, json=MOVE)
        return [
            api.credentials,
            launched,
            client.post("/api-keys", json={"name": "a", "scopes": ["*"]}).json(),
            client.get("/webhooks/deliveries").json(),
            client.get("/nowhere").json(),
        ]


def test_everything_made_up_follows_from_the_seed() -> None:
    """The same seed gives the same tokens, ids and replies; another seed gives others, none taken for a real key."""
    assert ids(1) == ids(1)
    assert all(one != other for one, other in zip(ids(1), ids(2), strict=True))
    assert all(token.startswith("op_sandbox_") for token in ids(1)[0].values())


ENDINGS = {
    "close": httpx.RemoteProtocolError,
    "reset": httpx.ReadError,
    "reset-upload": httpx.ReadError,
    "garbage": httpx.RemoteProtocolError,
    "lose": httpx.RemoteProtocolError,
    "lose-reset": httpx.ReadError,
    "lose-garbage": httpx.RemoteProtocolError,
    "truncate": httpx.RemoteProtocolError,
    "reset-body": httpx.ReadError,
}


@pytest.mark.parametrize("fault", every_fault("openpoly"))
def test_every_fault_can_be_injected(fault: str) -> None:
    """Each has its documented reply or its ending, and moves money exactly where it says that the work is done."""
    backend = Backend(faults=Schedule().add("POST /simulator/operations", [fault]))
    backend.launch()
    works = fault in WIRE and WIRE[fault].works
    if fault in ENDINGS:
        with pytest.raises(ENDINGS[fault]):
            backend.move()
    elif fault in WIRE:
        assert backend.move().status_code == (503 if fault == "html-503" else 201)
    else:
        response, given = backend.move(), documented("openpoly")[fault][0]
        assert response.status_code == given.status
        assert response.text == given.text if given.json is None else refusal(response)[1] in str(given.json)

    assert len(backend.api.state.operations) == backend.api.state.users[1].balance_minor // 1250 == works
    assert [seen.fault for seen in backend.api.state.injected] == [fault]


def test_the_receivers_codes_are_never_picked_by_chance() -> None:
    """The API itself does not send them; a schedule can."""
    assert "DUPLICATE_EVENT_ID" not in every_fault("openpoly")
    backend = Backend(faults=Schedule().add("GET /users", ["DUPLICATE_EVENT_ID"]))

    assert refusal(backend("GET", "/users")) == (409, "DUPLICATE_EVENT_ID")


# --- a resilient client


WAYS = ["sync", "asyncio", "trio"]


def send(api: Sandbox[Openpoly], way: str, method: str, path: str, **given: Any) -> Any:
    """Make one call through a resilient client of the sandbox; give the response, or the exception."""
    try:
        if way == "sync":
            with api.client() as client:
                return client.request(method, path, **given)

        async def call() -> httpx.Response:
            async with api.async_client() as client:
                return await client.request(method, path, **given)

        return anyio.run(call, backend=way)
    except httpx.HTTPError as error:
        return error


def known(faults: Schedule) -> Backend:
    backend = Backend(faults=faults)
    backend.launch()
    return backend


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["lose", "lose-reset", "lose-garbage"])
def test_a_movement_under_a_key_survives_a_lost_reply_once(way: str, fault: str) -> None:
    """The key in the body makes it safe to send again: one movement, and the reply that was lost."""
    backend = known(Schedule().add("POST /simulator/operations", [fault]))
    response = send(backend.api, way, "POST", MOVEMENTS, json=MOVE)
    outcome = outcome_of(response)

    assert response.status_code == 201
    assert len(outcome.attempts) == 2
    assert outcome.maybe_applied
    assert outcome.idempotency_key == "move-1"
    assert len(backend.api.state.operations) == 1
    assert backend.api.state.users[1].balance_minor == 1250


@pytest.mark.parametrize("way", WAYS)
def test_a_movement_without_a_key_is_not_sent_again(way: str) -> None:
    """The client makes no key for this API; it says that the movement may have been made, and here it was."""
    backend = known(Schedule().add("POST /simulator/operations", ["lose"]))
    bare = {name: value for name, value in MOVE.items() if name != "idempotency_key"}
    error = send(backend.api, way, "POST", MOVEMENTS, json=bare)
    outcome = outcome_of(error)

    assert isinstance(error, httpx.RemoteProtocolError)
    assert (len(outcome.attempts), outcome.reason, outcome.maybe_applied) == (1, "not_retryable", True)
    assert outcome.idempotency_key is None
    assert backend.clock.sleeps == []
    assert backend.api.state.users[1].balance_minor == 1250


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_limit_is_waited_out_for_any_movement(way: str) -> None:
    """A 429 was refused and not done: also a movement without a key is sent again, after Retry-After."""
    backend = known(Schedule().add("POST /simulator/operations", ["RATE_LIMITED:3"]))
    bare = {name: value for name, value in MOVE.items() if name != "idempotency_key"}
    response = send(backend.api, way, "POST", MOVEMENTS, json=bare)

    assert response.status_code == 201
    assert 3 <= sum(backend.clock.sleeps) <= 3 * 1.2 + 0.25
    assert not outcome_of(response).maybe_applied
    assert len(backend.api.state.operations) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_failing_server_is_asked_again_under_the_same_key_and_bytes(way: str) -> None:
    """Three failures of three kinds, one movement, one body on the wire."""
    backend = known(Schedule().add("POST /simulator/operations", ["SERVER_ERROR", "html-503", "lose-reset"]))
    response = send(backend.api, way, "POST", MOVEMENTS, json=MOVE)
    sent = [seen for seen in backend.api.state.requests if seen.route == "POST /simulator/operations"]

    assert response.status_code == 201
    assert [seen.status for seen in sent] == [500, 503, 201, 201]
    assert len({seen.body for seen in sent}) == 1
    assert len(backend.api.state.operations) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_delete_whose_reply_was_lost_ends_as_not_found(way: str) -> None:
    """DELETE is idempotent and sent again; the outcome says that an earlier attempt may have done it."""
    backend = known(Schedule().add("DELETE /webhooks/endpoints/{id}", ["lose"]))
    backend("POST", "/webhooks/endpoints", ENDPOINT)
    response = send(backend.api, way, "DELETE", "/webhooks/endpoints/1")

    assert refusal(response) == (404, "NOT_FOUND")
    assert outcome_of(response).maybe_applied
    assert backend.api.state.endpoints == {}


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_is_final_and_explained(way: str) -> None:
    """One attempt, and an error that names the cause, the remedy and the request to ask support about."""
    backend = Backend()
    response = send(backend.api, way, "POST", MOVEMENTS, json=MOVE)
    outcome = outcome_of(response)

    assert (len(outcome.attempts), outcome.reason) == (1, "not_retryable")
    assert outcome.verdict.name == "OPERATOR_USER_NOT_FOUND"
    assert outcome.verdict.request_id == response.json()["error"]["request_id"]
    assert "launch" in outcome.verdict.remedy.lower()


def test_an_escalation_has_what_the_vendor_asks_for() -> None:
    """Path, status, scopes, idempotency key, request id and times; the bearer token is not in it."""
    backend = Backend()
    with backend.api.client(raise_for_status=True) as client, pytest.raises(ApiError) as caught:
        client.post(MOVEMENTS, json=MOVE)
    report = caught.value.support_report(scopes=backend.api.state.keys[1].scopes)

    for wanted in ("/api/operator/simulator/operations", "404", "key scopes: *", "move-1", "req_", "UTC"):
        assert wanted in report
    assert backend.api.key not in report


def test_over_a_socket_a_lost_movement_is_made_once() -> None:
    """The same through a real connection that is reset after the work."""
    clock = VirtualClock()
    faults = Schedule().add("POST /simulator/operations", ["lose-reset", "stale"])
    with Sandbox("openpoly", clock=clock, faults=faults) as api, api.client() as client:
        client.post("/launch", json={"external_user_id": USER})
        moved = client.post(MOVEMENTS, json=MOVE)
        balance = client.get(WALLET).json()["item"]["balance_minor"]
        gone = client.delete("/webhooks/endpoints/1")

    assert (moved.status_code, balance, gone.status_code) == (201, 1250, 404)
    assert [attempt.status for attempt in outcome_of(moved).attempts] == [None, 201]
    assert len(api.state.operations) == 1
