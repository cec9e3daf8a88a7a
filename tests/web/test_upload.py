"""The legacy upload form, through HTTP."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyoci.errors import InvalidRequest, Unauthorized, Withdrawn
from pyoci.store.models import ATTESTATIONS_LIMIT, Upload
from pyoci.web.body import PIECE, Patience, RequestBody
from pyoci.web.fields import SINGLE_LIMIT, TEXT_LIMIT
from pyoci.web.multipart import PARTS_LIMIT, Parts
from pyoci.web.upload import received
from tests.web.conftest import LoggedEvents, MakeApp
from tests.web.doubles import MemoryStore
from tests.web.uploads import BOUNDARY, CONTENT, ROOT, WHEEL, make_form, make_part, post

MIB = 1024 * 1024
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("path", "repository"),
    [
        (ROOT, "ghcr.io/acme/hello_world"),
        (ROOT.rstrip("/"), "ghcr.io/acme/hello_world"),
        (f"{ROOT}b/c", "ghcr.io/acme/b/c/hello_world"),
        (f"{ROOT}+simple/", "ghcr.io/acme/hello_world"),
        ("/lab/acme/", "http://10.0.0.5:5000/acme/hello_world"),
    ],
)
def test_upload(client: FlaskClient, store: MemoryStore, path: str, repository: str) -> None:
    """To a root, with and without a final slash, and never redirected. The answer names the repository."""
    answer = post(client, make_form(), path)
    assert (answer.status_code, answer.text) == (200, f"{WHEEL} is published in {repository}")
    assert answer.headers["Cache-Control"] == "no-store"
    (upload,) = store.uploads
    assert (upload.filename, upload.name, upload.version) == (WHEEL, "hello-world", "1.0")
    assert (upload.size, upload.filetype) == (len(CONTENT), "bdist_wheel")
    assert upload.digests == {"sha256": DIGEST}


def test_namespace(client: FlaskClient, store: MemoryStore) -> None:
    """The whole path, in lower case, is the namespace."""
    post(client, make_form(), "/ghcr.io/Acme/python/")
    assert store.calls == [("publish", "ghcr.io/acme/python")]


def test_identical_again(client: FlaskClient) -> None:
    """The same file again is a success, so skip-existing isn't needed."""
    assert [post(client, make_form()).status_code for _ in range(2)] == [200, 200]


class TestConflict:
    """A different file of the same name."""

    MESSAGE = f"File already exists ('{WHEEL}', with sha256 hash '{DIGEST}')."

    @pytest.fixture(autouse=True)
    def _first(self, client: FlaskClient) -> None:
        post(client, make_form())

    def test_text(self, client: FlaskClient) -> None:
        """The body and the reason phrase are the text that poetry, pdm and twine recognise."""
        answer = post(client, make_form(content=b"other", sha256_digest=None))
        assert (answer.status, answer.text) == (f"409 {self.MESSAGE}", self.MESSAGE)

    def test_json(self, client: FlaskClient) -> None:
        """uv reads `code`, only from application/json."""
        accept = "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"
        answer = post(client, make_form(content=b"other", sha256_digest=None), headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.status == f"409 {self.MESSAGE}"
        assert answer.json == {"code": f"409 {self.MESSAGE}", "message": self.MESSAGE, "title": "Conflict"}


class TestFields:
    """The fields of the form."""

    def test_all_of_them(self, client: FlaskClient, store: MemoryStore) -> None:
        """The store gets every field that it uses."""
        form = make_form(
            md5_digest="0" * 32,
            blake2_256_digest="A" * 64,
            classifiers=["Programming Language :: Python", "PyOCI :: Label :: a :: b"],
            project_urls=["Homepage, https://example.org", "Source, https://example.org/s"],
        )
        post(client, form)
        (upload,) = store.uploads
        assert upload.digests == {"sha256": DIGEST, "md5": "0" * 32, "blake2b_256": "a" * 64}
        assert upload.classifiers == ("Programming Language :: Python", "PyOCI :: Label :: a :: b")
        assert upload.project_urls == ("Homepage, https://example.org", "Source, https://example.org/s")

    @pytest.mark.parametrize("nothing", ["", "UNKNOWN", " UNKNOWN ", "\0", "  "])
    def test_empty_and_unknown_count_as_missing(
        self, client: FlaskClient, store: MemoryStore, nothing: str
    ) -> None:
        """pdm sends "" for None, and old tools send UNKNOWN."""
        form = make_form(
            sha256_digest=nothing,
            md5_digest=nothing,
            classifiers=[nothing, "A", nothing],
            filetype=nothing,
        )
        assert post(client, form).status_code == 200
        (upload,) = store.uploads
        assert (upload.digests, upload.filetype) == ({}, "")
        assert upload.classifiers == ("A",)

    def test_nul_is_dropped(self, client: FlaskClient, store: MemoryStore) -> None:
        """NUL is removed, because most storage can't hold it."""
        post(client, make_form(filetype="bdist\0_wheel"))
        assert store.uploads[0].filetype == "bdist_wheel"

    def test_unknown_and_repeated(self, client: FlaskClient, store: MemoryStore) -> None:
        """Unknown fields, and fields that are repeated with one value, are accepted."""
        form = make_form(name=["hello-world", "", "hello-world"], keywords=["a", "b"], nobody_knows="x")
        assert post(client, form).status_code == 200
        assert store.uploads[0].name == "hello-world"

    @pytest.mark.parametrize("value", [[">=3.9", ">=3.10"], b"\xff", ">" * (SINGLE_LIMIT + 1)])
    def test_requires_python_is_not_read(self, client: FlaskClient, value: Any) -> None:
        """It is read from the file's metadata, so a form isn't refused because of it."""
        assert post(client, make_form(requires_python=value)).status_code == 200

    def test_long_readme(self, client: FlaskClient) -> None:
        """A description of some MB and a thousand parts are accepted."""
        assert (
            post(client, make_form(description="x" * 3_000_000, classifiers=["a"] * 2000)).status_code == 200
        )

    def test_readme_in_any_encoding(self, client: FlaskClient) -> None:
        """Fields that PyOCI doesn't use may have any content."""
        assert post(client, make_form(description=b"\xff\xfe\x00")).status_code == 200

    @pytest.mark.parametrize("place", ["before", "after"])
    @pytest.mark.parametrize("sent", ["[]", ' [ {"version": 1, "a": "\\u00e9\u00e9"} ]\n'])
    def test_attestations(self, client: FlaskClient, store: MemoryStore, place: str, sent: str) -> None:
        """twine sends them before the content, uv after it. The store gets them unchanged."""
        part = make_part("attestations", sent)
        form = make_form(before=part) if place == "before" else make_form(after=part)
        assert post(client, form).status_code == 200
        assert store.uploads[0].attestations == sent

    @pytest.mark.parametrize("nothing", ["", "UNKNOWN", " "])
    def test_no_attestations(self, client: FlaskClient, store: MemoryStore, nothing: str) -> None:
        """An empty field is none."""
        assert post(client, make_form(attestations=nothing)).status_code == 200
        assert store.uploads[0].attestations == ""

    def test_signature(self, client: FlaskClient, logged: LoggedEvents) -> None:
        """twine sent signatures as files. They aren't stored, and the log says so."""
        extra = make_part("gpg_signature", b"\x01sig", filename=f"{WHEEL}.asc")
        assert post(client, make_form(after=extra)).status_code == 200
        (line,) = [line for line in logged if line["level"] == "debug"]
        assert line["fields"] == ("gpg_signature",)

    @pytest.mark.parametrize(
        "missing",
        [
            pytest.param({"protocol_version": None}, id="devpi push"),
            pytest.param({"filetype": None, "pyversion": None, "metadata_version": None}, id="flit"),
            pytest.param({"version": None}, id="curl, as for the Rust PyOCI"),
            pytest.param({"name": None, "version": None, "sha256_digest": None}, id="curl with less"),
            pytest.param(
                {"action": None, "protocol_version": None, "name": "", "version": "UNKNOWN"},
                id="nothing but the file",
            ),
        ],
    )
    def test_what_may_be_missing(
        self, client: FlaskClient, store: MemoryStore, missing: dict[str, Any]
    ) -> None:
        """The file has the same data."""
        assert post(client, make_form(**missing)).status_code == 200
        assert [upload.filename for upload in store.uploads] == [WHEEL]

    def test_blake2_of_distutils(self, client: FlaskClient, store: MemoryStore) -> None:
        """distutils of Python 3.8 to 3.11 sends 512 bits of blake2b, which are verified."""
        sent = hashlib.blake2b(CONTENT).hexdigest()
        assert post(client, make_form(blake2_256_digest=sent)).status_code == 200
        assert store.uploads[0].digests == {"sha256": DIGEST, "blake2b": sent}

    def test_content_type_of_content(self, client: FlaskClient, store: MemoryStore) -> None:
        """uv and flit send no type for the content, others do; it is ignored."""
        part = make_part(
            "content", CONTENT, filename=WHEEL, headers="Content-Type: application/octet-stream\r\n"
        )
        body = make_form().replace(make_part("content", CONTENT, filename=WHEEL), part)
        assert post(client, body).status_code == 200
        assert store.uploads[0].size == len(CONTENT)

    def test_preamble_and_epilogue(self, client: FlaskClient) -> None:
        """Text before the first boundary and after the last is ignored."""
        assert post(client, b"hello\r\n" + make_form() + b"bye").status_code == 200


# Each of these must be refused with nothing stored; the answer says what was wrong and what was expected.
BAD_FORMS = [
    pytest.param(b"", 400, "cut off", id="empty body"),
    pytest.param(f"--{BOUNDARY}--\r\n".encode(), 400, "no content", id="empty form"),
    pytest.param(
        make_form().replace(make_part("content", CONTENT, filename=WHEEL), b""),
        400,
        "no content",
        id="no content",
    ),
    pytest.param(make_form(protocol_version="2"), 400, "expected 1", id="wrong protocol version"),
    pytest.param(make_form(action="delete"), 400, "expected file_upload", id="wrong action"),
    pytest.param(make_form(action="submit"), 410, "expected file_upload", id="submit"),
    pytest.param(make_form(action="doc_upload"), 410, "expected file_upload", id="doc_upload"),
    pytest.param(
        make_form(after=make_part("content", b"2", filename=WHEEL)), 400, "two parts", id="two contents"
    ),
    pytest.param(make_form(name=["a", "b"]), 400, "several values for name", id="two names"),
    pytest.param(make_form(filename="a/b-1.0.tar.gz"), 400, "not a file name", id="slash in the file name"),
    pytest.param(make_form(filename="../b-1.0.tar.gz"), 400, "not a file name", id="dots in the file name"),
    pytest.param(make_form(filename="b\0-1.0.tar.gz"), 400, "not a file name", id="NUL in the file name"),
    pytest.param(make_form(filename="b\n-1.0.tar.gz"), 400, "line break", id="LF in the file name"),
    pytest.param(make_form(filename="b\r\n-1.0.tar.gz"), 400, "line break", id="CRLF in the file name"),
    pytest.param(
        make_form(filename="c:\\b-1.0.tar.gz"), 400, "not a file name", id="backslash in the file name"
    ),
    pytest.param(make_form(filename="b\x7f-1.0.tar.gz"), 400, "not a file name", id="DEL in the file name"),
    pytest.param(make_form(filename=""), 400, "no file name", id="empty file name"),
    pytest.param(
        make_form().replace(f'; filename="{WHEEL}"'.encode(), b""),
        400,
        "no file name",
        id="content as a field",
    ),
    pytest.param(make_form(sha256_digest="abc"), 400, "64 hexadecimal", id="short sha256"),
    pytest.param(make_form(sha256_digest="g" * 64), 400, "64 hexadecimal", id="sha256 that isn't hex"),
    pytest.param(make_form(blake2_256_digest="0" * 63), 400, "64 or 128 hexadecimal", id="short blake2"),
    pytest.param(make_form(blake2_256_digest="0" * 127), 400, "64 or 128 hexadecimal", id="long blake2"),
    pytest.param(make_form(md5_digest="0" * 33), 400, "32 hexadecimal", id="long md5"),
    pytest.param(make_form(attestations="{}"), 400, "JSON array", id="attestations that are no list"),
    pytest.param(make_form(attestations="[" * 100_000), 400, "JSON array", id="deep attestations"),
    pytest.param(make_form(attestations="[1]\0"), 400, "JSON array", id="NUL in attestations"),
    pytest.param(make_form(attestations=b'["\xff"]'), 400, "UTF-8", id="attestations that aren't UTF-8"),
    pytest.param(make_form(attestations=["[1]", "[2]"]), 400, "several values", id="two attestations"),
    pytest.param(
        make_form(attestations=f"[{' ' * ATTESTATIONS_LIMIT}]"),
        400,
        str(ATTESTATIONS_LIMIT),
        id="long attestations",
    ),
    pytest.param(make_form(version=b"\xff"), 400, "UTF-8", id="version that isn't UTF-8"),
    pytest.param(make_form(end=b""), 400, "cut off", id="no last boundary"),
    pytest.param(make_form()[:-300], 400, "cut off", id="truncated in the content"),
    pytest.param(make_form()[:200], 400, "cut off", id="truncated in a field"),
    pytest.param(b"x" * 2_000_000, 400, "can't be read", id="no boundary in two MB"),
    pytest.param(
        make_form(before=f"--{BOUNDARY}\r\nX: y\r\n\r\nz\r\n".encode()), 400, "invalid", id="no disposition"
    ),
    pytest.param(
        make_form(before=f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nz\r\n".encode()),
        400,
        "no name",
        id="a part without a name",
    ),
    pytest.param(
        make_form(before=f"--{BOUNDARY}\r\nX: {'y' * 2_000_000}".encode()),
        400,
        "can't be read",
        id="endless header",
    ),
    pytest.param(
        make_form(version="1." * SINGLE_LIMIT + "1"), 400, "field version is too long", id="long version"
    ),
    pytest.param(make_form(action="a" * 10_000), 400, "field :action is too long", id="long action"),
    pytest.param(make_form(description="x" * (TEXT_LIMIT + 1)), 413, str(TEXT_LIMIT), id="too much text"),
    pytest.param(make_form(keywords=["x"] * PARTS_LIMIT), 413, str(PARTS_LIMIT), id="too many parts"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD_FORMS)
def test_bad_forms(client: FlaskClient, store: MemoryStore, body: bytes, status: int, words: str) -> None:
    """An invalid form is refused with one sentence, and nothing is stored."""
    answer = post(client, body)
    assert answer.status_code == status
    assert words in answer.text
    assert "was ever registered" not in answer.text  # poetry would send `submit` then
    assert store.uploads == []


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        pytest.param("", "expected multipart/form-data", id="none"),
        pytest.param("application/json", "expected multipart/form-data", id="JSON"),
        pytest.param("application/x-www-form-urlencoded", "expected multipart/form-data", id="urlencoded"),
        pytest.param("multipart/mixed; boundary=x", "expected multipart/form-data", id="another multipart"),
        pytest.param("multipart/form-data", "no boundary", id="no boundary"),
        pytest.param('multipart/form-data; boundary=""', "no boundary", id="empty boundary"),
        pytest.param(f"multipart/form-data; boundary={'x' * 1000}", "boundary can't", id="long boundary"),
        pytest.param(
            'multipart/form-data; boundary="\xe9"', "boundary can't", id="boundary that isn't ASCII"
        ),
        pytest.param("multipart/form-data; boundary=other", "cut off", id="another boundary"),
    ],
)
def test_bad_content_types(client: FlaskClient, store: MemoryStore, content_type: str, words: str) -> None:
    """Only multipart/form-data with a usable boundary is a form."""
    answer = post(client, make_form(), content_type=content_type)
    assert answer.status_code == 400
    assert words in answer.text
    assert store.uploads == []


class TestLimit:
    """PYOCI_MAX_BODY."""

    def test_length_over_the_limit(self, make_app: MakeApp, store: MemoryStore) -> None:
        """The body is refused; the message names the limit and its setting."""
        body = make_form()
        answer = post(make_app(max_body=len(body) - 1).test_client(), body)
        assert answer.status_code == 413
        assert f"{len(body)} bytes" in answer.text
        assert f"{len(body) - 1} bytes (PYOCI_MAX_BODY)" in answer.text
        assert store.uploads == []

    def test_counted_while_reading(self, make_app: MakeApp, store: MemoryStore) -> None:
        """A chunked body has no length, so it is counted."""
        client = make_app(max_body=1000).test_client()
        answer = client.post(
            ROOT,
            input_stream=io.BytesIO(make_form(content=b"x" * 1000)),
            content_type=f"multipart/form-data; boundary={BOUNDARY}",
            headers={"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert answer.status_code == 413
        assert "the limit is 1000 bytes (PYOCI_MAX_BODY)" in answer.text
        assert store.uploads == []

    def test_exactly_the_limit(self, make_app: MakeApp) -> None:
        """It is accepted."""
        body = make_form()
        assert post(make_app(max_body=len(body)).test_client(), body).status_code == 200


def test_spool(make_app: MakeApp, tmp_path: Path) -> None:
    """Uploads are buffered in the site's directory. If it is missing, the answer is one sentence."""
    assert post(make_app(spool=str(tmp_path)).test_client(), make_form()).status_code == 200
    assert os.listdir(tmp_path) == []
    answer = post(make_app(spool=str(tmp_path / "gone")).test_client(), make_form())
    assert answer.status_code == 500
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    "path",
    [ROOT, "/ghcr.io/", "/favicon.ico", "/nowhere/acme/", "/health", "/", f"{ROOT}a/+simple/b/c/"],
    ids=["upload", "no namespace", "reserved", "impossible", "health", "door", "nowhere"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "WHATEVER"])
def test_every_body_is_read(make_app: MakeApp, path: str, method: str) -> None:
    """Whatever is wrong with a request, its body is read before it is answered."""
    stream = io.BytesIO(b"x" * 1_000_000)
    answer = (
        make_app(max_body=10)
        .test_client()
        .open(path, method=method, input_stream=stream, content_length=1_000_000, buffered=False)
    )
    assert stream.tell() == 1_000_000
    assert "Connection" not in answer.headers


def test_body_over_the_cap_is_not_read(make_app: MakeApp) -> None:
    """The connection is closed."""
    stream = io.BytesIO(b"x" * 1000)
    client = make_app(max_body=100, patience=Patience(cap=10)).test_client()
    answer = client.post(ROOT, input_stream=stream, content_length=100 * 2 + 1)
    assert stream.tell() == 0
    assert (answer.status_code, answer.headers["Connection"]) == (400, "close")


class TestAhead:
    """The part of a form that is known when its file begins."""

    TYPE = f"multipart/form-data; boundary={BOUNDARY}"

    def make(self, body: bytes, **environ: Any) -> RequestBody:
        given = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), **environ}
        return RequestBody(given, Patience())

    def test_the_file_is_given_as_it_comes(self) -> None:
        """The fields ahead of it and its size, then its bytes, then the whole form."""
        content = os.urandom(3_000_000)
        stream = io.BytesIO(make_form(content=content))
        with received(self.make(stream.getvalue(), **{"wsgi.input": stream}), self.TYPE, 10_000_000) as form:
            ahead = form.ahead()
            assert ahead is not None
            assert (ahead.filename, ahead.size, ahead.name) == (WHEEL, len(content), "hello-world")
            assert stream.tell() < 200_000
            pieces = form.pieces()
            first = next(pieces)
            assert len(first) + ahead.content.seek(0, os.SEEK_CUR) < 400_000
            assert first + b"".join(pieces) == content
            upload = form.whole()
            assert (upload.content.read(), upload.size) == (content, len(content))
            assert form.whole() == upload

    @pytest.mark.parametrize("cut", [0, 1, 4095])
    def test_the_size_is_exact(self, cut: int) -> None:
        """It becomes the Content-Length of the upload to the registry."""
        body = make_form(content=b"x" * (5000 - cut), summary="y" * cut)
        with received(self.make(body), self.TYPE, 10_000_000) as form:
            assert (ahead := form.ahead()) is not None
            assert (ahead.size, form.whole().size) == (5000 - cut, 5000 - cut)

    @pytest.mark.parametrize(
        ("form", "environ"),
        [
            (make_form(name=None, after=make_part("name", "hello-world")), {}),
            (make_form(), {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}),
        ],
        ids=["a name behind it", "no length"],
    )
    def test_incomplete_fields_are_nothing(self, form: bytes, environ: dict[str, str | bool]) -> None:
        """Then the form is read to its end first."""
        if environ:
            environ = {**environ, "CONTENT_LENGTH": ""}
        with received(self.make(form, **environ), self.TYPE, 10_000_000) as read:
            assert read.ahead() is None
            assert read.whole().content.read() == CONTENT

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (make_form(content=b"x" * 100_000, after=make_part("name", "other")), "several values for name"),
            (make_form(content=b"x" * 100_000, after=make_part("content", "x", filename=WHEEL)), "two parts"),
            (make_form(content=b"x" * 100_000, end=b""), "cut off"),
        ],
        ids=["another name", "another file", "no end"],
    )
    def test_what_follows_the_file_counts(self, body: bytes, words: str) -> None:
        """A field after the file may contradict what was known before."""
        with received(self.make(body), self.TYPE, 10_000_000) as form:
            assert form.ahead() is not None
            with pytest.raises(InvalidRequest, match=words):
                form.whole()

    def test_a_slow_client_gives_small_pieces(self) -> None:
        """The server waits for a whole piece. After a slow piece the next one is smaller."""
        stream = io.BytesIO(make_form(content=b"x" * 8_000_000))
        asked: list[int] = []

        class Asked(RequestBody):
            def read(self, size: int | None = -1, /) -> bytes:
                asked.append(size or 0)
                return super().read(size)

        now = itertools.chain(itertools.repeat(0.0, 24), itertools.count(0.0, 10.0))
        body = Asked({"wsgi.input": stream, "CONTENT_LENGTH": str(len(stream.getvalue()))}, Patience())
        assert list(Parts(body, self.TYPE, 10_000_000, lambda: next(now)))
        assert max(asked) == PIECE
        assert asked[0] == asked[-1] < PIECE / 8

    def test_memory_is_bounded(self) -> None:
        """64 MiB pass, and only a few pieces are in memory at a time."""
        before, after = make_form(content=b"|").split(b"|")
        parts = [before, *[bytes(MIB)] * 64, after]

        class Rope:
            def read(self, size: int) -> bytes:
                piece = parts[0][:size]
                parts[:1] = [rest] if (rest := parts[0][size:]) else []
                return piece

        environ = {"wsgi.input": Rope(), "CONTENT_LENGTH": str(sum(map(len, parts)))}
        tracemalloc.start()
        try:
            with received(RequestBody(environ, Patience()), self.TYPE, 100 * MIB) as form:
                assert sum(map(len, form.pieces())) == form.whole().size == 64 * MIB
            assert tracemalloc.get_traced_memory()[1] < 12 * MIB
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize(
        ("limit", "read"), [(1_000_000, 50_000), (40_000, 0)], ids=["taken", "too large"]
    )
    def test_a_refused_form_is_read_to_its_end(self, limit: int, read: int) -> None:
        """With the time limits of an accepted form. A form over the limit isn't."""
        stream = io.BytesIO(b"x" * 50_000)
        body = self.make(stream.getvalue(), **{"wsgi.input": stream})
        with pytest.raises(Unauthorized), received(body, self.TYPE, limit):
            raise Unauthorized("the registry asks for credentials")
        assert stream.tell() == read


class TestReceived:
    """The form reader without Flask."""

    @staticmethod
    def read(
        body: bytes,
        length: int | None = None,
        content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
    ) -> tuple[Upload, bytes]:
        environ = {
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body) if length is None else length),
        }
        with received(RequestBody(environ, Patience()), content_type, 10_000_000) as form:
            upload = form.whole()
            return upload, upload.content.read()

    def test_body_that_ends_too_soon(self) -> None:
        """If a client leaves, nothing is stored."""
        with pytest.raises(InvalidRequest, match="ended too soon"):
            self.read(make_form()[:-100], len(make_form()))

    @settings(suppress_health_check=[HealthCheck.differing_executors], max_examples=200)
    @given(
        content=st.binary(max_size=300),
        boundary=st.from_regex(r"[A-Za-z0-9'()+_,./:=?-]{1,70}", fullmatch=True),
    )
    def test_any_content(self, content: bytes, boundary: str) -> None:
        """A file may have any bytes."""
        if f"--{boundary}".encode() in content:
            return
        body = make_form(content=content).replace(BOUNDARY.encode(), boundary.encode())
        upload, read = self.read(body, content_type=f'multipart/form-data; boundary="{boundary}"')
        assert (read, upload.size) == (content, len(content))

    @settings(suppress_health_check=[HealthCheck.differing_executors], max_examples=300)
    @given(
        body=st.binary(max_size=200)
        | st.builds(
            lambda cut, junk: make_form()[:cut] + junk + make_form()[cut + 5 :],
            st.integers(0, len(make_form())),
            st.binary(max_size=20),
        )
    )
    def test_any_body(self, body: bytes) -> None:
        """Any body is a form with a file, which is all that a form needs, or gets one of the errors."""
        try:
            found = self.read(body)[0].filename
        except (InvalidRequest, Withdrawn) as exc:
            found = exc.message
        assert found


def test_a_catalogue_that_is_not_updated_is_reported(client: FlaskClient, store: MemoryStore) -> None:
    """In a header: the file is published all the same."""
    assert "X-PyOCI-Catalog" not in post(client, make_form()).headers
    store.catalog.failure = "r.example answered 403 when asked to write hello-world"
    answer = post(client, make_form())
    assert answer.status_code == 200
    assert answer.headers["X-PyOCI-Catalog"] == f"not updated: {store.catalog.failure}"
