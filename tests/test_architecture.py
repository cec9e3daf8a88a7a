"""The architecture: import rules, the length of modules and functions, and what must be documented."""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path

import pytest

from pyoci import errors
from pyoci.oci.registries import RESERVED
from pyoci.web import addresses
from pyoci.web.errors import STATUS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pyoci"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What a package may import besides itself, errors and events. docs/design.rst has the same as a diagram.
MAY_IMPORT = {
    "errors": set(),
    "events": set(),
    "request_scope": set(),
    "single_flight": {"request_scope"},
    "admission": {"request_scope"},
    "pauses": {"request_scope"},
    "simple_api": {"pauses"},
    "distributions": set(),
    "net": {"request_scope", "admission", "pauses"},
    "cache": set(),
    "oci": {"net", "request_scope", "single_flight", "pauses"},
    "upstream": {
        "net",
        "cache",
        "simple_api",
        "distributions",
        "request_scope",
        "single_flight",
        "admission",
    },
    "store": {"distributions", "oci", "upstream", "cache", "simple_api", "single_flight", "admission"},
    "maintenance": {"store", "distributions", "oci", "net", "cache"},
    "embedded": {"oci", "net"},
    "telemetry": {"oci"},
    "pages": {"distributions", "simple_api"},
    "web": {"store", "distributions", "oci", "simple_api", "upstream", "pages"},
    "config": {"oci", "cache", "distributions", "upstream"},
    "copies": {"config", "store", "oci"},
    "app": {
        "config",
        "copies",
        "web",
        "telemetry",
        "embedded",
        "store",
        "upstream",
        "oci",
        "net",
        "cache",
        "readiness",
        "request_scope",
    },
    "server": {"app", "config", "copies", "embedded", "telemetry", "heap", "worker", "library"},
    "readiness": set(),
    "worker": {"heap"},
    "heap": set(),
    # Above the store, for programs: it opens indexes by the settings' names, and the embedded registry.
    "library": {
        "config",
        "maintenance",
        "store",
        "oci",
        "net",
        "cache",
        "distributions",
        "simple_api",
        "embedded",
    },
    # `serve` and `gc` concern a server of this machine; all other verbs use the library alone.
    "cli": {"library", "config", "embedded"},
    "__main__": {"cli"},
}
# The packages that may import a library of others. A library that isn't listed may be imported everywhere.
LIBRARIES = {
    "flask": {"web", "embedded", "app", "telemetry", "server"},
    "werkzeug": {"web", "embedded", "app", "telemetry"},
    "jinja2": {"pages"},
    "nh3": {"pages"},
    "readme_renderer": {"pages"},
    "requests": {"net", "telemetry"},
    "urllib3": {"net", "telemetry"},
    "packaging": {"distributions", "simple_api", "store", "maintenance", "library"},
    "structlog": {"telemetry"},
    "bcrypt": {"embedded"},
    "redis": {"cache"},
    "opentelemetry": {"telemetry"},
    "prometheus_client": {"telemetry"},
    "gunicorn": {"server", "worker", "telemetry"},
    "click": {"cli"},
    "rich": {"cli"},
    "keyring": {"library"},
    "isal": {"simple_api", "net"},
}

# Modules of fewer than 30 lines, and why each is a module.
MAY_BE_SHORT = {"__main__.py": "`python -m pyoci` needs a module of this name"}


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@dataclass(frozen=True)
class Source:
    """What the rules are about: what a module imports, also for types alone, and its lines; the name and the
    lines of each class and function.
    """

    lines: int
    has_docstring: bool
    imports: frozenset[str]
    classes: tuple[tuple[str, int], ...]
    functions: tuple[tuple[str, int], ...]


@cache
def read(path: Path) -> Source:
    """A module, which is parsed once for all tests."""
    text = path.read_text()
    tree = ast.parse(text)
    imports: set[str] = set()
    lengths: dict[type[ast.AST], list[tuple[str, int]]] = {ast.ClassDef: [], ast.FunctionDef: []}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports.add(node.module)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            lengths[type(node)].append((node.name, (node.end_lineno or 0) - node.lineno + 1))
    return Source(
        lines=len(text.splitlines()),
        has_docstring=bool(ast.get_docstring(tree)),
        imports=frozenset(imports),
        classes=tuple(lengths[ast.ClassDef]),
        functions=tuple(lengths[ast.FunctionDef]),
    )


def kinds(root: type[Exception] = errors.PyOCIError) -> Iterator[type[Exception]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from kinds(kind)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
class TestModule:
    def test_imports_only_permitted_packages(self, path: Path) -> None:
        """The import rules hold for every module."""
        package = package_of(path)
        known = {name.split(".")[1] for name in read(path).imports if name.startswith("pyoci.")}
        allowed = {package, "errors", "events"} | MAY_IMPORT.get(package, set())
        assert package == "__init__" or known <= allowed

    def test_imports_only_permitted_libraries(self, path: Path) -> None:
        """A library that is listed is imported by the listed packages only."""
        known = {name.split(".")[0] for name in read(path).imports}
        package = package_of(path)
        assert {name for name in known if package not in LIBRARIES.get(name, {package})} == set()

    def test_is_short(self, path: Path) -> None:
        """No module over 400 lines, no function over 50."""
        assert read(path).lines <= 400
        assert [name for name, lines in read(path).functions if lines > 50] == []

    def test_classes_are_short(self, path: Path) -> None:
        """No class over 200 lines."""
        assert [name for name, lines in read(path).classes if lines > 200] == []

    def test_is_not_a_fragment(self, path: Path) -> None:
        """A module has at least 30 lines, unless its reason is listed."""
        is_package = path.stem == "__init__"
        assert is_package or path.name in MAY_BE_SHORT or read(path).lines >= 30

    def test_has_a_docstring_and_a_name(self, path: Path) -> None:
        """The docstring says what the module is for; its name is not one that fits every module."""
        assert read(path).has_docstring
        assert path.stem not in {"utils", "util", "helpers", "common", "misc", "manager"}


def test_config_knows_only_six_values_of_other_packages() -> None:
    """Settings hold them parsed, so that their mistakes are reported with all others."""
    paths = (PACKAGE / "config").glob("*.py")
    known = {name for path in paths for name in read(path).imports if name.startswith("pyoci.")}
    values = {
        "pyoci.oci.registries",
        "pyoci.distributions.names",
        "pyoci.cache.address",
        "pyoci.upstream.address",
        "pyoci.upstream.rules",
    }
    assert {name for name in known if not name.startswith("pyoci.config")} == values | {"pyoci.errors"}


def test_every_package_has_import_rules() -> None:
    """Whoever adds a package or a top-level module decides what it may import."""
    assert {package_of(path) for path in MODULES} - {"__init__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=attrgetter("__name__")))
def test_every_kind_of_error_has_a_status(kind: type[Exception]) -> None:
    """The web package has a status for each kind, or for its parent."""
    assert any(parent in STATUS for parent in kind.__mro__)


def test_no_kind_of_error_has_a_status() -> None:
    """pyoci.web.errors alone decides which status an error gets."""
    assert not [kind for kind in kinds() if "status" in vars(kind)]


def test_every_setting_is_described() -> None:
    """docs/settings.rst describes each."""
    settings = set(re.findall(r"\w+", (ROOT / "docs" / "settings.rst").read_text()))
    names = {
        node.value
        for path in (*(PACKAGE / "config").glob("*.py"), PACKAGE / "server.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value in {"PORT", "WEB_CONCURRENCY", "RUST_LOG"} or node.value.startswith(("PYOCI_", "OTLP_"))
        if node.value.replace("_", "").isalnum()
    }
    assert names - settings == set()


def test_every_dependency_is_described() -> None:
    """docs/design.rst has a line for each package that setup.cfg asks for."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    names = [line.split()[0] for line in setup["options"]["install_requires"].splitlines() if line.strip()]
    design = (ROOT / "docs" / "design.rst").read_text()
    assert {name for name in names if f"``{name}``" not in design} == set()


def test_what_clients_probe_is_reserved() -> None:
    """Clients probe these on any host. An alias or a short URL can't be called so."""
    assert {name for name in addresses.PROBED if "." not in name} <= RESERVED
