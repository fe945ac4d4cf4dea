"""What DUAL keeps: wallets, templates, objects, actions, webhooks, files, and the order in which they were made.

Times called `at` and `until` are monotonic seconds of the sandbox's clock; dates are texts, as the API shows them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_client.sandbox._dual_schema import Property

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTIVE, REDEEMED = "active", "redeemed"  # states of an object; action types may bring others


@dataclass(slots=True)
class Wallet:
    """Someone who can log in and own objects."""

    id: str
    email: str
    password: str = field(repr=False)
    name: str | None = None

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {"id": self.id, "email": self.email, "name": self.name}


@dataclass(slots=True)
class ActionType:
    """What may be done to objects."""

    id: str
    name: str
    template_id: str | None  # None: it is built in, and every template has it
    schema: Mapping[str, Any]  # of its parameters, as it came
    parameters: Mapping[str, Property]
    from_states: tuple[str, ...] = ()  # in which it may be done; none: any
    to_state: str | None = None  # in which it leaves the object; None: as it was
    description: str | None = None

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "name": self.name,
            "template_id": self.template_id,
            "description": self.description,
            "parameters": self.schema,
            "from_states": list(self.from_states),
            "to_state": self.to_state,
        }


TRANSFER = ActionType(
    "atype_transfer", "transfer", None, {"to": "string"}, {"to": Property("string")}, (ACTIVE,)
)
REDEEM = ActionType("atype_redeem", "redeem", None, {}, {}, (ACTIVE,), REDEEMED)
BURN = ActionType("atype_burn", "burn", None, {}, {})
BUILT_IN: Mapping[str, ActionType] = {each.name: each for each in (TRANSFER, REDEEM, BURN)}


@dataclass(slots=True)
class Template:
    """What objects are made after."""

    id: str
    name: str
    schema: Mapping[str, Any]  # of its objects' properties, as it came
    properties: Mapping[str, Property]
    description: str | None
    created_at: str
    objects: int = 0  # that live by it
    action_types: dict[str, ActionType] = field(default_factory=dict)  # its own, by name

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "properties": self.schema,
            "created_at": self.created_at,
        }


@dataclass(slots=True)
class Object:
    """A token: made after a template, owned by a wallet."""

    id: str
    template_id: str
    owner_id: str
    properties: dict[str, Any]
    created_at: str
    updated_at: str
    state: str = ACTIVE
    locked_until: float = -math.inf  # an action is in flight before

    def locked(self, now: float) -> bool:
        """Tell whether an action is in flight."""
        return now < self.locked_until

    def places(self) -> list[Place]:
        """Name the lists that it belongs in."""
        return [
            ("objects",),
            ("template_id", self.template_id),
            ("owner_id", self.owner_id),
            ("state", self.state),
        ]

    def shown(self, now: float) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "template_id": self.template_id,
            "owner_id": self.owner_id,
            "state": self.state,
            "locked": self.locked(now),
            "properties": self.properties,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


@dataclass(slots=True)
class Action:
    """Something that was done to an object."""

    id: str
    action_type: str
    object_id: str
    wallet_id: str  # who did it
    payload: Mapping[str, Any]
    created_at: str
    at: float
    until: float  # it is in flight before

    def shown(self, now: float) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "action_type": self.action_type,
            "object_id": self.object_id,
            "status": "processing" if now < self.until else "completed",
            "payload": self.payload,
            "created_at": self.created_at,
        }


@dataclass(slots=True)
class Webhook:
    """A subscription. Nobody is called: `answer` says how its endpoint would answer, and may be set at any time."""

    id: str
    url: str
    events: list[str]
    secret: str = field(repr=False)  # shown to the client once
    answer: int | None = 200  # the endpoint's status; None: it gives none within the 30 seconds that it has
    tests: int = 0  # test events that its endpoint took

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {"id": self.id, "url": self.url, "events": self.events}


@dataclass(slots=True)
class File:
    """An upload. Its bytes are not kept."""

    id: str
    name: str
    content_type: str
    size: int  # bytes
    sha256: str  # in hex

    def shown(self) -> dict[str, Any]:
        """Tell what the API shows of it."""
        return {
            "id": self.id,
            "url": f"https://files.dual.sandbox/{self.id}",
            "name": self.name,
            "content_type": self.content_type,
            "size": self.size,
            "hash": self.sha256,
        }


Place = tuple[str, ...]
"""What a list's records have in common."""


class Lists:
    """Ids in the order in which they first came, by place: a page of them costs the same however many there are."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._numbers: dict[str, int] = {}
        self._places: dict[Place, list[int]] = {}  # in ascending order; none is empty

    def add(self, record_id: str, *places: Place) -> None:
        """Put an id into lists that it is not in."""
        number = self._numbers.setdefault(record_id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(record_id)
        for place in places:
            insort(self._places.setdefault(place, []), number)

    def drop(self, record_id: str, *places: Place) -> None:
        """Take an id out of lists that it is in."""
        number = self._numbers[record_id]
        for place in places:
            numbers = self._places[place]
            del numbers[bisect_left(numbers, number)]
            if not numbers:
                del self._places[place]

    def page(self, after: int, limit: int, *places: Place) -> tuple[list[str], int | None]:
        """Give the ids that are in all of these lists, past a cursor, and the cursor of the next page if there is one.

        The first page is past -1.
        """
        shortest, *others = sorted((self._places.get(place, []) for place in places), key=len)
        found: list[int] = []
        for at in range(bisect_right(shortest, after), len(shortest)):
            if all(_holds(other, shortest[at]) for other in others):
                found.append(shortest[at])
                if len(found) > limit:
                    return [self._ids[number] for number in found[:-1]], found[-2]
        return [self._ids[number] for number in found], None


def _holds(numbers: list[int], number: int) -> bool:
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number
