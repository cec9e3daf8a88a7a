"""OsvDump: the malware among PyPI's projects, from a folder with entries of the OSV database (MAL-*.json)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyoci.distributions.filenames import Version, read_version
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from pyoci.events import Events
from pyoci.upstream.rules import age_text
from pyoci.upstream.shared_content import SharedContent

_CHECK = 60.0  # seconds between two looks at the folder
_FILES = 1_000_000
_SIZE = 4 * 1024 * 1024  # bytes of a file
_VERSIONS = 2_000_000  # in all entries
_ID = re.compile(r"MAL-[A-Za-z0-9-]{1,60}", re.ASCII)
_ECOSYSTEM = "pypi"


@dataclass(frozen=True, slots=True)
class _Interval:
    """Versions from `introduced` on, before `fixed`, up to `last`. None is no limit."""

    introduced: Version | None = None
    fixed: Version | None = None
    last: Version | None = None

    def covers(self, version: Version) -> bool:
        return not (
            (self.introduced is not None and version < self.introduced)
            or (self.fixed is not None and version >= self.fixed)
            or (self.last is not None and version > self.last)
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an entry of the database says about one project. Without versions and intervals it covers all."""

    id: str
    versions: tuple[str, ...]
    intervals: tuple[_Interval, ...]


_Entries = Mapping[str, tuple[_Entry, ...]]  # by project


class MalwareReport:
    """An entry about a project, with its versions parsed."""

    def __init__(self, entry: _Entry) -> None:
        self.id = entry.id
        self._everything = not entry.versions and not entry.intervals
        self._versions = {read_version(text) for text in entry.versions} - {None}
        self._intervals = entry.intervals

    def covers(self, version: Version | None) -> bool | None:
        """Whether a version is malware; None if that isn't known. 1.0+local counts as 1.0, too."""
        if self._everything:
            return True
        if version is None:
            return None
        same = {version, Version(version.public)}
        return bool(same & self._versions) or any(
            interval.covers(each) for interval in self._intervals for each in same
        )


class OsvDump:
    """The entries of a folder and its subfolders. One for the process.

    They are read again, in a thread, after a file has changed. While the folder is missing or one of its
    files is broken, the entries that were read before count, by whichever worker. A new worker process has
    those of the server's start, which may be old: its first request waits until they have been read again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        events: Events | None = None,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], None]], None] | None = None,
        process: Callable[[], int] = os.getpid,
    ) -> None:
        """Raises ValueError with a sentence, and OSError. `start` runs a function, in a thread as a rule.
        `process` identifies this process.
        """
        self._folder = folder
        self._events = events or Events()
        self._clock = clock
        self._start = start or _in_thread
        self._guard, self._forked = threading.Lock(), threading.Lock()
        self._process, self._read_in = process, process()
        self._signature = self._read_from = signature_of(folder)
        self._current = _read(folder), 0
        self._accepted = SharedContent()
        self._next = clock() + _CHECK

    @property
    def projects(self) -> int:
        """How many projects have entries."""
        return len(self._current[0])

    def age(self, now: float) -> str | None:
        """How long ago the newest file was changed, `3d`; None if files come and go."""
        try:
            return age_text(now - max(each.stat().st_mtime for each in _files(self._folder)))
        except (OSError, ValueError):
            return None

    @property
    def version(self) -> int:
        """Differs after each change. Has the folder looked at if that wasn't done for a minute."""
        if self._process() != self._read_in:
            self._read_after_fork()
        if self._clock() >= self._next:
            self._next = self._clock() + _CHECK
            self._start(self._refresh)
        return self._current[1]

    def of_project(self, name: str) -> tuple[MalwareReport, ...]:
        """The entries about a project, by its normalised name."""
        return tuple(map(MalwareReport, self._current[0].get(name, ())))

    def _read_after_fork(self) -> None:
        with self._forked:
            if self._process() != self._read_in:
                self._refresh()
                self._read_in, self._next = self._process(), self._clock() + _CHECK

    def _refresh(self) -> None:
        if self._guard.acquire(blocking=False):  # otherwise another thread is still at it
            try:
                self._read_again()
            finally:
                self._guard.release()

    def _read_again(self) -> None:
        try:
            signature = signature_of(self._folder)
            if signature == self._signature:
                return
            self._signature = signature
            entries = _read(self._folder)
        except (ValueError, OSError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            self._events.error("upstream", "database of malware not read", reason=reason)
            self._events.count("rules", "broken")
            self._take_accepted()
        else:
            self._take(signature, entries)
            head = f"{signature}\n".encode()
            if self._accepted.read(len(head)) != head:
                self._accepted.write(head + _packed(entries))
            self._events.info("upstream", "database of malware read", projects=len(entries))
            self._events.count("rules", "done")

    def _take_accepted(self) -> None:
        """The entries that another worker has read before the folder broke: this one may know older ones."""
        own = f"{self._read_from}\n".encode()
        if self._accepted.read(len(own)) not in {b"", own}:
            head, _, packed = self._accepted.read().partition(b"\n")
            if packed:
                self._take(head.decode(), _unpacked(packed))

    def _take(self, signature: str, entries: _Entries) -> None:
        self._read_from, self._current = signature, (entries, self._current[1] + 1)


def _in_thread(run: Callable[[], None]) -> None:
    try:
        threading.Thread(target=run, name="osv-dump", daemon=True).start()
    except RuntimeError:  # there are too many threads; the next look comes in a minute
        return


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The files of entries in a folder and its subfolders. Links to folders are not followed."""
    folders = [os.fspath(folder)]
    count = 0
    while folders:
        with os.scandir(folders.pop()) as found:
            for each in found:
                if each.is_dir(follow_symlinks=False):
                    folders.append(each.path)
                elif each.name.startswith("MAL-") and each.name.endswith(".json"):
                    if not each.is_file():  # to open a pipe would wait for whoever writes to it
                        raise ValueError(
                            f"{each.name[:100]!a} is no file; expected an entry of OSV's database"
                        )
                    count += 1
                    if count > _FILES:
                        raise ValueError(f"the folder has more than {_FILES} files MAL-*.json")
                    yield each


def signature_of(folder: Path) -> str:
    """Differs after each change of the files. Raises OSError."""
    parts = []
    for each in _files(folder):
        found = each.stat()
        parts.append(f"{each.path} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}")
    return hashlib.sha256("\n".join(sorted(parts)).encode("utf-8", "surrogateescape")).hexdigest()


def _read(folder: Path) -> _Entries:
    """The entries by project. Raises ValueError and OSError."""
    found: dict[str, tuple[_Entry, ...]] = {}
    versions, count = 0, 0
    for file in _files(folder):
        count += 1
        for name, entry in _entries(Path(file.path)):
            versions += len(entry.versions) + len(entry.intervals)
            if versions > _VERSIONS:
                raise ValueError(f"the entries name more than {_VERSIONS} versions")
            found[name] = (*found.get(name, ()), entry)
    if not count:
        raise ValueError("the folder has no files MAL-*.json; expected those of OSV's database")
    return found


def _entries(path: Path) -> Iterator[tuple[str, _Entry]]:
    """The projects in one file. Raises ValueError if it isn't an entry of OSV."""
    with path.open("rb") as file:
        content = file.read(_SIZE + 1)
    if len(content) > _SIZE:
        raise ValueError(f"{path.name} has more than {_SIZE} bytes")
    try:
        document = json.loads(content)
        if document.get("withdrawn"):
            return
        if not _ID.fullmatch(document["id"]):
            raise ValueError
        for affected in document["affected"]:
            package = affected.get("package", {})
            if package.get("ecosystem", "").partition(":")[0].lower() == _ECOSYSTEM:
                with suppress(InvalidRequest):  # nobody can ask for a project whose name is none
                    yield ProjectName.parse(package["name"]).normalized, _entry(document["id"], affected)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path.name[:100]!a} can't be read; expected an entry of OSV's database") from None


def _entry(identity: str, affected: Mapping[str, Any]) -> _Entry:
    versions, ranges = affected.get("versions") or [], affected.get("ranges") or []
    if not isinstance(versions, list) or not all(isinstance(text, str) for text in versions):
        raise ValueError
    if not isinstance(ranges, list):
        raise ValueError
    intervals: list[_Interval] = []
    for each in ranges:
        if each["type"] == "GIT":
            continue
        found = _intervals(each["events"])
        if found is None:
            return _Entry(identity, (), ())
        intervals += found
    return _Entry(identity, tuple(versions), tuple(intervals))


def _intervals(events: list[dict[str, str]]) -> list[_Interval] | None:
    """The affected intervals; None if a limit is no version, so that they may cover everything."""
    found: list[_Interval] = []
    begun: list[_Interval] = []
    for event in events:
        [(kind, text)] = event.items()
        version = read_version(text)
        if version is None:
            return None
        if kind == "introduced":
            found += begun
            begun = [_Interval(None if text == "0" else version)]
        elif kind in {"fixed", "last_affected"}:
            introduced = begun.pop().introduced if begun else None
            end = {"fixed": version} if kind == "fixed" else {"last": version}
            found.append(_Interval(introduced, **end))
    return found + begun


def _packed(entries: _Entries) -> bytes:
    """The entries for other workers."""
    document = {
        name: [[each.id, each.versions, [_texts(interval) for interval in each.intervals]] for each in found]
        for name, found in entries.items()
    }
    return zlib.compress(json.dumps(document).encode(), 1)


def _texts(interval: _Interval) -> list[str | None]:
    limits = interval.introduced, interval.fixed, interval.last
    return [None if limit is None else str(limit) for limit in limits]


def _unpacked(packed: bytes) -> _Entries:
    """What `_packed` was given."""
    document = json.loads(zlib.decompress(packed))
    return {
        name: tuple(
            _Entry(identity, tuple(versions), tuple(map(_interval, intervals)))
            for identity, versions, intervals in found
        )
        for name, found in document.items()
    }


def _interval(texts: list[str | None]) -> _Interval:
    return _Interval(*(None if text is None else Version(text) for text in texts))
