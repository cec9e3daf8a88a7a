"""ServerIndex: a package index behind a PyOCI server, through its HTTP API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from pyoci import errors
from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound, ProtocolError, PyOCIError
from pyoci.library import explaining, forms, uploads
from pyoci.library.index import Index, Progress
from pyoci.library.models import Explanation, File, Project
from pyoci.net.addresses import Reach
from pyoci.net.messages import READ_PIECE, Answer, Call, Stream
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Credentials
from pyoci.simple_api import model
from pyoci.simple_api.reading import read_document, read_json, read_names

SIMPLE = "application/vnd.pypi.simple.v1+json"
_PAGE_LIMIT = 32 * 1024 * 1024  # bytes
_FILE_LIMIT = 16 * 1024**3  # bytes of a file whose size isn't on its page
HASHES = ("sha256", "sha512", "blake2b", "sha384", "sha224", "sha1", "md5")  # that can be compared
_MESSAGE = 500  # characters of a server's message
_REDIRECTS = 3
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_KINDS: dict[int, type[PyOCIError]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthorized,
    403: errors.Denied,
    404: errors.NotFound,
    405: errors.NotSupported,
    409: errors.AlreadyExists,
    413: errors.TooLarge,
    415: errors.InvalidRequest,
    429: errors.RateLimited,
    502: errors.ProtocolError,
    503: errors.Unavailable,
    504: errors.Unreachable,
    507: errors.TooLarge,
}


class ServerIndex(Index):
    """An index of a PyOCI server, or of another server with the same parts of its HTTP API."""

    kind = "server"

    def __init__(self, url: str, caller: Credentials, transport: Transport) -> None:
        """`url` is that of the index, `https://pypi.example.com/ghcr.io/acme/`."""
        self._url = url.rstrip("/") + "/"
        self._host = urlsplit(url).netloc
        self._header, self._hint = caller.header(), caller.hint
        self._transport = transport

    @property
    def address(self) -> str:
        return self._url

    def projects(self) -> tuple[str, ...]:
        answer = self._document(self._call("GET", self._url, {"Accept": SIMPLE}))
        return _names(answer, self._host)

    def project(self, name: str) -> Project:
        normalized = ProjectName.parse(name).normalized
        call = self._call("GET", f"{self._url}{normalized}/", {"Accept": SIMPLE})
        page = read_json(self._document(call).body, normalized, call.url, self._host)
        files = tuple(File.listed(page.name, file) for file in page.files)
        return Project(page.name, files, page.status or model.ACTIVE)

    def explain(self, name: str) -> Explanation:
        normalized = ProjectName.parse(name).normalized
        call = self._call("GET", f"{self._url}{normalized}/?explain=yes", {"Accept": SIMPLE})
        return explaining.read(self._document(call), normalized, call.url, self._host)

    def summary(self, project: Project) -> str:
        answer = self._document(self._call("GET", f"{self._url}{project.name}/json"))
        try:
            summary = read_document(answer.body, self._host)["info"]["summary"]
        except (ProtocolError, KeyError, TypeError):
            return ""
        return " ".join(summary.split())[:_MESSAGE] if isinstance(summary, str) else ""

    def labels(self, file: File) -> dict[str, str] | None:
        return None

    @contextmanager
    def open_file(self, file: File) -> Iterator[Iterator[bytes]]:
        if file.url is None:
            raise NotFound(f"{self._host} has named no URL for {file.filename}")
        stream = self._opened(self._call("GET", file.url))
        with closing(stream):
            hashes = {"sha256": file.sha256} if file.sha256 is not None else {}
            yield verified(stream.pieces(READ_PIECE), file.filename, file.size, hashes)

    def publish(self, path: Path, progress: Progress | None = None, *, attested: bool = False) -> File:
        with uploads.LocalFile(path, progress, attested=attested) as file:
            form = forms.UploadForm(file)
            call = self._call("POST", self._url, {"Content-Type": form.content_type})
            answer = self._transport.upload(replace(call, body=form, repeatable=False))
            self._check(answer)
            return form.file()

    def yank(self, project: str, target: str, reason: str = "") -> None:
        self._patch(project, target, reason or True)

    def unyank(self, project: str, target: str) -> None:
        self._patch(project, target, False)

    def set_status(self, project: str, status: str, reason: str = "") -> None:
        wanted = {"status": status, **({"reason": reason} if reason else {})}
        self._patched(f"{self._url}{ProjectName.parse(project).normalized}/", wanted)

    def delete(self, project: str, target: str) -> None:
        self._check(self._transport.document(self._call("DELETE", self._target(project, target))))

    def close(self) -> None:
        self._transport.close()

    def _patch(self, project: str, target: str, yanked: str | bool) -> None:
        self._patched(self._target(project, target), {"yanked": yanked})

    def _patched(self, url: str, change: Mapping[str, str | bool]) -> None:
        call = self._call("PATCH", url, {"Content-Type": "application/json"})
        self._check(self._transport.document(replace(call, body=json.dumps(change).encode())))

    def _target(self, project: str, target: str) -> str:
        return f"{self._url}{ProjectName.parse(project).normalized}/{quote(target, safe='')}"

    def _call(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Call:
        """A call. Only the server's own origin gets the credentials."""
        own = _origin(url) == _origin(self._url)
        login = {"Authorization": self._header} if own and self._header else {}
        return Call(
            method=method,
            url=url,
            headers={**(headers or {}), **login},
            reach=Reach.LISTED if own else self._reach_elsewhere(url),
            name=urlsplit(url).netloc,
            operation="index",
        )

    def _reach_elsewhere(self, url: str) -> Reach:
        """The reach of a link to another host: a public server can't lead into a private network."""
        parts = urlsplit(self._url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return self._transport.resolver.reach_beyond(parts.hostname or "", port)

    def _document(self, call: Call) -> Answer:
        """The answer to a call, after redirects. Raises the kind of error that its status stands for."""
        for _ in range(1 + _REDIRECTS):
            answer = self._transport.document(call, _PAGE_LIMIT)
            if answer.status not in _REDIRECTED:
                self._check(answer, call.url)
                return answer
            call = self._redirected(call, answer.headers)
        raise ProtocolError(f"{self._host} redirects more than {_REDIRECTS} times")

    def _opened(self, call: Call) -> Stream:
        for _ in range(1 + _REDIRECTS):
            stream = self._stream(call)
            if stream.status == 200:
                return stream
            with closing(stream):
                if stream.status not in _REDIRECTED:
                    self._check(Answer(stream.status, stream.headers, stream.head(_MESSAGE)), call.url)
                    raise ProtocolError(f"{self._host} answered {stream.status}; expected a file")
                call = self._redirected(call, stream.headers)
        raise ProtocolError(f"{self._host} redirects more than {_REDIRECTS} times")

    def _stream(self, call: Call) -> Stream:
        return self._transport.stream(call)

    def _redirected(self, call: Call, headers: Mapping[str, str]) -> Call:
        url = model.url(headers.get("location", ""), call.url)
        if url is None or (call.url.startswith("https:") and not url.startswith("https:")):
            raise ProtocolError(f"{self._host} redirects to an unusable URL; expected one of https")
        kept = {key: value for key, value in call.headers.items() if key != "Authorization"}
        return self._call(call.method, url, kept)

    def _check(self, answer: Answer, url: str = "") -> None:
        """Raises the kind of error that a refusal's status stands for, with the server's own sentence. `url`
        is what was asked, if that may be at another host, which gets no login.
        """
        if answer.status < 300:
            return
        kind = _KINDS.get(answer.status, ProtocolError)
        said = _sentence(answer) or f"{self._host} answered {answer.status}"
        own = kind is errors.Unauthorized and (not url or _origin(url) == _origin(self._url))
        raise kind(said + self._hint if own else said)


def _names(answer: Answer, host: str) -> tuple[str, ...]:
    """The projects of a root. Names that aren't names are left out."""
    names = map(normalized, read_names(answer.body, host))
    return tuple(sorted({name for name in names if name is not None}))


def normalized(text: object) -> str | None:
    """The normalised name of a project; None if the text isn't a name."""
    try:
        return ProjectName.parse(text).normalized if isinstance(text, str) else None
    except errors.InvalidRequest:
        return None


def verified(
    pieces: Iterator[bytes],
    filename: str,
    size: int | None,
    hashes: Mapping[str, str],
    document: str = "its page",
) -> Iterator[bytes]:
    """The pieces of a file, the last one only after the best of the hashes was compared. `document` has
    them.
    """
    algorithm = next((name for name in HASHES if name in hashes), None)
    computed, last = hashlib.new(algorithm or "sha256", usedforsecurity=False), b""
    for piece in _limited(pieces, filename, size):
        if last:
            yield last
        computed.update(piece)
        last = piece
    if algorithm is not None and computed.hexdigest() != hashes[algorithm].lower():
        raise ProtocolError(
            f"{filename} has the {algorithm} {computed.hexdigest()};"
            f" expected {hashes[algorithm]}, as {document} says"
        )
    if last:
        yield last


def _limited(pieces: Iterator[bytes], filename: str, size: int | None) -> Iterator[bytes]:
    """The pieces of a file. Raises ProtocolError if there are more bytes than its page says."""
    left = _FILE_LIMIT if size is None else size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise ProtocolError(f"{filename} has more than {_FILE_LIMIT if size is None else size} bytes")
        yield piece


def _sentence(answer: Answer) -> str:
    """The message of a refusal: PyOCI sends it as one line of text."""
    if not answer.headers.get("content-type", "").startswith("text/plain"):
        return ""
    line = answer.body[: 4 * _MESSAGE].decode("utf-8", "replace").strip()
    return line if line.isprintable() and len(line) <= _MESSAGE else ""


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
