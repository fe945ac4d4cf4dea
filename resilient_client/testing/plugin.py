"""The pytest plugin: the fixtures `virtual_clock` and `api_mock`, and an option to refuse mocks that go round retries.

pytest loads it by its entry point in every run of whoever has this package installed. Law of this file: it imports
pytest and the standard library, and what a test asks for only when it asks.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from resilient_client.testing import ApiMock, VirtualClock

REFUSE_BYPASS = "resilient_client_refuse_bypass"

_clock = pytest.StashKey["VirtualClock"]()
_mock = pytest.StashKey["ApiMock"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `resilient_client_refuse_bypass = true` in the configuration."""
    parser.addini(
        REFUSE_BYPASS,
        'refuse respx.mock(using="httpx") in every test: it goes round all transports, and so round all retries',
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse it for the whole run, where that was asked for."""
    if config.getini(REFUSE_BYPASS):
        from resilient_client.testing import refuse_bypass  # noqa: PLC0415 - the law of this file

        stack = ExitStack()
        stack.enter_context(refuse_bypass())
        config.add_cleanup(stack.close)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Put the virtual clock in place before the first of a test's own fixtures.

    A fixture that makes a client finds it there, in whatever order the test names the two.
    """
    wanted = "virtual_clock" in {fixturedef.argname, *request.fixturenames}
    if wanted and fixturedef.scope == "function" and _clock not in request.node.stash:
        from resilient_client.testing import VirtualClock, refuse_bypass, use_clock  # noqa: PLC0415 - this file's law

        stack, stash = ExitStack(), request.node.stash
        request.node.addfinalizer(stack.close)
        stack.enter_context(refuse_bypass())
        stash[_clock] = stack.enter_context(use_clock(VirtualClock()))
        stack.callback(stash.__delitem__, _clock)  # a test that is run again gets a time of its own


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """Let time cost nothing.

    Every client, transport and sandbox that is made in the test, and names no clock, goes by this one. Sleeping
    returns at once; `virtual_clock.sleeps` tells what was slept. What was made before the test, in a module or in a
    fixture of a wider scope, keeps the clock that it has. Meanwhile `respx.mock(using="httpx")` is refused, for
    nothing would be retried under it.
    """
    clock: VirtualClock = request.node.stash[_clock]  # `pytest_fixture_setup` has put it there
    return clock


@pytest.fixture
def api_mock(
    request: pytest.FixtureRequest,
    virtual_clock: VirtualClock,  # noqa: ARG001 - time is virtual under a mocked API
) -> Iterator[ApiMock]:
    """Mock APIs by their policies: `api_mock("zerotrace").post("/v1/create").fails("INTERNAL").then(200, json=…)`.

    See `resilient_client.testing.ApiMock`. Time is virtual under it, as with the fixture `virtual_clock`. The test
    fails where something came that was not planned, and where something that was planned did not come.
    """
    from resilient_client.testing import ApiMock  # noqa: PLC0415 - the law of this file

    mock = ApiMock()
    mock.start()
    request.node.stash[_mock] = mock
    yield mock
    mock.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge the plan when the test's function has ended: as a part of the test, which fails and is not in error."""
    try:
        result = yield
    except Exception as error:
        if _mock in item.stash:
            item.stash[_mock].note_surprises(error)
        raise
    if _mock in item.stash:
        try:
            item.stash[_mock].assert_all_called()
        except AssertionError as error:
            pytest.fail(str(error), pytrace=False)  # no line of the test's is to blame
    return result
