"""The pytest plugin: the fixtures `virtual_clock`, `api_mock` and `respx_bridge`, and an option to refuse mocks that go round retries.

pytest loads it by its entry point in every run of whoever has this package installed. Law of this file: it imports
pytest and the standard library, and what a test asks for only when it asks; and it can be imported under any pytest,
however old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client.testing import ApiMock, VirtualClock

_IS_SUPPORTED = getattr(pytest, "version_tuple", (0,)) >= (8,)  # pytest 7 was the first to have it

if _IS_SUPPORTED:
    # pytest finds them by their names here.
    from ._hooks import (
        pytest_addoption,  # noqa: F401
        pytest_configure,  # noqa: F401
        pytest_fixture_setup,  # noqa: F401
        pytest_runtest_call,  # noqa: F401
        pytest_runtest_setup,  # noqa: F401
    )


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """Let time cost nothing.

    Every client, transport and sandbox that is made in the test, and names no clock, goes by this one. Sleeping
    returns at once; `virtual_clock.sleeps` tells what was slept. What was made before the test, in a module or in a
    fixture of a wider scope, keeps the clock that it has. Meanwhile `respx.mock(using="httpx")` is refused, for
    nothing would be retried under it.
    """
    if not _IS_SUPPORTED:
        pytest.fail("resilient_client's fixtures need pytest 8 or later", pytrace=False)
    from ._hooks import CLOCK  # noqa: PLC0415 - an older pytest cannot import it

    clock: VirtualClock = request.node.stash[CLOCK]  # `pytest_fixture_setup` has put it there
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

    from ._hooks import MOCK  # noqa: PLC0415 - an older pytest cannot import it

    mock = ApiMock()
    mock.start()
    request.node.stash[MOCK] = mock
    yield mock
    mock.stop()


@pytest.fixture
def respx_bridge() -> Iterator[None]:
    """Let respx's routes answer httpx2's clients as well, as long as the test lasts.

    See `resilient_client.testing.bridge_respx`. Beside `api_mock` there is no need of it.
    """
    from resilient_client.testing import bridge_respx  # noqa: PLC0415 - the law of this file

    with bridge_respx():
        yield
