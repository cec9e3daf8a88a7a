"""Where wheels can be installed."""

from __future__ import annotations

import pytest

from pyoci.distributions.compatibility import Platform, PythonVersion, fits
from pyoci.errors import InvalidRequest


@pytest.mark.parametrize(
    ("platform", "taken", "others"),
    [
        (
            "manylinux_2_28_x86_64",
            ["any", "manylinux_2_28_x86_64", "manylinux_2_5_x86_64", "manylinux2014_x86_64", "linux_x86_64"],
            ["manylinux_2_31_x86_64", "manylinux_2_17_aarch64", "musllinux_1_1_x86_64", "win_amd64"],
        ),
        ("manylinux2014_aarch64", ["manylinux_2_17_aarch64"], ["manylinux_2_28_aarch64", "linux_x86_64"]),
        (
            "musllinux_1_2_x86_64",
            ["musllinux_1_1_x86_64", "any"],
            ["musllinux_2_0_x86_64", "musllinux_1_3_x86_64"],
        ),
        (
            "macosx_14_0_arm64",
            ["macosx_11_0_arm64", "macosx_10_9_universal2"],
            ["macosx_15_0_arm64", "macosx_10_9_x86_64"],
        ),
        ("win_amd64", ["win_amd64", "any"], ["win32", "win_arm64"]),
        ("*linux*_x86_64", ["manylinux1_x86_64", "musllinux_1_1_x86_64"], ["manylinux1_i686"]),
        ("any", ["any"], ["win_amd64"]),
    ],
)
def test_platforms(platform: str, taken: list[str], others: list[str]) -> None:
    """Older releases of glibc, musl and macOS are taken; patterns are compared as they are."""
    parsed = Platform.parse(platform)
    assert {tag: parsed.takes(tag) for tag in taken + others} == {
        **dict.fromkeys(taken, True),
        **dict.fromkeys(others, False),
    }


@pytest.mark.parametrize(
    ("python", "taken", "others"),
    [
        (
            "3.12",
            ["py3-none", "py2.py3-none", "cp312-cp312", "cp38-abi3", "cp312-none", "py310-none"],
            ["cp311-cp311", "cp313-abi3", "cp312-cp312t", "pp310-pypy310_pp73", "py2-none", "py313-none"],
        ),
        ("3.13t", ["cp313-cp313t", "py3-none"], ["cp313-cp313", "cp38-abi3"]),
        ("3.7", ["cp37-cp37m"], ["cp37-cp37"]),
    ],
)
def test_pythons(python: str, taken: list[str], others: list[str]) -> None:
    parsed = PythonVersion.parse(python)
    found = {tag: fits(f"a-1-{tag}-any.whl", (), (parsed,)) for tag in taken + others}
    assert found == {**dict.fromkeys(taken, True), **dict.fromkeys(others, False)}


@pytest.mark.parametrize(
    ("requires", "satisfied"),
    [
        (None, True),
        (">=3.8", True),
        (">=3.12.3", True),
        ("<3.12", False),
        (">=3.13", False),
        ("nonsense", True),
    ],
)
def test_requires_python(requires: str | None, satisfied: bool) -> None:
    """One release of the minor version is enough."""
    assert PythonVersion.parse("3.12").satisfies(requires) is satisfied


def test_one_tag_has_to_fit_both() -> None:
    """A name with several tags stands for all their combinations."""
    name = "a-1-cp311.cp312-cp312-manylinux2014_x86_64.win_amd64.whl"
    linux, windows = Platform.parse("manylinux_2_28_x86_64"), Platform.parse("win_amd64")
    assert fits(name, (linux,), (PythonVersion.parse("3.12"),))
    assert fits(name, (windows, linux), ())
    assert not fits(name, (linux,), (PythonVersion.parse("3.13"),))
    assert not fits("nonsense.whl", (), ())


@pytest.mark.parametrize("text", ["", "Manylinux", "a b", "x" * 101, "../x"])
def test_no_platform(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a platform; expected"):
        Platform.parse(text)


@pytest.mark.parametrize("text", ["", "3", "3.12.1", "cp312", "3.\N{ARABIC-INDIC DIGIT ONE}"])
def test_no_python(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"is not a version of Python; expected one like 3\.12"):
        PythonVersion.parse(text)
