"""The parts of a project's page: tags in words, sizes, links, and the lines of tools."""

from __future__ import annotations

import json
import tomllib

import pytest
import yaml

from pyoci.pages import links, usage
from pyoci.pages.frame import count, size
from pyoci.pages.tags import kind_of

INDEX = usage.Index("https://pyoci.example.com/", "ghcr.io/acme")


@pytest.mark.parametrize(
    ("filename", "kind"),
    [
        ("a-1-py3-none-any.whl", "Python 3, any system"),
        ("a-1-py2.py3-none-any.whl", "Python 2 and Python 3, any system"),
        (
            "a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "CPython 3.12, manylinux x86-64",
        ),
        ("a-1-cp312-cp312-musllinux_1_2_aarch64.whl", "CPython 3.12, musllinux ARM64"),
        ("a-1-cp38-abi3-macosx_11_0_arm64.whl", "CPython 3.8 and newer, macOS 11 ARM64"),
        ("a-1-cp310-cp310-macosx_10_9_universal2.whl", "CPython 3.10, macOS 10.9 ARM64 and x86-64"),
        ("a-1-cp313-cp313t-win_amd64.whl", "free-threaded CPython 3.13, Windows x86-64"),
        ("a-1-1-cp313-cp313-win32.whl", "CPython 3.13, Windows x86"),
        ("a-1-pp310-pypy310_pp73-linux_armv7l.whl", "PyPy 3.10, Linux ARMv7"),
        ("a-1-cp313-cp313-ios_13_0_arm64_iphoneos.whl", "CPython 3.13, iOS arm64_iphoneos"),
        ("a-1-weird-abi-thing.whl", "weird, thing"),
        ("a-1.tar.gz", "source"),
        ("a-1.zip", "source"),
        ("a-1.egg", "other"),
        ("a.whl", "other"),
    ],
)
def test_tags_in_words(filename: str, kind: str) -> None:
    """A reader learns where a file can be installed."""
    assert kind_of(filename) == kind


def test_many_tags_are_cut() -> None:
    """A name with a hundred tags stays readable."""
    pythons = ".".join(f"cp3{minor}" for minor in range(100))
    assert kind_of(f"a-1-{pythons}-none-any.whl").endswith("CPython 3.4 and others, any system")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345, "12.3 kB"),
        (999_999, "1.0 MB"),
        (123_456_789, "123 MB"),
        (5 * 10**12, "5000 GB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    """Three digits are enough."""
    assert size(number) == text


def test_counts() -> None:
    """One is no plural."""
    assert [count(number, "file") for number in (0, 1, 1234)] == ["0 files", "1 file", "1,234 files"]


@pytest.mark.parametrize(
    ("url", "is_linked"),
    [
        ("https://x.example/a?b=c#d", True),
        ("http://x.example", True),
        ("mailto:jane@example.com", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)", False),
        ("data:text/html,x", False),
        ("//x.example/", False),
        ("/local/acme/", False),
        ("https://user:secret@x.example/", False),
        ("https://x.example/\x00", False),
        ("https://x.example/ onclick=alert(1)", False),
        ("https://x.example/'onclick='", False),
        ("https://x.example\\@y.example/", False),
        ("https:///", False),
        ("https://[x/", False),
        ("https://x.example:port/", False),
        ("mailto:a@b.example?body=<script>", False),
        ("vbscript:x", False),
        ("", False),
        ("https://x.example/" + "a" * 3000, False),
    ],
)
def test_links_of_packages(url: str, is_linked: bool) -> None:
    """Only plain addresses of other sites, and of e-mail, become links."""
    assert links.outside(url) == (url if is_linked else "")


@pytest.mark.parametrize(
    ("host", "repository", "page"),
    [
        ("ghcr.io", "acme/hello_world", "https://ghcr.io/acme/hello_world"),
        ("registry-1.docker.io", "acme/hello_world", "https://hub.docker.com/r/acme/hello_world"),
        ("quay.io", "acme/hello_world", "https://quay.io/repository/acme/hello_world"),
        ("registry.gitlab.com", "acme/app/hello", "https://gitlab.com/acme/app/container_registry"),
        ("harbor.example.com", "acme/hello", "https://harbor.example.com/harbor/projects"),
        (
            "europe-west1-docker.pkg.dev",
            "proj/repo/hello_world",
            "https://console.cloud.google.com/artifacts/docker/proj/europe-west1/repo/hello_world",
        ),
        ("registry.example.com", "acme/hello", ""),
    ],
)
def test_pages_of_registries(host: str, repository: str, page: str) -> None:
    """A registry whose addresses are known has a link to its own page."""
    assert links.registry_page(host, repository) == page


@pytest.mark.parametrize("upstream", [False, True])
@pytest.mark.parametrize("path", ["ghcr.io/acme", "simple", "quay.io/acme/My.Team"])
def test_lines_of_tools(path: str, upstream: bool) -> None:
    """Each names the index, and is what its tool reads."""
    index = usage.Index("https://pyoci.example.com/packages/", path, upstream=upstream)
    found = {tool.key: tool for tool in usage.tools(index)}
    assert len(found) == 9
    for tool in found.values():
        text = "\n".join(block.text for block in tool.blocks)
        assert f"pyoci.example.com/packages/{path}/" in text
        assert "%" not in text
    assert tomllib.loads(found["uv"].blocks[0].text)["tool"]["uv"]["index"][0]["url"] == index.url
    assert tomllib.loads(found["pdm"].blocks[0].text)["tool"]["pdm"]["source"][0]["url"] == index.url
    for block in found["renovate"].blocks:
        json.loads(block.text)
    job = yaml.safe_load(found["actions"].blocks[0].text)["jobs"]["publish"]
    assert job["steps"][-1]["env"]["UV_PUBLISH_URL"] == index.url


def test_credentials_of_a_job() -> None:
    """Jobs on GitHub have a token for ghcr.io and need a secret for other registries."""
    texts = [
        "\n".join(b.text for b in usage.tools(usage.Index("https://x/", p))[-1].blocks)
        for p in ("ghcr.io/a", "quay.io/a")
    ]
    assert ["secrets.GITHUB_TOKEN" in text for text in texts] == [True, False]


def test_lines_that_install() -> None:
    """The requirements line has the hashes of the version's files."""
    found = {
        tool.key: tool.blocks[0].text
        for tool in usage.installing(INDEX, "hello", "1.0", ["ab", "cd"], pinned=False)
    }
    assert found["pip"] == "pip install --index-url https://pyoci.example.com/ghcr.io/acme/ hello"
    assert found["requirements"] == (
        "--index-url https://pyoci.example.com/ghcr.io/acme/\n"
        "hello==1.0 \\\n    --hash=sha256:ab \\\n    --hash=sha256:cd"
    )
    pinned = usage.installing(INDEX, "hello", "1.0", (), pinned=True)
    assert (
        pinned[1].blocks[0].text == "uv add --index acme=https://pyoci.example.com/ghcr.io/acme/ hello==1.0"
    )
