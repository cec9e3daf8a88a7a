"""Images: whether a repository contains container images only, so that it isn't a Python project.

A namespace may contain images beside packages. In doubt a repository counts as a project: if a private
project were taken for images, upstream would answer for its name.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from cachetools import LRUCache

from pyoci.errors import Denied, InvalidRequest, NotFound, NotSupported, ProtocolError, Unauthorized
from pyoci.oci.errors import RegistryFailed, RegistryRefused
from pyoci.oci.models import Document, ImageIndex, Manifest
from pyoci.oci.references import Digest, Tag
from pyoci.store.layout import PACKAGE_TYPE, descriptors_of, is_annotated
from pyoci.store.marker import MARKER_TAG
from pyoci.store.project import StoredProject, side_by_side

_TAGS = 100
_MANIFESTS = 400  # of the images under these tags, together
_KNOWN = 4096
_CONFIGS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
_UNCLEAR = (NotFound, Denied, Unauthorized, NotSupported, RegistryRefused, ProtocolError, InvalidRequest)

Pull = Callable[[Digest], Document]


class Images:
    """Recognises images. One for the process. Answers are remembered for the time to live of a tag."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # By repository and tags. It needs no caller: the registry has given these tags to whoever asks.
        self._known: LRUCache[tuple[str, tuple[str, ...]], tuple[bool, float]] = LRUCache(_KNOWN)

    def are_all(self, project: StoredProject, tags: tuple[str, ...]) -> bool:
        """Whether each of the tags that a registry lists is an image's. False if that is unclear. Raises
        RegistryFailed.
        """
        if not 0 < len(tags) <= _TAGS or str(MARKER_TAG) in tags:
            return False
        cache, key = project.cache, (project.cache.key, tags)
        with self._guard:
            known = self._known.get(key)
        now = cache.now()
        if known is not None and 0 <= now - known[1] < cache.freshness.ttl:
            return known[0]
        try:
            found = self._read(project, tags)
        except RegistryFailed:
            raise  # it may answer the next time
        except _UNCLEAR:
            found = False
        with self._guard:
            self._known[key] = (found, now)
        return found

    def _read(self, project: StoredProject, tags: tuple[str, ...]) -> bool:
        manifests: dict[Digest, Document] = {}
        numbers = itertools.count(1)

        def pull(digest: Digest) -> Document:
            if digest not in manifests:
                if next(numbers) > _MANIFESTS:
                    raise ProtocolError(
                        f"{project.repository} has more than {_MANIFESTS} manifests to look at"
                    )
                manifests[digest] = _taken(project, project.session.pull(project.repository, digest))
            return manifests[digest]

        def is_image(tag: str) -> bool:
            document = project.session.pull(project.repository, Tag.parse(tag))
            return _is_image(_taken(project, document), pull)

        # Most of these repositories are projects, and the first document shows that.
        return is_image(tags[-1]) and all(side_by_side(project, is_image, tags[:-1]))


def _taken(project: StoredProject, document: Document) -> Document:
    project.read_limit.take(len(document.body))
    return document


def _is_image(document: Document, pull: Pull) -> bool:
    """Whether a document is an image, for one platform or several, and nothing in it was made by PyOCI."""
    found = document.parsed()
    if not isinstance(found, ImageIndex):
        return _is_manifest_of_image(found)
    return (
        bool(found.manifests)
        and not _is_ours(found)
        and all(_is_manifest_of_image(pull(entry.digest).parsed()) for entry in found.manifests)
    )


def _is_manifest_of_image(found: ImageIndex | Manifest | None) -> bool:
    return isinstance(found, Manifest) and found.config.media_type in _CONFIGS and not _is_ours(found)


def _is_ours(value: ImageIndex | Manifest) -> bool:
    """Whether a type or an annotation in it is PyOCI's."""
    descriptors = descriptors_of(value)
    types = {value.artifact_type, *(entry.media_type for entry in descriptors)}
    return PACKAGE_TYPE in types or is_annotated(value)
