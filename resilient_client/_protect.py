"""How a policy file sets a protection: by a switch, by a number, or by a table of the engine's own settings.

Law of this file: what a setting may be is said by its engine (see `_guard`); here it is read.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import core_schema

from ._guard.breaker import BreakerConfig
from ._guard.budget import BudgetConfig
from ._guard.bulkhead import Adaptive, BulkheadConfig
from ._guard.hedge import HedgeConfig

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Breaker", "Budget", "Bulkhead", "Hedge"]


def _kind_of_setting(value: object) -> str:
    if isinstance(value, bool):
        return "switch"
    return "number" if isinstance(value, int | float) else "word" if isinstance(value, str) else "table"


# What the settings of engines are annotated with, and what one writes in a file.
_A = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "int | Adaptive": 'a whole number, "adaptive", or a table',
}


def _is_a(written: str, value: object) -> bool:
    if isinstance(value, bool):
        return written == "bool"
    if "Adaptive" in written:
        return isinstance(value, int | dict | Adaptive) or value == "adaptive"
    return isinstance(value, (int, float) if written.startswith("float") else int) and written != "bool"


def _settings(kind: Any) -> Any:
    """Read a table as the settings of an engine, which say themselves what a number may be."""
    known = {field.name: str(field.type) for field in dataclasses.fields(kind)}

    def read(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"write true, false, or a table of {', '.join(known)}")  # noqa: TRY004 - pydantic makes them its own
        for name, given in value.items():
            if name not in known:
                raise ValueError(f'there is no "{name}" here; it takes {", ".join(known)}')
            if not _is_a(known[name], given):
                raise ValueError(f"{name} is {_A[known[name].removesuffix(' | None')]} (got {given!r})")
        if isinstance(value.get("limit"), dict):
            value = value | {"limit": _settings(Adaptive)(value["limit"])}
        elif value.get("limit") == "adaptive":
            value = value | {"limit": Adaptive()}
        return kind(**value)

    return read


def _schema(kind: Any) -> dict[str, Any]:
    """Describe the table to editors."""
    numbers = {"bool": {"type": "boolean"}, "int | Adaptive": {"type": ["integer", "string", "object"]}}
    keys = {
        field.name: numbers.get(str(field.type), {"type": "number"}) for field in dataclasses.fields(kind)
    }
    return {"type": "object", "additionalProperties": False, "properties": keys}


class _Read:
    """Read a value by a function alone. pydantic's PlainValidator builds the schema of the engine's dataclass as well, and uses it for nothing."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)


_SETTING = Discriminator(_kind_of_setting)
_Switch = Annotated[bool, Tag("switch")]
_Budget = Annotated[
    BudgetConfig, _Read(_settings(BudgetConfig)), WithJsonSchema(_schema(BudgetConfig)), Tag("table")
]
_Breaker = Annotated[
    BreakerConfig,
    _Read(_settings(BreakerConfig)),
    WithJsonSchema(_schema(BreakerConfig)),
    Tag("table"),
]
_Hedge = Annotated[
    HedgeConfig, _Read(_settings(HedgeConfig)), WithJsonSchema(_schema(HedgeConfig)), Tag("table")
]
_Bulkhead = Annotated[
    BulkheadConfig,
    _Read(_settings(BulkheadConfig)),
    WithJsonSchema(_schema(BulkheadConfig)),
    Tag("table"),
]
Budget = Annotated[_Switch | _Budget, _SETTING]
Breaker = Annotated[_Switch | _Breaker, _SETTING]
Hedge = Annotated[_Switch | Annotated[float, Field(gt=0, le=0.5), Tag("number")] | _Hedge, _SETTING]
Bulkhead = Annotated[
    _Switch
    | Annotated[int, Field(ge=1), Tag("number")]
    | Annotated[Literal["adaptive"], Tag("word")]
    | _Bulkhead,
    _SETTING,
]
