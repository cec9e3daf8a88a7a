"""The kinds of failure. Each is named after what happened; only `pyoci.web.errors` knows the status codes.

PyOCIError
├── InvalidRequest          a bad name, file name, form, digest or archive
│   ├── NotAcceptable       no available representation is acceptable
│   ├── RangeNotSatisfiable the range lies outside the file
│   ├── UnsupportedCoding   the request's body is compressed
│   └── BodyTimeout         the request's body stopped arriving
├── Unauthorized            no credentials, or wrong ones
├── Denied                  insufficient rights, or a registry that the settings don't allow
├── NotFound                an unknown project, version or file
├── NotSupported            an operation that the registry doesn't support
├── Withdrawn               an action of the upload form that package indexes no longer support
├── AlreadyExists           another file has that name
├── TooLarge                over a limit, which the message names
├── RateLimited             the registry asks to wait
├── Exhausted               this process has no memory or no thread left
│   └── Busy                this process handles as many such requests as it can
├── RequestEnded            the server has ended this request before it was answered
│   ├── ClientLeft          its client has left
│   └── BulkheadFull        requests to one registry hold too many threads
├── ProtocolError           the registry's answer makes no sense
│   └── AnswerTooLong       a document is larger than PyOCI reads
└── Unreachable             no answer in time
    └── Unavailable         no connection, or a server that reports that it can't serve now
"""

from __future__ import annotations

import copy
import errno
from typing import Self

NO_MEMORY = "PyOCI has no memory left for this request; try again later"
_MEMORY_ERRNOS = frozenset({errno.ENOMEM, errno.ENOBUFS})


class PyOCIError(Exception):
    """The base of all these errors. Clients see `message`: one sentence without secrets or internal
    addresses.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def kind(self) -> str:
        """The name of the nearest kind in this module: `Denied` for a `RegistryDenied`."""
        return next(kind.__name__ for kind in type(self).__mro__ if kind.__module__ == __name__)

    def bare(self) -> Self:
        """A copy without the traceback, to store or to share. An exception that is raised in many threads
        collects all their tracebacks, and the traceback of a stored exception keeps the request and its
        buffers in memory.
        """
        return copy.copy(self)


class InvalidRequest(PyOCIError):
    """The request is wrong; the message says what was expected."""


class NotAcceptable(InvalidRequest):
    """No available representation satisfies the Accept header."""


class RangeNotSatisfiable(InvalidRequest):
    """The requested range lies outside the file; `size` is the file's length in bytes."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.args = (message, size)  # copy.copy passes them to __init__
        self.size = size


class UnsupportedCoding(InvalidRequest):
    """The request's body has a content coding, such as gzip."""


class BodyTimeout(InvalidRequest):
    """The request's body stopped arriving."""


class Unauthorized(PyOCIError):
    """The registry requires credentials, or rejects the ones given."""


class Denied(PyOCIError):
    """The caller has no right to do this, or the settings don't allow this registry."""


class NotFound(PyOCIError):
    """There is no such project, version or file."""


class NotSupported(PyOCIError):
    """The registry doesn't support the operation."""


class Withdrawn(PyOCIError):
    """Package indexes no longer support this action of the upload form."""


class AlreadyExists(PyOCIError):
    """A file with that name and different content exists already."""


class TooLarge(PyOCIError):
    """Something exceeds a limit; the message names the limit and its setting."""


class RateLimited(PyOCIError):
    """The registry asks callers to wait `retry_after` seconds; None if it names no time."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Exhausted(PyOCIError):
    """This process has no memory, or no thread, left for the request."""


class Busy(Exhausted):
    """This process already handles as many requests of this kind as it can."""


class RequestEnded(PyOCIError):
    """The server has ended this request before it was answered. It says nothing about the registry."""


class ClientLeft(RequestEnded):
    """The client of this request has left."""


class BulkheadFull(RequestEnded):
    """Requests to one registry hold as many threads as they may."""


class ProtocolError(PyOCIError):
    """The registry's answer makes no sense."""


class AnswerTooLong(ProtocolError):
    """A document from the registry is larger than PyOCI reads."""


class Unreachable(PyOCIError):
    """The registry didn't answer in time, or not at all."""


class Unavailable(Unreachable):
    """The registry or upstream can't be connected to, disconnected, or reports that it can't serve now. Such
    a failure shows at once and may end within seconds, like a restart.
    """


def is_exhausted(error: BaseException) -> bool:
    """Whether a foreign exception means that this process has run out of memory or threads."""
    if isinstance(error, OSError):
        return error.errno in _MEMORY_ERRNOS
    # Python has no exception type for "no more threads". The message is the same in all releases.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and str(error) == "can't start new thread"
    )
