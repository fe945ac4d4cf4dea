"""The store: what it takes, what it shows, forks and processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import redis
from shared_engines import ZERO

from resilient_client._guard.pace import Slot, Window
from resilient_client.shared import RedisStore, StoreAwayError

if TYPE_CHECKING:
    from shared_engines import Stores

pytest_plugins = ["valkey_fixtures"]


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        ({"away": "ignore"}, 'away is "local" or "refuse"'),
        ({"share": 0.0}, "share is a part of each budget, above 0 and at most 1"),
        ({"share": 1.5}, "share is a part of each budget"),
        ({"timeout": 0.0}, "timeout must be seconds above 0"),
        ({"retry_away": -1.0}, "retry_away must be seconds, 0 or more"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(options: dict[str, Any], mend: str) -> None:
    """The message names it and says what is right."""
    with pytest.raises(ValueError, match=mend):
        RedisStore("redis://127.0.0.1:1/0", **options)


def test_a_budget_that_makes_no_sense_is_refused(stores: Stores) -> None:
    """As the pacer in memory refuses it."""
    with pytest.raises(ValueError, match="margin must be seconds, 0 or more"):
        stores().pacer("api", Window(1, 1), margin=-1)
    with pytest.raises(ValueError, match="at least one Window"):
        stores().pacer("api")


def test_what_is_no_client_is_refused() -> None:
    """A host's name is not a URL, and any object is not a client."""
    with pytest.raises(TypeError, match=r"a URL or a client of redis-py \(got int\)"):
        RedisStore(6379)


def test_without_redis_py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; importing the door needs nothing."""
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ImportError, match=r"pip install 'resilient-client\[redis\]'"):
        RedisStore("redis://127.0.0.1:1/0")


def test_without_cryptography_tokens_say_what_to_install(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Budgets need none."""
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(ImportError, match=r"pip install 'resilient-client\[redis\]'"):
        stores(encryption_key="key").tokens()


def test_no_text_of_it_shows_a_password() -> None:
    """Neither the store's nor an error's."""
    store = RedisStore("redis://user:hunter2@127.0.0.1:1/0", away="refuse", encryption_key="hunter3")
    with pytest.raises(StoreAwayError) as caught:
        store.budget("api").take(0.0)

    for text in (repr(store), str(caught.value), repr(caught.value)):
        assert "hunter" not in text


def test_a_client_lends_its_server_and_not_its_patience(stores: Stores) -> None:
    """Whatever its timeouts, retries and decoding are, the store has its own, and leaves the client's alone."""
    client = redis.Redis(port=stores.server.port, socket_timeout=30.0, decode_responses=True)
    store = RedisStore(client, prefix=stores.prefix)
    pace = store.pacer("api", Window(10, 60), clock=ZERO)

    assert isinstance(pace.reserve(10, 0.0), Slot)
    assert store._link._client.get_connection_kwargs()["socket_timeout"] == 0.2
    assert store._link._client.get_retry().get_retries() == 0
    assert client.get_connection_kwargs()["socket_timeout"] == 30.0
    assert client.hget(f"{stores.prefix}{{api}}:pace:state", "sent") == "10000000"
    store.close()
    client.close()


class Elsewhere:
    """A client of another kind, which finds its servers itself."""

    def __init__(self, client: redis.Redis) -> None:
        self.evalsha, self.eval, self.close = client.evalsha, client.eval, client.close


def test_a_client_that_finds_its_servers_itself_is_used_as_it_is(stores: Stores) -> None:
    """One of a cluster, or of Sentinel."""
    store = RedisStore(Elsewhere(redis.Redis(port=stores.server.port)), prefix=stores.prefix)
    pace = store.pacer("api", Window(10, 60), clock=ZERO)

    assert isinstance(pace.reserve(10, 0.0), Slot)
    store.close()


def test_a_closed_store_opens_connections_when_it_is_asked(stores: Stores) -> None:
    """Closing is for the end of a program, and harms nobody."""
    store = stores()
    budget = store.budget("api")
    budget.take(0.0)
    store.close()

    assert budget.take(0.0) == 14


def run(program: str, *arguments: str) -> str:
    """Run a program in a process of its own, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PROCESS = """
    import sys
    from resilient_client._guard.pace import Slot, Window
    from resilient_client.shared import RedisStore

    store = RedisStore(sys.argv[1], prefix=sys.argv[2], timeout=2.0, retry_away=0.0)
    pace = store.pacer("api", Window(10, 3600))
    print(sum(isinstance(pace.reserve(1, 0.0, until=60.0), Slot) for _ in range(7)), end=" ")
    store.close()
"""


def test_two_processes_share_a_budget(stores: Stores) -> None:
    """Seven and three are ten, by the server's own clock."""
    wanted = [run(PROCESS, stores.server.url, stores.prefix) for _ in range(2)]

    assert wanted == ["7 ", "3 "]


FORK = """
    import os
    import sys
    import threading
    from resilient_client._guard.pace import Slot, Window
    from resilient_client.shared import RedisStore

    store = RedisStore(sys.argv[1], prefix=sys.argv[2], timeout=2.0, retry_away=0.0)
    pace, breaker, budget = store.pacer("api", Window(10, 3600)), store.breaker("api"), store.budget("api")
    mine = pace.reserve(1, 0.0)
    breaker.admit(0.0), budget.take(0.0)
    for engine in (pace, breaker, budget, store._link):
        engine._lock.acquire()  # as another thread might have it at that moment
    child = os.fork()
    if not child:
        granted = sum(isinstance(pace.reserve(1, 0.0, until=60.0), Slot) for _ in range(20))
        breaker.admit(0.0).failed(0.0), budget.take(0.0)
        try:
            pace.confirm(mine, 0.0)
        except LookupError:
            print(granted, flush=True)
        os._exit(0)
    for engine in (pace, breaker, budget, store._link):
        engine._lock.release()
    os.waitpid(child, 0)
    pace.finish(mine, 0.0)
    print(isinstance(pace.reserve(1, 0.0, until=60.0), Slot), budget.level)
    store.close()
"""


def test_a_forked_worker_is_a_process_of_its_own(stores: Stores) -> None:
    """It has connections and locks of its own, and what its parent was granted is its parent's."""
    assert run(FORK, stores.server.url, stores.prefix) == "9\nFalse 486\n"
