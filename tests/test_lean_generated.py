"""Our clients against httpx's own, over stories that nobody wrote: any client, any calls, any changes, any answers.

The words are those of `lean_menu.py`, `lean_acts.py` and `lean_replies.py`; texts, octets and numbers are drawn as well.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lean import Call, Change, Story
from lean_acts import CHANGES, HOW, THEN, taken_by
from lean_menu import CLIENT, METHODS, OPTIONS, URLS, Drawn
from lean_replies import REPLIES
from lean_run import compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

repeatable = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Keep one event loop for all stories."""
    with asyncio.Runner() as runner:
        yield runner


# ------------------------------------------------------------------------------------------------------- what is drawn

TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
NAME = st.text("abcdefXYZ-", min_size=1, max_size=6)
KNOWN = st.sampled_from(
    ["Host", "accept", "User-agent", "COOKIE", "Content-Type", "Content-Length", "Connection", "X-A", "x-a"]
)
VALUE = st.one_of(ASCII, TEXT, st.binary(max_size=8))
HEADERS = st.one_of(
    st.dictionaries(st.one_of(NAME, KNOWN), ASCII, max_size=4),
    st.lists(st.tuples(st.one_of(NAME, KNOWN), VALUE), max_size=4),
    st.lists(st.tuples(st.one_of(NAME, KNOWN).map(str.encode), st.binary(max_size=8)), max_size=4),
)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False), TEXT)
PARAMS = st.one_of(
    st.dictionaries(TEXT, st.one_of(SCALAR, st.lists(SCALAR, max_size=3)), max_size=3),
    st.lists(st.tuples(TEXT, SCALAR), max_size=3),
    TEXT,
)
JSON = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
SECONDS = st.one_of(st.none(), st.integers(0, 9), st.floats(0, 9))
TIMEOUT = st.one_of(SECONDS, st.tuples(SECONDS, SECONDS, SECONDS, SECONDS))
PRINTED = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=8)
PATH = st.lists(st.one_of(ASCII, PRINTED, st.sampled_from(["..", ".", "", "a b", "%2F"])), max_size=3).map(
    "/".join
)
HOST = st.sampled_from(
    [
        "api.test",
        "API.test",
        "user:p@api.test",
        "api.test:443",
        "api.test:81",
        "[::1]",
        "mounted.test",
        "bücher.example",
        "",
    ]
)
URL = st.one_of(
    st.builds("{}://{}/{}".format, st.sampled_from(["https", "http", "HTTPS"]), HOST, PATH),
    st.builds("{}?{}#{}".format, PATH, PRINTED, PRINTED),
    PATH,
)
METHOD = st.one_of(st.sampled_from(["get", "Post", "PURGE"]), NAME)

_DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "headers": HEADERS,
    "params": PARAMS,
    "json": JSON,
    "data": st.dictionaries(TEXT, st.one_of(SCALAR, st.lists(SCALAR, max_size=2)), max_size=3),
    "content": st.one_of(TEXT, st.binary(max_size=12)),
    "cookies": st.dictionaries(NAME, ASCII, max_size=2),
    "timeout": TIMEOUT,
    "extensions": st.dictionaries(NAME, SCALAR, max_size=2),
    "base_url": URL,
    "max_redirects": st.integers(0, 3),
}


def mostly(common: Iterable[str], others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw one of the common ones, or, once in four times, of the others."""
    word = st.sampled_from(list(common))
    return st.one_of(word, word, word, others)


def words(name: str, menu: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Draw a word of a menu, or a value where there is a way to; a mistake now and then."""
    right = [word for word in menu if not word.startswith("bad")]
    any_word = st.sampled_from(list(menu))
    return mostly(right, st.one_of(any_word, _DRAWN[name].map(Drawn)) if name in _DRAWN else any_word)


# What leaves a client to the short way, if there is one: most stories are to take it, up to where something keeps them from it.
_BASE = st.one_of(
    st.sampled_from(["host", "path", "slash", "query", "port", "http", "object"]),
    words("base_url", CLIENT["base_url"]),
)
_COMMON = ("headers", "params", "timeout", "default_encoding", "cookies", "mounts")


def clients(names: Iterable[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw what a client is made with: a base, and up to three more."""
    return st.lists(st.sampled_from(sorted(names)), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {"base_url": _BASE} | {name: words(name, CLIENT[name]) for name in chosen}
        )
    )


_NEAR = ["plain", "relative", "relative", "rooted", "query"]
_FAILING = {
    "refused",
    "timed_out",
    "unsupported",
    "invalid_url",
    "consumed",
    "decoding",
    "odd_error",
    "interrupted",
    "badly_zipped",
}
_PLAIN_CHANGES = [
    name
    for name in CHANGES
    if name.split()[0] in {"headers", "base_url", "params", "timeout", "encoding", "spoil"}
]


@st.composite
def calls(draw: Any) -> Call:
    """Draw a call that its method takes."""
    how = draw(mostly([how for how in HOW if how != "nonsense"], st.sampled_from(list(HOW))))
    near = ["plain", "query"] if how.startswith("by hand") or how == "bare" else _NEAR
    chosen = draw(st.lists(st.sampled_from(sorted(taken_by(how))), max_size=3, unique=True))
    if draw(st.booleans()):  # a body or another, not all at once
        chosen = [name for name in chosen if name not in {"content", "data", "json", "files"}]
    return Call(
        draw(mostly(near, st.one_of(words("url", URLS), URL.map(Drawn)))),
        how,
        draw(
            mostly(
                ["GET", "GET", "POST", "PUT", "get"], st.one_of(words("method", METHODS), METHOD.map(Drawn))
            )
        )
        if how != "nonsense"
        else "GET",
        {name: draw(words(name, OPTIONS[name])) for name in chosen},
        draw(mostly(["look"], st.sampled_from(list(THEN)))),
    )


def stories(client: st.SearchStrategy[Any], changes: list[str]) -> st.SearchStrategy[Story]:
    """Draw one to four calls, what changes between them, and what the server says."""
    change = st.sampled_from(changes).map(Change)
    step = st.tuples(st.one_of(st.none(), st.none(), change), calls())
    return st.builds(
        Story,
        st.lists(step, min_size=1, max_size=4).map(
            lambda steps: tuple(one for step in steps for one in step if one is not None)
        ),
        client,
        st.lists(
            mostly([word for word in REPLIES if word not in _FAILING], st.sampled_from(list(REPLIES))),
            min_size=1,
            max_size=4,
        ).map(tuple),
        st.sampled_from(["iterates", "reads", "meddles"]),
        st.booleans(),
    )


COMMON = stories(clients(_COMMON), _PLAIN_CHANGES)
ANY = stories(clients(set(CLIENT) - {"base_url"}), list(CHANGES))


# --------------------------------------------------------------------------------------------------------- what must hold


@repeatable
@given(COMMON)
def test_a_common_client_is_httpx_in_a_thread(story: Story) -> None:
    """One that nothing keeps from the shortest way there may be."""
    compare(story)


@repeatable
@given(COMMON)
def test_a_common_client_is_httpx_in_asyncio(loop: asyncio.Runner, story: Story) -> None:
    """The same under asyncio."""
    compare(story, loop.run)


@repeatable
@given(ANY)
def test_any_client_is_httpx_in_a_thread(story: Story) -> None:
    """One with all that there is."""
    compare(story)


@repeatable
@given(ANY)
def test_any_client_is_httpx_in_asyncio(loop: asyncio.Runner, story: Story) -> None:
    """The same under asyncio."""
    compare(story, loop.run)


@settings(repeatable, max_examples=40)
@given(st.one_of(COMMON, ANY))
def test_a_client_is_httpx_in_trio(story: Story) -> None:
    """Fewer, under trio."""
    compare(story, lambda coroutine: trio.run(_awaited, coroutine))


async def _awaited(coroutine: Any) -> None:
    await coroutine
