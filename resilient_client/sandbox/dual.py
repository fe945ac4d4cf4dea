"""The DUAL API: its state and its rules, with no socket and no clock. What it keeps is in `_dual_records`.

What the vendor's pages leave open, or say in two ways, is decided here, on the strict side, and said in the docstring
of `Dual`.

Source: https://dual-docs.vercel.app/docs/developer-tools/error-reference,
https://preview.dual.org/docs/developer-kit/rate-limits, https://preview.dual.org/docs/developer-kit/error-reference,
https://preview.dual.org/docs/getting-started/authentication, https://preview.dual.org/docs/concepts/actions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from resilient_client.sandbox._api import Api, Faults, RefusedError, Reply, Request
from resilient_client.sandbox._dual_reading import (
    body_of,
    file_in,
    invalid,
    is_https,
    misfits_of_texts,
    whole_number,
)
from resilient_client.sandbox._dual_records import (
    BUILT_IN,
    BURN,
    TRANSFER,
    Action,
    ActionType,
    File,
    Lists,
    Object,
    Place,
    Template,
    Wallet,
    Webhook,
)
from resilient_client.sandbox._dual_schema import (
    Misfit,
    Property,
    details,
    misfits_in,
    read_schema,
    with_defaults,
)
from resilient_client.sandbox._host import host
from resilient_client.sandbox._jwt import claims_of, signed_token
from resilient_client.sandbox._tiers import tiers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_client._libraries import LibraryName

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # all others are 501
LOGIN, REGISTER = "POST /wallets/login", "POST /wallets/register"  # for callers who have no token yet
PAGE, LONGEST_PAGE = 20, 100  # items of a list
UPLOAD = 1_048_576  # bytes of a file

# Turned away before the budget is looked at, hence free when injected too.
_FREE = frozenset({"AUTHENTICATION_ERROR", "RATE_LIMITED", "UNAVAILABLE", "NOT_SUPPORTED"})

_TEXT, _LIST, _OBJECT = Property("string"), Property("array"), Property("object")
_SOME_TEXT, _SOME_LIST, _SOME_OBJECT = (replace(each, required=False) for each in (_TEXT, _LIST, _OBJECT))


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request comes from."""

    wallet_id: str
    read_only: bool


class Dual(Api):
    """The API, for one organization: one wallet with an API key and a read-only one, and whoever registers.

    Options: `token_life` seconds until a login's token ends, `action_time` seconds that an action is in flight and
    holds its object, `locked_code` for the code that tells a locked object (the vendor publishes none; None: the
    status, as elsewhere), `retry_after_as` "seconds" or "epoch", since one of the vendor's pages calls Retry-After a
    timestamp. `maintenance` may be set at any time, and so may the `answer` of a webhook. Budgets are those of the
    policy file's [[pace]] tables.

    Requests are checked in this order: method, route, key and token, whether these may do more than read,
    `maintenance`, budget. Then the injected fault; then the body, and what it asks for. Where the vendor's pages
    leave room:

    - A request needs an x-api-key or a bearer token; what is sent must be right, so a good token does not excuse a
      bad key. The key acts for the wallet that it was issued to, the token for the wallet that signed in, and with a
      read-only key beside it a token reads only. Login and registration need the key. A registration is good at once,
      for there is no mail.
    - Budgets are the organization's. What is turned away before the budget spends nothing of it; a failure after that
      counts. X-RateLimit-* tell of the budget of the route's group, a 429's of the window that had no room; Reset is
      when the next request comes back into it.
    - There are no idempotency keys: a create that comes twice is done twice, whatever headers it carries. Only the
      unique names of templates and action types keep them from it.
    - A schema's faults are code 4001. Properties are required unless they have a default, and unknown ones are
      refused, at any depth. Members that a body has beyond those that its route knows are left alone, and a null one
      is the same as none.
    - Every template has the actions transfer (parameter `to`, a wallet's id), redeem and burn. The first two want an
      object that is active, which a new one is; redeem leaves it redeemed, and a burnt one is gone, whatever it was.
      A further type of a template's may name the states that it starts from (`from_states`) and the one that it leads
      to (`to_state`).
    - Objects are changed by their owner alone, and read by everyone. An action has its effect at once, then holds the
      object for `action_time`: a further action is 422, an update 409. GET /objects lists the caller's own, GET
      /indexer/search all.
    - A webhook's endpoint is not called; see `Webhook`. A file is taken up to `UPLOAD` bytes, and its bytes are not
      kept.
    """

    name: ClassVar[str] = "dual"
    base: ClassVar[str] = ""
    throttles: ClassVar[frozenset[str]] = frozenset({"RATE_LIMITED"})

    def __init__(  # noqa: PLR0913 - each is one of the contract's figures, by keyword
        self,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        token_life: float = 86_400.0,
        action_time: float = 0.0,
        locked_code: int | str | None = None,
        retry_after_as: Literal["seconds", "epoch"] = "seconds",
    ) -> None:
        super().__init__(faults=faults)
        if retry_after_as not in {"seconds", "epoch"}:
            raise ValueError(f'retry_after_as is "seconds" or "epoch" (got {retry_after_as!r})')
        self._seed = seed
        self._token_life = token_life
        self._action_time = action_time
        self._locked_code = locked_code
        self._retry_after_as = retry_after_as
        self._jwt_secret = self._made_up("jwt-secret", 0).encode()
        self._tiers = tiers_of(self.name, self.routes)
        self.maintenance = False
        self.wallets: dict[str, Wallet] = {}  # by id, in order of creation; so are all that follow
        self.templates: dict[str, Template] = {}
        self.objects: dict[str, Object] = {}
        self.action_types: dict[str, ActionType] = {}
        self.actions: dict[str, Action] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.files: dict[str, File] = {}
        self._made: Counter[str] = Counter()  # ids given out, by prefix
        self._by_email: dict[str, Wallet] = {}
        self._template_names: set[str] = set()
        self._lists = Lists()
        password = f"sandbox-password-{self._made_up('password', 0)[:16]}"
        self.wallet = self._add_wallet("owner@dual.example", password, "Owner")
        self._key, self._read_only_key = (
            f"sandbox-key-{self._made_up('key', number)[:24]}" for number in range(2)
        )
        self._keys = {
            self._key: Caller(self.wallet.id, read_only=False),
            self._read_only_key: Caller(self.wallet.id, read_only=True),
        }

    @property
    def credentials(self) -> Mapping[str, str]:
        """The e-mail and password of the first wallet, and the two keys that were issued to it."""
        return {
            "key": self._key,
            "email": self.wallet.email,
            "password": self.wallet.password,
            "read_only_key": self._read_only_key,
        }

    def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Any]:
        """Log in for a token, and send the key along with everything."""
        http, resilient = host(library)
        headers = {"x-api-key": self._key}
        login = {"email": self.wallet.email, "password": self.wallet.password}
        return {
            "headers": headers,
            "auth": resilient.TokenAuth(
                lambda: http.Request("POST", f"{base_url}/wallets/login", json=login, headers=headers)
            ),
        }

    # --- who asks, and may they ask now

    def admit(self, route: str, request: Request, now: float) -> None:
        """Check all that comes before the work; see the order in the class's docstring.

        Source: https://dual-docs.vercel.app/docs/developer-tools/error-reference (authentication errors),
        https://preview.dual.org/docs/developer-kit/rate-limits
        """
        if request.method not in METHODS:
            raise RefusedError("NOT_SUPPORTED")
        if not self.known(route, request):
            raise RefusedError(self.unknown, message="Resource not found")
        caller = self._caller(route, request, now)
        if caller.read_only and request.method != "GET" and route != LOGIN:
            raise RefusedError("PERMISSION_DENIED")
        if self.maintenance:
            raise RefusedError("UNAVAILABLE")
        tier = self._tiers[route]
        if wait := tier.wait(now):
            reason = f"Limit of {tier.limit_met(now)} reached"
            raise RefusedError(
                "RATE_LIMITED", retry_after=wait, details={"field": tier.name, "reason": reason}
            )

    def charge(self, route: str, fault: str | None, now: float) -> None:
        """Count the request, unless the injected fault is one of those that come before the budget."""
        if fault is None or fault.partition(":")[0].partition("#")[0] not in _FREE:
            self._tiers[route].spend(now)

    def _caller(self, route: str, request: Request, now: float) -> Caller:
        """Tell whom a request comes from; refuse one that does not say, or says it wrongly."""
        key = request.headers.get("x-api-key")
        by_key = None if key is None else self._keys.get(key)
        if key is not None and by_key is None:
            raise RefusedError("AUTHENTICATION_ERROR", example=3)  # the key is wrong
        if route in {LOGIN, REGISTER}:
            if by_key is None:
                raise RefusedError("AUTHENTICATION_ERROR", example=4)  # there is none
            return by_key
        if "authorization" in request.headers:
            return Caller(self._signed_in(request, now), read_only=by_key is not None and by_key.read_only)
        if by_key is None:
            raise RefusedError("AUTHENTICATION_ERROR", message="Missing authorization header")
        return by_key

    def _signed_in(self, request: Request, now: float) -> str:
        """Give the id of the wallet that a bearer token was made for."""
        claims = claims_of(self._jwt_secret, request.bearer or "")
        if claims is None:
            raise RefusedError("AUTHENTICATION_ERROR", message="Invalid token")
        if self.wall(now) >= claims["exp"]:
            raise RefusedError("AUTHENTICATION_ERROR")
        return cast("str", claims["sub"])

    # --- replies

    def work(self, route: str, request: Request, now: float) -> Reply:
        """Do what the route is for."""
        return self.json(200, self.routes[route](self, request, self._caller(route, request, now), now))

    def code_of(self, document: Any) -> int | str | None:
        """Find the code where the envelope `{"error": {"code": n, …}}` has it."""
        return cast("int | str | None", document.get("error", {}).get("code"))

    def error(self, name: str, **how: Any) -> Reply:
        """Make a documented error's reply; a locked object's has the code that the options give it."""
        if name == "OBJECT_LOCKED":
            how["code"] = self._locked_code
        return super().error(name, **how)

    def finish(self, route: str, request: Request, reply: Reply, now: float) -> Reply:  # noqa: ARG002 - as it is called
        """Add the request's id, in an error's body too, and what is left of the budget.

        A page or a plain text comes from something in front of the API, which knows of neither.
        """
        headers = dict(reply.headers)
        if headers["Content-Type"] != "application/json":
            return reply
        request_id = self._new_id("req")
        headers["X-Request-Id"] = request_id
        if route in self._tiers:
            wait = int(headers["Retry-After"]) if reply.status == 429 else None
            headers |= self._budget_told(route, wait, now)
        if reply.status == 429 and self._retry_after_as == "epoch":
            headers["Retry-After"] = headers["X-RateLimit-Reset"]
        body = reply.body
        if reply.status >= 400:
            body = json.dumps(json.loads(body) | {"x_request_id": request_id}, separators=(",", ":")).encode()
        return replace(reply, headers=tuple(headers.items()), body=body)

    def _budget_told(self, route: str, wait: int | None, now: float) -> dict[str, str]:
        """Tell of the route's budget; where a refusal asks for a wait, of the window that it is due to."""
        tier = self._tiers[route]
        limit, remaining, back = tier.limit, tier.remaining(now), tier.next_back(now)
        if wait is not None:
            limit, remaining, back = tier.limit_met(now), 0, wait
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(math.ceil(self.wall(now) + back)),
        }

    # --- wallets

    def _register(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        document = body_of(request, {"email": _TEXT, "password": _TEXT, "name": _SOME_TEXT})
        email = document["email"]
        if "@" not in email:
            raise invalid("Invalid request", Misfit("email", "Not an e-mail address"))
        if email in self._by_email:
            raise _conflict("Wallet already exists", "email")
        return self._add_wallet(email, document["password"], document.get("name")).shown()

    def _add_wallet(self, email: str, password: str, name: str | None) -> Wallet:
        wallet = Wallet(self._new_id("w"), email, password, name)
        self.wallets[wallet.id] = self._by_email[email] = wallet
        return wallet

    def _login(self, request: Request, _caller: Caller, now: float) -> dict[str, Any]:
        """Make a token that says itself when it ends (RFC 7519 §4.1.4).

        Source: https://preview.dual.org/docs/getting-started/authentication
        """
        document = body_of(request, {"email": _TEXT, "password": _TEXT})
        wallet = self._by_email.get(document["email"])
        if wallet is None or wallet.password != document["password"]:
            raise RefusedError("INVALID_CREDENTIALS")
        at = math.floor(self.wall(now))
        ends = math.floor(self.wall(now) + self._token_life)
        claims = {"sub": wallet.id, "iat": at, "exp": ends, "jti": self._new_id("jwt")}
        return {
            "token": signed_token(self._jwt_secret, claims),
            "expires_in": ends - at,
            "user_id": wallet.id,
        }

    def _me(self, _request: Request, caller: Caller, _now: float) -> dict[str, Any]:
        return self.wallets[caller.wallet_id].shown()

    # --- templates

    def _new_template(self, request: Request, _caller: Caller, now: float) -> dict[str, Any]:
        """Make a template, if its schema can be read and its name is free."""
        document = body_of(request, {"name": _TEXT, "description": _SOME_TEXT})
        schema = document.get("properties")
        if schema is None:
            raise invalid("Invalid request", Misfit("properties", "Required"))
        misfits: list[Misfit] = []
        properties = read_schema(schema, misfits, "")
        if misfits:
            unknown = "Invalid property type" if any(each.unknown_type for each in misfits) else None
            raise RefusedError("INVALID_TEMPLATE_SCHEMA", message=unknown, details=details(misfits))
        if document["name"] in self._template_names:
            raise _conflict(None, "name")
        template = Template(
            id=self._new_id("tmpl"),
            name=document["name"],
            schema=schema,
            properties=properties,
            description=document.get("description"),
            created_at=self._date(now),
        )
        self.templates[template.id] = template
        self._template_names.add(template.name)
        self._lists.add(template.id, ("templates",))
        return template.shown()

    def _list_templates(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        return self._page(request, lambda found: self.templates[found].shown(), ("templates",))

    def _read_template(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        return self._template(request.params["id"]).shown()

    def _drop_template(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        """Delete a template that no object lives by, and its action types."""
        template = self._template(request.params["id"])
        if template.objects:
            raise _conflict("Template in use", "id", f"Live objects: {template.objects}")
        del self.templates[template.id]
        self._template_names.discard(template.name)
        self._lists.drop(template.id, ("templates",))
        for each in template.action_types.values():
            del self.action_types[each.id]
            self._lists.drop(each.id, ("action-types",))
        return {"id": template.id, "deleted": True}

    def _template(self, template_id: str) -> Template:
        if template_id not in self.templates:
            raise RefusedError("NOT_FOUND", message="Template not found")
        return self.templates[template_id]

    # --- objects

    def _new_object(self, request: Request, caller: Caller, now: float) -> dict[str, Any]:
        """Make an object after a template; its properties must be the template's, and all of them."""
        document = body_of(request, {"template_id": _TEXT, "properties": _SOME_OBJECT})
        template = self._template(document["template_id"])
        values = document.get("properties", {})
        if misfits := misfits_in(template.properties, values):
            raise invalid("Invalid properties", *misfits)
        made = Object(
            id=self._new_id("obj"),
            template_id=template.id,
            owner_id=caller.wallet_id,
            properties=with_defaults(template.properties, values),
            created_at=self._date(now),
            updated_at=self._date(now),
        )
        self.objects[made.id] = made
        template.objects += 1
        self._lists.add(made.id, *made.places())
        return made.shown(now)

    def _list_objects(self, request: Request, caller: Caller, now: float) -> dict[str, Any]:
        """List the caller's own, or those of them that a template is named for."""
        return self._objects(request, now, ("owner_id", caller.wallet_id), filters=("template_id",))

    def _search(self, request: Request, _caller: Caller, now: float) -> dict[str, Any]:
        """List everybody's, by template, owner and state as far as these are named."""
        return self._objects(request, now, ("objects",), filters=("template_id", "owner_id", "state"))

    def _objects(
        self, request: Request, now: float, place: Place, *, filters: tuple[str, ...]
    ) -> dict[str, Any]:
        wanted = [(name, request.query[name]) for name in filters if name in request.query]
        return self._page(request, lambda found: self.objects[found].shown(now), place, *wanted)

    def _read_object(self, request: Request, _caller: Caller, now: float) -> dict[str, Any]:
        return self._object(request.params["id"]).shown(now)

    def _change_object(self, request: Request, caller: Caller, now: float) -> dict[str, Any]:
        """Replace some properties; what is not named stays."""
        document = body_of(request, {"properties": _OBJECT})
        changed = self._object(request.params["id"])
        if changed.owner_id != caller.wallet_id:
            raise RefusedError("PERMISSION_DENIED")
        values = changed.properties | document["properties"]
        if misfits := misfits_in(self.templates[changed.template_id].properties, values):
            raise invalid("Invalid properties", *misfits)
        if changed.locked(now):
            raise RefusedError("OBJECT_LOCKED", example=2)
        changed.properties = values
        changed.updated_at = self._date(now)
        return changed.shown(now)

    def _object(self, object_id: str) -> Object:
        if object_id not in self.objects:
            raise RefusedError("NOT_FOUND")
        return self.objects[object_id]

    # --- the event bus

    def _new_action_type(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        """Make a further action known to a template.

        Source: https://preview.dual.org/docs/concepts/actions
        """
        wanted = {"name": _TEXT, "template_id": _TEXT, "description": _SOME_TEXT, "parameters": _SOME_OBJECT}
        document = body_of(request, wanted | {"from_states": _SOME_LIST, "to_state": _SOME_TEXT})
        name, template = document["name"], self._template(document["template_id"])
        misfits: list[Misfit] = []
        parameters = read_schema(document.get("parameters", {}), misfits, "parameters")
        misfits += misfits_of_texts(document.get("from_states", []), "from_states")
        if misfits:
            raise invalid("Invalid request", *misfits)
        if name in BUILT_IN or name in template.action_types:
            raise _conflict("Action type already exists", "name")
        made = ActionType(
            id=self._new_id("atype"),
            name=name,
            template_id=template.id,
            schema=document.get("parameters", {}),
            parameters=parameters,
            from_states=tuple(document.get("from_states", [])),
            to_state=document.get("to_state"),
            description=document.get("description"),
        )
        self.action_types[made.id] = template.action_types[name] = made
        self._lists.add(made.id, ("action-types",))
        return made.shown()

    def _list_action_types(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        return self._page(request, lambda found: self.action_types[found].shown(), ("action-types",))

    def _act(self, request: Request, caller: Caller, now: float) -> dict[str, Any]:
        """Do something to an object: for its owner, if its state allows it and nothing else is under way.

        Source: https://preview.dual.org/docs/concepts/actions
        """
        document = body_of(request, {"action_type": _TEXT, "object_id": _TEXT, "payload": _SOME_OBJECT})
        name, payload = document["action_type"], document.get("payload", {})
        target = self._object(document["object_id"])
        kind = BUILT_IN.get(name) or self.templates[target.template_id].action_types.get(name)
        if kind is None:
            raise invalid("Invalid action type", Misfit("action_type", "Not registered for this template"))
        if target.owner_id != caller.wallet_id:
            raise RefusedError("PERMISSION_DENIED")
        if misfits := misfits_in(kind.parameters, payload):
            raise invalid("Invalid parameters", *misfits)
        if target.locked(now):
            raise RefusedError("OBJECT_LOCKED")
        if kind.from_states and target.state not in kind.from_states:
            raise _unprocessable("Invalid state transition", "action_type", f"The object is {target.state}")
        if kind is TRANSFER and payload["to"] not in self.wallets:
            raise _unprocessable("Ownership conflict", "to", "No such wallet")
        self._apply(kind, target, payload, now)
        action = Action(
            id=self._new_id("act"),
            action_type=name,
            object_id=target.id,
            wallet_id=caller.wallet_id,
            payload=payload,
            created_at=self._date(now),
            at=now,
            until=target.locked_until,
        )
        self.actions[action.id] = action
        return action.shown(now)

    def _apply(self, kind: ActionType, target: Object, payload: Mapping[str, Any], now: float) -> None:
        self._lists.drop(target.id, *target.places())
        if kind is TRANSFER:
            target.owner_id = payload["to"]
        target.state = kind.to_state or target.state
        target.updated_at = self._date(now)
        target.locked_until = now + self._action_time
        if kind is BURN:
            del self.objects[target.id]
            self.templates[target.template_id].objects -= 1
        else:
            self._lists.add(target.id, *target.places())

    def _read_action(self, request: Request, _caller: Caller, now: float) -> dict[str, Any]:
        action_id = request.params["id"]
        if action_id not in self.actions:
            raise RefusedError("NOT_FOUND", message="Action not found")
        return self.actions[action_id].shown(now)

    # --- webhooks and files

    def _new_webhook(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        """Subscribe an HTTPS endpoint; its secret is made here, and shown this once."""
        document = body_of(request, {"url": _TEXT, "events": _LIST})
        url, events = document["url"], document["events"]
        if not is_https(url):
            raise invalid("Invalid URL", Misfit("url", "Not an HTTPS URL"))
        misfits = misfits_of_texts(events, "events") if events else [Misfit("events", "Required")]
        if misfits:
            raise invalid("Invalid request", *misfits)
        webhook_id = self._new_id("wh")
        secret = f"sandbox-secret-{self._made_up('webhook-secret', self._made['wh'])[:32]}"
        webhook = self.webhooks[webhook_id] = Webhook(webhook_id, url, events, secret)
        self._lists.add(webhook_id, ("webhooks",))
        return webhook.shown() | {"secret": secret}

    def _list_webhooks(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        return self._page(request, lambda found: self.webhooks[found].shown(), ("webhooks",))

    def _drop_webhook(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        webhook = self._webhook(request.params["id"])
        del self.webhooks[webhook.id]
        self._lists.drop(webhook.id, ("webhooks",))
        return {"id": webhook.id, "deleted": True}

    def _test_webhook(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        """Say how the endpoint took a test event."""
        webhook = self._webhook(request.params["id"])
        if webhook.answer is None:
            raise RefusedError("GATEWAY_TIMEOUT")
        if not 200 <= webhook.answer < 300:
            raise RefusedError("SERVER_ERROR", message="Webhook delivery failed")
        webhook.tests += 1
        return {"id": webhook.id, "delivered": True, "status": webhook.answer}

    def _webhook(self, webhook_id: str) -> Webhook:
        if webhook_id not in self.webhooks:
            raise RefusedError("NOT_FOUND", message="Webhook not found")
        return self.webhooks[webhook_id]

    def _upload(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        """Take the part `file` of a form."""
        name, kind, content = file_in(request)
        if len(content) > UPLOAD:
            raise invalid("Invalid request", Misfit("file", f"Longer than {UPLOAD} bytes"))
        made = File(self._new_id("file"), name, kind, len(content), hashlib.sha256(content).hexdigest())
        self.files[made.id] = made
        return made.shown()

    def _read_file(self, request: Request, _caller: Caller, _now: float) -> dict[str, Any]:
        file_id = request.params["id"]
        if file_id not in self.files:
            raise RefusedError("NOT_FOUND", message="File not found")
        return self.files[file_id].shown()

    routes: ClassVar[Mapping[str, Callable[..., Any]]] = {
        REGISTER: _register,
        LOGIN: _login,
        "GET /wallets/me": _me,
        "POST /templates": _new_template,
        "GET /templates": _list_templates,
        "GET /templates/{id}": _read_template,
        "DELETE /templates/{id}": _drop_template,
        "POST /objects": _new_object,
        "GET /objects": _list_objects,
        "GET /objects/{id}": _read_object,
        "PATCH /objects/{id}": _change_object,
        "POST /ebus/action-types": _new_action_type,
        "GET /ebus/action-types": _list_action_types,
        "POST /ebus/actions": _act,
        "GET /ebus/actions/{id}": _read_action,
        "GET /indexer/search": _search,
        "POST /webhooks": _new_webhook,
        "GET /webhooks": _list_webhooks,
        "DELETE /webhooks/{id}": _drop_webhook,
        "POST /webhooks/{id}/test": _test_webhook,
        "POST /storage/upload": _upload,
        "GET /storage/{id}": _read_file,
    }

    # --- what the work is made of

    def _page(
        self, request: Request, show: Callable[[str], dict[str, Any]], *places: Place
    ) -> dict[str, Any]:
        """Show what is in all of these places, a page of it: `limit` items, from past the cursor `next`."""
        limit, after = whole_number(request, "limit", PAGE), whole_number(request, "next", -1)
        if not 1 <= limit <= LONGEST_PAGE:
            raise invalid("Invalid request", Misfit("limit", f"From 1 to {LONGEST_PAGE}"))
        found, cursor = self._lists.page(after, limit, *places)
        return {"items": [show(each) for each in found], "next": None if cursor is None else str(cursor)}

    def _date(self, now: float) -> str:
        return datetime.fromtimestamp(self.wall(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _new_id(self, prefix: str) -> str:
        self._made[prefix] += 1
        number = self._made[prefix]
        return f"{prefix}_{self._made_up(prefix, number)[:10]}{number:04d}"

    def _made_up(self, what: str, number: int) -> str:
        return hashlib.sha256(f"{self.name}/{self._seed}/{what}/{number}".encode()).hexdigest()


def _conflict(message: str | None, at: str, reason: str = "Taken") -> RefusedError:
    return RefusedError("CONFLICT", message=message, details=details([Misfit(at, reason)]))


def _unprocessable(message: str, at: str, reason: str) -> RefusedError:
    return RefusedError("UNPROCESSABLE", message=message, details=details([Misfit(at, reason)]))
