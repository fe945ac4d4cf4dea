"""Reading captured replies: HAR files, raw replies, and texts that are neither."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from resilient_client._captured import headers_of, of_har, of_raw, of_text, worded


def har(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": list(entries)}}).encode()


def entry(status: int = 429, **more: Any) -> dict[str, Any]:
    request = {"method": "get", "url": "https://api.example/v1/orders?page=2", "headers": []}
    response = {"status": status, "headers": [], "content": {"size": 0}}
    return {
        "request": request | more.get("request", {}),
        "response": response | more.get("response", {}),
    }


# ------------------------------------------------------------------------------------------------------- HAR files


def test_a_har_entry_becomes_an_example() -> None:
    """Status, headers and body of the reply; method, path and headers of the request; the query is left out."""
    (captured,) = of_har(
        har(
            entry(
                request={"headers": [{"name": "Idempotency-Key", "value": "k-1"}]},
                response={
                    "headers": [{"name": "Retry-After", "value": "7"}],
                    "content": {"text": '{"code": 5}'},
                },
            )
        )
    )

    assert captured.given == {
        "status": 429,
        "headers": {"Retry-After": "7"},
        "method": "GET",
        "path": "/v1/orders",
        "request_headers": {"Idempotency-Key": "k-1"},
        "json": {"code": 5},
    }
    assert captured.request_body is None


def test_replies_come_in_the_files_order_whatever_their_status() -> None:
    """Successes too, for there may be errors in them."""
    assert [one.given["status"] for one in of_har(har(entry(200), entry(503), entry(404)))] == [200, 503, 404]


def test_a_request_that_was_never_answered_is_passed_over() -> None:
    """Browsers write the status 0."""
    assert list(of_har(har(entry(0)))) == []


def test_a_body_in_base64_is_decoded() -> None:
    """As browsers write what they take for binary."""
    text = base64.b64encode(b'{"code": 5}').decode()
    (captured,) = of_har(har(entry(response={"content": {"text": text, "encoding": "base64"}})))

    assert captured.given["json"] == {"code": 5}


@pytest.mark.parametrize(
    "content", [{}, {"text": None}, {"text": ""}, {"text": "abcde", "encoding": "base64"}]
)
def test_a_body_that_is_not_there_is_left_out(content: dict[str, Any]) -> None:
    """Then the status and the headers tell."""
    (captured,) = of_har(har(entry(response={"content": content})))

    assert {"json", "text"}.isdisjoint(captured.given)


def test_the_document_that_was_sent_is_kept() -> None:
    """For an API that takes its idempotency key in the body."""
    (captured,) = of_har(har(entry(request={"postData": {"text": '{"idempotency_key": "k-1"}'}})))

    assert captured.request_body == {"idempotency_key": "k-1"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"log": 1}',
        b'{"log": {"entries": 7}}',
        b'{"log": {"entries": [1]}}',
        b'{"log": {"entries": [{"request": {}, "response": {"status": "many"}}]}}',
        har({"request": {"method": "GET", "url": "https://[x"}, "response": {"status": 500}}),
        har(entry(response={"content": {"text": "x"}, "headers": [{"name": "X"}]})),
        b'{"log": ' + b"[" * 100_000,
        "\u00e9".encode("latin-1"),
    ],
)
def test_what_is_no_har_file_is_told_in_one_line(raw: bytes) -> None:
    """Wherever it breaks off."""
    with pytest.raises(ValueError, match=r"^this is no HAR file: ") as told:
        list(of_har(raw))
    assert "\n" not in str(told.value)


# ----------------------------------------------------------------------------------------------------- raw replies


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_raw_reply_becomes_an_example(end: str) -> None:
    """Whichever way its lines end."""
    lines = ["HTTP/1.1 429 Too Many Requests", "Retry-After: 7", "Content-Length: 11", "", '{"code": 5}', ""]
    captured = of_raw(end.join(lines).encode(), method="POST", path="/v1/create")

    assert captured.given == {
        "status": 429,
        "headers": {"Retry-After": "7"},
        "method": "POST",
        "path": "/v1/create",
        "json": {"code": 5},
    }


@pytest.mark.parametrize(
    "first", ["HTTP/1.1 100 Continue", "HTTP/1.1 200 Connection established", "HTTP/2 301"]
)
def test_of_several_heads_the_last_is_the_reply(first: str) -> None:
    """Interim replies, a proxy's own and redirects are printed before it."""
    head = f"{first}\r\nX-First: 1\r\n\r\n"
    captured = of_raw(f"{head * 3}HTTP/2 503\r\nX-Last: 1\r\n\r\nsorry".encode())

    assert (captured.given["status"], captured.given["headers"]) == (503, {"X-Last": "1"})
    assert captured.given["text"] == "sorry"


def test_a_raw_reply_needs_no_body() -> None:
    """And no header."""
    assert of_raw(b"HTTP/1.1 503 Service Unavailable").given == {
        "status": 503,
        "headers": {},
        "method": "GET",
        "path": "/",
    }


def test_a_body_that_is_not_utf_8_is_read_all_the_same() -> None:
    """What cannot be read is replaced."""
    assert of_raw(b"HTTP/1.1 500 X\n\nna\xefve").given["text"] == "na\ufffdve"


@pytest.mark.parametrize(
    "raw",
    [b"", b"hello", b'{"code": 5}', b"HTTP/1.1 OK", b"HTTP/1.1 42", "HTTP/1.1 \u0664\u0660\u0664".encode()],
)
def test_what_does_not_begin_with_a_status_line_is_told(raw: bytes) -> None:
    """With what it does begin with."""
    with pytest.raises(
        ValueError, match=r"^a reply begins with a line such as HTTP/1\.1 429 Too Many Requests"
    ):
        of_raw(raw)


# --------------------------------------------------------------------------------------------------- either of them


def test_a_capture_that_is_json_is_a_har_file() -> None:
    """Whatever stands before its brace: a mark of the byte order, a blank line."""
    assert [one.given["status"] for one in of_text(b"\xef\xbb\xbf\n" + har(entry(404), entry(503)))] == [
        404,
        503,
    ]


def test_a_capture_that_is_not_json_is_a_raw_reply() -> None:
    """With the method and the path that it is said to have answered."""
    (captured,) = of_text(b"\nHTTP/1.1 404 Not Found\n\n", method="PUT", path="/x")

    assert (captured.given["status"], captured.given["method"], captured.given["path"]) == (404, "PUT", "/x")


# ------------------------------------------------------------------------------------------------ headers and bodies


def test_of_a_header_that_comes_twice_the_first_counts() -> None:
    """In whatever case it is written."""
    assert headers_of([("Retry-After", "7"), ("retry-after", "9")]) == {"Retry-After": "7"}


@pytest.mark.parametrize("name", ["Content-Encoding", "transfer-encoding", "CONTENT-LENGTH", ":status", " "])
def test_what_only_frames_a_body_is_left_out(name: str) -> None:
    """A captured body is decoded already; a pseudo-header of HTTP/2 is none."""
    assert headers_of([(name, "1")]) == {}


def test_what_is_not_ascii_becomes_a_question_mark() -> None:
    """It could not travel as it is."""
    assert headers_of([("X-N\u00e4me", "caf\u00e9 ")]) == {"X-N?me": "caf?"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, {}),
        ("", {}),
        ("{", {"text": "{"}),
        ("null", {"text": "null"}),
        ("[1]", {"json": [1]}),
        ("[" * 100_000, {"text": "[" * 100_000}),
    ],
)
def test_a_body_is_json_where_it_can_be_read_as_that(text: str | None, expected: dict[str, Any]) -> None:
    """And a text otherwise."""
    assert worded(text) == expected


def test_a_secret_that_the_server_says_back_is_taken_out() -> None:
    """What the request carried in its URL, its headers or its body is not in the reply that is explained."""
    entry = {
        "request": {
            "method": "POST",
            "url": "https://user:pass-word-1@api.test/y?api_key=query-key-2",
            "headers": [{"name": "Authorization", "value": "Bearer head-token-3"}],
            "postData": {"text": '{"password": "body-word-4"}'},
        },
        "response": {
            "status": 429,
            "headers": [],
            "content": {"text": '{"msg": "pass-word-1 query-key-2 head-token-3 body-word-4"}'},
        },
    }

    (captured,) = of_har(json.dumps({"log": {"entries": [entry]}}).encode())

    assert captured.given["json"] == {"msg": "*** *** *** ***"}
