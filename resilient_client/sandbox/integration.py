"""Reten's activities integration API: its state and its rules, with no socket and no clock.

What the vendor's pages leave open is decided here, on the strict side, and said in the docstring of `Integration`.

Source: https://docs-development.reten.ai/api-reference/integration/errors, and of the same folder `authentication`,
`list-activities`, `list-configs`, `submit-result`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from resilient_client.sandbox._api import Api, Faults, RefusedError, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from resilient_client._libraries import LibraryName

VIEW = "VIEW_ACTIVITIES"
SUBMIT = "SUBMIT_ACTIVITY_RESULT"

ACTIVITY_STATUSES = ("PENDING", "IN_PROGRESS", "COMPLETED", "CANCELLED")
RESULT_STATUSES = ("EFFECTIVE", "NOT_EFFECTIVE", "PENDING")
CONTACT_TYPES = ("INBOUND", "OUTBOUND")
CHANNELS = ("SALESMAN", "CALLCENTER")  # of the activities made here, in turn

PER_PAGE = 20  # entries, unless asked for otherwise
MOST_PER_PAGE = 100
FIRST_VISIT = 1_776_243_600  # epoch seconds (2026-04-15T09:00:00Z); each further activity is an hour later

_LAST_PAGE = 1_000_000  # no listing has more; keeps numbers of any length out of the arithmetic
_SHARE = 4  # activities in a row that are of the same commerce
_OPERATORS = 5

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
# ISO 8601 in its extended form: a date, or a date and time. Which of the digits make sense is for `datetime` to say.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)

EntryT = TypeVar("EntryT")


@dataclass(slots=True)
class ApiKey:
    """A key of the tenant. It may be revoked, or given a date to end on, at any time."""

    key: str = field(repr=False)
    permissions: frozenset[str]
    revoked: bool = False
    expires_at: float | None = None  # epoch seconds


@dataclass(frozen=True, slots=True)
class ResultType:
    """A result code of the tenant, and whether such a result needs a date to come back on."""

    code: str
    label: str
    requires_future_scheduled_at: bool = False


@dataclass(slots=True)
class Activity:
    """A task that waits for its result."""

    id: str  # a UUID
    provider_activity_id: str  # in the caller's own system
    commerce_external_id: str
    operator_external_id: str
    channel: str
    scheduled_at: float  # epoch seconds
    status: str = "PENDING"


@dataclass(frozen=True, slots=True)
class Result:
    """A result that was registered: work that has taken effect."""

    id: str  # a UUID
    activity_id: str
    replaced: str | None  # the id of the result that this one took the place of
    body: bytes = field(repr=False)  # of the submission, as it came
    at: float  # monotonic seconds of the sandbox's clock
    view: dict[str, Any]  # what the API shows of it


class Integration(Api):
    """The integration API, for one tenant.

    Options: `activities` (how many the tenant has at the start; `add_activity` makes more). There are three keys: `key`
    with all permissions, `query_key` (VIEW_ACTIVITIES) and `submit_key` (SUBMIT_ACTIVITY_RESULT). Their records in
    `keys` may be changed at any time.

    Requests are checked in this order: route, key, permission. Then the injected fault; then the work: format,
    existence, conflict. Where the vendor's pages leave room:

    - `GET /activity-results/tasks` and `GET /activity-results/tasks/{activity_id}` are the sandbox's own: they tell
      whether a result whose reply was lost is there. They need VIEW_ACTIVITIES.
    - One thing wrong with a request is one message, several are a list. A body that does not come as application/json
      is not read. Fields and query parameters that are not documented are ignored; a field that is null is absent.
    - A moment is a date, or a date and time, in the extended form of ISO 8601; without a zone it is UTC. A
      `future_scheduled_at` that has passed is refused, whether or not the result type asks for one.
    - An activity is found only together with its own commerce; with another one there is no such activity.
    - A PENDING result also counts as registered. It puts its activity IN_PROGRESS, the others put it to COMPLETED.
    - Both a first result and one that replaces another are answered by 201. With nothing to replace, `hard_override`
      makes no difference.
    - There is no limit of rate, and there are no idempotency keys: the 409 protects an activity from two results.
    """

    name: ClassVar[str] = "integration"
    base: ClassVar[str] = "/api/integration"
    unknown: ClassVar[str] = "Not Found"

    def __init__(self, *, seed: int = 0, faults: Faults | None = None, activities: int = 20) -> None:
        super().__init__(faults=faults)
        self._seed = seed
        self.key, self.query_key, self.submit_key = (
            f"sandbox-key-{self._made_up('key', number)[:32]}" for number in range(3)
        )
        self.keys: dict[str, ApiKey] = {
            key: ApiKey(key, frozenset(permissions))
            for key, permissions in (
                (self.key, (VIEW, SUBMIT)),
                (self.query_key, (VIEW,)),
                (self.submit_key, (SUBMIT,)),
            )
        }
        self.result_types: dict[str, ResultType] = {
            kind.code: kind
            for kind in (
                ResultType("SALE_COMPLETED", "Sale completed"),
                ResultType("NOT_INTERESTED", "Not interested"),
                ResultType("RESCHEDULE", "Come back later", requires_future_scheduled_at=True),
                ResultType("NO_CONTACT", "Nobody was reached"),
            )
        }
        self.activities: dict[str, Activity] = {}  # by id, in order of creation
        self.results: dict[str, Result] = {}  # by activity id: the ones that stand
        self.writes: list[Result] = []  # all that were ever registered, in order, replaced ones too
        self._by_commerce: dict[str, list[Activity]] = {}
        self._by_provider_id: dict[str, Activity] = {}
        for _ in range(activities):
            self.add_activity()

    @property
    def credentials(self) -> Mapping[str, str]:
        """The tenant's keys: `key` may do all, `query_key` may only look, `submit_key` may only submit."""
        return {"key": self.key, "query_key": self.query_key, "submit_key": self.submit_key}

    def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Mapping[str, str]]:  # noqa: ARG002 - other APIs have a login
        """Send the key that may do all."""
        return {"headers": {"x-api-key": self.key}}

    def add_activity(
        self,
        *,
        commerce_external_id: str | None = None,
        channel: str | None = None,
        scheduled_at: float | None = None,
    ) -> Activity:
        """Give the tenant one more activity, and the commerce with it where it is new; what is not given is made up.

        `scheduled_at` is in epoch seconds.
        """
        number = len(self.activities)
        digest = self._made_up("activity", number)
        activity = Activity(
            id=_uuid(digest),
            provider_activity_id=f"ext-{digest[32:44]}",
            commerce_external_id=commerce_external_id or f"COM-{number // _SHARE + 1:03d}",
            operator_external_id=f"OP-{number % _OPERATORS + 1:02d}",
            channel=channel or CHANNELS[number % len(CHANNELS)],
            scheduled_at=FIRST_VISIT + 3600 * number if scheduled_at is None else scheduled_at,
        )
        self.activities[activity.id] = activity
        self._by_provider_id[activity.provider_activity_id] = activity
        self._by_commerce.setdefault(activity.commerce_external_id, []).append(activity)
        return activity

    def written(self) -> Counter[str]:
        """Count the results that were ever registered, by activity id; more than one means that one was replaced."""
        return Counter(result.activity_id for result in self.writes)

    # --- who asks, and may they ask now

    def admit(self, route: str, request: Request, now: float) -> None:
        """Check all that comes before the work; see the order in the class's docstring.

        Source: https://docs-development.reten.ai/api-reference/integration/authentication
        """
        if not self.known(route, request):
            raise RefusedError(self.unknown, message="Resource not found")
        key = self.keys.get(request.headers.get("x-api-key", ""))
        if key is None or key.revoked or (key.expires_at is not None and self.wall(now) >= key.expires_at):
            raise RefusedError("Unauthorized")
        if (SUBMIT if request.method == "POST" else VIEW) not in key.permissions:
            raise RefusedError("Forbidden")

    def charge(self, route: str, fault: str | None, now: float) -> None:
        """Count nothing: the vendor states no limit."""

    # --- the work

    def work(self, route: str, request: Request, now: float) -> Reply:
        """Do what the route is for."""
        reply: Reply = self.routes[route](self, request, now)
        return reply

    def code_of(self, document: Any) -> int | str | None:
        """Find the name of an error where the envelope `{"statusCode": n, "error": name, …}` has it."""
        return document.get("error") if isinstance(document, dict) else None

    def _list_activities(self, request: Request, _now: float) -> Reply:
        """List the activities that all of the given filters fit; both ends of the scheduled time are inclusive.

        Source: https://docs-development.reten.ai/api-reference/integration/list-activities
        """
        form = _Form(request.query)
        status = form.choice("status", ACTIVITY_STATUSES)
        result_status = form.choice("result_status", RESULT_STATUSES)
        channel, operator = form.text("channel"), form.text("external_operator_id")
        commerce = form.text("external_commerce_id")
        earliest, latest = form.moment("scheduled_from"), form.moment("scheduled_to")
        page = form.page()
        form.settle()
        found = [
            activity
            for activity in self._of_commerce(commerce)
            if status in (None, activity.status)
            and channel in (None, activity.channel)
            and operator in (None, activity.operator_external_id)
            and (earliest is None or earliest <= activity.scheduled_at)
            and (latest is None or activity.scheduled_at <= latest)
            and result_status in (None, self._result_status(activity))
        ]
        return self._paged([self._shown(activity) for activity in page.of(found)], page, len(found))

    def _list_result_types(self, _request: Request, _now: float) -> Reply:
        """List the result codes.

        Source: https://docs-development.reten.ai/api-reference/integration/list-configs
        """
        return self.json(
            200,
            [
                {
                    "code": kind.code,
                    "label": kind.label,
                    "requiresFutureScheduledAt": kind.requires_future_scheduled_at,
                }
                for kind in self.result_types.values()
            ],
        )

    def _submit(self, request: Request, now: float) -> Reply:
        """Register a result, unless the activity has one and the caller does not want it replaced.

        Source: https://docs-development.reten.ai/api-reference/integration/submit-result
        """
        document = _document(request)
        self._check(_Form(document), now)
        activity = self._find(document)
        standing = self.results.get(activity.id)
        if standing is not None and document.get("hard_override") is not True:
            raise RefusedError("Conflict")
        identity = {
            "id": _uuid(self._made_up("result", len(self.writes))),
            "activityId": activity.id,
            "createdAt": _iso(self.wall(now)),
        }
        result = Result(
            id=identity["id"],
            activity_id=activity.id,
            replaced=standing.id if standing is not None else None,
            body=request.body,
            at=now,
            view=identity | _shown_of(document),
        )
        self.results[activity.id] = result
        self.writes.append(result)
        activity.status = "IN_PROGRESS" if document["status"] == "PENDING" else "COMPLETED"
        return self.json(201, result.view)

    def _list_results(self, request: Request, _now: float) -> Reply:
        """List the results that stand; a route of the sandbox's own."""
        form = _Form(request.query)
        status, commerce = form.choice("status", RESULT_STATUSES), form.text("external_commerce_id")
        page = form.page()
        form.settle()
        found = [
            result.view
            for activity in self._of_commerce(commerce)
            if (result := self.results.get(activity.id)) is not None
            and status in (None, result.view["status"])
        ]
        return self._paged(page.of(found), page, len(found))

    def _show_result(self, request: Request, _now: float) -> Reply:
        """Show the result of one activity; a route of the sandbox's own."""
        named = request.params["activity_id"].lower()
        if named not in self.activities:
            raise RefusedError("Not Found")
        if named not in self.results:
            raise RefusedError("Not Found", message="Result not found")
        return self.json(200, self.results[named].view)

    routes: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "GET /activities/tasks": _list_activities,
        "GET /task-result-type-configs": _list_result_types,
        "POST /activity-results/tasks": _submit,
        "GET /activity-results/tasks": _list_results,
        "GET /activity-results/tasks/{activity_id}": _show_result,
    }

    # --- what the work is made of

    def _check(self, form: _Form, now: float) -> None:
        """Check every field of a submission, and refuse it with all that is wrong."""
        form.uuid("activity_id")
        form.text("provider_activity_id")
        if form.value("activity_id") is None and form.value("provider_activity_id") is None:
            form.faults.append("activity_id or provider_activity_id should not be empty")
        form.text("commerce_external_id", required=True)
        form.moment("occurred_at", required=True)
        form.choice("status", RESULT_STATUSES, required=True)
        form.text("external_status")
        form.flag("hard_override")
        form.object("raw_payload")
        task = form.object("task_result", required=True)
        if task is not None:
            self._check_task_result(task, now)
        form.settle()

    def _check_task_result(self, task: _Form, now: float) -> None:
        code = task.text("result", required=True)
        kind = self.result_types.get(code) if code is not None else None
        if code is not None and kind is None:
            task.fault("result", "must be a valid result type code")
        dated = kind is not None and kind.requires_future_scheduled_at
        due = task.moment("future_scheduled_at", required=dated)
        if due is not None and due <= self.wall(now):
            task.fault("future_scheduled_at", "must be a future date")
        task.text("comment")
        task.choice("contact_type", CONTACT_TYPES)
        task.text("operator_external_id")
        task.object("payload")

    def _find(self, document: dict[str, Any]) -> Activity:
        """Find the activity of a submission that was checked; its id counts before the caller's own."""
        named, commerce = document.get("activity_id"), document["commerce_external_id"]
        if commerce not in self._by_commerce:
            raise RefusedError("Not Found", message="Commerce not found")
        activity = (
            self.activities.get(named.lower())
            if named is not None
            else self._by_provider_id.get(document["provider_activity_id"])
        )
        if activity is None or activity.commerce_external_id != commerce:
            raise RefusedError("Not Found")
        return activity

    def _of_commerce(self, commerce: str | None) -> Iterable[Activity]:
        return self.activities.values() if commerce is None else self._by_commerce.get(commerce, ())

    def _result_status(self, activity: Activity) -> str | None:
        result = self.results.get(activity.id)
        return result.view["status"] if result is not None else None

    def _shown(self, activity: Activity) -> dict[str, Any]:
        result = self.results.get(activity.id)
        return {
            "id": activity.id,
            "type": "TASK",
            "status": activity.status,
            "channel": activity.channel,
            "scheduledAt": _iso(activity.scheduled_at),
            "occurredAt": result.view["occurredAt"] if result is not None else None,
            "commerceExternalId": activity.commerce_external_id,
            "operatorExternalId": activity.operator_external_id,
            "providerActivityId": activity.provider_activity_id,
            "resultStatus": self._result_status(activity),
        }

    def _paged(self, entries: list[dict[str, Any]], page: _Page, total: int) -> Reply:
        meta = {"page": page.number, "limit": page.size, "total": total, "totalPages": -(-total // page.size)}
        return self.json(200, {"data": entries, "meta": meta})

    def _made_up(self, what: str, number: int) -> str:
        return hashlib.sha256(f"{self.name}/{self._seed}/{what}/{number}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Page:
    """Which part of a listing is asked for."""

    number: int  # from 1
    size: int

    def of(self, entries: list[EntryT]) -> list[EntryT]:
        return entries[(self.number - 1) * self.size : self.number * self.size]


class _Form:
    """The fields of a request, read one by one; `faults` gathers what is wrong with them, in the order of reading."""

    def __init__(
        self, fields: Mapping[str, Any], *, prefix: str = "", faults: list[str] | None = None
    ) -> None:
        self._fields = fields
        self._prefix = prefix
        self.faults: list[str] = [] if faults is None else faults

    def settle(self) -> None:
        """Refuse the request if anything was wrong with it: one message, or a list of several."""
        if self.faults:
            raise RefusedError(
                "Bad Request", message=self.faults[0] if len(self.faults) == 1 else self.faults
            )

    def fault(self, name: str, what: str) -> None:
        self.faults.append(f"{self._prefix}{name} {what}")

    def value(self, name: str) -> Any:
        """Give a field unread; None where it is absent."""
        return self._fields.get(name)

    def text(self, name: str, *, required: bool = False) -> str | None:
        """Read a string; a required one that is blank counts as absent."""
        value = self._fields.get(name)
        if isinstance(value, str) and (value.strip() or not required):
            return value
        if value is not None and not isinstance(value, str):
            self.fault(name, "must be a string")
        elif required:
            self.fault(name, "should not be empty")
        return None

    def choice(self, name: str, values: Collection[str], *, required: bool = False) -> str | None:
        """Read a string that is one of some."""
        value = self.text(name, required=required)
        if value is None or value in values:
            return value
        self.fault(name, f"must be one of the following values: {', '.join(values)}")
        return None

    def uuid(self, name: str) -> None:
        """Read a UUID."""
        value = self.text(name)
        if value is not None and not _UUID.fullmatch(value):
            self.fault(name, "must be a UUID")

    def moment(self, name: str, *, required: bool = False) -> float | None:
        """Read a date, or a date and time, as epoch seconds."""
        value = self.text(name, required=required)
        if value is None:
            return None
        moment = _epoch(value)
        if moment is None:
            self.fault(name, "must be a valid ISO 8601 date string")
        return moment

    def flag(self, name: str) -> None:
        """Read a boolean."""
        value = self._fields.get(name)
        if value is not None and not isinstance(value, bool):
            self.fault(name, "must be a boolean value")

    def object(self, name: str, *, required: bool = False) -> _Form | None:
        """Read an object; what is wrong with its fields is told by their full names."""
        value = self._fields.get(name)
        if isinstance(value, dict):
            return _Form(value, prefix=f"{self._prefix}{name}.", faults=self.faults)
        if value is not None:
            self.fault(name, "must be an object")
        elif required:
            self.fault(name, "should not be empty")
        return None

    def page(self) -> _Page:
        """Read which page is asked for."""
        return _Page(self._whole("page", 1, _LAST_PAGE), self._whole("per_page", PER_PAGE, MOST_PER_PAGE))

    def _whole(self, name: str, default: int, most: int) -> int:
        value = self._fields.get(name, str(default))
        right = value.isascii() and value.isdecimal() and len(value) <= len(str(most))
        if right and 1 <= int(value) <= most:
            return int(value)
        self.fault(name, f"must be an integer from 1 to {most}")
        return default


def _document(request: Request) -> dict[str, Any]:
    """Read the body as a JSON object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError("Bad Request", message="Content-Type must be application/json")
    try:
        return request.document()
    except ValueError:
        raise RefusedError("Bad Request", message="the body must be a JSON object") from None


def _shown_of(document: dict[str, Any]) -> dict[str, Any]:
    """Give what is shown of a submission that was checked; objects of the caller's own are not."""
    task = document["task_result"]
    return {
        "commerceExternalId": document["commerce_external_id"],
        "occurredAt": document["occurred_at"],
        "status": document["status"],
        "externalStatus": document.get("external_status"),
        "taskResult": {
            "result": task["result"],
            "comment": task.get("comment"),
            "contactType": task.get("contact_type"),
            "operatorExternalId": task.get("operator_external_id"),
            "futureScheduledAt": task.get("future_scheduled_at"),
        },
    }


def _epoch(text: str) -> float | None:
    """Read a date, or a date and time, as epoch seconds; None where it is neither."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _uuid(digest: str) -> str:
    """Make a UUID of version 4 from a digest in hex."""
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
