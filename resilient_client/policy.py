"""What a policy file may say, in pydantic; checking it, extending it, compiling it.

Law of this file: an error names the file, the rule, the field and the mend. What the words mean is in `docs/policy-format.md`;
what is done by them is in `_flow`.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from . import _compile
from ._slips import explained, near
from ._words import (
    Codes,
    Envelope,
    Idempotency,
    Limits,
    Network,
    Override,
    Paces,
    Protect,
    Rule,
    Signing,
    Table,
    Token,
    meanings,
)
from .loading import PolicyError, base_file, policy_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pydantic_core.core_schema import ModelSchema

    from ._bounds import Bound, Plan
    from ._flow.rulebook import Rulebook
    from ._http import Response
    from ._lint import Finding
    from .outcome import Verdict

__all__ = ["Policy", "from_file", "json_schema", "lineage"]


class Policy(Table):
    """What one API does when it fails, and what to do about it.

    Made by `load_policy` from a file, or in Python with the same words, `Policy.model_validate({"api": "acme", "rules": […]})`, where
    `wait` and `stop` also take tenacity's objects.

    Raises:
        PolicyError: from `load_policy`; a policy made in Python raises pydantic's ValidationError, a ValueError as well.
    """

    api: str = Field(min_length=1)
    """The API's short name; it may come from the policy that is extended."""
    title: str = ""
    """What people call it."""
    source: str = ""
    """The vendor's page about errors."""
    extends: str | None = None
    """The policy that this one starts from: a shipped name, or a path beside this file."""
    envelope: Envelope = Envelope()
    """Where an error body keeps its parts."""
    idempotency: Idempotency = Idempotency()
    """How the API takes idempotency keys."""
    signing: Signing = Signing()
    """Which headers a signer sets anew on every attempt."""
    token: Token = Token()
    """How long tokens live."""
    override: Override | None = None
    """What overrides a conflict."""
    network: Network = Network()
    """What to do when no answer came."""
    limits: Limits = Limits()
    """Bounds of every call."""
    pace: Paces = Field(default_factory=list)
    """The budgets that the API publishes."""
    protect: Protect = Protect()
    """What protects the calls of its clients."""
    should_retry: str | None = None
    """A response header whose true or false overrides what the rules say of retrying."""
    codes: dict[str, Codes] = Field(default_factory=dict)
    """Other codes for named rules."""
    rules: list[Rule] = Field(default_factory=list)
    """The errors; the first that matches decides."""

    # With the policy that it was compiled from: a copy takes its private attributes along.
    _rulebook: tuple[int, Rulebook] | None = PrivateAttr(None)
    _inherited: frozenset[str] = PrivateAttr(frozenset())

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
                raise ValueError(f'codes names a rule "{name}" that does not exist{near(name, names)}')
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
        if self.protect.pace and not self.pace:
            raise ValueError(
                "protect.pace is on, and there is no [pace] to keep to: add the table, or leave it off"
            )
        if self.idempotency.length and self.idempotency.length[0] > self.idempotency.length[1]:
            raise ValueError("idempotency.length is [shortest, longest]: swap the two")
        return self

    @property
    def own_rules(self) -> list[Rule]:
        """The rules that the policy's file states itself, without those of the policy that it extends."""
        return [rule for rule in self.rules if rule.name not in self._inherited]

    @property
    def rulebook(self) -> Rulebook:
        """The compiled form that transports use."""
        if self._rulebook is None or self._rulebook[0] != id(self):
            self._rulebook = id(self), _compile.compiled(self)
        return self._rulebook[1]

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the compiled form out: it is made again where it is needed."""
        state = super().__getstate__()
        private = state.get("__pydantic_private__") or {}
        return {**state, "__pydantic_private__": {**private, "_rulebook": None}}

    def classify(self, response: Response) -> Verdict:
        """Tell what a response means. Pure: nothing is sent, read or remembered, and no reply makes it raise.

        A body that has not been read, or is longer than `limits.body`, is not looked at. Times that a server names are measured
        from the response's own Date; without one, from the epoch, so that only delays are told.
        """
        return _compile.verdict_on(self.rulebook, response)

    def lint(self, *, deadline: float | None = None) -> tuple[Finding, ...]:
        """Look for what is wrong with the policy: the worst first, then in file order; nothing where nothing is.

        An error cannot be meant, a warning hardly is, a note may be. `deadline` is what the callers give a call, in
        seconds: with it, schedules that do not fit are told. What no file can say, `load_policy` has refused already.

        Raises:
            ValueError: the deadline is no number above 0.
        """
        from ._lint import lint  # noqa: PLC0415 - calls do not need it

        return lint(self, deadline=deadline)

    def worst_case(  # noqa: PLR0913 - what is known of a call
        self,
        method: str,
        path: str,
        *,
        deadline: float | None = None,
        timeout: float | None = None,
        keyed: bool | None = None,
        renews: Collection[str] | None = None,
        override_conflict: bool = False,
    ) -> Bound:
        """Tell what one call comes to at the most: attempts, sleeps and time, whatever the server does.

        Args:
            method: as the request has it.
            path: of its URL.
            deadline: of the call, in seconds; None where it has none.
            timeout: seconds that one attempt may take, up to the end of its answer; None where nothing bounds it.
            keyed: it may be sent twice, by an idempotency key or by the caller's word; None: if the policy makes the key.
            renews: what the caller's auth can make anew, of "nonce" and "token"; None: what the policy speaks of.
            override_conflict: the caller asks for it.

        Redirects and sign-ins are calls of their own and are not in it, but a deadline is for all of them together. The
        jitter is in it: a sleep may be longer than `limits.wait` by a fifth and a quarter of a second.

        Raises:
            ValueError: a number of seconds is none above 0, or nothing can be renewed of that name.
        """
        from ._bounds import worst_case  # noqa: PLC0415 - calls do not need it

        return worst_case(
            self,
            method,
            path,
            deadline=deadline,
            timeout=timeout,
            keyed=keyed,
            renews=renews,
            override_conflict=override_conflict,
        )

    def plan(  # noqa: PLR0913 - what is known of a call
        self,
        rule: str,
        *,
        method: str = "GET",
        path: str = "/",
        asked: float | None = None,
        deadline: float | None = None,
        timeout: float | None = None,
        keyed: bool | None = None,
        renews: Collection[str] | None = None,
        override_conflict: bool = False,
    ) -> Plan:
        """Lay out when each attempt of a call is sent, if one rule judges the answers to them all.

        `rule` is its name, or "NETWORK_ERROR" for a call that brings no answer; whether it speaks of this very request is
        not asked. `asked` is the wait, in seconds, that the server asks for each time, None where it names none. All else
        is as in `worst_case`; without a `timeout`, answers are taken to come at once.

        Raises:
            PolicyError: the policy has no rule of that name.
            ValueError: as in `worst_case`, or `asked` is less than 0.
        """
        from ._bounds import plan  # noqa: PLC0415 - calls do not need it

        return plan(
            self,
            rule,
            method=method,
            path=path,
            asked=asked,
            deadline=deadline,
            timeout=timeout,
            keyed=keyed,
            renews=renews,
            override_conflict=override_conflict,
        )


def from_file(path: Path, chain: tuple[Path, ...] = ()) -> Policy:
    """Read, check and extend a policy file.

    Raises:
        PolicyError: it cannot be read, or says what a policy cannot say.
    """
    data = _read(path)
    try:
        policy = Policy.model_validate(
            data, context={"folder": path.parent, "chain": (*chain, path.resolve())}
        )
    except ValidationError as error:
        raise PolicyError(explained(path, data, error, Policy.model_fields)) from None
    if policy.extends:
        own = {rule.get("name") for rule in data.get("rules", ())}
        policy._inherited = frozenset(rule.name for rule in policy.rules if rule.name not in own)  # noqa: SLF001 - made here
    return policy


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
    except RecursionError:
        raise PolicyError(f"{path}: nested too deeply to be a policy") from None
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror or error}") from None


def lineage(path: Path) -> Iterator[tuple[str, Path]]:
    """List the files that a policy is made of: its own, which nothing extends, and each that is extended, with the word that says so.

    Raises:
        PolicyError: one of them cannot be read.
    """
    extends: Any = ""
    found: Path | None = path
    earlier: set[Path] = set()
    while found is not None and found.resolve() not in earlier:
        earlier.add(found.resolve())
        data = _read(found)
        yield extends, found
        extends = data.get("extends")
        found = base_file(extends, found.parent) if isinstance(extends, str) else None


def _extended(data: dict[str, Any], beside: Path | None, chain: tuple[Path, ...]) -> dict[str, Any]:
    name = data["extends"]
    if not isinstance(name, str):
        raise ValueError("extends is a shipped policy's name or a path, in quotes")  # noqa: TRY004 - as above
    path = base_file(name, beside or Path.cwd())
    if path is None:
        raise ValueError(
            f'extends "{name}", and no shipped policy has that name{near(name, policy_names())}; '
            "a file of your own is given by its path, ending in .toml"
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


class _WithMeanings(GenerateJsonSchema):
    """JSON Schema whose keys say what they mean."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        written = super().model_schema(schema)
        table = schema["cls"]
        said = meanings(table)
        for name, field in table.model_fields.items():
            if name in said:
                written["properties"][field.alias or name]["description"] = said[name]
        return written


def json_schema() -> str:
    """Write the format as JSON Schema, for editors: it is what `policies/policy.schema.json` holds."""
    schema = Policy.model_json_schema(by_alias=True, schema_generator=_WithMeanings)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A policy of resilient_client"
    schema.pop("required", None)  # a policy that extends another need not say even its name
    schema["$defs"]["Retry"]["properties"].pop("stop")  # Python only
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
