"""Pulling, pushing and deleting manifests by tag and digest."""

import errno
import io
import json
import shutil
from pathlib import Path, PosixPath
from typing import Any

import pytest
from flask.testing import FlaskClient

from pyoci.embedded import create_registry_app
from tests.embedded.builders import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY,
    IMAGE_INDEX,
    MANIFEST,
    Wire,
    code_of,
    digest_of,
    make_descriptor,
    make_image_index,
    make_manifest,
)
from tests.embedded.conftest import Steps

NAME = "acme/hello"
FOREIGN = make_descriptor(b"elsewhere", urls=["https://example.org/layer"])
NONDISTRIBUTABLE = make_descriptor(
    b"elsewhere", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
)


def url(reference: str) -> str:
    return f"/v2/{NAME}/manifests/{reference}"


def test_a_pushed_manifest_comes_back_byte_by_byte(wire: Wire) -> None:
    """PUT by tag answers 201 with place and digest; GET by tag and by digest give the same bytes and type."""
    wire.push_blob(NAME, b"{}")
    manifest = make_manifest(annotations={"ä": "unknown keys too"}, unknown=[1, 2.50])
    response = wire.put(NAME, "1.0", manifest)
    assert (response.status_code, response.location) == (201, url("1.0"))
    assert response.headers["Docker-Content-Digest"] == digest_of(manifest)
    assert "OCI-Subject" not in response.headers
    for reference in ("1.0", digest_of(manifest)):
        response = wire.http.get(url(reference))
        assert (response.status_code, response.data, response.content_type) == (200, manifest, MANIFEST)
        assert response.headers["Docker-Content-Digest"] == digest_of(manifest)
        assert response.headers["ETag"] == f'"{digest_of(manifest)}"'
        head = wire.http.head(url(reference))
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Length"] == str(len(manifest))
        assert head.content_type == MANIFEST


@pytest.mark.parametrize("accept", [None, "*/*", "text/html", MANIFEST], ids=str)
def test_accept_is_ignored(wire: Wire, accept: str | None) -> None:
    """An image index is sent for any Accept; its Content-Type names its format."""
    wire.push(NAME, "1.0", make_image_index())
    response = wire.http.get(url("1.0"), headers={} if accept is None else {"Accept": accept})
    assert (response.status_code, response.content_type) == (200, IMAGE_INDEX)


def test_if_none_match_spares_the_manifest(wire: Wire) -> None:
    """A client that has the manifest gets a 304 with its digest, while the tag names it."""
    digest = wire.push(NAME, "1.0", make_image_index())
    headers = {"If-None-Match": f'"{digest}"'}
    response = wire.http.get(url("1.0"), headers=headers)
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["Docker-Content-Digest"] == digest
    wire.push(NAME, "1.0", make_image_index(annotations={"other": "document"}))
    assert wire.http.get(url("1.0"), headers=headers).status_code == 200


def test_a_tag_names_its_last_manifest(wire: Wire) -> None:
    """A second PUT moves the tag; the first manifest stays, by its digest."""
    first = wire.push(NAME, "1.0", make_image_index())
    second = wire.push(NAME, "1.0", make_image_index(annotations={"a": "b"}))
    assert wire.http.head(url("1.0")).headers["Docker-Content-Digest"] == second
    assert wire.http.head(url(first)).status_code == 200
    assert wire.tags(NAME) == ["1.0"]


def test_a_manifest_by_digest_has_no_tag(wire: Wire) -> None:
    """PUT by digest stores a manifest without a tag, once, and a tag may follow."""
    document = make_image_index()
    wire.push(NAME, None, document)
    wire.push(NAME, None, document)
    assert wire.tags(NAME) == []
    wire.push(NAME, "1.0", document)
    wire.push(NAME, "latest", document)
    assert wire.tags(NAME) == ["1.0", "latest"]


def test_sha512_manifests(wire: Wire) -> None:
    """A manifest may be pushed and pulled by its sha512 digest."""
    document = make_image_index()
    digest = digest_of(document, "sha512")
    response = wire.put(NAME, digest, document)
    assert (response.status_code, response.headers["Docker-Content-Digest"]) == (201, digest)
    assert wire.http.get(url(digest)).data == document


@pytest.mark.parametrize("digest", [digest_of(b"other"), digest_of(b"other", "sha512")])
def test_a_wrong_digest_is_refused(wire: Wire, digest: str) -> None:
    """PUT under another digest than the manifest's answers 400 and stores nothing."""
    response = wire.put(NAME, digest, make_image_index())
    assert (response.status_code, code_of(response)) == (400, "DIGEST_INVALID")
    assert wire.http.get(f"/v2/{NAME}/tags/list").status_code == 404


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        pytest.param(make_manifest(), f"{MANIFEST}; charset=utf-8", id="parameter"),
        pytest.param(make_manifest(), "", id="no Content-Type"),
        pytest.param(make_manifest(mediaType=None), MANIFEST, id="no mediaType"),
        pytest.param(make_manifest(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST, id="docker"),
        pytest.param(make_image_index(mediaType=DOCKER_LIST), DOCKER_LIST, id="docker's list"),
        pytest.param(
            make_manifest(layers=[FOREIGN, NONDISTRIBUTABLE]), MANIFEST, id="layers that lie elsewhere"
        ),
        pytest.param(make_manifest(artifactType="application/x"), MANIFEST, id="artifact"),
        pytest.param(
            make_manifest(subject=make_descriptor(b"missing", MANIFEST)), MANIFEST, id="missing subject"
        ),
        pytest.param(
            make_manifest(config=make_descriptor(b"{}", EMPTY, data="e30=")),
            MANIFEST,
            id="data in a descriptor",
        ),
        pytest.param(
            make_image_index(manifests=[make_descriptor(b"{}", "text/plain")]),
            IMAGE_INDEX,
            id="blob in an index",
        ),
        pytest.param(make_manifest(annotations={"a": "A" * 4_190_000}), MANIFEST, id="nearly 4 MiB"),
    ],
)
def test_accepted_manifests(wire: Wire, document: bytes, content_type: str) -> None:
    """Image manifests and image indexes of OCI and Docker, with any other keys."""
    wire.push_blob(NAME, b"{}")
    response = wire.http.put(url("1.0"), data=document, content_type=content_type)
    assert response.status_code == 201, response.text
    assert wire.http.get(url("1.0")).data == document


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        pytest.param(b"", MANIFEST, id="nothing"),
        pytest.param(b"{", MANIFEST, id="no JSON"),
        pytest.param(b"\xff", MANIFEST, id="no text"),
        pytest.param(b"[" * 100_000, MANIFEST, id="deep JSON"),
        pytest.param(b"[]", MANIFEST, id="a list"),
        pytest.param(b"{}", MANIFEST, id="no keys"),
        pytest.param(make_manifest(mediaType=None), "", id="no type at all"),
        pytest.param(make_manifest(mediaType=["x"]), "", id="a type that is a list"),
        pytest.param(make_manifest(), IMAGE_INDEX, id="another Content-Type"),
        pytest.param(make_manifest(mediaType="text/html"), "text/html", id="another type"),
        pytest.param(make_manifest(manifests=[]), MANIFEST, id="keys of an image index"),
        pytest.param(make_image_index(layers=[]), IMAGE_INDEX, id="keys of a manifest"),
        pytest.param(make_manifest(config="x"), MANIFEST, id="config that is no descriptor"),
        pytest.param(make_manifest(config={}), MANIFEST, id="config without digest"),
        pytest.param(
            make_manifest(config=make_descriptor(b"{}", digest=1)), MANIFEST, id="digest that is a number"
        ),
        pytest.param(
            make_manifest(config=make_descriptor(b"{}", digest="x")), MANIFEST, id="digest that is none"
        ),
        pytest.param(
            make_manifest(config=make_descriptor(b"{}", size="2")), MANIFEST, id="size that is text"
        ),
        pytest.param(make_manifest(config=make_descriptor(b"{}", size=-2)), MANIFEST, id="negative size"),
        pytest.param(
            make_manifest(config=make_descriptor(b"{}", size=True)), MANIFEST, id="size that is true"
        ),
        pytest.param(make_manifest(config=make_descriptor(b"{}", size=3)), MANIFEST, id="size that is wrong"),
        pytest.param(
            make_manifest(config=make_descriptor(b"{}", "")), MANIFEST, id="descriptor without type"
        ),
        pytest.param(make_manifest(layers=None), MANIFEST, id="no layers"),
        pytest.param(make_manifest(layers=["x"]), MANIFEST, id="layer that is no descriptor"),
        pytest.param(make_image_index(manifests=None), IMAGE_INDEX, id="no manifests"),
        pytest.param(make_image_index(manifests=[1]), IMAGE_INDEX, id="child that is no descriptor"),
        pytest.param(make_manifest(subject={"digest": "x"}), MANIFEST, id="subject that is no descriptor"),
    ],
)
def test_refused_manifests(wire: Wire, document: bytes, content_type: str) -> None:
    """400 with a sentence, and nothing is stored."""
    wire.push_blob(NAME, b"{}")
    response = wire.http.put(url("1.0"), data=document, content_type=content_type)
    assert (response.status_code, code_of(response)) == (400, "MANIFEST_INVALID")
    assert wire.http.get(f"/v2/{NAME}/tags/list").status_code == 404


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(make_manifest(b"missing"), id="config"),
        pytest.param(make_manifest(b"{}", b"missing"), id="layer"),
        pytest.param(make_image_index(make_manifest()), id="manifest"),
        pytest.param(make_image_index(b"{}"), id="a blob is no manifest"),
    ],
)
@pytest.mark.parametrize("name", [NAME, "acme/nothing"])
def test_what_a_manifest_needs_must_be_there(wire: Wire, directory: Path, document: bytes, name: str) -> None:
    """A manifest whose children aren't in its repository answers 400, names one, and is not stored."""
    wire.push_blob(NAME, b"{}")
    before = sorted(directory.rglob("*"))
    response = wire.put(name, "1.0", document)
    assert (response.status_code, code_of(response)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert response.get_json()["errors"][0]["detail"]["digest"].startswith("sha256:")
    left = [path for path in sorted(directory.rglob("*")) if path not in before]
    assert [path for path in left if path.name != "_lock"] == []


@pytest.mark.parametrize("told", [True, False], ids=["by Content-Length", "while it arrives"])
def test_a_manifest_over_4_mib_is_refused(wire: Wire, told: bool) -> None:
    """A manifest of more than 4 MiB answers 413."""
    document = make_image_index(annotations={"a": "A" * 4_194_304})
    if told:
        response = wire.put(NAME, "1.0", document)
    else:
        response = wire.stream("PUT", url("1.0"), io.BytesIO(document))
    assert (response.status_code, code_of(response)) == (413, "SIZE_INVALID")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("reference", ["2.0", digest_of(b"other")])
def test_an_unknown_manifest_is_not_found(wire: Wire, method: str, reference: str) -> None:
    """An unknown tag or digest answers 404, and so does everything in an unknown repository."""
    wire.push(NAME, "1.0", make_image_index())
    response = wire.http.open(url(reference), method=method)
    assert response.status_code == 404
    elsewhere = wire.http.open(f"/v2/acme/other/manifests/{reference}", method=method)
    assert elsewhere.status_code == 404
    if method != "HEAD":
        assert (code_of(response), code_of(elsewhere)) == ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("reference", "code"),
    [("sha256:baddigeststring", "DIGEST_INVALID"), (".hidden", "TAG_INVALID"), ("x" * 129, "TAG_INVALID")],
)
def test_a_bad_reference_is_refused(wire: Wire, method: str, reference: str, code: str) -> None:
    """What is neither tag nor digest answers 400."""
    response = wire.http.open(url(reference), method=method, data=make_image_index())
    assert (response.status_code, code_of(response)) == (400, code)


def test_deleting_a_tag_leaves_the_manifest(wire: Wire) -> None:
    """DELETE of a tag answers 202 and removes just that; the repository goes on existing without tags."""
    digest = wire.push(NAME, "1.0", make_image_index())
    assert wire.http.delete(url("1.0")).status_code == 202
    assert wire.http.get(url("1.0")).status_code == 404
    assert wire.http.get(url(digest)).status_code == 200
    assert wire.tags(NAME) == []
    assert wire.http.delete(url("1.0")).status_code == 404


def test_deleting_a_digest_removes_its_tags(wire: Wire) -> None:
    """DELETE of a digest answers 202 and removes the manifest under all its names."""
    document = make_image_index()
    for tag in ("1.0", "latest"):
        digest = wire.push(NAME, tag, document)
    wire.push(NAME, "2.0", make_image_index(annotations={"a": "b"}))
    assert wire.http.delete(url(digest)).status_code == 202
    assert wire.http.get(url(digest)).status_code == 404
    assert wire.tags(NAME) == ["2.0"]


class TestDeletedMeanwhile:
    """Another request deletes a manifest, and the clean-up its file, after it was found and before it is
    read.
    """

    @pytest.fixture
    def client(self, wire: Wire, directory: Path) -> FlaskClient:
        """A client of the registry, whose requests for the signature below meet that."""
        subject = wire.push_image(NAME, "1.0")
        for tag in ("kept", "signature"):
            wire.push(
                NAME,
                tag,
                make_image_index(subject=make_descriptor(subject, MANIFEST), annotations={"is": tag}),
            )
        digest = wire.http.head(url("signature")).headers["Docker-Content-Digest"]

        class Watched(PosixPath):
            def open(self, *args: Any, **options: Any) -> Any:
                if digest.endswith(self.name) and self.exists():
                    assert wire.http.delete(url(digest)).status_code == 202
                    self.unlink()
                return super().open(*args, **options)

        app = create_registry_app(Watched(directory), htpasswd=None, local_only=False)
        return app.test_client()

    def test_is_not_found(self, client: FlaskClient) -> None:
        response = client.get(url("signature"))
        assert (response.status_code, code_of(response)) == (404, "MANIFEST_UNKNOWN")

    def test_is_no_referrer(self, client: FlaskClient) -> None:
        """The others are listed."""
        subject = client.head(url("1.0")).headers["Docker-Content-Digest"]
        response = client.get(f"/v2/{NAME}/referrers/{subject}")
        assert [each["annotations"] for each in response.get_json()["manifests"]] == [{"is": "kept"}]

    def test_with_its_repository(self, wire: Wire, directory: Path) -> None:
        """An operator may remove the folder of a repository."""
        wire.push_image(NAME, "1.0")

        class Watched(PosixPath):
            def open(self, *args: Any, **options: Any) -> Any:
                if self.name == "index.json" and self.exists():
                    shutil.rmtree(directory / NAME)
                return super().open(*args, **options)

        app = create_registry_app(Watched(directory), htpasswd=None, local_only=False)
        response = app.test_client().get(url("1.0"))
        assert (response.status_code, code_of(response)) == (404, "NAME_UNKNOWN")


def test_a_deleted_manifest_can_be_pushed_again(wire: Wire) -> None:
    """What was deleted comes back with the next push."""
    manifest = wire.push_image(NAME, "1.0")
    wire.http.delete(url(digest_of(manifest)))
    wire.push(NAME, "1.0", manifest)
    assert wire.http.get(url("1.0")).data == manifest


def test_a_subject_is_acknowledged(wire: Wire) -> None:
    """A manifest with a subject, there or not, answers with OCI-Subject."""
    subject = make_descriptor(b"missing", MANIFEST)
    response = wire.put(NAME, "1.0", make_image_index(subject=subject))
    assert (response.status_code, response.headers["OCI-Subject"]) == (201, subject["digest"])


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"[]", b'{"manifests": {}}', b'{"manifests": [{}]}'])
def test_a_torn_list_is_an_error_and_no_loss(wire: Wire, directory: Path, damage: bytes) -> None:
    """If index.json can't be parsed, every request answers 500 with a sentence, and nothing overwrites it."""
    wire.push(NAME, "1.0", make_image_index())
    path = directory / NAME / "index.json"
    whole = path.read_bytes()
    path.write_bytes(damage)
    for response in (
        wire.http.get(url("1.0")),
        wire.http.get(f"/v2/{NAME}/tags/list"),
        wire.put(NAME, "2.0", make_image_index(annotations={"a": "b"})),
        wire.http.delete(url("1.0")),
    ):
        assert (response.status_code, code_of(response)) == (500, "UNKNOWN")
        assert "repair" in response.text
    assert path.read_bytes() == damage
    path.write_bytes(whole)
    assert wire.tags(NAME) == ["1.0"]


@pytest.mark.parametrize("entry", [1, {"digest": "x"}, {"digest": digest_of(b""), "mediaType": 1, "size": 2}])
def test_a_list_with_a_wrong_entry_is_an_error(wire: Wire, directory: Path, entry: object) -> None:
    """An entry that is no descriptor makes the list unreadable, rather than shorter."""
    wire.push(NAME, "1.0", make_image_index())
    (directory / NAME / "index.json").write_text(json.dumps({"manifests": [entry]}))
    assert wire.http.get(url("1.0")).status_code == 500


@pytest.mark.parametrize("damage", [b"", b"{}", None], ids=["empty", "changed", "lost"])
def test_a_torn_manifest_is_never_served(wire: Wire, directory: Path, damage: bytes | None) -> None:
    """A manifest whose bytes changed or are missing answers 500. Pushing it again repairs it."""
    document = make_image_index()
    digest = wire.push(NAME, "1.0", document)
    path = directory / NAME / "blobs" / digest.replace(":", "/")
    path.unlink() if damage is None else path.write_bytes(damage)
    assert wire.http.get(url("1.0")).status_code == 500
    wire.push(NAME, "1.0", document)
    assert wire.http.get(url("1.0")).data == document


@pytest.mark.parametrize("kept", [0, 3], ids=["empty", "short"])
def test_a_torn_blob_is_not_built_upon(wire: Wire, directory: Path, kept: int) -> None:
    """A manifest that needs a truncated blob isn't stored. The blob counts as absent, and can be pushed."""
    digest = wire.push_blob(NAME, b"layer")
    wire.push_blob(NAME, b"{}")
    (directory / NAME / "blobs" / digest.replace(":", "/")).write_bytes(b"layer"[:kept])
    response = wire.put(NAME, "1.0", make_manifest(b"{}", b"layer"))
    assert (response.status_code, code_of(response)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert wire.http.head(f"/v2/{NAME}/blobs/{digest}").status_code == 404
    wire.push_blob(NAME, b"layer")
    wire.push(NAME, "1.0", make_manifest(b"{}", b"layer"))


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "mkdir"])
def test_a_full_disk_leaves_the_tag_as_it_was(wire: Wire, steps: Steps, operation: str) -> None:
    """PUT answers 507, and the tag isn't changed."""
    wire.push(NAME, "1.0", make_image_index())
    steps.trouble[operation] = OSError(errno.ENOSPC, "no room")
    other = make_image_index(annotations={"a": "b"})
    reference = digest_of(other, "sha512") if operation == "mkdir" else "1.0"  # a folder that isn't there yet
    assert wire.put(NAME, reference, other).status_code == 507
    assert wire.http.get(url("1.0")).data == make_image_index()
    steps.trouble.clear()
    assert wire.put(NAME, reference, other).status_code == 201


def test_what_other_programs_wrote_survives(wire: Wire, directory: Path) -> None:
    """Names that aren't tags, and foreign keys and annotations, stay in index.json."""
    wire.push(NAME, "1.0", make_image_index())
    path = directory / NAME / "index.json"
    listed = json.loads(path.read_bytes())
    foreign = dict(
        listed["manifests"][0], annotations={"org.opencontainers.image.ref.name": "example.org/a:1"}
    )
    listed |= {
        "annotations": {"a": "b"},
        "manifests": [*listed["manifests"], foreign, foreign | {"platform": {}}],
    }
    listed["manifests"][-1] = dict(foreign, annotations=None, x=1)
    path.write_text(json.dumps(listed))
    assert wire.tags(NAME) == ["1.0"]
    wire.push(NAME, "2.0", make_image_index(annotations={"a": "b"}))
    after = json.loads(path.read_bytes())
    assert after["annotations"] == {"a": "b"}
    assert all(entry in after["manifests"] for entry in listed["manifests"])


def test_untagged_entry_keeps_foreign_annotations(wire: Wire, directory: Path) -> None:
    """Deleting a tag removes only its name."""
    wire.push(NAME, "1.0", make_image_index())
    path = directory / NAME / "index.json"
    listed = json.loads(path.read_bytes())
    listed["manifests"][0]["annotations"]["theirs"] = "x"
    path.write_text(json.dumps(listed))
    wire.http.delete(url("1.0"))
    assert json.loads(path.read_bytes())["manifests"][0]["annotations"] == {"theirs": "x"}


def test_what_another_process_writes_is_seen_at_once(wire: Wire, directory: Path) -> None:
    """index.json is read again whenever the file has changed, however quickly."""
    other = Wire(create_registry_app(directory, htpasswd=None, local_only=False).test_client())
    for number in range(30):
        document = make_image_index(annotations={"number": f"{number:03}"})
        writer, reader = (wire, other) if number % 2 else (other, wire)
        writer.push(NAME, "1.0", document)
        assert reader.http.get(url("1.0")).data == document


def test_more_repositories_than_memory_keeps(wire: Wire) -> None:
    """The indexes of a few repositories are cached; others are read again."""
    for _ in range(2):
        for number in range(70):
            wire.push(f"acme/number{number}", "1.0", make_image_index())
    assert wire.tags("acme/number0") == ["1.0"]


def test_a_manifest_that_others_made_too_large_is_an_error(wire: Wire, directory: Path) -> None:
    """A manifest over 4 MiB, which only another program can write, isn't read into memory."""
    digest = wire.push(NAME, "1.0", make_image_index())
    with (directory / NAME / "blobs" / digest.replace(":", "/")).open("r+b") as file:
        file.truncate(4_194_305)
    response = wire.http.get(url("1.0"))
    assert (response.status_code, code_of(response)) == (500, "UNKNOWN")
    assert "4194304" in response.text
