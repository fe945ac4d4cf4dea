"""Every scenario, in the order of the page."""

from . import waiting, again, signing, timing, left, cost  # noqa: F401, I001 - importing them adds their scenarios, in this order
from .observe import SCENARIOS

__all__ = ["SCENARIOS"]
