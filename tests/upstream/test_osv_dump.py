"""The database of malware: which versions an entry means, broken entries, and changes."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from pyoci.events import Events
from pyoci.upstream.osv_dump import OsvDump
from tests.clock import Clock

ALL: dict[str, Any] = {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}


def affected(name: str = "evil", ecosystem: str = "PyPI", **keys: Any) -> dict[str, Any]:
    return {"package": {"ecosystem": ecosystem, "name": name}, **keys}


def write(folder: Path, identity: str, *projects: dict[str, Any], **keys: Any) -> Path:
    """An entry, as OSV has it."""
    path = folder / f"{identity}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"id": identity, "summary": "Malicious code", "affected": list(projects), **keys}
    path.write_text(json.dumps(document))
    return path


def ranges(*events: dict[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": list(events)}]}


def covers(dump: OsvDump, version: str | None, name: str = "evil") -> list[bool | None]:
    parsed = None if version is None else Version(version)
    return [report.covers(parsed) for report in dump.of_project(name)]


@pytest.mark.parametrize(
    ("keys", "malware", "clean"),
    [
        (ALL, ["0.dev0", "1.0", "1!5"], []),
        ({}, ["1.0"], []),
        ({"versions": [], "ranges": []}, ["1.0"], []),
        ({"versions": None, "ranges": None}, ["1.0"], []),
        ({"versions": ["1.0", "2.0rc1"]}, ["1.0.0", "2.0.rc.1", "1.0+local"], ["1.1", "2.0"]),
        (ranges({"introduced": "1.0"}, {"fixed": "1.5"}), ["1.0", "1.4.9"], ["0.9", "1.5", "2"]),
        (ranges({"introduced": "0"}, {"last_affected": "1.5"}), ["0.1", "1.5", "1.5+local"], ["1.5.1"]),
        (
            ranges({"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}),
            ["0.5", "2", "9"],
            ["1", "1.9"],
        ),
        ({"versions": ["3.0"], **ranges({"introduced": "1"}, {"fixed": "2"})}, ["1.5", "3.0"], ["2.5"]),
        ({"versions": ["3.0"], **ranges({"introduced": "abc"}, kind="GIT")}, ["3.0"], ["1.0"]),
        (ranges({"introduced": "abc"}, kind="GIT"), ["1.0"], []),
        ({"versions": ["3.0"], **ranges({"introduced": "what?"})}, ["1.0", "3.0"], []),
        ({"versions": ["what?"]}, [], ["1.0"]),
    ],
)
def test_versions(tmp_path: Path, keys: dict[str, Any], malware: list[str], clean: list[str]) -> None:
    """By list, by range, or all of them. Limits that can't be read mean all."""
    write(tmp_path, "MAL-2026-1", affected(**keys))
    dump = OsvDump(tmp_path)
    assert [(version, covers(dump, version)) for version in malware] == [(each, [True]) for each in malware]
    assert [(version, covers(dump, version)) for version in clean] == [(each, [False]) for each in clean]


def test_a_file_without_a_version(tmp_path: Path) -> None:
    """It is malware if all versions are; otherwise nobody knows."""
    write(tmp_path, "MAL-2026-1", affected(**ALL))
    write(tmp_path, "MAL-2026-2", affected("half", versions=["1.0"]))
    dump = OsvDump(tmp_path)
    assert covers(dump, None) != [False]
    assert covers(dump, None, "half") == [None]


def test_projects_by_any_spelling(tmp_path: Path) -> None:
    """Of PyPI alone. An entry may have several projects, and a project several entries."""
    write(tmp_path, "MAL-2026-1", affected("Evil_Twin", **ALL), affected("evil", "npm", **ALL))
    write(tmp_path / "evil-twin", "MAL-2026-2", affected("evil.twin", versions=["1.0"]))
    write(tmp_path, "MAL-2026-3", affected("-", **ALL))
    dump = OsvDump(tmp_path)
    assert sorted(report.id for report in dump.of_project("evil-twin")) == ["MAL-2026-1", "MAL-2026-2"]
    assert dump.of_project("evil") == ()


def test_what_is_no_malware(tmp_path: Path) -> None:
    """Entries that were withdrawn, vulnerabilities, and whatever else the dump has."""
    write(tmp_path, "MAL-2026-1", affected(**ALL), withdrawn="2026-02-02T00:00:00Z")
    write(tmp_path, "GHSA-1234", affected(**ALL))
    (tmp_path / "PYSEC-2026-1.json").write_text("{")
    assert OsvDump(tmp_path).of_project("evil") == ()


BROKEN: list[Callable[[Path], object]] = [
    lambda path: path.write_text("{"),
    lambda path: path.write_text("[]"),
    lambda path: path.write_bytes(b"\xff\xfe\x00"),
    lambda path: path.write_text('{"id": "MAL-2026-1"}'),
    lambda path: path.write_text('{"id": "MAL-2026-1", "affected": [{"package": {"ecosystem": "PyPI"}}]}'),
    lambda path: path.write_text('{"id": "MAL-../x", "affected": []}'),
    lambda path: write(path.parent, "MAL-2026-1", affected(versions="1.0")),
    lambda path: write(path.parent, "MAL-2026-1", affected(versions=[1.0])),
    lambda path: write(path.parent, "MAL-2026-1", affected(ranges={"type": "ECOSYSTEM"})),
    lambda path: write(path.parent, "MAL-2026-1", affected(**ranges({"introduced": "0", "fixed": "2"}))),
    lambda path: path.write_text('{"id": 5, "affected": []}'),
    lambda path: path.write_text("[" * 100_000),
    lambda path: path.write_text('{"a": "' + "x" * 5_000_000 + '"}'),
]


@pytest.mark.parametrize("spoil", BROKEN)
class TestBroken:
    def test_at_the_start(self, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
        """An entry that can't be read may be that of any project."""
        spoil(write(tmp_path, "MAL-2026-1", affected(**ALL)))
        with pytest.raises(ValueError, match=r"MAL-2026-1\.json.* (can't be read|has more than)"):
            OsvDump(tmp_path)

    def test_later(self, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
        """The former entries stay in force, and it is logged and counted once."""
        path = write(tmp_path, "MAL-2026-1", affected(**ALL))
        clock, told = Clock(), list[Any]()
        events = Events(lambda event, **_: told.append(event), count=lambda *values: told.append(values))
        dump = OsvDump(tmp_path, events=events, clock=clock, start=lambda run: run())
        spoil(path)
        for _ in range(3):
            clock.sleep(60)
            assert dump.version == 0
            assert covers(dump, "1.0") == [True]
        assert told == ["database of malware not read", ("rules", "broken")]
        write(tmp_path, "MAL-2026-1", affected("other", **ALL))
        clock.sleep(60)
        assert dump.version == 1
        assert covers(dump, "1.0") == []


def test_a_pipe(tmp_path: Path) -> None:
    """Nobody waits for it."""
    os.mkfifo(tmp_path / "MAL-2026-1.json")
    with pytest.raises(ValueError, match=r"'MAL-2026-1\.json' is no file"):
        OsvDump(tmp_path)


def test_an_empty_folder(tmp_path: Path) -> None:
    """It is a mistake: with it, no malware would be found."""
    with pytest.raises(ValueError, match=r"no files MAL-\*\.json"):
        OsvDump(tmp_path)
    with pytest.raises(FileNotFoundError):
        OsvDump(tmp_path / "nowhere")


def test_the_folder_is_removed(tmp_path: Path) -> None:
    """Its entries stay in force."""
    folder, clock = tmp_path / "osv", Clock()
    path = write(folder, "MAL-2026-1", affected(**ALL))
    dump = OsvDump(folder, clock=clock, start=lambda run: run())
    path.unlink()
    for _ in range(2):
        clock.sleep(60)
        assert (dump.version, covers(dump, "1.0")) == (0, [True])
        if folder.exists():
            folder.rmdir()


def test_a_new_process_has_no_old_entries(tmp_path: Path) -> None:
    """A worker that replaces another has what was read at the server's start, perhaps months ago. It reads
    the folder again before its first answer.
    """
    path = write(tmp_path, "MAL-2026-1", affected("evil", **ALL))
    processes, looks = [1], list[Callable[[], None]]()
    dump = OsvDump(tmp_path, clock=Clock(), start=looks.append, process=lambda: processes[-1])
    write(tmp_path, "MAL-2026-2", affected("worse", **ALL))
    assert (dump.version, covers(dump, "1.0", "worse")) == (0, [])
    processes.append(2)
    assert [dump.version for _ in range(2)] == [1, 1]
    assert covers(dump, "1.0", "worse") == [True]
    path.write_text("{")
    processes.append(3)
    assert (dump.version, covers(dump, "1.0", "evil")) == (1, [True])
    assert looks == []


def test_changes_are_looked_for_once_a_minute(tmp_path: Path) -> None:
    """Also those that leave the size and the date of a file as they were."""
    path = write(tmp_path, "MAL-2026-1", affected("evil", **ALL))
    clock, looks = Clock(), list[Callable[[], None]]()
    dump = OsvDump(tmp_path, clock=clock, start=looks.append)
    before = path.stat()
    path.unlink()
    os.utime(
        write(tmp_path, "MAL-2026-1", affected("good", **ALL)), ns=(before.st_atime_ns, before.st_mtime_ns)
    )
    clock.sleep(59)
    assert (dump.version, looks) == (0, [])
    clock.sleep(1)
    assert [dump.version for _ in range(5)] == [0] * 5
    [look] = looks
    look()
    assert dump.version == 1
    assert [bool(dump.of_project(name)) for name in ("evil", "good")] == [False, True]


@pytest.mark.parametrize("removed", [True, False], ids=["removed", "broken"])
def test_a_worker_that_is_forked_while_the_folder_is_broken(tmp_path: Path, removed: bool) -> None:
    """It has the entries that another worker had read before, whatever form they have, and not those of the
    server's start. Later ones count again.
    """
    folder, clock, processes = tmp_path / "osv", Clock(), [1]
    path = write(folder, "MAL-2026-1", affected("evil", **ALL))
    master = OsvDump(folder, clock=clock, start=lambda run: run(), process=lambda: processes[-1])
    worker = copy.copy(master)  # as a fork copies it: what it knows is its own, open files are shared
    forms = {
        "all": ALL,
        "some": {"versions": ["3.0"], **ranges({"introduced": "1"}, {"fixed": "2"})},
        "last": ranges({"introduced": "0"}, {"last_affected": "1!5rc1"}),
    }
    for number, (name, keys) in enumerate(forms.items(), 2):
        write(folder, f"MAL-2026-{number}", affected(name, **keys))
    path.unlink()
    clock.sleep(60)
    assert worker.version == 1
    shutil.rmtree(folder) if removed else path.write_text("{")
    processes.append(2)
    for forked in (copy.copy(master), copy.copy(master), worker):
        assert (forked.version, covers(forked, "1.0")) == (1, [])
        for name in forms:
            for version in ("0.5", "1.5", "2.5", "3.0", "1!5rc1", "1!5", None):
                assert covers(forked, version, name) == covers(worker, version, name) != []
        assert [each.id for each in forked.of_project("last")] == ["MAL-2026-4"]
    write(folder, "MAL-2026-1", affected("worse", **ALL))
    clock.sleep(60)
    assert (forked.version, covers(forked, "1.0", "worse")) == (2, [True])
