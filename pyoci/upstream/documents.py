"""A page's JSON, read and written (PEP 691, 700, 714, 740, 792). Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from packaging.utils import canonicalize_name

from pyoci.errors import ProtocolError
from pyoci.upstream import fields
from pyoci.upstream.models import UpstreamFile, UpstreamPage
from pyoci.upstream.releases import version_of

_FILES = 100_000
_VERSIONS = 100_000
_VERSION = 200  # characters


def read_json(body: bytes, name: str, base: str) -> UpstreamPage:
    """The page of the project `name`, as JSON that came from the URL `base`.

    What is broken in it is left out, and so is what nobody knows. Raises ProtocolError where it is no page.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError("the upstream package index sent JSON that can't be read") from None
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise ProtocolError("the upstream package index sent JSON that is no project's page")
    meta = document.get("meta")
    check_version(meta.get("api-version") if isinstance(meta, dict) else None)
    told = document.get("name")
    if isinstance(told, str) and canonicalize_name(told) != name:
        raise ProtocolError("the upstream package index sent another project's page")
    return page_of(document, name, base)


def write_json(page: UpstreamPage) -> bytes:
    """The page as JSON that `read_json` reads."""
    return json.dumps(page.document(), separators=(",", ":")).encode()


def page_of(document: Mapping[str, Any], name: str, base: str) -> UpstreamPage:
    """The page that a document of the right shape tells."""
    entries = document["files"]
    if len(entries) > _FILES:
        raise ProtocolError(f"the upstream package index lists more than {_FILES} files of {name}")
    files = tuple(file for file in (_file(entry, base) for entry in entries) if file is not None)
    versions = _told(document.get("versions"))
    page = UpstreamPage(
        name=name,
        files=files,
        versions=_derived(files) if versions is None else versions,
        status=fields.status(document.get("project-status")),
    )
    return replace(page, fingerprint=hashlib.sha256(write_json(page)).hexdigest()[:32])


def check_version(told: object) -> None:
    """PEP 629: another major version is another language. Raises ProtocolError."""
    if isinstance(told, str) and told.partition(".")[0] not in {"1", ""}:
        raise ProtocolError("the upstream package index speaks another version of the simple API; expected 1")


def _file(entry: object, base: str) -> UpstreamFile | None:
    if not isinstance(entry, dict):
        return None
    filename, url = fields.filename(entry.get("filename")), fields.url(entry.get("url"), base)
    if filename is None or url is None:
        return None
    return UpstreamFile(
        filename=filename,
        url=url,
        hashes=fields.hashes(entry.get("hashes")),
        size=fields.size(entry.get("size")),
        upload_time=fields.upload_time(entry.get("upload-time")),
        requires_python=fields.text(entry.get("requires-python")),
        core_metadata=fields.core_metadata(entry),
        yanked=fields.yanked(entry.get("yanked")),
        provenance=fields.url(entry.get("provenance"), ""),
        gpg_sig=fields.flag(entry.get("gpg-sig")),
    )


def _told(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    good = (text for text in value[:_VERSIONS] if isinstance(text, str) and len(text) <= _VERSION)
    return tuple(dict.fromkeys(text for text in good if text and text.isascii() and text.isprintable()))


def _derived(files: Iterable[UpstreamFile]) -> tuple[str, ...]:
    """The versions of those file names that tell one, in PEP 440 order."""
    found = {version for version in (version_of(file.filename) for file in files) if version is not None}
    return tuple(map(str, sorted(found)))
