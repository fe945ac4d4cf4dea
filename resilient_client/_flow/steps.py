"""What a flow may ask for, and what it is told. The whole vocabulary between the part that decides and the part that acts.

Law of this file: a step is a plain value that says what to do and nothing of how. Every point in time is in monotonic
seconds of the driver's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_client._guard.bulkhead import Place
    from resilient_client._http import Request, Response

    from .attempt import Call

__all__ = [
    "Ask",
    "Body",
    "Discard",
    "Moment",
    "Queue",
    "Race",
    "Raced",
    "Read",
    "Send",
    "Sign",
    "Sleep",
    "Step",
    "Tell",
    "Told",
]


class Send(NamedTuple):
    """Send this request. Told: the response, its body unread; or the error."""

    request: Request
    until: (
        float | None
    )  # when the call's deadline passes; every timeout of the attempt shrinks to what is left


class Race(NamedTuple):
    """Send this request and, where no answer has come after `delay`, another like it; the better answer counts.

    Told: as by `Send`, and a `Raced`. The other one is called off, and closed where its answer has come all the same.
    """

    request: Request
    until: float | None
    auth: object  # signs the second one; None: nothing does
    delay: float  # seconds
    second: Callable[[], Request | None]  # makes the second one; None: it must not be sent


class Raced(NamedTuple):
    """How a race went."""

    request: Request  # the one whose answer counts
    sent: int  # requests, 1 or 2


class Ask(NamedTuple):
    """Ask what may be far away, and block meanwhile. Told: its answer, or the error."""

    question: Callable[[], object]


class Queue(NamedTuple):
    """Wait in front of a bulkhead until the place is granted. Told: nothing; where the time is up it is not granted."""

    place: Place
    until: float | None


class Read(NamedTuple):
    """Read an error's body, to the end or to a bound, and keep it for the caller. Told: a Body."""

    response: Response
    limit: int  # bytes
    until: float | None  # when the call's deadline passes
    patience: float  # seconds that reading may take where there is no deadline


class Discard(NamedTuple):
    """Let go of a response that the caller will not see: its connection is free after this, or closed."""

    response: Response


class Sleep(NamedTuple):
    """Wait."""

    seconds: float


class Sign(NamedTuple):
    """Run the request's own auth over it again, signing in anew where the auth asks for it. Told: nothing, or the error."""

    request: Request
    auth: object
    refused: Request | None  # the request whose token the API called dead, where that is why
    until: float | None


Moment = Literal["attempt", "retry", "success", "give_up"]


class Tell(NamedTuple):
    """Tell those who observe the call what it has come to. Asked for only where somebody does."""

    call: Call
    moments: tuple[Moment, ...]  # in order


class Body(NamedTuple):
    """What reading an error's body brought."""

    content: bytes | None  # the raw bytes, when all of them are there
    state: Literal["whole", "long", "slow", "late", "broken"]


class Told(NamedTuple):
    """What came back, and when."""

    at: float
    response: Response | None = None
    error: Exception | None = None
    body: Body | None = None
    wall: float = 0.0  # epoch seconds; told with every Body
    answer: object = None  # to what was asked
    raced: Raced | None = None


Step = Send | Race | Ask | Queue | Read | Discard | Sleep | Sign | Tell
