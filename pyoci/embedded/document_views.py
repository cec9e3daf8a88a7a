"""Documents over HTTP: OCI distribution 1.1, "Pulling", "Pushing" and "Deleting manifests"."""

from __future__ import annotations

from flask import Request, Response

from pyoci.embedded import body
from pyoci.embedded.documents import digest_of
from pyoci.embedded.errors import Refusal
from pyoci.embedded.manifests import DOCUMENT_LIMIT, Document
from pyoci.embedded.names import parse_name, parse_reference
from pyoci.embedded.service import EmbeddedRegistry
from pyoci.oci.references import Digest, Tag


def pull(registry: EmbeddedRegistry, request: Request, name: str, reference: str) -> Response:
    """GET and HEAD. Accept isn't looked at: a document has one form, and its type says which."""
    folder, wanted = parse_name(registry, name), parse_reference(reference)
    entry = registry.entry(folder, wanted)
    digest = str(entry.digest)
    headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"', "Content-Type": entry.media_type}
    if request.method == "HEAD" and isinstance(wanted, Digest):
        registry.promise(folder, entry)
    if request.if_none_match.contains_weak(digest):
        return Response(status=304, headers=headers)
    document = registry.documents.read(folder, entry)
    return Response(document, headers=headers)


def push(registry: EmbeddedRegistry, request: Request, name: str, reference: str) -> Response:
    folder, wanted = parse_name(registry, name), parse_reference(reference)
    content = body.document(request.environ, DOCUMENT_LIMIT)
    algorithm = wanted.algorithm if isinstance(wanted, Digest) else "sha256"
    digest = digest_of(content, algorithm)
    if isinstance(wanted, Digest) and digest != wanted:
        raise Refusal(
            "DIGEST_INVALID", f"the document has the digest {digest}, not {wanted}; nothing was stored"
        )
    document = Document.parse(content, request.content_type or "")
    registry.push(folder, content, document, digest, wanted.value if isinstance(wanted, Tag) else None)
    headers = {"Location": f"/v2/{name}/manifests/{reference}", "Docker-Content-Digest": str(digest)}
    if document.subject is not None:
        headers["OCI-Subject"] = str(document.subject)
    return Response(status=201, headers=headers)


def delete(registry: EmbeddedRegistry, request: Request, name: str, reference: str) -> Response:
    registry.delete(parse_name(registry, name), parse_reference(reference))
    return Response(status=202)
