"""Pages that are passed on as they were sent: which are, and that reading them says the same as usual."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from pyoci.simple_api import model
from pyoci.simple_api.reading import FILES, read_page
from pyoci.simple_api.verbatim import _CHECKS, VerbatimFiles, packed, recognize, recognize_text
from pyoci.simple_api.writing import page_html, page_json

SHA = "0123456789abcdef" * 4
NAME = "hello-world"
BASE = "https://packages.example/simple/hello-world/"


def entry(number: int = 0, **keys: Any) -> dict[str, Any]:
    """A file as PyPI describes one; a key given as `...` isn't there."""
    filename = f"hello_world-1.{number}-py3-none-any.whl"
    usual = {
        "core-metadata": {"sha256": SHA},
        "data-dist-info-metadata": {"sha256": SHA},
        "filename": filename,
        "hashes": {"sha256": SHA},
        "provenance": None,
        "requires-python": ">=3.8",
        "size": 1234,
        "upload-time": "2026-01-02T03:04:05.678901Z",
        "url": f"https://files.example/packages/ab/{filename}",
        "yanked": False,
    }
    keys = usual | {key.replace("_", "-"): value for key, value in keys.items()}
    return {key: value for key, value in keys.items() if value is not ...}


def page(*files: Any, **keys: Any) -> dict[str, Any]:
    """A page as PyPI sends one."""
    usual = {
        "alternate-locations": [],
        "files": list(files),
        "meta": {"_last-serial": 12345, "api-version": "1.4"},
        "name": NAME,
        "project-status": {"status": "active"},
        "versions": ["1.0", "1.1"],
    }
    keys = usual | {key.replace("_", "-"): value for key, value in keys.items()}
    return {key: value for key, value in keys.items() if value is not ...}


def is_recognized(document: Any) -> bool:
    body = json.dumps(document).encode()
    about = recognize(json.loads(body), body, NAME)
    assert recognize_text(body, NAME) in {None, about}
    return about is not None


def serialized(document: Any) -> tuple[bytes, bytes]:
    """A page as servers write one: with and without blanks."""
    return json.dumps(document).encode(), json.dumps(document, separators=(",", ":")).encode()


GOOD = [
    page(),
    page(entry()),
    page(entry(), entry(1)),
    page(entry(core_metadata=False, data_dist_info_metadata=False), entry(1, core_metadata=True)),
    page(entry(core_metadata=..., data_dist_info_metadata=...)),
    page(entry(requires_python=None), entry(1, requires_python=...)),
    page(entry(provenance="https://packages.example/integrity/x/provenance")),
    page(entry(yanked="it is broken: äöü"), entry(1, yanked=True), entry(2, yanked=...)),
    page(entry(yanked="two  blanks ")),
    page(entry(size=..., upload_time=...), entry(1, size=0), entry(2, size=2**53)),
    page(entry(upload_time="2026-01-02T03:04:05Z")),
    page(entry(gpg_sig=True), entry(1, gpg_sig=False)),
    page(entry(url="http://127.0.0.1:45678/packages/x.whl")),
    page(entry(), alternate_locations=..., project_status=...),
    page(entry(), project_status={"status": "archived", "reason": "no time"}),
    page(entry(), meta={"api-version": "1.0"}),
    page(entry(), meta={"api-version": "1.1", "_last-serial": "40585097"}),
    page(entry(), versions=[]),
]


@pytest.mark.parametrize("document", GOOD, ids=range(len(GOOD)))
def test_what_is_passed_on_is_read_as_usual(document: dict[str, Any]) -> None:
    """The files are those that reading each by itself finds, in HTML and JSON, too."""
    body = json.dumps(document).encode()
    about = recognize(json.loads(body), body, NAME)
    assert about is not None
    files = VerbatimFiles.of(packed(body), about)
    usual = read_page(document, NAME, BASE)

    assert (about.versions, about.status) == (usual.versions, usual.status)
    assert tuple(files) == usual.files == files[:]
    assert len(files) == len(document["files"])
    assert files.body() == body
    passed = replace(usual, files=files)
    assert page_html(passed) == page_html(usual)
    assert page_json(passed) == page_json(usual)


BAD_FILES: list[Any] = [
    {},
    None,
    [],
    "hello_world-1.0-py3-none-any.whl",
    entry(filename=...),
    entry(url=...),
    entry(hashes=...),
    entry(filename=None),
    entry(filename=3),
    entry(filename=""),
    entry(filename="../x.whl"),
    entry(filename=".x.whl"),
    entry(filename="x.whl "),
    entry(filename="x"),
    entry(filename="x."),
    entry(filename="a/b.whl"),
    entry(filename="a.whl\nb.whl"),
    entry(filename="a" * 256),
    entry(filename="ä.whl"),
    entry(url=None),
    entry(url="x.whl"),
    entry(url="javascript:alert(1)"),
    entry(url="ftp://files.example/x.whl"),
    entry(url="https://user:password@files.example/x.whl"),
    entry(url="https://files.example/x.whl#sha256=1"),
    entry(url="https://files.example/x y.whl"),
    entry(url="https://files.example:99999/x.whl"),
    entry(url="https://files.example/" + "x" * 4000),
    entry(url="https://files.example/x.whl\nhttps://files.example/y.whl"),
    entry(hashes=None),
    entry(hashes={}),
    entry(hashes={"md5": SHA[:32]}),
    entry(hashes={"sha256": SHA, "md5": SHA[:32]}),
    entry(hashes={"sha256": SHA.upper()}),
    entry(hashes={"sha256": SHA[1:]}),
    entry(hashes={"sha256": SHA + "0"}),
    *(entry(hashes={"sha256": SHA[1:] + character}) for character in "/:`gG \x7fä"),
    entry(hashes={"sha256": None}),
    entry(size=None),
    entry(size=-1),
    entry(size=2**53 + 1),
    entry(size=1.0),
    entry(size=True),
    entry(size="1"),
    entry(upload_time=None),
    entry(upload_time="2026-02-30T03:04:05Z"),
    entry(upload_time="0000-01-01T03:04:05Z"),
    entry(upload_time="2026-01-02T24:04:05Z"),
    entry(upload_time="2026-01-02T03:04:05"),
    entry(upload_time=3),
    entry(requires_python=3),
    entry(requires_python=""),
    entry(requires_python=">=3.8\n"),
    entry(requires_python=["3"]),
    entry(provenance="x"),
    entry(provenance=3),
    entry(gpg_sig=None),
    entry(gpg_sig=1),
    entry(yanked=None),
    entry(yanked=""),
    entry(yanked=" "),
    entry(yanked="x" * 2001),
    entry(yanked=0),
    entry(yanked="two\nlines"),
    entry(yanked="\ud800"),
    entry(yanked={}),
    entry(core_metadata=None),
    entry(core_metadata="true"),
    entry(core_metadata={}),
    entry(core_metadata={"md5": SHA[:32]}),
    entry(data_dist_info_metadata=1),
    entry(another=1),
]
BAD_PAGES: list[Any] = [
    [],
    None,
    page(entry(), name="another"),
    page(entry(), name="Hello_World"),
    page(entry(), name=...),
    page(entry(), files=...),
    page(files={}),
    page(files="x"),
    page(entry(), meta=...),
    page(entry(), meta={}),
    page(entry(), meta={"api-version": "2.0"}),
    page(entry(), meta={"api-version": "1.9"}),
    page(entry(), meta={"api-version": "1.4", "tracks": ["https://packages.example/"]}),
    page(entry(), meta={"api-version": "1.4", "_last-serial": None}),
    page(entry(), alternate_locations=["https://packages.example/"]),
    page(entry(), alternate_locations=None),
    page(entry(), versions=...),
    page(entry(), versions=None),
    page(entry(), versions=["1.0", "1.0"]),
    page(entry(), versions=["1.0", None]),
    page(entry(), versions=["x" * 201]),
    page(entry(), versions=["1.0", ""]),
    page(entry(), versions=["1.0\n1.1"]),
    page(entry(), versions=["1.0", "1.ä"]),
    page(entry(), versions={"1.0": 1}),
    page(entry(), project_status=None),
    page(entry(), project_status="active"),
    page(entry(), project_status={"status": "gone"}),
    page(entry(), project_status={"status": "archived", "reason": None}),
    page(entry(), project_status={"status": "archived", "reason": 3}),
    page(entry(), project_status={"status": "active", "x": 1}),
    page(entry(), another=1),
]


@pytest.mark.parametrize("broken", BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_file_with_a_mistake(broken: Any) -> None:
    """The page isn't passed on, wherever the file stands."""
    assert not is_recognized(page(broken))
    assert not is_recognized(page(entry(), broken, entry(2)))


@pytest.mark.parametrize("document", BAD_PAGES, ids=range(len(BAD_PAGES)))
def test_a_page_with_a_mistake(document: Any) -> None:
    assert not is_recognized(document)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"size": 1234', b'"size": 1, "size": 1234'),
        (b'"size": 1234', b'"\\u0073ize": 1, "size": 1234'),
        (b'"yanked": false', b'"yanked" : true, "yanked": false'),
        (b'"yanked": false', b'"yanked"\n: true, "yanked": false'),
        (b'"sha256"', b'"sha256": "x", "sha256"'),
        (b'"files"', b'"files": [], "files"'),
        (b'"status"', b'"status": "quarantined", "status"'),
        (b'"api-version"', b'"api-version": "2.0", "api-version"'),
    ],
)
def test_keys_twice(old: bytes, new: bytes) -> None:
    """Parsers differ in which of two equal keys they take, so such a page is written anew."""
    body = json.dumps(page(entry())).encode()
    changed = body.replace(old, new, 1)
    assert json.loads(changed) == json.loads(body)
    assert recognize(json.loads(body), body, NAME) is not None
    assert recognize(json.loads(changed), changed, NAME) is None
    assert recognize_text(body, NAME) is not None
    assert recognize_text(changed, NAME) is None


UNIFORM = [
    page(entry(), entry(1)),
    page(entry(core_metadata=False), entry(1, core_metadata=True), entry(2)),
    page(*(entry(number, core_metadata=..., data_dist_info_metadata=..., size=0) for number in range(3))),
    page(entry(requires_python=None), entry(1, requires_python=">=2.7, !=3.0.*")),
    page(entry(yanked="it is broken: äöü"), entry(1, yanked=True), entry(2)),
    page(entry(yanked='the key "size": 1, "size" is in it twice'), entry(1, yanked="a \\ at its end \\")),
    page(entry(yanked='}], "meta": {}, {"filename": "'), entry(1, yanked="{}")),
    page(entry(upload_time="2024-02-29T23:59:59Z"), entry(1)),
    page(entry(size=999_999_999_999_999), entry(1, provenance="https://packages.example/x/provenance")),
    page(entry(gpg_sig=True), entry(1, gpg_sig=False)),
    page(entry(), versions=["1.0"], project_status={"status": "archived", "reason": "no time"}),
    page(entry(filename="a" * 255), entry(1, filename="a0")),
    page(dict(reversed(entry().items())), dict(reversed(entry(1).items()))),
]


@pytest.mark.parametrize("document", UNIFORM, ids=range(len(UNIFORM)))
def test_pages_that_need_no_parsing(document: dict[str, Any]) -> None:
    """They are recognized by their text, whether JSON is written with blanks or without."""
    usual = read_page(document, NAME, BASE)
    count = len(document["files"])
    for body in serialized(document):
        about = recognize_text(body, NAME)
        assert about is not None
        assert (about.versions, about.status) == (usual.versions, usual.status)
        assert about.file_count == count
        assert tuple(VerbatimFiles.of(packed(body), about)) == usual.files


@pytest.mark.parametrize("document", BAD_PAGES, ids=range(len(BAD_PAGES)))
def test_a_page_with_a_mistake_is_not_recognized_by_its_text(document: Any) -> None:
    assert not any(recognize_text(body, NAME) for body in serialized(document))


@pytest.mark.parametrize("broken", BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_file_with_a_mistake_is_not_recognized_by_its_text(broken: Any) -> None:
    for document in (
        page(broken),
        page(entry(), broken),
        page(broken, entry()),
        page(entry(), broken, entry(2)),
    ):
        assert not any(recognize_text(body, NAME) for body in serialized(document))


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")], ids=["blanks", "no blanks"])
def test_a_large_page_is_recognized_in_pieces(separators: tuple[str, str]) -> None:
    """A mistake anywhere is noticed, also beside the ends of the pieces, which have a mebibyte."""
    files = [entry(number) for number in range(7000)]
    body = json.dumps(page(*files), separators=separators).encode()
    assert len(body) > 3 * 2**20
    about = recognize_text(body, NAME)
    assert about is not None
    assert about.file_count == 7000
    at_ends = {files_before(body, end) + more for end in (2**20, 2**21) for more in (-1, 0, 1, 2)}
    for number in {0, *at_ends, 6999}:
        mistaken = [*files[:number], entry(number, size=-1), *files[number + 1 :]]
        assert recognize_text(json.dumps(page(*mistaken), separators=separators).encode(), NAME) is None
    longer = json.dumps(page(*files, alternates=[{"a": 1}, {"filename": "x"}]), separators=separators)
    assert recognize_text(longer.encode(), NAME) is None


def files_before(body: bytes, end: int) -> int:
    return body.count(b'"filename"', 0, end)


def test_too_many_files() -> None:
    body = json.dumps(page(entry())).encode()
    start = body.index(b'{"core-metadata"')
    end = body.index(b"}], ") + 1
    for count, expected in ((FILES, True), (FILES + 1, False)):
        files = b", ".join([body[start:end]] * count)
        assert (recognize_text(body[:start] + files + body[end:], NAME) is not None) == expected


PIECES = [
    b"",
    b'"',
    b"\\",
    b",",
    b", ",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"0",
    b"x",
    b"\n",
    b"\xff",
    b"null",
    b"\xc3\xa4",
]


def changed_at_random(body: bytes, seeds: random.Random) -> bytes:
    start = seeds.randrange(len(body))
    if seeds.random() < 0.2:  # a part of the page is there twice
        other = seeds.randrange(len(body))
        return body[:start] + body[other : other + seeds.randrange(400)] + body[start:]
    return body[:start] + seeds.choice(PIECES) + body[start + seeds.choice((0, 0, 1, 1, 2, 40)) :]


def test_changed_text() -> None:
    """A page whose text was changed anywhere is recognized only if it is still JSON, each key is there once,
    and reading its files one by one would change none of them.
    """
    seeds = random.Random(18)
    recognized = 0
    for _ in range(4000):
        body = changed_at_random(seeds.choice(serialized(seeds.choice(UNIFORM))), seeds)
        about = recognize_text(body, NAME)
        if about is None:
            continue
        recognized += 1
        document = json.loads(body, object_pairs_hook=unique_keys)
        usual = read_page(document, NAME, BASE)
        assert about == (usual.versions, usual.status, len(document["files"]))
        files = tuple(VerbatimFiles.of(packed(body), about))
        assert files == usual.files
        assert len(files) == len(document["files"])
    assert recognized > 100


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings(encoding: str) -> None:
    """json reads them; clients expect UTF-8 without a mark at its beginning."""
    body = json.dumps(page(entry())).encode(encoding)
    assert recognize(json.loads(body), body, NAME) is None
    assert recognize_text(body, NAME) is None


def test_mixtures() -> None:
    """Of pages with random good and broken files, exactly those without broken ones are passed on."""
    seeds = random.Random(18)
    good = [file for document in GOOD for file in document["files"]]
    for _ in range(300):
        files = seeds.choices(good, k=seeds.randrange(20))
        broken = seeds.choices(BAD_FILES, k=seeds.randrange(2))
        mixed = [*files, *broken]
        seeds.shuffle(mixed)
        assert is_recognized(page(*mixed)) == (not broken)


@pytest.mark.parametrize("hidden", ["isal", "nothing"])
def test_compression_with_and_without_isal(hidden: str) -> None:
    """Pages are compressed with gzip, the same each time, whether the extra is installed or not."""
    code = (
        f"import gzip, sys; sys.modules[{hidden!r}] = None; from pyoci.simple_api.verbatim import packed;"
        "body = b'page of hello-world ' * 1000; found = packed(body);"
        "print(gzip.decompress(found) == body, found == packed(body), len(found) < 1000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["True"] * 3


def test_each_key_is_known() -> None:
    """A key that pages have is checked here, too; otherwise no page with it would be passed on."""
    assert {key for field in model.FIELDS for key in field.spellings} <= _CHECKS.keys()
