"""Lender: gives requests without credentials those of the user who runs the server, on this machine alone.

The user's stored logins are used as `find_credentials` finds them, each for its own registry. The checks are
those of the embedded registry: a request over the network, through a proxy or from a web page gets nothing.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from cachetools import TTLCache

from pyoci.embedded import refusal_for_remote_peer
from pyoci.errors import PyOCIError
from pyoci.library.credentials import PASSWORD, USERNAME, find_credentials
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.oci.references import Registry
from pyoci.oci.registries import EMBEDDED

_SECONDS = 60.0  # that an answer is kept: a credential helper takes a tenth of a second
_HOSTS = 256  # whose answers are kept


class Lender:
    """Called with a registry and a request's environ. Raises Unauthorized if a login can't be read.

    PYOCI_USERNAME and PYOCI_PASSWORD don't count: they would be sent to any host that a request names.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._environ = {name: text for name, text in environ.items() if name not in {USERNAME, PASSWORD}}
        self._known: TTLCache[str, Credentials | PyOCIError] = TTLCache(_HOSTS, _SECONDS, timer=clock)
        self._guard = threading.Lock()
        self._asking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def __call__(self, registry: Registry, environ: dict[str, Any]) -> Credentials:
        if registry is EMBEDDED or refusal_for_remote_peer(environ) is not None:
            return Anonymous()
        found = self._find(registry.host)
        if isinstance(found, PyOCIError):
            raise found.bare()
        return found

    def _find(self, host: str) -> Credentials | PyOCIError:
        """What is stored for a host, or why that can't be read. Threads that ask at once share one answer."""
        with self._guard:
            asking = self._asking[host]
        with asking:
            with self._guard:
                known = self._known.get(host)
            if known is None:
                try:
                    known = find_credentials(host, self._environ)
                except PyOCIError as exc:
                    known = exc.bare()
                with self._guard:
                    self._known[host] = known
                    if len(self._asking) > _HOSTS:
                        self._asking.clear()
        return known
