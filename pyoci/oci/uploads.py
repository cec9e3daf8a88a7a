"""Uploader: uploads blobs, each by one POST and one PUT (OCI distribution specification 1.1, "Pushing a blob
monolithically").
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

from pyoci.errors import ProtocolError, PyOCIError, Unreachable
from pyoci.net.messages import Answer, Body, Call, FileBody
from pyoci.oci import errors, ping
from pyoci.oci.challenges import Scope
from pyoci.oci.quirks import WRITTEN
from pyoci.oci.references import Digest, Registry, Repository
from pyoci.oci.wire import Wire, authorized

_ATTEMPTS = 3
_SECONDS = 300.0  # a failed upload isn't repeated after this time, because clients have given up by then


class _Expired(errors.RegistryUnauthorized):
    """The upload's token was refused, and a new one is available."""


class _Collided(errors.RegistryRefused):
    """Somebody else uploaded the same blob at the same time."""


# Failures after which a new upload may succeed.
_BROKEN = (Unreachable, errors.RegistryFailed, errors.RegistryNotFound, _Expired, _Collided)


@dataclass(frozen=True, slots=True)
class Uploader:
    """Uploads of one caller to one repository."""

    wire: Wire
    repository: Repository
    scope: Scope

    def send(self, file: BinaryIO, size: int, digest: Digest) -> None:
        """Upload `size` bytes of a seekable file.

        An upload that was interrupted, or whose token has expired, is repeated: at most twice, and within
        five minutes.
        """
        deadline = time.monotonic() + _SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            location, base = self._start()
            try:
                return self._finish(location, base, FileBody(file, size), digest)
            except errors.RegistryFull:
                raise
            except _BROKEN:
                if attempt == _ATTEMPTS or time.monotonic() > deadline:
                    raise
                self.wire.transport.wait(attempt)
        raise AssertionError("the last attempt returns or raises")

    def stream(self, body: Body, digest: Digest) -> bool:
        """Upload a body that can be read only once. Returns False if the upload failed and another attempt
        may succeed.

        Errors of `body` are raised; the registry then stores nothing.
        """
        location, base = self._start()
        try:
            self._finish(location, base, body, digest)
        except errors.RegistryFull:
            raise
        except _BROKEN:
            return False
        return True

    def check_allowed(self) -> None:
        """Start an upload and cancel it. Raises the registry's error if the caller may not push here.

        A registry that can't cancel uploads discards them after some time. No request is made if the caller's
        token lists the right to push.
        """
        if ping.may_push(self.wire.auth.first_header(self.scope), self.repository.name):
            return
        location, base = self._start()
        self._cancel(location, base)

    def mount(self, digest: Digest, source: Repository) -> bool:
        """Make a blob of another repository of this registry part of this one. Returns False if the
        registry would rather have the bytes: it has no such operation, or the caller may not read there.
        """
        url = self.repository.url("blobs/uploads/", mount=str(digest), **{"from": source.name})
        answer = self.wire.document("mount a blob", self.wire.call("POST", url), self.scope, {201, 202})
        if answer.status == 202:
            self._cancel(answer.headers.get("location", ""), url)
            return False
        check_stored(self.wire.registry, answer, digest)
        return True

    def _cancel(self, location: str, base: str) -> None:
        with suppress(PyOCIError):
            target = self.wire.targets.target(self.wire.registry, base, location, "Location")
            if target.same_origin:
                self.wire.document(
                    "cancel an upload", self.wire.call("DELETE", target.url), self.scope, {204}
                )

    def _start(self) -> tuple[str, str]:
        url = self.repository.url("blobs/uploads/")
        call = self.wire.call("POST", url)
        try:
            answer = self.wire.document("start an upload", call, self.scope, {202})
        except errors.RegistryNotFound as exc:
            # Amazon's registry without create-on-push; Harbor without the project.
            exc.message += f"; create {self.repository} there first"
            raise
        location = answer.headers.get("location")
        if not location:
            raise ProtocolError(f"{self.wire.registry} started an upload without a Location; expected one")
        return location, url

    def _finish(self, location: str, base: str, body: Body, digest: Digest) -> None:
        registry = self.wire.registry
        target = self.wire.targets.target(registry, base, location, "Location")
        url = f"{target.url}{'&' if '?' in target.url else '?'}digest={quote(str(digest), safe='')}"
        headers = {"Content-Type": "application/octet-stream"}
        call = Call(
            method="PUT",
            url=url,
            headers=headers,
            body=body,
            reach=target.reach,
            name=str(registry),
            operation="upload",
        )
        started = self.wire.auth.now()
        header = self.wire.auth.first_header(self.scope) if target.same_origin else None
        answer = self.wire.send_once(authorized(call, header), self.wire.transport.upload)
        if answer.status == 201:
            return check_stored(registry, answer, digest)
        error = self.wire.refusal("upload a blob", call, answer)
        # The registry may have stored the bytes before the 401, so a new upload is needed.
        if (
            answer.status == 401
            and target.same_origin
            and self.wire.renewed(self.scope, answer, header, started)
        ):
            raise _Expired(error.message) from error
        # The bytes were checked when they arrived here, so it isn't them (docker-registry 2.8).
        if "DIGEST_INVALID" in error.codes:
            collided = _Collided(error.message)
            collided.operation, collided.status, collided.codes = error.operation, error.status, error.codes
            raise collided from error
        raise error


def written(wire: Wire, what: str, call: Call, scope: Scope) -> Answer:
    """The answer to a document's PUT. A `repeatable` call is repeated while the registry says that it lacks a
    blob: docker-registry 2.8 does that while somebody else uploads the same blob.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return wire.document(what, call, scope, WRITTEN)
        except errors.RegistryRefused as exc:
            if not call.repeatable or errors.LACKS_BLOB.isdisjoint(exc.codes):
                raise
        wire.transport.wait(attempt)
    return wire.document(what, call, scope, WRITTEN)


def check_stored(registry: Registry, answer: Answer, digest: Digest) -> None:
    """Raises ProtocolError if the registry reports a digest other than that of the bytes that were sent."""
    stored = stored_digest(answer)
    if stored and stored != str(digest):
        raise ProtocolError(f"{registry} stored bytes that don't match {digest}")


def stored_digest(answer: Answer) -> str:
    """The digest in an answer's headers; "" if there is none."""
    return answer.headers.get("docker-content-digest", "").strip()
