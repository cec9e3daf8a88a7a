"""Mirror: copies of another package index's files in a namespace of a registry, with where they came from.

A server with PYOCI_UPSTREAM_STORE serves them without the other index.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pyoci.config.client import MirrorSettings
from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied, InvalidRequest, PyOCIError
from pyoci.library.importing import ImportedFile, Importer, failed
from pyoci.library.index import Audit, Progress
from pyoci.library.locked import index_url
from pyoci.library.mirroring_selection import Selection
from pyoci.library.models import File
from pyoci.library.opening import open_index_source
from pyoci.library.registry import RegistryIndex
from pyoci.library.sources import IndexSource, SourceFile, SourcePage
from pyoci.maintenance import parallel
from pyoci.oci.credentials import parse_authorization
from pyoci.store.models import PROVENANCE_LIMIT, Imported
from pyoci.store.status import REASON_LIMIT


class Mirror(Importer):
    """Copies what a selection chooses from its source."""

    def __init__(
        self,
        source: IndexSource,
        target: RegistryIndex,
        selection: Selection,
        *,
        jobs: int,
        progress: Progress,
        audit: Audit,
        temporary: Path | None = None,
    ) -> None:
        super().__init__(
            source, target, selection, jobs=jobs, progress=progress, audit=audit, temporary=temporary
        )
        self._index, self._selection = source, selection

    def run(self) -> Generator[ImportedFile]:
        """Copy, and yield what became of each file."""
        yield from self._selection.left_out
        if self._selection.names:
            yield from super().run()

    def _present(self, project: str, page: SourcePage) -> dict[str, File]:
        """What the source has quarantined is quarantined here, too. To end that is for people."""
        there = self._stored(project)
        if there.status.is_quarantined and not page.status.is_quarantined:
            raise Denied(f"{self._target.address} has quarantined {project}; see `pyoci status`")
        if there.files and not any(file.upstream_url for file in there.files):
            raise InvalidRequest(
                f"{self._target.address} has {project} already, and not as a copy; expected a namespace that"
                " has nothing but copies"
            )
        if there.files and page.status.is_quarantined:
            reason = (page.status.reason or "")[:REASON_LIMIT]
            with self._audited("status", project, status=page.status.status, reason=reason):
                self._target.set_status(project, page.status.status, reason)
        return {file.filename: file for file in there.files}

    def _same(self, project: str, file: SourceFile, there: File) -> ImportedFile:
        """It follows the source if that has yanked it since."""
        found = super()._same(project, file, there)
        if there.yanked == file.yanked:
            return found
        yank = partial(
            self._target.store.yank, self._target.namespace, ProjectName.parse(project), there.filename
        )
        action, sha256 = "unyank" if file.yanked is None else "yank", (there.sha256,)
        try:
            with self._audited(action, project, there.filename, sha256=sha256, reason=file.yanked):
                parallel.patiently(lambda: yank(file.yanked, self._target.caller))
        except PyOCIError as exc:
            return failed(project, file.filename, exc.message)
        return replace(found, outcome="changed")

    @contextmanager
    def _audited(self, action: str, project: str, file: str = "", **facts: Any) -> Iterator[None]:
        """The audit line of a write in the block, or of its failure."""
        try:
            yield
        except PyOCIError as exc:
            self._audit(action, project, file, error=exc, **facts)
            raise
        self._audit(action, project, file, **facts)

    def _facts(self, file: SourceFile) -> tuple[Imported, tuple[str, ...]]:
        try:
            provenance = parallel.patiently(lambda: self._index.provenance(file))
        except PyOCIError:
            provenance = None
        lost = file.lost
        if provenance is None or len(provenance.encode()) > PROVENANCE_LIMIT:
            provenance, lost = "", (*lost, "its provenance")
        return Imported(file.upload_time, file.yanked, file.location, provenance), lost


def check_target(target: RegistryIndex, settings: MirrorSettings) -> None:
    """Raises InvalidRequest for a namespace in which, or below which, a server looks private projects up."""
    registry, path = target.namespace.registry, tuple(target.namespace.path.split("/"))
    for name, short in settings.short_urls.urls.items():
        if short.is_in(registry, path, settings.registries):
            raise InvalidRequest(
                f"{target.address} has the private projects of the short URL {name!r}; expected a namespace"
                " that has nothing but copies"
            )


def open_mirrored(
    url: str,
    settings: MirrorSettings,
    *,
    netrc: bool = False,
    environ: Mapping[str, str] | None = None,
) -> IndexSource:
    """Open the index that files come from. PYOCI_UPSTREAM_AUTH counts for that of PYOCI_UPSTREAM_INDEX."""
    upstream, credentials = settings.upstream, None
    if upstream is not None and upstream.authorization and index_url(upstream.url) == url:
        credentials = parse_authorization(upstream.authorization)
    return open_index_source(url, credentials, netrc=netrc, environ=environ)
