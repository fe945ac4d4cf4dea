"""The pytest plugin, in runs of pytest's own: what its fixtures give, and that broken clients fail under them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent

import httpcore2
import httpx2
import hypothesis
import pytest
import respx
import tenacity
import trio

import resilient_client.policy
import resilient_client.sandbox
from resilient_client import testing

ROOT = Path(__file__).parent.parent
PLUGIN = "resilient_client.testing.plugin"

# What an inner run is the first to load is forgotten with it; so that this process has no module twice, all of it is
# loaded here.
LOADED = (
    httpcore2,
    httpx2,
    hypothesis,
    respx,
    tenacity,
    trio,
    resilient_client.policy,
    resilient_client.sandbox,
    *(getattr(testing, name) for name in testing.__all__),
)

HEAD = """
import time
import httpx
import httpx2
import pytest
import respx
from resilient_client import AsyncResilientClient, ResilientClient, ResilientTransport, outcome_of
from resilient_client.clock import SYSTEM, default_clock
from resilient_client.testing import VirtualClock, assert_attempts, assert_waits, use_clock

URL = "https://0trace.io/api/v1/codes"
"""

Inner = Callable[..., pytest.RunResult]


@pytest.fixture
def inner(request: pytest.FixtureRequest, pytester: pytest.Pytester) -> Inner:
    """Give a way to run tests of a text of their own, with warnings as errors."""

    def run(text: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(HEAD + dedent(text))
        if not request.config.pluginmanager.has_plugin("resilient_client"):  # its entry point
            options = ("-p", PLUGIN, *options)
        return pytester.runpytest_inprocess("-W", "error", "-p", "no:cacheprovider", *options)

    return run


# ------------------------------------------------------------------------------------------------------- being loaded


def test_the_plugin_is_light(tmp_path: Path) -> None:
    """In runs that do not use it, it loads pytest and the standard library alone."""
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\n"
        f"import {PLUGIN}\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == "['resilient_client']"


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    """What the project's metadata names is the plugin."""
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    ((name, value),) = metadata["project"]["entry-points"]["pytest11"].items()

    assert EntryPoint(name, value, "pytest11").load() is import_module(PLUGIN)
    assert name == "resilient_client"


def test_an_older_pytest_is_left_alone(tmp_path: Path) -> None:
    """The plugin is imported, has no hooks, and only the tests that want its fixtures fail, with the reason."""
    (tmp_path / "test_old.py").write_text(
        "def test_plain(): pass\ndef test_clock(virtual_clock): pass\ndef test_mock(api_mock): pass\n",
        encoding="utf-8",
    )
    code = (
        "import pytest\n"
        "pytest.version_tuple, hookimpl, pytest.hookimpl = (7, 4, 4), pytest.hookimpl, None\n"
        "del pytest.StashKey\n"
        f"import {PLUGIN} as plugin\n"
        "pytest.hookimpl = hookimpl  # pytest loads its own plugins by it\n"
        "print([name for name in vars(plugin) if name.startswith('pytest_')])\n"
        f"pytest.main(['-p', '{PLUGIN}', '-p', 'no:cacheprovider', 'test_old.py'])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.startswith("[]\n")
    assert "resilient_client's fixtures need pytest 8 or later" in done.stdout
    assert "1 passed" in done.stdout.splitlines()[-1]
    assert "2 errors" in done.stdout.splitlines()[-1]


def test_the_fixtures_are_listed_with_what_they_give(inner: Inner) -> None:
    """`pytest --fixtures` says in a line what each is for."""
    result = inner("", "--fixtures")

    result.stdout.fnmatch_lines_random(
        [
            "virtual_clock -- *",
            "    Let time cost nothing.",
            "api_mock -- *",
            "    Mock APIs by their policies: *",
            "respx_bridge -- *",
            "    Let respx's routes answer httpx2's clients as well, *",
        ]
    )


# ------------------------------------------------------------------------------------------------------ virtual_clock


def test_clients_of_a_test_go_by_the_virtual_clock(inner: Inner) -> None:
    """Sync and async, a wait of a minute takes no time, and the clock tells of it."""
    result = inner("""
        @pytest.mark.anyio
        async def test_tasks(virtual_clock):
            replies = iter([httpx.Response(429, headers={"Retry-After": "60"}), httpx.Response(200)])
            async with AsyncResilientClient(transport=httpx.MockTransport(lambda request: next(replies))) as client:
                assert (await client.get(URL)).is_success
            assert 60 <= sum(virtual_clock.sleeps)

        def test_threads(virtual_clock):
            replies = iter([httpx.Response(429, headers={"Retry-After": "60"}), httpx.Response(200)])
            with ResilientClient(transport=httpx.MockTransport(lambda request: next(replies))) as client:
                assert client.get(URL).is_success
            assert 60 <= sum(virtual_clock.sleeps)
    """)

    result.assert_outcomes(passed=3)  # anyio's fixture runs the first under asyncio and under trio


def test_each_test_has_a_clock_of_its_own(inner: Inner) -> None:
    """What one test slept is not seen by the next, and after the last the system's time is back."""
    result = inner("""
        @pytest.mark.parametrize("number", [1, 2])
        def test_fresh(virtual_clock, number):
            assert virtual_clock.sleeps == []
            assert default_clock() is virtual_clock
            default_clock().sleep(1)

        def test_without():
            assert default_clock() is SYSTEM
    """)

    result.assert_outcomes(passed=3)


def test_the_clock_is_there_before_the_fixtures_of_a_test(inner: Inner) -> None:
    """A fixture that makes a client finds it, in whatever order the test names the two."""
    result = inner("""
        @pytest.fixture
        def client():
            with ResilientClient() as client:
                yield client

        def test_after(client, virtual_clock):
            assert client._transport.core.clock is virtual_clock

        def test_before(virtual_clock, client):
            assert client._transport.core.clock is virtual_clock

        def test_on_the_way(client, api_mock):
            assert client._transport.core.clock is default_clock() is not SYSTEM

        def test_when_asked_for_late(request):
            assert request.getfixturevalue("virtual_clock") is default_clock()
    """)

    result.assert_outcomes(passed=4)


def test_what_outlives_a_test_keeps_its_clock(inner: Inner) -> None:
    """A client of a module, or of a fixture of a wider scope, goes by the system's clock as before."""
    result = inner("""
        of_module = ResilientClient()

        @pytest.fixture(scope="module")
        def of_fixture():
            return ResilientClient()

        def test_wider(virtual_clock, of_fixture):
            assert [client._transport.core.clock for client in (of_module, of_fixture)] == [SYSTEM, SYSTEM]
    """)

    result.assert_outcomes(passed=1)


def test_a_test_may_put_a_clock_of_its_own_in_place(inner: Inner) -> None:
    """`use_clock` and `clock=` go before the fixture; a fixture of the same name may begin at another time."""
    result = inner("""
        @pytest.fixture
        def start():
            return 0.0

        @pytest.fixture
        def virtual_clock(start):
            with use_clock(VirtualClock(start)) as clock:
                yield clock

        def test_own(virtual_clock):
            assert ResilientTransport().core.clock is virtual_clock
            assert virtual_clock.time() == 0.0
            with use_clock(VirtualClock()) as inner:
                assert ResilientTransport().core.clock is inner
    """)

    result.assert_outcomes(passed=1)


def test_a_fixture_of_the_same_name_is_left_alone(inner: Inner) -> None:
    """A project may call something else so: time stays real and no mock is refused, until a fixture of ours is used."""
    result = inner("""
        @pytest.fixture
        def virtual_clock():
            return "a stranger's"

        def test_stranger(virtual_clock):
            assert virtual_clock == "a stranger's"
            assert default_clock() is SYSTEM
            with respx.mock(using="httpx"):
                pass

        def test_both(api_mock):
            assert default_clock() is not SYSTEM

        class TestBuiltOnOurs:
            @pytest.fixture
            def api_mock(self, api_mock):
                return api_mock

            def test_on_the_way(self, api_mock):
                assert default_clock() is not SYSTEM
    """)

    result.assert_outcomes(passed=3)


def test_a_test_that_is_run_again_has_a_new_clock(inner: Inner, pytester: pytest.Pytester) -> None:
    """Plugins that repeat a test find nothing of its first run."""
    pytester.makeconftest("""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                item._initrequest()
                runtestprotocol(item, nextitem=nextitem)
            return True
    """)
    result = inner("""
        def test_twice(virtual_clock, api_mock):
            assert default_clock() is virtual_clock
            assert virtual_clock.sleeps == []
            virtual_clock.sleep(1)
    """)

    result.assert_outcomes(passed=2)


def test_a_client_that_ignores_the_clock_fails(inner: Inner) -> None:
    """Neither the clock nor the assertion takes a client's word for its waits."""
    result = inner("""
        class Deaf:
            time = monotonic = staticmethod(lambda: 1.0)

            def sleep(self, seconds, /):
                pass

            async def asleep(self, seconds, /):
                pass

        @pytest.fixture
        def response(api_mock):
            api_mock("zerotrace").get("/v1/codes").fails("RATE_LIMIT", retry_after=7).then(200)
            with ResilientClient("zerotrace", clock=Deaf()) as client:
                return client.get(URL)

        def test_by_the_clock(virtual_clock, response):
            assert virtual_clock.sleeps

        def test_by_the_assertion(response):
            assert_waits(response, 7)
    """)

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*by its clock the whole call took 0.00 s*"])


# ----------------------------------------------------------------------------------------------------------- api_mock


def test_an_api_is_mocked_for_a_test(inner: Inner) -> None:
    """Errors come as the API words them, the client does what the policy says, and no time passes."""
    result = inner("""
        def test_mocked(api_mock, virtual_clock):
            route = api_mock("zerotrace").get("/v1/codes").fails("MAINTENANCE", times=3).then(200, json={"code": 0})
            with ResilientClient("zerotrace") as client:
                response = client.get(URL)
            assert_attempts(response, "MAINTENANCE", "MAINTENANCE", "MAINTENANCE", "OK")
            assert (response.json(), route.call_count, len(virtual_clock.sleeps)) == ({"code": 0}, 4, 3)

        def test_without():
            from respx.mocks import HTTPCoreMocker
            assert HTTPCoreMocker.routers == []
    """)

    result.assert_outcomes(passed=2)


def test_time_is_virtual_under_a_mocked_api(inner: Inner) -> None:
    """A test that asks for `api_mock` alone does not sleep either."""
    result = inner("""
        def test_alone(api_mock):
            api_mock("zerotrace").get("/v1/codes").fails("RATE_LIMIT", retry_after=200).then(200)
            begun = time.monotonic()
            with ResilientClient("zerotrace") as client:
                assert_waits(client.get(URL), 200)
            assert time.monotonic() - begun < 60
    """)

    result.assert_outcomes(passed=1)


def test_a_client_that_does_not_retry_fails(inner: Inner) -> None:
    """Replies that are left over fail the test itself, in words and with no traceback."""
    result = inner("""
        def test_plain(api_mock):
            api_mock("zerotrace").get("/v1/codes").fails("UPSTREAM_ERROR").then(200)
            httpx.get(URL)
    """)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "api_mock: it did not go as planned",
            "  GET /v1/codes (zerotrace) was called 1 time(s); planned and not used: returns(200)",
        ]
    )
    result.stdout.no_fnmatch_line("*plugin.py*")
    result.stdout.no_fnmatch_line("*_hooks.py*")
    result.stdout.no_fnmatch_line("*During handling*")
    assert result.stdout.lines.count("api_mock: it did not go as planned") == 1


def test_a_client_that_retries_too_often_fails(inner: Inner) -> None:
    """One request more than planned fails, whether or not the code under test lets the failure through."""
    result = inner("""
        def call(times):
            with httpx.Client() as client:
                for _ in range(times):
                    client.get(URL)

        def test_plain(api_mock):
            api_mock("zerotrace").get("/v1/codes").fails("UPSTREAM_ERROR")
            call(2)

        def test_swallowed(api_mock):
            api_mock("zerotrace").get("/v1/codes").fails("UPSTREAM_ERROR")
            try:
                call(2)
            except Exception:
                pass
    """)

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*was called 2 time(s), more often than planned",
            "*it did not go as planned",
            "*was called 2 time(s), more*",
        ]
    )


def test_a_failure_tells_of_requests_that_nobody_planned(inner: Inner) -> None:
    """They may be why the test fails, and stand below its own error."""
    result = inner("""
        def test_follows(api_mock):
            found = None
            try:
                found = httpx.get(URL)
            except AssertionError:
                pass
            assert found is not None
    """)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E   *assert None is not None",
            f"E   *api_mock: no route for GET {'https://0trace.io/api/v1/codes'}; there are: none",
        ]
    )


def test_a_test_that_is_skipped_or_expected_to_fail_is_left_alone(inner: Inner) -> None:
    """A plan that was not begun is not held against a test that skips; a strict xfail may fail by its plan."""
    result = inner("""
        def test_skips(api_mock):
            api_mock("zerotrace").get("/v1/codes").then(200)
            pytest.skip("not here")

        @pytest.mark.xfail(strict=True)
        def test_expected(api_mock):
            api_mock("zerotrace").get("/v1/codes").then(200)
    """)

    result.assert_outcomes(skipped=1, xfailed=1)


def test_a_mocked_api_answers_httpx2(inner: Inner) -> None:
    """The fixture alone is enough; what nobody planned fails the test, swallowed or not."""
    result = inner("""
        def test_answered(api_mock):
            api_mock("zerotrace").get("/v1/codes").raises(httpx.ReadTimeout).then(200, json={"code": 0})
            with pytest.raises(httpx2.ReadTimeout):
                httpx2.get(URL)
            assert httpx2.get(URL).json() == {"code": 0}

        def test_swallowed(api_mock):
            try:
                httpx2.get(URL)
            except Exception:
                pass
    """)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*api_mock: no route for GET https://0trace.io/api/v1/codes; there are: none"]
    )


# -------------------------------------------------------------------------------------------------------- respx_bridge


def test_routes_of_respx_answer_httpx2(inner: Inner) -> None:
    """As long as a test has the fixture, with respx's own fixture in either order, and no longer."""
    result = inner("""
        import httpcore2

        def ask(respx_mock):
            respx_mock.get(URL).respond(text="mocked")
            assert (httpx2.get(URL).text, httpx.get(URL).text) == ("mocked", "mocked")

        def test_before(respx_bridge, respx_mock):
            ask(respx_mock)

        def test_after(respx_mock, respx_bridge):
            ask(respx_mock)

        @pytest.mark.anyio
        @pytest.mark.usefixtures("respx_bridge")
        @respx.mock
        async def test_tasks():
            respx.get(URL).respond(text="mocked")
            async with httpx2.AsyncClient() as client:
                assert (await client.get(URL)).text == "mocked"

        def test_without(respx_mock):
            assert httpcore2.ConnectionPool.handle_request.__module__.startswith("httpcore2.")
    """)

    result.assert_outcomes(passed=5)


def test_time_is_not_virtual_under_the_bridge_alone(inner: Inner) -> None:
    """It is about respx, and about nothing else."""
    result = inner("""
        def test_clock(respx_bridge):
            assert default_clock() is SYSTEM
    """)

    result.assert_outcomes(passed=1)


# ------------------------------------------------------------------------------------------------------- the one trap

BYPASS = """
def test_plain_respx():
    with respx.mock(using="httpx") as mock:
        mock.get(URL)
        assert httpx.get(URL).is_success
"""


@pytest.mark.parametrize("fixture", ["virtual_clock", "api_mock"])
def test_a_mock_that_goes_round_the_transports_fails(inner: Inner, fixture: str) -> None:
    """Under either fixture, as a block and as a decorator, with the reason."""
    result = inner(f"""
        def test_block({fixture}):
            with respx.mock(using="httpx"):
                pass

        @pytest.mark.usefixtures("{fixture}")
        @respx.mock(using="httpx")
        def test_decorator():
            pass
    """)

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ['E   *RuntimeError: respx.mock(using="httpx") replaces the way*nothing is retried*api_mock*']
    )


def test_it_is_refused_in_every_test_where_the_configuration_says_so(
    inner: Inner, pytester: pytest.Pytester
) -> None:
    """One line of the configuration, for a whole suite; without it, tests that use neither fixture are not touched."""
    inner(BYPASS).assert_outcomes(passed=1)

    pytester.makeini("[pytest]\nresilient_client_refuse_bypass = true\n")
    inner(BYPASS).assert_outcomes(failed=1)

    pytester.makeini("[pytest]\n")
    inner(BYPASS).assert_outcomes(passed=1)
