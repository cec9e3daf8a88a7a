"""What a page shows of core metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.distributions.details import Dependency, Details, Person, read_details
from pyoci.errors import InvalidRequest
from tests.builders import make_metadata


def read(*headers: tuple[str, str], body: str = "") -> Details:
    return read_details(make_metadata("Hello.World", extra_headers=headers, body=body))


def test_all_fields() -> None:
    """Each has its place."""
    found = read(
        ("Summary", "Says hello"),
        ("License-Expression", "MIT"),
        ("Keywords", "hello,world"),
        ("Author", "John Roe"),
        ("Author-email", '"Doe, Jane" <jane@example.com>, team@example.com'),
        ("Maintainer", "Jane"),
        ("Classifier", "Programming Language :: Python :: 3"),
        ("Provides-Extra", "tz"),
        ("Requires-Dist", "a[b]>=1"),
        ("Project-URL", "Source, https://x.example/"),
        ("Home-page", "https://home.example/"),
        ("Description-Content-Type", "text/markdown; charset=UTF-8; variant=GFM"),
        body="# Hello\n\nworld\n",
    )
    assert found == Details(
        spelling="Hello.World",
        summary="Says hello",
        licence="MIT",
        keywords=("hello", "world"),
        authors=(Person("John Roe"), Person("Doe, Jane", "jane@example.com"), Person("", "team@example.com")),
        maintainers=(Person("Jane"),),
        classifiers=("Programming Language :: Python :: 3",),
        extras=("tz",),
        dependencies=(Dependency("a[b]", ">=1"),),
        project_urls=(("Source", "https://x.example/"), ("Homepage", "https://home.example/")),
        description="# Hello\n\nworld",
        description_type="text/markdown",
    )


def test_nothing_but_the_name() -> None:
    """Absent fields are empty, and so is UNKNOWN."""
    assert read(("Summary", "UNKNOWN"), ("License", "UNKNOWN"), body="UNKNOWN\n") == Details(
        spelling="Hello.World"
    )


@pytest.mark.parametrize(
    ("line", "dependency"),
    [
        ("a", Dependency("a")),
        ("a @ https://x.example/a.whl", Dependency("a", "@ https://x.example/a.whl")),
        ('a; extra == "tz"', Dependency("a", extra="tz")),
        ('a; os_name == "nt" and extra == "tz"', Dependency("a", "", 'os_name == "nt"', "tz")),
        (
            'a; (os_name == "nt" or os_name == "posix") and extra == "tz"',
            Dependency("a", "", '(os_name == "nt" or os_name == "posix")', "tz"),
        ),
        (
            'a; os_name == "nt" or extra == "tz"',
            Dependency("a", "", 'os_name == "nt" or extra == "tz"'),
        ),
        ("<script>alert(1)</script>", Dependency("<script>alert(1)</script>")),
    ],
)
def test_dependencies(line: str, dependency: Dependency) -> None:
    """They are shown below the extra that needs them. What can't be parsed is shown as it is."""
    assert read(("Requires-Dist", line)).dependencies == (dependency,)


def test_the_old_description_header() -> None:
    """Its lines are marked by a bar."""
    found = read_details(
        b"Metadata-Version: 1.2\nName: a\nVersion: 1\nDescription: One\n        |  two\n        |three\n"
    )
    assert found.description == "One\n  two\nthree"


def test_a_licence_as_text() -> None:
    """Its first line is its title."""
    assert read(("License", "The Licence\n        of many lines")).licence == "The Licence"


def test_limits() -> None:
    """No field is without end."""
    found = read(
        *(("Classifier", f"A :: {number}") for number in range(1000)),
        ("Summary", "x" * 5000),
        ("Author-email", ",".join(f"a{number}@example.com" for number in range(1000))),
    )
    assert len(found.classifiers) == 500
    assert len(found.summary) == 1000
    assert len(found.authors) < 100


@given(st.binary(max_size=300))
def test_any_bytes(text: bytes) -> None:
    """Any file has details, or is refused."""
    try:
        read_details(b"Name: a\n" + text)
    except InvalidRequest:
        return
