"""Putting it on paper: one row per call while it goes on, a summary at the end. No I/O but the console's.

Rows come in the order of the script, each scene when its last call has ended: the same in a terminal, where `live`
draws its bars below them, as in a file. No line is longer than the console is wide.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from rich.text import Text

from resilient_client import ApiError, load_policy

from .live import Board, live
from .words import ended, met, renewed, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from .audit import Account, Audit
    from .play import Played, Stage
    from .script import Scene, Vendor

__all__ = ["Paper", "summary"]

WIDEST, NARROWEST = 110, 50  # columns; longer lines are hard to read, shorter ones have no room for a row
NAME = 17  # columns for a call's name

# Errors that an end user can do something about, or has to be told of; all others are the caller's to mend.
FOR_USERS = frozenset({"business", "upstream", "rate_limit", "maintenance", "server"})


class Paper:
    """A console, and what has been written on it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = max(NARROWEST, min(console.width, WIDEST))
        self._plain = not console.encoding.startswith("utf")  # then nothing but ASCII
        self._waiting: list[Scene] = []
        self._ended: dict[Scene, list[Played]] = {}
        self._advised: set[tuple[str, str]] = (
            set()
        )  # errors, by API and name, that need no second explanation
        self._headed: Vendor | None = None  # whose name stands above the newest scene
        self._board: Board | None = None

    def begin(self, stage: Stage) -> AbstractContextManager[object]:
        """Write the heading; the context that is given shows progress, where somebody is looking."""
        calls = sum(len(tuple(scene.calls())) for scene in stage.scenes)
        titles = [load_policy(vendor.name).title for vendor in stage.vendors()]
        what = f"sandboxes of {len(titles)} APIs" if len(titles) > 1 else f"a sandbox of the {titles[0]}"
        self._waiting = list(stage.scenes)
        heading = Text.assemble(
            (f"{calls} calls to {what} on 127.0.0.1", "bold"),
            ", failing as the documents say, and as lines do",
            "" if stage.clock.speed == 1 else f"; time runs {stage.clock.speed:g} times faster",
            ".",
        )
        legend = (
            "Rows: call, attempts, then status/code of each attempt → what was waited and renewed → the next."
        )
        self._print(*self._wrapped(heading), *self._wrapped(Text(legend, "dim")))
        if not self._console.is_interactive:
            return nullcontext()
        self._board = Board(stage, plain=self._plain)
        return live(self._board, self._console)

    def note(self, played: Played) -> None:
        """Take in a call that has ended, and write each scene whose turn has come."""
        self._ended.setdefault(played.scene, []).append(played)
        if self._board is not None:
            self._board.note(played)
        while self._waiting and self._is_over(self._waiting[0]):
            self._print(*self._scene(self._waiting.pop(0)))

    def end(self, books: Audit, *, seconds: float) -> None:
        """Write the summary; `seconds` are real ones."""
        said = [Text.assemble(("problem: ", "bold red"), problem) for problem in books.problems]
        said += [_account(account) for account in books.accounts]
        if books.ok:
            said.append(
                Text(
                    "On the wire: no nonce twice, one key per call, the same bytes on every attempt "
                    "(an override apart), nothing sent sooner than asked."
                )
            )
        said.append(
            Text(f"{books.slept:.1f} s of waiting, by many at once, in {seconds:.1f} s of your time.")
        )
        said.append(Text(summary(books), "bold green" if books.ok else "bold red"))
        self._print(Text(), *(line for text in said for line in self._wrapped(text)))

    def _is_over(self, scene: Scene) -> bool:
        return len(self._ended.get(scene, ())) == len(tuple(scene.calls()))

    def _scene(self, scene: Scene) -> Iterator[Text]:
        order = [call.name for call in scene.calls()]
        vendor = scene.site.vendor
        if vendor is not self._headed:
            self._headed = vendor
            title = load_policy(vendor.name).title
            yield Text()
            yield from self._wrapped(Text(f"=== {title}" if self._plain else f"━━━ {title}", "bold magenta"))
        yield Text()
        yield from self._wrapped(Text(scene.title, "bold cyan"))
        yield from self._wrapped(Text(scene.about, "dim"))
        for played in sorted(self._ended[scene], key=lambda played: order.index(played.call.name)):
            yield from self._row(played)

    def _row(self, played: Played) -> Iterator[Text]:
        right, attempts = played.result == played.call.ends, len(played.seen)
        mark = ("ok" if right else "XX") if self._plain else ("✓" if right else "✗")
        head = Text.assemble(
            (f"{mark:<2} ", "green" if right else "bold red"),
            f"{played.call.name:<{NAME}} ",
            (f"{attempts:>2} ", "bold" if attempts > 1 else "dim"),
        )
        for line in _packed(_way(played), self._width - len(head)):
            yield head + line
            head = Text(" " * len(head))
        error = played.error
        if isinstance(error, ApiError) and (error.api, error.name) not in self._advised:
            self._advised.add((error.api, error.name))
            for line in Text(_advice(error), "dim italic").wrap(self._console, self._width - len(head)):
                yield head + line

    def _wrapped(self, text: Text) -> Iterator[Text]:
        yield from text.wrap(self._console, self._width)

    def _print(self, *lines: Text) -> None:
        """Write lines that belong together, at once: the bar below is drawn anew after each writing."""
        for line in lines:
            line.rstrip()
            if self._plain:
                line.plain = line.plain.replace("→", ">")
        self._console.print(Text("\n").join(lines), soft_wrap=True)


def summary(books: Audit) -> str:
    """Say it all in one line."""
    count = books.count
    return (
        f"{count.calls} calls, {count.attempts} attempts; {count.asked} creates asked for, {count.made} made, "
        f"{count.duplicates} duplicates, {count.lost} lost"
    )


def _account(account: Account) -> Text:
    """Say what one API's documented errors were, of those that were met."""
    codes = ", ".join(str(code) for code in account.codes)
    reserved = ", ".join(str(code) for code in sorted(account.vendor.reserved, key=str))
    return Text.assemble(
        (f"{load_policy(account.vendor.name).title}: ", "bold"),
        f"codes met: {codes}",
        f"; {reserved} is reserved, and never sent" if reserved else "",
        ".",
    )


def _way(played: Played) -> Iterator[Text]:
    """Tell what a call went through, in pieces that are not to be broken."""
    outcome, last = played.outcome, "bold red" if played.result != played.call.ends else ""
    if outcome is None:
        yield from _untold(played, last)
        return
    for attempt in outcome.attempts[:-1]:
        waited = span(attempt.wait) if attempt.wait else "at once"
        yield Text.assemble((met(attempt), "yellow"), " →")
        yield Text(f"{', '.join([waited, *(renewed(change) for change in attempt.change)])} →", "dim")
    if played.error is None:
        yield Text(played.result, last or "green")
        return
    yield Text(f"{met(outcome.attempts[-1])}:", last or "yellow")
    yield Text(ended(outcome))


def _untold(played: Played, style: str) -> Iterator[Text]:
    """Tell it by what the server has seen, where the client tells no more than its exception."""
    said = " ".join(str(seen.status) for seen in played.seen if seen.status is not None)
    if played.error is None:
        yield Text(said, style or "green")
    elif isinstance(played.error, ApiError):
        yield Text(f"{said} {played.result}", style or "yellow")
    else:
        yield Text(f"{said} that did not come whole:" if said else "no reply:")
        yield Text(played.result, style or "yellow")


def _advice(error: ApiError) -> str:
    """Say what to do about an error: to its user, or in a sentence to its caller."""
    if error.category in FOR_USERS:
        return f"To the user: {error.user_message}"
    first, _, rest = error.remedy.partition(". ")
    retried = any(rule.name == error.name and rule.retry is not None for rule in load_policy(error.api).rules)
    if retried and rest:
        first = rest  # the first sentence of such a remedy is what the client does by itself
    return first.rstrip(".") + "."


def _packed(pieces: Iterator[Text], width: int) -> Iterator[Text]:
    """Put pieces on lines of at most `width` columns; a longer one is broken after its words."""
    line = Text()
    for piece in (part for whole in pieces for part in (whole.split(" ") if len(whole) > width else [whole])):
        if line and len(line) + 1 + len(piece) > width:
            yield line
            line = Text()
        line = line + (Text(" ") if line else Text()) + piece
    yield line
