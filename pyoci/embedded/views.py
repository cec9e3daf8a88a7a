"""The endpoints of OCI distribution 1.1: blobs, uploads, manifests, and the lists of tags and referrers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import urlencode

from flask import Response, request
from werkzeug.wsgi import wrap_file

from pyoci.embedded import blobs, manifests, parsing
from pyoci.embedded.errors import Refusal
from pyoci.embedded.registry import EmbeddedRegistry, digest_of
from pyoci.embedded.storage import PIECE, RepositoryFolder
from pyoci.net.transport import DOCUMENT_LIMIT
from pyoci.oci.references import Digest, Reference, Tag


def version(registry: EmbeddedRegistry) -> Response:
    """GET /v2/: this is a registry, and the caller has access."""
    return _json({})


def catalog(registry: EmbeddedRegistry) -> Response:
    """The repositories, in docker-registry's format."""
    return _page("repositories", registry.layout.repositories())


def tags(registry: EmbeddedRegistry, folder: RepositoryFolder) -> Response:
    return _page("tags", sorted(registry.manifests.index(folder).tags), name=folder.name)


def referrers(registry: EmbeddedRegistry, folder: RepositoryFolder, digest: Digest) -> Response:
    """An image index of the manifests whose subject is `digest`, in pages of at most 4 MiB.

    The subject itself need not exist.
    """
    artifact_type = request.args.get("artifactType")
    filters = {} if artifact_type is None else {"artifactType": artifact_type}
    headers = {"OCI-Filters-Applied": "artifactType"} if filters else {}
    index = registry.manifests.find_index(folder) or manifests.RepositoryIndex()
    known = {text: entry for text, entry in index.manifests.items() if entry.subject == str(digest)}
    found: list[dict[str, Any]] = []
    size = 0
    for descriptor in _descriptors(registry, folder, known, artifact_type, request.args.get("last", "")):
        size += len(json.dumps(descriptor))
        if found and size > DOCUMENT_LIMIT:
            headers |= _link(last=found[-1]["digest"], **filters)
            break
        found.append(descriptor)
    answer = {"schemaVersion": 2, "mediaType": manifests.IMAGE_INDEX, "manifests": found}
    return Response(json.dumps(answer), headers=headers, content_type=manifests.IMAGE_INDEX)


def pull_manifest(registry: EmbeddedRegistry, folder: RepositoryFolder, reference: Reference) -> Response:
    """GET and HEAD. Accept is ignored: a manifest has one format, and the Content-Type names it."""
    entry = registry.manifests.entry(folder, reference)
    digest = str(entry.digest)
    headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"', "Content-Type": entry.media_type}
    if request.method == "HEAD" and isinstance(reference, Digest):
        registry.blobs.find_and_renew(folder, entry.digest)
    if request.if_none_match.contains_weak(digest):
        return Response(status=304, headers=headers)
    return Response(registry.manifests.read(folder, entry), headers=headers)


def push_manifest(registry: EmbeddedRegistry, folder: RepositoryFolder, reference: Reference) -> Response:
    content = b"".join(parsing.read_body(request.environ, DOCUMENT_LIMIT))
    digest = digest_of(content, reference.algorithm if isinstance(reference, Digest) else "sha256")
    if isinstance(reference, Digest) and digest != reference:
        message = f"the manifest has the digest {digest}, not {reference}; nothing was stored"
        raise Refusal("DIGEST_INVALID", message)
    manifest = manifests.Manifest.parse(content, request.content_type or "")
    tag = reference.value if isinstance(reference, Tag) else None
    registry.manifests.push(folder, content, manifest, digest, tag)
    location = f"/v2/{folder.name}/manifests/{reference}"
    headers = {"Location": location, "Docker-Content-Digest": str(digest)}
    if manifest.subject is not None:
        headers["OCI-Subject"] = str(manifest.subject)
    return Response(status=201, headers=headers)


def delete_manifest(registry: EmbeddedRegistry, folder: RepositoryFolder, reference: Reference) -> Response:
    digest = registry.manifests.delete(folder, reference)
    return Response(status=202, headers={"Docker-Content-Digest": str(digest)})


def pull_blob(registry: EmbeddedRegistry, folder: RepositoryFolder, digest: Digest) -> Response:
    """GET and HEAD of a blob, whole or in part. Clients verify its digest."""
    head = request.method == "HEAD"
    find = registry.blobs.find_and_renew if head else registry.blobs.find
    blob = find(folder, digest)
    if blob is None:
        raise _unknown_blob(folder, digest)
    headers = {"Docker-Content-Digest": str(digest), "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
    if request.if_none_match.contains_weak(str(digest)):
        return Response(status=304, headers=headers)
    span = None
    if request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
        span = parsing.parse_range(request.headers.get("Range"), blob.size)
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{blob.size}"
    headers["Content-Length"] = str(blob.size if span is None else len(span))
    status = 200 if span is None else 206
    response = Response(status=status, headers=headers, mimetype="application/octet-stream")
    if not head:
        _send(response, blob, span)
    return response


def delete_blob(registry: EmbeddedRegistry, folder: RepositoryFolder, digest: Digest) -> Response:
    index = registry.manifests.find_index(folder)
    if index is not None and str(digest) in index.manifests:
        raise Refusal("UNSUPPORTED", "this is a manifest, not a blob; delete it below manifests/")
    if not registry.blobs.delete(folder, digest):
        raise _unknown_blob(folder, digest)
    return Response(status=202, headers={"Docker-Content-Digest": str(digest)})


def begin_upload(registry: EmbeddedRegistry, folder: RepositoryFolder) -> Response:
    """POST: mount a blob, or store the request's body, or open an upload session."""
    if "mount" in request.args:
        mounted = parsing.parse_digest(request.args["mount"])
        if _mount(registry, folder, mounted, request.args.get("from")):
            return _created(folder, mounted)
    digest = parsing.parse_digest(request.args["digest"]) if "digest" in request.args else None
    session_id = registry.uploads.begin(folder)
    if digest is None:
        return Response(status=202, headers=_progress(folder, session_id, 0))
    with registry.uploads.opened(folder, session_id) as upload:
        try:
            registry.uploads.finish(upload, digest, _upload_body(registry, upload))
        except BaseException:
            registry.uploads.cancel(upload)
            raise
    return _created(folder, digest)


def upload_status(registry: EmbeddedRegistry, folder: RepositoryFolder, session_id: str) -> Response:
    with registry.uploads.opened(folder, session_id) as upload:
        return Response(status=204, headers=_progress(folder, session_id, upload.size))


def append_to_upload(registry: EmbeddedRegistry, folder: RepositoryFolder, session_id: str) -> Response:
    """PATCH: one more chunk, or a stream without Content-Range."""
    with registry.uploads.opened(folder, session_id) as upload:
        length = _announced(upload)
        registry.uploads.append(upload, _upload_body(registry, upload), length)
        return Response(status=202, headers=_progress(folder, session_id, upload.size))


def finish_upload(registry: EmbeddedRegistry, folder: RepositoryFolder, session_id: str) -> Response:
    """PUT: the last bytes, or all, or none, and the digest of everything."""
    digest = parsing.parse_digest(request.args.get("digest", ""))
    with registry.uploads.opened(folder, session_id) as upload:
        length = _announced(upload)
        registry.uploads.finish(upload, digest, _upload_body(registry, upload), length)
    return _created(folder, digest)


def cancel_upload(registry: EmbeddedRegistry, folder: RepositoryFolder, session_id: str) -> Response:
    with registry.uploads.opened(folder, session_id) as upload:
        registry.uploads.cancel(upload)
    return Response(status=204)


def _descriptors(
    registry: EmbeddedRegistry,
    folder: RepositoryFolder,
    known: dict[str, manifests.IndexEntry],
    artifact_type: str | None,
    last: str,
) -> Iterator[dict[str, Any]]:
    for text in sorted(known):
        if text <= last:
            continue
        entry = known[text]
        try:
            content = registry.manifests.read(folder, entry)
        except Refusal:  # it has been deleted since it was listed
            continue
        manifest = manifests.Manifest.parse(content, entry.media_type)
        if artifact_type in (None, manifest.artifact_type):
            descriptor: dict[str, Any] = {"mediaType": entry.media_type, "digest": text, "size": entry.size}
            if manifest.artifact_type is not None:
                descriptor["artifactType"] = manifest.artifact_type
            yield descriptor | ({"annotations": dict(manifest.annotations)} if manifest.annotations else {})


def _page(key: str, names: list[str], **head: str) -> Response:
    found, last = parsing.select_page(names, request.args)
    headers = {}
    if last is not None:
        count = {"n": request.args["n"]} if "n" in request.args else {}
        headers = _link(last=last, **count)
    return _json(head | {key: list(found)}, headers)


def _link(**query: str) -> dict[str, str]:
    """A Link header to the next page (RFC 8288)."""
    return {"Link": f'<{request.path}?{urlencode(query)}>; rel="next"'}


def _json(answer: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(answer), headers=headers, content_type="application/json")


def _send(response: Response, blob: blobs.Blob, span: range | None) -> None:
    try:
        file = blob.path.open("rb", buffering=0)
    except FileNotFoundError as error:  # deleted by another request
        raise Refusal("BLOB_UNKNOWN", "the blob was deleted") from error
    file.seek(span.start if span else 0)
    if "wsgi.file_wrapper" in request.environ:  # the server may use sendfile; it closes the file
        response.response = wrap_file(request.environ, file, PIECE)
        response.direct_passthrough = True
    else:
        response.response = _pieces(file, blob.size if span is None else len(span))
        response.call_on_close(file.close)  # also when the client disconnects


def _pieces(file: BinaryIO, count: int) -> Iterator[bytes]:
    with file:
        while count > 0 and (piece := file.read(min(PIECE, count))):
            count -= len(piece)
            yield piece


def _mount(registry: EmbeddedRegistry, folder: RepositoryFolder, digest: Digest, source: str | None) -> bool:
    """Without `from` any repository may be the source: every user may read all of them."""
    if source is not None:
        return registry.blobs.mount(parsing.parse_folder(registry.layout, source), folder, digest)
    return any(registry.blobs.mount(other, folder, digest) for other in registry.layout.folders())


def _upload_body(registry: EmbeddedRegistry, upload: blobs.UploadSession) -> Iterator[bytes]:
    return parsing.read_body(request.environ, registry.blob_limit - upload.size)


def _announced(upload: blobs.UploadSession) -> int | None:
    """The chunk's length by its Content-Range. The refusal of a chunk out of order says where to continue."""
    try:
        return parsing.parse_content_range(request.headers.get("Content-Range"), upload.size)
    except Refusal as refusal:
        refusal.headers.update(_progress(upload.folder, upload.session_id, upload.size))
        raise


def _progress(folder: RepositoryFolder, session_id: str, size: int) -> dict[str, str]:
    """Where an upload continues: a relative URL, valid behind any proxy. An empty one has the Range `0-0`."""
    return {
        "Location": f"/v2/{folder.name}/blobs/uploads/{session_id}",
        "Range": f"0-{max(size - 1, 0)}",
        "Docker-Upload-UUID": session_id,
    }


def _created(folder: RepositoryFolder, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{folder.name}/blobs/{digest}", "Docker-Content-Digest": str(digest)}
    return Response(status=201, headers=headers)


def _unknown_blob(folder: RepositoryFolder, digest: Digest) -> Refusal:
    message = f"there is no blob {digest} in {folder.name}"
    return Refusal("BLOB_UNKNOWN", message, detail={"digest": str(digest)})
