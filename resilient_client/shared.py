"""Sharing budgets, breakers and tokens between processes: what needs the extra `redis`."""

from __future__ import annotations

from ._guard.shared.link import StoreAwayError
from ._guard.shared.store import RedisStore

__all__ = ["RedisStore", "StoreAwayError"]
