"""The HTTP interface, with Flask: translates between HTTP and the store."""

from pyoci.web.blueprints import register
from pyoci.web.context import Site

__all__ = ["Site", "register"]
