"""The documentation is run: its Python, its commands, its policies, its figures and its pictures.

Each ```python block of a page runs in order, in one namespace per page, with warnings as errors and no way to a network; a
```text block that follows one at once is what it prints ("..." stands for anything). Functions named test_* are called, with the fixtures of the kit.
A ```console block is run in its turn: the lines after each `$ ` line are what it prints ("…" stands for anything). `# name.toml` or `# name.py`
on a block's first line makes a file of it, which later commands read; a file of Python is run by them alone. A complete policy in a ```toml block is
loaded, and its examples are played.
"""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from reference import PAGE, TABLES, replaced

from resilient_client import Policy, _words, load_policy, policy_names
from resilient_client._commands import main
from resilient_client._rehearse import contradictions, rehearse
from resilient_client.outcome import Reason
from resilient_client.testing import ApiMock, VirtualClock, use_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client._words import Given

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A fenced block of a page."""

    page: Path
    kind: str
    text: str
    line: int  # of its first line, from 1
    start: int
    end: int

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """List a page's fenced blocks in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, found["kind"], found["text"], text.count("\n", 0, found.start("text")) + 1, *found.span())
        for found in _FENCE.finditer(text)
    ]


def with_the_next(found: list[Block]) -> Iterator[tuple[Block, Block | None]]:
    """Give each block with the one after it."""
    return zip(found, [*found[1:], None], strict=False)


def printed_by(block: Block, following: Block | None) -> str | None:
    """Give what the page says that a block prints: a text block with nothing but blank lines in between."""
    if following is None or following.kind != "text":
        return None
    between = block.page.read_text(encoding="utf-8")[block.end : following.start]
    return following.text if not between.strip() else None


# ------------------------------------------------------------------------------------------------------ no network


class NetworkUsedError(RuntimeError):
    """A page tried to reach another machine."""


_watching = False


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if not _watching or event not in {"socket.connect", "socket.getaddrinfo"}:
        return
    host = args[1][0] if event == "socket.connect" and isinstance(args[1], tuple) else args[0]
    if isinstance(host, str) and host not in {"127.0.0.1", "::1", "localhost"}:
        raise NetworkUsedError(f"the documentation tried to reach {host}")


@pytest.fixture(autouse=True, scope="module")
def no_network() -> Iterator[None]:
    """Let nothing on these pages leave the machine. An audit hook cannot be taken back, so it is switched."""
    global _watching  # noqa: PLW0603 - see above
    if "docs" not in _HOOKED:
        sys.addaudithook(_watch)
        _HOOKED.add("docs")
    _watching = True
    yield
    _watching = False


_HOOKED: set[str] = set()


# ------------------------------------------------------------------------------------------------------------ runs


def call(test: Callable[..., None]) -> None:
    """Call a page's test with the fixtures that it names."""
    wanted = inspect.signature(test).parameters
    mocked = ApiMock() if "api_mock" in wanted else contextlib.nullcontext()
    with use_clock(VirtualClock()) as clock, mocked as api_mock:
        fixtures = {"virtual_clock": clock, "api_mock": api_mock}
        test(**{name: fixtures[name] for name in wanted})


def agree(place: str, expected: str, actual: str) -> None:
    """Check that something prints what the page says."""
    fits = doctest.OutputChecker().check_output(expected.replace("…", "..."), actual, doctest.ELLIPSIS)
    assert fits, f"{place} prints\n{actual}not\n{expected}"


def file_of(block: Block) -> str | None:
    """Give the name of the file that a block is."""
    name = re.match(r"# (\w[\w.-]*\.(?:toml|py))\n", block.text)
    return name[1] if name and block.kind in {"toml", "python"} else None


def play(block: Block) -> None:
    """Run the commands of a block: they are this project's own, and pytest."""
    _, *steps = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert steps, f"{block.place} shows no command: a line that begins with $ and a space"
    for step in steps:
        command, _, expected = step.partition("\n")
        program, *arguments = shlex.split(command)
        assert program in PROGRAMS, f"{block.place}: {program} is not run here; show it in a ```bash block"
        agree(f"{block.place}: {command}", expected, PROGRAMS[program](arguments))


def _own(arguments: list[str]) -> str:
    """Run the project's command in this process, as on a terminal of the width that it keeps to."""
    result = CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.output


def _pytest(arguments: list[str]) -> str:
    """Run pytest in a process of its own, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


PROGRAMS: dict[str, Callable[[list[str]], str]] = {"resilient-client": _own, "pytest": _pytest}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it runs in order, and prints what the page says that it prints."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    for block, following in with_the_next(blocks(page)):
        if name := file_of(block):
            (tmp_path / name).write_text(block.text, encoding="utf-8")
        if block.kind == "console":
            play(block)
        if block.kind != "python" or name:
            continue
        before = set(namespace)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            # Blank lines in front, so that an error is told with the page's own line.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)  # noqa: S102 - our own text
            for name_ in [name for name in namespace if name.startswith("test_") and name not in before]:
                call(namespace[name_])
        expected = printed_by(block, following)
        if expected is not None:
            agree(block.place, expected, output.getvalue())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_of_python_is_run(page: Path) -> None:
    """A block that is a file is not run as it stands: something further down the page imports it, or runs it."""
    text = page.read_text(encoding="utf-8")
    files = [(file_of(block), block.end) for block in blocks(page) if block.kind == "python"]

    assert [name for name, end in files if name and Path(name).stem not in text[end:]] == []


def test_the_readme_is_run() -> None:
    """The pages hold what these tests look for: a fence written another way would be passed over in silence."""
    kinds = [block.kind for block in blocks(ROOT / "README.md")]

    assert {"bash", "python", "toml", "text"} <= set(kinds)
    assert kinds.count("python") == (ROOT / "README.md").read_text(encoding="utf-8").count("```python")


# -------------------------------------------------------------------------------------------------------- policies


def complete_policies() -> list[Block]:
    """List the blocks that are whole policies, but for those in which the page goes on to find a contradiction."""
    return [
        block
        for page in PAGES
        for block, following in with_the_next(blocks(page))
        if block.kind == "toml"
        and re.search(r"^api =", block.text, re.MULTILINE)
        and "[[rules]]" in block.text
        and not (following and "[contradicting-example]" in following.text)
    ]


@pytest.mark.parametrize("block", complete_policies(), ids=lambda block: block.place)
def test_a_policy_of_the_documentation_holds(block: Block, tmp_path: Path) -> None:
    """A whole policy loads, and its examples agree with its rules."""
    path = tmp_path / "documented.toml"
    path.write_text(block.text, encoding="utf-8")

    assert list(contradictions(load_policy(path))) == []


def test_the_examples_policy_holds() -> None:
    """The policy of the examples, too."""
    assert list(contradictions(load_policy(ROOT / "examples" / "acme.toml"))) == []


def test_every_fragment_of_the_format_is_valid() -> None:
    """What the format's reference shows, the format accepts: with the name, or the rule, that a fragment leaves out."""
    shown: dict[str, Any] = {}
    checked = 0
    for block in blocks(ROOT / "docs" / "policy-format.md"):
        if block.kind != "toml":
            continue
        data = tomllib.loads(block.text)
        if "after" in data:  # a part of a rule's retry
            data = {"rules": [{"name": "X", "when": {"status": 429}, "retry": data}]}
        elif isinstance(data.get("rules"), dict):  # examples of the rule that was shown last
            data = {"rules": [{**shown, **data["rules"]}], "envelope": {"code": "/error/code"}}
        policy = Policy.model_validate({"api": "acme", **data})
        assert list(contradictions(policy)) == [], block.place
        shown = data["rules"][-1] if "name = " in block.text else shown
        checked += 1
    assert checked > 8


def test_the_reference_of_the_format_is_that_of_the_models() -> None:
    """The page's list of tables and keys is what `python tests/reference.py` writes."""
    page = PAGE.read_text(encoding="utf-8")

    assert replaced(page) == page


def test_the_reference_of_the_format_leaves_no_table_out() -> None:
    """Each table of the models has its place in the reference."""
    defined = {
        kind
        for kind in vars(_words).values()
        if isinstance(kind, type) and issubclass(kind, _words.Table) and kind is not _words.Table
    }

    assert {*TABLES.values()} == {*defined, Policy}


# ---------------------------------------------------------------------------------------- figures of the README


def given(policy: str, name: str, **more: Any) -> Given:
    """Take a reply from a policy's own examples, for another method or with other headers."""
    rule = next(rule for rule in load_policy(policy).rules if rule.name == name)
    return rule.examples[0].given.model_copy(
        update={"signer": True, "method": "POST", "path": "/v1/create", **more}
    )


@pytest.mark.parametrize(
    ("policy", "name", "more", "waits", "reason"),
    [
        ("zerotrace", "RATE_LIMIT", {"headers": {"Retry-After": "7"}}, [7, 7, 7, 7], "attempts_exhausted"),
        ("zerotrace", "UPSTREAM_ERROR", {}, [1, 2, 5, 10], "attempts_exhausted"),
        ("zerotrace", "AUTH_INVALID", {}, [0], "attempts_exhausted"),
        ("zerotrace", "AUTH_INVALID", {"signer": False}, [], "cannot_change"),
        ("zerotrace", "INTERNAL", {}, [0.5], "attempts_exhausted"),
        (
            "customer_verification",
            "TOKEN_EXPIRED",
            {"signer": False, "token": "expired"},
            [0],
            "attempts_exhausted",
        ),
        ("default", "BAD_GATEWAY", {"signer": False}, [], "not_retryable"),
        ("default", "BAD_GATEWAY", {"method": "PUT"}, [0.5, 1, 2, 4], "attempts_exhausted"),
        ("default", "TOO_MANY_REQUESTS", {"headers": {"Retry-After": "301"}}, [], "wait_too_long"),
    ],
)
def test_the_readme_says_what_is_done(
    policy: str, name: str, more: dict[str, Any], waits: list[float], reason: str
) -> None:
    """The figures of the README's table are those of the policies."""
    rehearsal = rehearse(load_policy(policy).rulebook, given(policy, name, **more))

    assert rehearsal.waits == pytest.approx(waits)
    assert rehearsal.outcome.reason == reason


def test_the_readme_says_how_long_maintenance_is_waited_out() -> None:
    """MAINTENANCE goes on for 300 s, and no wait is longer than 60 s."""
    rehearsal = rehearse(load_policy("zerotrace").rulebook, given("zerotrace", "MAINTENANCE"))

    assert max(rehearsal.waits) == 60
    assert rehearsal.outcome.elapsed == pytest.approx(300)


def test_the_readme_names_every_policy_reason_and_option() -> None:
    """No shipped policy, reason or request option is left out of the README."""
    from resilient_client._flow.attempt import KNOWN_OPTIONS  # noqa: PLC0415 - pinned here, and here only

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    reasons = set(Reason.__args__)  # type: ignore[attr-defined]  # of a Literal, at run time

    assert [name for name in {*policy_names(), *reasons, *KNOWN_OPTIONS} if f"`{name}`" not in text] == []


# ------------------------------------------------------------------------------------------------- links, pictures


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the project leads to one."""
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.skipif(
    not (ROOT / "resilient_client").is_dir(), reason="needs a checkout: the picture is of the tree"
)
def test_the_picture_of_the_tree_is_true() -> None:
    """CONTRIBUTING.md names every file of the package and every folder of the project, and nothing that is not there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = re.search(r"<!-- tree -->\n```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert drawn is not None
    named = set(_paths(drawn[1]))
    package = {
        str(path.relative_to(ROOT)) + "/" * path.is_dir()
        for folder in (ROOT / "resilient_client", ROOT / "resilient_client" / "_flow")
        for path in folder.iterdir()
        if path.name != "__pycache__"
    }
    folders = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and path.name in _FOLDERS}

    assert sorted(package - named) == []
    assert sorted(folders - named) == []
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


_FOLDERS = {"policies", "resilient_client", "tests", "examples", "docs", ".ci", "benchmarks", "scripts"}


def _paths(drawing: str) -> Iterator[str]:
    """Read a drawing of folders (`name/` and deeper indented names, several to a line) back into paths."""
    way: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        names, indent = re.split(r"\s{2,}", line.strip())[0], len(line) - len(line.lstrip())
        while way and way[-1][0] >= indent:
            way.pop()
        folder = "".join(name for _, name in way)
        for name in names.split():
            yield folder + name
            if name.endswith("/"):
                way.append((indent, name))
