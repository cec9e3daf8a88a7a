"""What users of other package indexes and of clients have reported, tried on this one.

Each row of `REPORTS` is one public report: its source (project and number), what was tried, and what is
right. A row plays through the whole application, or names the test of another file that shows it.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.builders import make_metadata, make_sdist, make_tar, make_wheel
from tests.flows.test_main_job import BYTES, JSON, ROOT, WHEEL, upload

TESTS = Path(__file__).parents[1]
PAGE = f"{ROOT}hello-world/"
Play = Callable[[FlaskClient], None]


@dataclass(frozen=True)
class Report:
    """One row. `shown` plays it, or is the address of a test: `web/test_files.py::TestClass::test_name`."""

    source: str  # owner/project#number
    tried: str
    right: str
    shown: Play | str


# How a file is published, listed and downloaded


def sdist(filename: str, name: str, version: str) -> tuple[str, bytes]:
    """An sdist as older tools make them, which spell names and versions in their own way."""
    stem = filename.removesuffix(".tar.gz")
    return filename, make_tar({f"{stem}/PKG-INFO": make_metadata(name, version)})


def post(client: FlaskClient, filename: str, content: bytes, **fields: Any) -> TestResponse:
    """Upload with no more fields than the file."""
    return upload(client, filename, content, **{"name": None, "version": None, **fields})


def files_of(client: FlaskClient, project: str) -> list[dict[str, Any]]:
    """The files of a project's page."""
    answer = client.get(f"{ROOT}{project}/", headers=JSON)
    assert answer.status_code == 200, answer.text
    files: list[dict[str, Any]] = answer.get_json()["files"]
    return files


def takes(filename: str, name: str, version: str, project: str, client: FlaskClient) -> None:
    """A file is taken, listed by its own name under the normalised name of its project, and downloaded."""
    make = make_wheel_called if filename.endswith(".whl") else sdist
    _, content = make(filename, name, version)
    answer = post(client, filename, content, name=name, version=version)
    assert answer.status_code == 200, answer.text
    (file,) = files_of(client, project)
    assert file["filename"] == filename
    for address in (file["url"], quote(filename), quote(filename, safe="+!")):
        assert client.get(urljoin(f"{ROOT}{project}/", address)).data == content
    projects = client.get(ROOT, headers=JSON).get_json()["projects"]
    assert [each["name"] for each in projects] == [project]


def make_wheel_called(filename: str, name: str, version: str) -> tuple[str, bytes]:
    return filename, make_wheel(name, version)[1]


def refuses(filename: str, name: str, version: str, sentence: str, client: FlaskClient) -> None:
    """A file that no installer would take is refused with the reason, and nothing is stored."""
    make = make_wheel_called if filename.endswith(".whl") else sdist
    answer = post(client, *make(filename, name, version))
    assert answer.status_code == 400
    assert sentence in answer.text
    assert client.get("/v2/_catalog").get_json() == {"repositories": []}


def metadata_taken(*headers: tuple[str, str]) -> Play:
    """METADATA with these headers is taken and given as it is."""

    def play(client: FlaskClient) -> None:
        filename, content = make_wheel(extra_headers=headers)
        assert post(client, filename, content).status_code == 200
        text = client.get(f"{PAGE}{filename}.metadata").text
        assert all(f"{key}: {value}" in text for key, value in headers)

    return play


def one_project(client: FlaskClient) -> None:
    for filename, name in (("a_pkg-1.0.tar.gz", "a_pkg"), ("a-pkg-2.0.tar.gz", "a-pkg")):
        version = re.search(r"\d\.\d", filename)
        assert version is not None
        assert post(client, *sdist(filename, name, version[0]), name=name).status_code == 200
    assert [file["filename"] for file in files_of(client, "a-pkg")] == [
        "a_pkg-1.0.tar.gz",
        "a-pkg-2.0.tar.gz",
    ]
    assert len(client.get(ROOT, headers=JSON).get_json()["projects"]) == 1


def two_spellings_of_an_sdist(client: FlaskClient) -> None:
    old, new = "sphinxcontrib-foo-0.0.9.tar.gz", "sphinxcontrib_foo-0.0.9.tar.gz"
    content = sdist(new, "sphinxcontrib-foo", "0.0.9")[1]
    other = make_sdist("sphinxcontrib-foo", "0.0.9")[1]
    assert post(client, old, content, name="sphinxcontrib-foo").status_code == 200
    assert [post(client, new, each).status_code for each in (content, other)] == [200, 409]
    assert [file["filename"] for file in files_of(client, "sphinxcontrib-foo")] == [old]


def name_in_another_spelling(client: FlaskClient) -> None:
    filename, content = sdist("vat_moss-0.9.0.tar.gz", "vat_moss", "0.9.0")
    assert post(client, filename, content, name="vat-moss", version="0.9.0").status_code == 200
    assert [file["filename"] for file in files_of(client, "vat-moss")] == [filename]


def version_of_another_file(client: FlaskClient) -> None:
    content = make_wheel(version="0.4.0")[1]
    answer = post(client, "hello_world-0.4.1-py3-none-any.whl", content)
    assert answer.status_code == 400
    assert "0.4.1" in answer.text


# The same file again, and another under its name


def same_again(client: FlaskClient) -> None:
    assert [upload(client).status_code for _ in range(2)] == [200, 200]
    assert len(files_of(client, "hello-world")) == 1


def other_content(client: FlaskClient) -> None:
    upload(client)
    answer = upload(client, data=make_wheel(requires=["x"])[1])
    assert answer.status.startswith(f"409 File already exists ('{WHEEL}'")
    assert answer.text.strip() == answer.status.removeprefix("409 ")
    assert client.get(f"{PAGE}{WHEEL}").data == BYTES


# What a page says


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def yanked_with_a_reason(client: FlaskClient) -> None:
    upload(client)
    reason = 'Requires-Python is wrong (see <a href="x">)'
    assert client.patch(f"{PAGE}1.0", json={"yanked": reason}).status_code == 200
    assert [file["yanked"] for file in files_of(client, "hello-world")] == [reason]
    assert 'data-yanked="Requires-Python is wrong (see &lt;a href=&#34;x&#34;&gt;)"' in client.get(
        PAGE
    ).text.replace("&quot;", "&#34;")


def yanked_and_still_there(client: FlaskClient) -> None:
    upload(client)
    client.patch(f"{PAGE}1.0", json={"yanked": True})
    document = client.get(f"{PAGE}json")
    assert document.status_code == 200
    assert document.get_json()["releases"]["1.0"][0]["yanked"] is True
    assert client.get(f"{PAGE}{WHEEL}").status_code == 200


def requires_python(client: FlaskClient) -> None:
    upload(client)
    assert [file["requires-python"] for file in files_of(client, "hello-world")] == [">=3.9"]
    assert 'data-requires-python="&gt;=3.9"' in client.get(PAGE).text


def core_metadata(client: FlaskClient) -> None:
    upload(client)
    post(client, *make_sdist())
    wheel, source = sorted(files_of(client, "hello-world"), key=lambda file: file["filename"].endswith("gz"))
    text = client.get(f"{PAGE}{wheel['url']}.metadata").data
    assert wheel["core-metadata"] == {"sha256": sha256(text)}
    assert "core-metadata" not in source
    html = client.get(PAGE).text
    assert html.count(f'data-core-metadata="sha256={sha256(text)}"') == 1
    assert html.count(f'data-dist-info-metadata="sha256={sha256(text)}"') == 1


def only_sha256(client: FlaskClient) -> None:
    upload(client)
    assert [file["hashes"] for file in files_of(client, "hello-world")] == [{"sha256": sha256(BYTES)}]
    assert re.findall(r"#(\w+)=(\w+)", client.get(PAGE).text) == [("sha256", sha256(BYTES))]


def links_lead_there(client: FlaskClient) -> None:
    upload(client)
    (link,) = re.findall(r'<a href="([^"#]+)#sha256=', client.get(PAGE).text)
    assert link.endswith(f"/{WHEEL}")
    assert client.get(urljoin(PAGE, link)).data == BYTES


def index_without_its_slash(client: FlaskClient) -> None:
    upload(client)
    answer = client.get(ROOT.rstrip("/"))
    assert answer.status_code == 301
    assert urljoin(ROOT.rstrip("/"), answer.headers["Location"]) == ROOT
    assert upload(client, url=ROOT.rstrip("/")).status_code == 200


def times_in_json(client: FlaskClient) -> None:
    upload(client)
    (release,) = client.get(f"{PAGE}json").get_json()["releases"]["1.0"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", release["upload_time"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", files_of(client, "hello-world")[0]["upload-time"])


def hashes_in_json(client: FlaskClient) -> None:
    upload(client)
    source = make_sdist()
    post(client, *source)
    releases = client.get(f"{PAGE}json").get_json()["releases"]["1.0"]
    assert {each["digests"]["sha256"] for each in releases} == {sha256(BYTES), sha256(source[1])}


# Addresses


def slash_is_added(client: FlaskClient) -> None:
    upload(client)
    answer = client.get(PAGE.rstrip("/"), headers={"X-Forwarded-Proto": "https"})
    assert answer.status_code == 301
    assert answer.headers["Location"] == "hello-world/"  # relative: the same scheme, host and port


def moved_to_the_normalised_name(client: FlaskClient) -> None:
    filename, content = make_wheel("geocode.sparcs")
    assert post(client, filename, content).status_code == 200
    for spelled in ("geocode_sparcs", "Geocode.Sparcs", "geocode--sparcs"):
        answer = client.get(f"{ROOT}{spelled}/")
        assert answer.status_code == 301
        assert urljoin(answer.request.path, answer.headers["Location"]) == f"{ROOT}geocode-sparcs/"
    assert client.get(f"{ROOT}geocode-sparcs/{filename}").data == content


def unknown_project(client: FlaskClient) -> None:
    upload(client)
    assert client.get(f"{ROOT}other/json").status_code == 404
    assert client.get(f"{ROOT}other/").status_code == 404


def root_lists_projects(client: FlaskClient) -> None:
    upload(client)
    assert re.findall(r'<a href="([^"]+)">([^<]+)</a>', client.get(ROOT).text) == [
        ("hello-world/", "hello-world")
    ]


# Files


def parts_of_a_wheel(client: FlaskClient) -> None:
    upload(client)
    address, size = f"{PAGE}{WHEEL}", len(BYTES)
    head = client.head(address)
    assert (head.status_code, head.content_length, head.headers["Accept-Ranges"]) == (200, size, "bytes")
    for asked, part in (("-100", BYTES[-100:]), (f"0-{size - 1}", BYTES), ("10-19", BYTES[10:20])):
        answer = client.get(address, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.data) == (206, part)
        assert answer.headers["Content-Range"].endswith(f"/{size}")


def archives_are_not_compressed_again(client: FlaskClient) -> None:
    filename, content = make_sdist()
    post(client, filename, content)
    answer = client.get(f"{PAGE}{filename}", headers={"Accept-Encoding": "gzip, deflate, br"})
    assert (answer.data, answer.headers.get("Content-Encoding")) == (content, None)
    assert answer.content_length == len(content)


def files_are_kept(client: FlaskClient) -> None:
    upload(client)
    (file,) = files_of(client, "hello-world")
    answer = client.get(f"{PAGE}{file['url']}")
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"


def pages_are_revalidated(client: FlaskClient) -> None:
    upload(client)
    for headers in (JSON, {"Accept": "text/html"}):
        first = client.get(PAGE, headers=headers)
        again = client.get(PAGE, headers={**headers, "If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert "no-cache" in first.headers["Cache-Control"]


NAME = "the file is taken, and stands under the project's normalised name"
AGAIN = "the same file again is 200, so that nothing has to be skipped"
CONFLICT = "409, and the reason phrase says that the file exists"
YANKED = "the page passes the reason on, escaped"
METADATA = "the file is taken, and its METADATA is given as it is"

REPORTS = (
    # Names
    Report(
        "pypiserver/pypiserver#104",
        "a project whose name ends in -v2.4",
        NAME,
        partial(
            takes,
            "python-owasp-zap-v2.4-0.0.7.tar.gz",
            "python-owasp-zap-v2.4",
            "0.0.7",
            "python-owasp-zap-v2-4",
        ),
    ),
    Report(
        "pypiserver/pypiserver#40",
        "a name with a hyphen before a digit",
        NAME,
        partial(takes, "pil-2d-1.0.tar.gz", "pil-2d", "1.0", "pil-2d"),
    ),
    Report(
        "stevearc/pypicloud#56",
        "an sdist with a hyphen in the project's name",
        NAME,
        partial(takes, "python-logstash-0.4.5.tar.gz", "python-logstash", "0.4.5", "python-logstash"),
    ),
    Report(
        "gorilla-co/s3pypi#118",
        "an sdist of setup.py, with a hyphen in the project's name",
        NAME,
        partial(takes, "something-cool-1.2.3.tar.gz", "something-cool", "1.2.3", "something-cool"),
    ),
    Report(
        "colinhoglund/piprepo#2",
        "a project with a hyphen in its name",
        NAME,
        partial(takes, "abc_xyz-1.0.0-py3-none-any.whl", "abc-xyz", "1.0.0", "abc-xyz"),
    ),
    Report(
        "mvantellingen/localshop#161",
        "a namespace package, with a dot in its name",
        NAME,
        partial(
            takes, "namespaced.package-0.0.21.tar.gz", "namespaced.package", "0.0.21", "namespaced-package"
        ),
    ),
    Report(
        "stevearc/pypicloud#87",
        "a name with a dot, for which pip asks with a hyphen",
        NAME,
        partial(takes, "a.b-1.0-py3-none-any.whl", "a.b", "1.0", "a-b"),
    ),
    Report(
        "artipie/pypi-adapter#59",
        "a wheel whose file name keeps a dot",
        NAME,
        partial(
            takes,
            "aav.upcoming_games-0.1.0-py3-none-any.whl",
            "aav.upcoming-games",
            "0.1.0",
            "aav-upcoming-games",
        ),
    ),
    Report(
        "pypi/warehouse#14806",
        "a name with a dot and an underscore side by side",
        NAME,
        partial(
            takes,
            "namespace._package-0.0.1-py3-none-any.whl",
            "namespace._package",
            "0.0.1",
            "namespace-package",
        ),
    ),
    Report(
        "mvantellingen/localshop#137", "two spellings of one project", "they are one project", one_project
    ),
    Report(
        "pypiserver/pypiserver#35", "hyphens and underscores at the root", "one project, once", one_project
    ),
    Report(
        "pypiserver/pypiserver#36",
        "an egg's and an sdist's spelling of a name",
        "one project, once",
        one_project,
    ),
    Report("pypa/twine#87", "a form that spells the name with a hyphen", NAME, name_in_another_spelling),
    Report("pypa/twine#921", "a form whose name twine has changed", NAME, name_in_another_spelling),
    Report(
        "pypi/warehouse#15824",
        "an sdist of one version under its old and its new spelling",
        "the same content is 200, other content 409",
        two_spellings_of_an_sdist,
    ),
    Report(
        "pypi/warehouse#13218",
        "a name with an underscore",
        "its page is moved to the normalised name",
        moved_to_the_normalised_name,
    ),
    Report(
        "artipie/pypi-adapter#79",
        "a page under a name that isn't normalised",
        "301 to the normalised name",
        moved_to_the_normalised_name,
    ),
    # Versions
    Report(
        "go-gitea/gitea#21683",
        "a local version",
        NAME,
        partial(takes, "certifi-2022.9.24+acme.1-py3-none-any.whl", "certifi", "2022.9.24+acme.1", "certifi"),
    ),
    Report(
        "stevearc/pypicloud#124",
        "a local version, whose plus is escaped in the address",
        NAME,
        partial(
            takes,
            "something.ops-2016.9.9+bee0714.tar.gz",
            "something.ops",
            "2016.9.9+bee0714",
            "something-ops",
        ),
    ),
    Report(
        "python-wheel-build/fromager#711",
        "a wheel's address with %2B",
        NAME,
        partial(takes, "vllm-0.10.0+rhai1-py3-none-any.whl", "vllm", "0.10.0+rhai1", "vllm"),
    ),
    Report(
        "zalando-incubator/kopf#6",
        "a development version with a local part",
        NAME,
        partial(takes, "kopf-0.1.dev9+g21a7230-py3-none-any.whl", "kopf", "0.1.dev9+g21a7230", "kopf"),
    ),
    Report(
        "go-gitea/gitea#21707",
        "a version with an epoch",
        NAME,
        partial(takes, "hello_world-1!2.0-py3-none-any.whl", "hello-world", "1!2.0", "hello-world"),
    ),
    Report(
        "pypi/warehouse#14763",
        "an sdist with a post release behind a hyphen",
        NAME,
        partial(
            takes,
            "h2o_pysparkling_3_2-3.42.0.4-1.tar.gz",
            "h2o-pysparkling-3.2",
            "3.42.0.4-1",
            "h2o-pysparkling-3-2",
        ),
    ),
    Report(
        "pypi/warehouse#15644",
        "a hyphen as the separator of a post release",
        NAME,
        partial(takes, "pkg-1.0-2.tar.gz", "pkg", "1.0-2", "pkg"),
    ),
    Report(
        "devpi/devpi#743",
        "a wheel that has _ for the + of its local version",
        "no installer reads it; refused with the reason",
        partial(
            refuses,
            "pkg_hello-0.1.1_git84khdg93-py2.py3-none-any.whl",
            "pkg-hello",
            "0.1.1+git84khdg93",
            "version",
        ),
    ),
    Report(
        "pypa/flit#34",
        "a wheel with a hyphen in its version",
        "no installer reads it; refused with the reason",
        partial(refuses, "SPQR-0.0.4-dev0-py3-none-any.whl", "SPQR", "0.0.4-dev0", "file name of a wheel"),
    ),
    Report(
        "pypi/legacy#128",
        "a wheel whose version begins with a letter",
        "no installer reads it; refused with the reason",
        partial(
            refuses,
            "youtube_dl_server-alpha.5-py2.py3-none-any.whl",
            "youtube_dl_server",
            "alpha.5",
            "version",
        ),
    ),
    Report(
        "pypi/warehouse#15884",
        "a wheel named for another version than its METADATA",
        "refused with the reason",
        version_of_another_file,
    ),
    # Metadata
    Report(
        "pypa/twine#753",
        "metadata 2.2, with Dynamic",
        METADATA,
        metadata_taken(("Dynamic", "Requires-Dist")),
    ),
    Report(
        "anthropics/anthropic-sdk-python#850",
        "License-File and License-Expression",
        METADATA,
        metadata_taken(("License-Expression", "MIT"), ("License-File", "LICENSE")),
    ),
    Report(
        "tox-dev/platformdirs#337",
        "License-Expression in metadata of an older version",
        METADATA,
        metadata_taken(("License-Expression", "MIT")),
    ),
    Report(
        "docker/docker-py#3309",
        "License-Expression in metadata of an older version",
        METADATA,
        metadata_taken(("License-Expression", "Apache-2.0")),
    ),
    Report(
        "pypi/warehouse#15629",
        "an empty URL",
        METADATA,
        metadata_taken(("Project-URL", "Home, "), ("Home-page", "")),
    ),
    Report(
        "astral-sh/uv#16731",
        "attestations along with the file",
        "they are kept",
        "web/test_upload.py::TestFields::test_attestations",
    ),
    Report(
        "pypi/warehouse#17312",
        "attestations from elsewhere than a known publisher",
        "they are kept, and are no reason to refuse the file",
        "web/test_upload.py::TestFields::test_attestations",
    ),
    # The same file again
    Report("pypa/twine#195", "another file under a name that exists", CONFLICT, other_content),
    Report("pypa/twine#332", "another file under a name that exists", CONFLICT, other_content),
    Report("pypa/twine#816", "a refusal that only the body explains", CONFLICT, other_content),
    Report("pypa/twine#693", "a refusal with 400 and a page of HTML", CONFLICT, other_content),
    Report("python-poetry/poetry#10602", "poetry's --skip-existing", CONFLICT, other_content),
    Report("python-poetry/poetry#2254", "publishing again from CI", AGAIN, same_again),
    Report("pypa/twine#193", "--skip-existing at an index that isn't PyPI", AGAIN, same_again),
    Report("pypa/twine#1044", "--skip-existing at Nexus", AGAIN, same_again),
    Report("sonatype/nexus-public#696", "the same file again", AGAIN, same_again),
    Report("onnxruntime/onnxruntime-qnn#449", "twine 6.2 without --skip-existing", AGAIN, same_again),
    # Pages
    Report("devpi/devpi#895", "the reason of a yank", YANKED, yanked_with_a_reason),
    Report("astral-sh/packse#165", "a yanked file in HTML", YANKED, yanked_with_a_reason),
    Report("chriskuehl/dumb-pypi#115", "data-yanked", YANKED, yanked_with_a_reason),
    Report("pypa/bandersnatch#931", "data-yanked", YANKED, yanked_with_a_reason),
    Report(
        "pypi/warehouse#8966",
        "the JSON of a project whose versions are all yanked",
        "200, with the yanked files",
        yanked_and_still_there,
    ),
    Report("pulp/pulp_python#1262", "requires-python on the page", "it is there", requires_python),
    Report(
        "artifact-keeper/artifact-keeper#3115", "core metadata", "announced for wheels alone", core_metadata
    ),
    Report(
        "devpi/devpi#1018",
        "PEP 658 and PEP 714",
        "both attributes, with the hash of what is served",
        core_metadata,
    ),
    Report(
        "tuna/issues#2397", "the METADATA of a mirrored wheel", "what is announced is served", core_metadata
    ),
    Report(
        "python-poetry/poetry#4523", "a file that has only an MD5 hash", "each has its sha256", only_sha256
    ),
    Report("astral-sh/uv#2099", "a fragment without the name of its hash", "#sha256=", only_sha256),
    Report("astral-sh/uv#1393", "relative links", "they lead to the file", links_lead_there),
    Report(
        "wolever/pip2pi#85",
        "a link that is no file's name",
        "it ends in the file's own name",
        links_lead_there,
    ),
    Report("pypa/pip#9399", "the root", "it lists the projects", root_lists_projects),
    # Caches
    Report(
        "artifact-keeper/artifact-keeper#2773", "a page again, with its ETag", "304", pages_are_revalidated
    ),
    Report(
        "python-poetry/poetry#7961",
        "one ETag for different answers",
        "each representation has its own",
        "web/test_simple.py::TestTags::test_representations_have_their_own",
    ),
    Report(
        "python-poetry/poetry#538",
        "a new version that shows late",
        "pages are never kept unasked",
        pages_are_revalidated,
    ),
    Report(
        "devpi/devpi#530",
        "files that pip doesn't keep",
        "a year, at the address that pages name",
        files_are_kept,
    ),
    # Files
    Report("pypa/pip#8723", "a range of a wheel", "206 with just these bytes", parts_of_a_wheel),
    Report(
        "pypi/warehouse#12823", "the last bytes of a wheel", "206 with just these bytes", parts_of_a_wheel
    ),
    Report("astral-sh/uv#13324", "HEAD of a wheel", "200 with its length", parts_of_a_wheel),
    Report(
        "EpicWink/proxpi#67",
        "an sdist for a client that takes gzip",
        "its bytes, without a Content-Encoding",
        archives_are_not_compressed_again,
    ),
    # Addresses
    Report(
        "renovatebot/renovate#8817",
        "a page without its slash",
        "moved within the same scheme",
        slash_is_added,
    ),
    Report(
        "python-poetry/poetry#336", "a page without its slash", "moved within the same scheme", slash_is_added
    ),
    Report("astral-sh/uv#770", "an index with and without its slash", "both work", index_without_its_slash),
    Report("pex-tool/pex#70", "an index without its slash", "both work", index_without_its_slash),
    Report(
        "simple-repository/simple-repository-server#9", "a page without its slash", "moved", slash_is_added
    ),
    Report(
        "astral-sh/uv#11135",
        "an index that ends in +simple",
        "an alias of the index",
        "web/test_simple.py::TestRoots::test_simple_alias",
    ),
    # The legacy JSON
    Report("stevearc/pypicloud#144", "upload_time", "each file has it", times_in_json),
    Report("renovatebot/renovate#20070", "when a version was released", "each file has it", times_in_json),
    Report("renovatebot/renovate#6649", "the JSON of an unknown project", "404 at once", unknown_project),
    Report(
        "jazzband/pip-tools#1412", "hashes of files for other platforms", "the JSON has all", hashes_in_json
    ),
    Report("jazzband/pip-tools#1217", "hashes of an index of one's own", "the JSON has all", hashes_in_json),
    Report("pypa/pipenv#6249", "all hashes of a version", "the JSON has all", hashes_in_json),
    Report(
        "jazzband/pip-tools#2426",
        "<index>/simple/pypi/<project>/json",
        "it is answered as <index>/pypi/<project>/json",
        "web/test_aliases.py::test_addresses_that_clients_derive",
    ),
    Report(
        "dependabot/dependabot-core#13085",
        "/pypi/<project>/json beside /simple/",
        "the JSON of the index's own project",
        "web/test_aliases.py::test_addresses_that_clients_derive",
    ),
    Report(
        "pypiserver/pypiserver#1",
        "/pypi/<project>/json",
        "the JSON of the default index",
        "web/test_short_urls.py::TestPypi::test_a_final_slash_is_redirected",
    ),
    # Who may see what
    Report(
        "astral-sh/uv#12805",
        "a wrong password",
        "401, so that no client goes on to another index",
        "flows/test_main_job.py::TestWhoIsServed::test_without_a_password",
    ),
    Report(
        "pypa/pip#11784",
        "a private name that somebody has published on PyPI",
        "a project of the registry never comes from upstream",
        "live/test_confusion.py::test_no_client_is_fooled",
    ),
    Report(
        "go-gitea/gitea#22616",
        "an index beside PyPI",
        "one index for both, in which private projects come first",
        "live/test_confusion_real.py::test_existing_project_comes_from_the_registry",
    ),
)


def addresses_in(file: Path) -> set[str]:
    """The addresses of the tests in a file, without the file."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found.update(
                f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)
            )
    return found


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.source)
def test_report(report: Report, client: FlaskClient) -> None:
    """What is right is so."""
    if not isinstance(report.shown, str):
        report.shown(client)
        return
    file, _, test = report.shown.partition("::")
    assert test in addresses_in(TESTS / file), f"{report.shown} doesn't exist"


def test_the_table() -> None:
    """Each report stands here once, with its source, what was tried, and what is right."""
    sources = [report.source for report in REPORTS]
    assert len(sources) == len(set(sources)) >= 55
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", source) for source in sources)
    assert all(report.tried and report.right for report in REPORTS)
