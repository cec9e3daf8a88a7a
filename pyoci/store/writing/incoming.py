"""An uploaded file that is arriving: streamed to the registry and to a temporary file at once, and verified.

The fields ahead of the file are checked before its first byte is sent to the registry. Everything else is
checked before its last byte is sent.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import BinaryIO, Protocol

from packaging.version import InvalidVersion, Version

from pyoci.distributions.filenames import Distribution, parse_filename
from pyoci.distributions.labels import labels
from pyoci.distributions.metadata import CoreMetadata, read_metadata
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from pyoci.store.layout import is_web_url
from pyoci.store.models import PROVENANCE_LIMIT, Imported, Upload
from pyoci.store.writing.new_file import NewFile

_MIN_STREAMED = 1024 * 1024  # bytes; a smaller file has arrived before the registry answers anything
_PIECE = 1024 * 1024  # bytes
_URL_COUNT = 100


class IncomingForm(Protocol):
    """An upload form that is being read. What has arrived of its file is in a temporary file.

    Methods raise InvalidRequest, Withdrawn and TooLarge, and OSError for the temporary file.
    """

    def ahead(self) -> Upload | None:
        """The fields ahead of the file in the form; None if a field that a form must have isn't among them.

        The size is that of the file if nothing follows it in the form; the content is still empty.
        """
        ...

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the file that are still to come; each piece is written to the temporary file first."""
        ...

    def whole(self) -> Upload:
        """The form, read to its end."""
        ...


class SizeMismatch(Exception):
    """The file has another size than the form's fields and the length of the request promised."""


class IncomingFile:
    """An uploaded file. If `can_stream` is true, it can be pushed while it arrives: as the body of a request,
    which can be iterated once. Iteration gives the last piece only after everything was checked. If something
    is wrong, it raises instead.

    `distribution` and `sha256` are what the form says; they are verified once `file` has returned. A file
    that can't be streamed is read whole at once: it is small, or too few fields are ahead of it.
    """

    def __init__(self, form: IncomingForm, now: datetime, imported: Imported | None = None) -> None:
        self._form, self._now, self._imported = form, now, imported
        self._file: NewFile | None = None
        self._upload: Upload | None = None
        self.is_streamed = False  # whether the last piece has been given
        ahead = form.ahead()
        self._hashes = _Hashes(ahead.digests if ahead else ())
        self._pieces = form.pieces()
        if ahead is not None and ahead.size >= _MIN_STREAMED and "sha256" in ahead.digests:
            self.can_stream = True
            self._size, self.sha256, self.distribution = (
                ahead.size,
                ahead.digests["sha256"],
                _check_form(ahead),
            )
        else:
            self.can_stream = False
            file = self.file()
            self._size, self.sha256, self.distribution = file.size, file.sha256, file.distribution

    def file(self) -> NewFile:
        """Read the rest of the form, check everything and return the file. Raises InvalidRequest."""
        if self._file is None:
            for piece in self._pieces:
                self._hashes.update(piece)
            self._upload = self._form.whole()
            self._file = _verified(self._upload, self._hashes, self._now, self._imported)
        return self._file

    @property
    def content(self) -> BinaryIO:
        """The temporary file. Call `file` first: after that it has the whole file."""
        assert self._upload is not None
        return self._upload.content

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left, last = self._size, b""
        for last in self._pieces:
            self._hashes.update(last)
            left -= len(last)
            if left <= 0:
                break
            yield last
        # Without the last piece the registry stores nothing.
        if self.file().size != self._size:
            raise SizeMismatch
        self.is_streamed = True
        yield last


class _Hashes:
    """The hashes of a file, updated as its bytes arrive: SHA-256, and the named kinds."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name = {name: _new_hash(name) for name in {"sha256", *names}}

    def update(self, piece: bytes) -> None:
        for each in self._by_name.values():
            each.update(piece)

    def checked_sha256(self, upload: Upload) -> str:
        """The sha256 in hex, after all bytes have arrived. Raises InvalidRequest if a digest in the form is
        wrong. A digest of a kind that wasn't named ahead of the file is computed from the temporary file.
        """
        for name, expected in upload.digests.items():
            found = (self._by_name.get(name) or _hash_of(upload.content, name)).hexdigest()
            if found != expected.lower():
                raise InvalidRequest(
                    f"the file's {name} digest is {found}; expected {expected[:128]}, as the form says"
                )
        return self._by_name["sha256"].hexdigest()


def _new_hash(name: str) -> hashlib._Hash:
    if name == "blake2b_256":
        return hashlib.blake2b(digest_size=32)  # type: ignore[return-value]  # typeshed tells them apart
    return hashlib.new(name, usedforsecurity=False)


def _hash_of(file: BinaryIO, name: str) -> hashlib._Hash:
    computed = _new_hash(name)
    file.seek(0)
    while piece := file.read(_PIECE):
        computed.update(piece)
    return computed


def _verified(upload: Upload, hashes: _Hashes, now: datetime, imported: Imported | None) -> NewFile:
    """The file of a form that was read whole. Raises InvalidRequest unless file name, form, digests, archive
    and metadata agree.
    """
    distribution = _check_form(upload)
    sha256 = hashes.checked_sha256(upload)
    metadata = read_metadata(upload.content, distribution)
    project_urls = _project_urls(upload.project_urls, metadata)
    return NewFile(
        distribution=distribution,
        sha256=sha256,
        size=upload.size,
        metadata=metadata,
        project_urls=project_urls,
        labels=labels(metadata, project_urls, upload.classifiers or metadata.classifiers),
        attestations=upload.attestations,
        created=(imported and imported.upload_time) or now,
        yanked=imported.yanked if imported else None,
        imported=now if imported else None,
        upstream_url=_without_query(imported.upstream_url) if imported else "",
        provenance=_provenance(imported.provenance) if imported else "",
        publisher=upload.publisher,
        unique=secrets.token_hex(8),
    )


def _check_form(upload: Upload) -> Distribution:
    """The parsed file name. Raises InvalidRequest if a field of the form disagrees with it; a field may be
    missing.
    """
    name = ProjectName.parse(upload.name) if upload.name else None
    distribution = parse_filename(upload.filename, name)
    if name is not None and name != distribution.name:
        raise InvalidRequest(
            f"the form's name is {upload.name[:100]!a}; expected {distribution.name}, as the file name says"
        )
    if upload.version and _version(upload.version) != distribution.version:
        raise InvalidRequest(
            f"the form's version is {upload.version[:100]!a};"
            f" expected {distribution.version}, as the file name says"
        )
    if upload.filetype and upload.filetype != distribution.filetype:
        raise InvalidRequest(
            f"the form's filetype is {upload.filetype[:40]!a}; expected {distribution.filetype},"
            " as the file name says"
        )
    return distribution


def _version(text: str) -> Version:
    try:
        return Version(text)
    except (InvalidVersion, ValueError):
        raise InvalidRequest(
            f"{text[:100]!a} is not a version; expected a PEP 440 version, like 1.0"
        ) from None


def _project_urls(given: tuple[str, ...], metadata: CoreMetadata) -> dict[str, str]:
    """Label to URL, from the form if it has any, else from the metadata; only web URLs."""
    pairs = [(label.strip(), url.strip()) for label, _, url in (text.partition(",") for text in given)]
    found = dict(pairs or metadata.project_urls)
    valid = {label: url for label, url in found.items() if label and is_web_url(url)}
    return dict(list(valid.items())[:_URL_COUNT])


def _without_query(url: str) -> str:
    """The URL without its query, which may contain a signature; "" if it isn't a web URL."""
    plain = url.partition("#")[0].partition("?")[0]
    return plain if is_web_url(plain) else ""


def _provenance(text: str) -> str:
    return text if len(text.encode()) <= PROVENANCE_LIMIT else ""
