"""Our clients against httpx's own: what is sent, what comes back and what anybody sees of it is the same, feature by feature.

Each word of the menus is told in a short story of its own, in a thread and in a task. How features meet is in
`test_lean_generated.py`; those who look into the client, in `test_lean_instrumented.py`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import UserDict
from typing import TYPE_CHECKING, Any

import pytest
from lean import Call, Change, Story
from lean_acts import CHANGES, HOW, THEN, taken_by
from lean_menu import CLIENT, METHODS, OPTIONS, URLS, Made
from lean_replies import REPLIES
from lean_run import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lean import Side
    from lean_run import Run


@pytest.fixture(params=["thread", "task"])
def run(request: pytest.FixtureRequest, loop: asyncio.Runner) -> Run | None:
    """Give what runs a story's tasks, and None for a thread."""
    return None if request.param == "thread" else loop.run


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Keep one event loop for all stories."""
    with asyncio.Runner() as runner:
        yield runner


def pairs(menus: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """List the words of menus."""
    return [(name, word) for name, menu in menus.items() for word in menu]


@pytest.mark.parametrize(("name", "word"), pairs(CLIENT))
def test_what_a_client_is_made_with(run: Run | None, name: str, word: str) -> None:
    """Calls of several kinds by a client with this one option, to its base and elsewhere."""
    calls = (
        Call(),
        Call("relative", "post", options={"json": "object"}),
        Call("mounted", "stream", then="read"),
    )
    for base in ("path", "query"):
        compare(
            Story((*calls, calls[1]), {"base_url": base} | {name: word}, ("cookies", "moved", "no_charset")),
            run,
        )


@pytest.mark.parametrize(("name", "word"), pairs(OPTIONS))
def test_what_a_call_is_given(run: Run | None, name: str, word: str) -> None:
    """By every way that takes it, and then a call without it: nothing of it stays."""
    hows = [how for how in ("request", "post", "get", "stream", "send", "by hand") if name in taken_by(how)]
    calls = [Call("query" if how == "by hand" else "relative", how, "POST", {name: word}) for how in hows]
    compare(Story((*calls, Call(), calls[0], Call()), {"base_url": "path"}, ("ok", "cookie", "moved")), run)


@pytest.mark.parametrize(("name", "word"), pairs(OPTIONS))
def test_what_a_call_is_given_meets_what_the_client_has(name: str, word: str) -> None:
    """Merged, or put in its place."""
    has = {"headers": "plain", "params": "plain", "cookies": "plain", "timeout": "pair"}
    call = Call("query", "request", "PUT", {name: word})
    for one, other in ((call, Call()), (Call(), call)):
        compare(Story((one, other), has))
    compare(Story((call,), has | {"auth": "pair", "follow_redirects": "true"}, ("moved", "ok")))


@pytest.mark.parametrize("word", URLS)
def test_where_a_call_goes(run: Run | None, word: str) -> None:
    """Twice to the same place, and with parameters, from every base."""
    for base in ("empty", "path", "query", "relative", "user"):
        calls = (Call(word), Call(word, "send"), Call(word, options={"params": "plain"}))
        compare(Story(calls, {"base_url": base}), run)


@pytest.mark.parametrize("word", ["liar", "unhashable", "text", "object"])
def test_one_place_is_not_taken_for_another(word: str) -> None:
    """Though it says that it equals it."""
    for other in URLS:
        compare(Story((Call(word), Call(other), Call(word))))


@pytest.mark.parametrize(
    ("name", "equal"),
    [
        ("params", ("true", "one", "real", "false", "nothing", "own_type")),
        ("timeout", ("true", "own_one", "five", "real", "zero", "null")),
        ("json", ("zero", "false", "null", "list", "empty")),
        ("headers", ("plain", "octets", "own", "pairs", "kind")),
        ("content", ("text", "octets", "array", "empty", "empty_text")),
        ("extensions", ("own", "real", "true")),
    ],
)
def test_what_equals_another_is_not_taken_for_it(name: str, equal: tuple[str, ...]) -> None:
    """1 is True, and 1.0, and yet each is told in its own way."""
    for how in ("request", "build"):
        steps = tuple(Call("plain", how, "POST", {name: word}) for word in (*equal, *reversed(equal)))
        compare(Story(steps))
        if name in CLIENT:
            changes = [
                (Change(_assigns(name, word)), Call("plain", how)) for word in (*equal, *reversed(equal))
            ]
            compare(Story(tuple(itertools.chain.from_iterable(changes))))


@pytest.mark.parametrize(
    "names",
    [
        ("headers", "extensions"),
        ("headers", "timeout"),
        ("extensions", "timeout"),
        ("json", "timeout"),
        ("cookies", "headers"),
    ],
)
def test_of_two_mistakes_the_same_one_is_told_first(names: tuple[str, str]) -> None:
    """At an address that is new, and at one that has been called."""
    bad = {
        "headers": "number",
        "extensions": "odd_key",
        "timeout": "short_pair",
        "json": "nan",
        "cookies": "number",
    }
    wrong = Call("plain", "request", "POST", {name: bad[name] for name in names})
    compare(Story((wrong, Call("plain", "request", "POST"), wrong)))


def test_what_changes_while_a_request_is_built_is_not_remembered(run: Run | None) -> None:
    """The caller's own code runs in between, as another thread's may: the next request is built of what holds by then."""

    def changing(side: Side) -> Any:
        def pairs() -> Iterator[tuple[str, str]]:
            side.client.base_url = "https://changed.test/v2"
            side.client.headers["X-Changed"] = "1"
            yield "X-One", "1"

        return pairs()

    def asking(side: Side) -> Any:
        class Asked(UserDict[str, Any]):
            def __contains__(self, key: object) -> bool:
                side.client.base_url = "https://asked.test/v3"
                side.client.headers["X-Asked"] = "1"
                return super().__contains__(key)

        return Asked(mine=1)

    for name, make in (("headers", changing), ("extensions", asking)):
        for how in ("request", "build"):
            calls = (
                Call("relative", how),
                Call("relative", how, options={name: Made(make)}),
                Call("relative", how),
            )
            compare(Story((*calls, *calls), {"base_url": "path"}), run)
            compare(Story((*calls[1:], *calls), {"base_url": "path"}), run)


def _assigns(name: str, word: str) -> Callable[[Side], None]:
    def assign(side: Side) -> None:
        setattr(side.client, name, CLIENT[name][word](side))

    return assign


def test_one_verb_is_not_taken_for_another() -> None:
    """Though it says that it equals it."""
    for one, other in itertools.product(("liar", "unhashable", "text", "GET", "get"), METHODS):
        compare(Story(tuple(Call("plain", "request", word) for word in (one, other, one))))


@pytest.mark.parametrize("word", METHODS)
def test_by_which_verb(run: Run | None, word: str) -> None:
    """Odd ones, and such as are no verbs."""
    for how in ("request", "stream", "build", "send", "by hand"):
        compare(Story((Call("plain", how, word), Call("plain", how, word, {"content": "text"}))), run)


@pytest.mark.parametrize("how", HOW)
def test_how_a_call_is_made_and_what_becomes_of_its_response(run: Run | None, how: str) -> None:
    """Every way of the one with every way of the other."""
    replies = ("ok", "ok_in_memory", "moved", "not_found_streamed", "created") if "stream" in how else ("ok",)
    for reply in replies:
        for then in THEN:
            compare(Story((Call("plain", how, then=then), Call()), {}, (reply, "ok")), run)


@pytest.mark.parametrize("reply", REPLIES)
def test_what_a_server_says(run: Run | None, reply: str) -> None:
    """Twice, to a call that reads it, and to calls that stream it."""
    compare(Story((Call(), Call(then="pickle")), {}, (reply,)), run)
    for then in ("look", "read", "text", "half", "close"):
        compare(Story((Call("plain", "stream", then=then),), {}, (reply,)), run)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("follow_redirects", "true"),
        ("auth", "digest"),
        ("event_hooks", "one_of_each"),
        ("cookies", "watched"),
        ("cookies", "old"),
        ("default_encoding", "guess"),
    ],
)
def test_what_a_server_says_to_a_client_of_some_kind(run: Run | None, name: str, word: str) -> None:
    """To one that follows, that signs, that is watched, that has cookies, that guesses."""
    for reply in REPLIES:
        call = Call(how="post", options={"content": "text"})
        compare(Story((call,), {name: word}, (reply, "cookie", "ok")), run)


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("wire", ["iterates", "meddles"])
def test_what_changes_between_two_calls(run: Run | None, wire: str, what: str) -> None:
    """The next call is the changed client's, to the letter; a transport that writes into requests leaves nothing behind."""
    get, post = Call("relative"), Call("relative", "post", options={"json": "object", "headers": "plain"})
    steps = (get, post, Change(what), get, post, Change(what), get)
    compare(Story(steps, {"base_url": "host"}, ("cookie", "moved", "ok"), wire), run)


@pytest.mark.parametrize("first", [(), (Call(),), (Call(how="build"),)])
def test_the_life_of_a_client(run: Run | None, first: tuple[Call, ...]) -> None:
    """Opened, closed, used after it was closed: the same states, the same words."""
    for what, then in itertools.product(("enter", "exit", "close"), repeat=2):
        after = (Change(what), Call(), Change(then), Call(), Call(how="send"), Call(how="stream"))
        compare(Story((*first, *after), {"mounts": "host"}), run)


@pytest.mark.parametrize("name", ["headers", "params", "cookies", "extensions", "json", "data"])
def test_what_a_call_was_given_may_be_used_on(name: str) -> None:
    """A dict that the caller fills further for each call is read anew by each; and a call leaves it as it was."""
    for word in OPTIONS[name]:
        call = Call("plain", "request", "POST", {name: word})
        journal = compare(Story((call, Change("spoil given"), call, Change("spoil given"), call)))
        assert journal


def test_nobody_listens(run: Run | None) -> None:
    """With the log switched off, all else is the same."""
    compare(Story((Call(), Call(how="post", options={"json": "object"})), logged=False), run)
