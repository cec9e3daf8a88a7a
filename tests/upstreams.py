"""A package index on a real socket, whose answers the test decides."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from pyoci.distributions.filenames import parse_filename
from tests.builders import make_metadata, make_wheel
from tests.serving import served

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"


@dataclass
class PackageIndex:
    """Serves /simple/<project>/ and the files of its projects, and records the requests.

    `forms` are the representations that it has; a client that accepts anything gets the first. `answer` gets
    each request, and returns the response, or None for the usual one. After `hang()` requests wait until
    `go_on()` or the end.
    """

    projects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    forms: tuple[str, ...] = (JSON, HTML)
    cache_control: str | None = "max-age=600, public"
    etag: bool = True
    zipped: bool = True
    keys: dict[str, Any] = field(default_factory=dict)  # of each JSON page, beside the usual ones
    authorization: str | None = None  # the header that it wants, of whoever asks for a page
    answer: Callable[[Request], Response | None] | None = None
    calls: list[str] = field(default_factory=list)  # `GET /simple/flask/ 200`
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    contents: dict[str, bytes] = field(default_factory=dict)  # of what is below /files/

    def __post_init__(self) -> None:
        self._go_on = threading.Event()
        self._go_on.set()
        self.waiting = threading.Semaphore(0)  # released by each request that has to wait

    @property
    def simple(self) -> str:
        """The URL for PYOCI_UPSTREAM_INDEX."""
        return f"{self.url}/simple/"

    def hang(self) -> None:
        """Answer no requests from now on."""
        self._go_on.clear()

    def go_on(self) -> None:
        """Answer all requests again."""
        self._go_on.set()

    def add(self, filename: str, content: bytes, **keys: Any) -> dict[str, Any]:
        """Offer a file; `keys` are further ones of its entry, `requires_python` for `requires-python`."""
        entry: dict[str, Any] = {
            "filename": filename,
            "url": f"../../files/{filename}",
            "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
            "size": len(content),
            "upload-time": "2026-01-02T03:04:05.678901Z",
        }
        entry.update({key.replace("_", "-"): value for key, value in keys.items()})
        self.contents[filename] = content
        self.projects.setdefault(parse_filename(filename).name.normalized, []).append(entry)
        return entry

    def add_versions(self, name: str, count: int) -> None:
        """Offer an empty sdist of each of so many versions."""
        entry = self.add(f"{name}-0.0.tar.gz", b"")
        names = (f"{name}-{number}.0.tar.gz" for number in range(1, count))
        self.projects[name] += [
            {**entry, "filename": filename, "url": f"../../files/{filename}"} for filename in names
        ]

    def add_wheel(self, name: str, version: str = "1.0", **arguments: Any) -> dict[str, Any]:
        """Offer a wheel that installs, and its METADATA."""
        filename, content = make_wheel(name, version, **arguments)
        headers = {key: arguments[key] for key in ("requires", "requires_python") if key in arguments}
        metadata = make_metadata(name, version, **headers)
        self.contents[f"{filename}.metadata"] = metadata
        hashed = {"sha256": hashlib.sha256(metadata).hexdigest()}
        keys = {key: value for key, value in headers.items() if key == "requires_python"}
        return self.add(filename, content, core_metadata=hashed, **keys)

    def add_provenance(self, entry: dict[str, Any], content: bytes) -> None:
        """Offer the provenance (PEP 740) of a file that was added."""
        name = f"{entry['filename']}.provenance"
        self.contents[name] = content
        entry["provenance"] = f"{self.url}/files/{name}"

    def add_file(self, path: Path, **keys: Any) -> dict[str, Any]:
        """Offer a file on the disk, as tests/live/packages.py writes it."""
        return self.add(path.name, path.read_bytes(), **keys)

    def content(self, filename: str) -> bytes:
        """The bytes of a file that it offers."""
        return self.contents[filename]

    def asked(self, project: str) -> int:
        """How often a project's page was asked for."""
        return sum(f"/simple/{project}/ " in call for call in self.calls)

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        self.requests.append(request)
        if not self._go_on.is_set():
            self.waiting.release()
            self._go_on.wait(60)
        response = (self.answer(request) if self.answer is not None else None) or self._answer(request)
        self.calls.append(f"{request.method} {request.path} {response.status_code}")
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        folder, _, rest = request.path.strip("/").partition("/")
        if folder == "files" and rest in self.contents:
            return Response(self.contents[rest], content_type="application/octet-stream")
        if folder != "simple" or rest not in self.projects:
            return Response("nothing here", 404)
        if self.authorization not in (None, request.headers.get("Authorization")):
            return Response("who are you?", 401, {"WWW-Authenticate": "Basic"})
        return self._page(request, rest)

    def _page(self, request: Request, name: str) -> Response:
        form = request.accept_mimetypes.best_match(self.forms)
        if form is None:
            return Response("not that", 406)
        body = (
            json_page(name, self.projects[name], **self.keys)
            if form == JSON
            else html_page(self.projects[name])
        ).encode()
        response = Response(body, content_type=form)
        if self.cache_control is not None:
            response.headers["Cache-Control"] = self.cache_control
        if self.etag:
            response.set_etag(hashlib.sha256(body).hexdigest()[:16])
            response.make_conditional(request)
        if (
            self.zipped
            and response.status_code == 200
            and "gzip" in request.headers.get("Accept-Encoding", "")
        ):
            response.data = gzip.compress(body, mtime=0)
            response.headers["Content-Encoding"] = "gzip"
        return response


def json_page(name: str, files: list[dict[str, Any]], **keys: Any) -> str:
    """A project's page as JSON of the version 1.4."""
    versions = dict.fromkeys(str(parse_filename(file["filename"]).version) for file in files)
    page = {"meta": {"api-version": "1.4"}, "name": name, "files": files, "versions": list(versions)}
    return json.dumps({**page, **keys})


def html_page(files: list[dict[str, Any]]) -> str:
    """A project's page as HTML, with those keys that HTML has a place for."""
    links = "\n".join(_link(file) for file in files)
    head = '<meta name="pypi:repository-version" content="1.4">'
    return f"<!DOCTYPE html><html><head>{head}</head><body>\n{links}\n</body></html>"


def _link(file: dict[str, Any]) -> str:
    (algorithm, digest), *_ = file["hashes"].items()
    attributes = {"href": f"{file['url']}#{algorithm}={digest}"}
    if "requires-python" in file:
        attributes["data-requires-python"] = file["requires-python"]
    if "core-metadata" in file:
        hashes = file["core-metadata"]
        attributes["data-core-metadata"] = "true" if hashes is True else "=".join(*hashes.items())
    if file.get("yanked"):
        attributes["data-yanked"] = "" if file["yanked"] is True else file["yanked"]
    spelled = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return f"<a {spelled}>{escape(file['filename'])}</a><br>"


def ago(hours: float) -> str:
    """The `upload-time` of a file that was uploaded so many hours before now."""
    return (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def package_index(**settings: Any) -> Iterator[PackageIndex]:
    """A package index that serves as long as the block lasts."""
    elsewhere = PackageIndex(**settings)
    with served(elsewhere) as elsewhere.url:
        try:
            yield elsewhere
        finally:
            elsewhere.go_on()
