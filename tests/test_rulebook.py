"""Pointers, routes and codes: what a policy's words find in requests and replies."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_client._flow.rulebook import Pointer, Routes, as_code, as_text, parse, status_name

DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "m~n": 8,
    "01": "leading zero",
    "errors": [{"path": "x"}, {"code": "FIRST"}, {"code": "SECOND"}],
    "null": None,
}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", [DOCUMENT]),
        ("/foo", [["bar", "baz"]]),
        ("/foo/0", ["bar"]),
        ("/foo/2", []),
        ("/foo/-", []),
        ("/foo/00", []),
        ("/foo/01", []),
        ("/foo/²", []),
        ("/foo/99999999999999999999", []),
        ("/foo/0/deeper", []),
        ("/", [0]),
        ("/a~1b", [1]),
        ("/m~0n", [8]),
        ("/01", ["leading zero"]),
        ("/missing/way", []),
        ("/null", [None]),
        ("/errors/*/code", ["FIRST", "SECOND"]),
        ("/foo/*", ["bar", "baz"]),
        ("/errors/*/code/*", []),
    ],
)
def test_a_pointer_finds_what_rfc_6901_says_and_a_star_finds_each_element(
    pointer: str, found: list[Any]
) -> None:
    """Nothing that leads nowhere raises."""
    assert list(Pointer(pointer).find(DOCUMENT)) == found


@pytest.mark.parametrize("document", [None, 1, "text", [], True, 1.5])
def test_a_pointer_finds_nothing_in_what_is_no_object(document: Any) -> None:
    """A body may be any JSON."""
    assert list(Pointer("/error/code").find(document)) == []


@pytest.mark.parametrize(
    ("routes", "method", "path", "matches"),
    [
        (["POST /v1/create"], "POST", "/v1/create", True),
        (["POST /v1/create"], "POST", "/api/v1/create", True),
        (["POST /v1/create"], "POST", "/v1/create/", True),
        (["POST /v1/create"], "GET", "/v1/create", False),
        (["POST /v1/create"], "POST", "/v1/create/7", False),
        (["POST /v1/create"], "POST", "/xv1/create", False),
        (["POST /v1/create"], "POST", "/create", False),
        (["GET /orders/{id}"], "GET", "/v2/orders/7", True),
        (["GET /orders/{id}"], "GET", "/v2/orders", False),
        (["POST **"], "POST", "/anything/at/all", True),
        (["POST **"], "POST", "/", True),
        (["POST **"], "PUT", "/", False),
        (["* /health"], "HEAD", "/health", True),
        (["GET /indexer/**"], "GET", "/api/indexer/search/now", True),
        (["GET /indexer/**"], "GET", "/api/index", False),
        (["POST /"], "POST", "/", True),
        ([], "GET", "/", False),
    ],
)
def test_a_route_is_matched_against_the_end_of_the_path(
    routes: list[str],
    method: str,
    path: str,
    matches: bool,  # noqa: FBT001 - the table's last column
) -> None:
    """On whole segments, whatever the base path is."""
    assert Routes(routes).match(method, path) is matches


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (3, 3),
        ("X", "X"),
        ("", None),
        (True, None),
        (False, None),
        (None, None),
        (3.0, None),
        ([3], None),
        ({}, None),
    ],
)
def test_only_strings_and_integers_are_codes(value: Any, code: Any) -> None:
    """True is not 1, and a list is nothing."""
    assert as_code(value) == code
    assert type(as_code(value)) is type(code)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("", None), (["a", "b"], "a; b"), ([], None), (["a", 1], None), (5, None), ({}, None)],
)
def test_a_message_is_a_text_or_a_list_of_them(value: Any, text: str | None) -> None:
    """Anything else is not found."""
    assert as_text(value) == text


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b"1" * 5_000, b'{"a":', b"\x00", b"nul"],
    ids=["empty", "html", "bytes", "deep", "long number", "cut", "zero", "word"],
)
def test_a_body_that_is_not_json_is_none(raw: bytes) -> None:
    """However it is broken."""
    assert parse(raw) is None


def test_a_status_without_a_name_is_named_by_its_number() -> None:
    """529 is Anthropic's, and no registry's."""
    assert (status_name(404), status_name(529)) == ("NOT_FOUND", "HTTP_529")


def test_half_a_surrogate_pair_never_reaches_a_log() -> None:
    """JSON can spell it; no encoding takes it."""
    document = parse(b'{"code": "\\ud800x", "message": "a\\udfffb"}')
    assert (as_code(document["code"]), as_text(document["message"])) == ("?x", "a?b")
