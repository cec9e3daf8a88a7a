"""Flask: translates between HTTP and the store, and decides nothing."""

from pyoci.web.blueprints import register
from pyoci.web.context import Site

__all__ = ["Site", "register"]
