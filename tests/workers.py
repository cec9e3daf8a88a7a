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
# The live files with many tests that took a minute or more, 180 to 60 s with five workers on two cores. The
# first waits nearly all of its time.
LONGEST = (
    "test_network.py",
    "test_slow_clients.py",
    "test_confusion.py",
    "test_publish.py",
    "test_install.py",
    "test_releases.py",
    "test_one_url.py",
    "test_aliases.py",
    "test_short_urls.py",
    "test_confusion_real.py",
)
_PLACES = {LIVE / name: place for place, name in enumerate(LONGEST)}


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
    """Sort: the files of `LONGEST`; then other files with live or `long` tests, and of these the ones with
    few tests first, which often have one that takes a minute; then the others, those with many tests first. A
    long file that starts last keeps one worker busy after all others have ended. Files that are equal in this
    keep their random order.
    """
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.path.is_relative_to(LIVE) or item.get_closest_marker("long")}

    def place(item: _AnyItem) -> tuple[int, int]:
        if item.path in _PLACES:
            return 0, _PLACES[item.path]
        return (1, sizes[item.path]) if item.path in slow else (2, -sizes[item.path])

    items.sort(key=place)
