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
from pyoci.store.documents import DocumentsRead, packed, unpacked
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


def test_only_those_that_are_wanted_are_unpacked() -> None:
    """The others of a large project would take much memory."""
    documents = make_cache().of(REPOSITORY).documents
    every = dict(make_document(b"%d" % number) for number in range(5))
    packs = documents.pack(every, State())
    wanted = list(every)[1:3]
    assert documents.unpack(packs, wanted) == {digest: every[digest] for digest in wanted}


def test_a_request_keeps_the_documents_that_it_has_read_last() -> None:
    """The others are in the cache. The size of each is known."""
    stored, read = make_cache().of(REPOSITORY).documents, DocumentsRead(size=6)
    every = [make_document(body) for body in (b"one", b"two", b"three", b"four", b"none of them")]
    for digest, document in [*every[:3], *every[:3], every[3]]:  # two tags may have the same document
        read.add(digest, document, stored)
    assert read.in_memory() == dict(every[3:4])
    assert [read.get(digest) for digest, _ in every] == [None, None, None, every[3][1], None]
    assert [stored.document(digest) for digest, _ in every[:3]] == [document for _, document in every[:3]]
    assert [read.size(digest) for digest, _ in every] == [3, 3, 5, 4, None]


def test_a_request_keeps_at_least_one_document() -> None:
    """However large it is: the page is made of it next."""
    stored, read = make_cache().of(REPOSITORY).documents, DocumentsRead(size=1)
    first, second = make_document(b"first"), make_document(b"second")
    read.add(*first, stored)
    assert read.in_memory() == dict([first])
    read.add(*second, stored)
    assert read.in_memory() == dict([second])
