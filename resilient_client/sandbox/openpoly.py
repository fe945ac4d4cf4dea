"""The OpenPoly operator API: its state and its rules, with no socket and no clock.

What the vendor's pages leave open is decided here, on the strict side, and said in the docstring of `Openpoly`.

Source: https://operator-docs.openpoly.app/docs/troubleshooting/common-errors; of the same site also /docs/operator-api/
(authentication, api-keys, launch, simulator, webhook-endpoints), /docs/webhooks/ (signatures, event-types) and
/docs/reference/statuses.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_client.sandbox._api import Api, Faults, RefusedError, Reply, Request
from resilient_client.sandbox._documented import worded
from resilient_client.sandbox._openpoly_reading import (
    MOST,
    READ_SCOPES,
    SCOPES,
    are_among,
    endpoint_fields,
    fields_of,
    id_of,
    is_key,
    is_whole,
    page_of,
)
from resilient_client.sandbox._openpoly_records import (
    CURRENCY,
    ApiKey,
    Delivery,
    Endpoint,
    Operation,
    Operator,
    OperatorUser,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_client._libraries import LibraryName

# What a movement does to the balance. A reversal undoes: it goes the other way.
DIRECTIONS = {"debit": -1, "credit": 1, "debit_reversal": 1, "credit_reversal": -1}

LAUNCH_LIFE = 60.0  # seconds that a launch token can be redeemed

_OPENED = 1_735_689_600.0  # epoch seconds at which the first keys were made; no clock is known then
_CREATES = frozenset({"POST /api-keys", "POST /webhooks/endpoints", "POST /simulator/operations"})


class Openpoly(Api):
    """The operator API, for two operators: the caller's, and another one whose things the caller cannot see.

    Options: `simulator` (whether operators are configured for it; may be set at any time), `launch_host` (the host
    that a launch may name). State: `keys`, `users`, `operations`, `endpoints`, `deliveries`, each by id.

    Requests are checked in this order: route, key, scope, `simulator`. Then the injected fault; then the work. Where
    the vendor's pages leave room:

    - There is no code for a request that makes no sense as a whole. A body that is no JSON object counts as one
      without fields, and meets the error of the first field that it lacks. An external_user_id or an idempotency_key
      that is no string of 1 to 255 characters is INVALID_ID; a launch on another host is INVALID_URL.
    - A movement's fields are checked before its user is looked up. One whose idempotency_key was used for another
      user, direction or amount is INVALID_ID: the key is an id, and this one is taken. One without a key is made each
      time, and no other route knows keys.
    - No wallet goes below zero or above 2**53 - 1. A movement that would take it there is recorded as "failed" and
      moves nothing, under its key as well. Wallets open empty, and setting a balance needs the user to be known too.
    - Endpoints and deliveries are INVALID_ENDPOINT_ID where keys are INVALID_ID. A replay to a disabled endpoint is
      INVALID_ENDPOINT_ID, too; an endpoint that was deleted is NOT_FOUND. A patch that changes nothing is
      INVALID_STATUS. A secret, max_attempts or timeout_seconds of a wrong kind counts as not sent. Without a secret
      nothing is signed.
    - A key may be revoked twice, and stays as it was revoked first. It may make keys with scopes that it does not
      have itself.
    - Lists come newest first, 50 at a time (`page`, `page_size` up to 100); what cannot be read as a page is the
      first.
    - There is no Mini App here. A debit stands for a trade and a credit for a redemption, which is processed, or
      failed where the movement failed or is a reversal; the event has no fields about markets. The sandbox calls
      nobody: a delivery is recorded as sent, and a replay signs it anew. Paths of deliveries, and the removal of
      endpoints, are made up.
    """

    name: ClassVar[str] = "openpoly"
    base: ClassVar[str] = "/api/operator"
    unsent: ClassVar[frozenset[str]] = frozenset(
        {
            "MISSING_SIGNATURE_HEADERS",
            "INVALID_SIGNATURE",
            "INVALID_TIMESTAMP",
            "TIMESTAMP_SKEW_TOO_LARGE",
            "EVENT_ID_MISMATCH",
            "DUPLICATE_EVENT_ID",
        }
    )

    def __init__(
        self,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        simulator: bool = True,
        launch_host: str = "mini-app.sandbox",
    ) -> None:
        super().__init__(faults=faults)
        self._seed = seed
        self.simulator = simulator
        self.keys: dict[int, ApiKey] = {}
        self.users: dict[int, OperatorUser] = {}
        self.operations: dict[int, Operation] = {}
        self.endpoints: dict[int, Endpoint] = {}  # but for those that were deleted
        self.deliveries: dict[int, Delivery] = {}
        self.operators = {number: Operator(number) for number in (1, 2)}
        self._launch_host = launch_host
        self._by_token: dict[str, ApiKey] = {}  # by the token's SHA-256, in hex
        self._endpoints_made = 0
        own, other = self.operators.values()
        self._credentials = {
            "key": self._issue(own, "full", ("*",), _OPENED)[1],
            "read_only_key": self._issue(own, "reporting", READ_SCOPES, _OPENED)[1],
            "revoked_key": self._issue(own, "retired", ("*",), _OPENED)[1],
            "other_operator_key": self._issue(other, "full", ("*",), _OPENED)[1],
        }
        self.keys[3].revoked = _OPENED

    @property
    def credentials(self) -> Mapping[str, str]:
        """Keys of one operator with all scopes, with those that read, and revoked; and one of the other operator."""
        return self._credentials

    def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Any]:  # noqa: ARG002 - other APIs have a login
        """Send the key that has all scopes."""
        return {"headers": {"Authorization": f"Bearer {self._credentials['key']}"}}

    # --- who asks, and may they ask now

    def admit(self, route: str, request: Request, now: float) -> None:  # noqa: ARG002 - no rule here needs the time
        """Check all that comes before the work; see the order in the class's docstring.

        Source: https://operator-docs.openpoly.app/docs/operator-api/authentication
        """
        if not self.known(route, request):
            raise RefusedError("NOT_FOUND")
        if not self._caller(request).allows(_scope(route)):
            raise RefusedError("INSUFFICIENT_SCOPE")
        if not self.simulator and " /simulator/" in route:
            raise RefusedError("SIMULATOR_DISABLED")

    def charge(self, route: str, fault: str | None, now: float) -> None:
        """Count nothing: the vendor's pages know no budget."""

    def finish(self, route: str, request: Request, reply: Reply, now: float) -> Reply:  # noqa: ARG002 - as in Api
        """Give each error a request_id of its own."""
        if reply.code is None:
            return reply
        request_id = f"req_{self._made_up('request', len(self.requests) + 1)[:12]}"
        document = worded(self.name, json.loads(reply.body), {"request_id": request_id})
        return replace(reply, body=json.dumps(document, separators=(",", ":")).encode())

    def key_of(self, request: Request) -> str | None:
        """Find the request's idempotency key, in the body."""
        key = fields_of(request).get("idempotency_key")
        return key if isinstance(key, str) else None

    def code_of(self, document: Any) -> int | str | None:
        """Find the code where the envelope `{"error": {"code": …}}` has it."""
        code: str | None = document.get("error", {}).get("code")
        return code

    # --- the work

    def work(self, route: str, request: Request, now: float) -> Reply:
        """Do what the route is for."""
        key = self._caller(request)
        key.last_used = self.wall(now)
        result = self.routes[route](self, self.operators[key.operator], request, self.wall(now))
        if result is None:
            return self.empty()
        return self.json(201 if route in _CREATES else 200, result)

    def _list_keys(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        return page_of(operator.keys, request)

    def _create_key(self, operator: Operator, request: Request, wall: float) -> dict[str, Any]:
        """Make a key; its token is shown this once.

        Source: https://operator-docs.openpoly.app/docs/operator-api/api-keys
        """
        fields = fields_of(request)
        name, scopes = fields.get("name"), fields.get("scopes")
        if not isinstance(name, str) or not name.strip():
            raise RefusedError("INVALID_NAME")
        if not are_among(scopes, SCOPES):
            raise RefusedError("INVALID_SCOPES")
        key, token = self._issue(operator, name, tuple(dict.fromkeys(scopes)), wall)
        return {"item": key.shown(), "token": token}

    def _revoke_key(self, operator: Operator, request: Request, wall: float) -> dict[str, Any]:
        key = operator.keys.get(id_of(request, "INVALID_ID"))
        if key is None:
            raise RefusedError("NOT_FOUND")
        if key.revoked is None:
            key.revoked = wall
        return {"item": key.shown()}

    def _launch(self, operator: Operator, request: Request, wall: float) -> dict[str, Any]:
        """Make a user known, or find the one that is, and give a URL for one visit.

        Source: https://operator-docs.openpoly.app/docs/operator-api/launch
        """
        fields = fields_of(request)
        external = fields.get("external_user_id")
        if not is_key(external):
            raise RefusedError("INVALID_ID", message="external_user_id is 1 to 255 characters")
        if fields.get("host") not in (None, self._launch_host):
            raise RefusedError("INVALID_URL", message="host is not the operator's launch host")
        user = operator.users.get(external)
        if user is None:
            user = OperatorUser(len(self.users) + 1, operator.id, external, wall)
            self.users[user.id] = operator.users[external] = user
        user.launches += 1
        token = self._made_up(f"launch/{user.id}", user.launches)[:32]
        return {
            "launch_url": f"https://{self._launch_host}/launch?token={token}",
            "expires_at": stamp(wall + LAUNCH_LIFE),
            "operator_user": user.shown(),
        }

    def _list_users(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        return page_of(operator.users, request)

    def _list_operations(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        """List the movements, of all users or of one."""
        external = request.query.get("external_user_id")
        if external is None:
            return page_of(operator.operations, request)
        user = operator.users.get(external)
        return page_of({} if user is None else user.operations, request)

    def _move(self, operator: Operator, request: Request, wall: float) -> dict[str, Any]:
        """Move a wallet's balance, or find the movement that the key has made already.

        Source: https://operator-docs.openpoly.app/docs/operator-api/simulator
        """
        fields = fields_of(request)
        direction, amount, key = (
            fields.get(name) for name in ("direction", "amount_minor", "idempotency_key")
        )
        if not isinstance(direction, str) or direction not in DIRECTIONS:
            raise RefusedError("INVALID_DIRECTION")
        if not is_whole(amount) or amount == 0:
            raise RefusedError("INVALID_AMOUNT_MINOR")
        if key is not None and not is_key(key):
            raise RefusedError("INVALID_ID", message="idempotency_key is 1 to 255 characters")
        user = self._user(operator, fields.get("external_user_id"))
        earlier = operator.by_key.get(key) if key is not None else None
        if earlier is not None:
            made = (earlier.external_user_id, earlier.direction, earlier.amount_minor)
            if made != (user.external_user_id, direction, amount):
                raise RefusedError("INVALID_ID", message="idempotency_key belongs to another movement")
            return {"item": earlier.shown()}
        balance = user.balance_minor + DIRECTIONS[direction] * amount
        bearable = 0 <= balance <= MOST
        if bearable:
            user.balance_minor = balance
        operation = Operation(
            id=len(self.operations) + 1,
            operator=operator.id,
            external_user_id=user.external_user_id,
            direction=direction,
            amount_minor=amount,
            idempotency_key=key,
            status="succeeded" if bearable else "failed",
            balance_minor=user.balance_minor,
            at=wall,
        )
        for operations in (self.operations, operator.operations, user.operations):
            operations[operation.id] = operation
        if key is not None:
            operator.by_key[key] = operation
        self._announce(operator, user, operation)
        return {"item": operation.shown()}

    def _operation(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        """Find a movement by its key: what to do when a reply was lost."""
        operation = operator.by_key.get(request.params["idempotency_key"])
        if operation is None:
            raise RefusedError("NOT_FOUND")
        return {"item": operation.shown()}

    def _wallet(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        return {"item": self._user(operator, request.params["external_user_id"]).wallet()}

    def _set_wallet(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        """Set a balance, zero included: a reset between two tests."""
        balance = fields_of(request).get("balance_minor")
        if not is_whole(balance):
            raise RefusedError("INVALID_AMOUNT_MINOR")
        user = self._user(operator, request.params["external_user_id"])
        user.balance_minor = balance
        return {"item": user.wallet()}

    def _list_endpoints(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        return page_of(operator.endpoints, request)

    def _create_endpoint(self, operator: Operator, request: Request, wall: float) -> dict[str, Any]:
        """Register an endpoint.

        Source: https://operator-docs.openpoly.app/docs/operator-api/webhook-endpoints
        """
        needed = {"url": None, "enabled_events": None}
        found = endpoint_fields(needed | fields_of(request) | {"status": "active"})
        self._endpoints_made += 1
        endpoint = Endpoint(self._endpoints_made, operator.id, at=wall, changed=wall, **found)
        self.endpoints[endpoint.id] = operator.endpoints[endpoint.id] = endpoint
        operator.listen(endpoint)
        return {"item": endpoint.shown()}

    def _change_endpoint(self, operator: Operator, request: Request, wall: float) -> dict[str, Any]:
        """Change some fields of an endpoint: all that are named, or none."""
        endpoint = self._endpoint(operator, request)
        changes = endpoint_fields(fields_of(request))
        if not changes:
            raise RefusedError("INVALID_STATUS")
        operator.listen_no_more(endpoint)
        for name, value in changes.items():
            setattr(endpoint, name, value)
        endpoint.changed = wall
        operator.listen(endpoint)
        return {"item": endpoint.shown()}

    def _drop_endpoint(self, operator: Operator, request: Request, _wall: float) -> None:
        endpoint = self._endpoint(operator, request)
        operator.listen_no_more(endpoint)
        del self.endpoints[endpoint.id], operator.endpoints[endpoint.id]

    def _list_deliveries(self, operator: Operator, request: Request, _wall: float) -> dict[str, Any]:
        return page_of(operator.deliveries, request)

    def _replay(self, operator: Operator, request: Request, wall: float) -> dict[str, Any]:
        """Sign a delivery anew: the same event, at another time."""
        delivery = operator.deliveries.get(id_of(request, "INVALID_ENDPOINT_ID"))
        endpoint = operator.endpoints.get(delivery.endpoint) if delivery is not None else None
        if delivery is None or endpoint is None:
            raise RefusedError("NOT_FOUND")
        if endpoint.status != "active":
            raise RefusedError("INVALID_ENDPOINT_ID", message="The endpoint is disabled")
        delivery.sign(endpoint.secret, wall)
        return {"item": delivery.shown()}

    routes: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "POST /launch": _launch,
        "GET /users": _list_users,
        "GET /balance-operations": _list_operations,
        "GET /api-keys": _list_keys,
        "POST /api-keys": _create_key,
        "POST /api-keys/{id}/revoke": _revoke_key,
        "POST /simulator/operations": _move,
        "GET /simulator/operations/{idempotency_key}": _operation,
        "GET /simulator/wallets/{external_user_id}": _wallet,
        "PUT /simulator/wallets/{external_user_id}": _set_wallet,
        "GET /webhooks/endpoints": _list_endpoints,
        "POST /webhooks/endpoints": _create_endpoint,
        "PATCH /webhooks/endpoints/{id}": _change_endpoint,
        "DELETE /webhooks/endpoints/{id}": _drop_endpoint,
        "GET /webhooks/deliveries": _list_deliveries,
        "POST /webhooks/deliveries/{id}/replay": _replay,
    }

    # --- what the work is made of

    def _caller(self, request: Request) -> ApiKey:
        key = self._by_token.get(_hash(request.bearer or ""))
        if key is None or key.revoked is not None:
            raise RefusedError("INVALID_API_KEY")
        return key

    def _issue(
        self, operator: Operator, name: str, scopes: tuple[str, ...], wall: float
    ) -> tuple[ApiKey, str]:
        """Make a key, and its token."""
        number = len(self.keys) + 1
        token = f"op_sandbox_{self._made_up('token', number)[:32]}"
        key_id = f"oak_{self._made_up('key', number)[:16]}"
        key = ApiKey(number, operator.id, name, scopes, key_id, token[-4:], wall)
        self.keys[number] = operator.keys[number] = self._by_token[_hash(token)] = key
        return key, token

    def _user(self, operator: Operator, external: Any) -> OperatorUser:
        user = operator.users.get(external) if isinstance(external, str) else None
        if user is None:
            raise RefusedError("OPERATOR_USER_NOT_FOUND")
        return user

    def _endpoint(self, operator: Operator, request: Request) -> Endpoint:
        endpoint = operator.endpoints.get(id_of(request, "INVALID_ENDPOINT_ID"))
        if endpoint is None:
            raise RefusedError("NOT_FOUND")
        return endpoint

    def _announce(self, operator: Operator, user: OperatorUser, operation: Operation) -> None:
        """Record a delivery for each endpoint that listens to what the movement stands for."""
        what, _, reversal = operation.direction.partition("_")
        kind = "trade" if what == "debit" else "redemption"
        end = "processed" if operation.status == "succeeded" and not reversal else "failed"
        event_type = f"mini_app.{kind}.{end}"
        event_id = f"evt_{self._made_up('event', operation.id)[:20]}"
        event = {
            "event_id": event_id,
            "event_type": event_type,
            "created_at": stamp(operation.at),
            "data": {
                "order_id": operation.id,
                "operator_user_id": user.id,
                "external_user_id": user.external_user_id,
                "external_amount_minor": operation.amount_minor,
                "currency_code": CURRENCY,
            },
        }
        body = json.dumps(event, separators=(",", ":")).encode()
        for endpoint in operator.listeners.get(event_type, {}).values():
            number = len(self.deliveries) + 1
            delivery = Delivery(number, operator.id, endpoint.id, event_id, event_type, body, operation.at)
            delivery.sign(endpoint.secret, operation.at)
            self.deliveries[number] = operator.deliveries[number] = delivery

    def _made_up(self, what: str, number: int) -> str:
        return hashlib.sha256(f"{self.name}/{self._seed}/{what}/{number}".encode()).hexdigest()


def _scope(route: str) -> str:
    """Name the scope that a route needs: its first word, and whether it reads or writes."""
    method, _, path = route.partition(" ")
    word = path.split("/")[1].replace("-", "_")
    return f"{word}:{'read' if method == 'GET' else 'write'}"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
