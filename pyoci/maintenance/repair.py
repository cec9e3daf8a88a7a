"""Repair: restores what a check has found lost, if a source has the bytes.

A manifest is written again. A file comes from another registry, or from a folder with the same file. What is
lost for good can be removed from its version, so that pages no longer show it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pyoci.errors import NotFound, PyOCIError
from pyoci.maintenance.check import Kind, Problem
from pyoci.maintenance.remote import Remote
from pyoci.maintenance.transfer import Advance, Transfer
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import Descriptor
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.store.layout import Entry, config_digest
from pyoci.store.writing.repair import with_new_manifest
from pyoci.store.writing.update import IndexUpdater, replacing

_FILES: frozenset[Kind] = frozenset({"manifest is lost", "file is lost", "file is wrong", "metadata is lost"})
_LOST: frozenset[Kind] = frozenset({"file is lost", "file is wrong"})


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of the problems of one file. `outcome`: "repaired", "taken out" or "left"."""

    problem: Problem
    outcome: str
    why: str = ""  # it was left


class _NotAtHand(NotFound):
    """The bytes of a file are neither in the registry nor in the source."""


class FileSource:
    """Where lost files come from: a folder of wheels and sdists, with its subfolders. `publish` publishes one
    again, which restores everything that a registry has lost of it.
    """

    def __init__(self, folder: Path, publish: Callable[[Path], object]) -> None:
        self.publish = publish
        self._paths: defaultdict[str, list[Path]] = defaultdict(list)
        for path in folder.rglob("*"):
            if path.is_file():
                self._paths[path.name].append(path)

    def find(self, entry: Entry) -> Path | None:
        """A file of this name with the same bytes."""
        for path in self._paths.get(entry.distribution.filename, ()):
            with suppress(OSError), path.open("rb") as file:  # it may have been removed meanwhile
                if hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256:
                    return path
        return None


class Repairer:
    """Mends the projects of a namespace. `source` has lost files; None: there is none."""

    def __init__(
        self,
        remote: Remote,
        updater: IndexUpdater,
        *,
        source: Remote | FileSource | None = None,
        drop_lost: bool = False,
        advance: Advance = lambda _count: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._remote, self._updater, self._source = remote, updater, source
        self._drop_lost, self._advance, self._now = drop_lost, advance, now

    def run(self, problems: Iterable[Problem]) -> Iterator[Repaired]:
        """Mend what can be mended: the problems of each file together."""
        by_file: defaultdict[tuple[str, str, str], list[Problem]] = defaultdict(list)
        for problem in problems:
            if problem.entry is not None and problem.kind in _FILES:
                by_file[problem.project.normalized, problem.tag, problem.what].append(problem)
            else:
                yield Repaired(problem, "left", "PyOCI can't repair it")
        for found in by_file.values():
            outcome, why = self._mend(found)
            yield from (Repaired(problem, outcome, why) for problem in found)

    def _mend(self, problems: Sequence[Problem]) -> tuple[str, str]:
        entry = problems[0].entry
        assert entry is not None
        kinds = {problem.kind for problem in problems}
        try:
            if "file is wrong" in kinds:  # the registry would take the same digest for the same bytes
                raise _NotAtHand("the registry has other bytes under this digest and can't replace them")
            if kinds == {"manifest is lost"}:
                self._write_manifest(problems[0], entry)
            elif isinstance(self._source, Remote):
                self._fetch(self._source, problems[0], entry, kinds)
            else:
                path = self._source.find(entry) if self._source is not None else None
                if self._source is None or path is None:
                    raise _NotAtHand(f"no source has the bytes of {entry.distribution.filename}")
                self._source.publish(path)
        except _NotAtHand as exc:
            if self._drop_lost and kinds & _LOST:
                return self._take_out(problems[0], entry)
            return "left", exc.message
        except PyOCIError as exc:
            return "left", exc.message
        return "repaired", ""

    def _write_manifest(self, problem: Problem, entry: Entry) -> None:
        session, repository = self._remote.session(writing=True), self._remote.repository(problem.project)
        found = with_new_manifest(session, repository, entry.descriptor)
        self._replace(problem, entry.descriptor.digest, found)

    def _fetch(self, source: Remote, problem: Problem, entry: Entry, kinds: Set[Kind]) -> None:
        """Push again what is lost of a file. Raises _NotAtHand if `source` doesn't have the file."""
        here, there = source.repository(problem.project), self._remote.repository(problem.project)
        transfer = Transfer(
            source, self._remote, here, there, advance=self._advance, stopped=threading.Event()
        )
        config = config_digest(entry.descriptor)
        if entry.sha256 is None:  # only the manifest says which blob is the file
            _check_document(source, here, entry)
            transfer.document(entry.descriptor.digest)
            return
        if kinds & _LOST:
            digest = Digest("sha256", entry.sha256)
            size = source.session().blob_size(here, digest)
            if size is None:
                raise _NotAtHand(f"{source} doesn't have the bytes of {entry.distribution.filename}")
            transfer.blob(digest, size)
        if config is not None and "metadata is lost" in kinds:
            transfer.blob(config)
        if "manifest is lost" in kinds:
            self._write_manifest(problem, entry)

    def _take_out(self, problem: Problem, entry: Entry) -> tuple[str, str]:
        try:
            self._replace(problem, entry.descriptor.digest, None)
        except PyOCIError as exc:
            return "left", exc.message
        return "taken out", ""

    def _replace(self, problem: Problem, lost: Digest, found: Descriptor | None) -> None:
        """Give the entry with the manifest `lost` the manifest of `found`; None takes the entry out."""
        tag = Tag.listed(problem.tag)
        assert tag is not None  # it was read
        session, repository = self._remote.session(writing=True), self._remote.repository(problem.project)
        self._updater.update(session, repository, tag, replacing(lost, found, self._now))


def _check_document(source: Remote, here: Repository, entry: Entry) -> None:
    try:
        source.session().pull(here, entry.descriptor.digest)
    except RegistryNotFound:
        raise _NotAtHand(f"{source} doesn't have the manifest of {entry.distribution.filename}") from None
