"""URL paths, parsed."""

from __future__ import annotations

import pytest

from pyoci.oci.registries import RESERVED
from pyoci.web.addresses import PROBED, IndexAddress, NoRegistry
from tests.web.doubles import reading

read = reading()


@pytest.mark.parametrize(
    ("path", "registry", "segments"),
    [
        pytest.param("ghcr.io/acme", "ghcr.io", ("acme",), id="host"),
        pytest.param("localhost/acme", "localhost", ("acme",), id="localhost"),
        pytest.param("localhost:5000/acme", "localhost:5000", ("acme",), id="port"),
        pytest.param("[::1]:5000/acme", "[::1]:5000", ("acme",), id="IPv6"),
        pytest.param("lab/acme", "lab", ("acme",), id="alias"),
        pytest.param("local/acme", "local", ("acme",), id="embedded"),
        pytest.param(
            "http://localhost:5000/acme/a", "http://localhost:5000", ("acme", "a"), id="decoded URL"
        ),
        pytest.param("HTTPS://ghcr.io/acme", "https://ghcr.io", ("acme",), id="URL in capitals"),
        pytest.param("http:/localhost:5000/acme", "http://localhost:5000", ("acme",), id="merged slashes"),
        pytest.param(
            "http%3A%2F%2Flocalhost%3A5000/acme", "http://localhost:5000", ("acme",), id="encoded once more"
        ),
        pytest.param(
            "http:%2F%2Flocalhost:5000/acme", "http://localhost:5000", ("acme",), id="slashes encoded"
        ),
        pytest.param("https%3A%2F%2Fghcr.io%2F/acme", "https://ghcr.io", ("acme",), id="URL with a slash"),
        pytest.param("localhost%3A5000/acme", "localhost:5000", ("acme",), id="encoded port"),
        pytest.param("ghcr.io", "ghcr.io", (), id="nothing below"),
        pytest.param("ghcr.io//acme/a", "ghcr.io", ("acme", "a"), id="doubled slash after the registry"),
        pytest.param("lab//acme", "lab", ("acme",), id="doubled slash after an alias"),
        pytest.param(
            "http://localhost:5000//acme", "http://localhost:5000", ("acme",), id="doubled slash after a URL"
        ),
        pytest.param(
            "http:/localhost:5000//acme",
            "http://localhost:5000",
            ("acme",),
            id="doubled slash after a URL with merged slashes",
        ),
        pytest.param(
            "http%3A%2F%2Flocalhost%3A5000//acme",
            "http://localhost:5000",
            ("acme",),
            id="doubled slash after an encoded URL",
        ),
        pytest.param("ghcr.io///acme", "ghcr.io", ("", "acme"), id="three slashes are no two"),
        pytest.param("ghcr.io/a//b", "ghcr.io", ("a", "", "b"), id="empty segments are kept for the grammar"),
        pytest.param("ghcr.io/a/../b", "ghcr.io", ("a", "..", "b"), id="dots are kept for the grammar"),
    ],
)
def test_registry_in_every_form(path: str, registry: str, segments: tuple[str, ...]) -> None:
    """However a registry is written, and whatever a proxy did to it, it is separated from the rest of the
    path.
    """
    assert read(path) == IndexAddress(registry, segments)


@pytest.mark.parametrize(
    ("path", "root", "project"),
    [
        pytest.param("ghcr.io/a", "a", None, id="one segment is a root"),
        pytest.param("ghcr.io/a/b", "a/b", ("a", "b"), id="two are a project, or a root"),
        pytest.param("ghcr.io/a/b/C.d", "a/b/C.d", ("a/b", "C.d"), id="more too"),
        pytest.param("ghcr.io/a/+simple", "a", None, id="+simple is always the root"),
        pytest.param("ghcr.io/a/b/+simple", "a/b", None, id="+simple below two"),
        pytest.param("ghcr.io/a/b/+simple/c", None, ("a/b", "c"), id="+simple and a project"),
        pytest.param("ghcr.io/a/+simple/b/c", None, None, id="+simple and too much"),
        pytest.param("ghcr.io/+simple/b", None, None, id="+simple without a namespace"),
        pytest.param("ghcr.io/+simple", None, None, id="+simple alone"),
        pytest.param("ghcr.io", None, None, id="a registry alone"),
        pytest.param("ghcr.io/simple/b", "simple/b", ("simple", "b"), id="simple is a namespace like others"),
    ],
)
def test_roots_and_projects(path: str, root: str | None, project: tuple[str, str] | None) -> None:
    """A path may be a root, a project, both, or neither."""
    assert (read(path).as_root, read(path).as_project) == (root, project)


@pytest.mark.parametrize("segment", sorted(PROBED | RESERVED - {"local"}))
def test_reserved_segments(segment: str) -> None:
    """Reserved first segments are never registries. Those that clients probe are marked."""
    for path in (segment, f"{segment}/acme/hello"):
        with pytest.raises(NoRegistry) as caught:
            read(path)
        assert caught.value.probed is (segment in PROBED)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("acme/hello", id="no dot and no colon"),
        pytest.param("LOCALHOSTS/hello", id="nearly localhost"),
        pytest.param("https%3A%2F%2Fghcr.io%2Facme/hello", id="a namespace inside the URL"),
        pytest.param("ghcr.io%2Facme/hello", id="an encoded slash"),
        pytest.param("http:///hello", id="URL without a host"),
        pytest.param("http:", id="a scheme alone"),
        pytest.param("%00/hello", id="NUL"),
    ],
)
def test_impossible_registries(path: str) -> None:
    """A text that can't be a registry is refused before any registry is asked."""
    with pytest.raises(NoRegistry, match="expected") as caught:
        read(path)
    assert not caught.value.probed


def test_local_without_an_embedded_registry() -> None:
    """It isn't a registry then."""
    with pytest.raises(NoRegistry):
        reading(lambda _: False)("local/acme")
