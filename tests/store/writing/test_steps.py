"""The order of the steps of a write."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pyoci.store
from tests.builders import make_sdist, make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, publish
from tests.stores import make_cache

PACKAGE = Path(pyoci.store.__file__).parent
MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
WHEEL = make_wheel()[0]


@pytest.mark.parametrize("module", MODULES)
def test_only_two_modules_change_a_registry(module: str) -> None:
    """Everything else calls them, so that the order can't be broken elsewhere."""
    methods = {"push", "push_blob", "stream_blob", "delete"}
    calls = [
        node.func
        for node in ast.walk(ast.parse((PACKAGE / module).read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    used = {ast.unparse(call.value) for call in calls if call.attr in methods}
    is_used = any(name.endswith("session") for name in used)
    assert is_used is (module in {"writing/steps.py", "writing/repair.py"})


class Recorded:
    """A store whose requests that change the registry are recorded, each with the length of the journal."""

    def __init__(self, registry: TestRegistry) -> None:
        self._cache = make_cache()
        self.store = registry.store(cache=self._cache)
        self.steps: list[tuple[str, int]] = []
        registry.before = self._record

    def journal(self) -> int:
        position = self._cache.of(make_repository()).position()
        assert position is not None
        return position.count

    def names(self) -> list[str]:
        return [name for name, _ in self.steps]

    def _record(self, line: str) -> None:
        method, path = line.split()
        asks_for_the_right = method == "DELETE" and "/blobs/uploads/" in path  # an upload is cancelled
        if method in {"PUT", "DELETE"} and not asks_for_the_right:
            reference = path.rpartition("/")[2]
            kind = "blob" if "/blobs/" in path else "manifest" if ":" in reference else reference
            self.steps.append((f"{method} {kind}", self.journal()))


@pytest.fixture
def recorded(registry: TestRegistry) -> Recorded:
    return Recorded(registry)


def test_an_upload(recorded: Recorded) -> None:
    """The file and its config blob, the manifest, then the image index. The journal has it last."""
    publish(recorded.store, *make_wheel())
    assert recorded.steps == [("PUT blob", 0), ("PUT blob", 0), ("PUT manifest", 0), ("PUT 1.0", 0)]
    assert recorded.journal() > 0


def test_the_last_file_of_a_version_is_deleted(recorded: Recorded) -> None:
    """The marker, then the tag and its image index, then the file's manifest."""
    publish(recorded.store, *make_wheel())
    recorded.steps.clear()
    begun = recorded.journal()
    recorded.store.delete(make_namespace(), HELLO, WHEEL, NOBODY)
    assert recorded.steps == [
        ("PUT 0--pyoci", begun),
        ("DELETE 1.0", begun + 1),
        ("DELETE manifest", begun + 1),
        ("DELETE manifest", begun + 2),
    ]


def test_a_file_is_deleted(recorded: Recorded) -> None:
    """The image index without it, then its manifest."""
    publish(recorded.store, *make_wheel())
    publish(recorded.store, *make_sdist())
    recorded.steps.clear()
    recorded.store.delete(make_namespace(), HELLO, WHEEL, NOBODY)
    assert recorded.names() == ["PUT 1.0", "DELETE manifest"]


def test_the_journal_has_a_write_that_seems_to_fail(registry: TestRegistry, recorded: Recorded) -> None:
    """The registry may have taken it, and only its answer was lost."""
    registry.refuse = {r"PUT .*/manifests/1\.0": (400, "MANIFEST_INVALID")}
    with pytest.raises(Exception, match="manifest_invalid"):
        publish(recorded.store, *make_wheel())
    assert recorded.journal() == 1
