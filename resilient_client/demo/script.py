"""The words that scenes are written in: a call, how it has to end, and where it is played. Data only.

Law of this file: no API is named in it; what there is to know of one is its `Vendor`, in `scenes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from resilient_client.clock import Clock
    from resilient_client.sandbox import Sandbox

__all__ = ["Body", "Call", "Data", "Scene", "Site", "Story", "Vendor"]

Data: TypeAlias = "Mapping[str, Any]"
Body: TypeAlias = (
    "Data | Callable[[Data], Data] | None"  # or made of what the story's earlier calls brought, by name
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, and how it has to end."""

    name: str  # at most 17 characters, for the table
    route: str  # without the base path, as the sandbox names it: "POST /v1/create", "GET /customers/{id}"
    ends: str  # a success's status, a documented error's name, or the name of an httpx exception
    params: Body = None  # what the {names} of the route stand for
    body: Body = None  # sent as JSON, or as the query of a GET
    faults: tuple[str | None, ...] = ()  # what is planned for it, attempt by attempt; all of it must happen
    always: str | None = None  # what goes wrong with every attempt after those
    creates: str | None = None  # what must exist because of it; two calls may want the same
    options: Data = field(default_factory=dict)  # of the request: `extensions={"resilience": options}`
    signed: Callable[[Sandbox[Any]], Data] | None = None  # `auth` or `headers` in place of the client's own
    before: Callable[[Any], None] | None = None  # what happens to the server's state just before


Story: TypeAlias = "tuple[Call, ...]"  # one after the other, in one thread


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Vendor:
    """An API, as far as the demonstration has to know it."""

    name: str  # of its policy, and of its sandbox
    short: str  # at most 22 characters, for the live view
    created: Callable[[Any], Iterable[str]]  # the markers of all that exists in a sandbox's state
    sign_in: str | None = None  # the route that a client signs in by
    reserved: frozenset[int | str] = frozenset()  # codes that are documented, and sent by no route
    complete: bool = False  # whether all other documented codes must be met


def _nothing(_state: Any) -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One sandbox: one caller's account, with its own budget and its own ledger."""

    vendor: Vendor
    options: Data = field(default_factory=dict)  # of the sandbox
    planned: Mapping[str, tuple[str | None, ...]] = field(
        default_factory=dict
    )  # for requests of no call, by route
    begins: Callable[[Any], None] = _nothing
    meanwhile: Callable[[Any, Clock], None] | None = None  # what its operator does, in a thread of its own
    sign_ins: int | None = None  # how often its client has to have signed in, at the end


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Calls that have something in common."""

    title: str
    about: str
    site: Site
    stories: tuple[Story, ...]
    meets: str | None = None  # an error that the sandbox must have sent of its own accord, unplanned
    first: bool = False  # played before all others, as it has no point when its calls are far apart
    before: Callable[[Any], None] | None = None  # what happens to the server's state just before

    def calls(self) -> Iterator[Call]:
        """Give all its calls, in the order of the script."""
        for story in self.stories:
            yield from story
