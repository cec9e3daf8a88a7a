"""FileSource: requests files where upstream's pages say, if that is permitted. Wanted: a file to fetch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from pyoci.errors import Denied, NotFound, ProtocolError, PyOCIError, Unavailable
from pyoci.net.addresses import Reach
from pyoci.net.messages import READ_PIECE, Call
from pyoci.net.reading import content_length
from pyoci.net.transport import Transport
from pyoci.request_scope import Host
from pyoci.simple_api import model
from pyoci.simple_api.model import File
from pyoci.upstream.address import FileHosts, UpstreamAddress, origin_of

NAME = "the server of upstream's files"
REDIRECTS = 3
_REDIRECTED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of upstream, or its METADATA. `size` is in bytes; None if the page doesn't say it.

    `project` is the normalised name of its project, and `entry` is the file as the page has it.
    """

    filename: str
    url: str = field(repr=False)
    sha256: str
    size: int | None = None
    project: str = ""
    entry: File | None = field(default=None, repr=False)
    is_metadata: bool = False

    @property
    def facts(self) -> dict[str, str]:
        """Its name, and the host in upstream's page: for the log. Callers aren't told the host."""
        return {"file": self.filename, "host": urlsplit(self.url).hostname or ""}

    @classmethod
    def of(cls, file: File, project: str) -> Self | None:
        """The file of a page; None if it has no sha256, so that it can't be verified."""
        sha256 = file.hashes.get("sha256")
        return None if sha256 is None else cls(file.filename, file.url, sha256, file.size, project, file)

    @classmethod
    def metadata_of(cls, file: File, project: str) -> Self | None:
        """The METADATA of a file (PEP 658); None if the page has no sha256 of it."""
        hashes = file.core_metadata
        sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
        if sha256 is None:
            return None
        return cls(f"{file.filename}.metadata", f"{file.url}.metadata", sha256, None, project, file, True)

    @classmethod
    def provenance_of(cls, file: File, project: str) -> Self | None:
        """The provenance of a file (PEP 740), of which no page has a sha256; None if it has none."""
        if file.provenance is None:
            return None
        return cls(f"{file.filename}.provenance", file.provenance, "", None, project, file)


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a file as they arrive. `size` is in bytes; None if it isn't known."""

    size: int | None
    pieces: Iterator[bytes] = field(repr=False)
    close: Callable[[], None] = field(repr=False)


class FileSource:
    """Requests files where upstream's pages say: at upstream's own origin, at a public host by https, or at
    one of `hosts`. Upstream's credentials are sent to its own origin alone.
    """

    def __init__(self, address: UpstreamAddress, transport: Transport, hosts: FileHosts) -> None:
        self._address, self._transport, self._hosts = address, transport, hosts

    def host(self, wanted: Wanted) -> Host | None:
        return self._call(wanted.url, at_home=True).asked_host

    def document(self, url: str, limit: int) -> bytes:
        """A document that upstream's page names. Raises ProtocolError if it has more than `limit` bytes."""
        body, content = self.fetch(Wanted(url.rpartition("/")[2], url, "")), bytearray()
        try:
            for piece in body.pieces:
                content += piece
                if len(content) > limit:
                    raise ProtocolError(f"{NAME} sent a document of more than {limit} bytes")
        finally:
            body.close()
        return bytes(content)

    def fetch(self, wanted: Wanted) -> Body:
        """The bytes of the whole file. Raises NotFound, Denied, ProtocolError, Unreachable."""
        call = self._call(wanted.url, at_home=True)
        for _ in range(1 + REDIRECTS):
            try:
                stream = self._transport.stream(call)
            except Denied as exc:
                # The transport's message mentions registries, and may contain an internal host name.
                raise _refused() from exc
            if stream.status == 200:
                return Body(content_length(stream.headers), stream.pieces(READ_PIECE), stream.close)
            stream.close()
            if stream.status not in _REDIRECTED:
                raise _failure(stream.status, wanted)
            url = model.url(stream.headers.get("location", ""), call.url)
            if url is None:
                raise ProtocolError(f"{NAME} redirects to an unusable URL")
            call = self._call(url, at_home="Authorization" in call.headers)
        raise ProtocolError(f"{NAME} redirects more than {REDIRECTS} times")

    def _call(self, url: str, *, at_home: bool) -> Call:
        """The call for a URL; `at_home`: no other host has redirected here."""
        origin, own = origin_of(urlsplit(url)), self._address.origin
        headers = {}
        if origin == own:
            reach = Reach.LISTED
            if at_home and self._address.authorization is not None:
                headers["Authorization"] = self._address.authorization
        elif origin in self._hosts.origins:
            reach = Reach.LISTED
        elif origin[0] == "https":
            reach = Reach.VOUCHED
        else:
            raise _refused()
        return Call(method="GET", url=url, headers=headers, reach=reach, name=NAME, operation="upstream")


def wrong_bytes(wanted: Wanted) -> ProtocolError:
    """The error for bytes that aren't those of the file on upstream's page."""
    return ProtocolError(f"{NAME} sent bytes of {wanted.filename} that don't match upstream's page")


def verified(pieces: Iterable[bytes], wanted: Wanted, size: int) -> Iterator[bytes]:
    """The pieces. The last one is yielded after all of them have been verified."""
    seen, count = hashlib.sha256(), 0
    for piece in pieces:
        seen.update(piece)
        count += len(piece)
        if count >= size:
            if count > size or seen.hexdigest() != wanted.sha256:
                raise wrong_bytes(wanted)
            yield piece
            return
        yield piece
    if count < size:
        raise broken_off(wanted)
    if seen.hexdigest() != wanted.sha256:
        raise wrong_bytes(wanted)


def broken_off(wanted: Wanted) -> Unavailable:
    """The error for a file whose last bytes didn't arrive."""
    return Unavailable(f"the download of {wanted.filename} from upstream broke off; try again")


def _refused() -> ProtocolError:
    return ProtocolError(
        "upstream's page names an address for this file that may not be requested; expected one of upstream"
        " itself, a public one with https, or one that PYOCI_UPSTREAM_FILE_HOSTS lists"
    )


def _failure(status: int, wanted: Wanted) -> PyOCIError:
    if status in {404, 410}:
        return NotFound(f"upstream's page names {wanted.filename}, but {NAME} doesn't have it")
    if status == 401:
        return ProtocolError(
            f"{NAME} answered 401; expected PYOCI_UPSTREAM_AUTH to have valid credentials for it"
        )
    if status in {403, 451}:
        return Denied(f"{NAME} does not give out {wanted.filename}")
    if status == 429 or status >= 500:
        return Unavailable(f"{NAME} can't answer now; try again later")
    return ProtocolError(f"{NAME} answered {status}; expected a file")
