"""The command line: how it helps, what it refuses, what it says without its extra. For `demo` see test_demo."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from resilient_client import __version__
from resilient_client._commands.demo import APIS
from resilient_client.cli import main
from resilient_client.loading import folder
from resilient_client.sandbox import sandbox_names

if TYPE_CHECKING:
    from pathlib import Path


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python as somebody at a shell would."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=os.environ | {"PYTHONUTF8": "1"} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"], ["schema", "--help"]])
def test_help_is_given(arguments: list[str]) -> None:
    """Each command says what it is for, and exits with 0."""
    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_demo_knows_every_api_that_has_a_sandbox() -> None:
    """The command lists their names itself, so that --help need not load them."""
    assert sandbox_names() == APIS


def test_version_is_the_packages_own() -> None:
    """--version names the command and the version."""
    assert f"resilient-client, version {__version__}\n" == CliRunner().invoke(main, ["--version"]).stdout


@pytest.mark.parametrize(
    "arguments",
    [["dmeo"], ["demo", "--speed", "0"], ["demo", "--speed", "1000"], ["demo", "--api", "default"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    """A command that does not exist, a speed at which time would stand still or fly, an API without scenes."""
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_schema_is_the_one_beside_the_policies() -> None:
    """`schema` prints what is committed as policies/policy.schema.json, byte by byte."""
    done = CliRunner().invoke(main, ["schema"])

    assert done.exit_code == 0
    assert (folder() / "policy.schema.json").read_text(encoding="utf-8") == done.stdout


@pytest.mark.parametrize("missing", ["click", "rich"])
@pytest.mark.parametrize(
    "way",
    [
        ["-m", "resilient_client"],
        ["-c", "import sys; from resilient_client.cli import main; sys.exit(main())"],
    ],
)
def test_without_its_extra_it_says_how_to_get_it(missing: str, way: list[str], tmp_path: Path) -> None:
    """Where click or rich is not installed, one line says what to install; no traceback, exit status 2."""
    (tmp_path / f"{missing}.py").write_text("raise ImportError('not installed')\n", encoding="utf-8")

    done = python(*way, PYTHONPATH=str(tmp_path))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "resilient-client needs click and rich: pip install 'resilient-client[cli]'\n"
