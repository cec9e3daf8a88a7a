"""Archives that are read with hardly any memory: a MemoryError, and never InvalidRequest. Each is read in a
process whose address space is limited.
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from pyoci.distributions.members import METADATA_LIMIT, check_memory
from tests.builders import make_sdist, make_wheel

ROOT = Path(__file__).parents[2]
READ = """
import re, resource, sys
from pyoci.distributions.archives import read_pkg_info, read_wheel_metadata
from pyoci.distributions.filenames import parse_filename
path, name, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
parsed = parse_filename(name)
read = read_wheel_metadata if name.endswith(".whl") else read_pkg_info
with open(path, "rb") as file:
    size = int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + room, size + room))
    try:
        print(len(read(file, parsed)))
    except MemoryError:
        print("MemoryError")
"""
LARGE = "x" * (METADATA_LIMIT - 1000)


ARCHIVES = {
    "wheel": make_wheel(extra_headers=[("Description", LARGE)]),
    "sdist": make_sdist(extra_headers=[("Description", LARGE)]),
    "tar.bz2": make_sdist(ending=".tar.bz2", extra_headers=[("Description", LARGE)]),
    "zip": make_sdist(ending=".zip", extra_headers=[("Description", LARGE)]),
}


def read(path: Path, name: str, room: int) -> str:
    command = [sys.executable, "-c", READ, str(path), name, str(room)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("name", "content"), ARCHIVES.values(), ids=ARCHIVES)
def test_no_memory_is_no_broken_archive(tmp_path: Path, name: str, content: bytes) -> None:
    """A valid archive ends in MemoryError, however little memory there is."""
    path = tmp_path / name
    path.write_bytes(content)
    assert int(read(path, name, 512 * 1024 * 1024)) > len(LARGE)
    found = {read(path, name, room) for room in (0, 256 * 1024, 1024 * 1024, 2 * 1024 * 1024)}
    assert "MemoryError" in found
    assert all(answer == "MemoryError" or int(answer) > len(LARGE) for answer in found)


def test_zlib_error_for_memory_is_recognised() -> None:
    """inflate() reports it only by its number. Other errors concern the archive."""
    with pytest.raises(MemoryError):
        check_memory(zlib.error("Error -4 while decompressing data"))
    check_memory(zlib.error("Error -3 while decompressing data: invalid block type"))
    check_memory(ValueError("Error -4 while decompressing data"))
