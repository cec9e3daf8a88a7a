"""Lists over HTTP: repositories, tags, referrers. OCI distribution 1.1, "Content Discovery"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Request, Response

from pyoci.embedded import pagination
from pyoci.embedded.contents import IMAGE_INDEX, Contents, Entry
from pyoci.embedded.layout import Folder
from pyoci.embedded.manifests import DOCUMENT_LIMIT, Document
from pyoci.embedded.names import parse_digest, parse_name
from pyoci.embedded.service import EmbeddedRegistry


def version(registry: EmbeddedRegistry, request: Request) -> Response:
    """GET /v2/: yes, this is a registry, and the caller may ask it."""
    return _json({})


def catalog(registry: EmbeddedRegistry, request: Request) -> Response:
    """The repositories, as docker-registry lists them."""
    return _page(request, "repositories", registry.layout.repositories())


def tags(registry: EmbeddedRegistry, request: Request, name: str) -> Response:
    names = sorted(registry.contents(parse_name(registry, name)).tags)
    return _page(request, "tags", names, name=name)


def referrers(registry: EmbeddedRegistry, request: Request, name: str, digest: str) -> Response:
    """An image index of the documents whose subject `digest` is, there or not; in pages of at most 4 MiB."""
    folder, subject = parse_name(registry, name), parse_digest(digest)
    wanted = request.args.get("artifactType")
    contents = registry.documents.contents(folder) or Contents()
    known = {text: entry for text, entry in contents.documents.items() if entry.subject == str(subject)}
    found: list[dict[str, Any]] = []
    size = 0
    headers = {} if wanted is None else {"OCI-Filters-Applied": "artifactType"}
    for descriptor in _descriptors(registry, folder, known, wanted, request.args.get("last", "")):
        size += len(json.dumps(descriptor))
        if found and size > DOCUMENT_LIMIT:
            query = {"last": found[-1]["digest"]} | ({} if wanted is None else {"artifactType": wanted})
            headers |= pagination.link(request.path, **query)
            break
        found.append(descriptor)
    answer = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": found}
    return Response(json.dumps(answer), headers=headers, content_type=IMAGE_INDEX)


def _descriptors(
    registry: EmbeddedRegistry, folder: Folder, known: dict[str, Entry], wanted: str | None, last: str
) -> Iterator[dict[str, Any]]:
    for text in sorted(known):
        if text <= last:
            continue
        entry = known[text]
        document = Document.parse(registry.documents.read(folder, entry), entry.media_type)
        if wanted in (None, document.artifact_type):
            descriptor: dict[str, Any] = {"mediaType": entry.media_type, "digest": text, "size": entry.size}
            if document.artifact_type is not None:
                descriptor["artifactType"] = document.artifact_type
            yield descriptor | ({"annotations": dict(document.annotations)} if document.annotations else {})


def _page(request: Request, key: str, names: list[str], **head: str) -> Response:
    found, more = pagination.page(names, request.args)
    headers = {}
    if more is not None:
        count = {"n": request.args["n"]} if "n" in request.args else {}
        headers = pagination.link(request.path, last=more, **count)
    return _json(head | {key: list(found)}, headers)


def _json(answer: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(answer), headers=headers, content_type="application/json")
