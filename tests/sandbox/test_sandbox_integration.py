"""The integration sandbox's contract: every refusal and every effect, and what the resilient client makes of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from resilient_client import ApiError, outcome_of, raise_for_status
from resilient_client.sandbox import Sandbox, Schedule, every_fault
from resilient_client.sandbox.faults import WIRE
from resilient_client.testing import VirtualClock, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_client.sandbox.integration import Activity, Integration

ACTIVITIES = "/activities/tasks"
RESULTS = "/activity-results/tasks"
TYPES = "/task-result-type-configs"
SUBMIT = f"POST {RESULTS}"


class _Absent:
    """In place of a field's value: the field is left out. Its name in a test's id is always the same."""

    def __repr__(self) -> str:
        return "absent"


GONE = _Absent()

Way = Literal["sync", "async"]


class Tenant:
    """A sandbox in memory on virtual time, and a plain client that holds one of its keys."""

    def __init__(self, *, key: str = "key", **options: Any) -> None:
        self.clock = VirtualClock()
        self.api: Sandbox[Integration] = Sandbox("integration", seed=7, clock=self.clock, **options)
        self.state = self.api.state
        self.client = httpx.Client(
            base_url=self.api.base_url,
            transport=httpx.MockTransport(self.api.handler),
            headers={"x-api-key": self.api.credentials[key]},
        )

    @property
    def activity(self) -> Activity:
        return next(iter(self.state.activities.values()))

    def document(self, activity: Activity | None = None, **changes: Any) -> dict[str, Any]:
        return document(activity or self.activity, **changes)

    def submit(self, activity: Activity | None = None, **changes: Any) -> httpx.Response:
        return self.client.post(RESULTS, json=self.document(activity, **changes))


def document(activity: Activity, **changes: Any) -> dict[str, Any]:
    """Give a submission that is right, but for the changes; those of `task` go into task_result."""
    task = {"result": "SALE_COMPLETED"} | changes.pop("task", {})
    fields = {
        "activity_id": activity.id,
        "commerce_external_id": activity.commerce_external_id,
        "occurred_at": "2025-06-15T10:30:00.000Z",
        "status": "EFFECTIVE",
        "task_result": {name: value for name, value in task.items() if value is not GONE},
    } | changes
    return {name: value for name, value in fields.items() if value is not GONE}


def refused(response: httpx.Response, name: str, message: Any = None) -> bool:
    """Tell whether this is the documented error of that name, with these words where they are other ones."""
    expected = error_response("integration", name)
    words = {} if message is None else {"message": message}
    return (response.status_code, response.json()) == (expected.status_code, expected.json() | words)


@pytest.fixture
def tenant() -> Tenant:
    return Tenant()


# --- keys and permissions


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _key: {}, id="missing"),
        pytest.param(lambda _key: {"x-api-key": ""}, id="empty"),
        pytest.param(lambda _key: {"x-api-key": "sandbox-key-of-nobody"}, id="unknown"),
        pytest.param(lambda key: {"x-api-key": f"{key} "}, id="blank behind"),
        pytest.param(lambda key: {"x-api-key": f"{key[:20]} {key[20:]}"}, id="blank within"),
        pytest.param(lambda key: {"x-api-key": key.upper()}, id="upper case"),
        pytest.param(lambda key: {"Authorization": f"Bearer {key}"}, id="as a bearer token"),
    ],
)
def test_a_call_without_a_good_key_is_unauthorized(
    tenant: Tenant, spoil: Callable[[str], Mapping[str, str]]
) -> None:
    """A key that is missing, unknown or misspelt, if by one blank, is 401, and nothing is registered."""
    del tenant.client.headers["x-api-key"]

    response = tenant.client.post(RESULTS, json=tenant.document(), headers=spoil(tenant.api.key))

    assert refused(response, "Unauthorized")
    assert tenant.state.writes == []


def test_a_revoked_key_is_unauthorized(tenant: Tenant) -> None:
    """A key that worked does not work once it is revoked; the tenant's other keys still do."""
    assert tenant.client.get(TYPES).status_code == 200
    tenant.state.keys[tenant.api.key].revoked = True

    assert refused(tenant.client.get(TYPES), "Unauthorized")
    other = {"x-api-key": tenant.state.query_key}
    assert tenant.client.get(TYPES, headers=other).status_code == 200


def test_a_key_ends_on_its_date(tenant: Tenant) -> None:
    """A key with a date is good until that moment of the wall clock, and not in it."""
    tenant.state.keys[tenant.api.key].expires_at = tenant.clock.time() + 60

    tenant.clock.advance(59.5)
    assert tenant.client.get(TYPES).status_code == 200
    tenant.clock.advance(0.5)
    assert refused(tenant.client.get(TYPES), "Unauthorized")


@pytest.mark.parametrize(
    ("key", "looks", "submits"),
    [("key", 200, 201), ("query_key", 200, 403), ("submit_key", 403, 201)],
)
def test_each_route_asks_for_its_permission(key: str, looks: int, submits: int) -> None:
    """Looking needs VIEW_ACTIVITIES, submitting SUBMIT_ACTIVITY_RESULT; else the answer is 403, and nothing is done."""
    tenant = Tenant(key=key)
    submitted = tenant.submit()
    tenant.client.headers["x-api-key"], own = tenant.api.key, tenant.client.headers["x-api-key"]
    tenant.submit()  # so that there is something to see
    tenant.client.headers["x-api-key"] = own
    seen = [
        tenant.client.get(path) for path in (ACTIVITIES, TYPES, RESULTS, f"{RESULTS}/{tenant.activity.id}")
    ]

    assert submitted.status_code == submits
    assert [each.status_code for each in seen] == [looks] * 4
    assert all(refused(each, "Forbidden") for each in (submitted, *seen) if each.status_code == 403)
    assert len(tenant.state.writes) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/activities"),
        ("GET", f"{ACTIVITIES}/"),
        ("PUT", RESULTS),
        ("DELETE", RESULTS),
        ("POST", ACTIVITIES),
        ("GET", f"{RESULTS}/"),
        ("GET", f"{RESULTS}/one/two"),
        ("GET", f"{RESULTS}/%2e%2e%2ftasks/x"),
        ("GET", "/"),
    ],
)
def test_an_unknown_route_is_not_found(tenant: Tenant, method: str, path: str) -> None:
    """A path or a method that the API does not have is 404, before anybody asks for a key."""
    del tenant.client.headers["x-api-key"]

    assert refused(tenant.client.request(method, path), "Not Found", "Resource not found")


def test_a_route_outside_of_the_base_path_is_not_found(tenant: Tenant) -> None:
    """The API lives under /api/integration, and nowhere else."""
    url = tenant.api.base_url.removesuffix("/integration") + ACTIVITIES

    assert refused(tenant.client.get(url), "Not Found", "Resource not found")


# --- looking


def test_activities_are_listed_as_the_vendor_shows_them(tenant: Tenant) -> None:
    """Entries are under `data` and the paging under `meta`; twenty to a page unless asked for otherwise."""
    tenant.state.add_activity()

    listing = tenant.client.get(ACTIVITIES).json()

    assert listing["meta"] == {"page": 1, "limit": 20, "total": 21, "totalPages": 2}
    assert len(listing["data"]) == 20
    assert listing["data"][0] == {
        "id": tenant.activity.id,
        "type": "TASK",
        "status": "PENDING",
        "channel": "SALESMAN",
        "scheduledAt": "2026-04-15T09:00:00.000Z",
        "occurredAt": None,
        "commerceExternalId": "COM-001",
        "operatorExternalId": "OP-01",
        "providerActivityId": tenant.activity.provider_activity_id,
        "resultStatus": None,
    }


def test_pages_together_are_the_whole_list(tenant: Tenant) -> None:
    """Each activity is on one page, in order of creation; a page past the end is empty."""
    pages = [
        tenant.client.get(ACTIVITIES, params={"page": page, "per_page": 8}).json()["data"]
        for page in range(1, 5)
    ]

    assert [len(page) for page in pages] == [8, 8, 4, 0]
    assert [entry["id"] for page in pages for entry in page] == list(tenant.state.activities)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"external_commerce_id": "COM-002"}, [4, 5, 6, 7]),
        ({"external_commerce_id": "COM-002", "channel": "CALLCENTER"}, [5, 7]),
        ({"external_commerce_id": "COM-999"}, []),
        ({"external_operator_id": "OP-03"}, [2, 7, 12, 17]),
        ({"channel": "EMAIL"}, []),
        ({"status": "PENDING", "per_page": "2"}, [2, 3]),
        ({"status": "COMPLETED"}, [0]),
        ({"status": "IN_PROGRESS"}, [1]),
        ({"status": "CANCELLED"}, []),
        ({"result_status": "NOT_EFFECTIVE"}, [0]),
        ({"result_status": "PENDING"}, [1]),
        ({"scheduled_to": "2026-04-15T10:00:00Z"}, [0, 1]),
        ({"scheduled_from": "2026-04-16T04:00:00+00:00"}, [19]),
        ({"scheduled_from": "2026-04-15T12:00:00+01:00", "scheduled_to": "2026-04-15T11:00"}, [2]),
        ({"scheduled_from": "2026-04-16"}, [15, 16, 17, 18, 19]),
    ],
    ids=str,
)
def test_filters_of_activities(tenant: Tenant, query: dict[str, str], numbers: list[int]) -> None:
    """All the filters given must fit; both ends of the time are inclusive, and a moment without a zone is UTC."""
    activities = list(tenant.state.activities.values())
    tenant.submit(activities[0], status="NOT_EFFECTIVE")
    tenant.submit(activities[1], status="PENDING")

    found = tenant.client.get(ACTIVITIES, params=query).json()["data"]

    assert [entry["id"] for entry in found] == [activities[number].id for number in numbers]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("page=0", "page must be an integer from 1 to 1000000"),
        ("page=-1", "page must be an integer from 1 to 1000000"),
        ("page=", "page must be an integer from 1 to 1000000"),
        ("page=1.5", "page must be an integer from 1 to 1000000"),
        ("page=%D9%A1", "page must be an integer from 1 to 1000000"),
        (f"page={'9' * 5000}", "page must be an integer from 1 to 1000000"),
        ("per_page=101", "per_page must be an integer from 1 to 100"),
        (
            "status=DONE",
            "status must be one of the following values: PENDING, IN_PROGRESS, COMPLETED, CANCELLED",
        ),
        (
            "result_status=GOOD",
            "result_status must be one of the following values: EFFECTIVE, NOT_EFFECTIVE, PENDING",
        ),
        ("scheduled_from=tomorrow", "scheduled_from must be a valid ISO 8601 date string"),
        ("scheduled_to=2026-04-15T09:00:00+02:00", "scheduled_to must be a valid ISO 8601 date string"),
        (
            "page=0&per_page=0",
            ["page must be an integer from 1 to 1000000", "per_page must be an integer from 1 to 100"],
        ),
    ],
)
def test_a_filter_that_makes_no_sense_is_a_bad_request(tenant: Tenant, query: str, message: Any) -> None:
    """A filter is never ignored for being wrong, not even where a plus sign was sent raw and so became a blank."""
    assert refused(tenant.client.get(f"{ACTIVITIES}?{query}"), "Bad Request", message)


def test_result_types_say_which_of_them_need_a_date(tenant: Tenant) -> None:
    """The list of configurations has every code that a submission may use."""
    types = tenant.client.get(TYPES).json()

    assert {each["code"]: each["requiresFutureScheduledAt"] for each in types} == {
        "SALE_COMPLETED": False,
        "NOT_INTERESTED": False,
        "RESCHEDULE": True,
        "NO_CONTACT": False,
    }
    assert all(each["label"] for each in types)


# --- submitting


def test_a_result_is_registered_and_can_be_looked_up(tenant: Tenant) -> None:
    """What was submitted is answered by 201, found again under its activity, and kept with its body as it came."""
    activity = tenant.activity
    sent = json.dumps(
        tenant.document(
            external_status="visited",
            raw_payload={"any": ["thing"]},
            task={
                "comment": "Paid at the door",
                "contact_type": "OUTBOUND",
                "operator_external_id": "OP-77",
                "payload": {},
            },
        ),
        indent=2,
    ).encode()

    response = tenant.client.post(RESULTS, content=sent, headers={"Content-Type": "application/json"})

    (result,) = tenant.state.writes
    assert tenant.state.results == {activity.id: result}
    assert (result.body, result.replaced, result.at) == (sent, None, 0.0)
    assert response.status_code == 201
    assert response.json() == {
        "id": result.id,
        "activityId": activity.id,
        "createdAt": "2025-06-15T15:06:40.000Z",
        "commerceExternalId": "COM-001",
        "occurredAt": "2025-06-15T10:30:00.000Z",
        "status": "EFFECTIVE",
        "externalStatus": "visited",
        "taskResult": {
            "result": "SALE_COMPLETED",
            "comment": "Paid at the door",
            "contactType": "OUTBOUND",
            "operatorExternalId": "OP-77",
            "futureScheduledAt": None,
        },
    }
    assert tenant.client.get(f"{RESULTS}/{activity.id}").json() == response.json()
    assert tenant.client.get(RESULTS).json()["data"] == [response.json()]


@pytest.mark.parametrize(
    ("status", "becomes"),
    [("EFFECTIVE", "COMPLETED"), ("NOT_EFFECTIVE", "COMPLETED"), ("PENDING", "IN_PROGRESS")],
)
def test_a_result_moves_its_activity(tenant: Tenant, status: str, becomes: str) -> None:
    """The activity's own status follows the result's, and the listing shows both."""
    tenant.submit(status=status)

    shown = tenant.client.get(ACTIVITIES).json()["data"][0]
    assert (shown["status"], shown["resultStatus"]) == (becomes, status)
    assert shown["occurredAt"] == "2025-06-15T10:30:00.000Z"


def test_an_activity_may_be_named_by_the_callers_own_id(tenant: Tenant) -> None:
    """provider_activity_id alone is enough; beside activity_id it does not count."""
    first, second = list(tenant.state.activities.values())[:2]

    assert tenant.submit(first, activity_id=GONE, provider_activity_id=first.provider_activity_id).is_success
    assert tenant.submit(second, provider_activity_id=first.provider_activity_id).is_success
    assert list(tenant.state.results) == [first.id, second.id]


def test_an_activity_id_may_be_in_upper_case(tenant: Tenant) -> None:
    """A UUID is the same in either case (RFC 9562 §4)."""
    activity = tenant.activity

    assert tenant.submit(activity_id=activity.id.upper()).json()["activityId"] == activity.id
    assert tenant.client.get(f"{RESULTS}/{activity.id.upper()}").status_code == 200


def test_results_are_listed_by_commerce_and_status(tenant: Tenant) -> None:
    """The listing shows the results that stand, by pages, and only those that the filters fit."""
    activities = list(tenant.state.activities.values())
    for number, status in ((5, "EFFECTIVE"), (4, "PENDING"), (0, "EFFECTIVE")):
        tenant.submit(activities[number], status=status)

    def listed(**query: str) -> list[str]:
        return [each["activityId"] for each in tenant.client.get(RESULTS, params=query).json()["data"]]

    assert listed() == [activities[number].id for number in (0, 4, 5)]
    assert listed(per_page="2", page="2") == [activities[5].id]
    assert listed(external_commerce_id="COM-002") == [activities[4].id, activities[5].id]
    assert listed(external_commerce_id="COM-002", status="EFFECTIVE") == [activities[5].id]
    assert listed(external_commerce_id="COM-999") == []


EMPTY = "should not be empty"
NO_DATE = "must be a valid ISO 8601 date string"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activity_id": GONE}, f"activity_id or provider_activity_id {EMPTY}"),
        ({"activity_id": None}, f"activity_id or provider_activity_id {EMPTY}"),
        ({"activity_id": 7}, "activity_id must be a string"),
        ({"activity_id": ""}, "activity_id must be a UUID"),
        ({"activity_id": "a-1"}, "activity_id must be a UUID"),
        ({"provider_activity_id": ["x"]}, "provider_activity_id must be a string"),
        ({"commerce_external_id": GONE}, f"commerce_external_id {EMPTY}"),
        ({"commerce_external_id": " "}, f"commerce_external_id {EMPTY}"),
        ({"commerce_external_id": {}}, "commerce_external_id must be a string"),
        ({"occurred_at": GONE}, f"occurred_at {EMPTY}"),
        ({"occurred_at": 1_750_000_000}, "occurred_at must be a string"),
        ({"occurred_at": "15/06/2025"}, f"occurred_at {NO_DATE}"),
        ({"occurred_at": "2025-02-29"}, f"occurred_at {NO_DATE}"),
        ({"occurred_at": "2025-06-15 10:30:00Z"}, f"occurred_at {NO_DATE}"),
        ({"occurred_at": "2025-06-15T10:61:00Z"}, f"occurred_at {NO_DATE}"),
        ({"occurred_at": "2025-06-15T10:30:00+99:99"}, f"occurred_at {NO_DATE}"),
        ({"occurred_at": "0000-01-01T00:00:00Z"}, f"occurred_at {NO_DATE}"),
        ({"occurred_at": "\u0662\u0660\u0662\u0665-06-15"}, f"occurred_at {NO_DATE}"),
        ({"status": GONE}, f"status {EMPTY}"),
        ({"status": []}, "status must be a string"),
        (
            {"status": "COMPLETED"},
            "status must be one of the following values: EFFECTIVE, NOT_EFFECTIVE, PENDING",
        ),
        ({"external_status": 1}, "external_status must be a string"),
        ({"hard_override": "true"}, "hard_override must be a boolean value"),
        ({"hard_override": 1}, "hard_override must be a boolean value"),
        ({"raw_payload": "text"}, "raw_payload must be an object"),
        ({"task_result": GONE}, f"task_result {EMPTY}"),
        ({"task_result": "SALE_COMPLETED"}, "task_result must be an object"),
        ({"task": {"result": GONE}}, f"task_result.result {EMPTY}"),
        ({"task": {"result": float("nan")}}, "task_result.result must be a string"),
        ({"task": {"result": "SOLD"}}, "task_result.result must be a valid result type code"),
        ({"task": {"result": "RESCHEDULE"}}, f"task_result.future_scheduled_at {EMPTY}"),
        ({"task": {"future_scheduled_at": "soon"}}, f"task_result.future_scheduled_at {NO_DATE}"),
        ({"task": {"comment": 5}}, "task_result.comment must be a string"),
        (
            {"task": {"contact_type": "BOTH"}},
            "task_result.contact_type must be one of the following values: INBOUND, OUTBOUND",
        ),
        ({"task": {"operator_external_id": True}}, "task_result.operator_external_id must be a string"),
        ({"task": {"payload": []}}, "task_result.payload must be an object"),
    ],
    ids=str,
)
def test_one_fault_is_one_message(tenant: Tenant, changes: dict[str, Any], message: str) -> None:
    """Each field is checked; a single thing wrong is told as a text, with the field's full name."""
    body = json.dumps(tenant.document(**changes)).encode()
    response = tenant.client.post(RESULTS, content=body, headers={"Content-Type": "application/json"})

    assert refused(response, "Bad Request", message)
    assert (tenant.state.results, tenant.state.writes) == ({}, [])
    assert tenant.activity.status == "PENDING"


def test_several_faults_are_a_list_of_messages(tenant: Tenant) -> None:
    """All that is wrong is told at once, fields of task_result included."""
    response = tenant.submit(occurred_at="today", status=GONE, task={"result": "SOLD", "payload": 1})

    assert refused(
        response,
        "Bad Request",
        [
            f"occurred_at {NO_DATE}",
            f"status {EMPTY}",
            "task_result.result must be a valid result type code",
            "task_result.payload must be an object",
        ],
    )
    assert tenant.state.writes == []


def test_the_words_of_a_wrong_code_are_the_documented_ones(tenant: Tenant) -> None:
    """The vendor's page shows this reply, and the policy file carries it as its example."""
    assert refused(tenant.submit(task={"result": "SOLD"}), "Bad Request")


@pytest.mark.parametrize(
    "moment",
    [
        "2025-06-15",
        "2025-06-15T10:30",
        "2025-06-15T10:30:00",
        "2025-06-15T10:30:00,5Z",
        "2025-06-15T10:30:00.123456789+05:30",
        "2025-06-15T10:30:00-03",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_any_extended_iso_8601_date_is_taken(tenant: Tenant, moment: str) -> None:
    """A day alone, a zone or none, a fraction of either mark: all are ISO 8601, at both ends of the calendar too."""
    assert tenant.submit(occurred_at=moment).json()["occurredAt"] == moment


def test_a_result_to_come_back_on_needs_a_date_in_the_future(tenant: Tenant) -> None:
    """RESCHEDULE is taken with a date that has not come yet by the sandbox's clock, and refused with one that has."""

    def reschedule(due: str) -> httpx.Response:
        return tenant.submit(task={"result": "RESCHEDULE", "future_scheduled_at": due})

    late = "task_result.future_scheduled_at must be a future date"
    assert refused(reschedule("2025-06-15T15:06:40Z"), "Bad Request", late)
    assert reschedule("2025-06-15T15:06:41Z").status_code == 201
    tenant.clock.advance(1)
    assert refused(reschedule("2025-06-15T15:06:41Z"), "Bad Request", late)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process can be set on Unix only")
def test_a_moment_without_a_zone_is_utc_wherever_the_sandbox_runs(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's own zone makes no difference to what has passed and what has not."""
    task = {"result": "RESCHEDULE", "future_scheduled_at": "2025-06-15T16:00:00"}
    try:
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("TZ", "XXX-9")  # nine hours ahead: there, four in the afternoon was this morning
            time.tzset()
            response = tenant.submit(task=task)
    finally:
        time.tzset()

    assert response.status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"activity_id": 1' + b"0" * 5000 + b"}",
        '{"status": "\xe9"}'.encode("latin-1"),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_json_object_is_a_bad_request(tenant: Tenant, body: bytes) -> None:
    """Whatever is wrong with it, it is the client's fault."""
    response = tenant.client.post(RESULTS, content=body, headers={"Content-Type": "application/json"})

    assert refused(response, "Bad Request", "the body must be a JSON object")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 400),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("application/json", 201),
        ("Application/JSON; charset=utf-8", 201),
    ],
)
def test_a_submission_comes_as_json(tenant: Tenant, kind: str | None, status: int) -> None:
    """The Content-Type is one of the required headers; a body of another kind is not read."""
    headers = {} if kind is None else {"Content-Type": kind}
    response = tenant.client.post(RESULTS, content=json.dumps(tenant.document()), headers=headers)

    assert response.status_code == status
    assert response.is_success or refused(response, "Bad Request", "Content-Type must be application/json")


def test_hostile_values_that_are_allowed_do_no_harm(tenant: Tenant) -> None:
    """Unpaired surrogates, unknown fields and deep objects of the caller's own are taken, and can be shown again."""
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"in": deep}

    hostile = tenant.document(raw_payload=deep, unheard_of=[1e308], task={"comment": "\ud800\u0000"})
    body = json.dumps(hostile).encode()

    response = tenant.client.post(RESULTS, content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 201
    shown = tenant.client.get(f"{RESULTS}/{tenant.activity.id}").json()
    assert shown["taskResult"]["comment"] == "\ud800\u0000"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activity_id": "00000000-0000-4000-8000-000000000000"}, "Activity not found"),
        ({"activity_id": GONE, "provider_activity_id": "ext-unknown"}, "Activity not found"),
        ({"commerce_external_id": "COM-002"}, "Activity not found"),
        ({"commerce_external_id": "COM-999"}, "Commerce not found"),
    ],
    ids=str,
)
def test_an_unknown_id_is_not_found(tenant: Tenant, changes: dict[str, Any], message: str) -> None:
    """An activity or a commerce that the tenant does not have is 404, and so is an activity with another's commerce."""
    assert refused(tenant.submit(**changes), "Not Found", message)
    assert tenant.state.writes == []


@pytest.mark.parametrize(("named", "message"), [(0, "Result not found"), (None, "Activity not found")])
def test_a_result_that_is_not_there_is_not_found(tenant: Tenant, named: int | None, message: str) -> None:
    """Looking up tells an activity without a result from an unknown one."""
    path = tenant.activity.id if named == 0 else "..%2f..%00"

    assert refused(tenant.client.get(f"{RESULTS}/{path}"), "Not Found", message)


# --- a second result


@pytest.mark.parametrize("override", [GONE, False, None])
def test_a_second_result_is_a_conflict(tenant: Tenant, override: object) -> None:
    """An activity that has a result keeps it, whether the second is the same or another."""
    tenant.submit()
    before = dict(tenant.state.results)

    assert refused(tenant.submit(hard_override=override), "Conflict")
    assert refused(tenant.submit(status="PENDING", hard_override=override), "Conflict")
    assert (tenant.state.results, tenant.activity.status) == (before, "COMPLETED")
    assert len(tenant.state.writes) == 1


def test_a_pending_result_is_a_result(tenant: Tenant) -> None:
    """A result that is not final yet also keeps another out."""
    tenant.submit(status="PENDING")

    assert refused(tenant.submit(), "Conflict")


def test_hard_override_replaces_the_result(tenant: Tenant) -> None:
    """The new result stands, the one it replaced stays on record, and each registration is counted."""
    first = tenant.submit()
    second = tenant.submit(status="PENDING", hard_override=True)
    third = tenant.submit(status="NOT_EFFECTIVE", hard_override=True)

    replies = [first, second, third]
    ids = [reply.json()["id"] for reply in replies]
    assert [reply.status_code for reply in replies] == [201, 201, 201]
    assert [(write.id, write.replaced) for write in tenant.state.writes] == list(
        zip(ids, [None, *ids[:2]], strict=True)
    )
    assert len(set(ids)) == 3
    assert tenant.state.results == {tenant.activity.id: tenant.state.writes[2]}
    assert tenant.state.written() == Counter({tenant.activity.id: 3})
    assert tenant.client.get(f"{RESULTS}/{tenant.activity.id}").json() == third.json()


def test_hard_override_with_nothing_to_replace_registers(tenant: Tenant) -> None:
    """Asking to replace a result that is not there is a first result."""
    assert tenant.submit(hard_override=True).status_code == 201
    assert tenant.state.writes[0].replaced is None


def test_an_idempotency_key_means_nothing_here(tenant: Tenant) -> None:
    """The API has no such keys: the same call with the same key is a conflict like any other."""
    headers = {"Idempotency-Key": "the-same-key"}
    statuses = [
        tenant.client.post(RESULTS, json=tenant.document(), headers=headers).status_code for _ in range(2)
    ]

    assert statuses == [201, 409]


# --- the tenant


def test_everything_made_up_follows_from_the_seed() -> None:
    """The same seed gives the same keys, activities and result ids; another seed gives others."""

    def made(seed: int) -> list[object]:
        api = Sandbox("integration", seed=seed, clock=VirtualClock(), activities=3)
        with api.client() as client:
            for activity in api.state.activities.values():
                client.post(RESULTS, json=document(activity))
        return [api.credentials, list(api.state.activities.values()), [each.id for each in api.state.writes]]

    first, again, other = made(1), made(1), made(2)

    assert first == again
    assert [one != another for one, another in zip(first, other, strict=True)] == [True, True, True]


def test_credentials_are_made_up() -> None:
    """Nobody takes the keys for real ones, and a key's record does not show it."""
    api = Sandbox("integration")

    assert set(api.credentials) == {"key", "query_key", "submit_key"}
    assert len(set(api.credentials.values())) == 3
    assert all(key.startswith("sandbox-key-") for key in api.credentials.values())
    assert all(key not in repr(api.state.keys[key]) for key in api.credentials.values())


def test_an_activity_can_be_added_to_a_commerce_of_its_own(tenant: Tenant) -> None:
    """What is given counts, the rest is made up, and the new activity takes a result."""
    added = tenant.state.add_activity(commerce_external_id="SHOP-1", channel="EMAIL", scheduled_at=0)

    assert tenant.submit(added).status_code == 201
    (listed,) = tenant.client.get(ACTIVITIES, params={"external_commerce_id": "SHOP-1"}).json()["data"]
    assert (listed["channel"], listed["scheduledAt"]) == ("EMAIL", "1970-01-01T00:00:00.000Z")


def test_a_tenant_may_be_as_large_as_a_proof_needs() -> None:
    """Ten thousand activities all have ids of their own, and the last of them can be found and given a result."""
    tenant = Tenant(activities=10_000)
    activities = list(tenant.state.activities.values())

    assert len(activities) == 10_000
    assert len({activity.provider_activity_id for activity in activities}) == 10_000
    assert tenant.submit(activities[-1]).status_code == 201
    assert tenant.client.get(ACTIVITIES).json()["meta"]["totalPages"] == 500


# --- what goes wrong on purpose

# Of each kind of the wire: what the client meets, and how many results there are afterwards.
MEETS: dict[str, tuple[type[Exception] | int, int]] = {
    "close": (httpx.RemoteProtocolError, 0),
    "reset": (httpx.ReadError, 0),
    "reset-upload": (httpx.ReadError, 0),
    "garbage": (httpx.RemoteProtocolError, 0),
    "html-503": (503, 0),
    "lose": (httpx.RemoteProtocolError, 1),
    "lose-reset": (httpx.ReadError, 1),
    "lose-garbage": (httpx.RemoteProtocolError, 1),
    "truncate": (httpx.RemoteProtocolError, 1),
    "reset-body": (httpx.ReadError, 1),
    "latency": (201, 1),
    "drip": (201, 1),
    "stale": (201, 1),
}


@pytest.mark.parametrize("fault", every_fault("integration"))
def test_every_fault_can_be_injected_into_a_submission(fault: str) -> None:
    """A kind of the wire ends as it says; a documented error is the reply of the policy file, and does no work."""
    tenant = Tenant(faults=Schedule().add(SUBMIT, [fault]))
    expected = None if fault in WIRE else error_response("integration", fault)
    meets, results = MEETS[fault] if expected is None else (expected.status_code, 0)

    if isinstance(meets, int):
        response = tenant.submit()
        assert response.status_code == meets
        assert expected is None or response.json() == expected.json()
    else:
        with pytest.raises(meets):
            tenant.submit()
    assert len(tenant.state.writes) == results
    assert tenant.state.tally() == {fault: 1}


def test_every_fault_of_the_policy_is_one_that_chance_may_pick() -> None:
    """The API's table and two errors that it never sends by itself: a 429 and a 5xx come from in front of it."""
    assert set(every_fault("integration")) - set(WIRE) == {
        "Bad Request",
        "Not Found",
        "Conflict",
        "Unauthorized",
        "Forbidden",
        "RATE_LIMITED",
        "SERVER_ERROR",
    }


# --- through the resilient client


def submit(way: Way, api: Sandbox[Integration], **ask: Any) -> httpx.Response:
    """Submit the first activity's result through a resilient client, in a thread or in a task."""
    sent = document(next(iter(api.state.activities.values())))
    if way == "sync":
        with api.client() as client:
            return client.post(RESULTS, json=sent, extensions={"resilience": ask})

    async def in_a_task() -> httpx.Response:
        async with api.async_client() as client:
            return await client.post(RESULTS, json=sent, extensions={"resilience": ask})

    return asyncio.run(in_a_task())


def names(response: httpx.Response) -> list[str]:
    return [attempt.verdict.name for attempt in outcome_of(response).attempts]


both = pytest.mark.parametrize("way", ["sync", "async"])


@both
def test_a_failing_server_is_asked_again_for_a_submission_too(way: Way) -> None:
    """A 5xx is retried whatever the method, as the vendor wants; the result is registered once, in the same bytes."""
    tenant = Tenant(faults=Schedule().add(SUBMIT, ["SERVER_ERROR", "html-503", "SERVER_ERROR#3"]))

    response = submit(way, tenant.api)

    assert response.status_code == 201
    assert names(response) == ["SERVER_ERROR"] * 3 + ["CREATED"]
    assert tenant.clock.sleeps[2] >= 10  # what the load balancer's Retry-After asked for
    assert len({seen.body for seen in tenant.state.requests}) == 1
    assert tenant.state.written() == {tenant.activity.id: 1}


@both
def test_a_rate_limit_is_waited_out(way: Way) -> None:
    """A 429 says when to come back, and the client does not come sooner."""
    tenant = Tenant(faults=Schedule().add(SUBMIT, ["RATE_LIMITED:7"]))

    response = submit(way, tenant.api)

    (waited,) = tenant.clock.sleeps
    assert 7 <= waited <= 7 * 1.2 + 0.25
    assert response.status_code == 201
    assert not outcome_of(response).maybe_applied


@both
def test_a_lost_reply_is_not_asked_for_again_unasked(way: Way) -> None:
    """Nothing says that a submission may be sent twice: the caller gets the error, and hears that it may be there."""
    tenant = Tenant(faults=Schedule().add(SUBMIT, ["lose"]))

    with pytest.raises(httpx.RemoteProtocolError) as caught:
        submit(way, tenant.api)

    assert outcome_of(caught.value).maybe_applied
    assert tenant.state.written() == {tenant.activity.id: 1}
    with tenant.api.client() as client:  # and the caller can see for itself
        assert client.get(f"{RESULTS}/{tenant.activity.id}").json()["status"] == "EFFECTIVE"


@both
@pytest.mark.parametrize("fault", ["lose", "lose-reset", "lose-garbage"])
def test_a_result_whose_reply_was_lost_comes_back_as_a_conflict(way: Way, fault: str) -> None:
    """Sent again because the caller said that it may be, it meets its own first attempt, and the outcome says so."""
    tenant = Tenant(faults=Schedule().add(SUBMIT, [fault]))

    response = submit(way, tenant.api, idempotent=True)

    assert response.status_code == 409
    assert names(response) == ["NETWORK_ERROR", "Conflict"]
    assert outcome_of(response).reason == "not_retryable"
    assert outcome_of(response).maybe_applied
    assert tenant.state.written() == {tenant.activity.id: 1}


@both
def test_a_conflict_with_somebody_elses_result_is_no_maybe(way: Way) -> None:
    """Where the first attempt is refused, it was not the caller who registered the result."""
    tenant = Tenant()
    tenant.submit()

    response = submit(way, tenant.api)

    assert response.status_code == 409
    assert not outcome_of(response).maybe_applied
    assert len(tenant.state.writes) == 1


@both
def test_a_conflict_is_overridden_once_when_the_caller_asks_for_it(way: Way) -> None:
    """override_conflict answers the 409 with the same request and hard_override, and the result is replaced."""
    tenant = Tenant()
    tenant.submit(status="NOT_EFFECTIVE")

    response = submit(way, tenant.api, override_conflict=True)

    assert response.status_code == 201
    assert names(response) == ["Conflict", "CREATED"]
    assert tenant.clock.sleeps == []
    replaced, standing = tenant.state.writes
    assert standing.replaced == replaced.id
    assert json.loads(standing.body) == tenant.document(hard_override=True)
    assert tenant.state.results[tenant.activity.id] is standing


@both
def test_a_lost_reply_can_be_overridden_too(way: Way) -> None:
    """Both together: lost, sent again, met by its own result, and put in its place; two writes of which one stands."""
    tenant = Tenant(faults=Schedule().add(SUBMIT, ["lose"]))

    response = submit(way, tenant.api, idempotent=True, override_conflict=True)

    assert names(response) == ["NETWORK_ERROR", "Conflict", "CREATED"]
    assert tenant.state.written() == {tenant.activity.id: 2}
    assert tenant.state.results[tenant.activity.id].id == response.json()["id"]


@both
def test_an_override_that_is_met_by_a_conflict_goes_to_the_caller(way: Way) -> None:
    """The 409 is answered once and not again."""
    tenant = Tenant(faults=Schedule().add(SUBMIT, ["Conflict", "Conflict"]))

    response = submit(way, tenant.api, override_conflict=True)

    assert names(response) == ["Conflict", "Conflict"]
    assert tenant.state.writes == []


def test_all_messages_of_a_refusal_reach_the_caller(tenant: Tenant) -> None:
    """An ApiError names every fault, and keeps the body of the error for the log."""
    with tenant.api.client() as client:
        response = client.post(RESULTS, json=tenant.document(status=GONE, occurred_at="today"))

    with pytest.raises(ApiError) as caught:
        raise_for_status(response)
    faults = [f"occurred_at {NO_DATE}", f"status {EMPTY}"]
    assert caught.value.outcome.verdict.details == faults
    assert caught.value.log_record()["body"]["message"] == faults
    assert len(tenant.state.requests) == 1


def test_a_revoked_key_is_not_tried_again(tenant: Tenant) -> None:
    """A 401 of this API is final: there is no token to renew."""
    tenant.state.keys[tenant.api.key].revoked = True

    with tenant.api.client() as client:
        response = client.get(ACTIVITIES)

    assert (response.status_code, len(tenant.state.requests)) == (401, 1)


def test_over_a_socket_the_rules_are_the_same() -> None:
    """Served on 127.0.0.1: a lost reply, the conflict with it, the override, and a refused key."""
    schedule = Schedule().add(SUBMIT, ["lose-reset"])
    with Sandbox("integration", seed=7, clock=VirtualClock(), faults=schedule) as api:
        activity = next(iter(api.state.activities.values()))
        response = submit("sync", api, idempotent=True, override_conflict=True)
        with httpx.Client(base_url=api.base_url, trust_env=False) as plain:
            stranger = plain.get(ACTIVITIES, headers={"x-api-key": "nobody"})

    assert (response.status_code, names(response)) == (201, ["NETWORK_ERROR", "Conflict", "CREATED"])
    assert refused(stranger, "Unauthorized")
    assert api.state.written() == {activity.id: 2}
