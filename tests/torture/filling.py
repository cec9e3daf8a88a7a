"""Fills a process's caches: `python -m tests.torture.filling` prints how many bytes they take."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from pyoci.cache.backend import Position
from pyoci.cache.files import FileBackend
from pyoci.distributions.names import ProjectName
from pyoci.oci.credentials import Basic
from pyoci.oci.models import IMAGE_INDEX, Document
from pyoci.oci.references import Digest, Registry, Repository
from pyoci.simple_api.writing import files_json
from pyoci.store.cache import Cache, Contents
from pyoci.store.layout import entries, version_of
from pyoci.store.models import PackageFile
from pyoci.store.state import Freshness, State, TagState
from pyoci.web.rendering import Rendered, RenderedPages, WrittenFiles

VERSIONS = 20  # of each project, each of one file: small documents cost most for each of their bytes
PROJECTS = 6_000
TYPE = "application/pyoci.package.v1"


def resident() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def document(project: str, version: str) -> Document:
    """An image index as PyOCI writes it."""
    filename = f"{project}-{version}-cp311-cp311-manylinux_2_17_x86_64.whl"
    annotations = {
        "org.opencontainers.image.created": "2026-11-20T20:23:36Z",
        "com.pyoci.sha256_digest": sha256(filename),
        "com.pyoci.project_urls": '{"Homepage":"https://example.org"}',
        "com.pyoci.filename": filename,
        "com.pyoci.size": "20480",
        "com.pyoci.requires_python": ">=3.9",
        "com.pyoci.config_digest": f"sha256:{sha256('config' + filename)}",
        "com.pyoci.core_metadata": sha256("metadata" + filename),
    }
    child = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{sha256('manifest' + filename)}",
        "size": 496,
        "platform": {"architecture": filename.split("-", 2)[2], "os": "any"},
        "annotations": annotations,
    }
    body = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "artifactType": TYPE, "manifests": [child]}
    return Document(IMAGE_INDEX, json.dumps(body).encode())


def fill(cache: Cache, pages: RenderedPages, written: WrittenFiles) -> Iterator[None]:
    """Add one project at a time, and a caller who may read it."""
    registry = Registry.parse("https://registry.example")
    for number in itertools.count():
        project = f"project{number}"
        repository = Repository.parse(registry, f"acme/{project}")
        remembered, seen, all_files = cache.of(repository), {}, list[PackageFile]()
        for version in (f"{n}.{number}" for n in range(VERSIONS)):
            found = document(project, version)
            assert version_of(version)
            image_index = found.image_index()
            assert image_index
            known = tuple(entries(image_index, ProjectName.parse(project), version))
            files = tuple(entry.file(str(entry.sha256)) for entry in known)
            all_files += files
            seen[version] = TagState(found.digest, number + 0.5, number + 0.25)
            contents = Contents(known, files, 1.0, len(found.body))
            remembered.put_contents(version, found.digest, contents)
            remembered.put_size(Digest("sha256", sha256(version)), number)
        position = Position(sha256("journal")[:16], number)
        remembered.put_state(State(position, 1.0, tuple(seen), seen, (sha256(project)[:32],)))
        for caller in range(3):
            remembered.access.prove(cache.caller_key(Basic(f"user{caller}", project)), 3600)
        rendered = Rendered.of((sha256(project) * 5 * VERSIONS).encode(), "text/html", compressed=False)
        pages.get_or_render(project, "state", partial(_same, rendered))
        for _ in written.pieces(project, all_files, _json_of):
            pass
        yield


def _json_of(files: Iterable[PackageFile]) -> bytes:
    return files_json(file.on_page(f"../{file.filename}") for file in files)


def _same(rendered: Rendered) -> Rendered:
    return rendered


def main() -> None:
    backend = FileBackend()
    cache, pages = Cache(backend, Freshness(ttl=3600.0)), RenderedPages()
    before = resident()
    for _ in itertools.islice(fill(cache, pages, WrittenFiles()), PROJECTS):
        pass
    print(resident() - before)
    backend.close()


if __name__ == "__main__":
    main()
