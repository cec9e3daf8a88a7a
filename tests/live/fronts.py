"""A proxy in front of a registry: it records requests, and can hide repositories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.serving import served

_HOP = frozenset({"connection", "transfer-encoding", "content-encoding", "keep-alive", "date"})
_PASSED = ("HTTP_AUTHORIZATION", "HTTP_ACCEPT", "HTTP_RANGE", "HTTP_HOST", "CONTENT_TYPE")


class Front:
    """Passes requests on to the registry at `url`. With `conceals` a caller without access to a repository
    gets a 404, like from ghcr.io. Without `lists` it has no list of repositories.
    """

    def __init__(self, url: str, *, conceals: bool = False, lists: bool = True) -> None:
        self._url = url
        self._lists = lists
        self._conceals = conceals
        self._session = requests.Session()
        self._session.trust_env = False
        self.asked: list[str] = []  # method and path

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve; yields the URL."""
        with served(self) as url, self._session:
            yield url

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if environ["PATH_INFO"] == "/v2/_catalog" and not self._lists:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        answer = self._passed_on(environ)
        status, headers, body = f"{answer.status_code} {answer.reason}", dict(answer.headers), answer.content
        if self._conceals and "insufficient_scope" in headers.get("WWW-Authenticate", ""):
            error = {"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}
            body = json.dumps({"errors": [error]}).encode()
            status, headers = "404 Not Found", {"Content-Length": str(len(body))}
        passed = [(name, value) for name, value in headers.items() if name.lower() not in _HOP]
        start_response(status, passed)
        return [body]

    def _passed_on(self, environ: dict[str, Any]) -> requests.Response:
        named = {name.removeprefix("HTTP_").replace("_", "-"): environ.get(name) for name in _PASSED}
        query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        return self._session.request(
            environ["REQUEST_METHOD"],
            f"{self._url}{environ['PATH_INFO']}{query}",
            headers={"Accept-Encoding": "identity"} | {name: value for name, value in named.items() if value},
            data=environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
            allow_redirects=False,
            timeout=30,
        )
