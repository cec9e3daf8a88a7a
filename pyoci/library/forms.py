"""UploadForm: the form that uploads a file to a server (PyPI's legacy upload API), streamed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from pyoci.distributions.filenames import parse_filename
from pyoci.library.models import File
from pyoci.library.uploads import LocalFile


class UploadForm:
    """A request's body of known length. The fields that the server needs stand ahead of the file, so that it
    can pass the file on while it arrives. Raises InvalidRequest for a file name that can't be one.
    """

    def __init__(self, file: LocalFile) -> None:
        self._file = file
        self._distribution = parse_filename(file.path.name, file.project)
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = b"".join(
            _part(boundary, f'name="{name}"') + value.encode() + b"\r\n"
            for name, value in self._fields().items()
        ) + _part(boundary, f'name="content"; filename="{file.path.name}"', "application/octet-stream")
        self._end = f"\r\n--{boundary}--\r\n".encode()

    def file(self) -> File:
        """What was published."""
        return File(
            project=self._distribution.name.normalized,
            filename=self._distribution.filename,
            version=str(self._distribution.version),
            sha256=self._file.sha256,
            size=self._file.size,
            upload_time=None,
            requires_python=None,
            yanked=None,
            core_metadata=None,
        )

    def __len__(self) -> int:
        return len(self._head) + self._file.size + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield from self._file.pieces()
        yield self._end

    def _fields(self) -> dict[str, str]:
        return {
            ":action": "file_upload",
            "protocol_version": "1",
            "metadata_version": "2.1",
            "name": self._distribution.name.normalized,
            "version": str(self._distribution.version),
            "filetype": self._distribution.filetype,
            "sha256_digest": self._file.sha256,
            **({"attestations": self._file.attestations} if self._file.attestations else {}),
        }


def _part(boundary: str, disposition: str, content_type: str = "") -> bytes:
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n".encode()
