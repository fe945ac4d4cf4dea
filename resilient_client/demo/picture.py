"""From what was played to a chart of it, and that chart into a file.

Law of this file: what can be known of the file beforehand is found out before anything is played.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resilient_client import load_policy

from .show import summary
from .timeline import Chart, Group, Row, Section, html, row, svg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from resilient_client.sandbox import Seen

    from .audit import Account, Audit
    from .play import Played, Stage
    from .script import Scene

__all__ = ["TimelineError", "chart", "check", "write"]

DRAWS = {".svg": svg, ".html": html}  # by the file's suffix


class TimelineError(Exception):
    """The timeline cannot be written, for the reason that this says in one line."""


def check(path: Path) -> None:
    """See whether a timeline can be written there, and leave everything as it is. Raises TimelineError."""
    if path.suffix.lower() not in DRAWS:
        raise TimelineError(f"a timeline is an .svg or an .html file (got {str(path)!r})")
    is_new = not path.exists()
    try:
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise TimelineError(f"cannot write {str(path)!r}: {error.strerror}") from error


def write(drawn: Chart, path: Path) -> None:
    """Draw a chart into a file that was checked. Raises TimelineError."""
    try:
        path.write_text(DRAWS[path.suffix.lower()](drawn), encoding="utf-8")
    except OSError as error:
        raise TimelineError(f"cannot write {str(path)!r}: {error.strerror}") from error


def chart(stage: Stage, played: Sequence[Played], books: Audit) -> Chart:
    """Chart all calls, in the order that they are given in, and the sign-ins of each site above its first scene."""
    return Chart(
        title="resilient-client demo: every attempt, wait and fault",
        summary=summary(books),
        sections=tuple(_section(account, stage, played) for account in books.accounts),
    )


def _section(account: Account, stage: Stage, played: Sequence[Played]) -> Section:
    count = account.count
    scenes = [scene for scene in stage.scenes if scene.site.vendor is account.vendor]
    first = {scene.site: scene for scene in reversed(scenes)}
    return Section(
        title=load_policy(account.vendor.name).title,
        note=f"{count.calls} calls, {count.attempts} attempts; {count.asked} creates asked for, {count.made} made",
        groups=tuple(
            Group(
                scene.title,
                scene.about,
                (
                    *(_sign_ins(stage, scene) if first[scene.site] is scene else ()),
                    *(_row(each, stage.began) for each in played if each.scene is scene),
                ),
            )
            for scene in scenes
        ),
    )


def _sign_ins(stage: Stage, scene: Scene) -> Iterator[Row]:
    """Show when a client has signed in, for whom ever: no call of the script's."""
    seen = stage.sign_ins(scene.site)
    if seen:
        yield row("(sign-ins)", None, seen=_since(stage.began, seen), about=str(scene.site.vendor.sign_in))


def _row(played: Played, began: float) -> Row:
    call = played.call
    return row(
        call.name,
        played.outcome,
        began=played.began - began,
        seen=_since(began, played.seen),
        about=f"{call.route}, which had to end with {call.ends}",
        right=played.result == call.ends,
    )


def _since(began: float, seen: Sequence[Seen]) -> list[Seen]:
    return [replace(each, time=each.time - began) for each in seen]
