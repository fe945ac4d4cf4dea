"""The timeline: what is drawn, where it stands, and that the picture is sound, by the text that comes out."""

from __future__ import annotations

import itertools
import math
import random
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from resilient_client import ApiError, Attempt, Outcome, Verdict, outcome_of, raise_for_status
from resilient_client.demo.timeline import Chart, Group, Mark, Row, Section, Wait, html, row, svg
from resilient_client.demo.timeline.layout import FONT, MARK, WIDTH, width_of
from resilient_client.demo.timeline.palette import DARK, LIGHT, MARKS, SHAPES, SURFACES, TEXTS
from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient_client.outcome import Reason

SVG = "{http://www.w3.org/2000/svg}"
HALF = MARK / 2
ROUNDED = 0.11  # pixels: what is lost by writing tenths

HOSTILE = "</text></svg><script>alert('&amp;')</script>\x00\x1b[31m\ud800\u202e\ufffe]]>\n\"x\""


# --- outcomes to draw


def answered(status: int, name: str = "OK", *, code: int | None = None, **more: Any) -> Attempt:
    """Make an attempt that had an answer; its number comes with its outcome."""
    verdict = Verdict(name, "server", status=status, code=code, cause="The supplier is down.")
    return Attempt(number=0, status=status, error=None, verdict=verdict, **more)


def broken(**more: Any) -> Attempt:
    """Make an attempt that had none."""
    error = httpx.RemoteProtocolError("gone")
    return Attempt(number=0, status=None, error=error, verdict=Verdict("NETWORK", "network"), **more)


def outcome(*attempts: Attempt, reason: Reason = "success", maybe_applied: bool = False) -> Outcome:
    """Make an outcome of attempts."""
    numbered = tuple(replace(attempt, number=number) for number, attempt in enumerate(attempts, start=1))
    slept = sum(attempt.wait for attempt in attempts)
    return Outcome(
        attempts=numbered,
        verdict=numbered[-1].verdict,
        reason=reason,
        elapsed=slept + sum(attempt.elapsed for attempt in attempts),
        slept=slept,
        maybe_applied=maybe_applied,
    )


def chart(*rows: Row, title: str = "Title", summary: str = "Summary", about: str = "About") -> Chart:
    return Chart(title, summary, (Section("Section", "Note", (Group("Group", about, rows),)),))


def some_outcome(chance: random.Random) -> Outcome:
    """Make up a call: up to seven attempts, close together or far apart."""
    attempts = []
    for _ in range(chance.randrange(7)):
        wait = chance.choice([0.0, 0.01, 0.1, 0.3, 1.0, 2.5])
        elapsed = chance.choice([0.0, 0.005, 0.4])
        change = chance.choice([(), ("nonce",), ("refresh",), ("override", "nonce")])
        if chance.random() < 0.3:
            attempts.append(broken(wait=wait, elapsed=elapsed, change=change))
        else:
            code = chance.choice([None, 11, 4001])
            attempts.append(
                answered(503, "UPSTREAM_ERROR", code=code, wait=wait, elapsed=elapsed, change=change)
            )
    if chance.random() < 0.5:
        return outcome(*attempts, answered(200, elapsed=0.01))
    return outcome(*attempts, answered(409, "ROTATION_CONFLICT", code=14), reason="not_retryable")


# --- reading the picture


def parsed(text: str) -> ET.Element:
    """Parse what was drawn. Raises ParseError where it is not well-formed."""
    return ET.fromstring(text.encode())  # noqa: S314 - the text is this test's own


def rows_of(text: str) -> list[ET.Element]:
    return [each for each in parsed(text).iter(f"{SVG}g") if each.get("class") == "row"]


def story(element: ET.Element) -> str:
    return element.findtext(f"{SVG}title") or ""


def name_of(drawn: ET.Element) -> str | None:
    text = drawn.find(f"{SVG}text")
    return text[0].tail if text is not None else None


def marks_of(drawn: ET.Element) -> list[tuple[str, float, float]]:
    """Give kind and middle of each mark."""
    return [
        (use.get("href", "")[1:], float(use.get("x", "")), float(use.get("y", "")))
        for use in drawn.iter(f"{SVG}use")
        if use.get("href", "")[1:] in MARKS
    ]


def bars_of(drawn: ET.Element, kind: str) -> list[tuple[float, float]]:
    """Give both ends of each bar."""
    return [
        (float(bar.get("x", "")), float(bar.get("x", "")) + float(bar.get("width", "")))
        for bar in drawn.iter(f"{SVG}rect")
        if bar.get("class") == kind
    ]


def texts_of(drawn: ET.Element, *kinds: str) -> list[tuple[str, float, float, float]]:
    """Give each text with its left end, its right end at most, and its base line."""
    return [
        (
            text.text or "",
            float(text.get("x", "")),
            float(text.get("x", "")) + width_of(text.text or "", FONT),
            float(text.get("y", "")),
        )
        for text in drawn.iter(f"{SVG}text")
        if text.get("class") in kinds
    ]


def stems_of(drawn: ET.Element) -> list[tuple[float, float, float]]:
    """Give each stem's place, its top and its foot."""
    found = (re.fullmatch(r"M(\S+) (\S+)V(\S+)", path.get("d", "")) for path in drawn.iter(f"{SVG}path"))
    return [(float(match[1]), float(match[2]), float(match[3])) for match in found if match is not None]


# --- what is drawn


def test_every_call_is_a_row() -> None:
    """As many rows as calls, in their order, each with its name and with a mark for every attempt."""
    failed = answered(503, "UPSTREAM_ERROR", code=11, wait=1.2, change=("nonce",))
    drawn = rows_of(
        svg(
            chart(row("first", outcome(answered(200))), row("second", outcome(failed, failed, answered(200))))
        )
    )

    assert [name_of(each) for each in drawn] == ["first", "second"]
    assert [len(marks_of(each)) for each in drawn] == [1, 3]


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        (outcome(answered(200)), ["success"]),
        (outcome(answered(503, "UPSTREAM_ERROR", wait=1.0), answered(200)), ["retried", "success"]),
        (outcome(broken(wait=1.0), answered(200)), ["network", "success"]),
        (outcome(answered(404, "NOT_FOUND"), reason="not_retryable"), ["refused"]),
        (outcome(broken(), reason="not_retryable"), ["network"]),
    ],
)
def test_a_mark_says_what_was_met(told: Outcome, kinds: list[str]) -> None:
    """Success, an error that is sent again, a final one, a network fault: each has a sign of its own."""
    assert kinds == [kind for kind, _, _ in marks_of(rows_of(svg(chart(row("call", told))))[0])]


def test_every_attempt_has_its_status_and_code_beside_it() -> None:
    """Nothing is left out where attempts are close together: labels go up, and none is dropped."""
    failed = answered(503, "UPSTREAM_ERROR", code=11, wait=0.01)
    drawn = rows_of(svg(chart(row("call", outcome(*[failed] * 5, answered(200))))))[0]

    assert [text.partition("/")[0] for text, *_ in texts_of(drawn, "met")] == ["503"] * 5 + ["200"]


def test_a_wait_is_labelled_where_there_is_room() -> None:
    """A long wait has its length above it; a short one tells it to who points at it."""
    failed = answered(503, "UPSTREAM_ERROR", code=11)
    told = outcome(replace(failed, wait=4.06), replace(failed, wait=0.02), answered(200))
    drawn = rows_of(svg(chart(row("call", told))))[0]

    assert [text for text, *_ in texts_of(drawn, "len")] == ["4.1 s"]
    assert "Waited 0.02 s after attempt 2." in [line for each in drawn for line in story(each).splitlines()]


def test_what_was_renewed_is_marked_on_the_attempt_that_it_was_renewed_for() -> None:
    """A nonce, a token, an override: a sign of its own below the mark, explained in the legend if it occurs."""
    told = outcome(
        answered(401, "AUTH_INVALID", change=("nonce",)),
        answered(401, "TOKEN_EXPIRED", change=("refresh",)),
        answered(409, "Conflict", change=("override",)),
        answered(201),
    )
    text = svg(chart(row("call", told)))
    drawn = rows_of(text)[0]
    signs = [use.get("href") for use in drawn.iter(f"{SVG}use") if use.get("href", "")[1:] not in MARKS]
    legend = [each.text for each in parsed(text).iter(f"{SVG}text") if each.get("class") == "key"]

    assert signs == ["#nonce", "#refresh", "#override"]
    assert legend[-3:] == ["new nonce", "new token", "overriding"]
    assert "new nonce" not in svg(chart(row("call", outcome(answered(200)))))


def test_everything_tells_its_story_to_who_points_at_it() -> None:
    """Marks and waits have a <title>: what was met and why, what was asked for and renewed, how the call ended."""
    throttled = answered(429, "RATE_LIMIT", code=5, wait=2.5, change=("nonce",))
    throttled = replace(throttled, verdict=replace(throttled.verdict, retry_after=2.0))
    told = outcome(throttled, answered(400, "LIMIT_MIN", code=7, elapsed=0.02), reason="not_retryable")
    drawn = rows_of(svg(chart(row("call", told, about="POST /v1/create", began=1.0))))[0]
    call, wait, first, second = (story(each) for each in drawn if story(each))

    assert call.splitlines() == [
        "call.",
        "POST /v1/create.",
        "2 attempts in 2.5 s, 2.5 s of it waiting; it ended with not_retryable.",
    ]
    assert wait.splitlines() == [
        "Waited 2.50 s after attempt 1.",
        "The server had asked for 2.0 s.",
        "New nonce.",
    ]
    assert first.splitlines() == [
        "Attempt 1 of 2, 0.00 s after the call began.",
        "429/5 RATE_LIMIT.",
        "The supplier is down.",
    ]
    assert second.splitlines() == [
        "Attempt 2 of 2, 2.50 s after the call began, new nonce.",
        "400/7 LIMIT_MIN.",
        "The supplier is down. Not sent again.",
    ]


def test_a_call_that_ended_wrongly_stands_out() -> None:
    """Where a call did not end as it had to, its name has a sign and a colour."""
    name = rows_of(svg(chart(row("call", outcome(answered(200)), right=False))))[0].find(f"{SVG}text")

    assert name is not None
    assert (name.get("class"), name[0].tail) == ("name wrong", "✗ call")


def test_an_end_says_why_where_there_is_room() -> None:
    """The last mark's label has the error's name and how the call came to its end."""
    told = outcome(answered(503, "UPSTREAM_ERROR", code=11), reason="deadline")
    lost = outcome(broken(), reason="not_retryable", maybe_applied=True)
    drawn = rows_of(svg(chart(row("a", told), row("b", lost))))

    assert [texts_of(each, "met")[0][0] for each in drawn] == [
        "503/11 UPSTREAM_ERROR: gave up, the deadline is too near",
        "RemoteProtocolError: not sent again, for it may have been done",
    ]


# --- from a sandbox


def played(name: str, clock: VirtualClock, *faults: str | None) -> tuple[Outcome, list[Any], float]:
    """Make a call to a sandbox in memory; give its outcome, what the server has seen, and when it began."""
    route = "GET /v1/codes"
    api = Sandbox("zerotrace", clock=clock, faults=Schedule().add(route, faults))
    began = clock.monotonic()
    with api.client() as client:
        try:
            told = outcome_of(raise_for_status(client.get("/v1/codes", headers={"X-Sandbox-Call": name})))
        except (ApiError, httpx.TransportError) as error:
            told = outcome_of(error)
    return told, api.state.requests, began


def test_what_the_server_has_seen_tells_times_and_faults() -> None:
    """An attempt begins when it came in, a fault is named as it was injected, and its story says what that is."""
    clock = VirtualClock()
    told, requests, began = played("call", clock, "lose", "UPSTREAM_ERROR", None)
    # As on a busy machine: each comes in a little later than it could have.
    seen = [replace(each, time=each.time + number / 8) for number, each in enumerate(requests)]
    drawn = row("call", told, seen=seen, began=began)

    assert [mark.begins for mark in drawn.marks] == [each.time for each in seen]
    assert [mark.labels[-1] for mark in drawn.marks] == ["reply lost", "503", "200"]
    assert "Injected by the sandbox: lose (the work is done" in drawn.marks[0].story
    assert [wait.length for wait in drawn.waits] == clock.sleeps


def test_without_the_servers_word_attempts_and_waits_follow_each_other() -> None:
    """An outcome alone is enough: what comes after begins where what comes before has ended."""
    told = outcome(
        answered(503, wait=2.0, elapsed=0.5), broken(wait=1.0, elapsed=0.25), answered(200, elapsed=0.125)
    )
    drawn = row("call", told, began=10.0)

    assert [(mark.begins, mark.ends) for mark in drawn.marks] == [
        (10.0, 10.5),
        (12.5, 12.75),
        (13.75, 13.875),
    ]
    assert [(wait.begins, wait.length) for wait in drawn.waits] == [(10.5, 2.0), (12.75, 1.0)]
    assert drawn.marks[1].labels == ("RemoteProtocolError", "no reply")


def test_without_an_outcome_there_is_what_the_server_has_seen() -> None:
    """A client that tells nothing of its attempts is drawn by the server's ledger."""
    _, seen, _ = played("call", VirtualClock(), "NOT_FOUND")
    lost = replace(seen[0], status=None, code=None, fault="lose", time=seen[0].time + 1)
    drawn = row("call", None, seen=[*seen, lost, replace(lost, status=200, code=0, fault=None)])

    assert [(mark.kind, mark.labels) for mark in drawn.marks] == [
        ("refused", ("404/6",)),
        ("network", ("reply lost",)),
        ("success", ("200",)),
    ]


# --- where it stands


def test_bars_are_as_long_as_their_seconds() -> None:
    """A pixel is worth the same time everywhere, and a bar begins where its time does."""
    first = row("a", outcome(answered(503, wait=4.0, elapsed=1.0), answered(200, elapsed=2.0)), began=0.5)
    second = row("b", outcome(broken(wait=0.25, elapsed=0.75), answered(200)), began=7.0)
    drawn = rows_of(svg(chart(first, second)))
    (long,), (short,) = (bars_of(each, "wait") for each in drawn)
    per_second = (long[1] - long[0]) / 4.0

    assert short[1] - short[0] == pytest.approx(0.25 * per_second, abs=ROUNDED)
    assert short[0] - long[0] == pytest.approx((7.75 - 1.5) * per_second, abs=ROUNDED)
    (retried,), (success,) = bars_of(drawn[0], "retried"), bars_of(drawn[0], "success")
    assert retried[1] - retried[0] == pytest.approx(per_second, abs=ROUNDED)
    assert success[1] - success[0] == pytest.approx(2 * per_second, abs=ROUNDED)
    assert [x for _, x, _ in marks_of(drawn[0])] == pytest.approx([long[0], success[1]], abs=ROUNDED)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_on_a_row_covers_anything_else(seed: int) -> None:
    """Marks, labels and stems keep clear of each other, and of the picture's edge, however close the attempts are."""
    chance = random.Random(seed)  # noqa: S311 - for layouts, not for secrets
    calls = [row(f"call-{number}", some_outcome(chance), began=chance.random()) for number in range(30)]
    for drawn in rows_of(svg(chart(*calls))):
        marks, texts = marks_of(drawn), texts_of(drawn, "met", "len")
        places = [x for _, x, _ in marks]
        track = marks[0][2]

        assert all(after - before >= MARK for before, after in itertools.pairwise(places))
        assert places[-1] + HALF <= WIDTH
        for (_, begin, end, line), (_, other_begin, other_end, other_line) in itertools.combinations(
            texts, 2
        ):
            assert line != other_line or end <= other_begin or other_end <= begin
        for _, begin, end, line in texts:
            assert end <= WIDTH - 20
            beside = line > track
            assert not beside or begin >= places[-1] + HALF
            assert beside or line <= track - HALF
        for x, top, foot in stems_of(drawn):
            assert foot == pytest.approx(track - HALF, abs=ROUNDED)
            assert not any(begin < x < end and top < line - FONT / 2 < foot for _, begin, end, line in texts)


def test_a_mark_that_is_moved_stays_near_its_moment() -> None:
    """Only what would be covered moves, and no further than next to its neighbour."""
    told = outcome(answered(503, wait=0.01), answered(503, wait=5.0), answered(200))
    places = [x for _, x, _ in marks_of(rows_of(svg(chart(row("call", told))))[0])]
    bar = bars_of(rows_of(svg(chart(row("call", told))))[0], "wait")

    assert places[0] == pytest.approx(bar[0][0], abs=ROUNDED)
    assert places[1] - places[0] == pytest.approx(MARK + 1, abs=ROUNDED)
    assert places[2] == pytest.approx(bar[1][1], abs=ROUNDED)


def test_rows_do_not_reach_into_each_other() -> None:
    """The highest label of a row is below the lowest sign of the one before."""
    failed = answered(503, wait=0.01, change=("nonce",))
    calls = [row(str(number), outcome(*[failed] * number, answered(200))) for number in range(6)]
    drawn = rows_of(svg(chart(*calls)))
    signs = [[float(use.get("y", "")) for use in each.iter(f"{SVG}use")] for each in drawn]
    lines = [[line for *_, line in texts_of(each, "met", "len", "name")] for each in drawn]

    for above, below, words in zip(signs, signs[1:], lines[1:], strict=False):
        assert max(above) + 3 <= min([*(line - 0.75 * FONT for line in words), *(y - HALF for y in below)])


@pytest.mark.parametrize("span", [0.02, 1, 11.3, 90, 900, 86_400])
def test_the_axis_is_readable_however_long_it_is(span: float) -> None:
    """Its labels stand well apart and there are at least four; it begins at 0 and ends within the picture."""
    text = svg(chart(row("call", outcome(answered(503, wait=span), answered(200)))))
    ticks = [each for each in parsed(text).iter(f"{SVG}text") if each.get("class") == "tick m"]
    places = [float(tick.get("x", "")) for tick in ticks]

    assert ticks[0].text == "0 s"
    assert len(ticks) >= 4
    assert all(after - before >= 50 for before, after in itertools.pairwise(places))
    assert places[-1] < WIDTH - 20


def test_waits_and_marks_can_be_given_by_hand() -> None:
    """A row need not come from an outcome."""
    by_hand = Row("by hand", (Mark("success", ("200",), 0.0, 1.0, "told"),), (Wait(1.0, 2.0, "waited"),))
    drawn = rows_of(svg(chart(by_hand)))[0]

    assert [story(each) for each in drawn if story(each)] == ["waited", "told"]


# --- the picture is sound


@pytest.mark.parametrize("draw", [svg, html])
def test_it_is_well_formed_and_the_same_each_time(draw: Any) -> None:
    """XML that a parser takes, twice the same for the same chart; an empty chart as well."""
    told = chart(row("call", outcome(answered(503, wait=1), answered(200))))

    assert draw(told) == draw(told)
    for text in (draw(told), draw(Chart("", "", ()))):
        parsed(text)


@pytest.mark.parametrize("draw", [svg, html])
def test_hostile_words_stay_words(draw: Any) -> None:
    """Markup in a name is shown, what XML cannot hold is replaced, and what is too long is cut off with an ellipsis."""
    verdict = Verdict(HOSTILE, "server", status=500, cause=HOSTILE)
    attempt = Attempt(1, 500, None, verdict, wait=3.0, change=(HOSTILE,))
    calls = [
        row(HOSTILE, outcome(attempt, replace(attempt, wait=0.0), reason="not_retryable"), about=HOSTILE),
        row("長" * 5000, outcome(answered(200))),
    ]
    text = draw(chart(*calls, title=HOSTILE, summary=HOSTILE * 100, about=HOSTILE * 100))
    tree = parsed(text)

    assert not [each for each in tree.iter() if each.tag.endswith("script")]
    assert "</script>" not in text
    words = "".join(tree.itertext())
    assert "<script>alert('&amp;')</script>\ufffd\ufffd[31m\ufffd\u202e\ufffd]]>" in words
    assert len(re.findall("長+…", words)) == 1


@pytest.mark.parametrize("draw", [svg, html])
def test_it_needs_nothing_from_elsewhere(draw: Any) -> None:
    """No script, font, style sheet, image or link from outside; the one address is the name of a namespace."""
    text = draw(chart(row("call", outcome(broken(wait=1, change=("nonce",)), answered(200)))))
    links = re.findall(r'\b(?:href|src)="([^"]*)"', text)

    assert set(re.findall(r"\w+://[^\"'\s<)]*", text)) == {"http://www.w3.org/2000/svg"}
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"<script|<link|<image|<foreignObject|@import|@font-face|url\(|\bon\w+=", text)


def test_the_page_scrolls_sideways_within_its_own_box() -> None:
    """On a phone the heading fits, and only the picture is wider than the screen."""
    text = html(chart(row("call", outcome(answered(200)))))

    assert '<meta name="viewport" content="width=device-width, initial-scale=1"/>' in text
    assert re.search(r"\.box\{[^}]*overflow-x:auto", text)
    assert re.search(r"\.box svg\{[^}]*min-width:\d+px", text)
    assert parsed(text).find(".//h1").text == "Title"  # type: ignore[union-attr]  # it is there


@pytest.mark.parametrize("draw", [svg, html])
def test_it_has_the_colours_of_both_pages(draw: Any) -> None:
    """All colours are in the style sheet, those of a dark page where that is preferred, and nowhere else."""
    text = draw(chart(row("call", outcome(answered(200)))))
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    dark = "".join(re.findall(r"@media \(prefers-color-scheme:dark\)\{\n(.*?)\n\}", styles, re.DOTALL))

    assert set(DARK.values()) == set(re.findall("#[0-9a-f]{6}", dark))
    assert set(LIGHT.values()) <= set(re.findall("#[0-9a-f]{6}", styles.replace(dark, "")))
    assert not re.search("#[0-9a-f]{6}", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))


# --- colours


def linear(colour: str) -> list[float]:
    """Read a colour's components as amounts of light (WCAG 2.2, relative luminance)."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def contrast(one: str, other: str) -> float:
    """Tell the contrast ratio of two colours (WCAG 2.2)."""
    dark, light = sorted(dot([(0.2126, 0.7152, 0.0722)], linear(colour))[0] for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


# Machado, Oliveira, Fernandes 2009: what is seen with no red, no green, no blue cones, and with all.
VISIONS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
    "all cones": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}
# From linear sRGB to CIE XYZ, each divided by the white's (D65).
TO_XYZ = (
    (0.4124 / 0.95047, 0.3576 / 0.95047, 0.1805 / 0.95047),
    (0.2126, 0.7152, 0.0722),
    (0.0193 / 1.08883, 0.1192 / 1.08883, 0.9505 / 1.08883),
)


def dot(rows: Sequence[Sequence[float]], column: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, column, strict=True)) for row in rows]


def as_seen(colour: str, vision: str) -> tuple[float, float, float]:
    """Give a colour as CIE L*a*b*, as it is seen."""
    light = [min(1.0, max(0.0, share)) for share in dot(VISIONS[vision], linear(colour))]
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in dot(TO_XYZ, light))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def pairs() -> Iterator[tuple[str, str]]:
    for palette in (LIGHT, DARK):
        yield from itertools.combinations([palette[kind] for kind in MARKS], 2)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_shapes_stand_out_from_what_is_behind_them(palette: dict[str, str]) -> None:
    """Text has a contrast of 4.5 at least, shapes one of 3 (WCAG 2.2 AA), on the page and on its cards."""
    for surface in SURFACES:
        for name in TEXTS:
            assert contrast(palette[name], palette[surface]) >= 4.5, (name, surface)
        for name in SHAPES:
            assert contrast(palette[name], palette[surface]) >= 3, (name, surface)


@pytest.mark.parametrize("vision", VISIONS)
def test_marks_can_be_told_apart_with_any_colour_vision(vision: str) -> None:
    """The colours of two marks are 20 or more apart in CIE L*a*b*, where 2.3 is just noticeable."""
    for one, other in pairs():
        assert math.dist(as_seen(one, vision), as_seen(other, vision)) >= 20, (one, other)


def test_marks_differ_by_shape_as_well() -> None:
    """Colour is not the only sign: no two kinds have the same outline, nor the same figure inside."""
    drawn = svg(chart(row("call", outcome(answered(200)))))
    shapes = {name: shape for name, shape in re.findall(r'<g id="(\w+)">(.*?)</g>', drawn) if name in MARKS}
    plain = [re.sub(r' class="\w+"', "", shape) for shape in shapes.values()]

    assert len(set(plain)) == len(MARKS)
    assert len({shape.split("/>")[1] for shape in plain}) == len(MARKS)
