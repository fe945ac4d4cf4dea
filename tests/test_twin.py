"""httpx2's package is httpx's with the other name in it, and each does without the other's library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import twin

import resilient_client
import resilient_client.httpx2 as other

PACKAGE = Path(resilient_client.__file__).parent
ROOT = Path(__file__).parent.parent

# What knows neither library when it is imported, whatever else is put on top of it.
NEUTRAL = (
    *("_flow", "_guard", "sandbox"),
    *(
        "_compile.py",
        "_core.py",
        "_deadline.py",
        "_decode.py",
        "_drive.py",
        "_http.py",
        "_libraries.py",
        "_log.py",
    ),
    *(
        "_protect.py",
        "_race.py",
        "_raised.py",
        "_ready.py",
        "_report.py",
        "_shapes.py",
        "_signing.py",
        "_token.py",
    ),
    *(
        "clock.py",
        "hints.py",
        "loading.py",
        "masking.py",
        "observers.py",
        "outcome.py",
        "policy.py",
        "protection.py",
    ),
    *("ratelimit.py", "shared.py", "telemetry.py"),
)


@pytest.mark.skipif(
    not (ROOT / "resilient_client").is_dir(), reason="the sources are not here, but installed"
)
def test_the_committed_twin_is_what_its_script_writes() -> None:
    """Neither half is changed without the other: `python tests/twin.py` writes it anew."""
    written = twin.written()

    assert {path: path.read_text(encoding="utf-8") for path in twin.TWIN.glob("*.py")} == written


def test_what_stands_in_both_libraries_is_written_with_the_other_name() -> None:
    """Words, dotted names and the names of its own modules; not what merely begins alike."""
    other = "not httpx_aiohttp, httpx-aiohttp, pytest-httpx, opentelemetry.instrumentation.httpx, HTTPX or httpxyz"
    source = f"from ._httpx import HOST\nimport httpcore\nx = httpx.Client  # httpx's own, {other}\n"

    assert twin.rewritten(source) == (
        f"from ._httpx2 import HOST\nimport httpcore2\nx = httpx2.Client  # httpx2's own, {other}\n"
    )


def test_what_has_no_twin_is_fetched_from_the_package_above() -> None:
    """A relative import stays one where its module has a twin."""
    source = "from .errors import ApiError\nfrom . import errors\nfrom . import _log\nfrom ._flow.entry import abandon\n"

    assert twin.rewritten(source) == (
        "from .errors import ApiError\nfrom . import errors\nfrom resilient_client import _log\n"
        "from resilient_client._flow.entry import abandon\n"
    )


def test_a_remark_puts_another_line_in_the_place_of_one_or_takes_it_out() -> None:
    """The two ways in which the twin differs in more than the name; a statement goes with all that is in it."""
    source = (
        "def f():\n    a = 1  # httpx2: a = 2\n    if a:  # only httpx\n        b = 3\n        c = 4\n"
        "    g(\n        1,\n        d=5,  # only httpx\n    )\n"
    )

    assert twin.rewritten(source) == "def f():\n    a = 2\n    g(\n        1,\n    )\n"


def test_each_has_the_public_names_of_the_other() -> None:
    """Whoever changes libraries changes the line that imports; what knows no library is the same object."""
    assert other.__all__ == resilient_client.__all__
    assert dir(other) == sorted(dir(other))
    for name in other.__all__:
        ours, theirs = getattr(resilient_client, name), getattr(other, name)
        assert (ours is theirs) == (
            not ours.__module__.startswith("resilient_client.") or theirs.__module__ == ours.__module__
        )


def test_the_classes_are_the_librarys_own() -> None:
    """What catches, mocks or asks for httpx2's finds it."""
    assert issubclass(other.ResilientClient, httpx2.Client)
    assert issubclass(other.AsyncResilientClient, httpx2.AsyncClient)
    assert issubclass(other.ResilientTransport, httpx2.BaseTransport)
    assert issubclass(other.AsyncResilientTransport, httpx2.AsyncBaseTransport)
    assert issubclass(other.HmacAuth, httpx2.Auth)
    assert issubclass(other.TokenAuth, httpx2.Auth)
    assert issubclass(other.ApiError, httpx2.HTTPStatusError)
    assert issubclass(other.CircuitOpen, httpx2.TransportError)
    assert issubclass(other.PaceExceeded, httpx2.PoolTimeout)
    assert issubclass(other.StoreAway, httpx2.TransportError)
    assert issubclass(other.BulkheadFull, httpx2.PoolTimeout)


def runs(code: str, *, without: tuple[str, ...] = ()) -> str:
    """Run code in a process of its own that has not got these packages; give what it prints."""
    refusal = (
        "import importlib.abc, sys\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {without!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", refusal + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_A_CALL = """
import asyncio
import {http} as http
from resilient_client{sub} import *
from resilient_client.testing import VirtualClock

def transport():
    replies = [http.ReadTimeout("late"), 500, 500, 500, 500, 200]
    def answer(request):
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return http.Response(reply, json={{"code": 1}})
    return http.MockTransport(answer)

async def tasks(policy, options):
    async with AsyncResilientClient(policy, transport=transport(), **options) as client:
        return (await client.get("https://api.test/x")).status_code

for policy in policy_names():
    options = dict(
        clock=VirtualClock(), deadline=900, auth=HmacAuth("key", "secret"), budget=True, breaker=True, bulkhead=5, hedge=0.05,
        pace=(100, 60),
    )
    with ResilientClient(policy, transport=transport(), **options) as client:
        assert client.get("https://api.test/x").status_code in (200, 500)
    assert asyncio.run(tasks(policy, options)) in (200, 500)
    load_policy(policy).classify(http.Response(500, json={{"code": 1}}))
try:
    raise_for_status(http.Response(404, request=http.Request("GET", "https://api.test/x")))
except ApiError as error:
    assert isinstance(error, http.HTTPStatusError) and outcome_of(error) is error.outcome
print("done")
"""


def test_httpx2s_package_works_where_httpx_is_not() -> None:
    """Clients for threads and tasks, all policies, auths, protections, errors, the virtual clock."""
    code = _A_CALL.format(http="httpx2", sub=".httpx2")

    assert runs(code, without=("httpx", "httpcore", "certifi")) == "done"


def test_httpxs_package_works_where_httpx2_is_not() -> None:
    """It is no dependency of the package above."""
    code = _A_CALL.format(http="httpx", sub="")

    assert runs(code, without=("httpx2", "httpcore2", "truststore")) == "done"


def test_without_httpx2_its_package_says_what_to_install() -> None:
    """It is imported, as all is here, without loading anything; a name that is asked for is what needs it."""
    code = (
        "import resilient_client.httpx2 as h\n"
        "try:\n    h.ResilientClient\n"
        "except ModuleNotFoundError as error:\n    print(error.name, '-', error)\n"
    )

    assert runs(code, without=("httpx2",)) == (
        "httpx2 - resilient_client.httpx2 needs httpx2: pip install 'resilient-client[httpx2]'"
    )


@pytest.mark.parametrize(
    "asked",
    [
        "from resilient_client.sandbox import Sandbox; Sandbox('zerotrace').client(library='httpx2')",
        "from resilient_client.testing import error_response; error_response('zerotrace', 'RATE_LIMIT', library='httpx2')",
    ],
    ids=["the sandbox", "the testing kit"],
)
def test_without_httpx2_who_is_asked_for_it_says_what_to_install(asked: str) -> None:
    """The library's own message would name no extra."""
    code = f"try:\n    {asked}\nexcept ModuleNotFoundError as error:\n    print(error)\n"

    assert runs(code, without=("httpx2",)) == "this needs httpx2: pip install 'resilient-client[httpx2]'"


def test_an_import_loads_neither_library() -> None:
    """The names of both packages are loaded when they are asked for."""
    code = "import sys, resilient_client.httpx2\nprint(*sorted({'httpx', 'httpx2', 'pydantic', 'anyio'} & set(sys.modules)))"

    assert runs(code) == ""


def _imported(tree: ast.AST) -> set[str]:
    """List the packages that a module imports when it runs, at its top or within a function."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        found |= _imported(node)
    return found


@pytest.mark.parametrize("place", NEUTRAL)
def test_what_both_share_imports_neither(place: str) -> None:
    """The flow, the policies, the hints, the outcome, the protections and the sandbox know no library, nor do the drivers."""
    where = (PACKAGE / place).resolve()
    paths = [where] if where.is_file() else sorted(where.rglob("*.py"))
    assert paths
    for path in paths:
        names = _imported(ast.parse(path.read_text(encoding="utf-8")))
        assert names.isdisjoint({"httpx", "httpx2", "httpcore", "httpcore2"}), path


def test_nobody_is_given_one_library_for_the_other() -> None:
    """httpx2 can put itself in httpx's place, and another package does so when it is imported: this one leaves both alone."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "alias_httpx()" not in text, path
        assert "httpxyz" not in text, path


def test_a_transport_of_the_other_library_is_refused_at_once() -> None:
    """The message says which it is, and where what goes with it is; nothing is opened for it."""
    homes = r"goes with httpx is in resilient_client, what goes with httpx2 in resilient_client\.httpx2$"
    with pytest.raises(
        TypeError, match=rf"HTTPTransport is a transport of httpx, .* one of httpx2: .*{homes}"
    ):
        other.ResilientTransport(transport=httpx.HTTPTransport())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"MockTransport is a transport of httpx2, .* one of httpx:"):
        resilient_client.ResilientClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(200)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ResilientTransport is a transport of httpx,"):
        other.ResilientClient(mounts={"https://": resilient_client.ResilientTransport()})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="AsyncHTTPTransport is a transport of httpx2,"):
        resilient_client.AsyncResilientTransport(transport=httpx2.AsyncHTTPTransport())  # type: ignore[arg-type]


def test_a_request_of_the_other_library_is_refused() -> None:
    """A resilient transport of the one, in a client of the other: an assertion would fail, and say nothing."""
    transport: Any = other.ResilientTransport(transport=httpx2.MockTransport(lambda _: httpx2.Response(200)))

    with (
        httpx.Client(transport=transport) as client,
        pytest.raises(TypeError, match=r"Request is a request of httpx, .* one of httpx2:"),
    ):
        client.get("https://api.test/")


def test_after_httpx2s_alias_for_httpx_there_is_one_library() -> None:
    """An application may put httpx2 in httpx's place although a package that it needs uses this one over httpx."""
    code = """
import httpx2
httpx2.alias_httpx()
import httpx
from resilient_client import ApiError, HmacAuth, Policy, ResilientClient, load_policy, raise_for_status
import resilient_client.httpx2 as other
assert (ApiError, HmacAuth, ResilientClient) == (other.ApiError, other.HmacAuth, other.ResilientClient)
replies = [503, 200]
transport = httpx.MockTransport(lambda _: httpx.Response(replies.pop(0)))
with ResilientClient(load_policy("zerotrace"), transport=transport) as client:
    print(client.get("https://api.test/").status_code, isinstance(client, httpx.Client))
"""

    assert runs(code) == "200 True"


def test_a_response_of_the_other_library_is_not_judged() -> None:
    """Each raises errors of its own: what catches one library's would miss the other's."""
    response = httpx.Response(404, request=httpx.Request("GET", "https://api.test/"))

    with pytest.raises(TypeError, match=r"httpx\.Response is no httpx2\.Response"):
        other.raise_for_status(response)  # type: ignore[arg-type]


def test_an_auth_of_the_other_library_is_refused() -> None:
    """Whoever changed one of two lines that import."""
    with pytest.raises(TypeError, match=r"HmacAuth is an auth of httpx, .* one of httpx2:"):
        other.ResilientClient(auth=resilient_client.HmacAuth("key", "secret"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"BasicAuth is an auth of httpx2, .* one of httpx:"):
        resilient_client.AsyncResilientClient(auth=httpx2.BasicAuth("name", "word"))  # type: ignore[arg-type]


def test_a_sign_in_of_the_other_library_is_refused() -> None:
    """A token's sign-in is sent by the client that needs it."""
    login = httpx.Request("POST", "https://api.test/login")

    with pytest.raises(TypeError, match=r"login is an httpx2\.Request, or a callable"):
        other.TokenAuth(login)  # type: ignore[arg-type]
