"""Drafting policies: the starter, drafts from OpenAPI documents, and the TOML that both are written in."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resilient_client import Policy, PolicyError, load_policy, policy_names
from resilient_client._draft import Draft, base_of, draft, starter
from resilient_client._draft.writing import WIDTH, comment, entry, key, table, value
from resilient_client._words import When

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENTS = Path(__file__).parent / "openapi"
NAMES = sorted(path.stem for path in DOCUMENTS.glob("*.json"))
BASES = [None, *policy_names()]


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCUMENTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Policy]:
    """Give a way to draft a policy and to load what was written; one of the documents by its name is drafted once."""
    folder = tmp_path_factory.mktemp("drafted")

    def make(given: dict[str, Any], extends: str | None = "default") -> Policy:
        return written(draft(json.dumps(given), name="acme", extends=extends, folder=folder), folder)

    @functools.cache
    def named(name: str, extends: str | None) -> Policy:
        return make(document(name), extends)

    def either(given: str | dict[str, Any], extends: str | None = "default") -> Policy:
        return named(given, extends) if isinstance(given, str) else make(given, extends)

    return either


def written(made: Draft, folder: Path) -> Policy:
    path = folder / "acme.toml"
    path.write_text(made.text, encoding="utf-8")
    return load_policy(path)


def rules(policy: Policy) -> dict[str, Any]:
    return {rule.name: rule for rule in policy.own_rules}


def one_reply(status: str, reply: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a document with one reply to one request."""
    return {"openapi": "3.0.3", "paths": {"/orders": {"post": {"responses": {status: reply}}}}} | more


def of_body(*examples: Any, schema: Any = None, **reply: Any) -> dict[str, Any]:
    content = {
        "examples": {str(number): {"value": one} for number, one in enumerate(examples)},
        "schema": schema,
    }
    return {"description": "", "content": {"application/json": content}} | reply


# ---------------------------------------------------------------------------------------------------- what always holds


@pytest.mark.parametrize("extends", BASES)
@pytest.mark.parametrize("name", NAMES)
def test_a_draft_loads_and_passes_the_check(
    drafted: Callable[..., Policy], name: str, extends: str | None
) -> None:
    """Without an error and without a warning, whatever it extends."""
    policy = drafted(name, extends)

    assert [finding for finding in policy.lint() if finding.severity != "note"] == []
    assert all(rule.examples and rule.cause and rule.remedy for rule in policy.own_rules)


JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "code",
    "429",
    "\ud800",
    "\x00\x1b[31m",
    [],
    {},
    [{}],
    {"$ref": "#"},
    {"$ref": "#/paths"},
    {"$ref": "other.json"},
    {"type": ["object", "null"]},
    {"enum": [1, "a", None, 1.0]},
    {"allOf": [{"$ref": "#/components/schemas/Error"}, {"$ref": "#/components/schemas/Loop"}]},
]
WORDS = [
    *(
        "404",
        "409",
        "429",
        "500",
        "4XX",
        "5XX",
        "default",
        "description",
        "headers",
        "content",
        "Retry-After",
    ),
    *("application/json", "schema", "example", "examples", "value", "allOf", "oneOf", "properties", "items"),
    *("code", "type", "status", "error", "errors", "message", "details", "enum", "const", "in", "name"),
]


def tables_of(node: Any) -> Iterator[Any]:
    """Go through all that has something in it."""
    if isinstance(node, dict | list) and node:
        yield node
        for inner in node.values() if isinstance(node, dict) else node:
            yield from tables_of(inner)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """Take one of the documents, and put what does not belong there in some of its places."""
    spoiling = copy.deepcopy(document(draw(st.sampled_from(NAMES))))
    for _ in range(draw(st.integers(1, 8))):
        places = list(tables_of(spoiling))
        place = places[draw(st.integers(0, len(places) - 1))]
        other = draw(st.sampled_from(JUNK) | st.sampled_from(places))
        if isinstance(place, list):
            place[draw(st.integers(0, len(place) - 1))] = copy.deepcopy(other)
        else:
            place[draw(st.sampled_from([*map(str, place), *WORDS]))] = copy.deepcopy(other)
    return spoiling


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(given=spoilt(), extends=st.sampled_from(BASES))
def test_a_document_that_is_wrong_anywhere_gives_a_draft_all_the_same(
    tmp_path: Path, given: dict[str, Any], extends: str | None
) -> None:
    """One that loads and passes the check; or it is told that it is no OpenAPI document."""
    try:
        made = draft(json.dumps(given), name="acme", extends=extends, folder=tmp_path)
    except ValueError as error:
        assert "OpenAPI" in str(error)  # noqa: PT017 - either is right
        return
    policy = written(made, tmp_path)

    assert [finding for finding in policy.lint() if finding.severity == "error"] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_draft_says_what_it_says_of_itself(tmp_path: Path, name: str) -> None:
    """As many rules as it counts, and all that is to be looked up stands at its top."""
    made = draft(
        (DOCUMENTS / f"{name}.json").read_text(encoding="utf-8"), name="acme", extends=None, folder=tmp_path
    )
    head, _, _ = made.text.partition("\napi = ")
    flat = " ".join(head.replace("\n#", " ").split())

    assert made.rules == made.text.count("\n[[rules]]\n")
    assert made.look_up
    assert all(" ".join(gap.split()) in flat for gap in made.look_up)


def test_a_draft_keeps_to_its_width(tmp_path: Path) -> None:
    """But for what cannot be broken: one element of a list."""
    made = draft(json.dumps(document("nested_codes")), name="acme", extends="default", folder=tmp_path)

    assert [line for line in made.text.splitlines() if len(line) > WIDTH] == []


# ------------------------------------------------------------------------------------------------------ nested codes


def test_the_envelope_is_found_by_the_usual_names(drafted: Callable[..., Policy]) -> None:
    """The code before the type, both in the error; no code of the error's own causes."""
    envelope = drafted("nested_codes").envelope

    assert envelope.code == ["/error/code", "/error/type"]
    assert envelope.message == "/error/message"
    assert envelope.field == ["/error/param", "/error/source/param"]


def test_a_code_of_an_example_becomes_a_rule_of_its_status(drafted: Callable[..., Policy]) -> None:
    """With the example as its proof, and what the document says of it as its cause."""
    rule = rules(drafted("nested_codes"))["EXPIRED_CARD"]

    assert (rule.when.status, rule.when.code) == (402, "expired_card")
    assert rule.cause == "The card's expiry date has passed."
    assert (rule.category, rule.retry) == ("business", None)
    assert rule.examples[0].given.json_ == {
        "error": {"type": "card_error", "code": "expired_card", "message": "Your card has expired."}
    }


def test_codes_of_one_statuss_own_schema_become_rules(drafted: Callable[..., Policy]) -> None:
    """Where the schema of a status narrows the one that all errors share."""
    found = rules(drafted("nested_codes"))

    assert (found["PARAMETER_MISSING"].when.status, found["PARAMETER_UNKNOWN"].when.status) == (400, 400)


def test_a_code_without_a_status_goes_by_its_name(drafted: Callable[..., Policy]) -> None:
    """Where the name says enough; it is then asked for alone."""
    rule = rules(drafted("nested_codes"))["API_KEY_EXPIRED"]

    assert (rule.when.status, rule.when.code, rule.category) == (None, "api_key_expired", "auth")


def test_a_code_whose_name_says_nothing_is_to_be_looked_up(tmp_path: Path) -> None:
    """It gets no rule: that would only be guessed."""
    made = draft(json.dumps(document("nested_codes")), name="acme", extends=None, folder=tmp_path)

    assert "ACCOUNT_CLOSED" not in made.text
    assert (
        "With which status these codes come, and what they mean: card_error, account_closed." in made.look_up
    )


def test_a_code_of_a_class_of_statuses_becomes_a_rule_of_the_class(drafted: Callable[..., Policy]) -> None:
    """As the document has it: 5XX."""
    rule = rules(drafted("nested_codes"))["API_ERROR"]

    assert rule.when.status == "5xx"
    assert rule.retry is not None
    assert rule.retry.unsafe is False


def test_a_429_waits_as_the_document_says_for_any_method(drafted: Callable[..., Policy]) -> None:
    """Retry-After before a reset, which is read as its description says; the example shows what is waited."""
    rule = rules(drafted("nested_codes"))["RATE_LIMIT"]

    assert rule.retry.unsafe is True
    assert rule.retry.after[0] == "Retry-After"
    assert (rule.retry.after[1].header, rule.retry.after[1].kind) == ("X-RateLimit-Reset", "epoch")
    assert rule.examples[0].given.headers == {"Retry-After": "3"}
    assert rule.examples[0].expect.waits == [3, 3, 3, 3]


def test_a_quota_that_is_used_up_is_final(drafted: Callable[..., Policy]) -> None:
    """By the code's name, and before the rule for the other 429s."""
    found = rules(drafted("nested_codes"))

    assert (found["QUOTA_EXCEEDED"].category, found["QUOTA_EXCEEDED"].retry) == ("quota", None)
    assert found["TOO_MANY_REQUESTS"].retry is not None


def test_keys_are_made_where_the_document_takes_them(drafted: Callable[..., Policy]) -> None:
    """In the header that it names, as long as it allows."""
    idempotency = drafted("nested_codes").idempotency

    assert (idempotency.header, idempotency.length) == ("Idempotency-Key", (8, 255))
    assert idempotency.routes == ["POST /charges", "POST /charges/{id}"]


def test_the_head_of_a_draft_is_the_documents_own(drafted: Callable[..., Policy]) -> None:
    """Its title, its page, and a header that says whether to retry."""
    policy = drafted("nested_codes")

    assert (policy.api, policy.title) == ("acme", "Acme Payments API")
    assert policy.source == "https://acme.example/docs/errors"
    assert policy.should_retry == "Acme-Should-Retry"


# ------------------------------------------------------------------------------------------------------ other styles


def test_problem_details_are_told_apart_by_their_type(drafted: Callable[..., Policy]) -> None:
    """By examples and by constants of schemas, and about:blank is no type."""
    policy = drafted("problem_details")

    assert (policy.envelope.code, policy.envelope.request_id) == ("/type", "/traceId")
    assert policy.envelope.message == ["/detail", "/errors/*/detail", "/title"]
    assert policy.envelope.request_id_header == "X-Trace-Id"
    assert list(rules(policy))[:3] == ["OUT_OF_CREDIT", "INVALID_AMOUNT", "UNKNOWN_ACCOUNT"]
    assert len(rules(policy)) == 6


def test_a_key_in_the_body_is_found(drafted: Callable[..., Policy]) -> None:
    """As a field of what is sent."""
    idempotency = drafted("problem_details").idempotency

    assert (idempotency.field, idempotency.routes) == (
        "/idempotency_key",
        ["POST /accounts/{id}/transfers"],
    )


def test_a_relative_server_is_no_source(drafted: Callable[..., Policy]) -> None:
    """The first that is an address of its own counts."""
    assert drafted("problem_details").source == "https://ledger.acme.example/v2"


def test_a_number_that_repeats_the_status_is_no_code(drafted: Callable[..., Policy]) -> None:
    """The name beside it is."""
    policy = drafted("status_details")

    assert policy.envelope.code == "/error/status"
    assert policy.envelope.field == "/error/details/*/fieldViolations/*/field"
    assert [name for name in rules(policy) if rules(policy)[name].when.code] == [
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
    ]


def test_the_name_beside_a_number_is_the_code_even_without_an_example(drafted: Callable[..., Policy]) -> None:
    """A schema alone does not say that the number repeats the status."""
    error = {"properties": {"code": {"type": "integer"}, "status": {"type": "string"}}}
    schema = {"properties": {"error": error}}

    assert drafted(one_reply("400", of_body(schema=schema)), None).envelope.code == "/error/status"


def test_a_wait_in_the_body_is_found(drafted: Callable[..., Policy]) -> None:
    """And read: the client would wait for 3.5 s."""
    rule = rules(drafted("status_details"))["RESOURCE_EXHAUSTED"]

    assert rule.retry.after == ["/error/details/*/retryDelay", "Retry-After"]
    assert rule.examples[0].expect.waits == [3.5, 3.5, 3.5, 3.5]


def test_a_key_that_goes_in_quotes_is_told(drafted: Callable[..., Policy]) -> None:
    """By the example of its header."""
    idempotency = drafted("status_details").idempotency

    assert (idempotency.header, idempotency.quoted) == ("X-Idempotency-Token", True)


def test_a_document_without_error_schemas_gives_rules_by_status(drafted: Callable[..., Policy]) -> None:
    """A description that says more than the status does is the cause; where it says no more, the standards speak."""
    policy = drafted("no_error_schemas")
    found = rules(policy)

    assert policy.envelope == load_policy("default").envelope
    assert {rule.when.status for rule in found.values()} == {401, 413, 429, 451, 499, 500}
    assert found["CONTENT_TOO_LARGE"].cause == "A note has at most 64 KiB."
    assert (
        found["INTERNAL_SERVER_ERROR"].cause == rules(load_policy("default"))["INTERNAL_SERVER_ERROR"].cause
    )
    assert found["HTTP_499"].cause == "Gave up."


def test_swagger_2_is_read(drafted: Callable[..., Policy]) -> None:
    """Schemas and examples right in the reply, a body among the parameters, headers without a schema."""
    policy = drafted("swagger_2")
    found = rules(policy)

    assert (policy.source, policy.envelope.code) == ("https://classic.acme.example", ["/errorCode", "/error"])
    assert policy.idempotency.field == "/idempotencyKey"
    assert (found["CONFLICT_7001"].when.code, found["CONFLICT_7001"].when.status) == (7001, 409)
    assert found["TOO_MANY_REQUESTS"].retry.after[0].kind == "seconds"


# -------------------------------------------------------------------------------------------------------- alone or not


def test_a_draft_that_stands_alone_has_rules_for_what_every_api_does(drafted: Callable[..., Policy]) -> None:
    """A 429 for any method, and a 5xx where that is safe."""
    policy = drafted(one_reply("404", {"description": "No such order."}), None)
    found = rules(policy)

    assert policy.extends is None
    assert list(found) == ["NOT_FOUND", "TOO_MANY_REQUESTS", "SERVER_ERROR"]
    assert (found["TOO_MANY_REQUESTS"].retry.unsafe, found["SERVER_ERROR"].retry.unsafe) == (True, False)


def test_a_rule_by_code_does_not_replace_an_inherited_one(drafted: Callable[..., Policy]) -> None:
    """Or a 410 would match nothing any more."""
    policy = drafted(one_reply("404", of_body({"code": "gone"})))

    assert rules(policy)["GONE_404"].when.code == "gone"
    assert next(rule.when for rule in policy.rules if rule.name == "GONE") == When(status=410)


def test_a_rule_that_could_never_be_asked_is_left_out_and_named(tmp_path: Path) -> None:
    """Where the policy that is extended has a rule of its name, behind one that takes it all."""
    (tmp_path / "base.toml").write_text(
        'api = "base"\n[[rules]]\nname = "ALL"\nwhen = { status = "4xx" }\n'
        '[[rules]]\nname = "GONE"\nwhen = { status = 410, headers = { X-Gone = true } }\n'
    )
    given = json.dumps(one_reply("410", {"description": "No longer there."}))
    made = draft(given, name="acme", extends="base.toml", folder=tmp_path)

    assert made.rules == 0
    assert any(gap.endswith("GONE.") for gap in made.look_up)


def test_the_base_of_a_policy_is_looked_for_beside_it(tmp_path: Path) -> None:
    """And a policy that does not exist is told as for any other file."""
    (tmp_path / "base.toml").write_text('api = "base"\n')

    assert base_of("base.toml", tmp_path).api == "new"
    with pytest.raises(PolicyError, match='extends "deflaut", and no shipped policy has that name'):
        base_of("deflaut", tmp_path)


# ------------------------------------------------------------------------------------------------------------- details


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"code": "x", "msg": "m"}, "/code", "/msg"),
        ({"errorCode": 7, "errorMessage": "m"}, "/errorCode", "/errorMessage"),
        ({"errors": [{"code": "x", "detail": "d"}]}, "/errors/*/code", "/errors/*/detail"),
        ({"fault": {"code": "x", "message": "m"}}, "/fault/code", "/fault/message"),
        ({"error": "invalid_grant", "error_description": "d"}, "/error", "/error_description"),
        ({"type": "error", "error": {"type": "overloaded", "message": "m"}}, "/error/type", "/error/message"),
        ({"odd": {"code": "x", "message": "m"}}, "/odd/code", "/odd/message"),
        ({"a/b~c": {"code": "x", "message": "m"}}, "/a~1b~0c/code", "/a~1b~0c/message"),
    ],
)
def test_where_an_error_keeps_its_code(
    drafted: Callable[..., Policy], body: Any, code: str, message: str
) -> None:
    """Flat, nested, in a list, under any name that stands around it."""
    envelope = drafted(one_reply("400", of_body(body)), None).envelope

    assert (envelope.code, envelope.message) == (code, message)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "The order could not be found, for it was never placed here."},
        {"status": "error", "message": "m"},
        {"status": 404, "message": "m"},
        {"code": 404, "message": "m"},
        {"code": True, "message": "m"},
        {"success": False},
        ["code"],
        "code",
    ],
)
def test_what_is_no_code_is_not_taken_for_one(drafted: Callable[..., Policy], body: Any) -> None:
    """Prose, the status once more, a word that only says that it failed."""
    assert drafted(one_reply("404", of_body(body)), None).envelope.code == []


@pytest.mark.parametrize("code", ["404", 404, "Not Found", "not_found", "ok", "about:blank", ""])
def test_a_code_that_says_no_more_than_the_status_gets_no_rule(
    drafted: Callable[..., Policy], code: str | int
) -> None:
    """There is one for the status."""
    bodies = of_body(
        {"error": {"code": code, "message": "m"}}, {"error": {"code": "telling", "message": "m"}}
    )

    assert list(rules(drafted(one_reply("404", bodies), None)))[:2] == ["TELLING", "NOT_FOUND"]


def test_one_code_with_several_statuses_of_a_kind_is_one_rule(drafted: Callable[..., Policy]) -> None:
    """With all of them."""
    error = of_body({"code": "bad_sum"})
    given = one_reply("400", error)
    given["paths"]["/orders"]["post"]["responses"]["422"] = error

    assert rules(drafted(given, None))["BAD_SUM"].when.status == [400, 422]


def test_codes_that_all_errors_share_are_not_taken_for_every_statuss(drafted: Callable[..., Policy]) -> None:
    """Each goes where its name says, of the statuses that there are."""
    schema = {"properties": {"code": {"enum": ["rate_limited", "unknown_error", "not_found_here", "odd"]}}}
    given = one_reply("429", of_body(schema=schema))
    given["paths"]["/orders"]["post"]["responses"]["500"] = of_body(schema=schema)
    found = rules(drafted(given, None))

    assert (found["RATE_LIMITED"].when.status, found["UNKNOWN_ERROR"].when.status) == (429, 500)
    assert {"NOT_FOUND_HERE", "ODD"}.isdisjoint(found)


def test_codes_of_replies_of_any_status_go_by_their_names(drafted: Callable[..., Policy]) -> None:
    """They are asked for alone; what has no telling name gets no rule."""
    schema = {"properties": {"code": {"enum": ["rate_limited", "odd"]}}}
    (first, *others) = drafted(one_reply("default", of_body(schema=schema)), None).own_rules

    assert (first.name, first.when) == ("RATE_LIMITED", When(code="rate_limited"))
    assert [rule.name for rule in others] == ["TOO_MANY_REQUESTS", "SERVER_ERROR"]


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ({"Retry-After": {}}, "Retry-After"),
        ({"retry-after-ms": {}, "Retry-After": {}}, "retry-after-ms"),
        ({"RateLimit": {}}, "RateLimit"),
        ({"X-RateLimit-Reset": {"description": "Unix timestamp, in milliseconds"}}, "epoch-ms"),
        ({"X-RateLimit-Reset": {"description": "The number of seconds"}}, "seconds"),
        ({"X-RateLimit-Reset": {}}, "reset"),
        ({"RateLimit-Reset": {}}, "seconds"),
        ({"X-RateLimit-Reset": {"schema": {"format": "date-time"}}}, "retry-after-ms"),
        ({"X-RateLimit-Limit": {}, "No Header": {}}, "retry-after-ms"),
    ],
)
def test_where_a_429_says_how_long(drafted: Callable[..., Policy], header: Any, place: str) -> None:
    """By name and description; where the document has nothing that can be read, as the standards have it."""
    reply = {"description": "Slow down.", "headers": header}
    first = rules(drafted(one_reply("429", reply)))["TOO_MANY_REQUESTS"].retry.after[0]

    assert place == (first if isinstance(first, str) else first.kind)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/orders", ["POST /orders"]),
        ("/orders/{id}/items", ["POST /orders/{id}/items"]),
        ("/", []),
        ("/{id}", []),
        ("/orders/{id}:cancel", []),
        ("/orders/{id}.json", []),
        ("/orders?new", []),
        ("no-slash", []),
    ],
)
def test_a_route_means_what_the_path_means(
    drafted: Callable[..., Policy], path: str, expected: list[str]
) -> None:
    """A path that a policy would match with other requests too is left out."""
    operation = {"parameters": [{"in": "header", "name": "Idempotency-Key"}], "responses": {}}

    assert drafted({"openapi": "3.0.0", "paths": {path: {"post": operation}}}).idempotency.routes == expected


def test_where_every_post_takes_a_key_one_route_says_so(drafted: Callable[..., Policy]) -> None:
    """Once there are many."""
    operation = {"parameters": [{"in": "header", "name": "Idempotency-Key"}]}
    paths = {f"/x{number}": {"post": operation, "patch": operation} for number in range(9)}
    routes = drafted({"openapi": "3.0.0", "paths": paths}).idempotency.routes

    assert routes == ["POST **", *(f"PATCH /x{number}" for number in range(9))]


@pytest.mark.parametrize(
    ("schema", "length"),
    [
        ({"minLength": 8, "maxLength": 64}, (8, 64)),
        ({"maxLength": 64}, (1, 64)),
        ({"minLength": 0, "maxLength": 64}, (1, 64)),
        ({"minLength": 8}, None),
        ({"minLength": 64, "maxLength": 8}, None),
        ({"maxLength": "64"}, None),
    ],
)
def test_how_long_a_key_may_be(
    drafted: Callable[..., Policy], schema: Any, length: tuple[int, int] | None
) -> None:
    """As far as the document says it, and what it says makes sense."""
    operation = {"parameters": [{"in": "header", "name": "Idempotency-Key", "schema": schema}]}
    policy = drafted({"openapi": "3.0.0", "paths": {"/orders": {"post": operation}}}, None)

    assert policy.idempotency.length == length


def made_up(drafted: Callable[..., Policy], schema: Any, **schemas: Any) -> Any:
    """Give the body that is made up for a schema."""
    given = one_reply("404", of_body(schema=schema), components={"schemas": schemas})
    return rules(drafted(given, None))["NOT_FOUND"].examples[0].given.json_


def test_a_body_is_made_up_where_there_is_no_example(drafted: Callable[..., Policy]) -> None:
    """Of what the schema names, else of the simplest; a number that is named for the status is the status."""
    schema = {
        "properties": {
            "status": {"type": "integer"},
            "title": {"type": "string"},
            "at": {"type": "string", "format": "date-time"},
            "kind": {"type": ["null", "string"], "examples": ["gone"]},
            "retry": {"type": "boolean"},
            "links": {"items": {"properties": {"href": {"default": "/"}}}},
            "any": {},
        }
    }

    assert made_up(drafted, schema) == {
        "status": 404,
        "title": "text",
        "at": "2026-01-31T12:00:00Z",
        "kind": "gone",
        "retry": False,
        "links": [{"href": "/"}],
    }


def test_a_schema_that_refers_to_itself_is_made_up_once(drafted: Callable[..., Policy]) -> None:
    """And not again within itself."""
    error = {
        "properties": {"message": {"example": "m"}, "cause": {"$ref": "#/components/schemas/Error"}},
    }

    assert made_up(drafted, {"$ref": "#/components/schemas/Error"}, Error=error) == {"message": "m"}


def test_an_alternative_that_is_nothing_is_none(drafted: Callable[..., Policy]) -> None:
    """Of "null or an error", the error counts."""
    schema = {"oneOf": [{"type": "null"}, {"properties": {"message": {"example": "m"}}}]}

    assert made_up(drafted, schema) == {"message": "m"}


def test_parts_that_speak_of_one_property_and_of_each_other_have_an_end(
    drafted: Callable[..., Policy],
) -> None:
    """Each narrows what the others say."""
    part = {"$ref": "#/components/schemas/Error"}
    error = {
        "allOf": [{"properties": {"error": part, "message": {"type": "string"}}}] * 30,
        "properties": {"error": {"allOf": [part, part]}, "message": {"example": "m"}},
    }

    given = one_reply("404", of_body(schema=part), components={"schemas": {"Error": error}})

    assert drafted(given, None).envelope.message[0] == "/message"


def test_text_of_the_document_cannot_break_out_of_its_place(drafted: Callable[..., Policy]) -> None:
    """Quotes, line breaks, control characters and what turns a line around are written as what they are."""
    hostile = 'x"""\n[[rules]]\nname=\'evil\'\x00 \x1b[31m \u202e\\'
    policy = drafted(one_reply("404", of_body({"code": hostile}), info={"title": f"T {hostile}"}))
    found = policy.own_rules[0]

    assert found.when == When(status=404, code=hostile)
    assert found.examples[0].given.json_ == {"code": hostile}
    assert policy.title == " ".join(f"T {hostile}".split())
    assert "evil" not in rules(policy)


def test_halves_of_surrogate_pairs_are_replaced(drafted: Callable[..., Policy]) -> None:
    """No file takes them; wherever they are: in a code, a name, a description, a text."""
    half = "\ud800"
    given = one_reply("404", of_body({"code": f"a{half}", half: half}, description=f"Odd {half}."))
    given["paths"]["/orders"]["post"]["responses"]["503"] = {
        "description": "",
        "content": {"text/plain": {"example": f"down {half}"}},
    }
    found = rules(drafted(given, None))

    assert found["A"].examples[0].given.json_ == {"code": "a\ufffd", "\ufffd": "\ufffd"}
    assert found["NOT_FOUND"].cause == "Odd \ufffd."
    assert found["SERVICE_UNAVAILABLE"].examples[0].given.text == "down \ufffd"


def test_a_large_example_is_not_copied(drafted: Callable[..., Policy]) -> None:
    """A smaller one with the same code proves as much."""
    body = {"code": "too_much", "data": ["x" * 100] * 100}
    rule = rules(drafted(one_reply("400", of_body(body))))["TOO_MUCH"]

    assert rule.examples[0].given.json_ == {"code": "too_much"}


# ------------------------------------------------------------------------------------------------- what it is made of


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("{", "not valid JSON: "),
        ("{}", "this is no OpenAPI document: it says neither openapi: 3.x nor swagger: 2.0"),
        ('{"openapi": "2.0"}', "this is no OpenAPI document"),
        ('{"swagger": "1.2"}', "this is no OpenAPI document"),
        ('{"openapi": "3.0.0", "x": ' + "[" * 100_000, "it is nested too deeply to be an OpenAPI document"),
    ],
)
def test_what_is_no_openapi_document_is_told_in_one_line(tmp_path: Path, raw: str, told: str) -> None:
    """With what it lacks."""
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as error:
        draft(raw, name="acme", extends=None, folder=tmp_path)
    assert "\n" not in str(error.value)


def test_schemas_without_an_end_are_told(tmp_path: Path) -> None:
    """A chain of references that is longer than anything can follow."""
    schemas = {
        f"S{number}": {"allOf": [{"$ref": f"#/components/schemas/S{number + 1}"}]} for number in range(2000)
    }
    given = one_reply(
        "400", of_body(schema={"$ref": "#/components/schemas/S0"}), components={"schemas": schemas}
    )
    with pytest.raises(ValueError, match="its schemas are nested too deeply"):
        draft(json.dumps(given), name="acme", extends=None, folder=tmp_path)


def test_without_pyyaml_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with the extra's name."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ValueError, match=r"pip install 'resilient-client\[openapi\]' \(PyYAML\)$"):
        draft("openapi: 3.0.0\n", name="acme", extends=None, folder=tmp_path)


YAML = """\
openapi: 3.0.3
paths:
  /orders:
    post:
      responses:
        404:
          description: &gone It was never there.
          content:
            application/json:
              example: {code: no_order, since: 2026-01-31, sum: 1.50, kinds: !!set {a, b}}
        410: {description: *gone}
"""


def test_yaml_is_read_where_pyyaml_is_installed(tmp_path: Path) -> None:
    """With statuses as numbers, dates, references of its own, and kinds of things that JSON does not have."""
    pytest.importorskip("yaml")
    found = rules(written(draft(YAML, name="acme", extends=None, folder=tmp_path), tmp_path))

    assert found["NO_ORDER"].when.status == 404
    assert found["NO_ORDER"].examples[0].given.json_["since"] == "2026-01-31"
    assert (found["NOT_FOUND"].cause, found["GONE"].cause) == ("It was never there.",) * 2


@pytest.mark.parametrize("raw", ["a: [1", "? [a]\n: b", "a: 2024-13-45", "a: \x01"])
def test_what_is_no_yaml_is_told_in_one_line(tmp_path: Path, raw: str) -> None:
    """Wherever it breaks off, and whatever it says that is nothing."""
    pytest.importorskip("yaml")
    with pytest.raises(ValueError, match=r"^not valid YAML: [^\n]+$"):
        draft(raw, name="acme", extends=None, folder=tmp_path)


# --------------------------------------------------------------------------------------------------------- the starter


@pytest.mark.parametrize("switched_on", [False, True])
@pytest.mark.parametrize("extends", BASES)
def test_a_starter_loads_and_passes_the_check(tmp_path: Path, extends: str | None, switched_on: bool) -> None:  # noqa: FBT001 - a case
    """As it is, and with all its settings switched on."""
    text = starter("acme", extends)
    if switched_on:
        text = re.sub(r"(?m)^#(?=\S)", "", text)
    (tmp_path / "acme.toml").write_text(text, encoding="utf-8")
    policy = load_policy(tmp_path / "acme.toml")

    assert (policy.api, policy.extends) == ("acme", extends)
    assert [finding for finding in policy.lint() if finding.severity != "note"] == []


def settings_of(lines: list[str]) -> Iterator[list[int]]:
    """List what can be switched on: single lines, and tables as a whole; by the numbers of their lines."""
    off = [number for number, line in enumerate(lines) if re.match(r"#\S", line)]
    for _, numbers in itertools.groupby(off, lambda number: number - off.index(number)):
        block = list(numbers)
        if lines[block[0]].startswith("#["):
            yield block
        else:
            yield from ([number] for number in block)


@pytest.mark.parametrize("extends", [None, "default"])
def test_each_setting_of_a_starter_can_be_switched_on_alone(tmp_path: Path, extends: str | None) -> None:
    """The others stay as they are."""
    lines = starter("acme", extends).splitlines()
    several = list(settings_of(lines))
    assert len(several) == 11
    for numbers in several:
        alone = [line[1:] if number in numbers else line for number, line in enumerate(lines)]
        (tmp_path / "acme.toml").write_text("\n".join(alone), encoding="utf-8")
        assert load_policy(tmp_path / "acme.toml").api == "acme"


# -------------------------------------------------------------------------------------------------------------- the TOML

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | st.text(
    "ab \t\n\\\"'#=[]", max_size=300
)
values = st.recursive(
    texts | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(given=st.dictionaries(texts, values, max_size=4))
@example(given={"a": f" {'x' * 200}"})
@example(given={"a": f"{'x' * 60}  {'y' * 60}  {'z' * 60}"})
@example(given={"a": f"{'x' * 200} "})
def test_what_is_written_is_read_back(given: dict[str, Any]) -> None:
    """Whatever the texts are made of, on one line or on several."""
    assert tomllib.loads("\n".join(table("x", given)))["x"] == given


@settings(deadline=None)
@given(words=texts)
def test_a_comment_holds_nothing_that_is_no_comment(words: str) -> None:
    """Its lines begin with a hash, and say what there was to say."""
    lines = list(comment(words, "- "))

    assert all(line.startswith("# ") for line in lines)
    assert tomllib.loads("\n".join(lines)) == {}


def test_what_toml_cannot_hold_is_left_out() -> None:
    """A null, in tables and in lists; half of a surrogate pair is replaced."""
    given = {"a": None, "b": [1, None], "c": {"d": None}, "e": "\ud800"}

    assert tomllib.loads("\n".join(table("x", given)))["x"] == {"b": [1], "c": {}, "e": "\ufffd"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("plain", '"plain"'),
        ('"\\\n\x1b\u202e', '"\\"\\\\\\n\\u001B\\u202E"'),
        (1.5, "1.5"),
        (float("inf"), "inf"),
        (True, "true"),
        ({"a b": [1, "x"]}, '{ "a b" = [1, "x"] }'),
        ({}, "{}"),
    ],
)
def test_a_value_is_written_as_a_person_would(given: Any, expected: str) -> None:
    """Without more escapes than it takes."""
    assert expected == value(given)


def test_a_key_has_quotes_where_it_needs_them() -> None:
    """And a dot in it is a part of it."""
    assert (key("a-b_1"), key("a.b"), key("")) == ("a-b_1", '"a.b"', '""')


def test_what_is_too_long_for_a_line_goes_over_several() -> None:
    """Tables by dotted keys, lists by element, texts by folding."""
    words = "word " * 40

    assert list(entry(("a",), {"b": words, "c": 1}))[-1] == "a.c = 1"
    assert list(entry(("a",), [words[:100], 2]))[-2:] == ["    2,", "]"]
    assert len(list(entry(("a",), words))) == 3
