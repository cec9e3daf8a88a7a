"""A small OCI registry over a directory of OCI image layouts: for trying, for one machine, for tests.

`create_blueprint` serves it below /v2/ of another application, `create_registry_app` within the process, `gc`
collects its garbage. `Htpasswd` and `at_the_keyboard` say who may come in, `identity` which registry it is.
"""

from pyoci.embedded.access import Htpasswd, at_the_keyboard
from pyoci.embedded.collection import Collected, gc
from pyoci.embedded.identity import identity
from pyoci.embedded.registry import create_blueprint, create_registry_app

__all__ = [
    "Collected",
    "Htpasswd",
    "at_the_keyboard",
    "create_blueprint",
    "create_registry_app",
    "gc",
    "identity",
]
