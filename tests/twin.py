"""Write `resilient_client/httpx2` anew from the modules that speak httpx: `python tests/twin.py`.

What speaks an HTTP library is written once, for httpx. Its twin is the same text with the other name in it, but for two kinds of remark:

    response.stream = Bound(…)  # httpx2: response.stream = …      this line is another one there
    if …:  # only httpx                                            this statement, as long as it is, is not there; nor is a line

Law of this file: it knows text, and runs nothing of what it writes. `tests/test_twin.py` compares what is committed with what it writes.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

__all__ = ["MODULES", "PACKAGE", "TWIN", "renamed", "rewritten", "written"]

PACKAGE = Path(__file__).parent.parent / "resilient_client"
TWIN = PACKAGE / "httpx2"

MODULES = (
    "__init__",
    "_bodies",
    "_httpx",
    "_keeping",
    "_lean",
    "_network",
    "_sockets",
    "auth",
    "client",
    "errors",
    "transport",
)
"""The modules that speak httpx, all others knowing neither library."""

_HEAD = (
    "# Written by tests/twin.py from resilient_client/{}.py: what is to be changed here is changed there.\n"
)
_ONLY = "# only httpx"
_INSTEAD = re.compile(r"^(?P<indent> *).*?  # httpx2: (?P<line>.*)$")
_LIBRARY = re.compile(r"(?<![\w/-])(_[Hh]ttpx|(?<!\.)(?:[Hh]ttpx|httpcore))\b(?!-)")
_FROM = re.compile(r"^(?P<from> *from )\.(?P<module>\w*)(?P<rest>(?:\.\w+)* import (?P<names>.*))$")
_HOME = re.compile(r'^(?P<name> *"\w+": )"\.(?P<module>\w+)",$')


def renamed(text: str) -> str:
    """Write the name of the other library, and of what is named after it, wherever a text has that of httpx or httpcore."""
    return _LIBRARY.sub(r"\g<1>2", text)


def rewritten(source: str) -> str:
    """Give the twin of a module's source."""
    lines = source.splitlines()
    for first, last in reversed(_only(source)):
        del lines[first - 1 : last]
    return renamed("".join(f"{_moved(_instead(line))}\n" for line in lines))


def _only(source: str) -> list[tuple[int, int]]:
    """Find what is httpx's alone, statements and lines within one: first and last lines, counted from 1."""
    marked = {number for number, line in enumerate(source.splitlines(), 1) if line.endswith(_ONLY)}
    found = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt) and node.lineno in marked
    ]
    alone = marked - {first for first, _ in found}
    return sorted([*found, *((number, number) for number in alone)])


def _instead(line: str) -> str:
    other = _INSTEAD.match(line)
    return line if other is None else other["indent"] + other["line"]


def _moved(line: str) -> str:
    """Fetch what has no twin from the package above."""
    found = _FROM.match(line)
    if found is not None:
        dot = "." if found["module"] else ""
        of_twin = set(re.findall(r"\w+", found["module"] or found["names"])) & set(MODULES)
        return line if of_twin else f"{found['from']}resilient_client{dot}{found['module']}{found['rest']}"
    found = _HOME.match(line)
    if found is not None and found["module"] not in MODULES:
        return f'{found["name"]}"..{found["module"]}",'
    return line


def written() -> dict[Path, str]:
    """Give the files of the twin, and what is in them."""
    return {
        TWIN / f"{renamed(name)}.py": _HEAD.format(name)
        + rewritten((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        for name in MODULES
    }


if __name__ == "__main__":
    files = written()
    TWIN.mkdir(exist_ok=True)
    for stale in set(TWIN.glob("*.py")) - files.keys():
        stale.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
