"""What is shipped: policies, types and licence in every form of the distribution, and nothing that a plain import need not load.

Built once, without a network: `hatchling` makes the sdist from the checkout, and from the unpacked sdist the wheel, as
`python -m build` does; the wheel of an editable install is made the way pip asks for it (PEP 660).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

needs_checkout = pytest.mark.skipif(
    not (ROOT / "resilient_client").is_dir(), reason="needs a checkout: it builds what is tested here"
)

# What is asked of each form, in an interpreter that finds nothing but that form. It prints where the package is.
ASK = """
import pathlib
import resilient_client
from resilient_client import load_policy, policy_names
from resilient_client.testing import error_response

names = policy_names()
assert set(names) >= {"customer_verification", "default", "dual", "integration", "openpoly", "zerotrace"}, names
assert all(load_policy(name).rules for name in names)
assert error_response("zerotrace", "RATE_LIMIT", retry_after=7).status_code == 429
print(pathlib.Path(resilient_client.__file__).resolve().parent)
"""


def python(code: str, *, path: Path | None = None, folder: Path) -> str:
    """Run code in an interpreter that takes the package from `path`, and give the last line that it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    clean["PYTHONDONTWRITEBYTECODE"] = "1"  # what is looked at must not grow by it
    if path is not None:
        clean["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=clean,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: str = done.stdout
    return printed.rstrip().rpartition("\n")[2]


def build(what: str, source: Path, folder: Path) -> Path:
    """Have hatchling build an sdist, a wheel or an editable wheel, as a front end would, and give the file."""
    code = f"import sys; from hatchling import build; print(build.build_{what}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from the checkout and unpack it."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the sdist and unpack it."""
    return unpacked(build("wheel", sdist, tmp_path_factory.mktemp("wheel")))


def unpacked(archive: Path) -> Path:
    """Unpack a wheel into a folder beside it, which is then as good as a site-packages."""
    folder = archive.with_suffix("")
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)  # noqa: S202 - built here, a moment ago
    return folder


def inside(folder: Path) -> set[str]:
    """List a folder's files."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def source_files() -> set[str]:
    """List what the package is made of in the checkout, as it is to be found in a wheel."""
    package = {
        name
        for name in inside(ROOT / "resilient_client")
        if "__pycache__" not in name and not name.startswith("policies/")
    }
    data = {f"policies/{name}" for name in inside(ROOT / "policies")}
    return {f"resilient_client/{name}" for name in package | data}


# --------------------------------------------------------------------------------------- where policies are found


@needs_checkout
def test_policies_are_found_in_a_wheel_made_of_the_sdist(wheel: Path, tmp_path: Path) -> None:
    """The wheel that `python -m build` makes is whole, and is found by itself."""
    assert python(ASK, path=wheel, folder=tmp_path) == str((wheel / "resilient_client").resolve())


@needs_checkout
def test_a_wheel_of_the_checkout_is_the_wheel_of_the_sdist(wheel: Path, tmp_path: Path) -> None:
    """Whichever way it is built, the same files are in it: the sdist lacks nothing."""
    assert inside(unpacked(build("wheel", ROOT, tmp_path))) == inside(wheel)


@needs_checkout
def test_policies_are_found_in_the_unpacked_sdist(sdist: Path, tmp_path: Path) -> None:
    """The sdist works where it lies, as a checkout does."""
    assert python(ASK, path=sdist, folder=tmp_path) == str((sdist / "resilient_client").resolve())


@needs_checkout
def test_policies_are_found_in_the_checkout(tmp_path: Path) -> None:
    """The checkout works with nothing installed of it."""
    assert python(ASK, path=ROOT, folder=tmp_path) == str((ROOT / "resilient_client").resolve())


@needs_checkout
def test_policies_are_found_in_an_editable_install(tmp_path: Path) -> None:
    """`pip install -e .` unpacks this wheel into site-packages; its .pth leads to the checkout."""
    site = unpacked(build("editable", ROOT, tmp_path))
    assert [path.suffix for path in site.iterdir() if path.is_file()] == [".pth"]
    # A .pth is read in a folder of packages alone, which PYTHONPATH does not make of a folder.
    code = f"import site; site.addsitedir({str(site)!r})\n{ASK}"

    assert python(code, folder=tmp_path) == str((ROOT / "resilient_client").resolve())


@needs_checkout
def test_an_editable_install_sees_a_policy_that_is_edited(tmp_path: Path) -> None:
    """Policies come from the checkout, not from a copy that was made when it was installed."""
    site = unpacked(build("editable", ROOT, tmp_path))
    code = f"import site; site.addsitedir({str(site)!r})\nfrom resilient_client.loading import folder\nprint(folder().resolve())"

    assert python(code, folder=tmp_path) == str((ROOT / "policies").resolve())


# ------------------------------------------------------------------------------------------------ what is shipped


@needs_checkout
def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module, `py.typed`, every policy and the schema; no tests, no caches."""
    assert {name for name in inside(wheel) if ".dist-info/" not in name} == source_files()
    assert "resilient_client/py.typed" in inside(wheel)
    assert "resilient_client/policies/policy.schema.json" in inside(wheel)


@needs_checkout
def test_a_wheel_has_its_policies_compiled(wheel: Path, tmp_path: Path) -> None:
    """Each shipped policy has its form in the wheel, and a client that is made with it reads nothing else."""
    code = """
import sys
from resilient_client import ResilientClient, policy_names
for name in policy_names():
    ResilientClient(name).close()
print("pydantic" in sys.modules)
"""

    assert python(code, path=wheel, folder=tmp_path) == "False"


@needs_checkout
def test_the_licence_is_shipped(wheel: Path, sdist: Path) -> None:
    """The licence is in both, word for word."""
    ours = (ROOT / "LICENSE").read_text(encoding="utf-8")
    (in_wheel,) = [path for path in wheel.rglob("LICENSE") if ".dist-info" in str(path)]

    assert in_wheel.read_text(encoding="utf-8") == ours
    assert (sdist / "LICENSE").read_text(encoding="utf-8") == ours


@needs_checkout
def test_an_sdist_holds_what_is_needed_to_test_it(sdist: Path) -> None:
    """Tests, examples, documentation and `.ci/run` are in it; caches and environments are not."""
    names = inside(sdist)

    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", ".ci/run"} <= names
    for folder in ("tests", "examples", "docs", "policies"):
        ours = {
            f"{folder}/{name}"
            for name in inside(ROOT / folder)
            if "cache" not in name and ".hypothesis" not in name
        }
        assert sorted(ours - names) == []
    assert [
        name for name in names if "__pycache__" in name or name.startswith((".venv", ".git/", "dist/"))
    ] == []


@needs_checkout
def test_the_metadata_says_what_the_project_says(wheel: Path) -> None:
    """The name, the version of the code, the README and the extras are in the wheel's metadata."""
    (folder,) = wheel.glob("*.dist-info")
    metadata = message_from_string((folder / "METADATA").read_text(encoding="utf-8"))
    version = python("import resilient_client; print(resilient_client.__version__)", path=wheel, folder=wheel)

    assert (metadata["Name"], metadata["Version"]) == ("resilient-client", version)
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) >= {"all", "cli", "dev", "testing"}
    assert "resilient-client = resilient_client.cli:main" in (folder / "entry_points.txt").read_text(
        encoding="utf-8"
    )
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


# ----------------------------------------------------------------------------------------------- what an import loads

EXTRAS = ("click", "rich", "respx", "pydantic", "tenacity", "pytest", "trio")


def loaded_by(code: str, folder: Path) -> list[str]:
    """List which of the heavy packages a piece of code loads."""
    return python(
        f"import sys\n{code}\nprint(*sorted({set(EXTRAS)!r} & set(sys.modules)))", folder=folder
    ).split()


# What httpx loads itself is its own affair: its command line brings click and rich where they are installed.
_WITHOUT_CLICK = (
    "import importlib.abc\n"
    "class Refuse(importlib.abc.MetaPathFinder):\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.partition('.')[0] in ('click', 'rich'):\n"
    "            raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Refuse())\n"
)


def test_an_import_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    """The import needs httpx: no extra, and not what reads policies or counts retries."""
    of_httpx = set(loaded_by("import httpx", tmp_path))

    assert set(loaded_by("import resilient_client", tmp_path)) - of_httpx == set()
    assert loaded_by(f"{_WITHOUT_CLICK}import resilient_client", tmp_path) == []


def test_testing_loads_no_test_framework(tmp_path: Path) -> None:
    """The fakes work with any framework, so they load none."""
    assert loaded_by(f"{_WITHOUT_CLICK}import resilient_client.testing", tmp_path) == []


def test_a_client_needs_no_extra(tmp_path: Path) -> None:
    """A call that is retried loads pydantic, for the test's own errors, and nothing of the extras."""
    code = f"""{_WITHOUT_CLICK}
import httpx
from resilient_client import ResilientClient
from resilient_client.testing import VirtualClock, error_response
replies = iter([error_response("zerotrace", "UPSTREAM_ERROR"), httpx.Response(200)])
with ResilientClient("zerotrace", transport=httpx.MockTransport(lambda _: next(replies)), clock=VirtualClock()) as client:
    assert client.get("https://api.example/").is_success
"""

    assert loaded_by(code, tmp_path) == ["pydantic"]


def test_the_command_says_what_it_lacks(tmp_path: Path) -> None:
    """Without the extra `cli` the command names the mend and exits with 2, without a traceback."""
    code = f"import sys\n{_WITHOUT_CLICK}from resilient_client.cli import main\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "pip install 'resilient-client[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
