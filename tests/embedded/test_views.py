"""Listing tags, repositories and referrers, page by page."""

import json

import pytest

from tests.embedded.builders import (
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

NAME = "acme/hello"
TAGS = ["0.1", "1.0", "1.10", "1.9", "Z", "_", "a"]


@pytest.fixture
def tagged(wire: Wire) -> Wire:
    for tag in reversed(TAGS):
        wire.push(NAME, tag, make_image_index())
    return wire


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_says_that_this_is_a_registry(wire: Wire, path: str, method: str) -> None:
    """GET /v2/ answers 200, JSON, and the header that docker looks for."""
    response = wire.http.open(path, method=method)
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_tags_are_sorted(tagged: Wire) -> None:
    """All tags, in the order of their characters, and no Link."""
    response = tagged.http.get(f"/v2/{NAME}/tags/list")
    assert response.get_json() == {"name": NAME, "tags": TAGS}
    assert "Link" not in response.headers


@pytest.mark.parametrize(
    ("query", "tags", "link"),
    [
        ("n=3", TAGS[:3], "last=1.10&n=3"),
        ("n=3&last=1.10", TAGS[3:6], "last=_&n=3"),
        ("n=3&last=_", TAGS[6:], None),
        ("n=7", TAGS, None),
        ("n=0", [], None),
        ("last=1.1", TAGS[2:], None),
        ("last=zzz", [], None),
        ("n=999999", TAGS, None),
    ],
)
def test_tags_come_in_pages(tagged: Wire, query: str, tags: list[str], link: str | None) -> None:
    """`n` limits a page, `last` goes on after a tag, whether there or not; Link leads to the next page."""
    response = tagged.http.get(f"/v2/{NAME}/tags/list?{query}")
    assert response.get_json()["tags"] == tags
    expected = None if link is None else f'</v2/{NAME}/tags/list?{link}>; rel="next"'
    assert response.headers.get("Link") == expected


@pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "9" * 20, "²"])
def test_a_bad_n_is_refused(tagged: Wire, n: str) -> None:
    """An `n` that is no number answers 400."""
    response = tagged.http.get(f"/v2/{NAME}/tags/list", query_string={"n": n})
    assert (response.status_code, code_of(response)) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize("name", ["acme/other", "acme"])
def test_a_repository_that_was_never_pushed_to_is_unknown(tagged: Wire, name: str) -> None:
    """Tags of an unknown repository answer 404; so does one in which only a blob lies yet."""
    tagged.push_blob("acme/other", b"layer")
    response = tagged.http.get(f"/v2/{name}/tags/list")
    assert (response.status_code, code_of(response)) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    "name", ["Acme/hello", "acme/../hello", "acme/-x", "a" * 256, "acme/h\u00e4llo", "acme//hello"]
)
@pytest.mark.parametrize(
    "rest", ["tags/list", "blobs/uploads/", "manifests/1.0", "referrers/" + digest_of(b"")]
)
def test_a_bad_name_is_refused(wire: Wire, name: str, rest: str) -> None:
    """A name that isn't one answers 400, wherever it stands."""
    method = "POST" if rest == "blobs/uploads/" else "GET"
    response = wire.http.open(f"/v2/{name}/{rest}", method=method)
    assert (response.status_code, code_of(response)) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    "path", ["x", "tags/list", "acme/hello", "acme/hello/tags", "/x", "a/blobs/", "a\n/tags/list"]
)
def test_other_paths_are_not_found(wire: Wire, path: str) -> None:
    """What is no path of the API answers 404 with the standard body."""
    response = wire.http.get(f"/v2/{path}")
    assert (response.status_code, code_of(response)) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "", "GET, HEAD"),
        ("OPTIONS", "_catalog", "GET"),
        ("DELETE", "acme/hello/tags/list", "GET, HEAD"),
        ("GET", "acme/hello/blobs/uploads/", "POST"),
        ("PATCH", "acme/hello/manifests/1.0", "GET, HEAD, PUT, DELETE"),
        ("PUT", f"acme/hello/blobs/{digest_of(b'')}", "GET, HEAD, DELETE"),
    ],
)
def test_other_methods_are_not_allowed(wire: Wire, method: str, path: str, allowed: str) -> None:
    """A method that a path doesn't know answers 405, and Allow names the ones it does."""
    response = wire.http.open(f"/v2/{path}", method=method)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)
    assert code_of(response) == "UNSUPPORTED"


def test_repositories_nest(wire: Wire) -> None:
    """Repositories lie beside, below and between each other's files, and each keeps to itself."""
    names = [
        "acme",
        "acme/blobs",
        "acme/blobs/sha256",
        "acme/hello",
        "acme/hello/world",
        "acme/index.json",
        "blobs",
        "oci-layout",
    ]
    for name in names:
        wire.push_image(name, "only", content=name.encode())
    assert wire.http.get("/v2/_catalog").get_json() == {"repositories": names}
    for name in names:
        assert wire.tags(name) == ["only"]
        layer = wire.http.get(f"/v2/{name}/manifests/only").get_json()["layers"][0]
        assert wire.http.get(f"/v2/{name}/blobs/{layer['digest']}").data == name.encode()


@pytest.mark.parametrize(
    ("query", "found", "link"),
    [("n=1", ["a"], "last=a&n=1"), ("n=1&last=a", ["b/c"], None), ("last=b/c", [], None)],
)
def test_the_catalog_comes_in_pages(wire: Wire, query: str, found: list[str], link: str | None) -> None:
    """Repositories are listed as tags are."""
    for name in ("b/c", "a"):
        wire.push(name, "1.0", make_image_index())
    response = wire.http.get(f"/v2/_catalog?{query}")
    assert response.get_json() == {"repositories": found}
    assert response.headers.get("Link") == (None if link is None else f'</v2/_catalog?{link}>; rel="next"')


def test_an_empty_registry_has_an_empty_catalog(wire: Wire) -> None:
    """Before the first push there are no repositories."""
    assert wire.http.get("/v2/_catalog").get_json() == {"repositories": []}


SUBJECT = make_manifest(annotations={"the": "subject"})


@pytest.fixture
def referred(wire: Wire) -> Wire:
    """A subject with four referrers: an artifact, an image, and image indexes with and without a type."""
    wire.push_blob(NAME, b"{}")
    wire.push(NAME, "subject", SUBJECT)
    descriptor = make_descriptor(SUBJECT, MANIFEST)
    wire.push(NAME, None, make_manifest(artifactType="a/b", annotations={"k": "v"}, subject=descriptor))
    wire.push(NAME, "tagged", make_image_index(artifactType="c/d", subject=descriptor))
    wire.push(NAME, None, make_manifest(subject=descriptor))
    wire.push(NAME, None, make_image_index(subject=descriptor))
    return wire


def referrers(wire: Wire, digest: str, **query: str) -> dict[str, dict[str, object]]:
    """The descriptors by digest, of an answer that is a valid image index."""
    response = wire.http.get(f"/v2/{NAME}/referrers/{digest}", query_string=query)
    assert (response.status_code, response.content_type) == (200, IMAGE_INDEX)
    answer = response.get_json()
    assert (answer["schemaVersion"], answer["mediaType"]) == (2, IMAGE_INDEX)
    assert response.headers.get("OCI-Filters-Applied") == (
        "artifactType" if "artifactType" in query else None
    )
    return {descriptor["digest"]: descriptor for descriptor in answer["manifests"]}


def test_referrers_are_listed_with_type_and_annotations(referred: Wire) -> None:
    """Each manifest with this subject is described, an image by the type of its config."""
    subject = make_descriptor(SUBJECT, MANIFEST)
    documents = {
        make_manifest(artifactType="a/b", annotations={"k": "v"}, subject=subject): ("a/b", {"k": "v"}),
        make_image_index(artifactType="c/d", subject=subject): ("c/d", None),
        make_manifest(subject=subject): (EMPTY, None),
        make_image_index(subject=subject): (None, None),
    }
    found = referrers(referred, digest_of(SUBJECT))
    assert set(found) == {digest_of(document) for document in documents}
    for document, (artifact_type, annotations) in documents.items():
        descriptor = found[digest_of(document)]
        assert descriptor["size"] == len(document)
        assert descriptor["mediaType"] == json.loads(document)["mediaType"]
        assert (descriptor.get("artifactType"), descriptor.get("annotations")) == (artifact_type, annotations)


@pytest.mark.parametrize(("artifact_type", "count"), [("a/b", 1), ("c/d", 1), (EMPTY, 1), ("x/y", 0)])
def test_referrers_of_one_type(referred: Wire, artifact_type: str, count: int) -> None:
    """`artifactType` filters, and a header says so."""
    found = referrers(referred, digest_of(SUBJECT), artifactType=artifact_type)
    assert [descriptor["artifactType"] for descriptor in found.values()] == [artifact_type] * count


def test_nothing_refers_to_the_unknown(wire: Wire) -> None:
    """An unknown digest, and an unknown repository, answer with an empty list."""
    assert referrers(wire, digest_of(b"other")) == {}
    wire.push(NAME, "1.0", make_image_index())
    assert referrers(wire, digest_of(b"other")) == {}


def test_referrers_outlive_a_lost_tag_and_end_with_the_manifest(referred: Wire) -> None:
    """A referrer that loses its tag still refers; one that is deleted doesn't."""
    index = make_image_index(artifactType="c/d", subject=make_descriptor(SUBJECT, MANIFEST))
    referred.http.delete(f"/v2/{NAME}/manifests/tagged")
    assert digest_of(index) in referrers(referred, digest_of(SUBJECT))
    referred.http.delete(f"/v2/{NAME}/manifests/{digest_of(index)}")
    assert digest_of(index) not in referrers(referred, digest_of(SUBJECT))


@pytest.mark.parametrize("query", ["", "?artifactType=a/b"])
def test_many_referrers_come_in_pages(wire: Wire, query: str) -> None:
    """A list that would pass 4 MiB goes on behind a Link."""
    subject = make_descriptor(b"missing", MANIFEST)
    pushed = {
        wire.push(
            NAME,
            None,
            make_image_index(artifactType="a/b", subject=subject, annotations={"n": str(n) * 3_000_000}),
        )
        for n in range(3)
    }
    found, url = [], f"/v2/{NAME}/referrers/{subject['digest']}{query}"
    while url:
        response = wire.http.get(url)
        found.append([descriptor["digest"] for descriptor in response.get_json()["manifests"]])
        url = response.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert [len(page) for page in found] == [1, 1, 1]
    assert {digest for page in found for digest in page} == pushed


def test_a_bad_digest_has_no_referrers(wire: Wire) -> None:
    """Referrers of what is no digest answer 400."""
    response = wire.http.get(f"/v2/{NAME}/referrers/latest")
    assert (response.status_code, code_of(response)) == (400, "DIGEST_INVALID")
