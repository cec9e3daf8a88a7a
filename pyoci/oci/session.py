"""OCISession: the operations of one caller at one registry (OCI distribution specification 1.1)."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import BinaryIO

from pyoci import request_scope
from pyoci.errors import AnswerTooLong, InvalidRequest, ProtocolError
from pyoci.events import Events
from pyoci.net.messages import Answer, Body, Stream
from pyoci.net.transport import Transport
from pyoci.oci import auth, blobs, errors, github, listing, quirks, uploads
from pyoci.oci.challenges import Scope
from pyoci.oci.credentials import Credentials
from pyoci.oci.models import DOCKER_SIGNED, IMAGE_INDEX, Descriptor, Document, parse_json
from pyoci.oci.references import Digest, Reference, Registry, Repository, Tag, reference_path
from pyoci.oci.targets import Targets
from pyoci.oci.wire import MayRedirect, Wire

READ_SECONDS = 60.0  # for all documents that one request reads; a session that publishes has no such limit
SMALL_DOCUMENT = 256 * 1024  # bytes; larger ones are read within `OCISession.large`
_CONCURRENCY = 16
_NEXT = 100  # repositories that repositories_after asks for


class Gateway:
    """Makes sessions, and has what they share. One for the process."""

    def __init__(
        self,
        transport: Transport,
        *,
        ttl: float,
        events: Events | None = None,
        companions: Mapping[str, str] = github.COMPANIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ttl`: how many seconds a registry's answers to a caller, and its tokens, are reused. `companions`
        are GitHub's APIs, by the origin of their registry.
        """
        self.transport = transport
        self.events = events or Events()
        self.targets = Targets(transport.resolver)
        self.github = github.GitHub(transport, self.targets, companions)
        self.authenticator = auth.Authenticator(transport, self.targets, self.events, ttl=ttl, clock=clock)

    def limited(self, seconds: float) -> AbstractContextManager[None]:
        """Limit all calls for documents in the block to so many seconds together."""
        return self.transport.shared_deadline(self.transport.deadline_in(seconds))

    def session(
        self, registry: Registry, credentials: Credentials, *, publishing: bool = False
    ) -> OCISession:
        """A session for one request. With `publishing` tokens are requested for pull and push."""
        wire = Wire(
            self.transport,
            self.targets,
            self.authenticator,
            self.events,
            registry,
            credentials,
            until=math.inf if publishing else self.transport.deadline_in(READ_SECONDS),
        )
        request_scope.concern(wire.host)
        return OCISession(wire, ("pull", "push") if publishing else ("pull",))

    def knows(self, registry: Registry, credentials: Credentials) -> bool:
        """Whether a registry lets everybody in, or knows these credentials, whatever they may read. Raises
        RegistryUnauthorized if its token server rejects them.
        """
        with self.transport.shared_deadline():
            return self.authenticator.knows(self.authenticator.caller(registry, credentials))


class OCISession:
    """The operations of one request. Methods raise RegistryError, and what the transport raises."""

    def __init__(self, wire: Wire, actions: tuple[str, ...]) -> None:
        self._wire = wire
        # Entered to read a large document.
        self.large: Callable[[], AbstractContextManager[None]] = nullcontext
        self.begin_update = wire.begin_update
        self._actions = actions
        self.registry = wire.registry

    @property
    def concurrency(self) -> int:
        """How many documents to read concurrently: one for the embedded registry, which needs no network."""
        return 1 if self.registry.scheme == "embedded" else _CONCURRENCY

    def same_caller(self, other: OCISession) -> bool:
        """Whether both have the same credentials, registry and actions."""
        return self._actions == other._actions and self._wire.same_caller(other._wire)

    # Lists

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """All tags, unordered, including those that are not versions. Raises RegistryNotFound."""
        return self._listing(repository.url("tags/list", n=quirks.PAGE_SIZE), repository.name, "tags")

    def repositories(self) -> tuple[str, ...]:
        """All repositories that this caller may see. Many registries don't offer this list."""
        return self._listing(self.registry.url("_catalog", n=quirks.PAGE_SIZE), "", "repositories")

    def repositories_after(self, name: str) -> tuple[str, ...]:
        """The first page of the repositories after `name`. The result is only reliable if the registry sorts
        them and accepts any name: zot sends none after a name that it doesn't have; other registries ignore
        `name`.
        """
        url = self.registry.url("_catalog", n=_NEXT, last=name)
        return self._listing(url, "", "repositories", pages=1)

    def _listing(self, url: str, repository: str, key: str, pages: int | None = None) -> tuple[str, ...]:
        scope = Scope(repository, self._actions) if repository else Scope("", ())

        def fetch(page: str) -> Answer:
            call = self._wire.call("GET", page, {"Accept": "application/json"})
            return self._wire.document(f"list {key}", call, scope, {200})

        return listing.read_listing(fetch, url, key, self._follow, pages=pages)

    def _follow(self, page: str, link: str) -> str:
        return self._wire.targets.next_page(self.registry, page, link)

    # Documents

    def pull(self, repository: Repository, reference: Reference) -> Document:
        """The manifest or image index with a tag or digest. Its digest is verified."""
        call = self._wire.call("GET", repository.url(reference_path(reference)), {"Accept": quirks.ACCEPT})
        what, scope = f"read {reference}", self._scope(repository)
        answer = _unless_too_long(lambda: self._wire.document(what, call, scope, {200}, SMALL_DOCUMENT))
        if answer is None:
            with self.large():
                answer = self._wire.document(what, call, scope, {200})
        document = Document(self._media_type(answer), answer.body)
        named = str(reference) if isinstance(reference, Digest) else ""
        for digest in filter(None, (named, uploads.stored_digest(answer))):
            # The digest of a signed manifest is that of a part of it. No such manifest is used.
            if document.media_type != DOCKER_SIGNED and not _matches(document, digest):
                raise ProtocolError(f"{self.registry} sent bytes that don't match the digest that it names")
        return document

    def digest(self, repository: Repository, tag: Tag) -> Digest | None:
        """The digest of a tag's document; None if the registry doesn't send it. Raises RegistryNotFound."""
        call = self._wire.call("HEAD", repository.url(reference_path(tag)), {"Accept": quirks.ACCEPT})
        answer = self._wire.document(f"look at {tag}", call, self._scope(repository), {200})
        try:
            return Digest.parse(uploads.stored_digest(answer))
        except InvalidRequest:
            return None

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...] | None:
        """The manifests that have the document with this digest as their subject: signatures, attestations,
        SBOMs. None if the registry has no such list; there, the tag `sha256-<hex>` has it.
        """

        def fetch(page: str) -> Answer:
            call = self._wire.call("GET", page, {"Accept": IMAGE_INDEX})
            return self._wire.document("list referrers", call, self._scope(repository), {200})

        return listing.read_referrers(fetch, repository.url(f"referrers/{digest}"), self._follow)

    def trusted_seconds(self, repository: Repository) -> float:
        """How many more seconds the registry's answers about `repository` are valid for this caller."""
        return self._wire.auth.trusted_seconds(self._scope(repository))

    def is_accepted(self, repository: Repository) -> bool:
        """Whether the registry has accepted this caller for `repository`. If so, its 404 means that something
        doesn't exist. Otherwise some registries also answer 404 to hide a repository.
        """
        with self._wire.transport.shared_deadline():
            return self._wire.auth.is_accepted(self._scope(repository))

    def push(self, repository: Repository, reference: Reference, document: Document) -> None:
        """Write a document under a tag or its digest."""
        url = repository.url(reference_path(reference))
        call = self._wire.call("PUT", url, {"Content-Type": document.media_type}, document.body)
        # Another client may have written the tag before a second attempt, so the caller must read it again
        # first.
        call = replace(call, repeatable=isinstance(reference, Digest))
        answer = uploads.written(self._wire, f"write {reference}", call, self._scope(repository))
        if answer.status == 200:
            self._media_type(answer)
        uploads.check_stored(self.registry, answer, document.digest)

    def delete(self, repository: Repository, reference: Reference) -> None:
        """Delete a tag, or a document by its digest with all of its tags."""
        call = self._wire.call("DELETE", repository.url(reference_path(reference)))
        scope = Scope(repository.name, tuple(dict.fromkeys((*self._actions, "delete"))))
        self._wire.document(f"delete {reference}", call, scope, quirks.DELETED)

    # Blobs

    def blob_size(self, repository: Repository, digest: Digest) -> int | None:
        """The size of a blob in bytes; None if it doesn't exist."""
        return blobs.blob_size(self._wire, repository.url(f"blobs/{digest}"), self._scope(repository))

    def open_blob(
        self, repository: Repository, digest: Digest, span: range | None = None, size: int | None = None
    ) -> blobs.BlobStream:
        """The bytes of a blob, or those at the offsets `span`. Redirects are followed.

        `size` is that of the whole blob, if known: reading fails if there are more bytes.
        """
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"} if span is not None else {}
        call = self._wire.call("GET", repository.url(f"blobs/{digest}"), headers)
        stream = self._wire.open(call, self._scope(repository))
        return blobs.whole_blob(stream, digest, size) if span is None else blobs.blob_span(stream, span)

    def open_tail(self, repository: Repository, digest: Digest, count: int) -> blobs.BlobStream:
        """The last `count` bytes of a blob; the whole blob from a registry without ranges."""
        call = self._wire.call("GET", repository.url(f"blobs/{digest}"), {"Range": f"bytes=-{count}"})
        return blobs.blob_tail(self._wire.open(call, self._scope(repository)), digest, count)

    def open_or_redirect(
        self, repository: Repository, digest: Digest, may_redirect: MayRedirect, size: int | None = None
    ) -> blobs.BlobStream | str:
        """The bytes of a blob; or the URL that the registry redirects to, if `may_redirect` allows it."""
        call = self._wire.call("GET", repository.url(f"blobs/{digest}"))
        found = self._wire.open_or_redirect(call, self._scope(repository), may_redirect)
        return blobs.whole_blob(found, digest, size) if isinstance(found, Stream) else found

    def push_blob(self, repository: Repository, file: BinaryIO, size: int, digest: Digest) -> None:
        """Upload `size` bytes of a seekable file, unless the blob exists."""
        if not self._has_blob(repository, digest, size):
            self._uploader(repository).send(file, size, digest)

    def stream_blob(self, repository: Repository, body: Body, digest: Digest) -> bool:
        """Upload a body while it arrives. If the blob exists already, the body isn't read.

        Returns False if the upload failed; the caller then pushes its copy of the body. Errors of `body` are
        raised; the registry then stores nothing.
        """
        return self._has_blob(repository, digest, len(body)) or self._uploader(repository).stream(
            body, digest
        )

    def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Make a blob of another repository of the registry part of this one, without sending its bytes.
        Returns False if the registry doesn't do that.
        """
        scope = Scope(repository.name, self._actions, source.name)
        return uploads.Uploader(self._wire, repository, scope).mount(digest, source)

    def check_push(self, repository: Repository) -> None:
        """Raises the registry's error if the caller may not push to the repository. Nothing is stored."""
        self._uploader(repository).check_allowed()

    def _has_blob(self, repository: Repository, digest: Digest, size: int) -> bool:
        """Whether the blob exists. An answer with a different length is ignored: it is a web page."""
        try:
            return self.blob_size(repository, digest) == size
        except (errors.RegistryUnauthorized, errors.RegistryDenied):
            # Some registries send this for a repository that doesn't exist yet. The upload's answer decides.
            return False

    def _uploader(self, repository: Repository) -> uploads.Uploader:
        return uploads.Uploader(self._wire, repository, self._scope(repository))

    def _scope(self, repository: Repository) -> Scope:
        return Scope(repository.name, self._actions)

    def _media_type(self, answer: Answer) -> str:
        """Content-Type without parameters. Raises ProtocolError for HTML, which proxies send with a 200."""
        named = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if named in quirks.HTML:
            raise ProtocolError(f"{self.registry} answered with {named} where a document was expected")
        if named in {"", "application/json", "application/octet-stream", "text/plain"}:
            document = parse_json(answer.body, "a document")
            named = document.get("mediaType", "") if isinstance(document, dict) else ""
        return named if isinstance(named, str) else ""


def _unless_too_long(read: Callable[[], Answer]) -> Answer | None:
    """What `read` returns, or None if that is too long. The exception refers to what was read, so it must not
    live while its handler waits.
    """
    with suppress(AnswerTooLong):
        return read()
    return None


def _matches(document: Document, digest: str) -> bool:
    """Whether the document has that digest. Digests of unknown algorithms can't be compared."""
    algorithm, _, value = digest.partition(":")
    if algorithm not in {"sha256", "sha512"}:
        return True
    return hashlib.new(algorithm, document.body).hexdigest() == value
