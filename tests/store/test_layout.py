"""The stored format without a registry: tags, versions and annotations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, ProtocolError
from pyoci.oci.models import ImageIndex
from pyoci.store.layout import (
    core_metadata_of,
    entries,
    is_package,
    provenance_of,
    tag_of,
    version_of,
    version_text_of,
)
from pyoci.store.marker import MARKER_TAG
from tests.distributions.strategies import version_texts

NAME = ProjectName.parse("hello-world")
HEX = "a" * 64

TAGS = [
    ("1.0", "1.0"),
    ("2.0+cu121", "2.0-cu121"),
    ("1!2.0", "1_2.0"),
    ("1!2.0+cu121", "1_2.0-cu121"),
    ("1.0+ubuntu-1", "1.0-ubuntu.1"),
    ("1.0.post1.dev2", "1.0.post1.dev2"),
    ("1.0RC1", "1.0rc1"),
]


@pytest.mark.parametrize(("version", "tag"), TAGS, ids=[version for version, _ in TAGS])
def test_a_version_has_a_tag(version: str, tag: str) -> None:
    """`+` becomes `-`, `!` becomes `_`, in the normalised spelling."""
    assert str(tag_of(Version(version))) == tag


@given(version_texts())
def test_encoding_and_decoding_a_tag_are_inverse(version: str) -> None:
    """Every version that has a tag is found under that tag."""
    assert version_of(str(tag_of(Version(version)))) == Version(version)


FOREIGN_SPELLINGS = [
    ("1.0-ubuntu_1", "1.0+ubuntu.1"),  # the Rust PyOCI writes the local part as it came
    ("1.0RC1", "1.0rc1"),
    ("v1.0", "1.0"),
    ("1_2.0-cu121", "1!2.0+cu121"),
    ("1.0-local-1", "1.0+local.1"),
]


@pytest.mark.parametrize(("tag", "version"), FOREIGN_SPELLINGS)
def test_a_tag_that_others_wrote_is_read(tag: str, version: str) -> None:
    """The first `-` is `+`, `_` after the leading digits is `!`, and the rest is unchanged."""
    assert version_of(tag) == Version(version)


@pytest.mark.parametrize(
    "tag", ["latest", "sha256-" + HEX + ".sig", "main", "", "1.0_x", "a" * 200, "_", "-"]
)
def test_tag_that_is_no_version_is_skipped(tag: str) -> None:
    """It isn't an error."""
    assert version_of(tag) is None


@given(st.text(max_size=200))
def test_reading_a_tag_never_fails(tag: str) -> None:
    """Any text is a version or None."""
    version_of(tag)
    version_text_of(tag)


def test_a_tag_over_128_characters_is_refused() -> None:
    """The OCI grammar doesn't allow a longer one. The message says so."""
    with pytest.raises(InvalidRequest, match="at most 128 characters"):
        tag_of(Version("1.0+" + "a" * 125))


def make_image_index(**annotations: str) -> ImageIndex:
    return ImageIndex.from_json(make_document(annotations))


def make_document(annotations: Any, architecture: str = "py3-none-any.whl") -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "artifactType": "application/pyoci.package.v1",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": "sha256:" + HEX,
                "size": 1,
                "platform": {"architecture": architecture, "os": "any"},
                "annotations": annotations,
            }
        ],
    }


ODD_ANNOTATIONS: list[tuple[dict[str, str], str, Any]] = [
    ({}, "size", None),
    ({"com.pyoci.size": "-1"}, "size", None),
    ({"com.pyoci.size": "many"}, "size", None),
    ({"com.pyoci.size": "7"}, "size", 7),
    ({"org.opencontainers.image.created": "yesterday"}, "upload_time", None),
    ({"com.pyoci.project_urls": "[1]"}, "project_urls", {}),
    ({"com.pyoci.project_urls": "{"}, "project_urls", {}),
    (
        {"com.pyoci.project_urls": '{"a": 1, "b": "HTTPS://example.org"}'},
        "project_urls",
        {"b": "HTTPS://example.org"},
    ),
    ({"com.pyoci.core_metadata": "short"}, "core_metadata", None),
    ({"com.pyoci.core_metadata": HEX}, "core_metadata", None),  # without a config blob to take it from
    ({"com.pyoci.yanked": ""}, "yanked", ""),
    ({"com.pyoci.filename": "other-1.0-py3-none-any.whl"}, "filename", "hello_world-1.0-py3-none-any.whl"),
    (
        {"com.pyoci.filename": "hello_world-2.0-py3-none-any.whl"},
        "filename",
        "hello_world-1.0-py3-none-any.whl",
    ),
    ({"com.pyoci.filename": "../../etc/passwd"}, "filename", "hello_world-1.0-py3-none-any.whl"),
    (
        {"com.pyoci.filename": "Hello.World-1.0-py3-none-any.whl"},
        "filename",
        "Hello.World-1.0-py3-none-any.whl",
    ),
]


@pytest.mark.parametrize(("annotations", "field", "expected"), ODD_ANNOTATIONS)
def test_invalid_annotation_is_left_out(annotations: dict[str, str], field: str, expected: Any) -> None:
    """Other writers may write anything."""
    (entry,) = entries(ImageIndex.from_json(make_document(annotations)), NAME, "1.0")
    assert getattr(entry.file(HEX), field) == expected


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//x", "https://a b", "https://a\nb", "x", ""]
)
def test_invalid_project_url_is_left_out(url: str) -> None:
    """Only web URLs may become links."""
    urls = json.dumps({"Homepage": url, "Source": "https://example.org"})
    document = make_document({"com.pyoci.project_urls": urls})
    (entry,) = entries(ImageIndex.from_json(document), NAME, "1.0")
    assert entry.file(HEX).project_urls == {"Source": "https://example.org"}


@pytest.mark.parametrize("with_name", [True, False])
def test_the_files_of_a_version_share_what_is_equal(with_name: bool) -> None:
    """A version takes five objects, and a page may have 20,000 files."""
    document = make_document({})
    (entry,) = document["manifests"]
    document["manifests"] = []
    for number in range(2):
        suffix = f"cp3{number}-none-any.whl"
        names = {"com.pyoci.filename": f"hello_world-1.0-{suffix}"} if with_name else {}
        platform = {**entry["platform"], "architecture": suffix}
        document["manifests"].append({**entry, "platform": platform, "annotations": names})
    first, second = (each.file(HEX) for each in entries(ImageIndex.from_json(document), NAME, "1.0"))
    assert first.version is second.version
    assert first.project_urls is second.project_urls


def test_a_time_is_read_with_its_zone() -> None:
    """A time without a zone is taken as UTC: uv rejects a page that has one."""
    for text in ("2026-11-20T20:23:36Z", "2026-11-20T20:23:36", "2026-11-20T21:23:36.000000000+01:00"):
        image_index = make_image_index(**{"org.opencontainers.image.created": text})
        (entry,) = entries(image_index, NAME, "1.0")
        moment = entry.file(HEX).upload_time
        assert moment is not None
        assert moment.isoformat() == "2026-11-20T20:23:36+00:00"


@pytest.mark.parametrize("architecture", ["amd64", "", "../x.whl", "py3.whl"])
def test_entry_that_is_no_file_is_skipped(architecture: str) -> None:
    """Such as a container image's platform."""
    assert list(entries(ImageIndex.from_json(make_document({}, architecture)), NAME, "1.0")) == []


def test_a_projects_marker_is_no_version() -> None:
    """Neither here nor in the Rust PyOCI, which reads each `-` as a `+`. In string order it comes before
    every version except a bare 0.
    """
    tag = str(MARKER_TAG)
    assert version_of(tag) is None
    with pytest.raises(InvalidVersion):
        Version(tag.replace("-", "+"))
    assert ".." not in tag
    assert all(
        tag < str(tag_of(Version(text))) for text in ("0.0", "0.dev0", "0+local", "0!1", "00.1", "1.0")
    )


def test_an_image_index_of_another_type_is_foreign() -> None:
    """A multi-platform image under a tag like 1.0 has no files."""
    document = make_document({}) | {"artifactType": "application/vnd.example"}
    image_index = ImageIndex.from_json(document)
    assert not is_package(image_index)
    assert list(entries(image_index, NAME, "1.0")) == []


@pytest.mark.parametrize("config", [b"", b"[]", b"{}", b'{"coreMetadata": 1}', b'{"coreMetadata": "other"}'])
def test_metadata_with_another_hash_is_an_error(config: bytes) -> None:
    """pip and uv would resolve dependencies with it."""
    with pytest.raises(ProtocolError):
        core_metadata_of(config, HEX)


@pytest.mark.parametrize("config", [b"", b"[]", b"{}", b'{"provenance": 1}', b'{"provenance": "other"}'])
def test_provenance_with_another_hash_is_an_error(config: bytes) -> None:
    """It isn't the document that was stored with the file."""
    with pytest.raises(ProtocolError):
        provenance_of(config, HEX)


def test_unknown_keys_survive_a_rewrite() -> None:
    """Keys and annotations of other programs are kept."""
    document = make_document({"org.example": "kept"}) | {"org.example.top": 1, "annotations": {"a": "b"}}
    document["manifests"][0]["platform"]["variant"] = "v8"
    document["manifests"][0]["urls"] = ["https://example.org"]
    written = json.loads(json.dumps(ImageIndex.from_json(document).to_json()))
    assert written == document | {"mediaType": "application/vnd.oci.image.index.v1+json"}
