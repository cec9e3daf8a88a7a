"""What can go wrong, named by what happened. Only `pyoci.web.errors` knows status codes.

PyOCIError
├── InvalidRequest          a bad name, file name, form, digest or archive
│   ├── NotAcceptable       none of the representations we have is acceptable
│   ├── RangeNotSatisfiable the range lies outside the file
│   ├── UnsupportedCoding   the request's body is compressed
│   └── BodyTimeout         the request's body stopped arriving
├── Unauthorized            no credentials, or wrong ones
├── Denied                  credentials that may not do this, or a registry that may not be asked
├── NotFound                unknown project, version or file
├── NotSupported            the registry can't do that
├── Withdrawn               an action of the upload form that package indexes no longer know
├── AlreadyExists           another file has that name
├── TooLarge                over a limit, which the message names
├── RateLimited             the registry asks to wait
├── Exhausted               this process has no memory or no thread left
├── ProtocolError           the registry answered nonsense
│   └── AnswerTooLong       a document has more bytes than any of ours
└── Unreachable             no answer in time
"""

from __future__ import annotations

import copy
from typing import Self


class PyOCIError(Exception):
    """Root of the tree. `message` is shown to the caller: one sentence, no secret, no internal address."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def bare(self) -> Self:
        """A copy without the traceback, to keep or to share. Raised in many threads, one exception would
        grow a traceback of all of them; kept, it would keep its request with all buffers.
        """
        return copy.copy(self)


class InvalidRequest(PyOCIError):
    """The request can't be met as it stands; the message says what was expected."""


class NotAcceptable(InvalidRequest):
    """No representation that we have satisfies the Accept header."""


class RangeNotSatisfiable(InvalidRequest):
    """The requested range lies outside the file; `size` is the file's length in bytes."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.args = (message, size)  # what a copy is made from
        self.size = size


class UnsupportedCoding(InvalidRequest):
    """The request's body has a content coding, gzip say."""


class BodyTimeout(InvalidRequest):
    """The request's body stopped arriving."""


class Unauthorized(PyOCIError):
    """The registry wants other credentials than these, or any at all."""


class Denied(PyOCIError):
    """The caller is known but may not do this, or the registry may not be asked at all."""


class NotFound(PyOCIError):
    """There is no such project, version or file."""


class NotSupported(PyOCIError):
    """The registry doesn't support the operation."""


class Withdrawn(PyOCIError):
    """The upload form's action existed once and was given up by package indexes."""


class AlreadyExists(PyOCIError):
    """A file of that name, with other content, is there already."""


class TooLarge(PyOCIError):
    """Something exceeds a limit; the message names the limit and its setting."""


class RateLimited(PyOCIError):
    """The registry asks callers to wait; `retry_after` is in whole seconds, None where it didn't say."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Exhausted(PyOCIError):
    """This process has no memory, or no thread, left for the request."""


class ProtocolError(PyOCIError):
    """The registry's answer makes no sense."""


class AnswerTooLong(ProtocolError):
    """A document of the registry has more bytes than are read of one."""


class Unreachable(PyOCIError):
    """The registry didn't answer in time, or not at all."""
