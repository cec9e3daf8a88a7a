"""Copies of another index's files: what is chosen, what is compared, and what they keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci.app import create_app
from pyoci.config import MirrorSettings, Settings
from pyoci.distributions.names import ProjectName
from pyoci.errors import InvalidRequest, NotFound
from pyoci.library import Filter, ImportedFile, Index, Selection, open_index, operations
from pyoci.library.mirroring import check_target
from pyoci.library.registry import RegistryIndex
from tests.builders import make_sdist, make_wheel
from tests.serving import served
from tests.upstreams import JSON, PackageIndex, json_page, package_index

LINUX, WINDOWS = "cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-win_amd64"
NOBODY = {"DOCKER_CONFIG": "/absent"}


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """hello-world as a wheel and an sdist, and crunch with wheels of two platforms in two versions."""
    with package_index() as found:
        found.add(*make_wheel())
        found.add(*make_sdist())
        for version in ("1.0", "2.0"):
            for tag in (LINUX, WINDOWS):
                found.add(*make_wheel("crunch", version, tag))
        yield found


@pytest.fixture
def target(tmp_path: Path) -> Iterator[RegistryIndex]:
    with open_index(f"oci:{tmp_path / 'target'}", create=True) as index:
        assert isinstance(index, RegistryIndex)
        yield index


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def select(
    elsewhere: PackageIndex | None, environ: Mapping[str, str] | None = None, **choice: Any
) -> Selection:
    source = {"source": elsewhere.simple} if elsewhere is not None else {}
    return Selection.parse(MirrorSettings.from_environ(environ or {}), **{**source, **choice})


def mirrored(
    target: Index, elsewhere: PackageIndex | None, environ: Mapping[str, str] | None = None, **choice: Any
) -> dict[str, ImportedFile]:
    """What became of each file, or of a project."""
    environ = {**NOBODY, **(environ or {})}
    done = operations.mirror(target, select(elsewhere, environ, **choice), environ=environ, jobs=2)
    return {each.filename or each.project: each for each in done}


def outcomes(done: Mapping[str, ImportedFile]) -> dict[str, str]:
    return {name: each.outcome for name, each in done.items()}


@pytest.fixture
def lock(tmp_path: Path, elsewhere: PackageIndex) -> Path:
    """A uv.lock of all files of hello-world 1.0 and crunch 2.0."""
    return write_lock(tmp_path, elsewhere, {"hello-world": "1.0", "crunch": "2.0"})


def write_lock(
    folder: Path, elsewhere: PackageIndex, pins: Mapping[str, str], *, index: str = "", name: str = "uv.lock"
) -> Path:
    lines = ["version = 1"]
    for project, version in pins.items():
        source = f'source = {{ registry = "{index or elsewhere.simple}" }}'
        lines += ["[[package]]", f'name = "{project}"', f'version = "{version}"', source, "wheels = ["]
        for each in elsewhere.projects[project]:
            if f"-{version}" in each["filename"]:
                digest = sha256(elsewhere.content(each["filename"]))
                url = f"{elsewhere.url}/files/{each['filename']}"
                lines.append(f'  {{ url = "{url}", hash = "sha256:{digest}" }},')
        lines.append("]")
    path = folder / name
    path.write_text("\n".join(lines))
    return path


class TestLocked:
    def test_copies(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        """The files of the lock file alone, with where they came from, when, and whether they are yanked."""
        elsewhere.projects["hello-world"][0]["yanked"] = "broken"
        done = mirrored(target, None, locks=[lock])
        assert set(outcomes(done).values()) == {"imported"}
        assert len(done) == 4
        assert [str(file.version) for file in target.project("crunch").files] == ["2.0", "2.0"]
        [wheel] = (file for file in target.project("hello-world").files if file.filename.endswith(".whl"))
        assert wheel.upstream_url == f"{elsewhere.url}/files/{wheel.filename}"
        assert wheel.upload_time == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        assert wheel.yanked == "broken"
        assert {each.lost for each in done.values()} == {()}

    def test_again_fetches_nothing(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        mirrored(target, None, locks=[lock])
        elsewhere.calls.clear()
        assert set(outcomes(mirrored(target, None, locks=[lock])).values()) == {"present"}
        assert sorted(elsewhere.calls) == ["GET /simple/crunch/ 200", "GET /simple/hello-world/ 200"]

    def test_yanks_are_followed(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        """Both ways, without fetching the file."""
        mirrored(target, None, locks=[lock])
        entry = elsewhere.projects["crunch"][-1]
        for yanked in ("too slow", False):
            entry["yanked"] = yanked
            elsewhere.calls.clear()
            done = mirrored(target, None, locks=[lock])
            assert done[entry["filename"]].outcome == "changed"
            assert not any("/files/" in call for call in elsewhere.calls)
            found = {file.filename: file for file in target.project("crunch").files}[entry["filename"]]
            assert found.yanked == (yanked or None)
            assert found.upstream_url is not None

    def test_long_reason(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        """A page may have a longer reason than the store takes: the store gets its beginning."""
        mirrored(target, None, locks=[lock])
        entry = elsewhere.projects["crunch"][-1]
        entry["yanked"] = "x" * 1500
        assert mirrored(target, None, locks=[lock])[entry["filename"]].outcome == "changed"
        assert mirrored(target, None, locks=[lock])[entry["filename"]].outcome == "present"
        found = {file.filename: file for file in target.project("crunch").files}[entry["filename"]]
        assert found.yanked == "x" * 1000

    def test_hash_of_the_page_differs(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        """Nothing of the file is fetched or stored, and the others are."""
        entry = elsewhere.projects["crunch"][-1]
        entry["hashes"] = {"sha256": "0" * 64}
        done = mirrored(target, None, locks=[lock])
        failed = done.pop(entry["filename"])
        assert failed.outcome == "failed"
        assert failed.error.startswith(f"its page has the sha256 {'0' * 64}, and a lock file has ")
        assert set(outcomes(done).values()) == {"imported"}
        assert entry["filename"] not in [file.filename for file in target.project("crunch").files]
        assert not any(entry["filename"] in call for call in elsewhere.calls)

    @pytest.mark.parametrize("hashes", [{}, {"md5": ""}], ids=["none", "md5"])
    def test_bytes_differ_from_the_lock(
        self, target: Index, elsewhere: PackageIndex, lock: Path, hashes: dict[str, str]
    ) -> None:
        """The page has no sha256 that would show it. One of its other hashes is right."""
        entry = elsewhere.projects["crunch"][-1]
        other = make_wheel("crunch", "2.0", WINDOWS, files={"other.py": b""})[1]
        entry["hashes"] = {"md5": hashlib.md5(other).hexdigest()} if hashes else {}
        elsewhere.answer = lambda request: (
            Response(other) if request.path.endswith(f"/files/{entry['filename']}") else None
        )
        failed = mirrored(target, None, locks=[lock])[entry["filename"]]
        assert failed.outcome == "failed"
        assert f"has the sha256 {sha256(other)}; expected" in failed.error
        assert entry["filename"] not in [file.filename for file in target.project("crunch").files]

    def test_bytes_differ_from_the_page(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        entry = elsewhere.projects["crunch"][-1]
        elsewhere.answer = lambda request: (
            Response(b"x") if request.path.endswith(f"/files/{entry['filename']}") else None
        )
        failed = mirrored(target, None, locks=[lock])[entry["filename"]]
        assert failed.outcome == "failed"
        assert entry["filename"] not in [file.filename for file in target.project("crunch").files]

    def test_no_sha256_anywhere(self, target: Index, elsewhere: PackageIndex) -> None:
        elsewhere.projects["hello-world"][0]["hashes"] = {"md5": "0" * 32}
        [failed] = mirrored(target, elsewhere, projects=["hello-world"], files=Filter(sdists=False)).values()
        assert failed.error == "neither its page nor a lock file has its sha256"

    def test_two_locks_that_disagree(
        self, target: Index, elsewhere: PackageIndex, lock: Path, tmp_path: Path
    ) -> None:
        """The page agrees with one of them."""
        other = tmp_path / "pylock.toml"
        filename = elsewhere.projects["crunch"][-1]["filename"]
        other.write_text(
            'lock-version = "1.0"\n[[packages]]\nname = "crunch"\nversion = "2.0"\n'
            f'wheels = [{{ name = "{filename}", hashes = {{ sha256 = "{"0" * 64}" }} }}]\n'
        )
        for locks in ([other, lock], [lock, other]):
            assert mirrored(target, None, locks=locks, any_index=True)[filename].outcome == "failed"

    def test_file_that_is_gone(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        entry = elsewhere.projects["crunch"].pop()
        failed = mirrored(target, None, locks=[lock])[entry["filename"]]
        assert (failed.outcome, failed.error) == ("failed", f"{elsewhere.simple} doesn't have it (any more)")

    def test_file_that_rules_withhold(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        """Of a PyOCI server with rules: the reason says so."""
        entry = elsewhere.projects["crunch"].pop()

        def answer(request: Request) -> Response | None:
            if request.path != "/simple/crunch/":
                return None
            page = json_page("crunch", elsewhere.projects["crunch"])
            return Response(page, content_type=JSON, headers={"X-PyOCI-Withheld": "1; min-age"})

        elsewhere.answer = answer
        failed = mirrored(target, None, locks=[lock])[entry["filename"]]
        assert "withholds files (1; min-age), and doesn't have it" in failed.error

    def test_project_that_is_gone(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        del elsewhere.projects["crunch"]
        done = mirrored(target, None, locks=[lock])
        assert done["crunch"].outcome == "failed"
        assert done[make_wheel()[0]].outcome == "imported"

    def test_requirements(self, target: Index, elsewhere: PackageIndex, tmp_path: Path) -> None:
        """The files with one of the hashes; a hash that no file has is a failure."""
        wheel, sdist = make_wheel(), make_sdist()
        path = tmp_path / "requirements.txt"
        path.write_text(f"hello-world==1.0 --hash=sha256:{sha256(wheel[1])} --hash=sha256:{'1' * 64}\n")
        done = mirrored(target, elsewhere, locks=[path], any_index=True)
        assert outcomes(done) == {wheel[0]: "imported", "hello-world": "failed"}
        assert f"the sha256 {'1' * 64}".replace("the ", "") in done["hello-world"].error
        path.write_text("hello-world==1.0\ncrunch==7\n")
        done = mirrored(target, elsewhere, locks=[path], any_index=True)
        assert outcomes(done) == {wheel[0]: "present", sdist[0]: "imported", "crunch": "failed"}


class TestFilter:
    @pytest.mark.parametrize(
        ("files", "chosen"),
        [
            (Filter.parse(["manylinux_2_28_x86_64"]), {f"crunch-2.0-{LINUX}.whl", "wheel", "sdist"}),
            (Filter.parse(["win_amd64"], sdists=False), {f"crunch-2.0-{WINDOWS}.whl", "wheel"}),
            (Filter.parse(["any"], sdists=False), {"wheel"}),
            (Filter.parse(pythons=["3.11"]), {"wheel", "sdist"}),
        ],
    )
    def test_locked(
        self, target: Index, elsewhere: PackageIndex, lock: Path, files: Filter, chosen: set[str]
    ) -> None:
        """A version that has nothing for the platforms is named, but hasn't failed."""
        done = mirrored(target, None, locks=[lock], files=files)
        names = {"wheel": make_wheel()[0], "sdist": make_sdist()[0]}
        stored = {name for name, each in done.items() if each.outcome == "imported"}
        assert stored == {names.get(name, name) for name in chosen}
        assert {name: each.outcome for name, each in done.items() if name not in stored} in (
            {},
            {"crunch": "left out"},
        )

    def test_requires_python(self, target: Index, elsewhere: PackageIndex) -> None:
        """For each Python the newest version that it can install."""
        elsewhere.add(*make_wheel("new", "1.0"), requires_python=">=3.8")
        elsewhere.add(*make_wheel("new", "2.0"), requires_python=">=3.12")
        choose: dict[str, Any] = {"projects": ["new"]}
        assert set(mirrored(target, elsewhere, **choose, files=Filter.parse(pythons=["3.9"]))) == {
            "new-1.0-py3-none-any.whl"
        }
        files = Filter.parse(pythons=["3.9", "3.13"])
        assert set(mirrored(target, elsewhere, **choose, files=files)) == {
            "new-1.0-py3-none-any.whl",
            "new-2.0-py3-none-any.whl",
        }


class TestNewest:
    @pytest.fixture(autouse=True)
    def _versions(self, elsewhere: PackageIndex) -> None:
        for version in ("1.0", "2.0", "10.0", "11.0rc1"):
            elsewhere.add(*make_wheel("many", version))
        elsewhere.add(*make_wheel("many", "9.0"), yanked="broken")

    @pytest.mark.parametrize(
        ("requirement", "newest", "versions"),
        [
            ("many", 1, ["10.0"]),
            ("Many<10", 1, ["2.0"]),
            ("many", 2, ["2.0", "10.0"]),
            ("many", None, ["1.0", "2.0", "10.0"]),
            ("many>=11.0rc1", 3, ["11.0rc1"]),
            ("many==9.0", 1, ["9.0"]),
        ],
    )
    def test_newest(
        self,
        target: Index,
        elsewhere: PackageIndex,
        requirement: str,
        newest: int | None,
        versions: list[str],
    ) -> None:
        """Pre-releases and yanked versions count only if they are asked for."""
        mirrored(target, elsewhere, projects=[requirement], newest=newest)
        assert list(target.project("many").versions) == versions

    def test_a_project_twice(self, target: Index, elsewhere: PackageIndex) -> None:
        """Each requirement counts by itself."""
        done = mirrored(target, elsewhere, projects=["many<2", "Many<10", "many>99"])
        assert list(target.project("many").versions) == ["1.0", "2.0"]
        assert done["many"].outcome == "failed"

    @pytest.mark.parametrize("requirement", ["many>99", "absent"])
    def test_nothing(self, target: Index, elsewhere: PackageIndex, requirement: str) -> None:
        [failed] = mirrored(target, elsewhere, projects=[requirement]).values()
        assert failed.outcome == "failed"


class TestPrivate:
    """A private name is never asked for."""

    def test_private_projects(self, target: Index, elsewhere: PackageIndex, lock: Path) -> None:
        done = mirrored(
            target,
            elsewhere,
            {"PYOCI_PRIVATE_PROJECTS": "hello-*, secret"},
            locks=[lock],
            projects=["Secret", "crunch<2"],
        )
        assert done["hello-world"].outcome == done["secret"].outcome == "left out"
        assert "PYOCI_PRIVATE_PROJECTS" in done["secret"].error
        assert {call.split()[1] for call in elsewhere.calls if "simple" in call} == {"/simple/crunch/"}

    def test_another_index_of_the_lock(
        self, target: Index, elsewhere: PackageIndex, lock: Path, tmp_path: Path
    ) -> None:
        """What comes from another index isn't asked for at the source, unless that is wanted."""
        corp = "https://packages.example/simple/"
        other = write_lock(tmp_path, elsewhere, {"hello-world": "1.0"}, index=corp, name="other.lock")
        done = mirrored(target, elsewhere, locks=[lock, other], projects=["crunch"])
        assert done["hello-world"].outcome == "left out"
        assert done["hello-world"].error == f"{other} has it from {corp}, not from {elsewhere.simple}"
        elsewhere.calls.clear()
        with pytest.raises(
            InvalidRequest,
            match=r"nothing to copy: hello-world is left out, because .*; expected another source",
        ):
            select(elsewhere, locks=[other])
        assert elsewhere.calls == []
        assert outcomes(mirrored(target, elsewhere, locks=[other], any_index=True)) == {
            make_wheel()[0]: "present",
            make_sdist()[0]: "present",
        }

    def test_lock_that_names_no_index(self, target: Index, elsewhere: PackageIndex, tmp_path: Path) -> None:
        """Nobody is asked unless private projects are named, or there are none."""
        lock = tmp_path / "requirements.txt"
        lock.write_text("hello-world==1.0\nacme-secret==1.0\n")
        with pytest.raises(InvalidRequest, match="doesn't say which index its packages come from; expected"):
            select(elsewhere, locks=[lock])
        done = mirrored(target, elsewhere, {"PYOCI_PRIVATE_PROJECTS": "acme-*"}, locks=[lock])
        assert done["acme-secret"].outcome == "left out"
        assert not any("acme-secret" in call for call in elsewhere.calls)
        done = mirrored(target, elsewhere, locks=[lock], any_index=True)
        assert done["acme-secret"].outcome == "failed"

    def test_projects_of_the_registry_of_the_source(
        self, target: Index, elsewhere: PackageIndex, tmp_path: Path
    ) -> None:
        """The source is a PyOCI server, whose lock files don't tell private projects from upstream's."""
        settings = {
            "PYOCI_EMBEDDED": str(tmp_path / "registry"),
            "PYOCI_LOG": "off",
            "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        }
        with served(create_app(Settings.from_environ(settings), sleep=lambda _: None)) as url:
            private = tmp_path / make_wheel("crunch", "3.0")[0]
            private.write_bytes(make_wheel("crunch", "3.0")[1])
            with open_index(f"{url}/local/acme/", environ=NOBODY) as index:
                index.publish(private)
            done = mirrored(target, None, source=f"{url}/local/acme/", projects=["crunch", "hello-world"])
        assert done["crunch"].outcome == "left out"
        assert "has it in its own registry" in done["crunch"].error
        assert done[make_wheel()[0]].outcome == "imported"
        assert target.projects() == ("hello-world",)

    def test_namespace_of_private_projects(self, tmp_path: Path) -> None:
        environ = {"PYOCI_DEFAULT_INDEX": "ghcr.io/acme", "PYOCI_REGISTRIES": "ghcr.io"}
        settings = MirrorSettings.from_environ(environ)
        with open_index("ghcr.io/acme", environ={**NOBODY, **environ}) as index:
            assert isinstance(index, RegistryIndex)
            with pytest.raises(InvalidRequest, match="has the private projects of the short URL 'simple'"):
                check_target(index, settings)
        with open_index("ghcr.io/acme/pypi", environ={**NOBODY, **environ}) as index:
            assert isinstance(index, RegistryIndex)
            check_target(index, settings)

    @pytest.mark.parametrize(
        ("short", "target"),
        [
            ("https://ghcr.io/acme", "ghcr.io/acme"),
            ("ghcr.io:443/acme", "ghcr.io/acme"),
            ("hub/acme", "ghcr.io/acme"),
            ("ghcr.io/acme", "hub/acme"),
            ("docker.io/acme", "index.docker.io/acme"),
            ("ghcr.io/acme/pypi", "ghcr.io/acme"),
        ],
    )
    def test_namespace_of_private_projects_in_another_spelling(self, short: str, target: str) -> None:
        """The start of a server with this store is refused for the same reason."""
        environ = {"PYOCI_DEFAULT_INDEX": short, "PYOCI_REGISTRIES": "hub=ghcr.io,ghcr.io,docker.io"}
        settings = MirrorSettings.from_environ(environ)
        with open_index(target, environ={**NOBODY, **environ}) as index:
            assert isinstance(index, RegistryIndex)
            with pytest.raises(InvalidRequest, match="has the private projects of the short URL 'simple'"):
                check_target(index, settings)

    def test_project_that_is_no_copy(
        self, target: Index, elsewhere: PackageIndex, lock: Path, tmp_path: Path
    ) -> None:
        """Somebody has published it into the target: it gets no versions of another index."""
        path = tmp_path / make_wheel("crunch", "0.1")[0]
        path.write_bytes(make_wheel("crunch", "0.1")[1])
        target.publish(path)
        done = mirrored(target, None, locks=[lock])
        assert done["crunch"].outcome == "failed"
        assert "has crunch already, and not as a copy" in done["crunch"].error
        assert len(target.project("crunch").files) == 1


class TestSource:
    UPSTREAM = "https://packages.example/simple/"

    def test_of_the_lock(self, elsewhere: PackageIndex, lock: Path) -> None:
        """It counts more than PYOCI_UPSTREAM_INDEX."""
        assert select(None, {"PYOCI_UPSTREAM_INDEX": self.UPSTREAM}, locks=[lock]).source == elsewhere.simple

    def test_of_the_settings(self, elsewhere: PackageIndex, lock: Path, tmp_path: Path) -> None:
        """Where the lock files name none, or several that include it, or PyPI."""
        environ = {"PYOCI_UPSTREAM_INDEX": self.UPSTREAM}
        assert select(None, environ, projects=["flask"]).source == self.UPSTREAM
        other = write_lock(tmp_path, elsewhere, {"crunch": "2.0"}, index=self.UPSTREAM, name="b.lock")
        assert select(None, environ, locks=[lock, other]).source == self.UPSTREAM
        poetry = tmp_path / "poetry.lock"
        poetry.write_text('[[package]]\nname = "a"\nversion = "1"\n[metadata]\nlock-version = "2.1"\n')
        chosen = select(None, environ, locks=[poetry])
        assert (chosen.source, chosen.names) == (self.UPSTREAM, ("a",))

    def test_not_said(self, elsewhere: PackageIndex, lock: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequest, match="no package index is named to copy from"):
            select(None, projects=["flask"])
        other = write_lock(tmp_path, elsewhere, {"crunch": "2.0"}, index=self.UPSTREAM, name="b.lock")
        with pytest.raises(InvalidRequest, match="the lock files name several indexes: http"):
            select(None, locks=[lock, other])
        with pytest.raises(InvalidRequest, match="nothing is chosen; expected lock files or projects"):
            select(elsewhere)

    @pytest.mark.parametrize("source", ["packages", "https://me:secret@packages.example/simple/", "ftp://x/"])
    def test_unusable(self, source: str) -> None:
        with pytest.raises(InvalidRequest, match="the source can't be used; expected the URL") as caught:
            select(None, source=source, projects=["flask"])
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            ({"PYOCI_UPSTREAM_AUTH": "me:one"}, "Basic bWU6b25l"),
            ({"PYOCI_UPSTREAM_AUTH": "Bearer one"}, "Bearer one"),
            (
                {
                    "PYOCI_UPSTREAM_AUTH": "me:one",
                    "PYOCI_SOURCE_USERNAME": "me",
                    "PYOCI_SOURCE_PASSWORD": "two",
                },
                "Basic bWU6dHdv",
            ),
            ({"PYOCI_USERNAME": "me", "PYOCI_PASSWORD": "three"}, None),
        ],
        ids=["upstream", "token", "source", "target"],
    )
    def test_credentials(
        self, target: Index, elsewhere: PackageIndex, environ: dict[str, str], expected: str | None
    ) -> None:
        """The source's are sent to its own host alone, and those of the target never to the source."""
        with package_index() as storage:
            storage.add(*make_wheel("stored"))
            elsewhere.add(*make_wheel("stored"), url=f"{storage.url}/files/{make_wheel('stored')[0]}")
            settings = {"PYOCI_UPSTREAM_INDEX": elsewhere.simple, **environ}
            done = mirrored(target, None, settings, projects=["hello-world", "stored"])
            assert set(outcomes(done).values()) == {"imported"}
            assert {each.headers.get("Authorization") for each in elsewhere.requests} == {expected}
            assert [each.headers.get("Authorization") for each in storage.requests] == [None]

    def test_credentials_of_upstream_stay_there(self, target: Index, elsewhere: PackageIndex) -> None:
        """Another source doesn't get them."""
        environ = {"PYOCI_UPSTREAM_INDEX": self.UPSTREAM, "PYOCI_UPSTREAM_AUTH": "me:one"}
        mirrored(target, elsewhere, environ, projects=["hello-world"])
        assert {each.headers.get("Authorization") for each in elsewhere.requests} == {None}


class TestProvenance:
    DOCUMENT = json.dumps({"version": 1, "attestation_bundles": []})

    @pytest.fixture
    def answered(self, elsewhere: PackageIndex) -> dict[str, bytes]:
        """What the source answers for the provenance of hello-world's wheel."""
        answered = {"body": self.DOCUMENT.encode()}
        elsewhere.projects["hello-world"][0]["provenance"] = f"{elsewhere.url}/provenance"

        def answer(request: Request) -> Response | None:
            return Response(answered["body"]) if request.path == "/provenance" else None

        elsewhere.answer = answer
        return answered

    def run(self, target: Index, elsewhere: PackageIndex) -> ImportedFile:
        [done] = mirrored(target, elsewhere, projects=["hello-world"], files=Filter(sdists=False)).values()
        assert done.outcome == "imported"
        return done

    @pytest.mark.usefixtures("answered")
    def test_is_kept(self, target: RegistryIndex, elsewhere: PackageIndex) -> None:
        assert self.run(target, elsewhere).lost == ()
        name = ProjectName.parse("hello-world")
        kept = target.store.provenance(target.namespace, name, make_wheel()[0], target.caller)
        assert kept.decode() == self.DOCUMENT

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b"{", b'{"x": "\xff"}', b'{"x": "' + b"y" * 256 * 1024 + b'"}'],
        ids=["empty", "list", "no JSON", "no UTF-8", "large"],
    )
    def test_unusable(
        self, target: Index, elsewhere: PackageIndex, answered: dict[str, bytes], body: bytes
    ) -> None:
        """The file is stored without it."""
        answered["body"] = body
        assert self.run(target, elsewhere).lost == ("its provenance",)


class TestQuarantined:
    """Nothing is copied of a project that may be malware, also if its page still has files."""

    @pytest.fixture(autouse=True)
    def _reason(self, elsewhere: PackageIndex) -> None:
        elsewhere.keys["project-status"] = {"status": "quarantined", "reason": "looks like malware"}

    def run(self, target: Index, elsewhere: PackageIndex) -> ImportedFile:
        [done] = mirrored(target, elsewhere, projects=["hello-world"], files=Filter(sdists=False)).values()
        return done

    def test_new(self, target: Index, elsewhere: PackageIndex) -> None:
        assert self.run(target, elsewhere).error == f"{elsewhere.simple} has quarantined it"
        assert not any("/files/" in call for call in elsewhere.calls)
        with pytest.raises(NotFound):
            target.project("hello-world")

    def test_copies(self, target: Index, elsewhere: PackageIndex) -> None:
        """They are quarantined, until somebody ends that: the next mirror doesn't."""
        reason = elsewhere.keys.pop("project-status")
        assert self.run(target, elsewhere).outcome == "imported"
        elsewhere.keys["project-status"] = reason
        assert self.run(target, elsewhere).outcome == "failed"
        found = target.project("hello-world")
        assert (found.files, found.status.status, found.status.reason) == ((), *reason.values())
        elsewhere.keys.clear()
        assert "has quarantined hello-world; see `pyoci status`" in self.run(target, elsewhere).error
        target.set_status("hello-world", "active")
        assert self.run(target, elsewhere).outcome == "present"

    def test_long_reason(self, target: Index, elsewhere: PackageIndex) -> None:
        """The store gets its beginning."""
        elsewhere.keys.clear()
        assert self.run(target, elsewhere).outcome == "imported"
        elsewhere.keys["project-status"] = {"status": "quarantined", "reason": "x" * 1500}
        assert self.run(target, elsewhere).error == f"{elsewhere.simple} has quarantined it"
        assert target.project("hello-world").status.reason == "x" * 1000


def test_what_the_format_cannot_hold(target: Index, elsewhere: PackageIndex) -> None:
    """It is named with the reason; the others are stored."""
    long = "1.0+" + "x" * 130
    elsewhere.add(*make_wheel("long", long))
    elsewhere.add(*make_wheel("long", "0.9"))
    done = mirrored(target, elsewhere, projects=["long"], newest=None)
    assert done["long-0.9-py3-none-any.whl"].outcome == "imported"
    assert "can't be a tag; expected at most 128 characters" in done[f"long-{long}-py3-none-any.whl"].error
