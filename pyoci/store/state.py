"""State: what is remembered of a repository's tags, and for how long it counts as current."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pyoci.cache.backend import Position
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest

TTL = 60.0  # seconds
TTL_OLD = 3600.0  # seconds
_RECENT = 24 * 3600.0  # seconds: a tag that changed within them is likely to change again
_SKEW = 5.0  # seconds that the clocks of two hosts may differ
# A journal entry that isn't a tag: pages have changed, although nothing in the registry has.
PAGES_CHANGED = "+"


@dataclass(frozen=True, slots=True)
class TagState:
    """What was under a tag. Times are in seconds since the epoch, because several hosts share them."""

    digest: Digest
    looked: float  # when the registry was asked
    changed: float  # when the document was written, by its annotations


@dataclass(frozen=True, slots=True)
class Listing:
    """The tags of a repository, as the registry listed them to one caller."""

    position: Position | None  # of the repository's journal, before the registry was asked
    at: float  # seconds since the epoch
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The tags of a repository, and what was under those that were read.

    `position` is that of the repository's journal before the registry was asked.
    """

    position: Position | None = None
    listed: float = 0.0  # when the tags were listed, in seconds since the epoch
    tags: tuple[str, ...] = ()
    tag_states: Mapping[str, TagState] = field(default_factory=dict)
    packs: tuple[str, ...] = ()  # where the documents are stored

    @property
    def weight(self) -> int:
        """Its approximate size in memory, in bytes."""
        return 1000 + 200 * len(self.tag_states) + 80 * len(self.tags)

    def without(self, changed: Iterable[str], position: Position) -> Self:
        """This state after some tags were written: these tags and the list have to be read again."""
        gone = set(changed) - {PAGES_CHANGED}
        if not gone:
            return replace(self, position=position)
        left = {tag: known for tag, known in self.tag_states.items() if tag not in gone}
        # For some seconds a registry's list may lack a tag that was just written: the tag is read anyway.
        tags = tuple(sorted({*self.tags, *gone}))
        return replace(self, position=position, listed=0.0, tags=tags, tag_states=left)

    def doubted(self, position: Position | None) -> Self:
        """This state when it is unknown what has changed since: every tag has to be read again. It is kept
        because a HEAD request is enough for a tag that hasn't changed.
        """
        stale = {tag: replace(known, looked=0.0) for tag, known in self.tag_states.items()}
        return replace(self, position=position, listed=0.0, tag_states=stale)

    def with_tag_state(self, tag: str, known: TagState) -> Self:
        return replace(self, tag_states={**self.tag_states, tag: known})

    def covers(self, position: Position | None) -> bool:
        """Whether the registry was asked when the journal was at `position`, or later."""
        mine = self.position
        if mine is None or position is None:
            return mine is position
        return mine.epoch == position.epoch and mine.count >= position.count

    def differs_from(self, later: Self) -> bool:
        """Whether remembered pages that were made from this state are out of date."""
        if not self.listed:
            return False
        before, after = self.tag_states, later.tag_states
        return set(self.tags) != set(later.tags) or any(
            before[tag].digest != after[tag].digest for tag in before.keys() & after.keys()
        )

    @staticmethod
    def head(position: Position) -> bytes:
        """The first bytes that `to_json` returns for any state at that position."""
        return _dumped({"position": [position.epoch, position.count]})[:-1]

    def to_json(self) -> bytes:
        """The state as it is stored. Raises ValueError if it has no position."""
        if self.position is None:
            raise ValueError("a state without a position can't be stored")
        document = {
            "position": [self.position.epoch, self.position.count],
            "listed": self.listed,
            "tags": self.tags,
            "seen": {
                tag: [str(known.digest), known.looked, known.changed]
                for tag, known in self.tag_states.items()
            },
            "packs": self.packs,
        }
        return _dumped(document)

    @classmethod
    def from_json(cls, text: bytes) -> Self | None:
        """Parse what `to_json` has written; None for anything else."""
        try:
            document = json.loads(text)
            epoch, count = document["position"]
            tag_states = {
                str(tag): TagState(Digest.parse(digest), float(looked), float(changed))
                for tag, (digest, looked, changed) in document["seen"].items()
            }
            tags, packs = (tuple(str(name) for name in document[key]) for key in ("tags", "packs"))
            return cls(Position(str(epoch), int(count)), float(document["listed"]), tags, tag_states, packs)
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            InvalidRequest,
        ):
            return None


def _dumped(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Freshness:
    """For how many seconds a list of tags, and the state of a tag, count as current.

    A tag that nobody has written for a day is read again only after `ttl_old` seconds.
    """

    ttl: float = TTL
    ttl_old: float = TTL_OLD

    def is_list_fresh(self, state: State, now: float) -> bool:
        return self.is_current(state.listed, now)

    def is_current(self, looked: float, now: float) -> bool:
        """Whether what was looked at then counts as current, however long ago it was written."""
        return -_SKEW <= now - looked < self.ttl

    def is_fresh(self, known: TagState | None, now: float) -> bool:
        if known is None:
            return False
        recent = now - known.changed < _RECENT
        seconds = self.ttl if recent else self.ttl and max(self.ttl, self.ttl_old)
        return -_SKEW <= now - known.looked < seconds

    def may_serve_stale(self, state: State, now: float) -> bool:
        """Whether the state may be used while another request is asking the registry."""
        return -_SKEW <= now - state.listed < 2 * self.ttl


def fingerprint(pairs: Iterable[tuple[str, Digest]], *others: str) -> str:
    """A hash of all that a page is made from: two pages with the same fingerprint are identical."""
    text = "\n".join([*others, *(f"{tag} {digest}" for tag, digest in pairs)])
    return hashlib.sha256(text.encode()).hexdigest()
