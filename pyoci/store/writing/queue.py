"""Group commit: writes that wait for the same tag are made together, as one batch.

A build matrix uploads many wheels of one version at the same time. If they were written one after the other,
some clients would give up first. As one batch they cost one read, one write and two read-backs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, Protocol, Self, TypeVar

from pyoci.errors import PyOCIError, Unreachable
from pyoci.oci.references import Repository, Tag

_TURN_SECONDS = 30.0  # for which a write waits for its turn: in the queue, then for the tag's lock
_COMMIT_SECONDS = 120.0  # for which a member waits for its leader: some calls to the registry, each limited

Lock = Callable[[str, float], AbstractContextManager[bool]]  # takes a name, and the most seconds to wait
_Key = tuple[str, str, str]


class TagLocks:
    """Locks of tags. `lock` is a method of a cache backend, so all users of the cache share the locks."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    @contextmanager
    def held(self, repository: Repository, tag: Tag, seconds: float = _TURN_SECONDS) -> Iterator[None]:
        """Hold the lock of a tag. Raises Unreachable if it isn't free within `seconds`."""
        with self._lock(f"tag {repository.registry.origin} {repository.name}:{tag}", seconds) as held:
            if not held:
                raise Unreachable(f"other writes to {repository}:{tag} took too long; try again")
            yield


class Member(Protocol):
    """One caller's write. The caller's thread waits, and the thread of the batch's leader writes."""

    leads: bool
    released: threading.Event  # set when it becomes a leader, or when its batch is done

    def joins(self, leader: Self) -> bool:
        """Whether the leader may make this write together with its own."""
        ...

    def fail(self, failure: PyOCIError) -> None:
        """The batch failed. A member that has an outcome already keeps it."""
        ...


MemberT = TypeVar("MemberT", bound=Member)


class GroupCommit(Generic[MemberT]):
    """The queues of one process, one for each tag that is being written. `locks` excludes other processes."""

    def __init__(self, locks: TagLocks) -> None:
        self._locks = locks
        self._guard = threading.Lock()
        # The members that wait for the leader. A tag has a queue for as long as it has a leader.
        self._queues: dict[_Key, deque[MemberT]] = {}

    def commit(
        self,
        repository: Repository,
        tag: Tag,
        member: MemberT,
        write: Callable[[list[MemberT]], list[MemberT]],
        read_back: Callable[[list[MemberT]], None],
    ) -> None:
        """Write `member`, alone or in a batch, and return when its outcome is known.

        The thread of the batch's leader calls `write` with the batch while it holds the tag's lock, then
        `read_back` with what `write` returned. Raises Unreachable if the member's turn doesn't come.
        """
        key = (repository.registry.origin, repository.name, tag.value)
        if not self.join(key, member, _TURN_SECONDS):
            return
        batch = [member]
        try:
            try:
                with self._locks.held(repository, tag):
                    batch = self._batch_of(key, member)
                    written = write(batch)
            finally:
                self.leave(key)
            read_back(written)
        except PyOCIError as exc:
            for each in batch:
                each.fail(exc)
        except BaseException:
            for each in batch[1:]:
                each.fail(Unreachable(f"the change of {repository}:{tag} was interrupted; try again"))
            raise
        finally:
            for each in batch[1:]:
                each.released.set()

    def join(self, key: _Key, member: MemberT, seconds: float) -> bool:
        """Queue for a tag. Returns True if the member leads now, and has to `leave`; False if its batch is
        done.

        Raises Unreachable if neither happens within `seconds`.
        """
        with self._guard:
            queue = self._queues.get(key)
            if queue is None:
                self._queues[key] = deque()
                member.leads = True
                return True
            queue.append(member)
        if not member.released.wait(seconds) and self._withdrawn(key, member):
            raise Unreachable("other writes to this version took too long; try again")
        if not member.released.wait(_COMMIT_SECONDS):
            raise Unreachable("the change was not made in time; try again")
        return member.leads

    def leave(self, key: _Key) -> None:
        """Make the first in the queue the leader."""
        with self._guard:
            queue = self._queues[key]
            if not queue:
                del self._queues[key]
                return
            following = queue.popleft()
            following.leads = True
        following.released.set()

    def _batch_of(self, key: _Key, leader: MemberT) -> list[MemberT]:
        """The leader, and the members that join it, which are taken out of the queue."""
        with self._guard:
            queue = self._queues[key]
            joining = [member for member in queue if member.joins(leader)]
            for member in joining:
                queue.remove(member)
        return [leader, *joining]

    def _withdrawn(self, key: _Key, member: MemberT) -> bool:
        """Take a member out of the queue. False if it is in a batch by now, or leads one."""
        with self._guard:
            queue = self._queues.get(key, deque())
            if member not in queue:
                return False
            queue.remove(member)
            return True
