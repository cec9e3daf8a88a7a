"""A process that is killed at any step of a write leaves a registry that is whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from pyoci.embedded import create_registry_app, gc
from pyoci.embedded.storage import Disk
from tests.embedded.builders import Wire
from tests.embedded.conftest import Clock
from tests.embedded.killing import AFTER, BEFORE, CHANGES, NAME

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One directory for each step at which a push or a delete was killed."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.embedded.killing", str(folder)]
    names = subprocess.run(
        command, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=120
    ).stdout
    return [folder / name for name in names.split()]


def wire_to(directory: Path) -> Wire:
    return Wire(create_registry_app(directory, htpasswd=None, local_only=False).test_client())


def complete(wire: Wire, name: str, tag: str) -> bytes | None:
    """The manifest behind a tag, with everything below it read and found whole; None if there is none."""
    response = wire.http.get(f"/v2/{name}/manifests/{tag}")
    if response.status_code == 404:
        return None
    assert response.status_code == 200
    document = response.get_json(force=True)
    for child in document.get("manifests", []):
        assert complete(wire, name, child["digest"]) is not None
    for blob in [document["config"], *document["layers"]] if "layers" in document else []:
        found = wire.http.get(f"/v2/{name}/blobs/{blob['digest']}")
        assert found.content_length == blob["size"]
        assert found.status_code == 200
    return bytes(response.data)


def test_each_step_was_killed(killed: list[Path]) -> None:
    """Each kind of write has many steps."""
    counts = {change: sum(path.name.startswith(f"{change}-") for path in killed) for change in CHANGES}
    assert counts["publish"] > 30
    assert counts["first"] > 30
    assert counts["delete"] > 4


def test_a_kill_leaves_the_old_or_the_new(killed: list[Path]) -> None:
    """After a kill a tag names the whole manifest from before or the whole one from after."""
    seen = set()
    for directory in killed:
        wire = wire_to(directory)
        document = complete(wire, NAME, "1.0")
        assert document in (BEFORE, AFTER), directory
        seen.add(document)
        complete(wire, "acme/first", "1.0")
        assert wire.tags(NAME) in (["1.0", "old"], ["1.0"]), directory
    assert seen == {BEFORE, AFTER}


def test_the_same_write_succeeds_after_a_kill(killed: list[Path], clock: Clock) -> None:
    """The garbage collection removes what a kill left behind."""
    for directory in killed:
        wire = wire_to(directory)
        CHANGES[directory.name.partition("-")[0]](wire)
        if directory.name.startswith("publish"):
            assert complete(wire, NAME, "1.0") == AFTER
        elif directory.name.startswith("first"):
            assert complete(wire, "acme/first", "1.0") is not None
        else:
            assert wire.tags(NAME) == ["1.0"]
    clock.pass_hours(2)
    for directory in killed:
        collected = gc(directory, disk=Disk(clock=clock))
        assert collected.problems == ()
        assert list(directory.rglob("_uploads/*")) == []
        wire = wire_to(directory)
        assert complete(wire, NAME, "1.0") is not None
