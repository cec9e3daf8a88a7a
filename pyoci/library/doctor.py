"""examine: what a registry can do, asked of it, and what each answer means for PyOCI.

Only the checks of `WRITING` write, to a repository of their own, and remove what they wrote.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from pyoci.errors import Denied, NotSupported, PyOCIError
from pyoci.library.index import Index
from pyoci.library.registry import RegistryIndex
from pyoci.net.messages import Answer, Call
from pyoci.oci.challenges import choose, parse_challenges
from pyoci.oci.credentials import Anonymous, Basic, Bearer, Credentials
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import EMPTY_BLOB, EMPTY_DESCRIPTOR, Document, Manifest
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.oci.session import OCISession

Outcome = Literal["good", "limited", "bad"]
_ABSENT = Digest("sha256", "0" * 64)
_PAGE = 32 * 1024  # bytes of an answer at /v2/
_LOOKS = 20  # at a tag that was written or deleted
_PAUSE = 0.25  # seconds between two
_BLOB = EMPTY_DESCRIPTOR.digest
_TAG = Tag("examined")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `bad` means that PyOCI can't work there."""

    check: str
    outcome: Outcome
    answer: str
    meaning: str


@dataclass(slots=True)
class Examination:
    """What the checks share: the namespace, sessions, and what earlier checks learned."""

    index: RegistryIndex
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    repository: Repository = field(init=False)
    other: Repository = field(init=False)  # which a blob is mounted in
    stored: Document | None = None  # what has to be removed again

    def __post_init__(self) -> None:
        name = f"pyoci-doctor-{secrets.token_hex(4)}"
        registry, path = self.index.namespace.registry, self.index.namespace.path
        self.repository, self.other = (
            Repository.parse(registry, "/".join(filter(None, (path, each)))) for each in (name, f"{name}-2")
        )

    @property
    def caller(self) -> Credentials:
        return self.index.caller

    def session(self, *, publishing: bool = False) -> OCISession:
        return self.index.gateway.session(self.index.namespace.registry, self.caller, publishing=publishing)

    def ping(self) -> Answer:
        """The registry's answer to a request without credentials."""
        registry = self.index.namespace.registry
        reach = self.index.gateway.targets.own_reach(registry)
        call = Call(method="GET", url=registry.url(""), headers={}, reach=reach, name=str(registry))
        with self.index.transport.shared_deadline():
            return self.index.transport.document(call, _PAGE)


Found = tuple[Outcome, str, str]  # a finding without the name of its check
Check = Callable[[Examination], Found]


def examine(
    index: Index,
    *,
    write: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Finding, None, None]:
    """Ask the registry of a namespace, one check after another; with `write`, also those that write. Raises
    NotSupported for an index behind a server. A check's own failure is its finding; nothing is asked of a
    registry that can't be reached.
    """
    if not isinstance(index, RegistryIndex):
        raise NotSupported("this is no registry; expected <registry>/<namespace>, like ghcr.io/acme")
    examination = Examination(index, clock, sleep)
    try:
        for name, check in {**READING, **(WRITING if write else {})}.items():
            finding = _asked(name, check, examination)
            yield finding
            if finding.outcome == "bad" and name in {"reachable", "writing"}:
                return
    finally:
        if examination.stored is not None:
            with suppress(PyOCIError):
                session = examination.session(publishing=True)
                session.delete(examination.repository, examination.stored.digest)


def _asked(name: str, check: Check, examination: Examination) -> Finding:
    try:
        return Finding(name, *check(examination))
    except PyOCIError as exc:
        if isinstance(exc, Denied) and name == "reading":
            return Finding(name, "limited", exc.message, _HIDDEN)
        outcome: Outcome = "bad" if name in _NEEDED else "limited"
        return Finding(name, outcome, exc.message, _NEEDED.get(name, _WITHOUT.get(name, "")))


# Checks that PyOCI needs, and what their failure means; and those whose failure limits it.
_NEEDED = {
    "reachable": "PyOCI can't work with this registry.",
    "reading": "PyOCI can't read packages with these credentials.",
    "writing": "PyOCI can't publish to this registry with these credentials.",
}
# Some registries answer so for a repository that doesn't exist.
_HIDDEN = "It hides what isn't there, or refuses this caller; `pyoci show` of a project tells."
_WITHOUT = {
    "publishing": "Nothing can be published with these credentials; packages can be read.",
    "authentication": "PyOCI can't log in there.",
    "pagination": "PyOCI reads the whole list of repositories each time.",
    "catalogue": "The index has no list of its projects; clients find a project by its name.",
    "referrers": "Signatures are found by tags only.",
    "deleting": "Files can't be deleted or replaced through PyOCI; yanking works.",
    "mounting": "Copies inside this registry send the bytes again.",
    "redirects": "Downloads can't be examined.",
    "lag": "PyOCI can't tell when others see what was published.",
}


def _reachable(examination: Examination) -> Found:
    answer = examination.ping()
    if answer.status in {200, 401, 403}:
        return ("good", f"/v2/ answers {answer.status}", "PyOCI can ask it.")
    return ("bad", f"/v2/ answers {answer.status}", "Nothing there speaks the registries' protocol.")


def _authentication(examination: Examination) -> Found:
    answer = examination.ping()
    challenge = choose(parse_challenges(answer.headers.get("www-authenticate")))
    if challenge is not None and challenge.scheme == "bearer":
        return (
            "good",
            f"tokens from {challenge.realm}",
            "Callers' credentials go to the token server, which decides on each repository.",
        )
    if challenge is not None:
        return ("good", "passwords", "Callers' credentials go to the registry itself.")
    if answer.status == 200:
        return ("good", "none at /v2/", "It asks for credentials elsewhere, or nobody.")
    return ("limited", f"{answer.status} without a known scheme", "PyOCI can't log in there.")


def _caller(examination: Examination) -> Found:
    match examination.caller:
        case Anonymous():
            return ("good", "nobody", "No login is stored; only what is public can be read.")
        case Basic(username=username):
            return ("good", username, "The stored login has this user.")
        case Bearer():
            return ("good", "a token", "It is sent to the registry as it is.")
    return ("good", "an identity token", "The token server issues tokens for it.")


def _reading(examination: Examination) -> Found:
    with suppress(RegistryNotFound):
        examination.session().tags(examination.repository)
    return ("good", "allowed", "PyOCI can read packages of the namespace.")


def _publishing(examination: Examination) -> Found:
    """Starts an upload, and cancels it: nothing is stored."""
    examination.session(publishing=True).check_push(examination.repository)
    return ("good", "allowed", "PyOCI can publish to the namespace.")


def _catalogue(examination: Examination) -> Found:
    names = examination.session().repositories()
    prefix = f"{examination.index.namespace.path}/"
    inside = sum(name.startswith(prefix) for name in names)
    return (
        "good",
        f"repositories: {len(names)}, of this namespace: {inside}",
        "The index lists its projects.",
    )


def _pagination(examination: Examination) -> Found:
    """Whether the list of repositories can be continued after a name, which a large namespace needs."""
    names = examination.session().repositories()
    if len(names) < 2:
        return ("good", "fewer than two repositories", "There is nothing to page through.")
    middle = sorted(names)[0]
    after = examination.session().repositories_after(middle)
    if middle not in after and after:
        return ("good", "the list continues after a name", "Large lists can be searched.")
    return ("limited", "the list ignores names", "PyOCI reads the whole list each time.")


def _referrers(examination: Examination) -> Found:
    with suppress(RegistryNotFound):
        if examination.session().referrers(examination.repository, _ABSENT) is not None:
            return ("good", "offered", "Signatures and attestations are found and copied.")
    return ("limited", "not offered", _WITHOUT["referrers"])


READING: Mapping[str, Check] = {
    "reachable": _reachable,
    "authentication": _authentication,
    "caller": _caller,
    "reading": _reading,
    "catalogue": _catalogue,
    "pagination": _pagination,
    "referrers": _referrers,
    "publishing": _publishing,  # last: zot lists the repository of an upload that was cancelled
}


def _writing(examination: Examination) -> Found:
    """Stores a manifest under a tag, and reads it back."""
    session = examination.session(publishing=True)
    session.push_blob(examination.repository, io.BytesIO(EMPTY_BLOB), len(EMPTY_BLOB), _BLOB)
    manifest = Manifest(config=EMPTY_DESCRIPTOR, layers=(EMPTY_DESCRIPTOR,))
    examination.stored = Document.of(manifest)
    session.push(examination.repository, _TAG, examination.stored)
    return ("good", str(examination.repository.name), "PyOCI can publish there.")


def _lag(examination: Examination) -> Found:
    """How long it takes until what was written can be read."""
    started = examination.clock()
    session = examination.session()
    seen = _soon(examination, lambda: _is_there(examination, session))
    seconds = examination.clock() - started
    if seen:
        return ("good", f"read back after {seconds:.2g} s", "PyOCI waits for that when it writes.")
    return ("limited", f"not seen for {seconds:.0f} s", "Published files appear late.")


def _redirects(examination: Examination) -> Found:
    found = examination.session().open_or_redirect(examination.repository, _BLOB, lambda _url: True)
    if isinstance(found, str):
        host = urlsplit(found).netloc
        return ("good", f"to {host}", "PYOCI_REDIRECT can send plain downloads there.")
    found.close()
    return ("good", "none", "The registry sends the bytes of files itself.")


def _mounting(examination: Examination) -> Found:
    session = examination.session(publishing=True)
    if session.mount_blob(examination.other, _BLOB, examination.repository):
        return ("good", "offered", "Copies inside this registry send no bytes.")
    return ("limited", "not offered", _WITHOUT["mounting"])


def _deleting(examination: Examination) -> Found:
    assert examination.stored is not None
    session = examination.session(publishing=True)
    session.delete(examination.repository, examination.stored.digest)
    if not _soon(examination, lambda: not _is_there(examination, session)):
        return ("limited", "accepted, and the tag is still there", _WITHOUT["deleting"])
    examination.stored = None
    return ("good", "done", "Files can be deleted and replaced.")


def _is_there(examination: Examination, session: OCISession) -> bool:
    try:
        session.pull(examination.repository, _TAG)
    except RegistryNotFound:
        return False
    return True


def _soon(examination: Examination, is_so: Callable[[], bool]) -> bool:
    for _ in range(_LOOKS):
        if is_so():
            return True
        examination.sleep(_PAUSE)
    return False


WRITING: Mapping[str, Check] = {
    "writing": _writing,
    "lag": _lag,
    "redirects": _redirects,
    "mounting": _mounting,
    "deleting": _deleting,
}
