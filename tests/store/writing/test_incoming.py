"""Files that are streamed to the registry while they arrive: what is checked ahead, and what at the end."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyoci.errors import AlreadyExists, BodyTimeout, InvalidRequest, TooLarge
from pyoci.oci.errors import RegistryFailed
from pyoci.store.models import PackageFile, Upload
from pyoci.store.service import PackageStore
from tests.builders import make_sdist, make_wheel, make_zip
from tests.registry import TestRegistry, make_namespace
from tests.store.shelf import NOBODY, content, make_upload, names

MIB = 1024 * 1024
PIECE = 256 * 1024  # bytes


def make_ballast(seed: int = 0, size: int = 2 * MIB) -> dict[str, bytes]:
    """A file that doesn't compress."""
    return {"hello_world.bin": random.Random(seed).randbytes(size)}


WHEEL, CONTENT = make_wheel(files=make_ballast())
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Arriving:
    """A form whose file arrives piece by piece. `missing` is how many bytes the form promises beyond those
    that arrive, `after` has the fields behind the file. `before` is called before each piece, with the count
    of bytes that have arrived.
    """

    def __init__(
        self,
        filename: str = WHEEL,
        data: bytes = CONTENT,
        *,
        missing: int = 0,
        after: dict[str, Any] | None = None,
        before: Callable[[int], object] = lambda _: None,
        **overrides: Any,
    ) -> None:
        digests = {"sha256": hashlib.sha256(data).hexdigest()}
        self._upload = make_upload(filename, data, **{"digests": digests, **overrides}).upload
        self._data, self._missing, self._after, self._before = data, missing, after or {}, before
        self._spool = io.BytesIO()
        self.arrived = 0

    def ahead(self) -> Upload | None:
        return replace(self._upload, content=self._spool, size=len(self._data) + self._missing)

    def pieces(self) -> Iterator[bytes]:
        while self.arrived < len(self._data):
            self._before(self.arrived)
            piece = self._data[self.arrived : self.arrived + PIECE]
            self._spool.write(piece)
            self.arrived += len(piece)
            yield piece

    def whole(self) -> Upload:
        assert self.arrived == len(self._data)
        self._spool.seek(0)
        return replace(self._upload, content=self._spool, size=self.arrived, **self._after)

    @property
    def is_read(self) -> bool:
        return self.arrived == len(self._data)


def take(store: PackageStore, incoming: Arriving) -> PackageFile:
    return store.publish(make_namespace(), incoming, NOBODY).file


def blob_size(registry: TestRegistry, sha256: str) -> int | None:
    """The size of a blob in the registry, None if it has none."""
    found = [path for path in registry.directory.rglob(sha256) if path.is_file()]
    return found[0].stat().st_size if found else None


def puts(registry: TestRegistry) -> list[str]:
    return [line for line in registry.calls if line.startswith("PUT") and "/uploads/" in line]


def test_a_file_is_pushed_before_it_has_arrived(registry: TestRegistry, store: PackageStore) -> None:
    """The upload to the registry has begun before the last pieces arrive."""
    seen: dict[int, int] = {}

    def before(came: int) -> None:
        seen[came] = len(puts(registry))

    file = take(store, incoming := Arriving(before=before))
    assert list(seen.values()) == [1] * len(seen)
    assert len(seen) > 7
    assert incoming.is_read
    assert (file.sha256, file.size) == (SHA256, len(CONTENT))
    assert content(store, WHEEL) == CONTENT
    assert len(puts(registry)) == 2  # the file, and its config blob


def test_a_small_file_is_pushed_from_the_temporary_file(registry: TestRegistry, store: PackageStore) -> None:
    """It has arrived before the registry can answer anything."""
    filename, data = make_wheel()
    calls: list[int] = []
    take(store, Arriving(filename, data, before=lambda _: calls.append(len(registry.calls))))
    assert calls == [0]
    assert names(store) == [filename]


def test_a_file_without_a_sha256_is_pushed_from_the_temporary_file(
    registry: TestRegistry, store: PackageStore
) -> None:
    """The registry has to be given the digest of the blob."""
    calls: list[int] = []
    take(store, Arriving(digests={}, before=lambda _: calls.append(len(registry.calls))))
    assert set(calls) == {0}
    assert content(store, WHEEL) == CONTENT


class TestChecksAhead:
    def test_the_same_file_is_read_and_not_pushed(self, registry: TestRegistry, store: PackageStore) -> None:
        """twine repeats an upload whose answer was lost."""
        first = take(store, Arriving())
        registry.calls.clear()
        assert take(store, incoming := Arriving()) == first
        assert incoming.is_read
        assert {line.split()[0] for line in registry.calls} == {"GET", "HEAD"}

    def test_a_file_with_the_digest_of_another_is_refused(self, store: PackageStore) -> None:
        """The digest in the form is that of the file that is there; the uploaded file is another."""
        take(store, Arriving())
        other = make_wheel(files=make_ballast(1))[1]
        with pytest.raises(InvalidRequest, match="sha256 digest is"):
            take(store, Arriving(data=other, digests={"sha256": SHA256}))

    def test_another_file_is_a_conflict_at_once(self, store: PackageStore) -> None:
        """Before a byte of it is read."""
        take(store, Arriving())
        incoming = Arriving(data=make_wheel(files=make_ballast(1))[1])
        with pytest.raises(AlreadyExists):
            take(store, incoming)
        assert incoming.arrived == 0

    @pytest.mark.parametrize(
        ("filename", "overrides", "sentence"),
        [
            (WHEEL, {"name": "other"}, "the form's name"),
            (WHEEL, {"version": "2.0"}, "the form's version"),
            (WHEEL, {"filetype": "sdist"}, "the form's filetype"),
            ("hello_world-1.0.egg", {}, "neither a wheel nor an sdist"),
        ],
        ids=["name", "version", "filetype", "file name"],
    )
    def test_a_form_that_does_not_match_its_file_name_is_refused_at_once(
        self,
        registry: TestRegistry,
        store: PackageStore,
        filename: str,
        overrides: dict[str, Any],
        sentence: str,
    ) -> None:
        """The registry is not asked."""
        incoming = Arriving(filename, **overrides)
        with pytest.raises(InvalidRequest, match=sentence):
            take(store, incoming)
        assert (incoming.arrived, registry.calls) == (0, [])

    def test_a_blob_that_is_there_is_not_pushed(self, registry: TestRegistry, store: PackageStore) -> None:
        """An earlier upload may have ended between the blob and the image index."""
        registry.put_blob(CONTENT)
        registry.calls.clear()
        take(store, Arriving())
        assert len(puts(registry)) == 1  # the config blob
        assert content(store, WHEEL) == CONTENT


class TestChecksAtTheEnd:
    @pytest.mark.parametrize(
        ("filename", "data", "overrides", "sentence"),
        [
            (WHEEL, CONTENT, {"digests": {"sha256": "0" * 64}}, "sha256 digest is"),
            (WHEEL, CONTENT, {"digests": {"sha256": SHA256, "md5": "0" * 32}}, "md5 digest is"),
            (WHEEL, CONTENT, {"after": {"digests": {"blake2b_256": "0" * 64}}}, "blake2b_256 digest is"),
            (WHEEL, CONTENT, {"after": {"filetype": "sdist"}}, "filetype"),
            (WHEEL, make_zip(make_ballast()), {}, "METADATA"),
            (WHEEL, b"x" * 2 * MIB, {}, "zip"),
            ("hello_world-1.0.tar.gz", make_sdist("other", files=make_ballast())[1], {}, "PKG-INFO"),
        ],
        ids=["sha256", "md5", "digest after", "field after", "no metadata", "no zip", "another sdist"],
    )
    def test_a_bad_file_leaves_no_blob(
        self,
        registry: TestRegistry,
        store: PackageStore,
        filename: str,
        data: bytes,
        overrides: dict[str, Any],
        sentence: str,
    ) -> None:
        """Its last piece is never sent, so the registry stores nothing."""
        incoming = Arriving(filename, data, **overrides)
        with pytest.raises(InvalidRequest, match=sentence):
            take(store, incoming)
        assert incoming.is_read
        assert len(puts(registry)) == 1
        assert blob_size(registry, hashlib.sha256(data).hexdigest()) is None
        assert blob_size(registry, "0" * 64) is None
        assert not registry.exists("1.0")

    def test_digests_ahead_of_the_file_and_behind_it_are_verified(self, store: PackageStore) -> None:
        """The first while the file arrives, the second from the temporary file."""
        digests = {"sha256": SHA256, "md5": hashlib.md5(CONTENT).hexdigest()}
        blake = {"blake2b_256": hashlib.blake2b(CONTENT, digest_size=32).hexdigest()}
        take(store, Arriving(digests=digests, after={"digests": {**digests, **blake}}))
        assert content(store, WHEEL) == CONTENT

    @pytest.mark.parametrize("missing", [1, 3 * PIECE, -1, -3 * PIECE])
    def test_a_file_of_another_size_is_pushed_from_the_temporary_file(
        self, registry: TestRegistry, store: PackageStore, missing: int
    ) -> None:
        """A field follows it in the form: the push that has begun is abandoned."""
        take(store, Arriving(missing=missing))
        assert len(puts(registry)) == 3
        assert content(store, WHEEL) == CONTENT


class TestFailures:
    @pytest.mark.parametrize(
        "failure",
        [InvalidRequest("gone"), BodyTimeout("slow"), OSError(28, "No space left"), ValueError("a defect")],
        ids=["client gone", "client slow", "disk full", "a defect"],
    )
    @pytest.mark.parametrize("at", [0, 3 * PIECE])
    def test_an_error_of_the_form_is_raised(
        self, registry: TestRegistry, store: PackageStore, failure: Exception, at: int
    ) -> None:
        """Nothing is stored and nothing tried again; the next upload succeeds."""

        def before(came: int) -> None:
            if came >= at:
                raise failure

        with pytest.raises(type(failure)) as caught:
            take(store, Arriving(before=before))
        assert caught.value is failure
        assert len(puts(registry)) == 1
        assert blob_size(registry, SHA256) is None
        take(store, Arriving())
        assert names(store) == [WHEEL]

    def test_a_broken_push_is_repeated_from_the_temporary_file(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """After the rest of the file has arrived."""

        def relent(line: str) -> None:
            if line.startswith("POST") and len(puts(registry)) == 1:
                registry.refuse = {}

        registry.refuse, registry.before = {"PUT .*/uploads/": (503, "UNAVAILABLE")}, relent
        take(store, incoming := Arriving())
        assert incoming.is_read
        assert content(store, WHEEL) == CONTENT

    def test_pushes_are_limited(self, registry: TestRegistry, store: PackageStore) -> None:
        """One while the file arrives, three from the temporary file."""
        registry.refuse = {"PUT .*/uploads/": (503, "UNAVAILABLE")}
        with pytest.raises(RegistryFailed):
            take(store, Arriving())
        assert len(puts(registry)) == 4

    def test_a_refusal_is_passed_on(self, registry: TestRegistry, store: PackageStore) -> None:
        """Another attempt would be refused, too. The rest of the file isn't needed."""
        registry.refuse = {"PUT .*/uploads/": (413, "SIZE_INVALID")}
        with pytest.raises(TooLarge):
            take(store, Arriving())
        assert len(puts(registry)) == 1

    def test_a_success_before_the_last_piece_is_ignored(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """The registry can't have the file yet."""

        def relent(line: str) -> None:
            if line.startswith("POST") and len(puts(registry)) == 1:
                registry.refuse = {}

        registry.refuse, registry.before = {"PUT .*/uploads/": (201, "FINE")}, relent
        take(store, Arriving())
        assert content(store, WHEEL) == CONTENT
