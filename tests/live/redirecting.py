"""A proxy in front of a registry that redirects downloads of blobs, like the hosted ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.serving import served

_HOP = frozenset({"connection", "transfer-encoding", "content-encoding", "keep-alive"})


class RedirectingRegistry:
    """Passes requests on to the registry at `url`, but redirects a GET of a blob to a signed URL at another
    port. The storage refuses an Authorization header, like Azure's.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self.storage_url = ""
        self.stored_reads: list[str] = []  # method and Range of each request to the storage

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve the registry and the storage; yields the registry's URL."""
        with served(self._storage) as self.storage_url, served(self._registry) as url:
            yield url

    def _registry(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "GET" and re.search(r"/blobs/sha256:[0-9a-f]{64}$", path):
            location = f"{self.storage_url}{path}?sig=a%2Fb%3D"
            start_response("307 Temporary Redirect", [("Location", location), ("Content-Length", "0")])
            return [b""]
        return self._pass_on(environ, start_response)

    def _storage(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.stored_reads.append(f"{environ['REQUEST_METHOD']} {environ.get('HTTP_RANGE', '')}".strip())
        if "HTTP_AUTHORIZATION" in environ or environ["QUERY_STRING"] != "sig=a%2Fb%3D":
            start_response("400 Bad Request", [("Content-Length", "0")])
            return [b""]
        return self._pass_on(environ, start_response)

    def _pass_on(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Headers that matter go along both ways, bodies as they are."""
        names = {"HTTP_AUTHORIZATION", "HTTP_ACCEPT", "HTTP_RANGE", "CONTENT_TYPE"}
        headers = {
            name.removeprefix("HTTP_").replace("_", "-"): environ[name] for name in names if environ.get(name)
        }
        length = int(environ.get("CONTENT_LENGTH") or 0)
        query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        answer = self._session.request(
            environ["REQUEST_METHOD"],
            f"{self._url}{environ['PATH_INFO']}{query}",
            headers={"Accept-Encoding": "identity", **headers},
            data=environ["wsgi.input"].read(length),
            allow_redirects=False,
            timeout=30,
        )
        passed = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
        start_response(f"{answer.status_code} {answer.reason}", passed)
        return [answer.content]
