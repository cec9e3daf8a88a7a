"""Updates of one version that are made at the same time, here and elsewhere."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pyoci.errors import (
    PyOCIError,
    Unauthorized,
    Unreachable,
)
from pyoci.store.service import PackageStore
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import HELLO, NOBODY, names, page, publish, publish_wheel
from tests.stores import make_cache, make_store

ACME = make_namespace()
WHEEL, SDIST = make_wheel()[0], make_sdist()[0]


class TestTogether:
    """Several write one version at the same time."""

    UPLOADS = tuple(make_wheel(tag=f"cp3{minor}-none-any") for minor in range(16))

    def test_in_one_process(self, store: PackageStore) -> None:
        """Every accepted file is on the page."""
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda upload: publish(store, *upload), self.UPLOADS))
        assert len(names(store)) == 16

    def test_in_two_processes_that_share_nothing(self, tmp_path: Path) -> None:
        """A lost update is found when it is read back, and made again."""
        gateways = [TestRegistry(tmp_path / "shared").gateway for _ in range(2)]
        stores = [make_store(gateway) for gateway in gateways]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: publish(stores[n % 2], *self.UPLOADS[n]), range(8)))
        assert len(names(stores[0])) == 8

    def test_an_update_that_is_overwritten_is_made_again(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """A writer elsewhere, who read before we wrote, writes the image index without our file."""
        publish(store, *make_sdist())
        old = registry.document("1.0")
        overwritten = threading.Event()

        def overwrite(line: str) -> None:
            wrote = [call for call in registry.calls if call.startswith("PUT") and call.endswith("/1.0")]
            if len(wrote) == 2 and line.startswith("GET") and not overwritten.is_set():
                overwritten.set()
                registry.put("1.0", old)

        registry.before = overwrite
        publish(store, *make_wheel())
        assert overwritten.is_set()
        assert sorted(names(store)) == sorted([WHEEL, SDIST])

    @pytest.mark.parametrize("contested", [False, True])
    def test_the_second_read_back_is_later_if_others_write(
        self, registry: TestRegistry, contested: bool
    ) -> None:
        """A writer who shares nothing with us may be slower than we are."""
        slept: list[float] = []
        store = registry.store(sleep=slept.append)
        publish(store, *make_sdist())
        if contested:
            document = registry.document("1.0")
            document["annotations"]["com.example"] = "elsewhere"
            registry.put("1.0", document)
        slept.clear()
        publish(store, *make_wheel())
        assert len(slept) == 2
        # By half a second at least, however long the updates took; the jitter is a tenth of a second.
        assert (slept[1] - slept[0] > 0.3) is contested

    def test_a_file_that_is_added_while_the_marker_is_written_is_kept(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """The version had no other file when it was read: it is read again before its tag is removed."""
        publish(store, *make_sdist())
        elsewhere, added = registry.store(), threading.Event()

        def add(line: str) -> None:
            if line.startswith("PUT") and line.endswith("/0--pyoci") and not added.is_set():
                added.set()
                publish(elsewhere, *make_wheel())

        registry.before = add
        store.delete(ACME, HELLO, SDIST, NOBODY)
        assert added.is_set()
        assert names(store) == [WHEEL]

    def test_a_delete_from_elsewhere_is_kept(self, registry: TestRegistry, store: PackageStore) -> None:
        """Only our own update has to be in what is read back."""
        publish(store, *make_sdist())
        deleted = threading.Event()

        def delete(line: str) -> None:
            wrote = [call for call in registry.calls if call.startswith("PUT") and call.endswith("/1.0")]
            if len(wrote) == 2 and line.startswith("GET") and not deleted.is_set():
                deleted.set()
                document = registry.document("1.0")
                document["manifests"] = document["manifests"][1:]
                registry.put("1.0", document)

        registry.before = delete
        publish(store, *make_wheel())
        assert deleted.is_set()
        assert names(store) == [WHEEL]

    def test_endless_overwriting_is_unreachable(self, registry: TestRegistry, store: PackageStore) -> None:
        """After some attempts the uploader is asked to try again."""
        publish(store, *make_sdist())
        old, overwrites = registry.document("1.0"), [True]

        def overwrite(line: str) -> None:
            after_write = registry.calls[-2:-1] and registry.calls[-2].startswith("PUT")
            if overwrites[0] and after_write and line.startswith("GET") and line.endswith("/1.0"):
                overwrites[0] = False
                old["annotations"]["com.example.round"] = str(len(registry.calls))
                registry.put("1.0", old)
                overwrites[0] = True

        registry.before = overwrite
        with pytest.raises(Unreachable, match="overwritten by other programs after each attempt"):
            publish(store, *make_wheel())


def test_a_registry_that_fails_is_given_time(registry: TestRegistry) -> None:
    """The pauses between attempts grow: immediate attempts would make it worse."""
    slept: list[float] = []
    store = registry.store(sleep=slept.append)
    registry.refuse = {r"PUT acme/hello_world/manifests/1\.0$": (503, "UNAVAILABLE")}
    with pytest.raises(PyOCIError):
        publish_wheel(store)
    assert sum(slept) > 1
    registry.refuse = {}
    publish_wheel(store)
    assert len(names(store)) == 1


class TestReaders:
    """A caller who may read but not write delays no other caller."""

    @pytest.mark.parametrize("change", ["yank", "delete"])
    def test_a_refusal_comes_while_another_writes(self, tmp_path: Path, change: str) -> None:
        """The registry says so before the update is queued. Nothing is left of the upload that asks it."""
        cache = make_cache()
        writing = TestRegistry(tmp_path / "registry")
        reading = TestRegistry(tmp_path / "registry", refuse={"(POST|PUT|DELETE) ": (403, "DENIED")})
        writer, reader = writing.store(cache=cache), reading.store(cache=cache)
        publish_wheel(writer)
        is_writing, may_go_on = threading.Event(), threading.Event()
        changes = {
            "yank": partial(reader.yank, ACME, HELLO, WHEEL, "by the reader", NOBODY),
            "delete": partial(reader.delete, ACME, HELLO, "1.0", NOBODY),
        }

        def hold(line: str) -> None:
            if line.startswith("PUT acme/hello_world/manifests/1.0"):
                is_writing.set()
                assert may_go_on.wait(20)

        writing.before = hold
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(writer.yank, ACME, HELLO, WHEEL, "by the writer", NOBODY)
            try:
                assert is_writing.wait(20)
                with pytest.raises(Unauthorized):
                    changes[change]()
                assert not written.done()
            finally:
                may_go_on.set()
            written.result(60)
        assert {file.filename: file.yanked for file in page(writer).files} == {WHEEL: "by the writer"}

    def test_the_upload_that_asks_is_cancelled(self, registry: TestRegistry, store: PackageStore) -> None:
        publish_wheel(store)
        registry.calls.clear()
        store.yank(ACME, HELLO, WHEEL, "broken", NOBODY)
        assert [line.partition("/blobs/uploads/")[0] for line in registry.calls if "/uploads/" in line] == [
            "POST acme/hello_world",
            "DELETE acme/hello_world",
        ]
