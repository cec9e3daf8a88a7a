"""Names, versions and file names for hypothesis."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from pyoci.distributions.filenames import SDIST_ENDINGS

_ENDS = string.ascii_letters + string.digits
names = st.from_regex(r"\A[A-Za-z0-9](?:[A-Za-z0-9._-]{0,30}[A-Za-z0-9])?\Z")
_numbers = st.integers(0, 10**6).map(str)
_parts = st.text(string.ascii_letters + string.digits, min_size=1, max_size=5)


@st.composite
def version_texts(draw: st.DrawFn) -> str:
    """PEP 440 versions in any spelling that a file name may have (so without a hyphen)."""
    epoch = draw(st.sampled_from(["", "0!", "1!", "20!"]))
    release = ".".join(draw(st.lists(_numbers, min_size=1, max_size=4)))
    pre = draw(st.sampled_from(["", "a1", "B2", "rc3", "RC", ".alpha.4", "_beta_5", "preview6", "c0"]))
    post = draw(st.sampled_from(["", ".post1", "post2", ".rev3", "_r4", ".POST"]))
    dev = draw(st.sampled_from(["", ".dev1", "dev2", "_DEV", ".dev"]))
    local = draw(st.lists(_parts, max_size=3))
    separator = draw(st.sampled_from([".", "_"]))
    return f"{epoch}{release}{pre}{post}{dev}" + (f"+{separator.join(local)}" if local else "")


_pythons = st.sampled_from(["py3", "py2.py3", "cp311", "cp39", "pp310"])
_abis = st.sampled_from(["none", "abi3", "cp311", "pypy310_pp73"])
_platforms = st.sampled_from(
    ["any", "win_amd64", "macosx_11_0_arm64", "manylinux_2_17_x86_64.manylinux2014_x86_64"]
)
_builds = st.sampled_from(["", "1-", "2local-", "20260101-"])
tails = st.builds("{}{}-{}-{}.whl".format, _builds, _pythons, _abis, _platforms)
suffixes = tails | st.sampled_from(SDIST_ENDINGS)
