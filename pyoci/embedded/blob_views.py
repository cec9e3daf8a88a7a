"""Blobs over HTTP: OCI distribution 1.1, "Pulling blobs", "Pushing blobs", "Deleting blobs"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from flask import Request, Response
from werkzeug.wsgi import wrap_file

from pyoci.embedded import body, ranges
from pyoci.embedded.blobs import Blob
from pyoci.embedded.errors import Refusal
from pyoci.embedded.layout import Folder
from pyoci.embedded.names import parse_digest, parse_name
from pyoci.embedded.service import EmbeddedRegistry
from pyoci.embedded.uploads import Upload
from pyoci.oci.references import Digest

_PIECE = 1024 * 1024  # bytes


def pull(registry: EmbeddedRegistry, request: Request, name: str, digest: str) -> Response:
    """GET and HEAD of a blob, whole or in part. Its bytes are the caller's to verify."""
    folder, wanted = parse_name(registry, name), parse_digest(digest)
    head = request.method == "HEAD"
    blob = registry.blobs.promise(folder, wanted) if head else registry.blobs.find(folder, wanted)
    if blob is None:
        raise _unknown(folder, wanted)
    headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
    if request.if_none_match.contains_weak(digest):
        return Response(status=304, headers=headers)
    span = None
    if request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
        span = ranges.requested(request.headers.get("Range"), blob.size)
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{blob.size}"
    headers["Content-Length"] = str(blob.size if span is None else len(span))
    response = Response(
        status=200 if span is None else 206, headers=headers, mimetype="application/octet-stream"
    )
    if not head:
        _send(request, response, blob, span)
    return response


def delete(registry: EmbeddedRegistry, request: Request, name: str, digest: str) -> Response:
    folder, wanted = parse_name(registry, name), parse_digest(digest)
    contents = registry.documents.contents(folder)
    if contents is not None and digest in contents.documents:
        raise Refusal("UNSUPPORTED", "this is a document, not a blob; delete it below manifests/")
    if not registry.blobs.delete(folder, wanted):
        raise _unknown(folder, wanted)
    return Response(status=202)


def begin(registry: EmbeddedRegistry, request: Request, name: str) -> Response:
    """POST: mount a blob, or store one that comes along, or open an upload."""
    folder = parse_name(registry, name)
    if "mount" in request.args:
        wanted = parse_digest(request.args["mount"])
        if _mount(registry, folder, wanted, request.args.get("from")):
            return _created(folder, wanted)
    if "digest" in request.args:
        return _store_at_once(registry, request, folder)
    session = registry.uploads.begin(folder)
    return Response(status=202, headers=_progress(folder, session, 0))


def status(registry: EmbeddedRegistry, request: Request, name: str, session: str) -> Response:
    folder = parse_name(registry, name)
    return Response(status=204, headers=_progress(folder, session, registry.uploads.size(folder, session)))


def append(registry: EmbeddedRegistry, request: Request, name: str, session: str) -> Response:
    """PATCH: one more chunk, or a stream without Content-Range."""
    folder = parse_name(registry, name)
    with registry.uploads.opened(folder, session) as upload:
        length = _promised(request, upload)
        registry.uploads.append(upload, _arriving(registry, request, upload), length)
        return Response(status=202, headers=_progress(folder, session, upload.size))


def finish(registry: EmbeddedRegistry, request: Request, name: str, session: str) -> Response:
    """PUT: the last bytes, or all, or none, and the digest of everything."""
    folder, digest = parse_name(registry, name), parse_digest(request.args.get("digest", ""))
    with registry.uploads.opened(folder, session) as upload:
        length = _promised(request, upload)
        registry.uploads.finish(upload, digest, _arriving(registry, request, upload), length)
    return _created(folder, digest)


def cancel(registry: EmbeddedRegistry, request: Request, name: str, session: str) -> Response:
    with registry.uploads.opened(parse_name(registry, name), session) as upload:
        registry.uploads.cancel(upload)
    return Response(status=204)


def _send(request: Request, response: Response, blob: Blob, span: range | None) -> None:
    try:
        file = blob.path.open("rb", buffering=0)
    except FileNotFoundError as error:  # deleted since it was looked at
        raise Refusal("BLOB_UNKNOWN", "the blob was deleted") from error
    file.seek(span.start if span else 0)
    if "wsgi.file_wrapper" in request.environ:  # the server may let the system send the file; it closes it
        response.response = wrap_file(request.environ, file, _PIECE)
        response.direct_passthrough = True
    else:
        response.response = _pieces(file, blob.size if span is None else len(span))
        response.call_on_close(file.close)  # where the client goes away before the end


def _pieces(file: BinaryIO, count: int) -> Iterator[bytes]:
    with file:
        while count > 0 and (piece := file.read(min(_PIECE, count))):
            count -= len(piece)
            yield piece


def _mount(registry: EmbeddedRegistry, folder: Folder, digest: Digest, source: str | None) -> bool:
    """Whoever may push here may read everywhere, so a mount without `from` takes the blob from anywhere."""
    if source is not None:
        return registry.blobs.mount(parse_name(registry, source), folder, digest)
    return any(registry.blobs.mount(other, folder, digest) for other in registry.layout.folders())


def _store_at_once(registry: EmbeddedRegistry, request: Request, folder: Folder) -> Response:
    digest = parse_digest(request.args["digest"])
    session = registry.uploads.begin(folder)
    with registry.uploads.opened(folder, session) as upload:
        try:
            registry.uploads.finish(upload, digest, _arriving(registry, request, upload))
        except BaseException:
            registry.uploads.cancel(upload)
            raise
    return _created(folder, digest)


def _arriving(registry: EmbeddedRegistry, request: Request, upload: Upload) -> Iterator[bytes]:
    return body.pieces(request.environ, registry.blob_limit - upload.size)


def _promised(request: Request, upload: Upload) -> int | None:
    """The chunk's length by its Content-Range. A chunk out of order is told where to go on."""
    try:
        return ranges.uploaded(request.headers.get("Content-Range"), upload.size)
    except Refusal as refusal:
        refusal.headers.update(_progress(upload.folder, upload.session, upload.size))
        raise


def _progress(folder: Folder, session: str, size: int) -> dict[str, str]:
    """Where an upload goes on, relative so that it holds behind any prefix; `0-0` is also said of nothing."""
    return {
        "Location": f"/v2/{folder.name}/blobs/uploads/{session}",
        "Range": f"0-{max(size - 1, 0)}",
        "Docker-Upload-UUID": session,
    }


def _created(folder: Folder, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{folder.name}/blobs/{digest}", "Docker-Content-Digest": str(digest)}
    return Response(status=201, headers=headers)


def _unknown(folder: Folder, digest: Digest) -> Refusal:
    message = f"there is no blob {digest} in {folder.name}"
    return Refusal("BLOB_UNKNOWN", message, detail={"digest": str(digest)})
