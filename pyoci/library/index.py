"""Index: what can be done with a package index, in a registry or behind a PyOCI server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pyoci.errors import NotSupported
from pyoci.library.models import Explanation, File, Project

Progress = Callable[[int], None]  # is called with the number of bytes that have moved since the last call


class Audit(Protocol):
    """Is called for each write of an operation, or its failure, by any thread."""

    def __call__(self, action: str, project: str, file: str = "", **facts: Any) -> None: ...


def unaudited(action: str, project: str, file: str = "", **facts: Any) -> None:
    """Write no audit log."""


class Index(ABC):
    """A package index, with the credentials of one user. Several threads may use it at once.

    Methods raise the kinds of `pyoci.errors`; the message of each is one sentence without secrets.
    """

    kind: str  # "registry" or "server"

    @property
    @abstractmethod
    def address(self) -> str:
        """The registry and namespace, `ghcr.io/acme`, or the server's URL."""

    @abstractmethod
    def projects(self) -> tuple[str, ...]:
        """The normalised names of the projects, sorted. Raises NotFound if a registry gives no list."""

    @abstractmethod
    def project(self, name: str) -> Project:
        """A project with its files, as it is now. Raises NotFound."""

    @abstractmethod
    def explain(self, name: str) -> Explanation:
        """A project with the files that are withheld from it, and why. Raises NotFound."""

    @abstractmethod
    def summary(self, project: Project) -> str:
        """What the newest version of a project says it is, in one line; "" if it says nothing."""

    @abstractmethod
    def labels(self, file: File) -> dict[str, str] | None:
        """The labels of a file; None at a server, which doesn't tell them."""

    @abstractmethod
    def open_file(self, file: File) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of a file in pieces, for a `with` block. Iteration raises ProtocolError before the last
        piece if the bytes don't have the file's sha256.
        """

    @abstractmethod
    def publish(self, path: Path, progress: Progress | None = None, *, attested: bool = False) -> File:
        """Publish a wheel or an sdist, with the attestations beside it if `attested` is true. To publish an
        identical file again succeeds. Raises AlreadyExists, and InvalidRequest with nothing stored.
        """

    @abstractmethod
    def yank(self, project: str, target: str, reason: str = "") -> None:
        """Yank a file or a whole version (PEP 592)."""

    @abstractmethod
    def unyank(self, project: str, target: str) -> None:
        """Take back that a file or a whole version was yanked."""

    @abstractmethod
    def set_status(self, project: str, status: str, reason: str = "") -> None:
        """Set the status of a project (PEP 792): active, archived, deprecated or quarantined."""

    @abstractmethod
    def delete(self, project: str, target: str) -> None:
        """Delete a file or a whole version. Raises NotSupported if the registry can't."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


def needs_registry(index: Index, what: str) -> NotSupported:
    """The error of an operation that no server's HTTP API offers."""
    return NotSupported(
        f"{what} needs the registry itself, and {index.address} is a PyOCI server;"
        " expected a registry and a namespace, like ghcr.io/acme"
    )
