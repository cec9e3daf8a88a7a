"""The rules for members of any archive, and the limits on the time and memory to read one."""

from __future__ import annotations

import zlib

from pyoci.errors import InvalidRequest

METADATA_LIMIT = 4 * 1024 * 1024  # bytes; real ones with a long README have some 100 kB
MEMBER_LIMIT = 100_000  # the largest archives on PyPI have some 30,000


def split_name(name: str) -> list[str]:
    """The segments of a member's name, without empty ones and `.`. Raises InvalidRequest for `..`."""
    segments = [segment for segment in name.split("/") if segment not in ("", ".")]
    if name.startswith("/") or ".." in segments:
        raise InvalidRequest(f"the archive holds {name[:100]!a}; expected names that stay inside the archive")
    return segments


def check_size(name: str, size: int) -> None:
    """Raises InvalidRequest for a METADATA or PKG-INFO that is too large."""
    if not 0 <= size <= METADATA_LIMIT:
        raise InvalidRequest(f"{name[:100]!a} has {size} bytes; expected at most {METADATA_LIMIT}")


def check_count(count: int) -> None:
    """Raises InvalidRequest for an archive of too many members."""
    if count > MEMBER_LIMIT:
        raise InvalidRequest(f"the archive has too many members; expected at most {MEMBER_LIMIT}")


def check_memory(error: Exception) -> None:
    """Raises MemoryError for zlib's error about memory: then the archive may be intact."""
    if isinstance(error, zlib.error) and str(error).startswith("Error -4 "):  # Z_MEM_ERROR
        raise MemoryError(str(error)) from None


class TopFolder:
    """Checks the names in an sdist: all are in one folder, with one PKG-INFO directly in it."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._found = False

    def is_pkg_info(self, name: str, *, is_folder: bool) -> bool:
        """Whether `name` is the PKG-INFO that counts. Raises InvalidRequest for a name that breaks the
        rules.
        """
        segments = split_name(name)
        if not segments:
            return False  # "./", which some tars begin with
        if len(segments) == 1 and not is_folder:
            raise InvalidRequest(f"the sdist holds {name[:100]!a} at its top; expected one folder there")
        if self._folder not in (None, segments[0]):
            raise InvalidRequest(
                f"the sdist holds the folders {self._folder!a} and {segments[0][:100]!a}; expected one"
            )
        self._folder = segments[0]
        return segments[1:] == ["PKG-INFO"] and self._first(name)

    def _first(self, name: str) -> bool:
        if self._found:
            raise InvalidRequest(f"the sdist holds {name[:100]!a} twice; expected one PKG-INFO")
        self._found = True
        return True
