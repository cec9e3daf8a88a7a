"""Uploads: blobs on their way up, each in one POST and one PUT (OCI distribution specification 1.1,
"Pushing a blob monolithically").
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

from pyoci.errors import ProtocolError, Unreachable
from pyoci.net.messages import Answer, Body, Call, FileBody
from pyoci.oci.challenges import Scope
from pyoci.oci.errors import RegistryFailed, RegistryNotFound, RegistryUnauthorized
from pyoci.oci.references import Digest, Registry, Repository
from pyoci.oci.wire import Wire, authorized

_ATTEMPTS = 3
_SECONDS = 300.0  # after which a failed upload isn't begun anew: nobody waits for it any more


class _Expired(RegistryUnauthorized):
    """The upload was refused for its token, and there is a new one."""


_BROKEN = (Unreachable, RegistryFailed, RegistryNotFound, _Expired)  # what a new upload may mend


@dataclass(frozen=True, slots=True)
class Uploads:
    """One caller's uploads to one repository."""

    wire: Wire
    repository: Repository
    scope: Scope

    def send(self, file: BinaryIO, size: int, digest: Digest) -> None:
        """Upload `size` bytes of a seekable file.

        A broken or expired upload begins anew, and one whose token has expired on the way: three attempts,
        the last of which begins within five minutes.
        """
        deadline = time.monotonic() + _SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            location, base = self._start()
            try:
                return self._finish(location, base, FileBody(file, size), digest)
            except _BROKEN:
                if attempt == _ATTEMPTS or time.monotonic() > deadline:
                    raise
                self.wire.transport.wait(attempt)
        raise AssertionError("the last attempt returns or raises")

    def pass_on(self, body: Body, digest: Digest) -> bool:
        """Upload a body that can be read only once. False where the upload broke, and another may go well.

        Raises what `body` raises; the registry has stored nothing then.
        """
        location, base = self._start()
        try:
            self._finish(location, base, body, digest)
        except _BROKEN:
            return False
        return True

    def _start(self) -> tuple[str, str]:
        url = self.repository.url("blobs/uploads/")
        call = self.wire.call("POST", url)
        try:
            answer = self.wire.document("start an upload", call, self.scope, {202})
        except RegistryNotFound as exc:
            # Amazon's registry, unless create-on-push is on; Harbor without the project.
            exc.message += f"; {self.repository} has to be made there first"
            raise
        location = answer.headers.get("location")
        if not location:
            raise ProtocolError(
                f"{self.wire.registry} started an upload without saying where; expected a Location"
            )
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
        started = self.wire.authenticator.now()
        header = self.wire.first_header(self.scope) if target.same_origin else None
        answer = self.wire.told(authorized(call, header), self.wire.transport.upload)
        if answer.status == 201:
            return check_stored(registry, answer, digest)
        error = self.wire.refusal("upload a blob", answer.status, answer)
        # The bytes that came before a 401 may lie in the registry: what follows belongs to a new upload.
        if (
            answer.status == 401
            and target.same_origin
            and self.wire.renewed(self.scope, answer, header, started)
        ):
            raise _Expired(error.message) from error
        raise error


def check_stored(registry: Registry, answer: Answer, digest: Digest) -> None:
    """Raises ProtocolError where the registry says that it has stored something else."""
    stored = stored_digest(answer)
    if stored and stored != str(digest):
        raise ProtocolError(f"{registry} stored something else where {digest} was sent")


def stored_digest(answer: Answer) -> str:
    """The digest that an answer names, "" where it names none."""
    return answer.headers.get("docker-content-digest", "").strip()
