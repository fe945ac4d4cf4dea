"""What benchmarks/peers.py measures with: the libraries, the scenarios, and the page that shows what came of it."""

from .over_httpx import OVER_HTTPX
from .over_others import OVER_OTHERS

__all__ = ["PEERS"]

# This library, then httpx alone, then its peers by name.
PEERS = (*OVER_HTTPX[:2], *sorted((*OVER_HTTPX[2:], *OVER_OTHERS), key=lambda peer: peer.name))
