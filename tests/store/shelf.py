"""Short forms of what tests do with a store."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from pyoci.cache.backend import Position
from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.names import ProjectName
from pyoci.oci.credentials import Anonymous, Credentials
from pyoci.store.models import PackageFile, ProjectPage, Upload
from pyoci.store.service import PackageStore
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.stores import page_of

NOBODY = Anonymous()
HELLO = ProjectName.parse("hello-world")


class Posted:
    """A form that has arrived completely, as `pyoci.store.writing.incoming.IncomingForm`."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload

    def ahead(self) -> Upload | None:
        return None

    def pieces(self) -> Iterator[bytes]:
        self.upload.content.seek(0)
        yield self.upload.content.read()

    def whole(self) -> Upload:
        return self.upload


def make_upload(filename: str, content: bytes, **overrides: Any) -> Posted:
    """A form that agrees with its file's name."""
    try:
        distribution = parse_filename(filename)
        told = {"name": str(distribution.name), "version": str(distribution.version)}
    except Exception:  # noqa: BLE001  # the test wants a file name that can't be read
        told = {"name": "hello-world", "version": "1.0"}
    upload = Upload(
        filename=filename, content=io.BytesIO(content), size=len(content), **{**told, **overrides}
    )
    return Posted(upload)


def publish(store: PackageStore, filename: str, content: bytes, **overrides: Any) -> PackageFile:
    return store.publish(make_namespace(), make_upload(filename, content, **overrides), NOBODY).file


def publish_wheel(store: PackageStore, version: str = "1.0", **overrides: Any) -> PackageFile:
    return publish(store, *make_wheel(version=version, **overrides))


def page(
    store: PackageStore, name: ProjectName = HELLO, caller: Credentials = NOBODY, *, fresh: bool = False
) -> ProjectPage:
    return page_of(store, make_namespace(), name, caller, fresh=fresh)


def names(store: PackageStore, name: ProjectName = HELLO) -> list[str]:
    return [file.filename for file in page(store, name).files]


def yanked(store: PackageStore) -> dict[str, str | None]:
    """File name to the reason for which a file is yanked; None if it isn't."""
    return {file.filename: file.yanked for file in page(store).files}


def content(store: PackageStore, filename: str, name: ProjectName = HELLO) -> bytes:
    return b"".join(store.open(make_namespace(), name, filename, NOBODY))


def make_foreign_image(registry: TestRegistry, name: str = "hello-world") -> dict[str, Any]:
    """A container image without layers."""
    config = registry.put_blob(b"{}", name)
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(config), "size": 2}
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor,
        "layers": [],
    }


class SwitchableBackend(MemoryBackend):
    """A backend that fails while `off` is set. `before` is called with each key that is read."""

    off = False
    lost: tuple[str, ...] = ()  # kinds of values
    before: Callable[[str], None] | None = None

    def position(self, name: str) -> Position | None:
        return None if self.off else super().position(name)

    def get(self, key: str) -> bytes | None:
        if self.before is not None:
            self.before(key)
        lost = key.startswith(self.lost)
        return None if self.off or lost else super().get(key)


def seeded(registry: TestRegistry, store: PackageStore) -> PackageStore:
    """The store after two versions were published and their page was read, without a record of the calls."""
    publish_wheel(store)
    publish_wheel(store, "2.0")
    page(store)
    registry.calls.clear()
    return store
