"""What a check finds in a damaged registry, and what a repair makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.maintenance.check import CheckedProject, Checker, Problem
from pyoci.maintenance.copy import Copier
from pyoci.maintenance.remote import make_updater
from pyoci.maintenance.repair import FileSource, Repaired, Repairer
from tests.builders import make_sdist, make_wheel
from tests.maintenance.places import HELLO, Place, make_foreign_image
from tests.registry import make_namespace
from tests.store.shelf import NOBODY


def check(place: Place, *, deep: bool = False) -> CheckedProject:
    (found,) = Checker(place.remote, deep=deep).run([HELLO])
    return found


def problems(place: Place, *, deep: bool = False) -> list[tuple[str, str]]:
    return [(each.kind, each.what) for each in check(place, deep=deep).problems]


def repair(place: Place, found: Iterable[Problem], **settings: object) -> list[tuple[str, str]]:
    updater = make_updater(sleep=lambda _: None)
    done: list[Repaired] = list(Repairer(place.remote, updater, **settings).run(found))  # type: ignore[arg-type]
    return [(each.problem.kind, each.outcome) for each in done]


class TestSound:
    @pytest.mark.parametrize("deep", [False, True])
    def test_nothing_is_found(self, source: Place, *, deep: bool) -> None:
        source.wheel("1.0"), source.wheel("2.0"), source.publish(*make_sdist(version="2.0"))
        found = check(source, deep=deep)
        assert found.problems == ()
        assert (found.documents, found.blobs) == (5, 5)  # tags and manifests; files, config blobs of wheels

    @pytest.mark.parametrize("deep", [False, True])
    def test_nothing_is_asked_for_twice(self, source: Place, *, deep: bool) -> None:
        source.wheel("1.0"), source.wheel("1.0", tag="cp311-cp311-any"), source.wheel("2.0")
        source.registry.calls.clear()
        check(source, deep=deep)
        counts = Counter(line.partition(" ")[2] for line in source.registry.calls)
        assert set(counts.values()) == {1}
        assert len(counts) == 1 + 2 + 3 + 6  # the list, tags, manifests, blobs

    def test_all_projects(self, source: Place) -> None:
        source.wheel()
        source.publish(*make_wheel("other"))
        source.registry.put("1.0", make_foreign_image(source.registry, "image"), name="image")
        found = {str(each.project): each.has_package for each in Checker(source.remote).run()}
        assert found == {"hello-world": True, "other": True, "image": False}

    def test_emptied_project(self, source: Place) -> None:
        source.store.delete(make_namespace(), HELLO, source.wheel(), NOBODY)
        assert check(source).problems == ()


class TestDamaged:
    def test_manifest(self, source: Place) -> None:
        name = source.wheel()
        source.lose(source.registry.document("1.0")["manifests"][0]["digest"])
        assert problems(source) == [("manifest is lost", name)]

    def test_file(self, source: Place) -> None:
        name = source.wheel()
        source.lose(f"sha256:{source.files()[0].sha256}")
        assert problems(source) == [("file is lost", name)]
        assert problems(source, deep=True) == [("file is lost", name)]

    def test_metadata(self, source: Place) -> None:
        name = source.wheel()
        (entry,) = source.registry.document("1.0")["manifests"]
        source.lose(entry["annotations"]["com.pyoci.config_digest"])
        assert problems(source) == [("metadata is lost", name)]

    def test_size(self, source: Place) -> None:
        name = source.wheel()
        digest = f"sha256:{source.files()[0].sha256}"
        source.registry.answers[f"HEAD .*{digest}"] = (b"", {})
        assert problems(source) == [("file is wrong", name)]

    def test_bytes(self, source: Place) -> None:
        """Only a deep check sees them."""
        name = source.wheel()
        file = source.files()[0]
        source.registry.answers[f"GET .*sha256:{file.sha256}"] = (b"x" * file.size, {})
        assert problems(source) == []
        assert problems(source, deep=True) == [("file is wrong", name)]

    def test_other_metadata(self, source: Place) -> None:
        name = source.wheel()
        config = source.registry.document("1.0")["manifests"][0]["annotations"]["com.pyoci.config_digest"]
        source.registry.answers[f"GET .*{config}"] = (b'{"coreMetadata": "Name: other"}', {})
        assert problems(source, deep=True) == [("metadata is lost", name)]

    def test_tag_without_document(self, source: Place) -> None:
        source.wheel("1.0"), source.wheel("2.0")
        source.registry.refuse["GET .*manifests/2.0"] = (404, "MANIFEST_UNKNOWN")
        assert problems(source) == [("tag is lost", "2.0")]

    def test_refused_document(self, source: Place) -> None:
        source.wheel("1.0"), source.wheel("2.0")
        source.registry.refuse["GET .*manifests/2.0"] = (400, "MANIFEST_INVALID")
        assert problems(source) == [("unreadable", "2.0")]

    def test_two_spellings(self, source: Place) -> None:
        """1.0 and 1.0.0 are one version; the Rust PyOCI writes a tag for each."""
        source.wheel("1.0")
        source.registry.put("1.0.0", source.registry.document("1.0"))
        assert problems(source) == [("spelled twice", "1.0 and 1.0.0")]

    def test_odd_tag(self, source: Place) -> None:
        """zot takes tags that other registries refuse."""
        source.wheel("1.0")
        source.registry.takes["1!3.0"] = "1_3.0"
        source.registry.put("1!3.0", source.registry.document("1.0"))
        assert ("tag is odd", "1!3.0") in problems(source)

    def test_project_that_cannot_be_read(self, source: Place) -> None:
        source.wheel()
        source.registry.refuse["tags/list"] = (403, "DENIED")
        (found,) = check(source).problems
        assert (found.kind, found.what) == ("unreadable", "hello-world")
        assert "answered 403" in found.detail

    def test_no_version_can_be_read(self, source: Place) -> None:
        """They may be lost or refused. It isn't taken for a repository of images, which is no problem."""
        source.wheel("1.0"), source.wheel("2.0")
        source.registry.refuse["GET .*manifests/1.0"] = (403, "DENIED")
        source.registry.refuse["GET .*manifests/2.0"] = (404, "MANIFEST_UNKNOWN")
        (found,) = Checker(source.remote).run()
        assert found.has_package
        assert [(each.kind, each.tag) for each in found.problems] == [
            ("unreadable", "1.0"),
            ("tag is lost", "2.0"),
        ]

    @pytest.mark.parametrize(("deep", "method"), [(False, "HEAD"), (True, "GET")])
    def test_refused_blob(self, source: Place, method: str, *, deep: bool) -> None:
        """The problems of other files are reported as well."""
        refused, lost = source.wheel("1.0"), source.wheel("2.0")
        files = {file.filename: f"sha256:{file.sha256}" for file in source.files()}
        source.registry.refuse[f"{method} .*{files[refused]}"] = (403, "DENIED")
        source.lose(files[lost])
        assert problems(source, deep=deep) == [("file is unreadable", refused), ("file is lost", lost)]

    def test_repository_without_tags(self, source: Place) -> None:
        """Registries list the repository of a first upload that failed, and answer 404 for its tags."""
        source.wheel()
        source.registry.refuse["acme/other/tags/list"] = (404, "NAME_UNKNOWN")
        source.publish(*make_wheel("other"))
        found = {str(each.project): each for each in Checker(source.remote).run()}
        assert (found["other"].has_package, found["other"].problems) == (False, ())
        (named,) = Checker(source.remote).run([ProjectName.parse("other")])
        assert [each.kind for each in named.problems] == ["unreadable"]

    def test_endless_blob(self, source: Place) -> None:
        """The read ends at the size that the manifest has; without a manifest, the registry names it."""
        name = source.wheel()
        source.registry.endless = True
        assert ("file is wrong", name) in problems(source, deep=True)
        source.lose(source.registry.document("1.0")["manifests"][0]["digest"])
        assert ("file is wrong", name) in problems(source, deep=True)

    def test_every_problem_has_an_effect(self, source: Place) -> None:
        source.wheel()
        source.lose(f"sha256:{source.files()[0].sha256}")
        (found,) = check(source).problems
        assert found.effect == "the page shows the file, and its download fails"


class TestRepair:
    def test_manifest(self, source: Place) -> None:
        """It is written anew; the page says the same as before."""
        source.wheel()
        before = source.files()
        source.lose(source.registry.document("1.0")["manifests"][0]["digest"])
        assert repair(source, check(source).problems) == [("manifest is lost", "repaired")]
        assert problems(source) == []
        assert source.files() == before

    @pytest.mark.parametrize("kinds", [("file",), ("config",), ("file", "config", "manifest")])
    def test_from_another_registry(self, source: Place, target: Place, kinds: tuple[str, ...]) -> None:
        name = source.wheel()
        list(Copier(source.remote, target.remote, make_updater(sleep=lambda _: None)).run())
        _lose(source, kinds)
        done = repair(source, check(source).problems, source=target.remote)
        assert {outcome for _, outcome in done} == {"repaired"}
        assert problems(source, deep=True) == []
        assert _content(source, name) == _content(target, name)

    @pytest.mark.parametrize("kinds", [("file",), ("config",), ("file", "config", "manifest")])
    def test_from_a_folder(self, source: Place, tmp_path: Path, kinds: tuple[str, ...]) -> None:
        filename, content = make_wheel()
        source.publish(filename, content)
        (tmp_path / "dist").mkdir()
        (tmp_path / "dist" / filename).write_bytes(content)
        _lose(source, kinds)
        files = FileSource(tmp_path, lambda path: source.publish(path.name, path.read_bytes()))
        done = repair(source, check(source).problems, source=files)
        assert {outcome for _, outcome in done} == {"repaired"}
        assert problems(source, deep=True) == []
        assert _content(source, filename) == content

    def test_other_bytes_in_the_folder(self, source: Place, tmp_path: Path) -> None:
        """A file of the same name with other bytes isn't it."""
        filename = source.wheel()
        (tmp_path / filename).write_bytes(b"other")
        _lose(source, ("file",))
        files = FileSource(tmp_path, lambda _path: pytest.fail("it was published"))
        assert repair(source, check(source).problems, source=files) == [("file is lost", "left")]

    def test_lost_for_good(self, source: Place) -> None:
        """Without the bytes it is left; with `drop_lost` it is taken out, and the other file stays."""
        lost, kept = source.wheel(), source.wheel(tag="cp311-cp311-any")
        digest = next(file.sha256 for file in source.files() if file.filename == lost)
        source.lose(f"sha256:{digest}")
        found = check(source).problems
        assert repair(source, found) == [("file is lost", "left")]
        assert repair(source, found, drop_lost=True) == [("file is lost", "taken out")]
        assert [file.filename for file in source.files()] == [kept]

    def test_restored_file_stays(self, source: Place, target: Place) -> None:
        """The other registry has the file and not its METADATA: the file is restored, and not taken out."""
        name = source.wheel()
        list(Copier(source.remote, target.remote, make_updater(sleep=lambda _: None)).run())
        _lose(source, ("file", "config"))
        (entry,) = target.registry.document("1.0")["manifests"]
        target.delete(entry["annotations"]["com.pyoci.config_digest"])
        done = repair(source, check(source).problems, source=target.remote, drop_lost=True)
        assert {outcome for _, outcome in done} == {"left"}
        assert problems(source, deep=True) == [("metadata is lost", name)]

    def test_only_the_hash_in_the_manifest(self, source: Place, target: Place) -> None:
        """The earliest Rust PyOCI wrote such entries: the manifest comes from the other registry, too."""
        name = source.wheel()
        document = source.registry.document("1.0")
        (entry,) = document["manifests"]
        layer = source.registry.document(entry["digest"])["layers"][0]["digest"]
        entry["annotations"] = {}
        source.registry.put("1.0", document)
        list(Copier(source.remote, target.remote, make_updater(sleep=lambda _: None)).run())
        source.delete(layer, entry["digest"])
        found = check(source).problems
        assert {each.kind for each in found} == {"file is lost", "manifest is lost"}
        done = repair(source, found, source=target.remote)
        assert {outcome for _, outcome in done} == {"repaired"}
        assert problems(source, deep=True) == []
        assert _content(source, name) == _content(target, name)

    def test_file_that_is_removed_meanwhile(self, source: Place, tmp_path: Path) -> None:
        """It can't be read any more, and the other problems are still repaired."""
        lost = source.wheel("1.0")
        path = tmp_path / lost
        path.write_bytes(b"content")
        files = FileSource(tmp_path, lambda _path: pytest.fail("it was published"))
        path.unlink()
        _lose(source, ("file",))
        assert repair(source, check(source).problems, source=files) == [("file is lost", "left")]

    def test_last_file_is_taken_out(self, source: Place) -> None:
        """The project stays, by its marker."""
        source.wheel()
        _lose(source, ("file",))
        assert repair(source, check(source).problems, drop_lost=True) == [("file is lost", "taken out")]
        assert source.remote.tags(HELLO) == ("0--pyoci",)


def _lose(place: Place, kinds: tuple[str, ...]) -> None:
    """Delete blobs and manifests of the only file."""
    (entry,) = place.registry.document("1.0")["manifests"]
    digests = {
        "file": f"sha256:{entry['annotations']['com.pyoci.sha256_digest']}",
        "config": entry["annotations"]["com.pyoci.config_digest"],
        "manifest": entry["digest"],
    }
    place.delete(*(digests[kind] for kind in kinds))


def _content(place: Place, filename: str) -> bytes:
    return b"".join(place.store.open(make_namespace(), HELLO, filename, NOBODY))
