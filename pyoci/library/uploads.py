"""LocalFile: a wheel or sdist on disk, as the store and the upload form take it, with the attestations beside
it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pyoci.distributions.filenames import SDIST_ENDINGS, parse_filename
from pyoci.distributions.metadata import read_metadata
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from pyoci.library.index import Progress
from pyoci.store.models import ATTESTATIONS_LIMIT, Upload

_PIECE = 256 * 1024  # bytes
_HYPHENS = 10  # in a file name at which the version may begin


class LocalFile(AbstractContextManager["LocalFile"]):
    """An open file that is to be published, as an `IncomingForm` of the store. It is read twice: once for its
    hash, and once for its bytes.
    """

    def __init__(
        self,
        path: Path,
        progress: Progress | None = None,
        *,
        project: ProjectName | None = None,
        attested: bool = False,
    ) -> None:
        """`project` is the project of the file, if it is known. With `attested` the attestations beside it
        are published as well. Raises InvalidRequest if the file can't be opened, or they can't be used.
        """
        self.path = path
        self.project = project or project_in(path)
        self._progress = progress
        if path.exists() and not path.is_file():  # a pipe may have no end
            raise InvalidRequest(f"{path} is not a regular file; expected a wheel or an sdist")
        self.attestations = read_attestations(path) if attested else ""
        try:
            with ExitStack() as opened:
                self._content = opened.enter_context(path.open("rb"))
                self._content.seek(0, 2)
                self.size = self._content.tell()
                self._content.seek(0)
                self.sha256 = hashlib.file_digest(self._content, "sha256").hexdigest()
                opened.pop_all()
        except OSError as exc:
            raise InvalidRequest(
                f"{path} can't be read: {exc.strerror}; expected a wheel or an sdist"
            ) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()

    def ahead(self) -> Upload:
        """The fields that are known before the file is read."""
        return self._upload()

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the file."""
        with self.path.open("rb") as content:
            while piece := content.read(_PIECE):
                if self._progress is not None:
                    self._progress(len(piece))
                yield piece

    def whole(self) -> Upload:
        """The form with the whole file."""
        return self._upload()

    def _upload(self) -> Upload:
        content: BinaryIO = self._content
        content.seek(0)
        digests = {"sha256": self.sha256}
        name = "" if self.project is None else self.project.normalized
        return Upload(
            filename=self.path.name,
            content=content,
            size=self.size,
            name=name,
            digests=digests,
            attestations=self.attestations,
        )


def read_attestations(path: Path) -> str:
    """The attestations beside a file, `<name>.publish.attestation` and the like, as one JSON array (PEP 740).
    Raises InvalidRequest if there are none.
    """
    found = sorted(path.parent.glob(f"{glob.escape(path.name)}.*.attestation"))
    if not found:
        raise InvalidRequest(f"{path} has no attestation; expected {path.name}.publish.attestation beside it")
    texts = list(map(_attestation, found))
    text = f"[{','.join(texts)}]"
    size = len(text.encode())
    if size > ATTESTATIONS_LIMIT:
        raise InvalidRequest(
            f"the attestations of {path} have {size} bytes; expected at most {ATTESTATIONS_LIMIT}"
        )
    return text


def _attestation(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(ATTESTATIONS_LIMIT + 1).decode()
        if isinstance(json.loads(text), dict):
            return text.strip()
    except OSError as exc:
        raise InvalidRequest(f"{path} can't be read: {exc.strerror}; expected an attestation") from exc
    except (ValueError, RecursionError):
        pass
    raise InvalidRequest(f"{path} is no attestation; expected a JSON object (PEP 740)")


def project_in(path: Path) -> ProjectName | None:
    """The project of an sdist whose file name alone doesn't say where the version begins: the one that its
    metadata agrees with (`elementtree-1.2.6-20050316.tar.gz`). None for any other file.
    """
    ending = next((ending for ending in SDIST_ENDINGS if path.name.endswith(ending)), None)
    stem = path.name.removesuffix(ending or "")
    if ending is None or stem.count("-") < 2:
        return None
    for end in sorted((found.start() for found in re.finditer("-", stem)), reverse=True)[:_HYPHENS]:
        with suppress(InvalidRequest, OSError), path.open("rb") as content:
            name = ProjectName.parse(stem[:end])
            read_metadata(content, parse_filename(path.name, name))
            return name
    return None
