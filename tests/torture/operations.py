"""Operations on a version during which a failure occurs, and the state of the version after them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pyoci.errors import NotFound, PyOCIError
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.references import Registry
from pyoci.oci.session import Gateway
from pyoci.store.models import Namespace
from pyoci.store.service import PackageStore
from tests.builders import make_sdist, make_wheel
from tests.store.shelf import HELLO, NOBODY, make_upload
from tests.stores import make_store, page_of
from tests.torture.relay import Fault, Relay

MINE, MINE_BYTES = make_wheel()
NEIGHBOURS = dict((make_sdist(), make_wheel(tag="py2-none-any")))
CONTENTS = {MINE: MINE_BYTES, **NEIGHBOURS}
State = dict[str, str | None]  # names of files, and why they are yanked
BEFORE: State = dict.fromkeys(NEIGHBOURS)


class Kept(Protocol):
    """One namespace, through any interface."""

    def publish(self, filename: str, content: bytes) -> None: ...

    def yank(self, filename: str, reason: str) -> None: ...

    def delete(self, filename: str) -> None:
        """Raises NotFound."""
        ...

    def state(self) -> State:
        """What the page shows. Every file on it can be downloaded whole."""
        ...


@dataclass(frozen=True, slots=True)
class Packages:
    """One namespace, through the library as PyOCI uses it."""

    store: PackageStore
    namespace: Namespace

    @classmethod
    def at(cls, url: str, path: str, seconds: float = 9.5, user_agent: str = "tests") -> Packages:
        """In the registry at `url`, with a limit of seconds for each answer."""

        def sleep(seconds: float) -> None:
            time.sleep(min(seconds, 0.02))

        transport = Transport(
            document_seconds=seconds,
            stall_seconds=seconds,
            answer_seconds=seconds,
            sleep=sleep,
            user_agent=user_agent,
        )
        registry = Registry.parse(url, listed=True)
        return cls(make_store(Gateway(transport, ttl=60), sleep=sleep), Namespace.parse(registry, path))

    def publish(self, filename: str, content: bytes) -> None:
        self.store.publish(self.namespace, make_upload(filename, content), NOBODY)

    def yank(self, filename: str, reason: str) -> None:
        self.store.yank(self.namespace, HELLO, filename, reason, NOBODY)

    def delete(self, filename: str) -> None:
        self.store.delete(self.namespace, HELLO, filename, NOBODY)

    def state(self) -> State:
        try:
            page = page_of(self.store, self.namespace, HELLO, Anonymous())
        except NotFound:
            return {}
        for file in page.files:
            content = b"".join(self.store.open(self.namespace, HELLO, file.filename, NOBODY))
            assert content == CONTENTS[file.filename]
        return {file.filename: file.yanked for file in page.files}

    def is_known(self) -> bool:
        """Whether the registry still has the project's name, to somebody who remembers nothing of it."""
        repository = self.namespace.repository(HELLO)
        session = Gateway(Transport(), ttl=60).session(repository.registry, NOBODY)
        try:
            session.tags(repository)
        except RegistryNotFound:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on a version, from one state to another."""

    before: tuple[str, ...]
    run: Callable[[Kept], None]
    after: State

    def prepare(self, packages: Kept) -> None:
        for filename in self.before:
            packages.publish(filename, CONTENTS[filename])

    @property
    def begun(self) -> State:
        return dict.fromkeys(self.before)


def upload(packages: Kept) -> None:
    packages.publish(MINE, MINE_BYTES)


def yank(packages: Kept) -> None:
    packages.yank(MINE, "broken")


def delete(packages: Kept) -> None:
    packages.delete(MINE)


OPERATIONS = {
    "upload": Operation(tuple(NEIGHBOURS), upload, {**BEFORE, MINE: None}),
    "first upload": Operation((), upload, {MINE: None}),
    "yank": Operation((*NEIGHBOURS, MINE), yank, {**BEFORE, MINE: "broken"}),
    "delete": Operation((*NEIGHBOURS, MINE), delete, BEFORE),
    "last delete": Operation((MINE,), delete, {}),
}


def survives(
    relay: Relay, registry: str, path: str, operation: Operation, fault: Fault, where: Callable[[int], bool]
) -> bool:
    """Run an operation with a fault where it says so, and assert that nothing is lost and nothing half-done
    shows; that the same again, without a fault, succeeds. Returns whether it succeeded at once.
    """
    operation.prepare(Packages.at(registry, path))
    relay.reset(lambda exchange: fault if where(exchange.number) else None)
    failure: PyOCIError | None = None
    try:
        operation.run(Packages.at(relay.url, path, seconds=0.5))
    except PyOCIError as exc:
        failure = exc
    relay.reset()
    assert failure is None or len(failure.message.splitlines()) == 1
    packages = Packages.at(registry, path)
    found = packages.state()
    assert found == operation.after or (failure and found == operation.begun), (found, path, failure)
    assert packages.is_known() or not operation.before, (path, failure)
    again(operation, Packages.at(relay.url, path))
    return failure is None


def again(operation: Operation, packages: Kept) -> None:
    """Run an operation that may already have been made."""
    with contextlib.suppress(NotFound) if operation.run is delete else contextlib.nullcontext():
        operation.run(packages)
    assert packages.state() == operation.after


def steps(relay: Relay, registry: str, path: str, operation: Operation) -> list[str]:
    """The requests of an operation without failures."""
    operation.prepare(Packages.at(registry, path))
    relay.reset()
    operation.run(Packages.at(relay.url, path))
    return list(relay.lines)
