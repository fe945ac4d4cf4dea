"""What a policy file may say, in pydantic; checking it, extending it, compiling it.

Law of this file: an error names the file, the rule, the field and the mend. What the words mean is in `docs/policy-format.md`;
what is done by them is in `_flow`.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from . import _compile
from .hints import Kind  # noqa: TC001 - pydantic reads the annotations
from .loading import PolicyError, folder, policy_names

if TYPE_CHECKING:
    import httpx
    from pydantic_core import ErrorDetails

    from ._flow.rulebook import Rulebook
    from .outcome import Verdict

__all__ = ["Policy", "from_file"]

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


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True, use_attribute_docstrings=True
    )


class Envelope(_Table):
    """Where an error body keeps its parts: JSON pointers; of several, the first that finds something wins."""

    code: Pointers = []
    message: Pointers = []
    field: Pointers = []
    details: Pointers = []
    request_id: Pointers = []
    request_id_header: str | list[str] = ["X-Request-Id"]


class Idempotency(_Table):
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


class Signing(_Table):
    """Which headers a signer sets anew on every attempt."""

    headers: list[str] = []
    nonce: str | None = None


class Token(_Table):
    """How long the API's tokens live, for those that do not say themselves."""

    lifetime: Seconds | None = None


class Override(_Table):
    """The body field that overrides a conflict, when the caller asks for it."""

    field: Pointer
    value: Any = True


class Backoff(_Table):
    """Exponential backoff: first * factor ** n seconds, up to max."""

    first: Seconds = 0.5
    factor: Annotated[float, Field(ge=1)] = 2.0
    max: Seconds = 30.0
    jitter: Literal["full", "none"] = "full"


class Network(_Table):
    """What to do when no answer came: refused, reset, timed out, garbage."""

    retries: Annotated[int, Field(ge=0)] = 4
    backoff: Backoff = Backoff()


class Limits(_Table):
    """Bounds of every call."""

    wait: Seconds = 300.0
    """The longest single wait, in seconds."""
    body: Annotated[int, Field(ge=0)] = 65_536
    """How much of an error body is read for classifying, in bytes."""


class Pace(_Table):
    """A budget that the API publishes: weight units per rolling seconds."""

    name: str = ""
    routes: list[Route] = []
    budget: Annotated[float, Field(gt=0)]
    per: Annotated[float, Field(gt=0)] = 60.0
    burst: Annotated[float, Field(gt=0)] | None = None
    cost: dict[Route, Annotated[float, Field(ge=0)]] = {}


class HeaderHint(_Table):
    """A wait that a header tells."""

    header: str = Field(min_length=1)
    kind: Kind | None = Field(None, alias="as")


class BodyHint(_Table):
    """A wait that a body field tells."""

    body: Pointer
    kind: Kind | None = Field(None, alias="as")


class BucketHint(_Table):
    """A wait that follows from a leaky bucket in the body: (need - have) / rate seconds."""

    need: Pointer
    have: Pointer
    rate: Pointer


Hint = str | HeaderHint | BodyHint | BucketHint


class Retry(_Table):
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


class When(_Table):
    """What a reply must be; every key that is given must hold."""

    status: Status | list[Status] | None = None
    code: Code | list[Code] | None = None
    headers: dict[str, str | bool] = {}
    body: dict[Pointer, Any] = {}
    route: Route | list[Route] | None = None


class Given(_Table):
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


class Expect(_Table):
    """What the client does when every attempt is answered like that."""

    retry: bool
    waits: list[Seconds] | None = None
    reason: str | None = None
    change: list[Change] | None = None
    name: str | None = None
    retry_after: Seconds | None = None


class Example(_Table):
    """A rule's proof."""

    given: Given
    expect: Expect


class Rule(_Table):
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


class Policy(_Table):
    """What one API does when it fails, and what to do about it.

    Made by `load_policy` from a file, or in Python with the same words: `Policy(api="acme", rules=[{"name": …}])`, where `wait` and
    `stop` also take tenacity's objects.

    Raises:
        PolicyError: from `load_policy`; a policy made in Python raises pydantic's ValidationError, a ValueError as well.
    """

    api: str = Field(min_length=1)
    title: str = ""
    source: str = ""
    extends: str | None = None
    envelope: Envelope = Envelope()
    idempotency: Idempotency = Idempotency()
    signing: Signing = Signing()
    token: Token = Token()
    override: Override | None = None
    network: Network = Network()
    limits: Limits = Limits()
    pace: Pace | list[Pace] = []
    should_retry: str | None = None
    """A response header whose true or false overrides what the rules say of retrying."""
    codes: dict[str, Code | list[Code]] = {}
    """Other codes for named rules."""
    rules: list[Rule] = []

    _rulebook: Rulebook | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _start_from_another(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict) or not data.get("extends"):
            return data
        context = info.context or {}
        return _extended(data, context.get("folder"), context.get("chain", ()))

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise ValueError(
                f'two rules are named "{twice[0]}": rename one, or merge them with a list in `when`'
            )
        for name in self.codes:
            if name not in names:
                raise ValueError(f'codes names a rule "{name}" that does not exist{_near(name, names)}')
        for rule in self.rules:
            if rule.retry is not None and "override" in rule.retry.change and self.override is None:
                raise ValueError(
                    f'rule "{rule.name}" changes "override", and there is no [override] table: add one'
                )
            longest = max(rule.retry.schedule or [0.0]) if rule.retry else 0.0
            if longest > self.limits.wait:
                raise ValueError(
                    f'rule "{rule.name}" has a wait of {longest:g} s, over the longest allowed, {self.limits.wait:g} s: '
                    "shorten it, or raise limits.wait"
                )
        if self.idempotency.length[0] > self.idempotency.length[1]:
            raise ValueError("idempotency.length is [shortest, longest]: swap the two")
        return self

    @property
    def rulebook(self) -> Rulebook:
        """The compiled form that transports use."""
        if self._rulebook is None:
            self._rulebook = _compile.compiled(self)
        return self._rulebook

    def classify(self, response: httpx.Response) -> Verdict:
        """Tell what a response means. Pure: nothing is sent, read or remembered, and no reply makes it raise.

        A body that has not been read, or is longer than `limits.body`, is not looked at. Times that a server names are measured
        from the response's own Date; without one, from the epoch, so that only delays are told.
        """
        return _compile.verdict_on(self.rulebook, response)


_KEYS = sorted(
    {
        field.alias or name
        for table in (Policy, Rule, Retry, When, Given, Expect, Envelope, Idempotency, Signing, Token, Override, Backoff,
                      Network, Limits, Pace, HeaderHint, BodyHint, BucketHint, Example)
        for name, field in table.model_fields.items()
    }
)  # fmt: skip


def from_file(path: Path, chain: tuple[Path, ...] = ()) -> Policy:
    """Read, check and extend a policy file.

    Raises:
        PolicyError: it cannot be read, or says what a policy cannot say.
    """
    data = _read(path)
    try:
        return Policy.model_validate(data, context={"folder": path.parent, "chain": (*chain, path.resolve())})
    except ValidationError as error:
        raise PolicyError(_explained(path, data, error)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise PolicyError(
            f"{path}: no such policy file. Check the path (this is {Path.cwd()}), or use a shipped policy: {', '.join(policy_names())}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror or error}") from None


def _extended(data: dict[str, Any], beside: Path | None, chain: tuple[Path, ...]) -> dict[str, Any]:
    name = data["extends"]
    if not isinstance(name, str):
        raise ValueError("extends is a shipped policy's name or a path, in quotes")  # noqa: TRY004 - as above
    if name in policy_names():
        path = folder() / f"{name}.toml"
    elif name.endswith(".toml"):
        path = (beside or Path.cwd()) / name
    else:
        raise ValueError(
            f'extends "{name}", which is neither a shipped policy{_near(name, policy_names())} nor a .toml path'
        )
    if path.resolve() in chain:
        raise ValueError(f'extends "{name}", which extends this one: a policy cannot start from itself')
    from_file(path, chain)  # its own errors are told of its own file
    base = _read(path)
    if base.get("extends"):
        base = _extended(base, path.parent, (*chain, path.resolve()))
    return _merged(base, data)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        before = base.get(key)
        if key == "rules" and isinstance(before, list) and isinstance(value, list):
            merged[key] = _merged_rules(before, value)
        elif isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merged(before, value)
        else:
            merged[key] = value
    return merged


def _merged_rules(base: list[Any], own: list[Any]) -> list[Any]:
    def name(rule: Any) -> Any:
        return rule.get("name") if isinstance(rule, dict) else getattr(rule, "name", None)

    replacing = {name(rule): rule for rule in own}
    inherited = {name(rule) for rule in base}
    return [rule for rule in own if name(rule) not in inherited] + [
        replacing.get(name(rule), rule) for rule in base
    ]


# ------------------------------------------------------------------------------------------------------- errors


def _explained(path: Path, data: dict[str, Any], error: ValidationError) -> str:
    seen: set[str] = set()
    lines = []
    for detail in error.errors(include_url=False):
        rule, place = _place(data, detail)
        key = f"{rule}{place}"
        if key in seen:  # the other branches of a union say the same place again
            continue
        seen.add(key)
        lines.append(f"{path}{rule}: {_mend(place, detail)}")
    more = len(lines) - 5
    return "\n".join(lines[:5] + ([f"… and {more} more"] if more > 0 else []))


def _place(data: Any, detail: ErrorDetails) -> tuple[str, str]:
    """Name the rule and the field of an error; what pydantic adds for unions is left out."""
    rule, node, parts = "", data, []
    location = list(detail["loc"])
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        if isinstance(node, dict) and (
            part in node or (last and detail["type"] in {"missing", "extra_forbidden"})
        ):
            node = node.get(part)
            parts.append(str(part))
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
            if parts == ["rules"]:
                rule = (
                    f', rule "{node.get("name", part + 1)}"'
                    if isinstance(node, dict)
                    else f", rule {part + 1}"
                )
                parts = []
            else:
                parts.append(str(part))
    return rule, ".".join(parts)


def _mend(place: str, detail: ErrorDetails) -> str:
    kind, got = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        name = place.rpartition(".")[2]
        return f'unknown key "{place}"{_near(name, _KEYS)}'
    if kind == "missing":
        return f"{place} is missing: add it"
    if kind == "value_error":
        message = str(detail.get("ctx", {}).get("error", detail["msg"]))
        return f"{place}: {message}" if place else message
    if kind == "literal_error":
        expected = str(detail.get("ctx", {}).get("expected", ""))
        wanted = expected.replace(" or ", ", ").replace("'", "").split(", ")
        return f"{place} must be one of {', '.join(wanted)} (got {got!r}){_near(str(got), wanted)}"
    limits = {
        "greater_than_equal": (">=", "ge"),
        "greater_than": (">", "gt"),
        "less_than_equal": ("<=", "le"),
    }
    if kind in limits:
        sign, name = limits[kind]
        return f"{place} must be {sign} {detail.get('ctx', {}).get(name)} (got {got!r})"
    message = detail["msg"]
    return f"{place}: {message[:1].lower()}{message[1:]} (got {got!r})"


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def json_schema() -> str:
    """Write the format as JSON Schema, for editors: it is what `policies/policy.schema.json` holds."""
    schema = Policy.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A policy of resilient_client"
    schema.pop("required", None)  # a policy that extends another need not say even its name
    schema["$defs"]["Retry"]["properties"].pop("stop")  # Python only
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
