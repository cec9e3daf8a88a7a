"""One namespace at a running server, as its clients see it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import requests

from pyoci.errors import NotFound
from tests.torture.operations import CONTENTS, State

_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
_PATIENCE = 60  # seconds


@dataclass(frozen=True, slots=True)
class Served:
    """`url` ends with a slash. Each call has a connection of its own. Raises AssertionError for an answer
    that isn't meant to come, and what requests raises where none comes.
    """

    url: str

    def publish(self, filename: str, content: bytes) -> None:
        form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
        self._ask("POST", "", data=form, files={"content": (filename, content)})

    def yank(self, filename: str, reason: str) -> None:
        self._ask("PATCH", f"hello-world/{filename}", json={"yanked": reason})

    def delete(self, filename: str) -> None:
        self._ask("DELETE", f"hello-world/{filename}")

    def state(self) -> State:
        try:
            files = self._ask("GET", "hello-world/", headers=_JSON).json()["files"]
        except NotFound:
            return {}
        for file in files:
            content = self._ask("GET", f"hello-world/{quote(file['filename'])}").content
            assert content == CONTENTS[file["filename"]], file
        return {file["filename"]: file.get("yanked") or None for file in files}

    def _ask(self, method: str, path: str, **arguments: object) -> requests.Response:
        answer = requests.request(method, self.url + path, timeout=_PATIENCE, **arguments)  # type: ignore[arg-type]
        if answer.status_code == 404:
            raise NotFound(answer.text)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer
