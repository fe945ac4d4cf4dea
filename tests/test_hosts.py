"""The twins of the tests: they are on the other host with all that is theirs, and say where their lines stand."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hosts
import pytest
from twin import MODULES

if TYPE_CHECKING:
    from types import ModuleType

_OF_HTTPX = {"httpx", "httpcore"}.union(f"resilient_client.{name}" for name in MODULES)


def _home(thing: object) -> str:
    """Tell whose a thing is: the library it comes from, or the module of ours."""
    module = getattr(thing, "__module__", None) or getattr(thing, "__name__", None) or ""
    return module if module.startswith("resilient_client") else str(module).partition(".")[0]


def test_a_twin_has_nothing_of_httpx() -> None:
    """Nor has any helper that it imports: no module, no class, no function, no instance of theirs."""
    for path in hosts.ON_BOTH:
        import_module(f"{hosts.PACKAGE}.{Path(path).stem}")
    twins = {name: module for name, module in sys.modules.items() if name.startswith(f"{hosts.PACKAGE}.")}
    strays = [
        (name, key)
        for name, module in twins.items()
        for key, value in vars(module).items()
        for thing in (value, type(value))
        if _home(thing) in _OF_HTTPX
    ]

    assert len(twins) > len(hosts.ON_BOTH)
    assert strays == []


@pytest.fixture
def loaded(tmp_path: Path, pytestconfig: pytest.Config) -> Any:
    """Give the function that loads a twin of some source."""

    def load(source: str) -> ModuleType:
        path = tmp_path / "test_source.py"
        path.write_text(source, encoding="utf-8")
        spec = spec_from_file_location(
            f"{hosts.PACKAGE}.test_source", path, loader=hosts.Loader(path, pytestconfig)
        )
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_what_is_of_the_host_is_imported_from_the_other(loaded: Any) -> None:
    """The library, what is generated of ours, and helpers; what is there once stays what it is."""
    twin = loaded(
        "import httpx\n"
        "import loopback\n"
        "import resilient_client\n"
        "from resilient_client import ApiError, Policy, _httpx, hints\n"
        "from resilient_client._flow import Send\n"
        "from resilient_client.errors import CircuitOpen\n"
        "from scenario import Run as Way\n"
    )

    assert twin.httpx2.__name__ == "httpx2"
    assert twin.loopback.__name__ == "on_httpx2.loopback"
    assert twin.resilient_client.__name__ == "resilient_client.httpx2"
    assert twin.ApiError.__module__ == twin.CircuitOpen.__module__ == "resilient_client.httpx2.errors"
    assert twin._httpx2.__name__ == "resilient_client.httpx2._httpx2"
    assert twin.Policy.__module__ == "resilient_client.policy"
    assert twin.hints.__name__ == "resilient_client.hints"
    assert twin.Send.__module__ == "resilient_client._flow.steps"
    assert twin.Way.__module__ == "on_httpx2.scenario"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("httpx", "httpx2"),
        ("httpcore.connection", "httpcore2.connection"),
        ("import httpx; httpx.get", "import httpx2; httpx2.get"),
        (
            "from resilient_client import ApiError",
            "from resilient_client.httpx2 import ApiError",
        ),
        ("resilient_client._sockets", "resilient_client.httpx2._sockets"),
        ("resilient_client.testing", "resilient_client.testing"),
        ("resilient_client (zerotrace): 2 attempts", "resilient_client (zerotrace): 2 attempts"),
        ("httpx_aiohttp", "httpx_aiohttp"),
    ],
)
def test_a_text_has_the_other_names(loaded: Any, text: str, other: str) -> None:
    """It may be the name of a logger, a message, or a program."""
    twin = loaded(f"plain = {text!r}\ncurly = f'{{1}} {text}'\n")

    assert twin.plain == other
    assert twin.curly == f"1 {other}"


def test_a_failure_shows_the_line_on_disk_and_what_was_compared(loaded: Any) -> None:
    """As it does in a module that pytest loads itself."""
    twin = loaded('"""One."""\n\nimport httpx\n\n\ndef test_two():\n    assert httpx.__name__ == "three"\n')

    with pytest.raises(AssertionError, match="assert 'httpx2' == 'three'") as caught:
        twin.test_two()
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]

    assert (frame.filename, frame.lineno) == (twin.__file__, 7)
    assert frame.line == 'assert httpx.__name__ == "three"'


def test_a_module_stands_beside_those_of_its_host(loaded: Any) -> None:
    """By which the fixtures of `conftest.py` serve both."""
    assert hosts.beside(loaded("pass"), "scenario").__name__ == "on_httpx2.scenario"
    assert hosts.beside(sys.modules[__name__], "scenario").__name__ == "scenario"
