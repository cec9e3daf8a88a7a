"""Files that are passed on to the registry while they arrive: what is checked before, and what at the end."""

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
    """A module that doesn't compress."""
    return {"hello_world.bin": random.Random(seed).randbytes(size)}


WHEEL, CONTENT = make_wheel(files=make_ballast())
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Arriving:
    """A form whose file comes piece by piece. `missing` is how much the form promises beyond what comes,
    `after` what the fields behind the file say; `before` is called with the count of bytes before each piece.
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
        self.came = 0

    def ahead(self) -> Upload | None:
        return replace(self._upload, content=self._spool, size=len(self._data) + self._missing)

    def pieces(self) -> Iterator[bytes]:
        while self.came < len(self._data):
            self._before(self.came)
            piece = self._data[self.came : self.came + PIECE]
            self._spool.write(piece)
            self.came += len(piece)
            yield piece

    def whole(self) -> Upload:
        assert self.came == len(self._data)
        self._spool.seek(0)
        return replace(self._upload, content=self._spool, size=self.came, **self._after)

    @property
    def is_read(self) -> bool:
        return self.came == len(self._data)


def take(store: PackageStore, incoming: Arriving) -> PackageFile:
    return store.publish(make_namespace(), incoming, NOBODY).file


def blob_size(registry: TestRegistry, sha256: str) -> int | None:
    """The size of a blob in the registry, None where it has none."""
    found = [path for path in registry.directory.rglob(sha256) if path.is_file()]
    return found[0].stat().st_size if found else None


def puts(registry: TestRegistry) -> list[str]:
    return [line for line in registry.calls if line.startswith("PUT") and "/uploads/" in line]


def test_a_file_is_on_its_way_before_it_is_here(registry: TestRegistry, store: PackageStore) -> None:
    """The registry has been asked everything and given the first pieces when the last ones come."""
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


def test_a_small_file_waits_in_the_spool(registry: TestRegistry, store: PackageStore) -> None:
    """It has come before the registry could have answered anything."""
    filename, data = make_wheel()
    calls: list[int] = []
    take(store, Arriving(filename, data, before=lambda _: calls.append(len(registry.calls))))
    assert calls == [0]
    assert names(store) == [filename]


def test_without_a_sha256_it_waits_too(registry: TestRegistry, store: PackageStore) -> None:
    """Nobody could say which blob is to be pushed."""
    calls: list[int] = []
    take(store, Arriving(digests={}, before=lambda _: calls.append(len(registry.calls))))
    assert set(calls) == {0}
    assert content(store, WHEEL) == CONTENT


class TestChecksAhead:
    def test_the_same_file_is_read_and_not_pushed(self, registry: TestRegistry, store: PackageStore) -> None:
        """twine repeats an upload whose answer it missed."""
        first = take(store, Arriving())
        registry.calls.clear()
        assert take(store, incoming := Arriving()) == first
        assert incoming.is_read
        assert {line.split()[0] for line in registry.calls} == {"GET", "HEAD"}

    def test_the_same_file_has_to_be_it(self, store: PackageStore) -> None:
        """Naming the digest of the file that is there makes no other file the same."""
        take(store, Arriving())
        other = make_wheel(files=make_ballast(1))[1]
        with pytest.raises(InvalidRequest, match="sha256 digest is"):
            take(store, Arriving(data=other, digests={"sha256": SHA256}))

    def test_another_file_is_a_conflict_at_once(self, store: PackageStore) -> None:
        """Before a byte of it is passed on."""
        take(store, Arriving())
        incoming = Arriving(data=make_wheel(files=make_ballast(1))[1])
        with pytest.raises(AlreadyExists):
            take(store, incoming)
        assert incoming.came == 0

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
    def test_what_does_not_agree_is_refused_at_once(
        self,
        registry: TestRegistry,
        store: PackageStore,
        filename: str,
        overrides: dict[str, Any],
        sentence: str,
    ) -> None:
        """The registry isn't even asked."""
        incoming = Arriving(filename, **overrides)
        with pytest.raises(InvalidRequest, match=sentence):
            take(store, incoming)
        assert (incoming.came, registry.calls) == (0, [])

    def test_a_blob_that_is_there_is_not_pushed(self, registry: TestRegistry, store: PackageStore) -> None:
        """An upload may have ended between the blob and the image index."""
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
        """Its last piece is never sent, so what has been passed on becomes nothing."""
        incoming = Arriving(filename, data, **overrides)
        with pytest.raises(InvalidRequest, match=sentence):
            take(store, incoming)
        assert incoming.is_read
        assert len(puts(registry)) == 1
        assert blob_size(registry, hashlib.sha256(data).hexdigest()) is None
        assert blob_size(registry, "0" * 64) is None
        assert not registry.exists("1.0")

    def test_every_kind_of_digest_is_hashed_on_the_way_or_after(self, store: PackageStore) -> None:
        """Those ahead of the file as it passes, those behind it from the spool."""
        digests = {"sha256": SHA256, "md5": hashlib.md5(CONTENT).hexdigest()}
        blake = {"blake2b_256": hashlib.blake2b(CONTENT, digest_size=32).hexdigest()}
        take(store, Arriving(digests=digests, after={"digests": {**digests, **blake}}))
        assert content(store, WHEEL) == CONTENT

    @pytest.mark.parametrize("missing", [1, 3 * PIECE, -1, -3 * PIECE])
    def test_a_file_of_another_size_goes_from_the_spool(
        self, registry: TestRegistry, store: PackageStore, missing: int
    ) -> None:
        """Something stands behind it in the form: the upload that was begun is given up."""
        take(store, Arriving(missing=missing))
        assert len(puts(registry)) == 3
        assert content(store, WHEEL) == CONTENT


class TestTrouble:
    @pytest.mark.parametrize(
        "failure",
        [InvalidRequest("gone"), BodyTimeout("slow"), OSError(28, "No space left"), ValueError("a defect")],
        ids=["client gone", "client slow", "disk full", "a defect"],
    )
    @pytest.mark.parametrize("at", [0, 3 * PIECE])
    def test_what_arriving_raises_is_raised(
        self, registry: TestRegistry, store: PackageStore, failure: Exception, at: int
    ) -> None:
        """Nothing is stored, nothing tried again, and the next upload goes well."""

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

    def test_a_broken_upload_is_begun_anew_from_the_spool(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """After the rest of the file has been read."""

        def relent(line: str) -> None:
            if line.startswith("POST") and len(puts(registry)) == 1:
                registry.refuse = {}

        registry.refuse, registry.before = {"PUT .*/uploads/": (503, "UNAVAILABLE")}, relent
        take(store, incoming := Arriving())
        assert incoming.is_read
        assert content(store, WHEEL) == CONTENT

    def test_attempts_have_an_end(self, registry: TestRegistry, store: PackageStore) -> None:
        """One while it arrives, three from the spool."""
        registry.refuse = {"PUT .*/uploads/": (503, "UNAVAILABLE")}
        with pytest.raises(RegistryFailed):
            take(store, Arriving())
        assert len(puts(registry)) == 4

    def test_a_refusal_is_passed_on(self, registry: TestRegistry, store: PackageStore) -> None:
        """Another attempt would meet the same; the rest of the file is of no use."""
        registry.refuse = {"PUT .*/uploads/": (413, "SIZE_INVALID")}
        with pytest.raises(TooLarge):
            take(store, Arriving())
        assert len(puts(registry)) == 1

    def test_an_answer_to_half_a_file_is_not_believed(
        self, registry: TestRegistry, store: PackageStore
    ) -> None:
        """A success that comes before the last piece has gone is none."""

        def relent(line: str) -> None:
            if line.startswith("POST") and len(puts(registry)) == 1:
                registry.refuse = {}

        registry.refuse, registry.before = {"PUT .*/uploads/": (201, "FINE")}, relent
        take(store, Arriving())
        assert content(store, WHEEL) == CONTENT
