"""Properties by a schema: reading the schema, and telling what of a JSON object does not fit it. Pure.

A schema gives each property's type: a word, `"price": "number"`, or a table that says more of it,

    "private": {"type": "object", "properties": {"price": {"type": "number", "default": 10}}}

Source: https://dual-docs.vercel.app/docs/developer-tools/error-reference (types, and how a fault is told).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True)
class Property:
    """What may stand in one place."""

    type: str  # of `TYPES`
    required: bool = True
    default: Any = None  # never null by itself, for null is of no type
    within: Mapping[str, Property] | None = None  # an object's own properties; None: any


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing that is wrong, and where: `private.price`."""

    field: str
    reason: str
    unknown_type: bool = False  # the schema names a type that there is not


def details(misfits: Sequence[Misfit]) -> Any:
    """Tell misfits as the API does: one as an object, several as a list."""
    told = [{"field": each.field, "reason": each.reason} for each in misfits]
    return told[0] if len(told) == 1 else told


def read_schema(schema: Any, misfits: list[Misfit], at: str = "") -> dict[str, Property]:
    """Read a schema from JSON; what is wrong with it is added to `misfits`."""
    if not isinstance(schema, dict):
        misfits.append(Misfit(at or "properties", f"Field type must be object, got {type_of(schema)}"))
        return {}
    properties = {}
    for name, definition in schema.items():
        found = _read_property(definition, misfits, _join(at, name))
        if found is not None:
            properties[name] = found
    return properties


def _read_property(definition: Any, misfits: list[Misfit], at: str) -> Property | None:
    said = {"type": definition} if isinstance(definition, str) else definition
    if not isinstance(said, dict):
        misfits.append(Misfit(at, f"A type or an object is wanted, got {type_of(said)}"))
        return None
    kind, required, own = (
        said.get("type"),
        said.get("required", "default" not in said),
        said.get("properties"),
    )
    if kind not in tuple(TYPES):  # a tuple: what is looked for may be unhashable
        misfits.append(Misfit(at, f"Field type must be one of {', '.join(TYPES)}", unknown_type=True))
        return None
    if not isinstance(required, bool):
        misfits.append(Misfit(_join(at, "required"), f"Field type must be boolean, got {type_of(required)}"))
        return None
    if own is not None and not (kind == "object" and isinstance(own, dict)):
        misfits.append(
            Misfit(_join(at, "properties"), "Only an object has properties, and they are an object")
        )
        return None
    found = Property(
        kind, required, said.get("default"), None if own is None else read_schema(own, misfits, at)
    )
    if "default" in said:
        misfits += _misfits_of(found, said["default"], at)
    return found


def misfits_in(
    properties: Mapping[str, Property], values: Mapping[str, Any], at: str = "", *, closed: bool = True
) -> list[Misfit]:
    """List what in `values` does not fit. Where `closed`, a name that the schema does not have is a misfit too."""
    found = []
    for name, wanted in properties.items():
        if name in values:
            found += _misfits_of(wanted, values[name], _join(at, name))
        elif wanted.required:
            found.append(Misfit(_join(at, name), "Required"))
    if closed:
        found += [
            Misfit(_join(at, name), "Not part of the schema") for name in values if name not in properties
        ]
    return found


def _misfits_of(wanted: Property, value: Any, at: str) -> list[Misfit]:
    if type_of(value) != wanted.type:
        return [Misfit(at, f"Field type must be {wanted.type}, got {type_of(value)}")]
    return [] if wanted.within is None else misfits_in(wanted.within, value, at)


def with_defaults(properties: Mapping[str, Property], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what fitting values leave out."""
    filled = {name: each.default for name, each in properties.items() if each.default is not None} | dict(
        values
    )
    for name, each in properties.items():
        if each.within is not None and name in filled:
            filled[name] = with_defaults(each.within, filled[name])
    return filled


def type_of(value: Any) -> str:
    """Name a JSON value's type."""
    if value is None:
        return "null"
    # True is an int in Python and none in JSON.
    return (
        "boolean"
        if isinstance(value, bool)
        else next(name for name, of in TYPES.items() if isinstance(value, of))
    )


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
