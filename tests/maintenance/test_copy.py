"""Copying between two registries: the same documents, nothing lost, nothing half done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound
from pyoci.maintenance.check import Checker
from pyoci.maintenance.copy import CopiedTag, Copier
from pyoci.maintenance.remote import Remote, make_updater
from pyoci.maintenance.repair import Repairer
from pyoci.oci.models import IMAGE_INDEX, IMAGE_MANIFEST
from pyoci.simple_api.model import ProjectStatus
from tests.builders import make_sdist, make_wheel
from tests.maintenance.places import HELLO, Place, make_foreign_image
from tests.registry import make_namespace
from tests.store.shelf import NOBODY, page


def copy(source: Place, target: Place, *names: str) -> dict[str, CopiedTag]:
    """What became of each tag; and of each project that has none, by its name."""
    copier = Copier(
        source.remote, target.remote, make_updater(sleep=lambda _: None), sleep=lambda _: None, jobs=2
    )
    return _by_tag(copier.run([ProjectName.parse(name) for name in names]))


def _by_tag(copied: Iterable[CopiedTag]) -> dict[str, CopiedTag]:
    return {each.tag or str(each.project): each for each in copied}


class TestWhole:
    def test_documents_are_the_same(self, source: Place, target: Place) -> None:
        """The tags have the same digests, and the pages say the same of every file."""
        source.wheel("1.0"), source.wheel("1.0", tag="cp311-cp311-any"), source.wheel("2.0rc1")
        source.publish(*make_sdist(version="1.0"))
        source.yank("1.0")
        done = copy(source, target)
        assert {each.outcome for each in done.values()} == {"copied"}
        assert {tag: target.digest(tag) for tag in done} == {tag: source.digest(tag) for tag in done}
        assert target.files() == source.files()

    def test_all_projects_or_those_that_are_named(self, source: Place, target: Place) -> None:
        source.wheel()
        source.publish(*make_wheel("other"))
        copy(source, target, "other")
        with pytest.raises(NotFound):
            target.files()
        copy(source, target)
        assert len(target.files()) == 1

    def test_again_does_nothing(self, source: Place, target: Place) -> None:
        """The second run reads a document and the referrers, and sends nothing."""
        source.wheel()
        copy(source, target)
        target.registry.calls.clear()
        (done,) = copy(source, target).values()
        assert (done.outcome, done.sent) == ("present", 0)
        assert [line for line in target.registry.calls if not line.startswith("GET")] == []

    def test_requests_for_a_small_project(self, source: Place, target: Place) -> None:
        """Of one wheel: eleven to the target, where each takes a round trip; crane needs thirteen."""
        source.wheel()
        copy(source, target, "hello-world")
        kinds = {"tags/list": "tags", "/manifests/": "document", "/uploads/": "upload", "/blobs/": "blob"}
        asked = Counter(
            f"{line.split()[0]} {next(kind for part, kind in kinds.items() if part in line)}"
            for line in target.registry.calls
        )
        assert asked == {
            "GET tags": 1,
            "HEAD blob": 2,  # the file and its METADATA
            "POST upload": 2,
            "PUT upload": 2,
            "GET document": 1,  # whether somebody else has written the version meanwhile
            "PUT document": 2,
            "HEAD document": 1,
        }

    def test_unknown_project(self, source: Place, target: Place) -> None:
        (done,) = copy(source, target, "absent").values()
        assert done.outcome == "failed"
        assert done.notes == ("there is no project absent in local/acme",)

    def test_images_are_passed_over(self, source: Place, target: Place) -> None:
        """A namespace may have container images, too."""
        source.wheel()
        source.registry.put("1.0", make_foreign_image(source.registry, "image"), name="image")
        done = copy(source, target)
        assert {name: each.outcome for name, each in done.items()} == {
            "1.0": "copied",
            "image": "passed over",
        }
        assert target.remote.projects() == (HELLO,)

    def test_emptied_project(self, source: Place, target: Place) -> None:
        """Its marker is copied: the name stays the registry's."""
        filename = source.wheel()
        source.store.delete(make_namespace(), HELLO, filename, NOBODY)
        assert copy(source, target)["0--pyoci"].outcome == "copied"
        assert target.files() == []


class TestTargetHasMore:
    def test_files_of_both_stay(self, source: Place, target: Place) -> None:
        source.wheel("1.0")
        target.wheel("1.0", tag="cp311-cp311-any")
        done = copy(source, target)["1.0"]
        assert done.outcome == "changed"
        assert "was added to" in done.notes[0]
        assert len(target.files()) == 2

    def test_another_file_of_the_same_name(self, source: Place, target: Place) -> None:
        """It stays as it is, the others are copied, and the copy counts as failed."""
        name = source.wheel("1.0")
        source.wheel("1.0", tag="cp311-cp311-any")
        target.wheel("1.0", files={"other.py": b"other"})
        before = {file.filename: file.sha256 for file in target.files()}
        done = copy(source, target)["1.0"]
        assert done.outcome == "failed"
        assert done.notes[0] == f"{name} was not copied: local/acme/hello_world has another file of that name"
        after = {file.filename: file.sha256 for file in target.files()}
        assert len(after) == 2
        assert after[name] == before[name]

    def test_more_files_than_the_source(self, source: Place, target: Place) -> None:
        source.wheel("1.0")
        copy(source, target)
        target.wheel("1.0", tag="cp311-cp311-any")
        assert copy(source, target)["1.0"].outcome == "present"
        assert len(target.files()) == 2

    def test_a_later_yank_follows(self, source: Place, target: Place) -> None:
        source.wheel("1.0")
        copy(source, target)
        source.yank("1.0", "security")
        assert copy(source, target)["1.0"].outcome == "copied"
        assert [file.yanked for file in target.files()] == ["security"]
        assert target.digest("1.0") == source.digest("1.0")

    def test_something_else_under_the_tag(self, source: Place, target: Place) -> None:
        source.wheel("1.0")
        target.registry.put("1.0", make_foreign_image(target.registry))
        before = target.digest("1.0")
        assert copy(source, target)["1.0"].outcome == "failed"
        assert target.digest("1.0") == before

    def test_publish_during_the_copy(self, source: Place, target: Place) -> None:
        """A file that somebody publishes to the target while files are copied there stays."""
        copied = source.wheel("1.0")
        published = iter([make_wheel(tag="cp311-cp311-any")])

        def before(line: str) -> None:
            if line.startswith("PUT") and "/manifests/sha256" in line:
                for file in published:
                    target.publish(*file)

        target.registry.before = before
        assert copy(source, target)["1.0"].outcome == "changed"
        assert {file.filename for file in target.files()} == {
            copied,
            "hello_world-1.0-cp311-cp311-any.whl",
        }

    def test_writer_that_read_the_tag_before(self, source: Place, target: Place) -> None:
        """It writes the tag after the copy has: the files of the copy are lost, and put back."""
        source.wheel("1.0")
        copy(source, target)
        source.wheel("1.0", tag="cp311-cp311-any")
        stale = target.registry.document("1.0")
        is_written = False
        later = iter(["the first request", "the second one"])

        def before(line: str) -> None:
            nonlocal is_written
            if is_written and next(later, "") == "the second one":
                target.registry.put("1.0", stale)
            is_written = is_written or (line.startswith("PUT") and line.endswith("/manifests/1.0"))

        target.registry.before = before
        assert copy(source, target)["1.0"].outcome == "copied"
        assert target.digest("1.0") == source.digest("1.0")
        assert len(target.files()) == 2

    def test_signatures_of_both_stay(self, source: Place, target: Place) -> None:
        """Without the list of referrers, a registry has them under a tag."""
        source.wheel()
        copy(source, target)
        tag = source.digest("1.0").replace(":", "-")
        ours, theirs = source.sign(source.digest("1.0")), target.sign(target.digest("1.0"), b"another")
        for place, signed in ((source, ours), (target, theirs)):
            size = len(place.registry._pull(signed, "hello-world", "acme").body)
            descriptor = {"mediaType": IMAGE_MANIFEST, "digest": signed, "size": size}
            place.registry.put(tag, {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [descriptor]})
            place.registry.refuse["/referrers/"] = (404, "NOT_FOUND")
        assert copy(source, target)[tag].outcome == "copied"
        listed = [each["digest"] for each in target.registry.document(tag)["manifests"]]
        assert listed == [theirs, ours]
        assert copy(source, target)[tag].outcome == "present"

    @pytest.mark.parametrize("ending", ["sig", "att", "sbom"])
    def test_tags_of_cosign(self, source: Place, target: Place, ending: str) -> None:
        """The one with more signatures stays; of two that have signatures of their own, the target's."""
        source.wheel()
        copy(source, target)
        tag = f"{source.digest('1.0').replace(':', '-')}.{ending}"
        ours, theirs, another = "ours", "theirs", "another"
        for place in (source, target):
            _put_signatures(place, tag, theirs)
        _put_signatures(source, tag, theirs, ours)
        assert copy(source, target)[tag].outcome == "copied"
        assert target.digest(tag) == source.digest(tag)
        _put_signatures(target, tag, theirs, ours, another)
        before = target.digest(tag)
        assert copy(source, target)[tag].outcome == "present"
        _put_signatures(source, tag, theirs, "later")
        done = copy(source, target)[tag]
        assert (done.outcome, target.digest(tag)) == ("failed", before)
        note = f"local/acme/hello_world:{tag} has signatures of its own, so it was not overwritten"
        assert done.notes == (note,)


def _put_signatures(place: Place, tag: str, *signatures: str) -> None:
    """Write a manifest with a layer for each signature, as cosign does: all have the same bytes."""
    kind, config = "application/vnd.oci.image.config.v1+json", place.registry.put_blob(b"{}")
    layers = [
        {
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": str(place.registry.put_blob(b"payload")),
            "size": len(b"payload"),
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }
        for signature in signatures
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "config": {"mediaType": kind, "digest": str(config), "size": 2},
        "layers": layers,
    }
    place.registry.put(tag, document)


class TestLost:
    def test_manifest_gets_a_new_one(self, source: Place, target: Place) -> None:
        """A clean-up took the manifest of a file, whose blob is still there."""
        name = source.wheel()
        (entry,) = source.registry.document("1.0")["manifests"]
        source.lose(entry["digest"])
        done = copy(source, target)["1.0"]
        assert (done.outcome, done.notes) == (
            "changed",
            (f"{name} got a new manifest, because its own is lost",),
        )
        (file,) = target.files()
        assert file.filename == name
        assert b"".join(target.store.open(make_namespace(), HELLO, name, NOBODY))

    def test_file_is_left_out(self, source: Place, target: Place) -> None:
        """The other files of its version are copied."""
        lost, kept = source.wheel(), source.wheel(tag="cp311-cp311-any")
        (file,) = (file for file in source.files() if file.filename == lost)
        source.lose(f"sha256:{file.sha256}")
        done = copy(source, target)["1.0"]
        assert done.outcome == "failed"
        assert done.notes[0].startswith(f"{lost} was not copied: ")
        assert [file.filename for file in target.files()] == [kept]

    def test_newest_versions(self, source: Place, target: Place) -> None:
        """A project is one though its newest versions are lost: they fail, and the others are copied."""
        for version in ("1.0", "2.0", "3.0", "4.0"):
            source.wheel(version)
        for version in ("2.0", "3.0", "4.0"):
            source.registry.refuse[f"GET .*manifests/{version}"] = (404, "MANIFEST_UNKNOWN")
        outcomes = {tag: each.outcome for tag, each in copy(source, target).items()}
        assert outcomes == {"1.0": "copied", "2.0": "failed", "3.0": "failed", "4.0": "failed"}

    def test_every_version(self, source: Place, target: Place) -> None:
        """The project fails: it isn't taken for a repository of images, which is passed over."""
        source.wheel("1.0")
        source.registry.refuse["GET .*manifests/1.0"] = (404, "MANIFEST_UNKNOWN")
        (done,) = copy(source, target).values()
        assert done.outcome == "failed"


class TestHostileSource:
    def test_the_same_document_many_times(self, source: Place, target: Place) -> None:
        """Image indexes in image indexes, each with one entry forty times: each document is read once."""
        source.wheel()
        descriptor = _descriptor(source, "leaf", make_foreign_image(source.registry))
        for level in ("a", "b", "c"):
            index = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [descriptor] * 40}
            descriptor = _descriptor(source, level, index)
        source.registry.calls.clear()
        assert copy(source, target)["c"].outcome == "copied"
        assert len(source.registry.calls) < 200


def _descriptor(place: Place, tag: str, document: dict[str, Any]) -> dict[str, Any]:
    put = place.registry.put(tag, document)
    return {"mediaType": put.media_type, "digest": str(put.digest), "size": len(put.body)}


class TestReferrers:
    def test_signatures_come_along(self, source: Place, target: Place) -> None:
        """Of the version and of each file, and signatures of signatures."""
        source.wheel()
        (entry,) = source.registry.document("1.0")["manifests"]
        signed = source.sign(source.digest("1.0")), source.sign(entry["digest"], b"of the file")
        again = source.sign(signed[0], b"of the signature")
        assert copy(source, target)["1.0"].referrers == 3
        assert target.referrers(source.digest("1.0")) == [signed[0]]
        assert target.referrers(entry["digest"]) == [signed[1]]
        assert target.referrers(signed[0]) == [again]

    def test_later_signature(self, source: Place, target: Place) -> None:
        source.wheel()
        copy(source, target)
        signed = source.sign(source.digest("1.0"))
        copy(source, target)
        assert target.referrers(source.digest("1.0")) == [signed]

    def test_target_without_the_list(self, source: Place, target: Place) -> None:
        """There, the tag that stands for the list is written."""
        source.wheel()
        digest = source.digest("1.0")
        signed = source.sign(digest)
        target.registry.refuse["/referrers/"] = (404, "NOT_FOUND")
        copy(source, target)
        fallback = target.registry.document(digest.replace(":", "-"))
        assert [entry["digest"] for entry in fallback["manifests"]] == [signed]


class TestFailures:
    @pytest.mark.parametrize(
        "call", ["POST {}", "PUT {}/blobs", "PUT {}/manifests/sha256", "PUT {}/manifests/1.0"]
    )
    def test_target_refuses(self, source: Place, target: Place, call: str) -> None:
        """No tag is left, the other project is copied, and the next run does what is missing."""
        source.wheel()
        source.publish(*make_wheel("other", "2.0"))
        target.registry.refuse[call.format("acme/hello_world")] = (403, "DENIED")
        done = copy(source, target)
        assert (done["1.0"].outcome, done["2.0"].outcome) == ("failed", "copied")
        assert "answered 403" in done["1.0"].notes[0]
        assert target.remote.tags(HELLO) == ()
        target.registry.refuse.clear()
        assert copy(source, target)["1.0"].outcome == "copied"
        assert target.digest("1.0") == source.digest("1.0")

    def test_busy_registry_is_asked_again(self, source: Place, target: Place) -> None:
        source.wheel()
        answers = iter([True, True])

        def before(line: str) -> None:
            if line.startswith("PUT") and "/manifests/1.0" in line:
                if next(answers, False):
                    target.registry.refuse["PUT .*manifests/1.0"] = (503, "BUSY")
                else:
                    target.registry.refuse.clear()

        target.registry.before = before
        assert copy(source, target)["1.0"].outcome == "copied"

    def test_wrong_bytes(self, source: Place, target: Place) -> None:
        """A source that sends other bytes than those of the digest: nothing of that file is stored."""
        source.wheel()
        (file,) = source.files()
        source.registry.answers[f"GET .*blobs/sha256:{file.sha256}"] = (b"other", {})
        done = copy(source, target)["1.0"]
        assert done.outcome == "failed"
        assert target.remote.tags(HELLO) == ()


class TestOneRegistry:
    def test_blobs_are_mounted(self, source: Place) -> None:
        """Between two namespaces of one registry no bytes are sent."""
        source.wheel()
        beside = Remote(source.registry.gateway, make_namespace("elsewhere"), NOBODY)
        copier = Copier(source.remote, beside, make_updater(sleep=lambda _: None))
        (done,) = copier.run()
        assert (done.outcome, done.sent, done.mounted) == ("copied", 0, 2)

    def test_registry_that_mounts_nothing(self, source: Place) -> None:
        """It wants the bytes; it is asked once for each version."""
        source.wheel()
        beside = Remote(source.registry.gateway, make_namespace("elsewhere"), NOBODY)
        source.registry.mounts = False
        copier = Copier(source.remote, beside, make_updater(sleep=lambda _: None))
        (done,) = copier.run()
        assert (done.outcome, done.mounted) == ("copied", 0)
        assert done.sent > 0


def test_blob_that_somebody_else_uploads_too(source: Place, target: Place) -> None:
    """docker-registry refuses the manifest until that upload is done: the version is copied again."""
    source.wheel()
    refused = iter([True])

    def before(line: str) -> None:
        if line.startswith("PUT") and "/manifests/sha256" in line:
            if next(refused, False):
                target.registry.refuse["PUT .*manifests/sha256"] = (400, "MANIFEST_BLOB_UNKNOWN")
            else:
                target.registry.refuse.clear()

    target.registry.before = before
    assert copy(source, target)["1.0"].outcome == "copied"


class TestStatus:
    """The status of a project is in its marker."""

    @staticmethod
    def status(place: Place) -> ProjectStatus | None:
        return page(place.registry.store(), HELLO).status

    @staticmethod
    def set_status(place: Place, status: str, reason: str, year: int = 2026) -> None:
        store = place.registry.store(now=lambda: datetime(year, 1, 1, tzinfo=UTC))
        store.set_status(make_namespace(), HELLO, status, reason, NOBODY)

    def test_is_copied(self, source: Place, target: Place) -> None:
        """With files that nobody may download or add."""
        source.wheel()
        for year, status in enumerate(("archived", "deprecated", "quarantined"), 2026):
            self.set_status(source, status, str(year), year)
        assert {each.outcome for each in copy(source, target).values()} == {"copied"}
        assert self.status(target) == ProjectStatus("quarantined", "2028")
        assert target.digest("1.0") == source.digest("1.0")
        assert copy(source, target)["0--pyoci"].outcome == "present"

    @pytest.mark.parametrize(("year", "outcome"), [(2027, "copied"), (2025, "present")])
    def test_the_later_one_stays(self, source: Place, target: Place, year: int, outcome: str) -> None:
        """Also where it has lifted the other one."""
        source.wheel(), target.wheel()
        self.set_status(source, "deprecated", "", 2024)
        self.set_status(source, "active", "", year)
        self.set_status(target, "quarantined", "here")
        assert copy(source, target)["0--pyoci"].outcome == outcome
        assert self.status(target) == (None if year == 2027 else ProjectStatus("quarantined", "here"))

    def test_a_marker_without_one_changes_nothing(self, source: Place, target: Place) -> None:
        """It was left by a delete, at whatever time."""
        source.wheel(), source.wheel("2.0"), target.wheel()
        source.store.delete(make_namespace(), HELLO, "2.0", NOBODY)
        self.set_status(target, "archived", "here", 2020)
        assert copy(source, target)["0--pyoci"].outcome == "present"
        assert self.status(target) == ProjectStatus("archived", "here")

    def test_an_image_under_the_tag_is_kept(self, source: Place, target: Place) -> None:
        """It is somebody else's."""
        source.wheel(), target.wheel()
        self.set_status(source, "archived", "")
        image = make_foreign_image(target.registry)
        target.registry.put("0--pyoci", image)
        assert copy(source, target)["0--pyoci"].outcome == "failed"
        assert target.registry.document("0--pyoci") == image

    def test_check_and_repair_keep_it(self, source: Place) -> None:
        """Nothing is wrong with it, and taking out a lost file leaves it."""
        source.wheel()
        self.set_status(source, "quarantined", "malware")
        (checked,) = Checker(source.remote).run()
        assert (checked.problems, checked.has_package) == ((), True)
        (entry,) = source.registry.document("1.0")["manifests"]
        source.delete(f"sha256:{entry['annotations']['com.pyoci.sha256_digest']}")
        (checked,) = Checker(source.remote).run()
        repairer = Repairer(source.remote, make_updater(sleep=lambda _: None), drop_lost=True)
        assert [each.outcome for each in repairer.run(checked.problems)] == ["taken out"]
        assert source.remote.tags(HELLO) == ("0--pyoci",)
        assert self.status(source) == ProjectStatus("quarantined", "malware")
