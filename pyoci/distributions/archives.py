"""Reads the metadata of wheels and sdists."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import BinaryIO

from packaging.version import Version

from pyoci.distributions import tars, zip_layout, zips
from pyoci.distributions.filenames import Sdist, Wheel
from pyoci.distributions.members import TopFolder, split_name
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest

_DIST_INFO = ".dist-info"


def read_wheel_metadata(file: BinaryIO, wheel: Wheel) -> bytes:
    """The wheel's METADATA (binary distribution format, ".dist-info directory"). Raises InvalidRequest."""
    return zips.read_zip_member(file, _metadata_of(wheel))


def read_distant_wheel_metadata(file: zip_layout.Seekable, wheel: Wheel) -> bytes:
    """Like `read_wheel_metadata`, for a wheel in a registry: it reads as little as possible."""
    return zips.read_distant_zip_member(file, _metadata_of(wheel))


def read_pkg_info(file: BinaryIO, sdist: Sdist) -> bytes:
    """The sdist's PKG-INFO (source distribution format, "Source distribution archive features").

    A PKG-INFO in an .egg-info folder is ignored. Raises InvalidRequest.
    """
    if sdist.ending == ".zip":
        return zips.read_zip_member(file, _choose_pkg_info)
    return tars.read_tar_pkg_info(file, sdist.ending)


def _metadata_of(wheel: Wheel) -> zips.Choose:
    def choose(members: Sequence[zipfile.ZipInfo]) -> zipfile.ZipInfo:
        found = [
            (segments[0], member)
            for member in members
            if (segments := split_name(member.filename))[1:] == ["METADATA"]
            and segments[0].endswith(_DIST_INFO)
        ]
        if len(found) != 1:
            raise InvalidRequest(
                f"the wheel has {len(found) or 'no'} *.dist-info/METADATA; expected one at its top"
            )
        folder, member = found[0]
        _check_dist_info(folder, wheel)
        return member

    return choose


def _choose_pkg_info(members: Sequence[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    folder = TopFolder()
    found = [member for member in members if folder.is_pkg_info(member.filename, is_folder=member.is_dir())]
    if not found:
        raise InvalidRequest("the sdist has no PKG-INFO; expected one directly in its top folder")
    return found[0]


def _check_dist_info(folder: str, wheel: Wheel) -> None:
    name, _, version = folder.removesuffix(_DIST_INFO).rpartition("-")
    try:
        agrees = ProjectName.parse(name) == wheel.name and Version(version) == wheel.version
    except (InvalidRequest, ValueError):
        agrees = False
    if not agrees:
        raise InvalidRequest(
            f"the wheel holds {folder[:100]!a}; expected the .dist-info of {wheel.name} {wheel.version}"
        )
