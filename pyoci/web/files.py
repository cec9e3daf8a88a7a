"""Files: download and metadata."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from pyoci.errors import (
    Denied,
    NotFound,
    PyOCIError,
    Unauthorized,
)
from pyoci.events import Events
from pyoci.simple_api.model import File
from pyoci.store.models import ByteRange, FileElsewhere, FileStream, PackageFile
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.file_source import Wanted
from pyoci.upstream.files import Download
from pyoci.upstream.rules import QUARANTINED, Judgement
from pyoci.web import answers, finding, rendering
from pyoci.web.addresses import DIGEST_DIGITS, SERVED
from pyoci.web.context import ResolvedRequest, resolve, site

files = Blueprint("files", __name__)

# The bytes at an address with part of the sha256 never change; those at a plain address may change after a
# delete. Every request that arrives is authorised, whatever a client has cached.
_FOR_EVER = "private, max-age=31536000, immutable"
_CHECK_FIRST = "private, no-cache"
_ENDINGS = {
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".zip": "application/zip",
    ".bz2": "application/x-bzip2",
}
_BINARY = "application/octet-stream"
_INTEGRITY = "application/vnd.pypi.integrity.v1+json"


class FilenameConverter(BaseConverter):
    """A path's last segment, if it ends like the file names of package indexes."""

    regex = rf"[^/]+(?:{'|'.join(map(re.escape, SERVED))})"
    weight = 50


class DigestConverter(BaseConverter):
    """A plus sign and the first digits of a file's sha256; the view gets the digits."""

    regex = rf"\+[0-9a-f]{{{DIGEST_DIGITS}}}"
    weight = 40

    def to_python(self, value: str) -> str:
        return value.removeprefix("+")


@files.get("/<path:path>/<digest:digest>/<file:filename>", provide_automatic_options=False)
@files.get("/<path:path>/<file:filename>", provide_automatic_options=False)
def download(path: str, filename: str, digest: str = "") -> Response:
    """The file, or a range of it, streamed from the registry. HEAD gets its size without reading it."""
    request.environ["pyoci.file"] = filename
    resolved = resolve(path)
    return _or_upstreams(
        resolved, filename, digest, Wanted.of, lambda: _from_registry(resolved, filename, digest)
    )


def _from_registry(resolved: ResolvedRequest, filename: str, digest: str) -> Response:
    namespace, name = resolved.project()
    store, wanted = site().store, ByteRange.parse(request.headers.get("Range"))
    if request.method == "HEAD" or "If-None-Match" in request.headers or "If-Range" in request.headers:
        file = store.describe(namespace, name, filename, resolved.caller, sha256=digest)
        if answers.unchanged(file.sha256):
            return _unchanged(file.sha256)
        if request.method == "HEAD":
            return _described(file)
        wanted = wanted if _range_holds(file.sha256) else None
    if site().redirect and "Range" not in request.headers:
        found = store.open_or_redirect(
            namespace, name, filename, resolved.caller, _may_be_sent_to, sha256=digest
        )
    else:
        found = store.open(namespace, name, filename, resolved.caller, wanted, sha256=digest)
    return _elsewhere(found) if isinstance(found, FileElsewhere) else _streamed(found, site().events)


@files.get("/<path:path>/<digest:digest>/<file:filename>.metadata", provide_automatic_options=False)
@files.get("/<path:path>/<file:filename>.metadata", provide_automatic_options=False)
def metadata(path: str, filename: str, digest: str = "") -> Response:
    """The METADATA of a wheel, byte for byte (PEP 658)."""
    request.environ["pyoci.file"] = filename
    resolved = resolve(path)
    return _or_upstreams(
        resolved, filename, digest, Wanted.metadata_of, lambda: _metadata(resolved, filename, digest)
    )


def _metadata(resolved: ResolvedRequest, filename: str, digest: str) -> Response:
    namespace, name = resolved.project()
    content = site().store.metadata(namespace, name, filename, resolved.caller, sha256=digest)
    tag = hashlib.sha256(content).hexdigest()
    if answers.unchanged(tag):
        return _unchanged(tag)
    wanted = ByteRange.parse(request.headers.get("Range")) if request.method == "GET" else None
    span = wanted.within(len(content)) if wanted and _range_holds(tag) else None
    answer = Response(content[span.start : span.stop] if span else content, content_type=_BINARY)
    return _with_headers(answer, tag, len(content), span)


@files.get("/<path:path>/<digest:digest>/<file:filename>.provenance", provide_automatic_options=False)
def provenance(path: str, filename: str, digest: str) -> Response:
    """The provenance of a file (PEP 740)."""
    request.environ["pyoci.file"] = filename
    resolved = resolve(path)

    def from_registry() -> Response:
        namespace, name = resolved.project()
        found = site().store.provenance(namespace, name, filename, resolved.caller, sha256=digest)
        return _provenance(found)

    return _or_upstreams(resolved, filename, digest, Wanted.provenance_of, from_registry)


def _provenance(content: bytes) -> Response:
    """It may change, unlike what else is at an address with a digest."""
    tag = hashlib.sha256(content).hexdigest()
    answer = Response(status=304) if answers.unchanged(tag) else Response(content, content_type=_INTEGRITY)
    answer.headers["ETag"] = f'"{tag}"'
    answer.headers["Cache-Control"] = _CHECK_FIRST
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _or_upstreams(
    resolved: ResolvedRequest,
    filename: str,
    digest: str,
    wanted_of: Callable[[File, str], Wanted | None],
    from_registry: Callable[[], Response],
) -> Response:
    """The answer of `from_registry`; or a file of upstream's page, if that is the page that this caller would
    see now. A link without a digest never leads to one of those.
    """
    if site().upstream_files is None or not digest:
        return from_registry()
    refusal: PyOCIError | None = None
    if not _is_known_absent(resolved):
        try:
            return from_registry()
        except (NotFound, Unauthorized, Denied) as exc:
            refusal = exc
    try:
        page = finding.find_upstream_page(resolved)
    except (NotFound, Unauthorized, Denied) as exc:
        if refusal is None or (isinstance(exc, NotFound) and isinstance(refusal, NotFound)):
            raise
        page = None
    if page is None:
        raise refusal or NotFound(f"there is no file {filename} here")
    answer = _from_upstream(_on_page(page, filename, digest, wanted_of))
    return answers.from_upstream(answer, page)


def _on_page(
    page: UpstreamPage, filename: str, digest: str, wanted_of: Callable[[File, str], Wanted | None]
) -> Wanted:
    """A file of upstream's page, or its metadata. Raises NotFound, and Denied if the rules withhold it."""
    if page.judgement is not None:
        _apply(page.judgement, filename, digest)
    for file in page.files:
        if file.filename == filename and file.hashes.get("sha256", "").startswith(digest):
            wanted = wanted_of(file, page.name)
            if wanted is not None:
                return wanted
    raise NotFound(f"upstream's page of {page.name} has no file {filename} with this sha256")


def _apply(judgement: Judgement, filename: str, digest: str) -> None:
    """Raises Denied if the rules withhold a file. If they only report, it is counted and logged."""
    found = judgement.of(filename, digest)
    if found is not None:
        rule, reason = found.rule, found.reason
    elif judgement.quarantine:
        rule, reason = QUARANTINED, judgement.quarantine
    else:
        return
    events = site().events
    events.count("withheld", rule, judgement.mode, "file")
    if judgement.enforced:
        events.warning("upstream", "file withheld", file=filename, rule=rule, reason=reason)
        raise Denied(judgement.sentence(filename, rule, reason))
    events.info("upstream", "file would be withheld", file=filename, rule=rule, reason=reason)


def _is_known_absent(resolved: ResolvedRequest) -> bool:
    """Whether the registry need not be asked for the file first."""
    try:
        project = resolved.page_project()
        return site().store.is_known_absent(project.namespace, project.name, resolved.caller)
    except PyOCIError:
        return False


def _from_upstream(wanted: Wanted) -> Response:
    """A file of upstream, or a range of it."""
    source = site().upstream_files
    assert source is not None
    request.environ["pyoci.origin"] = rendering.UPSTREAM  # for the log line
    if not wanted.sha256:
        return _provenance(source.provenances.read(wanted))
    if answers.unchanged(wanted.sha256):
        return _unchanged(wanted.sha256)
    wanted = source.sized(wanted)
    size = wanted.size or 0
    asked = ByteRange.parse(request.headers.get("Range"))
    if request.method == "HEAD":
        answer = _with_headers(_of(wanted, Response()), wanted.sha256, size, None)
    else:
        span = asked.within(size) if asked and _range_holds(wanted.sha256) else None
        answer = _streamed(source.open(wanted, span), site().events)
    return answer


def _range_holds(digest: str) -> bool:
    """Whether If-Range is missing or names exactly this file (RFC 9110, section 13.1.5)."""
    condition = request.headers.get("If-Range")
    return condition is None or condition.strip() == f'"{digest}"'


def _unchanged(tag: str) -> Response:
    return Response(status=304, headers={"ETag": f'"{tag}"', "Cache-Control": _freshness()})


def _freshness() -> str:
    """The Cache-Control of this address."""
    return _FOR_EVER if "digest" in (request.view_args or {}) else _CHECK_FIRST


def _described(file: PackageFile) -> Response:
    assert file.size is not None  # describe() asks the registry if the size is unknown
    return _with_headers(_of(file, Response()), file.sha256, file.size, None)


def _may_be_sent_to(url: str) -> bool:
    """Whether a client may be redirected to `url`.

    Never from https to http, and never to the host name of this server, whatever the port: pip and poetry
    would send the credentials for this server there.
    """
    target = urlsplit(url)
    secure = request.scheme == "https" or "https" in request.headers.get("X-Forwarded-Proto", "").lower()
    hosts = [request.host, *request.headers.get("X-Forwarded-Host", "").split(",")]
    try:
        own = {(urlsplit(f"//{host.strip()}").hostname or "").rstrip(".") for host in hosts}
    except ValueError:  # "[" for instance: this server's host name is unknown then
        return False
    return (target.scheme == "https" or not secure) and (target.hostname or "").rstrip(".") not in own


def _elsewhere(found: FileElsewhere) -> Response:
    """A redirect that must not be cached: its URL is signed and expires soon."""
    answer = answers.text("")
    answer.status_code = 307
    answer.headers["Location"] = found.url
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _streamed(stream: FileStream | Download, events: Events) -> Response:
    """The answer that passes on a stream.

    The first piece is read before the answer starts. If the registry fails at once, or the digest of a small
    file is wrong, the answer has an error status.
    """
    try:
        first = next(iter(stream), b"")
    except BaseException:
        stream.close()
        raise
    # Without direct_passthrough, which would skip the functions to call on close.
    answer = Response(_pieces(first, stream, events))
    answer.call_on_close(stream.close)
    return _with_headers(_of(stream.file, answer), stream.file.sha256, stream.size, stream.span)


def _pieces(first: bytes, stream: FileStream | Download, events: Events) -> Iterator[bytes]:
    """The pieces. Errors propagate, so that the server cuts the connection and the client notices."""
    yield first
    first = b""  # frees the piece: a slow client keeps the stream open for a long time
    try:
        yield from stream
    except Exception as exc:
        events.error("web", "download broke off", file=stream.file.filename, error=type(exc).__name__)
        raise


def _of(file: PackageFile | Wanted, answer: Response) -> Response:
    """Add the headers that only files have."""
    ending = file.filename[file.filename.rfind(".") :]
    answer.content_type = _ENDINGS.get(ending, _BINARY)
    answer.headers["Content-Disposition"] = f'attachment; filename="{file.filename}"'
    return answer


def _with_headers(answer: Response, tag: str, size: int, span: range | None) -> Response:
    """Add the headers that files and their metadata share. `size` is that of the whole file."""
    answer.headers["ETag"] = f'"{tag}"'
    answer.headers["Cache-Control"] = _freshness()
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Content-Length"] = str(size if span is None else len(span))
    if span is not None:
        answer.status_code = 206
        answer.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    return answer
