"""Small archives of the kinds that PyPI serves: 101 files of 60 projects were read, of metadata 1.0 to 2.4.

Whatever is refused is of no use to an installer either, or is of a kind that PyPI doesn't take any more.
"""

from __future__ import annotations

import io

import pytest

from pyoci.distributions.filenames import SDIST_ENDINGS, parse_filename
from pyoci.distributions.metadata import read_metadata
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest
from tests.builders import make_metadata, make_tar, make_wheel, make_zip


def make_old(top: str, name: str, version: str) -> dict[str, bytes]:
    """The members of an sdist by old distutils: metadata 1.0, and UNKNOWN for missing values."""
    text = f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\nSummary: UNKNOWN\nAuthor: Zo\u00eb\n"
    return {f"{top}/PKG-INFO": text.encode("latin-1"), f"{top}/setup.py": b"", f"{top}/README": b""}


# File name without its ending; project; the version as it is spelled, and normalised.
SDISTS = [
    pytest.param("simplejson-1.7.3", "simplejson", "1.7.3", "1.7.3", id="metadata 1.0"),
    pytest.param("pytz-2004b", "pytz", "2004b", "2004b0", id="a letter"),
    pytest.param("setuptools-0.6c11", "setuptools", "0.6c11", "0.6rc11", id="a release candidate"),
    pytest.param("Twisted-12.0.0", "Twisted", "12.0.0", "12.0.0", id="a capital, often in bzip2"),
    pytest.param("zope.interface-4.0.5", "zope.interface", "4.0.5", "4.0.5", id="a dot"),
    pytest.param("Django-1.1.3", "Django", "1.1.3", "1.1.3", id="a capital"),
    pytest.param(
        "elementtree-1.2.6-20050316", "elementtree", "1.2.6-20050316", "1.2.6.post20050316", id="a date"
    ),
    pytest.param(
        "hello-world-2.1.2-beta", "hello-world", "2.1.2-beta", "2.1.2b0", id="a word after a hyphen"
    ),
]


@pytest.mark.parametrize("ending", SDIST_ENDINGS)
@pytest.mark.parametrize(("stem", "name", "version", "normalized"), SDISTS)
def test_sdists(stem: str, name: str, version: str, normalized: str, ending: str) -> None:
    """They can be uploaded with a form that has the project's name."""
    project, members = ProjectName.parse(name), make_old(stem, name, version)
    content = make_zip(members) if ending == ".zip" else make_tar(members, ending)
    found = read_metadata(io.BytesIO(content), parse_filename(f"{stem}{ending}", project))
    assert (found.name, str(found.version)) == (project, normalized)


@pytest.mark.parametrize(
    "requires_python",
    [
        pytest.param(">=3.5.*", id="pylint 2.4.4 and astroid 2.3.3"),
        pytest.param("3", id="no operator"),
        pytest.param("^3.8", id="a caret"),
        pytest.param(">=3.6 <4", id="no comma"),
    ],
)
def test_wheels(requires_python: str) -> None:
    """Their Requires-Python is an old specifier, or invalid; it is shown unchanged."""
    filename, content = make_wheel(requires_python=requires_python)
    found = read_metadata(io.BytesIO(content), parse_filename(filename))
    assert found.requires_python == requires_python


FLAT = {"PKG-INFO": make_metadata("reportlab", "2.3"), "ReportLab_2_3/setup.py": b""}
REFUSED = [
    pytest.param(
        "pytz-2011k.tar.gz",
        make_tar(make_old("pytz-2011k", "pytz", "2011k")),
        "expected pytz-version.tar.gz with a PEP 440 version",
        id="pip and uv ignore versions that PEP 440 doesn't know",
    ),
    pytest.param(
        "reportlab-2.3.zip",
        make_zip(FLAT),
        "expected one folder there",
        id="pip finds no setup.py, because PKG-INFO is beside its folder",
    ),
]


@pytest.mark.parametrize(("filename", "content", "sentence"), REFUSED)
def test_refused(filename: str, content: bytes, sentence: str) -> None:
    """The only files among those 101 that are refused, each with its reason."""
    with pytest.raises(InvalidRequest) as caught:
        read_metadata(io.BytesIO(content), parse_filename(filename, ProjectName("pytz")))
    assert sentence in caught.value.message
