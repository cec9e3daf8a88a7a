"""ReadLimit: how many bytes of documents one request may read; and LargeReads: which requests may read large
documents now.

One request of a registry in the operator's list and one of any other registry read large documents at a time,
which bounds the memory that such documents take. Anyone can name an unlisted registry; its requests never
delay those of a listed one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from pyoci import request_scope
from pyoci.admission import Admission, Wait
from pyoci.errors import Busy, ProtocolError
from pyoci.oci.references import Registry

_TOTAL = 48 * 1024 * 1024  # bytes of documents that one request may read
_SMALL_TOGETHER = 4 * 1024 * 1024  # bytes that a request may read beside one that reads large documents
_WAIT_SECONDS = 20.0  # for which a request waits for others that read large documents


class LargeReads:
    """Admits requests that read large documents: one of listed registries at a time, and one of the others.

    Registries take turns: many requests to one registry delay a request to another by one page only.
    """

    def __init__(self, wait: Wait = request_scope.result_of) -> None:
        """`wait` waits for a future, for at most so many seconds."""
        self._by_listed = {listed: Admission(wait=wait) for listed in (True, False)}

    def enter(self, registry: Registry, seconds: float) -> None:
        """Wait for the turn of this request. Raises TimeoutError after `seconds`, and what `wait` raises."""
        self._by_listed[registry.listed].enter(registry, seconds)

    def leave(self, registry: Registry) -> None:
        """Admit the next request. For each call of `enter` that has returned."""
        self._by_listed[registry.listed].leave()

    def is_full(self, registry: Registry) -> bool:
        """Whether a request to this registry would have to wait."""
        return self._by_listed[registry.listed].is_full


class ReadLimit:
    """How many bytes of documents one request may still read: a hostile registry could send any number.

    `large` admits the request to the process's `LargeReads`. While a page is built it stays admitted until
    the page is complete, because what was read of large documents stays in memory.
    """

    def __init__(
        self,
        enter: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
        refused: Callable[[], None] = lambda: None,
        is_full: Callable[[], bool] = lambda: False,
        size: int = _TOTAL,
    ) -> None:
        """`enter` waits until the request may read large documents, and raises TimeoutError after some time;
        `leave` ends that; `is_full` says whether `enter` would wait. `refused` is called once if `enter` has
        raised TimeoutError.
        """
        self._enter, self._leave, self._refused, self._is_full = enter, leave, refused, is_full
        self._left, self._small = size, _SMALL_TOGETHER
        self._guard = threading.Lock()
        self._one_at_a_time = threading.RLock()
        self._of_thread = threading.local()  # `block`, if a thread is in `one_document`
        self._blocks = 0
        self._has_entered = self._is_refused = False

    @classmethod
    def among(
        cls,
        reads: LargeReads,
        registry: Registry,
        refused: Callable[[], None] = lambda: None,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> ReadLimit:
        """The limit of a request to `registry`."""
        return cls(
            lambda: reads.enter(registry, wait_seconds),
            lambda: reads.leave(registry),
            refused,
            lambda: reads.is_full(registry),
        )

    @property
    def would_wait(self) -> bool:
        """Whether the request would have to wait for others if the next document were large."""
        return not self._has_entered and self._is_full()

    def take(self, size: int) -> None:
        """Count `size` bytes as read. Raises ProtocolError if the request has read too many, and Busy if
        they are large and others take too long for theirs.
        """
        with self._guard:
            self._left -= size
            self._small -= size
            if self._left < 0:
                raise ProtocolError(
                    "the registry's manifests of this project are together too large for one request"
                )
        if self._small < 0 and self._blocks:
            with self.large():
                pass

    @contextmanager
    def building(self) -> Iterator[None]:
        """Build a page. Once the request is admitted, it stays so to the end of this block."""
        with self._guard:
            self._blocks += 1
        try:
            yield
        finally:
            with self._guard:
                self._blocks -= 1
            self._release()

    @contextmanager
    def one_document(self) -> Iterator[None]:
        """Read one document and parse it. If it is large, other threads of the request read none before the
        end of this block.
        """
        with ExitStack() as block:
            self._of_thread.block = block
            try:
                yield
            finally:
                self._of_thread.block = None

    @contextmanager
    def large(self) -> Iterator[None]:
        """Read or parse one large document. Raises Busy if other requests take too long for theirs."""
        block: ExitStack | None = getattr(self._of_thread, "block", None)
        if block is not None:
            block.enter_context(self._entered())
            yield
            return
        with self._entered():
            yield

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with self._one_at_a_time:
            request_scope.check()  # others of its threads may have waited here until it was ended
            if not self._has_entered:
                self._wait()
                self._has_entered = True
            try:
                yield
            finally:
                self._release()

    def _wait(self) -> None:
        if not self._is_refused:
            try:
                self._enter()
            except TimeoutError:
                self._is_refused = True
                self._refused()
        if self._is_refused:
            raise Busy("PyOCI is busy with other large projects; try again later")

    def _release(self) -> None:
        with self._guard:
            if self._has_entered and not self._blocks:
                self._has_entered = False
                self._leave()
