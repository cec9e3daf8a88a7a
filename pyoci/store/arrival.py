"""Arrival: an upload on its way from the client to the registry, and into a spool at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, Protocol

from pyoci.store.layout import NewFile
from pyoci.store.models import Upload
from pyoci.store.verify import Hashes, agreeing, verified

_WORTH = 1024 * 1024  # bytes; less than that is here before the registry has answered anything


class Incoming(Protocol):
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


class Arrival:
    """An upload. Where it `passes` it can be pushed while it comes: then it is a body, to be read once, that
    gives its last piece only when everything has been checked, and raises before it otherwise. `distribution`
    and `sha256` are what the form says of the file until `file` has told that they are so.

    Where too little stands ahead of the file, or there is little of it, it is whole at once.
    """

    def __init__(self, incoming: Incoming, created: datetime) -> None:
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
