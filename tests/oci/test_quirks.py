"""The quirks of registries: a test for each row of pyoci.oci.quirks.QUIRKS that has none elsewhere."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path
from typing import Any

import pytest
import responses

from pyoci.errors import (
    Denied,
    InvalidRequest,
    NotFound,
    NotSupported,
    ProtocolError,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from pyoci.net.messages import Call
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Anonymous, Bearer
from pyoci.oci.errors import RegistryRateLimited, RegistryRefused
from pyoci.oci.models import IMAGE_INDEX, Document
from pyoci.oci.quirks import ACCEPT, QUIRKS, Meaning, Quirk, meant_status
from pyoci.oci.references import Registry, Repository, Tag
from pyoci.oci.session import Gateway
from tests.clock import Clock
from tests.net.servers import Connection, Server, answer
from tests.oci.conftest import (
    BASE,
    INDEX_BODY,
    REPOSITORY,
    SOMEBODY,
    TAG,
    TOKENS,
    MakeSession,
    bearer,
    sent,
    sha256,
    trips,
)

BLOB = b"wheel"
DIGEST = sha256(BLOB)
TAGS = f"{BASE}/tags/list"
MANIFEST = f"{BASE}/manifests/1.0"


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.test)
def test_a_row_names_its_module_and_its_test(quirk: Quirk) -> None:
    """The module exists, and the test is a function in the file that the row names."""
    file, _, name = quirk.test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert (ROOT / "pyoci" / quirk.module).is_file()
    assert all((quirk.registries, quirk.symptom, quirk.handling))


ABSENT_TAG_IS_A_400 = Meaning(400, 404, methods=("GET", "HEAD"), operation="manifest")


@pytest.mark.parametrize(
    ("method", "operation", "status", "codes", "meant"),
    [
        pytest.param("HEAD", "manifest", 400, (), 404, id="the row applies"),
        pytest.param("PUT", "manifest", 400, (), 400, id="another method"),
        pytest.param("GET", "blob", 400, (), 400, id="another kind of call"),
        pytest.param("GET", "manifest", 403, (), 403, id="another status"),
        pytest.param("DELETE", "manifest", 400, ("UNSUPPORTED",), 405, id="the code of the second row"),
        pytest.param("DELETE", "manifest", 400, ("DENIED",), 400, id="another code"),
    ],
)
def test_a_status_means_what_its_row_says(
    method: str, operation: str, status: int, codes: tuple[str, ...], meant: int
) -> None:
    """A row applies to a call if all of its fields do."""
    rows = (ABSENT_TAG_IS_A_400, Meaning(400, 405, code="UNSUPPORTED"))
    call = Call(method=method, url=MANIFEST, operation=operation)
    assert meant_status(status, call, codes, rows) == meant


def test_a_row_for_one_kind_of_call_needs_the_call() -> None:
    """A refusal keeps its status if its call is unknown, as that of a token server."""
    assert meant_status(400, None, (), (ABSENT_TAG_IS_A_400,)) == 400


def test_only_one_place_says_what_means_absent() -> None:
    """No other module of pyoci.oci compares a status with 404. So a registry that answers otherwise needs one
    row.
    """
    comparing = {
        path.name
        for path in (ROOT / "pyoci" / "oci").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        if any(isinstance(part, ast.Constant) and part.value == 404 for part in ast.walk(node))
    }
    assert comparing == {"errors.py", "quirks.py"}  # is_absence, and what may refuse a page size


@pytest.mark.parametrize(
    ("listed", "is_read"), [("1!3.0", True), ("1.0+build", True), ("sha256:00", False), ("a b", False)]
)
def test_tags_outside_the_grammar(listed: str, is_read: bool) -> None:
    """zot and go-containerregistry list such tags. Texts that can't be tags are ignored."""
    tag = Tag.listed(listed)
    assert (tag is not None and str(tag) == listed) is is_read
    assert tag is None or not tag.is_grammatical


def refused(code: str, message: str = "words") -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message}]}


def test_a_file_needs_no_child_manifest(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """docker-registry 2.8.2 (`garbage-collect --delete-untagged`): a blob is read by its digest, without its
    manifest, which the clean-up has removed.
    """
    answers.get(f"{BASE}/manifests/{sha256(b'child')}", status=404)
    answers.get(f"{BASE}/blobs/{DIGEST}", body=BLOB)
    assert b"".join(make_session().open_blob(REPOSITORY, DIGEST).pieces) == BLOB
    assert len(answers.calls) == 1


@pytest.mark.parametrize(
    ("registry", "status", "code", "kind"),
    [
        ("ghcr.io and Docker Hub", 405, "UNSUPPORTED", NotSupported),
        ("docker-registry 2.8.2, a tag", 400, "UNSUPPORTED", NotSupported),
        ("Harbor and Pulp, a tag", 400, "BAD_REQUEST", RegistryRefused),
        ("Harbor, a child", 412, "PRECONDITION", Denied),
        ("zot, a child", 405, "", NotSupported),
        ("Google AR, children first", 400, "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE", RegistryRefused),
        ("deleted already", 404, "MANIFEST_UNKNOWN", NotFound),
    ],
)
def test_refused_deletes_are_distinguished(
    answers: responses.RequestsMock,
    make_session: MakeSession,
    registry: str,
    status: int,
    code: str,
    kind: type[Exception],
) -> None:
    """ghcr.io, Docker Hub, docker-registry 2.8.2, Harbor, Pulp, zot, Google AR."""
    answers.delete(MANIFEST, json=refused(code), status=status)
    with pytest.raises(kind):
        make_session(publishing=True).delete(REPOSITORY, TAG)


def test_basic_only(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """AWS ECR has no token server; its realm isn't requested."""
    answers.get(TAGS, status=401, headers={"WWW-Authenticate": f'Basic realm="{TOKENS}",service="ecr"'})
    answers.get(TAGS, json={"tags": []})
    make_session().tags(REPOSITORY)
    assert sent(answers) == [None, SOMEBODY.header()]


def test_basic_after_a_bad_bearer(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """Harbor. The table of challenges is in test_challenges.py."""
    answers.get(TAGS, status=401, headers=bearer())
    answers.get(TAGS, status=401, headers={"WWW-Authenticate": 'Basic realm="harbor"'})
    answers.get(TAGS, json={"tags": []})
    answers.get(TOKENS, json={"token": "bad"})
    make_session().tags(REPOSITORY)
    assert sent(answers) == [None, SOMEBODY.header(), "Bearer bad", SOMEBODY.header()]


@pytest.mark.parametrize(
    ("registry", "status", "headers", "credentials", "kind"),
    [
        ("ghcr.io, AWS ECR, Quay, zot", 404, {}, SOMEBODY, NotFound),
        ("Docker Hub", 401, bearer(), SOMEBODY, Unauthorized),
        ("Harbor, missing project", 401, {"WWW-Authenticate": ""}, SOMEBODY, Unauthorized),
        ("ghcr.io, bad token", 403, {}, Bearer("bad"), Denied),
        ("any, nobody signed in", 403, {}, Anonymous(), Unauthorized),
    ],
)
def test_no_such_repository(
    answers: responses.RequestsMock,
    make_session: MakeSession,
    registry: str,
    status: int,
    headers: dict[str, str],
    credentials: Any,
    kind: type[Exception],
) -> None:
    """ghcr.io, Docker Hub, Harbor: 401, 403 and 404 are raised as their own kinds; the store decides what
    they mean.
    """
    answers.get(MANIFEST, status=status, headers=headers)
    answers.get(TOKENS, json={"token": "abc"})
    with pytest.raises(kind):
        make_session(credentials, publishing=True).pull(REPOSITORY, TAG)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_first_upload(answers: responses.RequestsMock, make_session: MakeSession, status: int) -> None:
    """Docker Hub: a blob is pushed to a repository that doesn't exist yet, whatever HEAD answers. Pull and
    push are requested together.
    """
    asked: list[str] = []

    def token(request: Any) -> tuple[int, dict[str, str], str]:
        asked.append(request.params["scope"])
        return 200, {}, '{"token": "abc"}'

    answers.add_callback("GET", TOKENS, token)
    answers.head(f"{BASE}/blobs/{DIGEST}", status=status, headers=bearer())
    answers.post(f"{BASE}/blobs/uploads/", status=202, headers={"Location": "/u"})
    answers.put("https://registry.example/u", status=201)
    make_session(publishing=True).push_blob(REPOSITORY, io.BytesIO(BLOB), len(BLOB), DIGEST)
    assert set(asked) <= {"repository:acme/hello_world:pull,push"}
    assert trips(answers)[-1] == "PUT https://registry.example/u"


def test_caller_chooses_the_registry() -> None:
    """Any registry at a public address. The table is in test_addresses.py."""
    transport = Transport()
    named = Registry.parse("127.0.0.1")
    with pytest.raises(Unreachable, match="PYOCI_REGISTRIES"):
        Gateway(transport, ttl=60).session(named, SOMEBODY).tags(Repository.parse(named, "a/b"))
    transport.close()


@pytest.mark.parametrize(
    ("registry", "location", "url"),
    [
        ("Gitea: relative", "/v2/x/u?a=b", "https://registry.example/v2/x/u?a=b&digest="),
        ("docker-registry: absolute", f"{BASE}/u?_state=%2B", f"{BASE}/u?_state=%2B&digest="),
        (
            "behind a proxy that ends TLS: http",
            "http://registry.example/u",
            "https://registry.example/u?digest=",
        ),
    ],
)
def test_locations(
    answers: responses.RequestsMock, make_session: MakeSession, registry: str, location: str, url: str
) -> None:
    """Gitea, docker-registry: the query is kept, the digest is appended, and http becomes https."""
    answers.head(f"{BASE}/blobs/{DIGEST}", status=404)
    answers.post(f"{BASE}/blobs/uploads/", status=202, headers={"Location": location})
    answers.put(url.partition("?")[0], status=201)
    make_session().push_blob(REPOSITORY, io.BytesIO(BLOB), len(BLOB), DIGEST)
    assert str(answers.calls[-1].request.url).startswith(url)


def test_blobs_are_not_decompressed(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """Harbor and others: storage hosts send Content-Encoding: gzip with a tar.gz, which must not be unpacked.
    Cookies aren't sent back.
    """
    packed = b"\x1f\x8b\x08\x00packed"
    headers = {"Content-Encoding": "gzip", "Set-Cookie": "sid=1"}
    answers.get(f"{BASE}/blobs/{sha256(packed)}", body=packed, headers=headers)
    for _ in range(2):
        assert b"".join(make_session().open_blob(REPOSITORY, sha256(packed)).pieces) == packed
    request = answers.calls[1].request
    assert request.headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in request.headers


def test_accept_names_all_types(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """docker-registry 2.8.2 answers 404 for an image index unless its type is named. Parameters of
    Content-Type are ignored; HTML with a 200 (Google AR) is an error.
    """

    def manifest(request: Any) -> tuple[int, dict[str, str], bytes]:
        known = IMAGE_INDEX in request.headers["Accept"]
        return 200 if known else 404, {"Content-Type": f"{IMAGE_INDEX}; charset=utf-8"}, INDEX_BODY

    answers.add_callback("GET", MANIFEST, manifest)
    assert make_session().pull(REPOSITORY, TAG).image_index() is not None
    assert "application/vnd.oci.image.manifest.v1+json" in ACCEPT


@pytest.mark.parametrize(
    ("registry", "body", "tags"),
    [
        ("docker-registry 2.8.2, empty", {"tags": None}, ()),
        ("docker-registry 2.8.2, unsorted", {"tags": ["b", "a"]}, ("b", "a")),
        ("Artifactory, digests", {"tags": ["sha256:00"]}, ("sha256:00",)),
        ("Google AR, extra keys", {"tags": ["a"], "child": [], "manifest": {}}, ("a",)),
    ],
)
def test_tags(
    answers: responses.RequestsMock,
    make_session: MakeSession,
    registry: str,
    body: dict[str, Any],
    tags: tuple[str, ...],
) -> None:
    """docker-registry, Artifactory, Google AR. The tests of pages are in test_listing.py."""
    answers.get(TAGS, json=body)
    assert make_session().tags(REPOSITORY) == tags
    assert answers.calls[0].request.headers["Accept"] == "application/json"


def test_without_n(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """AWS ECR refuses a large n: 1000 is requested, and after a refusal none."""
    answers.get(f"{TAGS}?n=1000", json=refused("UNSUPPORTED"), status=400)
    answers.get(TAGS, json={"tags": ["a"]}, match=[responses.matchers.query_param_matcher({})])
    assert make_session().tags(REPOSITORY) == ("a",)


def test_one_post_and_one_put(answers: responses.RequestsMock, make_session: MakeSession) -> None:
    """ghcr.io (416 for a PATCH over 4 MiB), Google AR (411, no chunks), docker-registry 2.8.2 (a POST with a
    digest stores nothing): a POST without a body, and a PUT with its length.
    """
    answers.head(f"{BASE}/blobs/{DIGEST}", status=404)
    answers.post(f"{BASE}/blobs/uploads/", status=202, headers={"Location": "/u"})
    answers.put("https://registry.example/u", status=201)
    make_session().push_blob(REPOSITORY, io.BytesIO(BLOB), len(BLOB), DIGEST)
    lengths = [call.request.headers.get("Content-Length") for call in answers.calls]
    assert [call.request.method for call in answers.calls] == ["HEAD", "POST", "PUT"]
    assert lengths == [None, "0", str(len(BLOB))]
    assert not any("Transfer-Encoding" in call.request.headers for call in answers.calls)


def test_digests_are_verified_in_both_directions(
    answers: responses.RequestsMock, make_session: MakeSession
) -> None:
    """Pulp accepts a wrong digest: the digest that it reports is compared, and so are the bytes that it
    sends.
    """
    session, document = make_session(), Document(IMAGE_INDEX, INDEX_BODY)
    other = {"Docker-Content-Digest": str(sha256(b"other"))}
    answers.put(MANIFEST, status=201, headers=other)
    answers.get(MANIFEST, body=INDEX_BODY, headers=other | {"Content-Type": IMAGE_INDEX})
    answers.get(f"{BASE}/blobs/{DIGEST}", body=b"other")
    with pytest.raises(ProtocolError, match="stored"):
        session.push(REPOSITORY, TAG, document)
    with pytest.raises(ProtocolError, match="bytes that don't match"):
        session.pull(REPOSITORY, TAG)
    with pytest.raises(ProtocolError, match="bytes that don't match"):
        list(session.open_blob(REPOSITORY, DIGEST).pieces)


def test_a_range_past_the_end() -> None:
    """docker-registry 2.8.2 announces a body with its 416 that never arrives."""

    def handle(connection: Connection) -> None:
        while connection.request():
            connection.send(answer(status="416 Range Not Satisfiable", length=1000))

    with Server(handle) as server:
        transport = Transport()
        named = Registry.parse(server.url, listed=True)
        session = Gateway(transport, ttl=60).session(named, Anonymous())
        with pytest.raises(RegistryRefused, match="416"):
            session.open_blob(Repository.parse(named, "a/b"), DIGEST, range(10, 20))
        transport.close()


DETAIL = "http: request body too large"
SMALL, LARGE = 1000, 5 * 1024 * 1024


@pytest.mark.parametrize(
    ("registry", "status", "code", "detail", "size", "kind"),
    [
        ("docker-registry 2.8, distribution 3", 400, "MANIFEST_INVALID", DETAIL, LARGE, TooLarge),
        ("zot", 413, "MANIFEST_INVALID", {"description": "several checks"}, LARGE, TooLarge),
        ("a registry whose limit is a conflict", 409, "MANIFEST_INVALID", None, LARGE, TooLarge),
        ("a registry with a lower limit", 400, "SIZE_INVALID", "manifest exceeds 1 kB", SMALL, TooLarge),
        ("a proxy", 413, "", None, SMALL, TooLarge),
        ("a manifest that is invalid", 400, "MANIFEST_INVALID", "missing config", SMALL, InvalidRequest),
        ("a lost child of a large image index", 400, "MANIFEST_BLOB_UNKNOWN", None, LARGE, InvalidRequest),
        ("Quay, an immutable tag", 409, "TAG_IMMUTABLE", None, LARGE, Denied),
    ],
)
def test_a_manifest_over_the_limit(
    answers: responses.RequestsMock,
    make_session: MakeSession,
    registry: str,
    status: int,
    code: str,
    detail: Any,
    size: int,
    kind: type[Exception],
) -> None:
    """`manifest invalid` alone doesn't say that a version has too many files for this registry."""
    entry = {"code": code, "message": code.lower().replace("_", " "), "detail": detail}
    answers.put(MANIFEST, json={"errors": [entry]}, status=status)
    document = Document(IMAGE_INDEX, b" " * size)
    with pytest.raises(kind) as caught:
        make_session(publishing=True).push(REPOSITORY, TAG, document)
    sentence = f"the manifest has {size} bytes, which is over the registry's limit"
    assert (sentence in str(caught.value)) is (kind is TooLarge)


@pytest.mark.parametrize(
    ("registry", "headers", "message", "seconds"),
    [
        ("seconds", {"Retry-After": "90"}, "", 90),
        ("a date", {"Retry-After": "Fri, 20 Nov 2099 12:00:00 GMT"}, "", 86400),
        ("ghcr.io", {"Retry-After": "x"}, "retry-after: 1m1.5s, allowed: 44000/minute", 62),
        ("nothing said", {}, "slow down", None),
    ],
)
def test_429(
    answers: responses.RequestsMock,
    make_session: MakeSession,
    clock: Clock,
    registry: str,
    headers: dict[str, str],
    message: str,
    seconds: int | None,
) -> None:
    """ghcr.io: a wait that is longer than the time limit is passed on in whole seconds."""
    answers.get(TAGS, body=json.dumps(refused("TOOMANYREQUESTS", message)), status=429, headers=headers)
    with pytest.raises(RegistryRateLimited) as caught:
        make_session().tags(REPOSITORY)
    assert caught.value.retry_after == seconds
    assert sum(clock.slept) < 10


def test_a_short_429_is_waited_for(
    answers: responses.RequestsMock, make_session: MakeSession, clock: Clock
) -> None:
    """Within the ten seconds of a call, the caller sees only a delay."""
    answers.get(TAGS, status=429, headers={"Retry-After": "3"})
    answers.get(TAGS, json={"tags": ["a"]})
    assert make_session().tags(REPOSITORY) == ("a",)
    assert clock.slept == [3]
