"""A state machine: random sequences of operations on one project at three servers, and what each server may
show after them.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pyoci.cache.memory import MemoryBackend
from pyoci.errors import AlreadyExists, NotFound, Unauthorized
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous, Basic, Credentials
from pyoci.oci.session import Gateway
from pyoci.store.cache import Cache
from pyoci.store.models import PackageFile
from pyoci.store.service import PackageStore
from pyoci.store.state import TTL, TTL_OLD, Freshness
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, make_upload
from tests.stores import make_store, page_of

SERVERS = (
    "left",
    "right",
    "apart",
)  # the first two share a cache; the third only the registry
GROUP = {"left": "together", "right": "together", "apart": "apart"}
CALLERS: dict[str, Credentials] = {
    "anna": Basic("anna", "one"),
    "bert": Basic("bert", "two"),
    "stranger": Basic("anna", "three"),
    "nobody": Anonymous(),
}
INSIDERS = ("anna", "bert")
VERSIONS = ("1.0", "2.0rc1", "1!3.0+local.7")
NAMESPACE = make_namespace()

servers, insiders, versions = st.sampled_from(SERVERS), st.sampled_from(INSIDERS), st.sampled_from(VERSIONS)
reasons = st.sampled_from(["", "broken", "it's <b>not</b> good", None])


@dataclass(frozen=True, slots=True)
class Made:
    """A file that may be published, and its version."""

    version: str
    filename: str
    content: bytes = field(repr=False)


def make_files() -> dict[str, tuple[Made, Made]]:
    """Two files for each file name."""
    found: dict[str, list[Made]] = {}
    for version in VERSIONS:
        for summary in ("first", "second"):
            words: dict[str, Any] = {"version": version, "extra_headers": [("Summary", summary)]}
            for filename, content in (
                make_wheel(**words),
                make_wheel(tag="cp311-abi3-any", **words),
                make_sdist(**words),
            ):
                found.setdefault(filename, []).append(Made(version, filename, content))
    return {filename: (first, second) for filename, (first, second) in found.items()}


FILES = make_files()
filenames = st.sampled_from(sorted(FILES))

Shown = dict[str, tuple[str, str | None]]  # file name to its sha256, and why it is yanked


@dataclass(slots=True)
class Moment:
    """The state of a version from a time on, and the group of servers that wrote it."""

    at: float
    group: str
    shown: Shown


class Guarded(TestRegistry):
    """A registry that lets only the callers in `admitted` read."""

    __test__ = False
    admitted: frozenset[str] = frozenset()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_AUTHORIZATION", "") not in self.admitted:
            headers = [("WWW-Authenticate", 'Basic realm="tests"'), ("Content-Length", "0")]
            start_response("401 Unauthorized", headers)
            return [b""]
        return super().__call__(environ, start_response)


class Story(RuleBasedStateMachine):
    """A caller who may read sees a change at once at servers that share the cache with its writer. At other
    servers the caller sees it after twice the TTL, or with a fresh request. A caller who may not read sees
    nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        self.folder = Path(tempfile.mkdtemp(prefix="story-"))
        self.registry = Guarded(self.folder)
        self.transports: list[Transport] = []
        shared = MemoryBackend(clock=self.now)
        self.stores = {
            name: self.make_store(shared if name != "apart" else MemoryBackend(clock=self.now))
            for name in SERVERS
        }
        self.history = {version: [Moment(-math.inf, "", {})] for version in VERSIONS}
        self.refused = dict.fromkeys(INSIDERS, -math.inf)  # since when
        self.exists = False  # the repository, which outlives its last file
        self.admit(*INSIDERS)

    def now(self) -> float:
        return self.time

    def make_store(self, backend: MemoryBackend) -> PackageStore:
        """A server with its own HTTP client and memory, and a cache over `backend`."""
        transport = Transport(embedded=self.registry, sleep=lambda _: None)
        self.transports.append(transport)
        cache = Cache(backend, Freshness(TTL, TTL_OLD), clock=self.now, now=self.now)
        return make_store(
            Gateway(transport, ttl=60, clock=self.now),
            cache=cache,
            sleep=lambda _: None,
            now=lambda: datetime.fromtimestamp(self.time, UTC),
        )

    def teardown(self) -> None:
        for transport in self.transports:
            transport.close()
        shutil.rmtree(self.folder)

    def admit(self, *names: str) -> None:
        self.registry.admitted = frozenset(CALLERS[name].header() or "" for name in names)

    # What is done

    @initialize(filename=filenames)
    def begin(self, filename: str) -> None:
        """Create a project."""
        self.publish("left", "anna", filename, 0)

    @rule(server=servers, caller=insiders, filename=filenames, which=st.sampled_from([0, 0, 1]))
    def publish(self, server: str, caller: str, filename: str, which: int) -> None:
        """A new file is stored. The same file again is accepted, and a different one is refused."""
        made = FILES[filename][which]
        there = self.present(made.version).get(filename)
        upload = make_upload(filename, made.content)
        expected = AlreadyExists if there and there[0] != _sha256(made.content) else None
        if self.tried(
            lambda: self.stores[server].publish(NAMESPACE, upload, CALLERS[caller]), caller, expected
        ):
            self.exists = True
            self.write(server, made.version, {filename: (_sha256(made.content), there[1] if there else None)})

    @rule(server=servers, caller=insiders, filename=filenames, reason=reasons, whole=st.booleans())
    def yank(self, server: str, caller: str, filename: str, reason: str | None, whole: bool) -> None:
        """Yank a file or a version. Without a reason the yank is taken back."""
        version, meant = self.meant(filename, whole)
        target = version if whole else filename
        expected = None if meant else NotFound
        if self.tried(
            lambda: self.stores[server].yank(NAMESPACE, HELLO, target, reason, CALLERS[caller]),
            caller,
            expected,
        ):
            self.write(server, version, {name: (sha256, reason) for name, (sha256, _) in meant.items()})

    @rule(server=servers, caller=insiders, filename=filenames, whole=st.booleans())
    def delete(self, server: str, caller: str, filename: str, whole: bool) -> None:
        """Delete a file or a version."""
        version, meant = self.meant(filename, whole)
        target = version if whole else filename
        expected = None if meant else NotFound
        if self.tried(
            lambda: self.stores[server].delete(NAMESPACE, HELLO, target, CALLERS[caller]), caller, expected
        ):
            self.write(server, version, dict.fromkeys(meant))

    @rule(seconds=st.sampled_from([1.0, TTL / 2, TTL + 1, 2 * TTL + 1]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    @rule(caller=insiders)
    def refuse(self, caller: str) -> None:
        """The registry refuses a caller from now on."""
        if self.refused[caller] < 0:
            self.refused[caller] = self.time
            self.admit(*(name for name in INSIDERS if self.refused[name] < 0))

    @rule()
    def readmit(self) -> None:
        """The registry lets all callers in again."""
        self.refused = dict.fromkeys(INSIDERS, -math.inf)
        self.admit(*INSIDERS)

    # What is seen

    @rule(server=servers, caller=insiders, fresh=st.booleans())
    def look(self, server: str, caller: str, fresh: bool) -> None:
        """Read the page, and the bytes of the files on it."""
        if self.is_refused(caller):
            if fresh or self.refused[caller] + TTL <= self.time:
                self.sees_nothing(server, caller, fresh)
            return
        page = page_of(self.stores[server], NAMESPACE, HELLO, CALLERS[caller], fresh=fresh)
        shown: dict[str, Shown] = {version: {} for version in VERSIONS}
        for file in page.files:
            shown[FILES[file.filename][0].version][file.filename] = (file.sha256, file.yanked)
        for version in VERSIONS:
            possible = self.possible(server, version, fresh)
            assert shown[version] in possible, (server, version, shown[version], possible)
        for file in page.files:
            self.fetch(server, caller, file)

    @rule(server=servers, caller=st.sampled_from(["stranger", "nobody"]), fresh=st.booleans())
    def look_as_a_stranger(self, server: str, caller: str, fresh: bool) -> None:
        """The caller gets nothing, whatever is remembered for others."""
        self.sees_nothing(server, caller, fresh)

    @invariant()
    def ends(self) -> None:
        """Check the state in the registry, with a server that remembers nothing."""
        if not self.exists or self.is_refused("anna"):
            return
        transport = Transport(embedded=self.registry, sleep=lambda _: None)
        try:
            page = page_of(make_store(Gateway(transport, ttl=60)), NAMESPACE, HELLO, CALLERS["anna"])
        finally:
            transport.close()
        found = {file.filename: (file.sha256, file.yanked) for file in page.files}
        expected: Shown = {}
        for version in VERSIONS:
            expected |= self.present(version)
        assert found == expected

    def fetch(self, server: str, caller: str, file: PackageFile) -> None:
        """The bytes and the metadata are those of a file that recently had this name."""
        store, who = self.stores[server], CALLERS[caller]
        possible = self.possible(server, FILES[file.filename][0].version, fresh=False)
        hashes = {shown[file.filename][0] for shown in possible if file.filename in shown}
        gone = any(file.filename not in shown for shown in possible)
        with contextlib.suppress(NotFound) if gone else contextlib.nullcontext():
            content = b"".join(store.open(NAMESPACE, HELLO, file.filename, who))
            assert _sha256(content) in hashes
        if file.core_metadata is not None:
            with contextlib.suppress(NotFound) if gone else contextlib.nullcontext():
                text = store.metadata(NAMESPACE, HELLO, file.filename, who)
                assert _sha256(text) == file.core_metadata or len(hashes) > 1

    def sees_nothing(self, server: str, caller: str, fresh: bool) -> None:
        """The caller gets neither the page nor a file."""
        store, who = self.stores[server], CALLERS[caller]
        _refused(lambda: page_of(store, NAMESPACE, HELLO, who, fresh=fresh))
        for filename in sorted(FILES)[:3]:
            _refused(lambda filename=filename: store.describe(NAMESPACE, HELLO, filename, who))  # type: ignore[misc]
            _refused(lambda filename=filename: b"".join(store.open(NAMESPACE, HELLO, filename, who)))  # type: ignore[misc]
            _refused(lambda filename=filename: store.metadata(NAMESPACE, HELLO, filename, who))  # type: ignore[misc]

    # The model

    def present(self, version: str) -> Shown:
        return self.history[version][-1].shown

    def meant(self, filename: str, whole: bool) -> tuple[str, Shown]:
        """The version, and the files that are meant and exist now."""
        version = FILES[filename][0].version
        there = self.present(version)
        return version, dict(there) if whole else {name: there[name] for name in there if name == filename}

    def write(self, server: str, version: str, news: dict[str, Any]) -> None:
        """A server has made a change; None is a deletion."""
        now = {name: entry for name, entry in (self.present(version) | news).items() if entry is not None}
        self.history[version].append(Moment(self.time, GROUP[server], now))

    def possible(self, server: str, version: str, fresh: bool) -> list[Shown]:
        """What a server may show of a version: its states within twice the TTL, but none from before the last
        change by a server that shares its cache.
        """
        moments = self.history[version]
        if fresh:
            return [moments[-1].shown]
        own = max((n for n, moment in enumerate(moments) if moment.group == GROUP[server]), default=0)
        old = self.time - 2 * TTL
        ends = [*(moment.at for moment in moments[1:]), math.inf]
        return [moments[n].shown for n in range(own, len(moments)) if ends[n] >= old]

    def is_refused(self, caller: str) -> bool:
        return self.refused[caller] > 0

    def tried(self, act: Callable[[], object], caller: str, expected: type[Exception] | None) -> bool:
        """Whether the operation was made: a refused caller does nothing."""
        if self.is_refused(caller):
            try:
                act()
            except (Unauthorized, NotFound):
                return False
            raise AssertionError(f"{caller} is let in no more, and did it")
        if expected is None:
            act()
            return True
        try:
            act()
        except expected:
            return False
        raise AssertionError(f"expected {expected.__name__}")


def _refused(act: Callable[[], object]) -> None:
    try:
        act()
    except Unauthorized:
        return
    raise AssertionError("somebody was let in whom the registry refuses")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
