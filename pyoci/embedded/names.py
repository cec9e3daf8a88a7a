"""What stands in a path, parsed: the grammar is that of `pyoci.oci.references`, the refusals are our own."""

from __future__ import annotations

from pyoci.embedded.errors import Refusal
from pyoci.embedded.layout import Folder
from pyoci.embedded.service import EmbeddedRegistry
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest, Reference, Tag


def parse_name(registry: EmbeddedRegistry, name: str) -> Folder:
    try:
        return registry.layout.folder(name)
    except InvalidRequest as error:
        raise Refusal("NAME_INVALID", error.message) from error


def parse_digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidRequest as error:
        raise Refusal("DIGEST_INVALID", error.message) from error


def parse_reference(text: str) -> Reference:
    """A tag holds no colon, a digest always does."""
    if ":" in text:
        return parse_digest(text)
    try:
        return Tag.parse(text)
    except InvalidRequest as error:
        raise Refusal("TAG_INVALID", error.message) from error
