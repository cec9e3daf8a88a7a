"""A package index for one namespace in one registry, as a test uses it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import requests

from tests.live.servers import Server

JSON_PAGE = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageIndex:
    """`url` ends with a slash. `registry` is the same namespace for skopeo: host, port and path."""

    url: str
    registry: str
    username: str = "somebody"
    password: str = "anything"

    @classmethod
    def new(cls, pyoci: Server, registry: str, host: str) -> Self:
        """An unused namespace in the registry with the alias `registry` and the address `host`."""
        namespace = f"acme/n{uuid.uuid4().hex[:12]}"
        return cls(url=f"{pyoci.url}/{registry}/{namespace}/", registry=f"{host}/{namespace}")

    def signed_in(self, username: str, password: str) -> Self:
        """The same index for a caller with these credentials."""
        return replace(self, username=username, password=password)

    @property
    def url_with_credentials(self) -> str:
        parts = urlsplit(self.url)
        user = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))

    def get(self, path: str, **headers: str) -> requests.Response:
        """GET `path` below the index."""
        return self._request("GET", path, headers=headers)

    def page(self, project: str) -> dict[str, Any]:
        """The page of an existing project, as JSON."""
        answer = self.get(f"{project}/", Accept=JSON_PAGE)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    def filenames(self, project: str) -> list[str]:
        """The names of the files on the page of `project`."""
        return [file["filename"] for file in self.page(project)["files"]]

    def upload(self, file: Path) -> None:
        """Upload a file with no more fields than it needs."""
        with file.open("rb") as content:
            answer = self._request("POST", "", data={":action": "file_upload"}, files={"content": content})
        assert answer.status_code == 200, answer.text

    def yank(self, path: str, reason: str | bool) -> None:
        """Yank a file or a version, `hello-world/1.0`."""
        answer = self._request("PATCH", path, json={"yanked": reason})
        assert answer.status_code == 200, answer.text

    def set_status(self, project: str, status: str, reason: str) -> None:
        """Set the status of a project."""
        answer = self._request("PATCH", f"{project}/", json={"status": status, "reason": reason})
        assert answer.status_code == 200, answer.text

    def delete(self, path: str) -> None:
        """Delete a file or a version, `hello-world/1.0`."""
        answer = self._request("DELETE", path)
        assert answer.status_code == 200, answer.text

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            session.auth = (self.username, self.password)
            return session.request(method, self.url + path, timeout=60, **options)
