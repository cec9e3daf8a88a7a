"""IncomingFile: an upload on its way from the client to the registry, and into a spool at the same time."""

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
from pyoci.store.layout import NewFile, is_web_url
from pyoci.store.models import Upload

_WORTH = 1024 * 1024  # bytes; less than that is here before the registry has answered anything


class IncomingForm(Protocol):
    """An upload form on its way in. What has come of its file lies in a spool.

    Methods raise InvalidRequest, Withdrawn and TooLarge, and OSError for the spool.
    """

    def ahead(self) -> Upload | None:
        """What the form says ahead of its file; None where that is not all that a form must say.

        The size is the one that the file has if nothing follows it; its content is still empty.
        """
        ...

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the file that are still to come; each lies in the spool before it is given."""
        ...

    def whole(self) -> Upload:
        """The form, read to its end."""
        ...


class Misjudged(Exception):
    """The file has another size than its form and the request's length had promised."""


class IncomingFile:
    """An upload. Where it `passes` it can be pushed while it comes: then it is a body, to be read once, that
    gives its last piece only when everything has been checked, and raises before it otherwise. `distribution`
    and `sha256` are what the form says of the file until `file` has told that they are so.

    Where too little stands ahead of the file, or there is little of it, it is whole at once.
    """

    def __init__(self, incoming: IncomingForm, created: datetime) -> None:
        self._incoming, self._created = incoming, created
        self._file: NewFile | None = None
        self._upload: Upload | None = None
        self.passed = False  # whether the last piece has been given
        ahead = incoming.ahead()
        self._hashes = Hashes(ahead.digests if ahead else ())
        self._pieces = incoming.pieces()
        if ahead is not None and ahead.size >= _WORTH and "sha256" in ahead.digests:
            self.passes = True
            self._size, self.sha256, self.distribution = ahead.size, ahead.digests["sha256"], agreeing(ahead)
        else:
            self.passes = False
            file = self.file()
            self._size, self.sha256, self.distribution = file.size, file.sha256, file.distribution

    def file(self) -> NewFile:
        """The file, after the rest of the form was read and everything checked. Raises InvalidRequest."""
        if self._file is None:
            for piece in self._pieces:
                self._hashes.take(piece)
            self._upload = self._incoming.whole()
            self._file = verified(self._upload, self._hashes, self._created)
        return self._file

    @property
    def content(self) -> BinaryIO:
        """The spool; all of the file is in it once `file` was called."""
        assert self._upload is not None
        return self._upload.content

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left, last = self._size, b""
        for last in self._pieces:
            self._hashes.take(last)
            left -= len(last)
            if left <= 0:
                break
            yield last
        # What is held back here is what makes a blob of the rest.
        if self.file().size != self._size:
            raise Misjudged
        self.passed = True
        yield last


_PIECE = 1024 * 1024
_URL_COUNT = 100


class Hashes:
    """What the bytes of a file hash to, taken as they pass: sha256, and the kinds that are named."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._taken = {name: _hash(name) for name in {"sha256", *names}}

    def take(self, piece: bytes) -> None:
        """The next bytes of the file."""
        for hashed in self._taken.values():
            hashed.update(piece)

    def agreed(self, upload: Upload) -> str:
        """The sha256 hex, now that all bytes have passed.

        Of a kind that nobody had named the file is read for. Raises InvalidRequest where a digest that was
        given differs.
        """
        for name, expected in upload.digests.items():
            hashed = self._taken.get(name) or _hashed(name, upload.content)
            if (found := hashed.hexdigest()) != expected.lower():
                raise InvalidRequest(
                    f"the file's {name} digest is {found}; expected {expected[:128]}, as the form says"
                )
        return self._taken["sha256"].hexdigest()


def _hash(name: str) -> hashlib._Hash:
    if name == "blake2b_256":
        return hashlib.blake2b(digest_size=32)  # type: ignore[return-value]  # typeshed tells them apart
    return hashlib.new(name, usedforsecurity=False)


def _hashed(name: str, file: BinaryIO) -> hashlib._Hash:
    hashed = _hash(name)
    file.seek(0)
    while piece := file.read(_PIECE):
        hashed.update(piece)
    return hashed


def agreeing(upload: Upload) -> Distribution:
    """What the file name says, if the form agrees with it. Raises InvalidRequest."""
    distribution = parse_filename(upload.filename)
    _check_form(upload, distribution)
    return distribution


def verified(upload: Upload, hashes: Hashes, created: datetime) -> NewFile:
    """The upload as a file to write down: file name, form, digests, archive and metadata agree.

    `hashes` has taken all of the file. Raises InvalidRequest.
    """
    distribution = agreeing(upload)
    sha256 = hashes.agreed(upload)
    metadata = read_metadata(upload.content, distribution)
    return NewFile(
        distribution=distribution,
        sha256=sha256,
        size=upload.size,
        metadata=metadata,
        project_urls=_project_urls(upload.project_urls, metadata),
        labels=labels(upload.classifiers or metadata.classifiers),
        created=created,
        unique=secrets.token_hex(8),
    )


def _check_form(upload: Upload, distribution: Distribution) -> None:
    if ProjectName.parse(upload.name) != distribution.name:
        raise InvalidRequest(
            f"the form's name is {upload.name[:100]!a}; expected {distribution.name}, as the file name says"
        )
    if _version(upload.version) != distribution.version:
        raise InvalidRequest(
            f"the form's version is {upload.version[:100]!a};"
            f" expected {distribution.version}, as the file name says"
        )
    if upload.filetype and upload.filetype != distribution.filetype:
        raise InvalidRequest(
            f"the form's filetype is {upload.filetype[:40]!a}; expected {distribution.filetype},"
            " as the file name says"
        )


def _version(text: str) -> Version:
    try:
        return Version(text)
    except (InvalidVersion, ValueError):
        raise InvalidRequest(
            f"{text[:100]!a} is not a version; expected one as PEP 440 has it, like 1.0"
        ) from None


def _project_urls(given: tuple[str, ...], metadata: CoreMetadata) -> dict[str, str]:
    """Label to URL, from the form where it has any, else from the metadata; odd ones are left out."""
    pairs = [(label.strip(), url.strip()) for label, _, url in (text.partition(",") for text in given)]
    found = dict(pairs or metadata.project_urls)
    fitting = {label: url for label, url in found.items() if label and is_web_url(url)}
    return dict(list(fitting.items())[:_URL_COUNT])
