"""Parsing foreign pages: which values are accepted, and that a wrong one is left out; in JSON and in HTML."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pyoci.errors import ProtocolError
from pyoci.simple_api.model import File, Page, ProjectStatus
from pyoci.simple_api.reading import read_html, read_json
from pyoci.simple_api.writing import page_json
from pyoci.upstream.client import UpstreamPage

BASE = "https://packages.example/simple/hello-world/"
NAME = "hello_world-1.0-py3-none-any.whl"
SHA = "0123456789abcdef" * 4


def from_json(*files: Any, **keys: Any) -> Page:
    """The page in JSON with these files."""
    document = {"meta": {"api-version": "1.1"}, "name": "hello-world", "files": list(files), **keys}
    return read_json(json.dumps(document).encode(), "hello-world", BASE)


def entry(**keys: Any) -> dict[str, Any]:
    """A file's JSON; a key given as None is null, one given as `...` isn't there."""
    usual = {"filename": NAME, "url": f"https://files.example/{NAME}", "hashes": {"sha256": SHA}}
    keys = {**usual, **{key.replace("_", "-"): value for key, value in keys.items()}}
    return {key: value for key, value in keys.items() if value is not ...}


def file_of(**keys: Any) -> File:
    """The one file of a page."""
    (file,) = from_json(entry(**keys)).files
    return file


def link(attributes: str = "", href: str = f"https://files.example/{NAME}#sha256={SHA}") -> File:
    """The one file of a page in HTML."""
    html = f'<!DOCTYPE html><html><body><a href="{href}" {attributes}>{NAME}</a></body></html>'
    (file,) = read_html(html.encode(), "hello-world", BASE).files
    return file


WHEN = "2026-01-02T03:04:05.678901Z"
FIELDS = [
    ("hashes", "hashes", {"sha256": SHA.upper()}, {"sha256": SHA}, "upper case"),
    ("hashes", "hashes", {"sha256": SHA, "blake2b_256": "AB" * 32, "md5": "ab" * 16}, 3, "several"),
    ("hashes", "hashes", {"sha256": SHA[1:]}, {}, "short"),
    ("hashes", "hashes", {"sha256": None, "md5": 3, "sha 1": "ab" * 20}, {}, "nonsense"),
    ("hashes", "hashes", None, {}, "null"),
    ("hashes", "hashes", ..., {}, "none"),
    ("size", "size", 123, 123, "number"),
    ("size", "size", 0, 0, "nothing"),
    ("size", "size", None, None, "null"),
    ("size", "size", "123", None, "text"),
    ("size", "size", True, None, "flag"),
    ("size", "size", -1, None, "negative"),
    ("size", "size", 1.5, None, "fraction"),
    ("size", "size", 10**30, None, "absurd"),
    ("upload_time", "upload_time", WHEN, WHEN, "moment"),
    ("upload_time", "upload_time", "2026-01-02T03:04:05+02:00", "2026-01-02T03:04:05+02:00", "offset"),
    ("upload_time", "upload_time", "2026-01-02T03:04:05", None, "without offset"),
    ("upload_time", "upload_time", "2026-13-02T03:04:05Z", None, "thirteenth month"),
    ("upload_time", "upload_time", "٢٠٢٦-01-02T03:04:05Z", None, "other digits"),
    ("upload_time", "upload_time", None, None, "null"),
    ("requires_python", "requires_python", ">=3.8,<4", ">=3.8,<4", "specifier"),
    ("requires_python", "requires_python", ">=3.8,\n  <4", ">=3.8, <4", "two lines"),
    ("requires_python", "requires_python", "", None, "empty"),
    ("requires_python", "requires_python", None, None, "null"),
    ("requires_python", "requires_python", "x" * 3000, None, "endless"),
    ("core_metadata", "core_metadata", {"sha256": SHA}, {"sha256": SHA}, "hash"),
    ("core_metadata", "core_metadata", True, True, "true"),
    ("core_metadata", "core_metadata", False, None, "false"),
    ("core_metadata", "core_metadata", {"sha256": "no"}, None, "a broken hash"),
    ("core_metadata", "core_metadata", None, None, "null"),
    ("dist_info_metadata", "core_metadata", {"sha256": SHA}, {"sha256": SHA}, "by its old name"),
    ("data_dist_info_metadata", "core_metadata", True, True, "by its oldest name"),
    ("yanked", "yanked", True, True, "true"),
    ("yanked", "yanked", "it breaks", "it breaks", "reason"),
    ("yanked", "yanked", "it\r\nbreaks", "it breaks", "reason of two lines"),
    ("yanked", "yanked", "\x01", True, "reason that is none"),
    ("yanked", "yanked", "", None, "empty"),
    ("yanked", "yanked", None, None, "null"),
    ("provenance", "provenance", "https://p.example/x", "https://p.example/x", "URL"),
    ("provenance", "provenance", "/x", None, "path"),
    ("provenance", "provenance", "javascript:alert(1)", None, "script"),
    ("provenance", "provenance", None, None, "null"),
    ("gpg_sig", "gpg_sig", True, True, "true"),
    ("gpg_sig", "gpg_sig", None, None, "null"),
]


@pytest.mark.parametrize(
    ("key", "attribute", "value", "read"),
    [pytest.param(*case[:4], id=f"{case[0]}: {case[4]}") for case in FIELDS],
)
def test_a_field_by_itself(key: str, attribute: str, value: Any, read: Any) -> None:
    """A right value is read, a wrong one is left out; the file is read in both cases."""
    found = getattr(file_of(**{key: value}), attribute)
    assert (len(found) if isinstance(found, dict) and read == 3 else found) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param("https://files.example/a/b.whl", "https://files.example/a/b.whl", id="absolute"),
        pytest.param("b.whl", f"{BASE}b.whl", id="relative"),
        pytest.param("../../b.whl", "https://packages.example/b.whl", id="relative, upwards"),
        pytest.param("/b.whl?x=1", "https://packages.example/b.whl?x=1", id="a path with a query"),
        pytest.param("//files.example/b.whl", "https://files.example/b.whl", id="another host"),
        pytest.param(f"/b.whl#sha256={SHA}", "https://packages.example/b.whl", id="with a fragment"),
        pytest.param("/b%2Bcu.whl", "https://packages.example/b%2Bcu.whl", id="encoded"),
        pytest.param("/b c'é.whl", "https://packages.example/b%20c'%C3%A9.whl", id="not encoded"),
        pytest.param('/b".whl', "https://packages.example/b%22.whl", id="a quotation mark"),
        pytest.param("http://10.0.0.1/b.whl", "http://10.0.0.1/b.whl", id="plain http"),
        pytest.param("javascript:alert(1)", None, id="script"),
        pytest.param("file:///etc/passwd", None, id="file"),
        pytest.param("ftp://files.example/b.whl", None, id="ftp"),
        pytest.param("data:text/plain,x", None, id="data"),
        pytest.param("https://me:secret@files.example/b.whl", None, id="credentials"),
        pytest.param("https://files.example\\@evil.example/b.whl", None, id="backslash"),
        pytest.param("https://files.example:port/b.whl", None, id="no port"),
        pytest.param("https://[::1/b.whl", None, id="half an address"),
        pytest.param("https:///b.whl", "https://packages.example/b.whl", id="no host"),
        pytest.param("https://é.example/b.whl", None, id="a host that isn't ASCII"),
        pytest.param("/b\n.whl", None, id="line break"),
        pytest.param("/" + "b" * 5000, None, id="endless"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="null"),
        pytest.param(3, None, id="number"),
    ],
)
def test_urls_become_absolute_or_are_left_out(value: Any, read: str | None) -> None:
    """A file without a URL that can be requested is left out."""
    files = from_json(entry(url=value), entry(filename="other-1.0.tar.gz")).files
    assert [file.url for file in [*files][:-1]] == ([] if read is None else [read])


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="list"),
        pytest.param("a.whl", id="text"),
        pytest.param({}, id="empty"),
        pytest.param(entry(filename="../a.whl"), id="path"),
        pytest.param(entry(filename="a/b.whl"), id="slash"),
        pytest.param(entry(filename="a<b>.whl"), id="markup"),
        pytest.param(entry(filename="a\r\nb.whl"), id="line break"),
        pytest.param(entry(filename=".."), id="dots"),
        pytest.param(entry(filename="a" * 300), id="endless"),
        pytest.param(entry(filename=None), id="null for a name"),
    ],
)
def test_a_broken_file_is_left_out_alone(broken: Any) -> None:
    """The others are read."""
    assert [file.filename for file in from_json(broken, entry()).files] == [NAME]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\xff", id="no text"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"files": {}}', id="files that are no list"),
        pytest.param(b'{"meta": {"api-version": "2.0"}, "files": []}', id="another version"),
        pytest.param(b'{"name": "other", "files": []}', id="another project"),
        pytest.param(b"[" * 200_000, id="a deep well"),
        pytest.param(b'{"files": [' + b"1," * 100_001 + b"1]}", id="too many files"),
        pytest.param(b'{"size": ' + b"1" * 5000 + b"}", id="a number without end"),
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    """With one sentence, which names the sender."""
    with pytest.raises(ProtocolError, match="the upstream package index"):
        read_json(body, "hello-world", BASE)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        pytest.param({"status": "archived", "reason": "done\nnow"}, ("archived", "done now"), id="reason"),
        pytest.param({"status": "quarantined"}, ("quarantined", None), id="no reason"),
        pytest.param({"status": "active", "reason": None}, ("active", None), id="null for a reason"),
        pytest.param({"status": "sleeping"}, None, id="unknown"),
        pytest.param({"status": ["active"]}, None, id="list for a status"),
        pytest.param("archived", None, id="text"),
        pytest.param(None, None, id="null"),
    ],
)
def test_the_status_of_a_project(value: Any, status: tuple[str, str | None] | None) -> None:
    """PEP 792."""
    assert from_json(**{"project-status": value}).status == (status and ProjectStatus(*status))


@pytest.mark.parametrize(
    ("value", "versions"),
    [
        pytest.param(["2.0", "1.0", "2.0"], ("2.0", "1.0"), id="as listed"),
        pytest.param(["1.0", None, 3, "", "x" * 300, "a\nb"], ("1.0",), id="without nonsense"),
        pytest.param([], (), id="none"),
        pytest.param(None, ("1.0", "1.10"), id="null"),
        pytest.param("1.0", ("1.0", "1.10"), id="text"),
    ],
)
def test_versions(value: Any, versions: tuple[str, ...]) -> None:
    """Those that the page lists, else those in the file names, in order."""
    files = [entry(filename=name) for name in ("a-1.10.tar.gz", NAME, "a-x.tar.gz", "a.exe", "b-1.0.zip")]
    assert from_json(*files, versions=value).versions == versions


@pytest.mark.parametrize("name", ["a-1.10.tar.bz2", "a-1.10.tgz"])
def test_versions_of_old_sdists(name: str) -> None:
    """pip installs them, so their versions count."""
    page = from_json(entry(filename=name), entry(filename="a-1.2.tar.Z"), versions=None)
    assert page.versions == ("1.10",)
    assert [file.filename for file in page.of_version(Version("1.10")).files] == [name]


@pytest.mark.parametrize(
    ("attributes", "attribute", "read"),
    [
        pytest.param('data-requires-python="&gt;=3.8"', "requires_python", ">=3.8", id="specifier"),
        pytest.param(f'data-core-metadata="sha256={SHA}"', "core_metadata", {"sha256": SHA}, id="metadata"),
        pytest.param('data-dist-info-metadata="true"', "core_metadata", True, id="metadata, old"),
        pytest.param("data-core-metadata", "core_metadata", None, id="metadata, empty"),
        pytest.param("data-yanked", "yanked", True, id="yanked"),
        pytest.param('data-yanked=""', "yanked", True, id="yanked, empty"),
        pytest.param('data-yanked="it &lt;breaks&gt;"', "yanked", "it <breaks>", id="yanked, reason"),
        pytest.param('data-gpg-sig="true"', "gpg_sig", True, id="signature"),
        pytest.param('data-size="123"', "size", 123, id="size"),
        pytest.param('data-size="-1"', "size", None, id="size, broken"),
        pytest.param(f'data-upload-time="{WHEN}"', "upload_time", WHEN, id="time"),
        pytest.param(
            'data-provenance="https://p.example/x"', "provenance", "https://p.example/x", id="PEP 740"
        ),
        pytest.param("rel='internal'", "hashes", {"sha256": SHA}, id="hash"),
        pytest.param('href="https://evil.example/x.whl"', "url", f"https://files.example/{NAME}", id="twice"),
    ],
)
def test_the_attributes_of_a_link(attributes: str, attribute: str, read: Any) -> None:
    """Each attribute by itself."""
    assert getattr(link(attributes), attribute) == read


@pytest.mark.parametrize(
    ("href", "url", "filename"),
    [
        pytest.param(f"../../f/{NAME}", f"https://packages.example/f/{NAME}", NAME, id="relative"),
        pytest.param("/f/a-1.0%2Bcu.tar.gz", None, "a-1.0+cu.tar.gz", id="encoded"),
        pytest.param(f"/f/{NAME}#md5=no&egg=x", f"https://packages.example/f/{NAME}", NAME, id="no hash"),
        pytest.param("/f/a&amp;b/a-1.0.zip?x=1&amp;y=2", None, "a-1.0.zip", id="entities"),
    ],
)
def test_the_url_and_the_file_name_of_a_link(href: str, url: str | None, filename: str) -> None:
    """The file name is the last segment of the URL."""
    file = link(href=href)
    assert file.filename == filename
    assert url is None or file.url == url


def test_a_base_element_changes_links() -> None:
    """The first one counts, and may be relative; a hostile one is ignored."""
    page = b'<base href="javascript:x"><base href="/y/"><a href="a-1.0.zip">a</a>'
    assert next(iter(read_html(page, "a", BASE).files)).url == f"{BASE}a-1.0.zip"
    page = b'<base href="../files/"><base href="/y/"><a href="a-1.0.zip">a</a>'
    assert (
        next(iter(read_html(page, "a", BASE).files)).url == "https://packages.example/simple/files/a-1.0.zip"
    )


def test_meta_elements() -> None:
    """The version is checked, and the status is read."""
    head = b'<meta name="pypi:repository-version" content="1.4">'
    status = b'<meta name="pypi:project-status" content="archived">'
    reason = b'<meta name="pypi:project-status-reason" content="done">'
    assert read_html(head + status + reason, "a", BASE).status == ProjectStatus("archived", "done")
    with pytest.raises(ProtocolError, match="another version"):
        read_html(head.replace(b"1.4", b"2.0"), "a", BASE)


PIECES = [
    "<", ">", "<a ", "<a href=", '"', "'", "</a>", "<!--", "-->", "<![CDATA[", "<![x[", "<!DOCTYPE", "<?",
    "&", "&#", "&#x110000;", "<base href=", "<meta name=", "<script>", "</", "\0", "é", "/", "#sha256=",
    "data-yanked", "http://[", "a-1.0.zip", " ", "=",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40))
def test_hostile_html(pieces: list[str]) -> None:
    """It yields a page or ProtocolError, and nothing else."""
    try:
        page = read_html("".join(pieces).encode("utf-8", "replace"), "a", BASE)
    except ProtocolError:
        return
    assert read_json(page_json(page), "a", "") == page


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
KEYS = (
    "filename", "url", "hashes", "size", "upload-time", "requires-python", "core-metadata", "yanked",
    "provenance",
)  # fmt: skip


@given(
    st.lists(
        JSONS | st.builds(lambda keys: entry(**keys), st.dictionaries(st.sampled_from(KEYS), JSONS)),
        max_size=5,
    ),
    st.dictionaries(st.sampled_from(("versions", "project-status", "meta", "name", "files")), JSONS),
)
def test_hostile_json(files: list[Any], keys: dict[str, Any]) -> None:
    """It yields ProtocolError, or a page that can be written and read again."""
    document = {"name": "hello-world", "files": files, **keys}
    try:
        page = read_json(json.dumps(document).encode(), "hello-world", BASE)
    except ProtocolError:
        return
    assert read_json(page_json(page), "hello-world", "") == page


@pytest.mark.parametrize(
    "piece", ["<!--", "<![", "<a ", '<a b="', "<", "</a", "<!", "<?", "&", "<a b=c ", "<script>"]
)
def test_html_with_unfinished_markup(piece: str) -> None:
    """It is parsed in linear time, whatever is begun in it and never ended."""
    body = (piece * (300_000 // len(piece))).encode()
    with suppress(ProtocolError):
        assert read_html(body, "a", BASE).files == ()


def test_pages_with_the_same_content_have_the_same_fingerprint() -> None:
    """Whatever form they came in; other content has another one."""
    html = f'<a href="https://files.example/{NAME}#sha256={SHA}">{NAME}</a>'
    page = from_json(entry(), versions=["1.0"])
    fingerprint = UpstreamPage.of(page).fingerprint
    assert fingerprint == UpstreamPage.of(read_html(html.encode(), "hello-world", BASE)).fingerprint
    assert fingerprint == UpstreamPage.of(read_json(page_json(page), "hello-world", "")).fingerprint
    assert fingerprint != UpstreamPage.of(from_json(entry(yanked=True), versions=["1.0"])).fingerprint
