"""Documents: parsed leniently, and written with all their keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import ProtocolError
from pyoci.oci.models import (
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    Descriptor,
    Document,
    ImageIndex,
    Manifest,
    parse_json,
)

DIGEST = f"sha256:{'0a' * 32}"


def make_descriptor(**overrides: Any) -> dict[str, Any]:
    given = {
        "mediaType": IMAGE_MANIFEST,
        "digest": DIGEST,
        "size": 10,
        "platform": {"architecture": "py3-none-any.whl", "os": "any", "os.version": "1", "variant": "v8"},
        "annotations": {"a": "b"},
        "data": "e30=",
        "urls": ["https://x.example"],
        "artifactType": "application/x",
        "x-ours": {"deep": [1, None, {"er": True}]},
    }
    return {key: value for key, value in (given | overrides).items() if value is not ...}


def make_image_index(**overrides: Any) -> dict[str, Any]:
    given = {
        "schemaVersion": 2,
        "mediaType": IMAGE_INDEX,
        "artifactType": "application/y",
        "manifests": [make_descriptor()],
        "annotations": {"c": "d"},
        "subject": make_descriptor(),
        "x-theirs": [1, 2],
    }
    return {key: value for key, value in (given | overrides).items() if value is not ...}


def make_manifest(**overrides: Any) -> dict[str, Any]:
    given = {
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "artifactType": "application/y",
        "config": make_descriptor(),
        "layers": [make_descriptor()],
        "annotations": {"c": "d"},
        "subject": make_descriptor(),
    }
    return {key: value for key, value in (given | overrides).items() if value is not ...}


def test_unknown_keys_survive() -> None:
    """Keys that another implementation added at any depth are written back unchanged."""
    assert Descriptor.from_json(make_descriptor()).to_json() == make_descriptor()
    assert ImageIndex.from_json(make_image_index()).to_json() == make_image_index()
    assert Manifest.from_json(make_manifest()).to_json() == make_manifest()


def test_missing_keys_are_not_added() -> None:
    """An optional key that is missing isn't written."""
    least = make_descriptor(**dict.fromkeys(("platform", "annotations", "data", "urls", "artifactType"), ...))
    assert Descriptor.from_json(least).to_json() == least
    index = make_image_index(artifactType=..., annotations=..., manifests=[])
    assert ImageIndex.from_json(index).to_json() == index
    manifest = make_manifest(artifactType=..., annotations=..., layers=[])
    assert Manifest.from_json(manifest).to_json() == manifest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1).map("x-".__add__), json_values))
def test_anything_survives_being_written_and_read(extra: dict[str, Any]) -> None:
    """It is the same after being written and parsed."""
    index = make_image_index(**extra)
    document = Document.of(ImageIndex.from_json(index))
    read = document.image_index()
    assert read is not None
    assert read.to_json() == index
    assert Document.of(read) == document


@given(json_values)
def test_any_value_is_a_document_or_a_protocol_error(value: Any) -> None:
    """A registry may send any JSON."""
    for kind in (Descriptor, ImageIndex, Manifest):
        with pytest.raises(ProtocolError):
            kind.from_json(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"mediaType": ...},
        {"mediaType": 1},
        {"digest": ...},
        {"digest": "sha256:abc"},
        {"digest": "../../etc/passwd"},
        {"digest": None},
        {"size": ...},
        {"size": "10"},
        {"size": 1.5},
        {"size": True},
        {"size": -1},
        {"platform": []},
        {"platform": {}},
        {"platform": {"architecture": "x", "os": 1}},
        {"annotations": []},
        {"annotations": {"a": 1}},
        {"annotations": "text"},
    ],
    ids=repr,
)
def test_a_descriptor_of_the_wrong_shape_is_a_protocol_error(changes: dict[str, Any]) -> None:
    """With one sentence, in any document."""
    wrong = make_descriptor(**changes)
    with pytest.raises(ProtocolError, match="the registry sent"):
        Descriptor.from_json(wrong)
    with pytest.raises(ProtocolError):
        ImageIndex.from_json(make_image_index(manifests=[make_descriptor(), wrong]))
    with pytest.raises(ProtocolError):
        Manifest.from_json(make_manifest(config=wrong))


@pytest.mark.parametrize("empty", [None, {}], ids=["null", "empty"])
def test_no_annotations_are_none(empty: Any) -> None:
    """Go writes null for an empty map."""
    assert Descriptor.from_json(make_descriptor(annotations=empty)).annotations == {}
    assert Descriptor.from_json(make_descriptor(platform=None)).platform is None


@pytest.mark.parametrize("manifests", [..., None, {}, "x", [1]], ids=repr)
def test_an_image_index_needs_its_list(manifests: Any) -> None:
    """`manifests` is required, and a list."""
    with pytest.raises(ProtocolError):
        ImageIndex.from_json(make_image_index(manifests=manifests))


def test_annotations_are_set_and_removed() -> None:
    """The result is a new descriptor; the old one is unchanged."""
    before = Descriptor.from_json(make_descriptor())
    after = before.annotated({"a": None, "e": "f"})
    assert (before.annotations, after.annotations) == ({"a": "b"}, {"e": "f"})


def test_a_document_is_what_its_media_type_says() -> None:
    """The manifest of a container image isn't an image index, and isn't an error."""
    body = json.dumps(make_manifest()).encode()
    assert Document(IMAGE_MANIFEST, body).manifest() is not None
    assert Document(IMAGE_MANIFEST, body).image_index() is None
    assert Document(IMAGE_INDEX, json.dumps(make_image_index()).encode()).manifest() is None
    assert Document("text/plain", b"anything").image_index() is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>",
        b"\xff\xfe",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        b"NaN",
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        rb'{"a": "\ud800"}',
        rb'{"\udfff": 1}',
        b'{"a": "\xed\xa0\x80"}',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_not_json_is_a_protocol_error(body: bytes) -> None:
    """Deep nesting, very long numbers, Python's constants, lone surrogates."""
    with pytest.raises(ProtocolError, match="not JSON"):
        parse_json(body, "a document")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\xef\xbb\xbf{}", {}),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (b" [1] ", [1]),
        (rb'"\\ud800"', "\\ud800"),
    ],
)
def test_what_is_json_is_read(body: bytes, value: Any) -> None:
    """With a byte order mark, or with a surrogate pair."""
    assert parse_json(body, "a document") == value
