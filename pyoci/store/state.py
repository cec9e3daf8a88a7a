"""State: what is remembered of a repository, and for how long it may stand for the registry's word. Pure."""

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
_LATELY = 24 * 3600.0  # seconds: what changed within them may well change again
PAGES_CHANGED = "+"  # in a journal, no tag: the page has changed, and nothing in the registry has
_SKEW = 5.0  # seconds that the clocks of two hosts may differ


@dataclass(frozen=True, slots=True)
class TagState:
    """What stood under a tag. Times are in seconds since the epoch, for hosts remember together."""

    digest: Digest
    looked: float  # when the registry was asked
    changed: float  # when it was written, by its own annotations


@dataclass(frozen=True, slots=True)
class State:
    """The tags of a repository, and what stood under those that were looked at.

    It holds for the `position` that the repository's journal had before the registry was asked.
    """

    position: Position | None = None
    listed: float = 0.0  # when the tags were listed, in seconds since the epoch
    tags: tuple[str, ...] = ()
    tag_states: Mapping[str, TagState] = field(default_factory=dict)
    packs: tuple[str, ...] = ()  # where the documents are kept

    def without(self, changed: Iterable[str], position: Position) -> Self:
        """The same after some tags were written: they, and the list, have to be asked for again."""
        gone = set(changed) - {PAGES_CHANGED}
        if not gone:
            return replace(self, position=position)
        seen = {tag: seen for tag, seen in self.tag_states.items() if tag not in gone}
        # A registry's list may lack for some seconds what was just written: it is looked for all the same.
        return replace(
            self, position=position, listed=0.0, tags=tuple(sorted({*self.tags, *gone})), tag_states=seen
        )

    def doubted(self, position: Position | None) -> Self:
        """The same as a guess: every tag has to be looked at again, and most will not have changed."""
        seen = {tag: replace(seen, looked=0.0) for tag, seen in self.tag_states.items()}
        return replace(self, position=position, listed=0.0, tag_states=seen)

    @property
    def weight(self) -> int:
        """How many bytes of memory it takes, roughly."""
        return 1000 + 200 * len(self.tag_states) + 80 * len(self.tags)

    def with_tag_state(self, tag: str, seen: TagState) -> Self:
        return replace(self, tag_states={**self.tag_states, tag: seen})

    def covers(self, position: Position | None) -> bool:
        """Whether the registry was asked when the journal had come to `position`, or later."""
        mine = self.position
        if mine is None or position is None:
            return mine is position
        return mine.epoch == position.epoch and mine.count >= position.count

    @staticmethod
    def head(position: Position) -> bytes:
        """How a state of that position begins, when it is written down."""
        return _dumped({"position": [position.epoch, position.count]})[:-1]

    def differs_from(self, later: Self) -> bool:
        """Whether pages that were made of this one, which somebody may still give, are wrong by now."""
        told = [
            tag
            for tag in self.tag_states
            if tag in later.tag_states and self.tag_states[tag].digest != later.tag_states[tag].digest
        ]
        return self.listed > 0 and (bool(told) or set(self.tags) != set(later.tags))

    def to_json(self) -> bytes:
        """As it is kept. Raises ValueError without a position."""
        if self.position is None:
            raise ValueError("a state without a position can't be kept")
        document = {
            "position": [self.position.epoch, self.position.count],
            "listed": self.listed,
            "tags": self.tags,
            "seen": {
                tag: [str(seen.digest), seen.looked, seen.changed] for tag, seen in self.tag_states.items()
            },
            "packs": self.packs,
        }
        return _dumped(document)

    @classmethod
    def from_json(cls, text: bytes) -> Self | None:
        """What was kept; None for anything else that lies in its place."""
        try:
            document = json.loads(text)
            epoch, count = document["position"]
            seen = {
                str(tag): TagState(Digest.parse(digest), float(looked), float(changed))
                for tag, (digest, looked, changed) in document["seen"].items()
            }
            tags, packs = (tuple(str(name) for name in document[key]) for key in ("tags", "packs"))
            return cls(Position(str(epoch), int(count)), float(document["listed"]), tags, seen, packs)
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
    """For how many seconds a list of tags, and what stood under a tag, may be taken for the present ones.

    A tag that nobody has written for a day is looked at every `ttl_old` seconds only.
    """

    ttl: float = TTL
    ttl_old: float = TTL_OLD

    def is_list_fresh(self, state: State, now: float) -> bool:
        """Whether the list of tags is young enough."""
        return -_SKEW <= now - state.listed < self.ttl

    def is_fresh(self, seen: TagState, now: float) -> bool:
        """Whether what stood under a tag still counts."""
        lately = now - seen.changed < _LATELY
        return (
            -_SKEW <= now - seen.looked < (self.ttl if lately else self.ttl and max(self.ttl, self.ttl_old))
        )

    def may_serve_stale(self, state: State, now: float) -> bool:
        """Whether the state will do for whoever finds somebody else looking already."""
        return -_SKEW <= now - state.listed < 2 * self.ttl


def fingerprint(pairs: Iterable[tuple[str, Digest]], *others: str) -> str:
    """A name for what a page is made of: two pages with the same one are the same."""
    text = "\n".join([*others, *(f"{tag} {digest}" for tag, digest in pairs)])
    return hashlib.sha256(text.encode()).hexdigest()
