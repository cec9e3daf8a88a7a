"""The configuration files of pip, uv, poetry and twine: the lines that name an index, and how they are added.

Nothing that is in a file is changed or removed: a setting that is there with another value is refused. No
line has a password: clients ask keyring for it.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from configparser import Error, RawConfigParser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pyoci.errors import AlreadyExists, InvalidRequest, NotFound
from pyoci.library.configuration import change_file, configuration_folder, home
from pyoci.oci.references import shown

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_FILE_LIMIT = 4 * 1024 * 1024  # bytes of a file that is changed
_EXPECTED = "expected the URL of a PyOCI server, like https://pypi.example.com/ghcr.io/acme/"

Settings = Mapping[str, str | bool]
Merge = Callable[["ClientFile", str], str]


@dataclass(frozen=True, slots=True)
class Table:
    """A section of a file: `[global]`, or one of several with the same name, `[[index]]`."""

    path: tuple[str, ...]
    settings: Settings
    is_array: bool = False

    def lines(self, assign: Callable[[str, str | bool], str]) -> str:
        name = ".".join(self.path)
        header = f"[[{name}]]" if self.is_array else f"[{name}]"
        return "\n".join([header, *(assign(key, value) for key, value in self.settings.items())]) + "\n"


@dataclass(frozen=True, slots=True)
class ClientFile:
    """What a client's file needs: settings at its top, and tables."""

    path: Path
    merge: Merge = field(repr=False)
    top: Settings = field(default_factory=dict)
    tables: tuple[Table, ...] = ()

    def lines(self) -> str:
        """The lines, as an empty file would have them."""
        return self.merge(self, "")

    def check(self) -> None:
        """Raises what `write` raises, and changes nothing."""
        self.merge(self, _read(self.path))

    def write(self) -> bool:
        """Add to the file what it lacks; says whether it lacked anything. Raises AlreadyExists where it has
        another value, and InvalidRequest if it can't be read.
        """
        written: list[str] = []

        def change() -> str | None:
            old = _read(self.path)
            new = self.merge(self, old)
            written.extend([] if new == old else [new])
            return None if new == old else new

        change_file(self.path, change, mode=None)
        return bool(written)


def client_files(
    client: str, url: str, name: str | None, environ: Mapping[str, str], folder: Path
) -> tuple[ClientFile, ...]:
    """The files of a client that name the index at `url`; `folder` is that of the project. Raises
    InvalidRequest and NotFound.
    """
    url = _checked(url)
    name = _name_in(url) if name is None else name
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{shown(name)} is not a name; expected letters, digits, `-`, `_` and `.`")
    return _FILES[client](url, name, environ, folder)


def _pip(url: str, _name: str, environ: Mapping[str, str], _folder: Path) -> tuple[ClientFile, ...]:
    chosen = environ.get("PIP_CONFIG_FILE")
    folder = configuration_folder(environ)
    mac = home(environ) / "Library" / "Application Support" / "pip" if sys.platform == "darwin" else None
    path = Path(chosen) if chosen else (mac if mac and mac.is_dir() else folder / "pip") / "pip.conf"
    settings = {"index-url": url, "keyring-provider": "subprocess"}
    return (ClientFile(path, _with_sections, tables=(Table(("global",), settings),)),)


def _uv(url: str, name: str, environ: Mapping[str, str], _folder: Path) -> tuple[ClientFile, ...]:
    chosen = environ.get("UV_CONFIG_FILE")
    path = Path(chosen) if chosen else configuration_folder(environ) / "uv" / "uv.toml"
    index: Settings = {
        "name": name,
        "url": url,
        "publish-url": url,
        "authenticate": "always",
        "default": True,
    }
    tables = (Table(("index",), index, is_array=True),)
    return (ClientFile(path, _with_tables, {"keyring-provider": "subprocess"}, tables),)


def _poetry(url: str, name: str, environ: Mapping[str, str], folder: Path) -> tuple[ClientFile, ...]:
    project = folder / "pyproject.toml"
    if not project.is_file():
        raise NotFound(f"there is no {project}; expected the folder of a project, whose sources it names")
    source: Settings = {"name": name, "url": url, "priority": "primary"}
    if sys.platform == "darwin":
        own = home(environ) / "Library" / "Application Support" / "pypoetry"
    else:
        own = configuration_folder(environ) / "pypoetry"
    own = Path(environ.get("POETRY_CONFIG_DIR") or own)
    return (
        ClientFile(project, _with_tables, tables=(Table(("tool", "poetry", "source"), source, True),)),
        ClientFile(own / "config.toml", _with_tables, tables=(Table(("repositories", name), {"url": url}),)),
    )


def _twine(url: str, name: str, environ: Mapping[str, str], _folder: Path) -> tuple[ClientFile, ...]:
    path = home(environ) / ".pypirc"
    servers = Table(("distutils",), {"index-servers": name})
    return (ClientFile(path, _with_servers, tables=(servers, Table((name,), {"repository": url}))),)


_FILES = {"pip": _pip, "uv": _uv, "poetry": _poetry, "twine": _twine}
CLIENTS = tuple(_FILES)


def _checked(url: str) -> str:
    if "@" in url:
        raise InvalidRequest("the URL has an @; expected one without user and password")
    parts = urlsplit(url) if url.isascii() and url.isprintable() and not set(url) & set(' "\\[]') else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.netloc or parts.query:
        raise InvalidRequest(f"{shown(url)} is not the URL of an index; {_EXPECTED}")
    if not parts.path.strip("/") or parts.fragment:
        raise InvalidRequest(f"{shown(url)} is not the URL of an index; {_EXPECTED}")
    return url.rstrip("/") + "/"


def _name_in(url: str) -> str:
    """A name for the index: the last segment of its URL."""
    last = unquote(urlsplit(url).path).strip("/").rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-") or "pyoci"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as content:
            text = content.read(_FILE_LIMIT + 1)
        if len(text) > _FILE_LIMIT:
            raise InvalidRequest(f"{path} has more than {_FILE_LIMIT} bytes; expected a configuration")
        return text.decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8; expected a configuration") from None


def _appended(text: str, lines: str) -> str:
    """The text with lines after an empty one."""
    return f"{text.rstrip()}\n\n{lines}" if text.strip() else lines


def _other(path: Path, what: str) -> AlreadyExists:
    """The value isn't shown: it may have a password."""
    return AlreadyExists(f"{path} has another {what}; nothing was changed, expected the same or none")


def _with_sections(file: ClientFile, text: str) -> str:
    """An INI file with the settings of all tables."""
    for table in file.tables:
        text = _with_section(file.path, text, table)
    return text


def _with_section(path: Path, text: str, table: Table) -> str:
    section, known = table.path[0], _sections(path, text)
    own = {key.replace("_", "-"): value for key, value in known.get(section, {}).items()}
    missing = {key: value for key, value in table.settings.items() if key not in own}
    different = [key for key, value in table.settings.items() if own.get(key, value) != value]
    if different:
        raise _other(path, f"{different[0]} in [{section}]")
    if not missing:
        return text
    if section not in known:
        return _appended(text, Table(table.path, missing).lines("{} = {}".format))
    lines = "".join(f"{key} = {value}\n" for key, value in missing.items())
    header = re.compile(rf"^(\[{re.escape(section)}\][^\n]*)\n?", re.MULTILINE)
    new = header.sub(lambda found: f"{found[1]}\n{lines}", text, count=1)
    if not missing.keys() <= _sections(path, new)[section].keys():
        raise InvalidRequest(f"{path} has [{section}] in a form that can't be extended; expected it alone")
    return new


def _sections(path: Path, text: str) -> dict[str, dict[str, str]]:
    parser = RawConfigParser()
    try:
        parser.read_string(text)
    except Error:
        raise InvalidRequest(f"{path} can't be read; expected an INI file") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def _with_servers(file: ClientFile, text: str) -> str:
    """~/.pypirc with one more server in its list. Without a list twine knows pypi and testpypi."""
    servers, server = file.tables
    name, known = server.path[0], _sections(file.path, text)
    text = _with_section(file.path, text, server)
    listed = known.get("distutils", {}).get("index-servers")
    if listed is None:
        names = [each for each in ("pypi", "testpypi") if each in known] + [name]
        lines = {"index-servers": "".join(f"\n    {each}" for each in names)}
        text = _with_section(file.path, text, Table(servers.path, lines))
        return text.replace("index-servers = \n", "index-servers =\n", 1)
    if name in listed.split():
        return text
    first = re.compile(r"^(index[-_]servers[ \t]*[=:])[ \t]*(.*)$", re.MULTILINE)
    return first.sub(
        lambda found: f"{found[1]}\n    {name}" + (f"\n    {found[2]}" if found[2].strip() else ""),
        text,
        count=1,
    )


def _with_tables(file: ClientFile, text: str) -> str:
    """A TOML file with the settings at its top and the tables."""
    known = _toml(file.path, text)
    top = {key: value for key, value in file.top.items() if key not in known}
    if any(known.get(key, value) != value for key, value in file.top.items()):
        raise _other(file.path, " or ".join(file.top))
    before = "".join(f"{_assigned(key, value)}\n" for key, value in top.items())
    new = f"{before}\n{text}" if before and text else before + text
    for table in file.tables:
        if not _has(known, table, file.path):
            new = _appended(new, table.lines(_assigned))
    parsed = _toml(file.path, new)
    if any(not _has(parsed, table, file.path) for table in file.tables):
        raise _other(file.path, "form of the same settings")
    return new


def _has(known: Mapping[str, Any], table: Table, path: Path) -> bool:
    """Whether the table is there. Raises AlreadyExists if there is another of its name."""
    found: Any = known
    for key in table.path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if found is None:
        return False
    name = ".".join(table.path)
    if not table.is_array:
        if found != table.settings:
            raise _other(path, f"[{name}]")
        return True
    entries = found if isinstance(found, list) else [found]
    if any(entry == table.settings for entry in entries):
        return True
    is_default = table.settings.get("default") is True
    for entry in entries:
        if entry.get("name") == table.settings["name"] or (is_default and entry.get("default") is True):
            raise _other(path, f"[[{name}]] of this name, or a default one")
    return False


def _assigned(key: str, value: str | bool) -> str:
    return f"{key} = {json.dumps(value)}"  # of these values, TOML and JSON have the same form


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise InvalidRequest(
            f"{path} can't be read or extended; expected TOML with separate tables"
        ) from None
