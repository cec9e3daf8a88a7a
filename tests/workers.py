"""How many processes run the tests, and which files they take first."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

# A worker with the servers that its tests start takes up to this much, as measured with coverage.
WORKER_MEMORY = 800 * 1024 * 1024
LIVE = Path(__file__).parent / "live"


class _Item(Protocol):
    """As much of a pytest.Item as is looked at here."""

    @property
    def path(self) -> Path: ...

    def get_closest_marker(self, name: str) -> object | None: ...


_AnyItem = TypeVar("_AnyItem", bound=_Item)


def worker_count(cores: int, memory: int, *, live: bool) -> int:
    """For `-n auto`: two workers for each core and one more with `live` tests, which mostly wait for a client
    or a server; otherwise one more than cores, since each worker collects all tests, which takes seconds of
    CPU time. Never more than fit into `memory`, in bytes.
    """
    return max(1, min((2 * cores if live else cores) + 1, memory // WORKER_MEMORY))


def has_live_tests(selected: Iterable[Path], ignored: Iterable[Path]) -> bool:
    """Whether there are live tests in the `selected` files and folders without the `ignored` ones."""
    return any(path.is_relative_to(LIVE) or LIVE.is_relative_to(path) for path in selected) and not any(
        LIVE.is_relative_to(path) for path in ignored
    )


def this_machine() -> tuple[int, int]:
    """The cores that this process may use, and the machine's memory in bytes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def longest_files_first(items: list[_AnyItem]) -> None:
    """Sort: files with live or `long` tests first, and of these the ones with few tests, which often have one
    that takes a minute; then the others, those with many tests first. A long file that starts last keeps one
    worker busy after all others have ended. Files that are equal in this keep their random order.
    """
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.path.is_relative_to(LIVE) or item.get_closest_marker("long")}
    items.sort(key=lambda item: (0, sizes[item.path]) if item.path in slow else (1, -sizes[item.path]))
