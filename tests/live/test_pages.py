"""Pages for people, in a real browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, HttpCredentials, Page, sync_playwright

from pyoci.app import create_app
from pyoci.config import Settings
from tests.live import exhibits
from tests.live.clients import Clients
from tests.live.conftest import ENVIRONMENTS, WRITER
from tests.live.indexes import PackageIndex
from tests.live.programs import find
from tests.live.servers import Server
from tests.serving import served

pytestmark = pytest.mark.live("chromium")

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WIDTHS = (1280, 720, 360)
_MANY = 110  # projects, more than a page has


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=list(_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def index(pyoci: Server, settings: dict[str, str]) -> PackageIndex:
    """A namespace of the embedded registry with all exhibits. They are published in this process, without the
    waits that other writers of the registry would need.
    """
    index = PackageIndex.new(pyoci, "local", "")
    app = create_app(Settings.from_environ(settings | {"PYOCI_LOG": "off"}), sleep=lambda _: None)
    path = urlsplit(index.url).path
    with app.test_client() as client:
        for name, content in (*exhibits.ordinary(), *exhibits.neighbours(_MANY), exhibits.hostile()):
            form = {":action": "file_upload", "content": (io.BytesIO(content), name)}
            assert client.post(path, data=form).status_code == 200
        client.patch(f"{path}hello-world/1.0", json={"yanked": "It says goodbye."})
    return index


@pytest.fixture
def addresses(pyoci: Server, index: PackageIndex) -> dict[str, str]:
    """A page of each kind."""
    return {
        "home": f"{pyoci.url}/?registry=lab&namespace=acme&tool=uv",
        "mistake": f"{pyoci.url}/?registry=nonsense&namespace=acme",
        "root": index.url,
        "search": f"{index.url}?q=acme&sort=date",
        "project": f"{index.url}hello-world/",
        "version": f"{index.url}hello-world/1.0/",
        "hostile": f"{index.url}hostile/",
        "absent": f"{index.url}nothing/",
    }


@dataclass(slots=True)
class Visit:
    """A page, with what it asked for and what went wrong in it."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)

    def expect_peace(self) -> None:
        """No error, and nothing from anywhere but this server."""
        assert self.troubles == []
        assert {host.partition(":")[0] for host in self.hosts} == {"127.0.0.1"}


def visit(context: BrowserContext) -> Visit:
    page = context.new_page()
    found = Visit(page)
    page.on("request", lambda request: found.hosts.add(request.url.partition("://")[2].partition("/")[0]))
    page.on("pageerror", lambda error: found.troubles.append(str(error)))
    page.on("dialog", lambda dialog: found.troubles.append(dialog.message))
    page.on(
        "console",
        lambda said: (
            found.troubles.append(said.text)
            if said.type == "error" and "responded with a status of 4" not in said.text
            else None
        ),
    )
    return found


@pytest.fixture
def visited(browser: Browser) -> Iterator[Visit]:
    """A new visitor with no history."""
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        yield visit(context)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_at_three_widths(browser: Browser, addresses: dict[str, str], scheme: str) -> None:
    """Nothing is wider than the window, loaded from elsewhere or refused by the page's own policy."""
    with browser.new_context(color_scheme="dark" if scheme == "dark" else "light") as context:
        visited = visit(context)
        for name, url in addresses.items():
            visited.page.goto(url)
            for width in _WIDTHS:
                visited.page.set_viewport_size({"width": width, "height": 800})
                wide = visited.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} wide in a window of {width}"
            back = visited.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (back == "rgb(251, 251, 252)") is (scheme == "light")
            assert visited.page.evaluate("document.cookie") == ""
            assert visited.page.locator("h1").count() == 1
        visited.expect_peace()


@pytest.mark.live("npm", "axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe(
    browser: Browser, addresses: dict[str, str], scheme: str, request: pytest.FixtureRequest
) -> None:
    """axe-core finds no violation. In the dark only contrasts can differ."""
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    folder = request.config.stash[ENVIRONMENTS].of("axe-core")
    script = (folder / "lib" / "node_modules" / "axe-core" / "axe.min.js").read_text()
    with browser.new_context(color_scheme="dark" if scheme == "dark" else "light") as context:
        page = context.new_page()
        for name, url in addresses.items():
            page.goto(url)
            page.evaluate(script)
            found = page.evaluate("rules => axe.run(rules).then(found => found.violations)", rules)
            wrong = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
            assert wrong == [], name


def test_by_keyboard_alone(visited: Visit, index: PackageIndex) -> None:
    """Skip to the content, choose a tool, change the colours, open a version."""
    page = visited.page
    page.goto(f"{index.url}hello-world/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "pip"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".panels > div:visible").inner_text().startswith("poetry source add")
    page.locator(".theme").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    page.get_by_role("link", name="1.0", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/hello-world/1.0/")
    assert "It says goodbye." in page.locator(".notice.bad").inner_text()
    visited.expect_peace()


@pytest.mark.live("pip")
def test_copied_lines_install(visited: Visit, index: PackageIndex, clients: Clients, tmp_path: Path) -> None:
    """pip takes the line that the button copies, and the requirements with their hashes."""
    page = visited.page
    page.goto(f"{index.url}greetings/")
    page.locator(".panels > div:visible .copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert page.locator(".panels > div:visible .copy").inner_text() == "Copied"
    program, *arguments = shlex.split(copied)
    clients.run(program, *arguments, "--no-deps", "--target", tmp_path / "there")
    assert (tmp_path / "there" / "greetings.py").exists()
    page.get_by_text("requirements.txt", exact=True).click()
    page.locator(".panels > div:visible .copy").click()
    (tmp_path / "requirements.txt").write_text(page.evaluate("navigator.clipboard.readText()"))
    where = ("--require-hashes", "-r", tmp_path / "requirements.txt", "--target", tmp_path / "here")
    clients.run("pip", "install", "--no-deps", *where)
    assert (tmp_path / "here" / "greetings.py").exists()
    page.locator("[data-copy] .copy").first.click()
    assert page.evaluate("navigator.clipboard.readText()") in (tmp_path / "requirements.txt").read_text()


_APP = '[project]\nname = "app"\nversion = "1.0"\nrequires-python = ">=3.11,<4"\ndependencies = []\n'


@pytest.mark.live("uv", "poetry", "pdm")
def test_lines_of_other_tools(visited: Visit, index: PackageIndex, clients: Clients, tmp_path: Path) -> None:
    """uv, poetry and pdm take the lines of a project's page."""
    visited.page.goto(f"{index.url}greetings/")
    _, uv, poetry, pdm, _ = visited.page.locator(".panels code").all_text_contents()
    add_source, add_project = poetry.splitlines()
    for tool, pyproject, lines in (
        ("uv", _APP, [f"{uv} --no-sync"]),
        ("poetry", f"{_APP}[tool.poetry]\npackage-mode = false\n", [add_source, f"{add_project} --lock"]),
        ("pdm", f"{_APP}[tool.pdm]\ndistribution = false\n{pdm}\n", ["pdm add --no-sync greetings"]),
    ):
        folder = tmp_path / tool
        folder.mkdir()
        (folder / "pyproject.toml").write_text(pyproject)
        for line in lines:
            clients.run(*shlex.split(line), cwd=folder)
        assert "greetings" in (folder / f"{tool}.lock").read_text()


def test_the_list_is_filtered_searched_and_paged(visited: Visit, index: PackageIndex) -> None:
    """Rows go while somebody types; Enter searches all pages."""
    page = visited.page
    page.goto(index.url)
    rows = page.locator(".projects > li:visible")
    assert rows.count() == 100
    page.get_by_role("searchbox").fill("platform acme")
    assert rows.count() == 1
    assert page.locator("[data-count]").inner_text() == "1 of 100 on this page"
    page.get_by_role("searchbox").fill("project-109")
    assert rows.count() == 0
    page.keyboard.press("Enter")
    page.wait_for_url("**q=project-109*")
    assert rows.all_inner_texts()[0].startswith("project-109")
    page.get_by_role("link", name="Show all").click()
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**page=2**")
    assert rows.count() == _MANY + 8 - 100
    visited.expect_peace()


def test_the_form_on_the_home_page(visited: Visit, pyoci: Server) -> None:
    """The lines change while somebody types, as the server would write them."""
    page = visited.page
    page.goto(f"{pyoci.url}/")
    page.get_by_label("Registry").fill("lab")
    page.get_by_label("Namespace").fill("Acme/My_Team")
    page.locator("label[for=lines-actions]").click()
    typed = page.locator(".panels > div").all_text_contents()
    assert "secrets.REGISTRY_TOKEN" in typed[-1]
    page.get_by_role("button", name="Show the lines").click()
    page.wait_for_url("**registry=lab**")
    assert page.locator(".panels > div").all_text_contents() == typed
    visited.expect_peace()


def test_without_javascript(browser: Browser, index: PackageIndex, pyoci: Server) -> None:
    """All works but the filter, the copy buttons and the choice of colours, which aren't shown."""
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{index.url}hello-world/")
        page.locator("label[for=install-uv]").click()
        assert page.locator(".panels > div:visible").inner_text().startswith("uv add")
        assert page.locator("button:visible").count() == 0
        page.get_by_role("link", name="1.0", exact=True).click()
        page.wait_for_url("**/hello-world/1.0/")
        page.goto(index.url)
        page.get_by_role("searchbox").fill("project-109")
        page.get_by_role("button", name="Search").click()
        assert page.locator(".projects > li").count() == 1
        page.goto(f"{pyoci.url}/")
        page.get_by_label("Registry").fill("lab")
        page.get_by_label("Namespace").fill("acme")
        page.get_by_label("Tool").select_option("twine")
        page.get_by_role("button", name="Show the lines").click()
        page.wait_for_url("**registry=lab**")
        shown = page.locator(".panels > div:visible").inner_text()
        assert f"twine upload --repository-url {pyoci.url}/lab/acme/" in shown


def test_a_hostile_package(visited: Visit, index: PackageIndex) -> None:
    """It can't run, load, frame, style or leave this page, whatever its fields hold."""
    page = visited.page
    page.goto(f"{index.url}hostile/")
    page.wait_for_timeout(300)  # a script, a refresh or an image would have started by then
    assert page.url == f"{index.url}hostile/"
    assert page.evaluate("typeof hacked") == "undefined"
    for tag in (
        "img",
        "iframe",
        "form",
        "object",
        "base",
        "main main",
        ".description .notice",
        "a[href^=javascript]",
    ):
        assert page.locator(tag).count() == 0, tag
    assert page.locator("style").count() == page.locator("script").count() == 1
    assert page.locator(".foot").is_visible()
    assert (
        page.get_by_text("Sign in at evil.example").evaluate("e => getComputedStyle(e).position") == "static"
    )
    assert "onerror" in page.locator(".lead").inner_text()
    links = page.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert not [link for link in links if link and link.startswith(("javascript", "data", "vbscript", "/"))]
    visited.expect_peace()


def test_refused_and_signed_in(browser: Browser, guarded_pyoci: Server, tmp_path: Path) -> None:
    """Wrong credentials get a page that says what to do. With the right ones the project is shown."""
    index = PackageIndex.new(guarded_pyoci, "local", "").signed_in(*WRITER)
    name, content = next(exhibits.ordinary())
    (tmp_path / name).write_bytes(content)
    index.upload(tmp_path / name)
    user, password = WRITER
    # Without a dialogue to leave, a browser without a window shows an error of its own in place of the page.
    with browser.new_context(http_credentials={"username": user, "password": "wrong"}) as context:
        page = context.new_page()
        answer = page.goto(f"{index.url}hello-world/")
        assert answer is not None
        assert answer.status == 401
        assert page.locator("h1").inner_text() == "Sign in"
        assert "rejected these credentials" in page.locator("main").inner_text()
    with browser.new_context(http_credentials={"username": user, "password": password}) as context:
        visited = visit(context)
        visited.page.goto(f"{index.url}hello-world/")
        assert visited.page.locator("h1").inner_text().startswith("hello-world")
        visited.page.goto(f"{index.url}nothing/")
        assert visited.page.locator("h1").inner_text() == "There is nothing here"
        visited.expect_peace()


_ATTACKER = """<!DOCTYPE html>
<form id="form" method="post" enctype="multipart/form-data" target="there" action="{url}">
<input name=":action" value="file_upload"><input name="name" value="planted">
<input type="file" name="content"></form><iframe name="there"></iframe>
<script>
const file = new File(["x"], "planted-1.0.tar.gz");
const files = new DataTransfer();
files.items.add(file);
document.querySelector("[type=file]").files = files.files;
const body = new FormData(document.getElementById("form"));
const send = (path, options) => fetch("{url}" + path, {{mode: "no-cors", credentials: "include", ...options}})
  .then((answer) => answer.type, (error) => "blocked");
window.done = Promise.all([
  send("", {{method: "POST", body}}),
  send("hello-world/1.2.0", {{method: "DELETE", mode: "cors"}}),
]);
document.getElementById("form").submit();
</script>"""


def _attacker(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The page of another site. Its query is the URL of the index that it attacks."""
    start_response("200 OK", [("Content-Type", "text/html")])
    return [_ATTACKER.format(url=environ["QUERY_STRING"]).encode()]


def test_a_page_of_another_site_writes_nothing(browser: Browser, index: PackageIndex) -> None:
    """The browser would send its credentials along. PyOCI refuses by Origin and Sec-Fetch-Site."""
    login: HttpCredentials = {"username": "me", "password": "secret"}
    with served(_attacker) as attacker, browser.new_context(http_credentials=login) as context:
        page = context.new_page()
        statuses: list[int] = []
        page.on("response", lambda answer: statuses.append(answer.status))
        page.goto(f"{index.url}hello-world/")  # the browser knows the credentials now
        for origin in (attacker, attacker.replace("127.0.0.1", "localhost")):
            page.goto(f"{origin}/?{index.url}")
            page.evaluate("window.done")
            page.wait_for_load_state()
    assert 403 in statuses
    assert index.get("planted/").status_code == 404
    assert "hello_world-1.2.0.tar.gz" in index.filenames("hello-world")
