"""What the pytest plugin does in a run, apart from its fixtures. `plugin.py` imports it where pytest is new enough.

Law of this file: it imports pytest and the standard library, and what a test asks for only when it asks.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from resilient_client.testing import ApiMock, VirtualClock

REFUSE_BYPASS = "resilient_client_refuse_bypass"

CLOCK: pytest.StashKey[VirtualClock] = pytest.StashKey()
MOCK: pytest.StashKey[ApiMock] = pytest.StashKey()

_WITH_VIRTUAL_TIME = ("virtual_clock", "api_mock")


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

    A fixture that makes a client finds it there, in whatever order the test names the two. A project's own fixtures
    that happen to have these names are none of this plugin's business.
    """
    if fixturedef.scope != "function" or CLOCK in request.node.stash:
        return
    if _has_virtual_time(fixturedef) or any(map(_has_virtual_time, _winners(request.node))):
        from resilient_client.testing import VirtualClock, refuse_bypass, use_clock  # noqa: PLC0415 - this file's law

        stack, stash = ExitStack(), request.node.stash
        request.node.addfinalizer(stack.close)
        stack.enter_context(refuse_bypass())
        stash[CLOCK] = stack.enter_context(use_clock(VirtualClock()))
        stack.callback(stash.__delitem__, CLOCK)  # a test that is run again gets a time of its own


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:  # noqa: ARG001 - pytest gives it
    """Let each test begin with full budgets and closed breakers, whatever the ones before it met."""
    guards = sys.modules.get("resilient_client._guard.guards")
    if guards is not None:
        guards.forget_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge the plan when the test's function has ended: as a part of the test, which fails and is not in error."""
    try:
        result = yield
    except Exception as error:
        if MOCK in item.stash:
            item.stash[MOCK].note_surprises(error)
        raise
    failure = None
    if MOCK in item.stash:
        try:
            item.stash[MOCK].assert_all_called()
        except AssertionError as error:
            failure = str(error)
    if failure is not None:  # out here, where it has no context that would be printed as well
        pytest.fail(failure, pytrace=False)  # no line of the test's is to blame
    return result


def _winners(item: pytest.Item) -> Iterator[pytest.FixtureDef[Any]]:
    """Give the definitions that the test gets for the names of the plugin's fixtures with virtual time, as far as it was known when it was collected."""
    # pytest offers no public way to ask which definition of a fixture wins.
    info = getattr(item, "_fixtureinfo", None)
    for name in _WITH_VIRTUAL_TIME:
        definitions = info.name2fixturedefs.get(name) if info else None
        if definitions:
            yield definitions[-1]


def _has_virtual_time(fixturedef: pytest.FixtureDef[Any]) -> bool:
    is_own = getattr(fixturedef.func, "__module__", None) == f"{__package__}.plugin"
    return is_own and fixturedef.argname in _WITH_VIRTUAL_TIME
