"""A service with OSV's API on a real socket, which records what it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.serving import served

MODIFIED = "2026-01-02T03:04:05.678901Z"


@dataclass
class VulnerabilityService:
    """Has vulnerabilities by the name of the project. `answer` gets each request, and returns the response,
    or None for the usual one.
    """

    known: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    answer: Callable[[Request], Response | None] | None = None
    calls: list[str] = field(default_factory=list)  # `POST /v1/query 200`
    requests: list[Request] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    url: str = ""

    def add(self, name: str, identifier: str) -> dict[str, Any]:
        """Record a vulnerability of all versions of a project below 99."""
        document = {
            "id": identifier,
            "schema_version": "1.6.0",
            "modified": MODIFIED,
            "published": MODIFIED,
            "summary": f"{name} is broken",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
                }
            ],
        }
        self.known.setdefault(name, []).append(document)
        return document

    def names(self) -> list[str]:
        """The names that it was asked about, in order."""
        queries = (query for body in self.bodies for query in body.get("queries", [body]))
        return [query["package"]["name"] for query in queries]

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        data = request.get_data()
        self.requests.append(request)
        if data:
            self.bodies.append(json.loads(data))
        response = (self.answer(request) if self.answer is not None else None) or self._answer(request, data)
        self.calls.append(f"{request.method} {request.path} {response.status_code}")
        return response(environ, start_response)

    def _answer(self, request: Request, data: bytes) -> Response:
        if request.path == "/v1/querybatch" and request.method == "POST":
            return self._json({"results": [self._brief(query) for query in json.loads(data)["queries"]]})
        if request.path == "/v1/query" and request.method == "POST":
            found = self._of(json.loads(data))
            return self._json({"vulns": found} if found else {})
        identifier = request.path.removeprefix("/v1/vulns/")
        for document in (each for listed in self.known.values() for each in listed):
            if document["id"] == identifier:
                return self._json(document)
        return self._json({"code": 5, "message": "Bug not found."}, 404)

    def _brief(self, query: dict[str, Any]) -> dict[str, Any]:
        found = [{"id": each["id"], "modified": each["modified"]} for each in self._of(query)]
        return {"vulns": found} if found else {}

    def _of(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        return self.known.get(query["package"]["name"], [])

    @staticmethod
    def _json(document: Any, status: int = 200) -> Response:
        return Response(json.dumps(document), status, content_type="application/json")


@contextmanager
def vulnerability_service() -> Iterator[VulnerabilityService]:
    """A service that answers as long as the block lasts."""
    service = VulnerabilityService()
    with served(service) as url:
        service.url = f"{url}/"
        yield service
