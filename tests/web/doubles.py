"""A PackageStore in memory, registries with two aliases, and files for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.names import ProjectName
from pyoci.errors import AlreadyExists, Denied, NotFound, PyOCIError, Unauthorized
from pyoci.oci.credentials import Anonymous, Basic, Credentials
from pyoci.oci.references import Registry
from pyoci.store.models import (
    Absence,
    ByteRange,
    FileStream,
    ForeignPage,
    Namespace,
    PackageFile,
    ProjectPage,
    ProjectSummary,
    Published,
    Root,
    Upload,
)
from pyoci.store.status import parse_status
from pyoci.store.writing.destination import UploadAddress
from pyoci.store.writing.incoming import IncomingForm
from pyoci.web.addresses import IndexAddress

UPLOADED = datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC)
PIECE = 4096  # bytes


def make_file(filename: str = "hello_world-1.0-py3-none-any.whl", **overrides: Any) -> PackageFile:
    """A file as the store describes it. Without overrides it has everything that each upload has."""
    values: dict[str, Any] = {
        "distribution": parse_filename(filename),
        "sha256": hashlib.sha256(filename.encode()).hexdigest(),
        "size": 1234,
        "upload_time": UPLOADED,
    }
    return PackageFile(**(values | overrides))


def make_page(*files: PackageFile, name: str = "hello-world") -> ProjectPage:
    return ProjectPage(ProjectName.parse(name), files)


@dataclass
class Registries:
    """Registries with aliases. Any host is allowed, except one."""

    aliases: dict[str, Registry] = field(
        default_factory=lambda: {
            "local": Registry("embedded", "local"),
            "lab": Registry("http", "10.0.0.5:5000"),
        }
    )
    asked: list[str] = field(default_factory=list)

    def knows(self, text: str) -> bool:
        return text in self.aliases

    def parse(self, text: str) -> Registry:
        self.asked.append(text)
        if text == "forbidden.example":
            raise Denied(
                "forbidden.example is not allowed here; PYOCI_REGISTRIES lists the allowed registries"
            )
        return self.aliases.get(text.lower()) or Registry.parse(text)


@dataclass
class Kept:
    file: PackageFile
    content: bytes
    metadata: bytes | None = None


@dataclass
class MemoryCatalog:
    """The lists of a MemoryStore. `described` is what it says of its projects; `failure` is why the catalogue
    repository can't be updated.
    """

    store: MemoryStore
    failure: str = ""
    described: dict[ProjectName, ProjectSummary | None] = field(default_factory=dict)

    def root(self, namespace: Namespace, caller: Credentials) -> Root:
        return Root(self.store.projects(namespace, caller), namespace)

    def summaries(
        self, namespace: Namespace, names: Sequence[ProjectName], caller: Credentials
    ) -> dict[ProjectName, ProjectSummary | None]:
        return {name: self.described[name] for name in names if name in self.described}


class MemoryStore:
    """A PackageStore over dictionaries. Every call raises `failure`, if set, and is recorded in `calls`."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, ProjectName], dict[str, Kept]] = {}
        self.elsewhere: dict[ProjectName, ForeignPage] = {}
        self.summaries: dict[ProjectName, str] = {}
        self.password: str | None = None
        self.failure: Exception | None = None
        self.no_list: PyOCIError | None = None
        self.catalog = MemoryCatalog(self)
        self.refused: dict[str, PyOCIError] = {}  # by the namespace, what is raised in place of an absence
        self.calls: list[tuple[Any, ...]] = []
        self.uploads: list[Upload] = []
        self.streams: list[Stream] = []
        self.break_after: int | None = None

    def put(
        self,
        filename: str,
        content: bytes = b"the bytes of a file",
        *,
        namespace: str = "ghcr.io/acme",
        metadata: bytes | None = None,
        **overrides: Any,
    ) -> PackageFile:
        """Store a file, like an earlier upload."""
        values = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        if metadata is not None:
            values["core_metadata"] = hashlib.sha256(metadata).hexdigest()
        file = make_file(filename, **(values | overrides))
        self._files(namespace, file.distribution.name)[filename] = Kept(file, content, metadata)
        return file

    def projects(self, namespace: Namespace, caller: Credentials) -> tuple[ProjectName, ...]:
        self._asked("projects", caller, str(namespace))
        if self.no_list is not None:
            raise self.no_list
        return tuple(sorted(name for place, name in self.kept if place == str(namespace)))

    def find(
        self,
        namespace: Namespace,
        name: ProjectName,
        caller: Credentials,
        *,
        below: Namespace | None = None,
        after: Absence | None = None,
        ask_upstream: bool = True,
        fresh: bool = False,
    ) -> ProjectPage | Root | ForeignPage:
        try:
            return self.page(namespace, name, caller, fresh=fresh)
        except NotFound:
            projects = self.projects(below, caller) if below is not None and self.no_list is None else ()
            if projects:
                return Root(projects)
            if ask_upstream and name in self.elsewhere:
                return self.elsewhere[name]
            raise

    def absence(
        self,
        namespace: Namespace,
        name: ProjectName,
        caller: Credentials,
        *,
        below: Namespace | None = None,
        fresh: bool = False,
    ) -> Absence | None:
        self._asked("absence", caller, str(namespace), name)
        if str(namespace) in self.refused:
            raise self.refused[str(namespace)]
        if (str(namespace), name) in self.kept:
            return None
        return None if below is not None and self.projects(below, caller) else Absence()

    def page(
        self, namespace: Namespace, name: ProjectName, caller: Credentials, *, fresh: bool = False
    ) -> ProjectPage:
        self._asked("page", caller, str(namespace), name, fresh)
        files = [kept.file for kept in self._project(namespace, name).values()]
        return ProjectPage(name, tuple(sorted(files, key=lambda file: file.version)))

    def describe(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials, *, sha256: str = ""
    ) -> PackageFile:
        self._asked("describe", caller, str(namespace), name, filename)
        kept = self._one(namespace, name, filename, sha256)
        return replace(kept.file, size=len(kept.content))

    def open(
        self,
        namespace: Namespace,
        name: ProjectName,
        filename: str,
        caller: Credentials,
        byte_range: ByteRange | None = None,
        *,
        sha256: str = "",
    ) -> FileStream:
        self._asked("open", caller, str(namespace), name, filename, byte_range)
        kept = self._one(namespace, name, filename, sha256)
        size = len(kept.content)
        span = byte_range.within(size) if byte_range else None
        self.streams.append(
            Stream(kept.content[span.start : span.stop] if span else kept.content, self.break_after)
        )
        return FileStream(kept.file, size, span, self.streams[-1])

    def metadata(
        self, namespace: Namespace, name: ProjectName, filename: str, caller: Credentials, *, sha256: str = ""
    ) -> bytes:
        self._asked("metadata", caller, str(namespace), name, filename)
        found = self._one(namespace, name, filename, sha256).metadata
        if found is None:
            raise NotFound(f"{filename} has no metadata")
        return found

    def summary(self, namespace: Namespace, page: ProjectPage, caller: Credentials) -> str:
        return self.summaries.get(page.name, "")

    def publish(
        self, address: Namespace | UploadAddress, incoming: IncomingForm, caller: Credentials
    ) -> Published:
        address = address if isinstance(address, UploadAddress) else UploadAddress(address)
        self._asked("publish", caller, str(address.namespace))
        upload = incoming.whole()
        self.uploads.append(upload)
        content = upload.content.read()
        assert len(content) == upload.size
        name = ProjectName.parse(upload.name) if upload.name else parse_filename(upload.filename).name
        namespace = self._destination(address)
        there = self._files(str(namespace), name)
        digest = hashlib.sha256(content).hexdigest()
        if upload.filename in there and there[upload.filename].file.sha256 != digest:
            kept = there[upload.filename].file.sha256
            raise AlreadyExists(f"File already exists ('{upload.filename}', with sha256 hash '{kept}').")
        file = self.put(upload.filename, content, namespace=str(namespace))
        return Published(file, namespace.repository(name), self.catalog.failure)

    def _destination(self, address: UploadAddress) -> Namespace:
        place = str(address.namespace)
        in_use = any(kept == place or kept.startswith(f"{place}/") for kept, _ in self.kept)
        return address.namespace if in_use or address.alias_of is None else address.alias_of

    def yank(
        self, namespace: Namespace, name: ProjectName, target: str, reason: str | None, caller: Credentials
    ) -> tuple[str, ...]:
        self._asked("yank", caller, str(namespace), name, target, reason)
        targets = self._targets(namespace, name, target)
        for filename, kept in targets.items():
            self._project(namespace, name)[filename].file = replace(kept.file, yanked=reason)
        return tuple(kept.file.sha256 for kept in targets.values())

    def set_status(
        self, namespace: Namespace, name: ProjectName, status: str, reason: str, caller: Credentials
    ) -> None:
        self._asked("set_status", caller, str(namespace), name, status, reason)
        self._project(namespace, name)
        parse_status(status, reason)

    def delete(
        self, namespace: Namespace, name: ProjectName, target: str, caller: Credentials
    ) -> tuple[str, ...]:
        self._asked("delete", caller, str(namespace), name, target)
        targets = self._targets(namespace, name, target)
        for filename in targets:
            del self._project(namespace, name)[filename]
        return tuple(kept.file.sha256 for kept in targets.values())

    def _asked(self, call: str, caller: Credentials, *arguments: Any) -> None:
        self.calls.append((call, *arguments))
        if self.failure is not None:
            raise self.failure
        allowed = self.password is None or (isinstance(caller, Basic) and caller.password == self.password)
        if not allowed:
            raise Unauthorized(
                "the registry asks for credentials" if caller == Anonymous() else "wrong password"
            )

    def _files(self, namespace: str, name: ProjectName) -> dict[str, Kept]:
        return self.kept.setdefault((namespace, name), {})

    def _project(self, namespace: Namespace, name: ProjectName) -> dict[str, Kept]:
        found = self.kept.get((str(namespace), name))
        if found is None:
            raise NotFound(f"there is no project {name} in {namespace}")
        return found

    def _one(self, namespace: Namespace, name: ProjectName, filename: str, sha256: str = "") -> Kept:
        found = self._project(namespace, name).get(filename)
        if found is None or not found.file.sha256.startswith(sha256):
            raise NotFound(f"there is no file {filename} of {name}")
        return found

    def _targets(self, namespace: Namespace, name: ProjectName, target: str) -> dict[str, Kept]:
        files = self._project(namespace, name)
        found = {n: kept for n, kept in files.items() if target in {n, str(kept.file.version)}}
        if not found:
            raise NotFound(f"there is no {target} of {name}")
        return found


class Stream(Iterator[bytes]):
    """The pieces of a file. Records whether it was closed, and breaks after `break_after` pieces."""

    def __init__(self, content: bytes, break_after: int | None = None) -> None:
        self._pieces = [content[i : i + PIECE] for i in range(0, len(content), PIECE)]
        self._left = break_after
        self.closed = False

    def __next__(self) -> bytes:
        if self._left == 0:
            raise ValueError("the registry hung up at https://user:secret@10.0.0.5/")
        if self._left is not None:
            self._left -= 1
        if not self._pieces:
            raise StopIteration
        return self._pieces.pop(0)

    def close(self) -> None:
        self.closed = True


def reading(
    knows: Callable[[str], bool] = lambda text: text in {"local", "lab"},
) -> Callable[[str], IndexAddress]:
    """Parses paths like a site with these aliases."""
    return lambda path: IndexAddress.read(path, knows)
