"""Documents that are stored together in packs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.cache.backend import Position
from pyoci.oci.models import Document
from pyoci.oci.references import Digest
from pyoci.store.documents import packed, unpacked
from pyoci.store.state import State, TagState
from tests.registry import make_repository
from tests.stores import make_cache

REPOSITORY = make_repository()


def make_document(body: bytes, media_type: str = "application/json") -> tuple[Digest, Document]:
    return Digest("sha256", hashlib.sha256(body).hexdigest()), Document(media_type, body)


@given(st.lists(st.binary(max_size=200)), st.sampled_from(["", "application/json"]))
def test_they_come_back(bodies: list[bytes], media_type: str) -> None:
    """With any content, also content that looks like the header of another document."""
    documents = [make_document(body, media_type) for body in [*bodies, b"sha256:" + b"a" * 64 + b"  3\nabc"]]
    (pack,) = packed(documents)
    assert list(unpacked(pack)) == documents


def test_a_pack_has_a_size() -> None:
    """A few MiB, for any documents."""
    documents = [make_document(bytes([number]) * 1_500_000) for number in range(7)]
    packs = list(packed(documents))
    assert [len(list(unpacked(pack))) for pack in packs] == [2, 2, 2, 1]
    assert list(packed([])) == []


@pytest.mark.parametrize(
    ("spoil", "left"),
    [
        pytest.param(lambda pack: pack[:-1], 1, id="torn"),
        pytest.param(lambda pack: pack.replace(b"two", b"TWO"), 1, id="other bytes"),
        pytest.param(lambda pack: b"x" + pack, 0, id="something before"),
        pytest.param(lambda pack: pack + b"\xff\n", 2, id="something behind"),
        pytest.param(lambda pack: pack.replace(b" 3\n", b" 999999999\n", 1), 0, id="a size that is none"),
        pytest.param(lambda pack: b"", 0, id="nothing"),
    ],
)
def test_invalid_content_is_left_out(spoil: Callable[[bytes], bytes], left: int) -> None:
    """A cache may contain anything."""
    (pack,) = packed([make_document(b"one"), make_document(b"two")])
    assert len(list(unpacked(spoil(pack)))) == left


def test_many_packs_are_merged() -> None:
    """Each upload adds one. Documents that no tag refers to are dropped."""
    documents, state = make_cache().of(REPOSITORY).documents, State(Position("e", 1))
    for number in range(200):
        digest, document = make_document(b"%d" % number)
        state = state.with_tag_state(f"{number % 10}", TagState(digest, 1.0, 1.0))
        packs = documents.pack({digest: document}, state)
        state = State(state.position, 1.0, (), state.tag_states, packs)
    assert len(state.packs) <= 66
    wanted = {seen.digest for seen in state.tag_states.values()}
    assert wanted <= documents.unpack(state.packs).keys()
