"""Where an import takes files from: any package index of the simple API, or a folder."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import unquote, urlsplit

from pyoci.distributions.filenames import SDIST_ENDINGS, parse_filename
from pyoci.errors import Denied, InvalidRequest, NotFound, ProtocolError
from pyoci.library.server import HASHES, SIMPLE, ServerIndex, normalized, verified
from pyoci.library.uploads import project_in
from pyoci.maintenance.dates import upload_times
from pyoci.net.addresses import Reach
from pyoci.net.messages import READ_PIECE, Answer, Call, Stream
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Credentials
from pyoci.oci.references import shown
from pyoci.simple_api import model
from pyoci.simple_api.reading import (
    names_in,
    read_document,
    read_html,
    read_json,
    read_links,
    read_traits,
)
from pyoci.store.status import yank_reason

_ACCEPT = f"{SIMPLE}, text/html;q=0.5"
_EXPECTED = "expected the URL of its simple API, like https://pypi.example.com/simple/"
_ORIGIN = "x-pyoci-origin"  # the header in which PyOCI says where a page comes from
_WITHHELD = "x-pyoci-withheld"  # `3; min-age, blocked`
_NAMES = 1_000_000  # projects of one index
_FILES = 1_000_000  # of one folder


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that can be imported. What the source doesn't tell is None."""

    filename: str
    location: str = field(repr=False)  # a URL or a path
    hashes: Mapping[str, str] = field(default_factory=dict)  # hex by algorithm; may be empty
    size: int | None = None  # bytes
    upload_time: datetime | None = None
    yanked: str | None = None  # the reason, "" if none was given; None: not yanked
    requires_python: str | None = None
    provenance: str | None = field(default=None, repr=False)  # the URL of a document (PEP 740)
    locked: Mapping[str, str] = field(default_factory=dict)  # further hashes, from a lock file
    lost: tuple[str, ...] = ()  # what an import can't keep


@dataclass(frozen=True, slots=True)
class SourcePage:
    """The files of a project. A PyOCI server says `is_private` if it has them in its registry, not from
    upstream, and how many files of upstream it has `withheld`, and by which rules.
    """

    files: tuple[SourceFile, ...]
    status: model.ProjectStatus = model.ACTIVE
    is_private: bool = False
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of a file, which are compared with its hash before the last piece; and when it was changed
    at the source, if that says so.
    """

    pieces: Iterator[bytes]
    modified: datetime | None = None


class Source(Protocol):
    """Files by project. Methods raise the kinds of `pyoci.errors`."""

    @property
    def address(self) -> str:
        """The URL of the index, or the path of the folder."""
        ...

    def projects(self) -> tuple[str, ...]:
        """The normalised names of all projects, sorted."""
        ...

    def page(self, project: str) -> SourcePage:
        """The files of a project. Raises NotFound."""
        ...

    def sha256(self, file: SourceFile) -> str | None:
        """The sha256 of a file whose hashes lack it, where that costs little; else None."""
        ...

    def fetch(self, file: SourceFile) -> AbstractContextManager[Fetched]:
        """Open a file for a `with` block."""
        ...


class IndexSource(ServerIndex):
    """A package index: PyPI, devpi, pypiserver, Artifactory, Nexus, GitLab, Pulp, PyOCI. Its credentials are
    sent to its own host alone. `is_trusted` says of the URL of a file elsewhere whether it may have a private
    address.
    """

    def __init__(
        self,
        url: str,
        caller: Credentials,
        transport: Transport,
        *,
        is_trusted: Callable[[str], bool] = lambda _url: False,
    ) -> None:
        super().__init__(url, caller, transport)
        self._is_trusted = is_trusted

    def projects(self) -> tuple[str, ...]:
        answer = self._document(self._call("GET", self.address, {"Accept": _ACCEPT}))
        if _is_json(answer):
            listed = names_in(read_document(answer.body, self._host))
            if listed is None:
                raise _no_index(self.address, "JSON that is no list of projects")
            names = iter(listed)
        else:
            names = _names_in_html(answer, self.address, self._host)
        found = {name for name in map(normalized, islice(names, _NAMES)) if name}
        if not _is_json(answer):
            _check_html(self.address, answer, self._host, "" if found else "projects")
        return tuple(sorted(found))

    def page(self, project: str) -> SourcePage:
        call = self._call("GET", f"{self.address}{project}/", {"Accept": _ACCEPT})
        answer = self._document(call)
        if _is_json(answer):
            page = read_json(answer.body, project, call.url, self._host)
        else:
            page = read_html(answer.body, project, call.url, self._host)
            _check_html(call.url, answer, self._host, "" if page.files else "files")
        status = page.status or model.ACTIVE
        found = tuple(_source_file(file, status) for file in page.files)
        if not all(file.upload_time is not None for file in found):
            known = upload_times(self.address, project, [file.location for file in found], self._json)
            found = tuple(
                replace(file, upload_time=file.upload_time or known.get(file.filename)) for file in found
            )
        headers = answer.headers
        return SourcePage(found, status, headers.get(_ORIGIN) == "registry", headers.get(_WITHHELD, ""))

    def sha256(self, file: SourceFile) -> str | None:
        return None

    @contextmanager
    def fetch(self, file: SourceFile) -> Iterator[Fetched]:
        is_checked = any(name in file.hashes for name in HASHES)
        if not is_checked and file.location.startswith("http:") and self.address.startswith("https:"):
            raise ProtocolError(
                f"{file.filename} has a URL of plain http, and no hash on its page, so its bytes can't be"
                " trusted; expected a hash or https"
            )
        stream = self._opened(self._call("GET", file.location))
        with closing(stream):
            modified = _http_date(stream.headers.get("last-modified"))
            yield Fetched(
                verified(stream.pieces(READ_PIECE), file.filename, file.size, file.hashes), modified
            )

    def provenance(self, file: SourceFile) -> str:
        """The provenance of a file, a JSON document; "" if its page names none."""
        if file.provenance is None:
            return ""
        answer = self._document(self._call("GET", file.provenance, {"Accept": "application/json, */*;q=0.1"}))
        try:
            text = answer.body.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or not isinstance(read_document(answer.body, self._host), dict):
            raise ProtocolError(f"the provenance of {file.filename} is not a JSON object in UTF-8")
        return text

    def _reach_elsewhere(self, url: str) -> Reach:
        return Reach.LISTED if self._is_trusted(url) else super()._reach_elsewhere(url)

    def _stream(self, call: Call) -> Stream:
        try:
            return super()._stream(call)
        except Denied as exc:  # by the transport, whose message is about registries
            raise Denied(
                f"{call.name} has a private address; expected PYOCI_UPSTREAM_FILE_HOSTS to list it"
            ) from exc

    def _json(self, url: str) -> Any:
        answer = self._document(self._call("GET", url, {"Accept": "application/json"}))
        try:
            return read_document(answer.body, self._host)
        except ProtocolError:
            return None


class FolderSource:
    """A folder of wheels and sdists, with its subfolders. A file's time of modification is its upload time,
    as pypiserver has it.
    """

    def __init__(self, folder: Path) -> None:
        """Raises NotFound if there is no such folder."""
        if not folder.is_dir():
            raise NotFound(f"there is no folder {folder}; expected one of wheels and sdists, or a URL")
        self.address = str(folder)
        self._files: defaultdict[str, list[SourceFile]] = defaultdict(list)
        for path in islice(sorted(folder.rglob("*")), _FILES):
            if path.name.endswith((".whl", *SDIST_ENDINGS)) and path.is_file():
                with suppress(FileNotFoundError):  # it was removed at this moment
                    self._add(path, path.stat())

    def _add(self, path: Path, found: os.stat_result) -> None:
        file = SourceFile(
            filename=path.name,
            location=str(path),
            size=found.st_size,
            upload_time=_moment(found.st_mtime),
        )
        self._files[_project_of(path)].append(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """There is nothing to close."""

    def projects(self) -> tuple[str, ...]:
        return tuple(sorted(self._files))

    def page(self, project: str) -> SourcePage:
        if project not in self._files:
            raise NotFound(f"{self.address} has no files of {project}")
        return SourcePage(tuple(self._files[project]))

    def sha256(self, file: SourceFile) -> str | None:
        with Path(file.location).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    @contextmanager
    def fetch(self, file: SourceFile) -> Iterator[Fetched]:
        with Path(file.location).open("rb") as content:
            yield Fetched(iter(lambda: content.read(READ_PIECE), b""))


def _source_file(file: model.File, status: model.ProjectStatus) -> SourceFile:
    lost = () if status.status == model.ACTIVE.status else (f"the project's status {status.status!r}",)
    if file.gpg_sig:
        lost = (*lost, "its PGP signature")
    return SourceFile(
        filename=file.filename,
        location=file.url,
        hashes=file.hashes,
        size=file.size,
        upload_time=_iso_date(file.upload_time),
        yanked=yank_reason(file),
        requires_python=file.requires_python,
        provenance=file.provenance,
        lost=lost,
    )


def _check_html(url: str, answer: Answer, sender: str, missing: str) -> None:
    """Raises InvalidRequest if an answer that isn't JSON is no page of the simple API either. It has no links
    to what is `missing`.
    """
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    traits = read_traits(answer.body, sender)
    title = f" titled {shown(traits.title)}" if traits.title else ""
    if traits.asks_for_password:
        raise _no_index(
            url,
            f"a page{title} that asks for a password",
            ", and the login in PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD",
        )
    if not missing or traits.is_simple:
        return
    is_html = kind in {"", "text/html", "application/xhtml+xml", "application/vnd.pypi.simple.v1+html"}
    raise _no_index(url, f"an HTML page{title} without links to {missing}" if is_html else shown(kind))


def _no_index(url: str, found: str, remedy: str = "") -> InvalidRequest:
    return InvalidRequest(f"{url} is not a package index: it answered with {found}; {_EXPECTED}{remedy}")


def _is_json(answer: Answer) -> bool:
    return "json" in answer.headers.get("content-type", "").partition(";")[0]


def _names_in_html(answer: Answer, base: str, sender: str) -> Iterator[object]:
    path = urlsplit(base).path
    for linked in read_links(answer.body, base, sender):
        if linked.startswith(path):  # not "to the parent folder", nor a stylesheet
            yield unquote(linked.removeprefix(path).strip("/"))


def _project_of(path: Path) -> str:
    """The project of a file. If none can be read, the beginning of its name, so that the file is named among
    those that failed.
    """
    try:
        return parse_filename(path.name, project_in(path)).name.normalized
    except InvalidRequest:
        return normalized(path.name.partition("-")[0]) or path.name


def _iso_date(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _moment(seconds: float) -> datetime | None:
    """A time of modification; None if no date can be as far in the past or in the future."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
        if moment is None or moment.tzinfo is not None:
            return moment and moment.astimezone(UTC)
        return moment.replace(tzinfo=UTC)  # "-0000"
    except (ValueError, TypeError, OverflowError):
        return None
