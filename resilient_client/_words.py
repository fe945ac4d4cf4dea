"""The tables of a policy file, in pydantic: each class is one table, each attribute one key of it.

Law of this file: what a value may be is said here, where it is read; what the words do is in `_flow`, and what they mean to
people in `docs/policy-format.md`.
"""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
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

from ._protect import Breaker, Budget, Bulkhead, Hedge  # noqa: TC001 - as below
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
    )


class Envelope(Table):
    """Where an error body keeps its parts: JSON pointers; of several, the first that finds something wins."""

    code: Pointers = []
    """What tells errors apart: a string or an integer."""
    message: Pointers = []
    """What the API says to people; nothing is decided by it."""
    field: Pointers = []
    """Which field of the request was wrong."""
    details: Pointers = []
    """Whatever else the API tells."""
    request_id: Pointers = []
    """What the API's support asks for."""
    request_id_header: Names = ["X-Request-Id"]
    """Headers that hold it; they count before the body."""


class Idempotency(Table):
    """How this API takes idempotency keys."""

    header: str = Field("Idempotency-Key", min_length=1)
    """The header that holds the key."""
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
    """What a signer sets, for readers: an auth names its own."""
    nonce: str | None = None
    """The one of them that must never be sent twice."""


class Token(Table):
    """How long the API's tokens live, for those that do not say themselves."""

    lifetime: Seconds | None = None
    """How long a token lives after its sign-in, where neither it nor its TokenAuth says."""


class Override(Table):
    """The body field that overrides a conflict, when the caller asks for it."""

    field: Pointer
    """Where it goes in the JSON body."""
    value: Any = True
    """What is put there."""

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
    """The first ceiling."""
    factor: Annotated[float, Field(ge=1)] = 2.0
    """By how much the ceiling grows each time."""
    max: Seconds = 30.0
    """The highest ceiling."""
    jitter: Literal["full", "none"] = "full"
    """`"full"`: anything from 0 to the ceiling; `"none"`: the ceiling."""


class Network(Table):
    """What to do when no answer came: refused, reset, timed out, garbage."""

    retries: Annotated[int, Field(ge=0)] = 4
    """The most retries in one call."""
    backoff: Backoff = Backoff()
    """The waits between them."""


class Limits(Table):
    """Bounds of every call."""

    wait: Seconds = 300.0
    """The longest single wait, in seconds."""
    body: Annotated[int, Field(ge=0)] = 65_536
    """How much of an error body is read for classifying, in bytes."""


class Pace(Table):
    """A budget that the API publishes: weight units per rolling seconds."""

    name: str = ""
    """What people call it."""
    routes: list[Route] = []
    """The requests that it counts; left out: all."""
    budget: Annotated[float, Field(gt=0)]
    """Weight units that may be spent in `per` seconds."""
    per: Annotated[float, Field(gt=0)] = 60.0
    """The length of the rolling window, in seconds."""
    burst: Annotated[float, Field(gt=0)] | None = None
    """Weight units that may be spent within one second."""
    cost: dict[Route, Annotated[float, Field(ge=0)]] = {}
    """What a route costs, in weight units; all others cost 1, and what costs 0 is not counted."""

    @model_validator(mode="after")
    def _everything_fits(self) -> Self:
        most = self.budget if self.burst is None else min(self.budget, self.burst)
        if most < 1 and not (self.routes and set(self.routes) <= set(self.cost)):
            raise ValueError(
                f"a request costs 1 unit where cost does not say otherwise, and no window has more than {most:g}: "
                "it could never be sent"
            )
        for route, cost in self.cost.items():
            if cost > most:
                raise ValueError(
                    f'"{route}" costs {cost:g} units, and no window has more than {most:g}: it could never be sent'
                )
        return self


Paces = Annotated[Annotated[Pace, Tag("one")] | Annotated[list[Pace], Tag("many")], _ONE_OR_MANY]


class Protect(Table):
    """What protects the calls of every client of this policy; a client's own keywords outweigh it."""

    budget: Budget = True
    """A retry budget, or its numbers."""
    pace: bool = False
    """Keep to the budgets of `[pace]`."""
    breaker: Breaker = False
    """A circuit breaker for each host, or its numbers."""
    hedge: Hedge = False
    """A second request where an answer is late: the extra load that is allowed, as a share of the requests."""
    bulkhead: Bulkhead = False
    """How many calls may be under way at a time to a host, or how to learn that."""


class HeaderHint(Table):
    """A wait that a header tells."""

    header: str = Field(min_length=1)
    """The header's name."""
    kind: Kind | None = Field(None, alias="as")
    """How it is read; left out: by its name."""


class BodyHint(Table):
    """A wait that a body field tells."""

    body: Pointer
    """Where the field is."""
    kind: Kind | None = Field(None, alias="as")
    """How it is read; left out: as a number of seconds or a duration."""


class BucketHint(Table):
    """A wait that follows from a leaky bucket in the body: (need - have) / rate seconds."""

    need: Pointer
    """What the request costs."""
    have: Pointer
    """What is in the bucket."""
    rate: Pointer
    """What comes back in a second."""


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
    """The most that this rule allows in one call; left out: 4, the length of `schedule`, or any number within `for`."""
    duration: Annotated[float, Field(gt=0)] | None = Field(None, alias="for")
    """Keep on until this many seconds have passed since the rule first matched."""
    after: list[Hint] = ["Retry-After"]
    """Where the server says how long: a header, a JSON pointer, or a table that says how to read it."""
    schedule: Annotated[list[Seconds], Field(min_length=1)] | None = None
    """The waits, in order."""
    backoff: Backoff | None = None
    """Waits that grow; this is what happens where neither `schedule` nor `wait` is given."""
    wait: Annotated[Any, BeforeValidator(_a_wait), WithJsonSchema(_SECONDS_SCHEMA)] = None
    """One wait, the same each time; 0 is at once."""
    stop: Annotated[Any, BeforeValidator(_a_stop), WithJsonSchema({"type": "null"})] = None
    """For policies made in Python only: one of tenacity's stop objects."""
    unsafe: bool = False
    """Also without a key, for methods that are not idempotent: nothing was done, or the vendor says to retry."""
    change: list[Change] = []
    """What is new about the next attempt."""
    requires: list[Change] | None = None
    """What a retry is pointless without; left out: "refresh" and "override" where `change` has them."""
    only_if: Literal["token_expired", "override_conflict"] | None = None
    """What must be true of the caller."""

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
    """The reply's status is this, or one of these."""
    code: Codes | None = None
    """The envelope's code is this, or one of these; an empty list never holds."""
    headers: dict[str, str | bool] = {}
    """Each header equals the text, is there (`true`) or is not (`false`)."""
    body: dict[Pointer, Any] = {}
    """What each pointer finds equals the value."""
    route: Routes | None = None
    """The request's route is this, or one of these."""


Whens = Annotated[Annotated[When, Tag("one")] | Annotated[list[When], Tag("many")], _ONE_OR_MANY]


class Given(Table):
    """A reply, and where it matters the request that it answers."""

    status: Annotated[int, Field(ge=100, le=599)]
    """The reply's status."""
    json_: Any = Field(None, alias="json")
    """Its body, as JSON."""
    text: str | None = None
    """Its body, as text."""
    headers: dict[str, str] = {}
    """Its headers."""
    method: str = "GET"
    """The request's method."""
    path: str = "/"
    """The request's path."""
    request_headers: dict[str, str] = {}
    """The request's headers."""
    signer: bool = False
    """The client holds a signer that makes new nonces."""
    token: Literal["live", "expired"] | None = None
    """The client holds a token source, and its token is live or past its life."""
    override_conflict: bool = False
    """The caller asked for it."""


class Expect(Table):
    """What the client does when every attempt is answered like that."""

    retry: bool
    """It is sent again at least once."""
    waits: list[Seconds] | None = None
    """The waits without their jitter; of a full-jitter backoff, the ceilings."""
    reason: str | None = None
    """How the call ends; one of those of `outcome.reason`."""
    change: list[Change] | None = None
    """What is new about each further attempt."""
    name: str | None = None
    """The rule that wins, where another than this one is meant to."""
    retry_after: Seconds | None = None
    """The wait that is read from the reply."""


class Example(Table):
    """A rule's proof."""

    given: Given
    """What comes."""
    expect: Expect
    """What is done about it."""


class Rule(Table):
    """One error that the API documents."""

    name: str = Field(min_length=1)
    """What verdicts, logs and tests call it; unique in the file."""
    when: Whens = When()
    """The replies that it speaks of; left out: every error."""
    category: Category = "other"
    """What kind of error it is."""
    cause: str = ""
    """Why it happens, for developers."""
    remedy: str = ""
    """What to do about it, for developers."""
    user_message: str = ""
    """What to tell a user."""
    source: str = ""
    """The vendor's page; left out: that of the file."""
    retry: Retry | None = None
    """What is done again; left out: nothing, the error is final."""
    examples: list[Example] = []
    """The rule's proofs, which mocks and sandboxes answer with."""


def meanings(table: type[Table]) -> dict[str, str]:
    """Read what a table's keys mean: the docstrings under its attributes.

    pydantic could read them itself, and would do so for every table of every program that loads a policy.
    """
    (written,) = ast.parse(inspect.getsource(table)).body
    return {
        key.target.id: inspect.cleandoc(said.value.value)
        for key, said in pairwise(written.body)  # type: ignore[attr-defined] # it is a class
        if isinstance(key, ast.AnnAssign)
        and isinstance(key.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    }


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
    "protect": Protect,
    "backoff": Backoff,
    "retry": Retry,
    "when": When,
    "examples": Example,
    "given": Given,
    "expect": Expect,
}
