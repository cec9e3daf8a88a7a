"""`pyoci copy`, `pyoci prune` and `pyoci check`, straight in registries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pyoci.app import create_app
from pyoci.config import Settings
from tests.builders import make_sdist, make_wheel
from tests.cli.conftest import Run, WriteFile
from tests.serving import served

WHEEL, OTHER = make_wheel(), make_wheel("other")
# Three versions of a project, and another project.
FILES = [WHEEL, make_sdist(), make_wheel(version="2.0"), make_wheel(version="2.1.dev1"), OTHER]
YANKED = [("hello-world", "1.0")]


@pytest.fixture
def registry(published: str) -> str:
    """The namespace with FILES, straight in the registry."""
    return f"{published}/acme"


def _shown(run: Run, address: str) -> list[object]:
    files = run("show", address, "hello-world", "--json").document["files"]
    assert isinstance(files, list)
    return files


class TestCopy:
    def test_to_another_namespace_and_a_folder_and_back(
        self, registry: str, server: str, run: Run, tmp_path: Path
    ) -> None:
        """Every file is shown as before at each place: times, hashes, yanks."""
        places = [f"{server}/elsewhere", f"oci:{tmp_path / 'backup'}", f"{server}/restored"]
        before, source = _shown(run, registry), registry
        for target in places:
            ran = run("copy", source, target)
            assert (ran.code, ran.stderr) == (0, "")
            assert ran.stdout.startswith("4 tags copied, 0 were there already; ")
            assert _shown(run, target) == before
            source = target
        assert run("list", places[1]).stdout.split() == ["hello-world", "other"]

    def test_document(self, registry: str, run: Run, tmp_path: Path) -> None:
        target = f"oci:{tmp_path / 'backup'}"
        document = run("copy", registry, target, "other", "--json").document
        (tag,) = document["tags"]
        assert (document["source"], document["target"]) == (registry, target)
        assert (tag["project"], tag["tag"], tag["outcome"], tag["notes"]) == ("other", "1.0", "copied", [])
        assert tag["sent"] >= len(OTHER[1])
        again = run("copy", registry, target, "other", "--json").document["tags"][0]
        assert (again["outcome"], again["sent"]) == ("present", 0)

    def test_unknown_project(self, registry: str, run: Run, tmp_path: Path) -> None:
        ran = run("copy", registry, f"oci:{tmp_path / 'backup'}", "absent", "other")
        assert ran.code == 1
        assert f"there is no project absent in {registry}" in ran.stdout
        assert "1 tag copied" in ran.stdout

    def test_folder_that_is_not_there(self, server: str, run: Run, tmp_path: Path) -> None:
        ran = run("copy", f"oci:{tmp_path / 'absent'}", f"{server}/acme")
        assert (ran.code, ran.stdout) == (4, "")
        assert ran.stderr == (
            f"there is no folder {tmp_path / 'absent'}; expected one of OCI image layouts, like oci:backup\n"
        )

    def test_same_place(self, registry: str, run: Run) -> None:
        ran = run("copy", registry, registry)
        assert (ran.code, ran.stderr) == (2, f"{registry} is both source and target; expected two places\n")

    def test_through_a_server(self, registry: str, server: str, run: Run, tmp_path: Path) -> None:
        """A server's HTTP API can't keep upload times, so the registry itself is needed."""
        ran = run("copy", f"{server}/local/acme", f"oci:{tmp_path}")
        assert ran.code == 1
        assert ran.stderr.startswith("copying needs the registry itself, and ")


class TestPrune:
    def test_dry_run(self, registry: str, run: Run) -> None:
        ran = run("prune", registry, "--keep", "1", "--dry-run")
        assert ran.code == 0
        assert [line.split()[:2] for line in ran.stdout.splitlines()[1:2]] == [["hello-world", "1.0"]]
        assert "1 version to delete" in ran.stdout
        assert len(_shown(run, registry)) == 4

    def test_deletes(self, registry: str, run: Run) -> None:
        """The newest final version stays, though it isn't among the newest one."""
        document = run("prune", registry, "--keep", "1", "--yes", "--json").document
        assert [(each["version"], each["deleted"]) for each in document["versions"]] == [("1.0", True)]
        versions = run("list", registry, "hello-world", "--json").document["versions"]
        assert [each["version"] for each in versions] == ["2.0", "2.1.dev1"]

    def test_quarantined_project(self, registry: str, run: Run) -> None:
        """Its versions are deleted as others are, and the status stays."""
        run("status", registry, "hello-world", "quarantined", "--reason", "malware")
        assert run("prune", registry, "hello-world", "--keep", "1", "--yes").code == 0
        assert run("status", registry, "hello-world").stdout == "hello-world is quarantined: malware\n"
        run("status", registry, "hello-world", "active")
        versions = run("list", registry, "hello-world", "--json").document["versions"]
        assert [each["version"] for each in versions] == ["2.0", "2.1.dev1"]

    def test_match(self, registry: str, run: Run) -> None:
        document = run("prune", registry, "--match", "dev|rc", "--dry-run", "--json").document
        assert [each["version"] for each in document["versions"]] == ["2.1.dev1"]

    def test_lock_file(self, registry: str, run: Run, tmp_path: Path) -> None:
        lock = tmp_path / "requirements.txt"
        lock.write_text("hello-world==1.0\n")
        document = run(
            "prune", registry, "--keep", "1", "--keep-locked", lock, "--dry-run", "--json"
        ).document
        assert document["versions"] == []

    def test_everything_may_not_go(self, registry: str, run: Run) -> None:
        document = run("prune", registry, "--keep", "0", "--dry-run", "--json").document
        gone = [(each["project"], each["version"]) for each in document["versions"]]
        assert gone == [("hello-world", "1.0"), ("hello-world", "2.1.dev1")]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ([], "there is no rule; expected --keep, --keep-newer, --keep-locked or --match"),
            (["--keep", "1"], "there is no terminal to ask at; expected --yes or --dry-run"),
            (["--keep-newer", "90"], "'90' is not an age; expected a number and a unit, like 90d, 12h or 8w"),
            (["--match", "("], "'(' is not a regular expression"),
            (["--keep-locked", "absent.lock"], "absent.lock can't be read"),
        ],
    )
    def test_wrong_usage(self, registry: str, run: Run, arguments: list[str], sentence: str) -> None:
        """Nothing is deleted."""
        ran = run("prune", registry, *arguments)
        assert ran.code == 2
        assert sentence in ran.stderr
        assert len(_shown(run, registry)) == 4

    def test_project_that_cannot_be_read(self, registry: str, run: Run, tmp_path: Path) -> None:
        """It is named with the reason, and the others are pruned."""
        folder = tmp_path / "registry" / "acme" / "other"
        (folder / "index.json").write_text("damaged")
        ran = run("prune", registry, "--keep", "1", "--yes")
        assert ran.code == 1
        assert ran.stderr.startswith("other can't be read: ")
        assert "1 version to delete" in ran.stdout
        assert len(_shown(run, registry)) == 2
        document = run("prune", registry, "--keep", "1", "--yes", "--json").document
        assert [each["project"] for each in document["unreadable"]] == ["other"]
        assert document["versions"] == []

    def test_unknown_project(self, registry: str, run: Run) -> None:
        assert run("prune", registry, "absent", "--keep", "1", "--dry-run").code == 4


class TestCheck:
    def test_sound(self, registry: str, run: Run) -> None:
        ran = run("check", registry, "--deep")
        assert (ran.code, ran.stderr) == (0, "")
        assert ran.stdout == "2 projects, 9 documents, 9 blobs: no problems\n"

    def test_lost_file_comes_back_from_a_folder(
        self, registry: str, run: Run, write: WriteFile, tmp_path: Path
    ) -> None:
        _lose(run, registry, tmp_path, WHEEL[0])
        ran = run("check", registry)
        assert ran.code == 1
        assert f"hello-world 1.0 {WHEEL[0]}: file is lost" in ran.stdout
        assert "    the page shows the file, and its download fails" in ran.stdout
        ran = run("check", registry, "--repair", "--from", write(WHEEL).parent)
        assert ran.code == 0
        assert "    repaired" in ran.stdout
        assert run("check", registry, "--deep").code == 0

    def test_lost_file_is_taken_out(self, registry: str, run: Run, tmp_path: Path) -> None:
        _lose(run, registry, tmp_path, WHEEL[0])
        document = run("check", registry, "hello-world", "--repair", "--json").document
        (problem,) = document["projects"][0]["problems"]
        assert (problem["kind"], problem["outcome"]) == ("file is lost", "left")
        assert problem["why"] == f"no source has the bytes of {WHEEL[0]}"
        assert run("check", registry, "--repair", "--drop-lost").code == 0
        assert len(_shown(run, registry)) == 3

    def test_from_a_backup(self, registry: str, run: Run, tmp_path: Path) -> None:
        backup = f"oci:{tmp_path / 'backup'}"
        assert run("copy", registry, backup).code == 0
        _lose(run, registry, tmp_path, WHEEL[0])
        assert run("check", registry, "--repair", "--from", backup).code == 0
        assert run("check", registry).code == 0

    def test_wrong_usage(self, registry: str, run: Run) -> None:
        ran = run("check", registry, "--drop-lost")
        assert (ran.code, ran.stderr) == (
            2,
            "--from and --drop-lost need --repair; see `pyoci check --help`\n",
        )


def _lose(run: Run, address: str, folder: Path, filename: str) -> None:
    """Delete a file's blob from the registry's directory."""
    files = run("show", address, "hello-world", "--json").document["files"]
    (sha256,) = (file["sha256"] for file in files if file["filename"] == filename)
    os.unlink(folder / "registry" / "acme" / "hello_world" / "blobs" / "sha256" / sha256)


class TestImport:
    def test_address_of_no_index(self, server: str, run: Run) -> None:
        """Wrong input, in one sentence: a registry has JSON of its own."""
        ran = run("import", f"{server}/acme", f"{server}/v2/")
        assert ran.code == 2
        assert ran.stderr == (
            f"{server}/v2/ is not a package index: it answered with JSON that is no list of projects;"
            " expected the URL of its simple API, like https://pypi.example.com/simple/\n"
        )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Two good files, one of them published long ago, and a bad one."""
        made = tmp_path / "packages"
        made.mkdir()
        for name, content in (WHEEL, OTHER, ("bad-1.0.tar.gz", b"no archive")):
            (made / name).write_bytes(content)
        os.utime(made / WHEEL[0], (1_556_713_801, 1_556_713_801))
        return made

    def test_folder(self, server: str, run: Run, folder: Path) -> None:
        """One bad file fails, and the others keep their times."""
        ran = run("import", f"{server}/acme", folder)
        assert (ran.code, ran.stderr) == (1, "")
        assert ran.stdout.splitlines()[-1].startswith("2 files imported, 0 were there already, 1 failed; ")
        assert "bad-1.0.tar.gz" in ran.stdout
        (file,) = run("show", f"{server}/acme", "hello-world", "--json").document["files"]
        assert file["upload_time"] == "2019-05-01T12:30:01.000000Z"

    def test_document(self, server: str, run: Run, folder: Path) -> None:
        """From another index: a server's page has everything."""
        assert run("import", f"{server}/acme", folder, "--project", "other").code == 0
        source = f"{server}/local/acme/"
        document = run("import", f"{server}/elsewhere", source, "--json").document
        assert (document["source"], document["lost"]) == (source, [])
        (file,) = document["files"]
        assert (file["filename"], file["outcome"], file["error"]) == (OTHER[0], "imported", None)
        assert _times(run, f"{server}/elsewhere") == _times(run, f"{server}/acme")

    def test_bad_source(self, server: str, run: Run) -> None:
        ran = run("import", f"{server}/acme", "ghcr.io/acme")
        assert (ran.code, ran.stdout) == (4, "")
        assert ran.stderr == "there is no folder ghcr.io/acme; expected one of wheels and sdists, or a URL\n"


def _times(run: Run, address: str) -> list[object]:
    return [file["upload_time"] for file in run("show", address, "other", "--json").document["files"]]


class TestNetrc:
    """--netrc counts for every index that a verb reads."""

    @pytest.fixture
    def guarded(self, registry: str, tmp_path: Path) -> Iterator[str]:
        """Another URL of the same server, which wants a password that ~/.netrc has."""
        settings = Settings.from_environ({"PYOCI_EMBEDDED": str(tmp_path / "registry"), "PYOCI_LOG": "off"})
        application = create_app(settings, sleep=lambda _: None)

        def guard(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            is_open = not environ["PATH_INFO"].startswith(("/v2/", "/local/"))
            if is_open or "HTTP_AUTHORIZATION" in environ:
                return application(dict(environ), start_response)
            headers = {
                "Content-Length": "0",
                "WWW-Authenticate": 'Basic realm="guarded"',
                "Docker-Distribution-Api-Version": "registry/2.0",
            }
            start_response("401 Unauthorized", list(headers.items()))
            return []

        with served(guard) as url:
            yield url

    @pytest.fixture
    def netrc(self, tmp_path: Path) -> None:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret-word\n")
        (tmp_path / ".netrc").chmod(0o600)

    @pytest.mark.usefixtures("netrc")
    def test_import(self, guarded: str, run: Run, tmp_path: Path) -> None:
        arguments = ["import", f"oci:{tmp_path / 'target'}", f"{guarded}/local/acme/", "--project", "other"]
        assert run(*arguments).code == 1
        assert run(*arguments, "--netrc").code == 0

    @pytest.mark.usefixtures("netrc")
    def test_check(self, guarded: str, registry: str, run: Run, tmp_path: Path) -> None:
        backup = f"oci:{tmp_path / 'backup'}"
        assert run("copy", registry, backup, "other").code == 0
        (blob,) = (
            path
            for path in (tmp_path / "backup").rglob("*")
            if path.is_file() and path.read_bytes() == OTHER[1]
        )
        blob.unlink()
        arguments = ["check", backup, "--repair", "--from", f"{guarded}/acme"]
        assert run(*arguments).code != 0
        assert run(*arguments, "--netrc").code == 0
