"""Tokens that processes share: encrypted or not at all, and one sign-in at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import redis
from cryptography.fernet import Fernet

from resilient_client.shared import RedisStore

if TYPE_CHECKING:
    from shared_engines import Stores

    from resilient_client._guard.shared.tokens import TokenShelf

pytest_plugins = ["valkey_fixtures"]

KEY = Fernet.generate_key()


def shelf(stores: Stores, key: str | bytes | None = KEY) -> TokenShelf:
    """Make the shelf of another process."""
    return stores(encryption_key=key).tokens()


def test_what_one_process_leaves_another_finds(stores: Stores) -> None:
    """The token, and when it ends."""
    shelf(stores).put("zerotrace", "secret-token", 1060.0, now=1000.0)

    assert shelf(stores).get("zerotrace") == ("secret-token", 1060.0)
    assert shelf(stores).get("dual") is None


def test_nothing_on_the_server_is_readable(stores: Stores) -> None:
    """Neither the token nor whose it is."""
    shelf(stores).put("partner@example.com", "secret-token", None, now=0.0)
    client = redis.Redis.from_url(stores.server.url)
    everything = [(name, client.get(name)) for name in client.scan_iter(stores.prefix + "*")]
    client.close()

    assert everything
    assert "partner" not in repr(everything)
    assert "secret-token" not in repr(everything)


@pytest.mark.parametrize(
    ("key", "mend"),
    [(None, "encrypted or not at all: give the store an encryption_key"), ("abc", "32 bytes")],
)
def test_without_a_key_there_is_no_shelf(stores: Stores, key: str | None, mend: str) -> None:
    """It says so, and nothing is left in plain text."""
    with pytest.raises(ValueError, match=mend):
        shelf(stores, key)


def test_a_token_under_another_key_is_not_found(stores: Stores) -> None:
    """The keys are being changed, and this process has the new one."""
    shelf(stores).put("zerotrace", "secret-token", None, now=0.0)

    assert shelf(stores, Fernet.generate_key()).get("zerotrace") is None


def test_a_token_goes_when_it_ends(stores: Stores) -> None:
    """The server forgets it then; one that has ended is not left at all."""
    client = redis.Redis.from_url(stores.server.url)
    shelf(stores).put("zerotrace", "secret-token", 1060.0, now=1000.0)
    (name,) = client.scan_iter(stores.prefix + "*")
    left = client.pttl(name)
    client.close()
    shelf(stores).put("dual", "secret-token", 1000.0, now=1000.0)

    assert 50_000 < left <= 60_000
    assert shelf(stores).get("dual") is None


def test_a_dead_token_is_taken_away_and_its_successor_is_not(stores: Stores) -> None:
    """Whoever hears late that a token is dead does not take away the new one."""
    one, other = shelf(stores), shelf(stores)
    one.put("zerotrace", "old", None, now=0.0)
    other.forget("zerotrace", "old")
    assert one.get("zerotrace") is None
    one.put("zerotrace", "new", None, now=0.0)
    other.forget("zerotrace", "old")

    assert one.get("zerotrace") == ("new", None)


def test_one_process_signs_in_at_a_time(stores: Stores) -> None:
    """The other waits until it has, or until its turn ends by itself."""
    one, other = shelf(stores), shelf(stores)
    assert one.take_turn("zerotrace", 30.0)
    assert not other.take_turn("zerotrace", 30.0)
    other.end_turn("zerotrace")
    assert not other.take_turn("zerotrace", 30.0), "it was not its own"
    one.end_turn("zerotrace")

    assert other.take_turn("zerotrace", 0.001)
    while not one.take_turn("zerotrace", 30.0):
        time.sleep(0.001)


def test_without_the_server_everybody_signs_in() -> None:
    """No token is found, none is left, and nobody waits for another."""
    alone = RedisStore("redis://127.0.0.1:1/0", encryption_key=KEY).tokens()
    alone.put("zerotrace", "secret-token", None, now=0.0)
    alone.forget("zerotrace", "secret-token")
    alone.end_turn("zerotrace")

    assert alone.get("zerotrace") is None
    assert alone.take_turn("zerotrace", 30.0)


def test_no_text_of_it_shows_the_key(stores: Stores) -> None:
    """Neither the shelf's nor the store's."""
    store = stores(encryption_key=KEY)

    assert KEY.decode() not in repr(store) + repr(store.tokens())
