"""The tables of a policy file, in pydantic: each class is one table, each attribute one key of it.

Law of this file: what a value may be is said here, where it is read; what the words do is in `_flow`, and what they mean to
people in `docs/policy-format.md`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    WithJsonSchema,
    model_validator,
)

from .hints import Kind  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable

Category = Literal[
    "auth",
    "permission",
    "validation",
    "not_found",
    "conflict",
    "rate_limit",
    "quota",
    "maintenance",
    "upstream",
    "server",
    "webhook",
    "business",
    "network",
    "other",
]
Change = Literal["nonce", "refresh", "override"]


def _a_pointer(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError(f'a JSON pointer begins with "/": write "/{text.replace(".", "/")}"')
    return text


def _a_route(text: str) -> str:
    method, _, path = text.partition(" ")
    path = path.strip()
    if not (method == "*" or (method.isalpha() and method.isupper())) or not (
        path == "**" or path.startswith("/")
    ):
        raise ValueError(
            'a route is "METHOD /path": "POST /v1/orders/{id}", "GET /files/**", "POST **", "* /health"'
        )
    if "**" in path and not (path == "**" or path.endswith("/**")):
        raise ValueError('"**" stands at the end of a route only, after a slash')
    return text


def _a_code(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"a code is a string or an integer (got {value!r})")  # noqa: TRY004 - pydantic makes them its own
    return value


def _a_status(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return value
    if isinstance(value, str) and value in _CLASSES:
        return value
    raise ValueError(f'a status is a number from 100 to 599, or a class such as "5xx" (got {value!r})')


def _count(value: object) -> str:
    return "many" if isinstance(value, list | tuple) else "one"


def _kind_of_hint(value: object) -> str:
    if isinstance(value, str):
        return "place"
    for key, kind in (("header", "header"), ("body", "body")):
        if (key in value) if isinstance(value, dict) else hasattr(value, key):
            return kind
    return "bucket" if isinstance(value, dict | BucketHint) else "place"


def _a_wait(value: object) -> object:
    if callable(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError("wait is a number of seconds, 0 or more, or one of tenacity's wait objects")
    return float(value)


def _a_stop(value: object) -> object:
    if value is not None and not callable(value):
        raise ValueError(
            "stop is one of tenacity's stop objects, for policies made in Python; in a file, say retries or for"
        )
    return value


_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_SECONDS_SCHEMA = {"type": "number", "minimum": 0}
# Which branch of a union is meant is told by what was written, so that an error speaks of that branch alone.
_ONE_OR_MANY = Discriminator(_count)

Pointer = Annotated[str, AfterValidator(_a_pointer)]
Route = Annotated[str, AfterValidator(_a_route)]
Code = Annotated[str | int, BeforeValidator(_a_code)]
Seconds = Annotated[float, Field(ge=0)]
Status = Annotated[int | Literal["1xx", "2xx", "3xx", "4xx", "5xx"], BeforeValidator(_a_status)]

Pointers = Annotated[Annotated[Pointer, Tag("one")] | Annotated[list[Pointer], Tag("many")], _ONE_OR_MANY]
Names = Annotated[Annotated[str, Tag("one")] | Annotated[list[str], Tag("many")], _ONE_OR_MANY]
Routes = Annotated[Annotated[Route, Tag("one")] | Annotated[list[Route], Tag("many")], _ONE_OR_MANY]
Codes = Annotated[Annotated[Code, Tag("one")] | Annotated[list[Code], Tag("many")], _ONE_OR_MANY]
Statuses = Annotated[Annotated[Status, Tag("one")] | Annotated[list[Status], Tag("many")], _ONE_OR_MANY]


class Table(BaseModel):
    """What all tables share: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class Envelope(Table):
    """Where an error body keeps its parts: JSON pointers; of several, the first that finds something wins."""

    code: Pointers = []
    message: Pointers = []
    field: Pointers = []
    details: Pointers = []
    request_id: Pointers = []
    request_id_header: Names = ["X-Request-Id"]


class Idempotency(Table):
    """How this API takes idempotency keys."""

    header: str = Field("Idempotency-Key", min_length=1)
    field: Pointer | None = None
    """A field of the JSON body that holds the key."""
    quoted: bool = False
    """Send the key as a structured-field string, in double quotes."""
    length: (
        Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], Strict(strict=False)]
        | None
    ) = None
    """The shortest and the longest key, in characters; left out: any."""
    routes: list[Route] = []
    """Where a key is made for every call that brings none."""


class Signing(Table):
    """Which headers a signer sets anew on every attempt."""

    headers: list[str] = []
    nonce: str | None = None


class Token(Table):
    """How long the API's tokens live, for those that do not say themselves."""

    lifetime: Seconds | None = None


class Override(Table):
    """The body field that overrides a conflict, when the caller asks for it."""

    field: Pointer
    value: Any = True

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        try:
            json.dumps(self.value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(f"value must be something that JSON can say (got {self.value!r})") from None
        return self


class Backoff(Table):
    """Exponential backoff: first * factor ** n seconds, up to max."""

    first: Seconds = 0.5
    factor: Annotated[float, Field(ge=1)] = 2.0
    max: Seconds = 30.0
    jitter: Literal["full", "none"] = "full"


class Network(Table):
    """What to do when no answer came: refused, reset, timed out, garbage."""

    retries: Annotated[int, Field(ge=0)] = 4
    backoff: Backoff = Backoff()


class Limits(Table):
    """Bounds of every call."""

    wait: Seconds = 300.0
    """The longest single wait, in seconds."""
    body: Annotated[int, Field(ge=0)] = 65_536
    """How much of an error body is read for classifying, in bytes."""


class Pace(Table):
    """A budget that the API publishes: weight units per rolling seconds."""

    name: str = ""
    routes: list[Route] = []
    budget: Annotated[float, Field(gt=0)]
    per: Annotated[float, Field(gt=0)] = 60.0
    burst: Annotated[float, Field(gt=0)] | None = None
    cost: dict[Route, Annotated[float, Field(ge=0)]] = {}


Paces = Annotated[Annotated[Pace, Tag("one")] | Annotated[list[Pace], Tag("many")], _ONE_OR_MANY]


class HeaderHint(Table):
    """A wait that a header tells."""

    header: str = Field(min_length=1)
    kind: Kind | None = Field(None, alias="as")


class BodyHint(Table):
    """A wait that a body field tells."""

    body: Pointer
    kind: Kind | None = Field(None, alias="as")


class BucketHint(Table):
    """A wait that follows from a leaky bucket in the body: (need - have) / rate seconds."""

    need: Pointer
    have: Pointer
    rate: Pointer


Hint = Annotated[
    Annotated[str, Tag("place")]
    | Annotated[HeaderHint, Tag("header")]
    | Annotated[BodyHint, Tag("body")]
    | Annotated[BucketHint, Tag("bucket")],
    Discriminator(_kind_of_hint),
]


class Retry(Table):
    """What may be done again, how often, when, and with what changed."""

    retries: Annotated[int, Field(ge=0)] | None = None
    duration: Annotated[float, Field(gt=0)] | None = Field(None, alias="for")
    """Keep on until this many seconds have passed since the rule first matched."""
    after: list[Hint] = ["Retry-After"]
    """Where the server says how long: a header, a JSON pointer, or a table that says how to read it."""
    schedule: Annotated[list[Seconds], Field(min_length=1)] | None = None
    backoff: Backoff | None = None
    wait: Annotated[Any, BeforeValidator(_a_wait), WithJsonSchema(_SECONDS_SCHEMA)] = None
    stop: Annotated[Any, BeforeValidator(_a_stop), WithJsonSchema({"type": "null"})] = None
    """For policies made in Python only: one of tenacity's stop objects."""
    unsafe: bool = False
    change: list[Change] = []
    requires: list[Change] | None = None
    only_if: Literal["token_expired", "override_conflict"] | None = None

    @model_validator(mode="after")
    def _one_way_of_waiting(self) -> Self:
        given = [name for name in ("schedule", "backoff", "wait") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: keep one")
        if self.schedule is not None and self.retries is not None and self.retries > len(self.schedule):
            raise ValueError(
                f"retries = {self.retries} is more than the {len(self.schedule)} waits of the schedule: "
                "add waits, or leave retries out"
            )
        endless = self.wait == 0 or (self.backoff is not None and self.backoff.first == 0)
        if self.duration is not None and self.retries is None and endless:
            raise ValueError(
                f"for = {self.duration:g} with no wait would send without a pause: give a wait above 0, or retries"
            )
        if self.stop is not None and (self.retries is not None or self.duration is not None):
            raise ValueError("stop replaces retries and for: keep one")
        return self


class When(Table):
    """What a reply must be; every key that is given must hold."""

    status: Statuses | None = None
    code: Codes | None = None
    headers: dict[str, str | bool] = {}
    body: dict[Pointer, Any] = {}
    route: Routes | None = None


Whens = Annotated[Annotated[When, Tag("one")] | Annotated[list[When], Tag("many")], _ONE_OR_MANY]


class Given(Table):
    """A reply, and where it matters the request that it answers."""

    status: Annotated[int, Field(ge=100, le=599)]
    json_: Any = Field(None, alias="json")
    text: str | None = None
    headers: dict[str, str] = {}
    method: str = "GET"
    path: str = "/"
    request_headers: dict[str, str] = {}
    signer: bool = False
    token: Literal["live", "expired"] | None = None
    override_conflict: bool = False


class Expect(Table):
    """What the client does when every attempt is answered like that."""

    retry: bool
    waits: list[Seconds] | None = None
    reason: str | None = None
    change: list[Change] | None = None
    name: str | None = None
    retry_after: Seconds | None = None


class Example(Table):
    """A rule's proof."""

    given: Given
    expect: Expect


class Rule(Table):
    """One error that the API documents."""

    name: str = Field(min_length=1)
    when: Whens = When()
    category: Category = "other"
    cause: str = ""
    remedy: str = ""
    user_message: str = ""
    source: str = ""
    retry: Retry | None = None
    examples: list[Example] = []


def keys_at(place: str, top: Iterable[str], *, in_rule: bool) -> set[str]:
    """List the keys that a table may have, the table being named by its place; `top` are those of the whole file."""
    parents = [part for part in place.split(".")[:-1] if not part.isdecimal()]
    if not parents:
        return _keys(Rule) if in_rule else set(top)
    if parents[-1] == "after":
        return _keys(HeaderHint) | _keys(BodyHint) | _keys(BucketHint)
    table = _TABLES.get(parents[-1])
    return _keys(table) if table is not None else set()


def _keys(table: type[Table]) -> set[str]:
    return {field.alias or name for name, field in table.model_fields.items()}


_TABLES: dict[str, type[Table]] = {
    "envelope": Envelope,
    "idempotency": Idempotency,
    "signing": Signing,
    "token": Token,
    "override": Override,
    "network": Network,
    "limits": Limits,
    "pace": Pace,
    "backoff": Backoff,
    "retry": Retry,
    "when": When,
    "examples": Example,
    "given": Given,
    "expect": Expect,
}
