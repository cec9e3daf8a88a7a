"""Ends a process at every step that a push and a delete take: `python -m tests.embedded.killing <folder>`.

For each step the registry in `<folder>/before` is copied, and a child changes the copy and kills itself as it
comes to that step; then whatever it had not brought to the disk with fsync is torn to its half, as a power
cut may do. Prints the names of the copies, one a line.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from pyoci.embedded import create_registry_app
from pyoci.embedded.storage import Disk
from tests.embedded.builders import Wire, make_image_index, make_manifest

NAME = "acme/hello"
NEIGHBOUR = make_manifest(b"{}", b"neighbour")
MINE = make_manifest(b"{}", b"mine" * 100)
BEFORE = make_image_index(NEIGHBOUR)
AFTER = make_image_index(NEIGHBOUR, MINE)


def prepare(wire: Wire) -> None:
    """Another file under the tag, and a tag to delete."""
    wire.push_image(NAME, content=b"neighbour")
    wire.push(NAME, "1.0", BEFORE)
    wire.push(NAME, "old", BEFORE)


def publish(wire: Wire) -> None:
    """One more file, published like by PyOCI."""
    wire.push_image(NAME, content=b"mine" * 100)
    wire.push(NAME, "1.0", AFTER)


def first(wire: Wire) -> None:
    """The first push to a repository."""
    wire.push_image("acme/first", "1.0", content=b"first")


def delete(wire: Wire) -> None:
    wire.http.delete(f"/v2/{NAME}/manifests/old")


CHANGES = {"publish": publish, "first": first, "delete": delete}


class Killer:
    """Kills its process at the step `at`, and records the files that may have bytes that
    aren't on the disk.
    """

    def __init__(self, at: int, note: Path) -> None:
        self._left = at
        self._note = note
        self._unsafe: set[str] = set()

    def __call__(self, operation: str, path: Path) -> None:
        self._left -= 1
        if self._left < 0:
            self._note.write_text("\n".join(self._unsafe))
            os.kill(os.getpid(), signal.SIGKILL)
        if operation == "write":
            self._unsafe.add(str(path))
        elif operation == "sync":
            self._unsafe.discard(str(path))
        elif operation == "rename":  # whatever was unsafe before has a name now
            self._unsafe = {name for name in self._unsafe if Path(name).exists()}


def run(directory: Path, change: str, at: int, note: Path) -> bool:
    """Make the change, up to a step. Returns whether it was completed."""
    child = os.fork()
    if child == 0:
        disk = Disk(step=Killer(at, note))
        CHANGES[change](
            Wire(create_registry_app(directory, htpasswd=None, local_only=False, disk=disk).test_client())
        )
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        raise SystemExit(f"the child ended with {status}")
    return status == 0


def tear(note: Path) -> None:
    """Cut the files that aren't on the disk to half of their size."""
    for name in note.read_text().splitlines():
        path = Path(name)
        if path.exists():
            os.truncate(path, path.stat().st_size // 2)


def main() -> None:
    folder = Path(sys.argv[1])
    before = folder / "before"
    prepare(Wire(create_registry_app(before, htpasswd=None, local_only=False).test_client()))
    for change in CHANGES:
        ended = False
        step = 0
        while not ended:
            copy = folder / f"{change}-{step}"
            shutil.copytree(before, copy)
            note = folder / f"{change}-{step}.note"
            ended = run(copy, change, step, note)
            if not ended:
                tear(note)
                print(copy.name)
            step += 1


if __name__ == "__main__":
    main()
