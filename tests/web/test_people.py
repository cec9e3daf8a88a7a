"""Pages for people: who gets one, and what is on it."""

from __future__ import annotations

import gzip
import re

import pytest
from flask.testing import FlaskClient

from pyoci.distributions.names import ProjectName
from pyoci.errors import (
    Denied,
    Exhausted,
    NotFound,
    ProtocolError,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from pyoci.store.models import ProjectSummary
from pyoci.web.negotiation import is_browser
from tests.builders import make_metadata
from tests.web.conftest import MakeApp
from tests.web.doubles import UPLOADED, MemoryStore

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
BROWSER = {"Accept": CHROME}
WHEEL = "hello_world-1.0-py3-none-any.whl"
INDEX, PROJECT = "/ghcr.io/acme/", "/ghcr.io/acme/hello-world/"

# What package clients send, and the format that they get. docs/pages.rst says where each comes from.
CLIENTS = [
    pytest.param(f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", "json", id="pip 26"),
    pytest.param("text/html", "html", id="pip before 22.2"),
    pytest.param(f"{JSON}, {HTML};q=0.2, text/html;q=0.01", "json", id="uv"),
    pytest.param(f"{JSON}, */*;q=0.1", "json", id="poetry"),
    pytest.param(f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", "json", id="pdm"),
    pytest.param("*/*", "html", id="hatch, bandersnatch's files, curl"),
    pytest.param(f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", "json", id="Renovate"),
    pytest.param("text/html", "html", id="Dependabot"),
    pytest.param(f"{HTML};q=0.2, {JSON}, text/html;q=0.01", "json", id="devpi"),
    pytest.param(None, "html", id="Nexus, easy_install: no Accept"),
    pytest.param(
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "html",
        id="Java's own client, as for Artifactory",
    ),
    pytest.param(JSON, "json", id="bandersnatch"),
    pytest.param(f"{JSON}, {HTML}, text/html;q=0.01", "json", id="pypi-simple"),
]
BROWSERS = [
    pytest.param(CHROME, id="Chrome"),
    pytest.param("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", id="Firefox, Safari"),
    pytest.param("text/html, application/xhtml+xml, image/jxr, */*", id="Edge before Chromium"),
    pytest.param("text/html;q=0.9, application/xhtml+xml; charset=utf-8;q=0.1", id="by a low quality"),
    pytest.param("application/xhtml+xml", id="nothing else"),
]


@pytest.fixture
def project(store: MemoryStore) -> MemoryStore:
    """A project with two versions."""
    headers = (
        ("Summary", "Says hello & <b>more</b>"),
        ("License-Expression", "MIT"),
        ("Description-Content-Type", "text/markdown"),
        ("Project-URL", "Source, https://x.example/source"),
        ("Project-URL", "Bad, javascript:alert(1)"),
        ("Maintainer-email", "Jane <jane@example.com>"),
        ("Classifier", "Programming Language :: Python :: 3.12"),
    )
    metadata = make_metadata(
        "Hello.World", extra_headers=headers, requires=["a>=1"], body="# About\n\nIt *works*."
    )
    store.put(WHEEL, metadata=metadata, requires_python=">=3.11")
    store.put("hello_world-1.0.tar.gz")
    store.put("hello_world-0.9-cp312-cp312-manylinux_2_17_x86_64.whl", yanked="broken")
    store.put("hello_world-2.0rc1.tar.gz")
    return store


@pytest.mark.usefixtures("project")
class TestNegotiation:
    @pytest.mark.parametrize("path", [INDEX, PROJECT, f"{PROJECT}1.0/", "/ghcr.io/acme/+simple/hello-world/"])
    @pytest.mark.parametrize(("accept", "wanted"), CLIENTS)
    def test_package_clients_get_their_format(
        self, client: FlaskClient, path: str, accept: str | None, wanted: str
    ) -> None:
        """Byte for byte that of ?format=, with the same headers."""
        answer = client.get(path, headers={} if accept is None else {"Accept": accept})
        same = client.get(f"{path}?format={wanted}", headers={"Accept": "image/png"})
        assert (answer.status, answer.data, answer.headers) == (same.status, same.data, same.headers)
        assert b"<main" not in answer.data

    @pytest.mark.parametrize("accept", BROWSERS)
    def test_browsers_get_a_page(self, client: FlaskClient, accept: str) -> None:
        """It is told apart by caches: Vary names Accept."""
        for path in (INDEX, PROJECT, f"{PROJECT}1.0/", "/"):
            answer = client.get(path, headers={"Accept": accept})
            assert answer.status_code == 200
            assert b"<main" in answer.data
            assert answer.content_type == "text/html; charset=utf-8"
            assert "Accept" in answer.headers["Vary"]
            assert answer.headers["Cache-Control"] == "private, no-cache"

    @pytest.mark.parametrize(
        "accept",
        [
            pytest.param("text/html,application/xhtml+xml;q=0", id="refused"),
            pytest.param(f"application/xhtml+xml, {JSON};q=0.1", id="a client that names the API"),
            pytest.param("application/xml", id="another type"),
            pytest.param("application/*", id="a wildcard"),
        ],
    )
    def test_what_is_no_browser(self, accept: str) -> None:
        """XHTML has to be named and accepted."""
        assert not is_browser(accept)

    @pytest.mark.parametrize("wanted", ["html", "json", JSON])
    def test_format_goes_before_it(self, client: FlaskClient, wanted: str) -> None:
        """The page for package clients is a click away."""
        answer = client.get(PROJECT, query_string={"format": wanted}, headers=BROWSER)
        assert b"<main" not in answer.data
        page = client.get(PROJECT, headers=BROWSER)
        assert 'href="?format=json"' in page.text
        assert 'href="json"' in page.text

    def test_head_and_304(self, client: FlaskClient) -> None:
        """A page has a strong ETag of its own."""
        page = client.get(PROJECT, headers=BROWSER)
        tag = page.headers["ETag"]
        assert client.head(PROJECT, headers=BROWSER).headers["ETag"] == tag
        assert client.get(PROJECT, headers={**BROWSER, "If-None-Match": tag}).status_code == 304
        assert client.get(PROJECT).headers["ETag"] != tag

    def test_redirects_are_the_same(self, client: FlaskClient) -> None:
        """To the normalised name, and with a slash."""
        for path in ("/ghcr.io/acme/Hello.World/", "/ghcr.io/acme/hello-world"):
            for_people, other = client.get(path, headers=BROWSER), client.get(path)
            assert for_people.status_code == other.status_code == 301
            assert for_people.headers["Location"] == other.headers["Location"]


@pytest.mark.usefixtures("project")
class TestHeaders:
    def test_nothing_else_runs_or_is_loaded(self, client: FlaskClient) -> None:
        """The policy names the page's own style and script by their hashes."""
        for path in (INDEX, PROJECT, "/"):
            answer = client.get(path, headers=BROWSER)
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-")
            assert "unsafe" not in policy
            assert "http" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert "Set-Cookie" not in answer.headers
            assert re.search(r'\s(?:style|on\w+)="', answer.text) is None

    def test_frame_style_and_script_are_small(self, client: FlaskClient) -> None:
        """Under 50 kB together, compressed."""
        answer = client.get("/", headers={**BROWSER, "Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len(answer.data) < 15_000
        assert len(gzip.decompress(answer.data)) < 50_000


@pytest.mark.usefixtures("project")
class TestProject:
    def test_everything_is_on_it(self, client: FlaskClient) -> None:
        """The newest version that is neither yanked nor a pre-release, and a list of all."""
        text = client.get(PROJECT, headers=BROWSER).text
        for expected in (
            'Hello.World <span class="version">1.0</span>',
            "Says hello &amp; &lt;b&gt;more&lt;/b&gt;",
            "<em>works</em>",
            "Python &gt;=3.11",
            ">MIT</li>",
            f'href="+{client.get(PROJECT).text.split("+")[1].split("/")[0]}/',
            "Python 3, any system",
            'href="https://x.example/source"',
            "Bad: javascript:alert(1)",
            'href="mailto:jane@example.com"',
            "Python 3.12",
            "<strong>a</strong> &gt;=1",
            "pip install --index-url http://localhost/",
            '<a href="https://ghcr.io/acme/hello_world"',
            '<time datetime="2026-11-20">',
        ):
            assert expected in text
        assert 'href="javascript' not in text
        versions = re.findall(r'<a href="([^"/.][^"/]*)/">', text)
        assert versions == ["2.0rc1", "1.0", "0.9"]
        assert text.count('badge bad">yanked') == 1
        assert text.count('badge warn">pre-release') == 1

    def test_a_version(self, client: FlaskClient) -> None:
        """It has its own files, and says why it is yanked."""
        text = client.get(f"{PROJECT}0.9/", headers=BROWSER).text
        assert "CPython 3.12, manylinux x86-64" in text
        assert "This version is yanked:</strong> broken" in text
        assert 'href="../+' in text
        assert "hello-world==0.9" in text
        assert 'id="versions"' not in text

    def test_its_links(self, client: FlaskClient) -> None:
        """They are relative, and right at every depth and behind a prefix."""
        text = client.get(PROJECT, headers=BROWSER).text
        assert '<a class="logo" href="../../../">' in text
        assert '<a href="../"><' not in text
        assert '<a href="../">ghcr.io/acme</a>' in text
        version = client.get(f"{PROJECT}1.0/", headers=BROWSER).text
        assert '<a class="logo" href="../../../../">' in version
        assert '<a href="../../">ghcr.io/acme</a><a href="../">hello-world</a>' in version.replace("\n", "")

    def test_a_prefix(self, make_app: MakeApp) -> None:
        """The lines have the whole address of the index."""
        text = make_app(path="/packages").test_client().get(f"/packages{PROJECT}", headers=BROWSER).text
        assert '<a class="logo" href="../../../">' in text
        assert "http://localhost/packages/" in text

    def test_the_address_is_the_visitors(self, client: FlaskClient) -> None:
        """Two names of one server have two pages."""
        for host in ("one.example", "two.example", "one.example"):
            text = client.get(PROJECT, headers={**BROWSER, "Host": host}).text
            assert f"http://{host}/" in text

    def test_without_metadata(self, client: FlaskClient, store: MemoryStore) -> None:
        """A project of sdists, or one whose metadata can't be read, has a page."""
        store.put("other-1.0.tar.gz")
        assert "other-1.0.tar.gz" in client.get("/ghcr.io/acme/other/", headers=BROWSER).text
        store.put("third-1.0-py3-none-any.whl", metadata=b"nonsense")
        assert "third-1.0-py3-none-any.whl" in client.get("/ghcr.io/acme/third/", headers=BROWSER).text

    def test_many_versions(self, client: FlaskClient, store: MemoryStore) -> None:
        """They are in pages, without JavaScript."""
        for number in range(120):
            store.put(f"many-{number}.0.tar.gz")
        shown = [
            re.findall(
                r'<a href="([^"/.][^"/]*)/">', client.get("/ghcr.io/acme/many/" + query, headers=BROWSER).text
            )
            for query in ("", "?page=2", "?page=3", "?page=99", "?page=x")
        ]
        assert [(len(each), each[0]) for each in shown] == [
            (50, "119.0"),
            (50, "69.0"),
            (20, "19.0"),
            (20, "19.0"),
            (50, "119.0"),
        ]

    def test_signing_in(self, client: FlaskClient) -> None:
        """A visitor may ask for the browser's dialogue where the registry lets everybody in."""
        answer = client.get(f"{PROJECT}?sign-in", headers=BROWSER)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="pyoci"'
        assert client.get(f"{PROJECT}?sign-in", headers=BROWSER, auth=("me", "secret")).status_code == 200


class TestRoot:
    def names(self, client: FlaskClient, query: str = "") -> list[str]:
        return re.findall(r'<li>\n<a href="([^"]+)/">', client.get(INDEX + query, headers=BROWSER).text)

    @pytest.fixture
    def projects(self, store: MemoryStore) -> MemoryStore:
        for number in range(250):
            store.put(f"project_{number:03}-1.0.tar.gz")
        described = {
            ProjectName.parse("project-007"): ProjectSummary("Shaken, not <stirred>", "1.0", UPLOADED),
            ProjectName.parse("project-008"): None,
        }
        store.catalog.described.update(described)
        return store

    @pytest.mark.usefixtures("projects")
    def test_list(self, client: FlaskClient) -> None:
        """In pages, each project with what is known of it. Container images are left out."""
        text = client.get(INDEX, headers=BROWSER).text
        assert "Shaken, not &lt;stirred&gt;" in text
        assert '<time datetime="2026-11-20">' in text
        assert "249 projects" in text
        assert "listed by the registry" in text
        first, third = self.names(client), self.names(client, "?page=3")
        assert (len(first), first[0], first[-1]) == (100, "project-000", "project-100")
        assert (len(third), third[-1]) == (49, "project-249")

    def test_a_page_after_the_last(self, client: FlaskClient, projects: MemoryStore) -> None:
        """It is the last page, with what is known of its projects."""
        projects.catalog.described[ProjectName.parse("project-249")] = ProjectSummary(
            "The last of all", "1.0"
        )
        text = client.get(f"{INDEX}?page=99", headers=BROWSER).text
        assert "Page 3 of 3" in text
        assert "The last of all" in text

    @pytest.mark.usefixtures("projects")
    def test_search(self, client: FlaskClient) -> None:
        """In names and in summaries; by all words."""
        assert self.names(client, "?q=24") == ["project-024", "project-124", "project-224", *self.last_ten()]
        assert self.names(client, "?q=SHAKEN+project") == ["project-007"]
        assert self.names(client, "?q=nothing") == []
        text = client.get(f"{INDEX}?q=%3Cscript%3Ealert(1)%3C/script%3E", headers=BROWSER).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text

    @staticmethod
    def last_ten() -> list[str]:
        return [f"project-{number}" for number in range(240, 250)]

    @pytest.mark.usefixtures("projects")
    def test_order(self, client: FlaskClient) -> None:
        """The newest first, then by name."""
        assert self.names(client, "?sort=date")[:3] == ["project-007", "project-000", "project-001"]
        assert self.names(client, "?sort=nonsense")[:1] == ["project-000"]

    @pytest.mark.usefixtures("projects")
    def test_what_a_caller_may_not_see(self, client: FlaskClient, store: MemoryStore) -> None:
        """A summary that one caller got is never shown to another."""
        assert "Shaken" in client.get(INDEX, headers=BROWSER, auth=("jane", "secret")).text
        store.catalog.described.clear()
        assert "Shaken" in client.get(INDEX, headers=BROWSER, auth=("jane", "secret")).text
        assert "Shaken" not in client.get(INDEX, headers=BROWSER, auth=("joe", "secret")).text
        assert "Shaken" not in client.get(INDEX, headers=BROWSER).text

    def test_an_empty_list(self, client: FlaskClient, store: MemoryStore) -> None:
        """It says how to fill it."""
        store.no_list = None
        text = client.get("/ghcr.io/empty/", headers=BROWSER).text
        assert "There are no projects here yet" in text
        assert "twine upload --repository-url http://localhost/" in text

    def test_no_list(self, client: FlaskClient, store: MemoryStore) -> None:
        """The registry has none."""
        store.no_list = NotFound("ghcr.io doesn't list its repositories; ask for a project by name")
        assert client.get(INDEX, headers=BROWSER).status_code == 404


class TestHome:
    def test_it_is_this_servers(self, client: FlaskClient) -> None:
        """It leads nowhere else, and says what to do."""
        answer = client.get("/", headers=BROWSER)
        assert answer.status_code == 200
        assert "http://localhost/" in answer.text
        assert re.findall(r'href="https?:', answer.text) == []

    def test_the_form(self, client: FlaskClient) -> None:
        """It writes the lines without JavaScript, for the chosen tool."""
        answer = client.get("/?registry=quay.io&namespace=Acme/Team&tool=poetry", headers=BROWSER)
        lines = re.sub(r"<[^>]+>", "", answer.text)
        assert "poetry source add --priority=explicit team http://localhost/quay.io/acme/team/" in lines
        assert 'value="poetry" checked' in answer.text
        assert '<a class="button" href="./quay.io/acme/team/">' in answer.text

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("registry=forbidden.example&namespace=acme", "Forbidden.example is not allowed here"),
            ("registry=nonsense&namespace=acme", "is not a registry"),
            ("registry=ghcr.io", "expected a registry and a namespace"),
            ("namespace=acme", "is not a registry"),
            ("registry=ghcr.io&namespace=%3Cb%3E", "is not a repository name"),
        ],
    )
    def test_mistakes(self, client: FlaskClient, query: str, sentence: str) -> None:
        """The page says what was expected, and keeps what was typed."""
        answer = client.get(f"/?{query}", headers=BROWSER)
        assert answer.status_code == 400
        assert sentence in answer.text
        assert "<b>" not in answer.text

    def test_a_prefix(self, make_app: MakeApp) -> None:
        """Both addresses have it, and lead to the indexes."""
        client = make_app(path="/packages").test_client()
        for path, link in (("/", "./packages/quay.io/acme/"), ("/packages/", "./quay.io/acme/")):
            text = client.get(f"{path}?registry=quay.io&namespace=acme", headers=BROWSER).text
            assert f'href="{link}"' in text
            assert "http://localhost/packages/" in text


class TestRefusals:
    @pytest.mark.parametrize(
        ("failure", "status", "sentences"),
        [
            pytest.param(
                Unauthorized("ghcr.io asks for credentials"),
                401,
                ["Sign in</h1>", "Ghcr.io asks for credentials.", "read:packages", 'href="?sign-in"'],
                id="no credentials",
            ),
            pytest.param(
                Denied("ghcr.io doesn&t <let> you"),
                403,
                ["doesn&amp;t &lt;let&gt; you", "?sign-in"],
                id="denied",
            ),
            pytest.param(
                NotFound("there is no project hello-world here"),
                404,
                ["There is nothing here</h1>", "Check the spelling", 'href="../"', "Start page"],
                id="absent",
            ),
            pytest.param(RateLimited("wait", 7), 429, ["Too many requests", "Try again"], id="rate"),
            pytest.param(Unavailable("ghcr.io can't be reached"), 503, ["Not now", "Try again"], id="down"),
            pytest.param(ProtocolError("ghcr.io answered nonsense"), 502, ["makes no sense"], id="nonsense"),
            pytest.param(
                OSError("token-of-somebody"), 500, ["Something is wrong on this server"], id="a defect"
            ),
        ],
    )
    @pytest.mark.parametrize("path", [PROJECT, INDEX])
    def test_each_is_a_page(
        self,
        client: FlaskClient,
        store: MemoryStore,
        path: str,
        failure: Exception,
        status: int,
        sentences: list[str],
    ) -> None:
        """It says what to do. Its status and its other headers are those that clients get."""
        store.failure = failure
        page, other = client.get(path, headers=BROWSER), client.get(path)
        assert page.status == other.status
        assert page.status_code == status
        for name in ("WWW-Authenticate", "Retry-After", "X-PyOCI", "Cache-Control"):
            assert page.headers.get(name) == other.headers.get(name)
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert page.headers["Vary"] == "Accept"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert other.content_type == "text/plain; charset=utf-8"
        for sentence in sentences:
            if not (path == INDEX and sentence == 'href="../"'):
                assert sentence in page.text
        assert "token-of-somebody" not in page.text

    def test_the_dialogue(self, client: FlaskClient, store: MemoryStore) -> None:
        """The browser asks again after wrong credentials, and shows the page after right ones."""
        store.put(WHEEL)
        store.password = "right"
        assert client.get(PROJECT, headers=BROWSER).headers["WWW-Authenticate"] == 'Basic realm="pyoci"'
        wrong = client.get(PROJECT, headers=BROWSER, auth=("me", "wrong"))
        assert wrong.status_code == 401
        assert "rejected these credentials" in wrong.text
        assert client.get(PROJECT, headers=BROWSER, auth=("me", "right")).status_code == 200

    @pytest.mark.parametrize(
        ("path", "status", "sentence"),
        [
            ("/nonsense/acme/", 404, "is not a registry"),
            ("/forbidden.example/acme/", 403, "The operator of this server decides"),
            ("/ghcr.io/acme/a/+b/", 400, "This request can&#39;t be answered"),
            ("/ghcr.io/", 404, "Start page"),
            ("/favicon.ico", 404, "Start page"),
            (f"{PROJECT}?format=html", 404, "there is no project hello-world"),
        ],
    )
    def test_addresses(self, client: FlaskClient, path: str, status: int, sentence: str) -> None:
        """A wrong address, and a registry that isn't allowed."""
        answer = client.get(path, headers=BROWSER)
        assert answer.status_code == status
        assert sentence in answer.text
        assert answer.headers["Cache-Control"] == "no-store"

    def test_a_project_by_its_name(self, client: FlaskClient, store: MemoryStore) -> None:
        """Where there is no list, a form opens a project."""
        store.put(WHEEL)
        store.no_list = NotFound("ghcr.io doesn't list its repositories; ask for a project by name")
        assert '<form class="search" method="get" action="./">' in client.get(INDEX, headers=BROWSER).text
        answer = client.get(f"{INDEX}?project=+Hello.World", headers=BROWSER)
        assert (answer.status_code, answer.headers["Location"]) == (302, "hello-world/")
        assert (
            client.get(INDEX, query_string={"project": "//evil.example"}, headers=BROWSER).status_code == 400
        )
        absent = client.get("/ghcr.io/acme/absent/", headers=BROWSER).text
        assert '<form class="search" method="get" action="../">' in absent

    def test_somebody_signed_in(self, client: FlaskClient, store: MemoryStore) -> None:
        """A browser can't sign out, so the page says how to be somebody else."""
        store.failure = Denied("no")
        assert "A private window" in client.get(PROJECT, headers=BROWSER, auth=("me", "secret")).text

    def test_writes_are_refused_in_text(self, client: FlaskClient) -> None:
        """A form on a page of another site gets no page, and writes nothing."""
        elsewhere = {**BROWSER, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = client.post(INDEX, headers=elsewhere, data={"name": "x"})
        assert answer.status_code == 403
        assert answer.content_type == "text/plain; charset=utf-8"

    def test_without_memory(self, client: FlaskClient, store: MemoryStore) -> None:
        """A page would need more of it."""
        store.failure = Exhausted("there is no memory left")
        assert client.get(PROJECT, headers=BROWSER).content_type == "text/plain; charset=utf-8"
