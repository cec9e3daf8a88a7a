"""A place that tests copy from and to: a registry, the namespace acme in it, and a store over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyoci.distributions.names import ProjectName
from pyoci.maintenance.remote import Remote
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import IMAGE_MANIFEST
from pyoci.oci.references import Digest, Tag
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, make_foreign_image, page, publish, publish_wheel

__all__ = ["HELLO", "Place", "make_foreign_image"]


class Place:
    """A registry of its own, and what tests do there."""

    def __init__(self, directory: Path) -> None:
        self.registry = TestRegistry(directory)
        self.store = self.registry.store()
        self.remote = Remote(self.registry.gateway, make_namespace(), NOBODY)

    def wheel(self, version: str = "1.0", **settings: Any) -> str:
        return publish_wheel(self.store, version, **settings).filename

    def publish(self, filename: str, content: bytes) -> str:
        return publish(self.store, filename, content).filename

    def yank(self, target: str, reason: str = "broken") -> None:
        self.store.yank(make_namespace(), HELLO, target, reason, NOBODY)

    def files(self, name: ProjectName = HELLO) -> list[Any]:
        """Everything that the page says of each file."""
        return list(page(self.store, name, fresh=True).files)

    def digest(self, tag: str, name: str = "hello-world") -> str:
        """The digest of what is under a tag."""
        return str(self.registry._pull(tag, name, "acme").digest)

    def lose(self, digest: str, name: str = "hello-world") -> None:
        """Have the registry lack a blob or a manifest, as after a clean-up."""
        kind = f"{name.replace('-', '_')}/(blobs|manifests)/{digest}"
        self.registry.refuse[f"(GET|HEAD) .*{kind}"] = (404, "BLOB_UNKNOWN")

    def delete(self, *digests: str, name: str = "hello-world") -> None:
        """Delete blobs and manifests for good."""
        folder = self.registry.directory / "acme" / name.replace("-", "_") / "blobs"
        for digest in digests:
            try:
                self.registry.session().delete(make_repository(name), Digest.parse(digest))
            except RegistryNotFound:
                folder.joinpath(*digest.split(":")).unlink()

    def sign(self, subject: str, content: bytes = b"signature", name: str = "hello-world") -> str:
        """Push a signature of the document with this digest. Returns the signature's digest."""
        config, layer = self.registry.put_blob(b"{}", name), self.registry.put_blob(content, name)
        types = {"mediaType": "application/vnd.oci.empty.v1+json"}
        document = self.registry.document(subject, name)
        made = {
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "artifactType": "application/vnd.example.signature",
            "config": {**types, "digest": str(config), "size": 2},
            "layers": [{**types, "digest": str(layer), "size": len(content)}],
            "subject": {
                "mediaType": document["mediaType"],
                "digest": subject,
                "size": len(self.registry._pull(subject, name, "acme").body),
            },
        }
        put = self.registry.put("signature", made, name)
        self.registry.session().delete(make_repository(name), Tag.parse("signature"))
        self.registry.session().push(make_repository(name), put.digest, put)
        return str(put.digest)

    def referrers(self, subject: str, name: str = "hello-world") -> list[str]:
        found = self.registry.session().referrers(make_repository(name), Digest.parse(subject))
        return [str(entry.digest) for entry in found or ()]
