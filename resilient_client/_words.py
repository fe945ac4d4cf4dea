"""The tables of a policy file, in pydantic: each class is one table, each attribute one key of it.

Law of this file: what a value may be is said here, where it is read; what the words do is in `_flow`, and what they mean to
people in `docs/policy-format.md`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from .hints import Kind  # noqa: TC001 - pydantic reads the annotations

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
    if isinstance(value, bool):
        raise ValueError("a code is a string or an integer")  # noqa: TRY004 - pydantic turns ValueErrors into its own
    return value


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


Pointer = Annotated[str, AfterValidator(_a_pointer)]
Pointers = Pointer | list[Pointer]
Route = Annotated[str, AfterValidator(_a_route)]
Code = Annotated[str | int, BeforeValidator(_a_code)]
Seconds = Annotated[float, Field(ge=0)]
Status = Annotated[int, Field(ge=100, le=599)] | Literal["1xx", "2xx", "3xx", "4xx", "5xx"]
_SECONDS_SCHEMA = {"type": "number", "minimum": 0}


class Table(BaseModel):
    """What all tables share: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True, use_attribute_docstrings=True
    )


class Envelope(Table):
    """Where an error body keeps its parts: JSON pointers; of several, the first that finds something wins."""

    code: Pointers = []
    message: Pointers = []
    field: Pointers = []
    details: Pointers = []
    request_id: Pointers = []
    request_id_header: str | list[str] = ["X-Request-Id"]


class Idempotency(Table):
    """How this API takes idempotency keys."""

    header: str = Field("Idempotency-Key", min_length=1)
    field: Pointer | None = None
    """A field of the JSON body that holds the key."""
    quoted: bool = False
    """Send the key as a structured-field string, in double quotes."""
    length: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 255)
    """The shortest and the longest key, in characters."""
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


Hint = str | HeaderHint | BodyHint | BucketHint


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
        if self.stop is not None and (self.retries is not None or self.duration is not None):
            raise ValueError("stop replaces retries and for: keep one")
        return self


class When(Table):
    """What a reply must be; every key that is given must hold."""

    status: Status | list[Status] | None = None
    code: Code | list[Code] | None = None
    headers: dict[str, str | bool] = {}
    body: dict[Pointer, Any] = {}
    route: Route | list[Route] | None = None


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
    when: When | list[When] = When()
    category: Category = "other"
    cause: str = ""
    remedy: str = ""
    user_message: str = ""
    source: str = ""
    retry: Retry | None = None
    examples: list[Example] = []


def keys() -> set[str]:
    """List every key of every table in this file."""
    tables = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, Table)]
    return {field.alias or name for table in tables for name, field in table.model_fields.items()}
