"""Files of a page in JSON that all have the same keys in the same order, as PyPI writes them.

One regular expression checks the text of such files, which takes a quarter of the time that it takes to parse
them and to check the values. Text of any other form isn't wrong: `verbatim.recognize` reads it.

Most repetitions are possessive (`*+`): the character after them isn't one that they repeat, so trying a
shorter one would only take time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from pyoci.pauses import Pauses
from pyoci.simple_api import model

# Values of the keys of a file. They are a part of what `model` takes.
FILENAME = r"[A-Za-z0-9_][A-Za-z0-9._+!-]{1,254}+(?<=[A-Za-z0-9])"
FILENAME_LENGTH = 255
# A host, a port and a path. The longest have less than URL_LENGTH together.
URL = (
    r"https?://[A-Za-z0-9][A-Za-z0-9.-]{0,252}+(?::(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?"
    r"/[A-Za-z0-9._~!$&()*+,;=:@%/-]{0,3700}+"
)
URL_LENGTH = 4000
SHA256 = r"[0-9a-f]{64}"
CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{6})?+Z"
METADATA_KEYS = next(field.spellings for field in model.FIELDS if field.key == "core-metadata")

_PIECE = 1024 * 1024  # bytes; larger pages are checked in pieces
_FIRST = 16 * 1024  # bytes in which the first file ends
_FILE_LIST = re.compile(rb'"files":( ?)\[')
_TEXT = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_URL = f'"{URL}"'
# The bytes of [0-9a-f]. `re` turns three ranges into a table, but checks two ranges one after the other,
# which takes twice the time.
_HEX = r"[^\x00-/:-`g-\xff]"
# `: ` stands between a key and its value. A group is a value whose distinct forms are checked separately.
_HASHES = rf'\{{"sha256": "{_HEX}{{64}}+"\}}'
_VALUES = {
    "filename": f'"{FILENAME}"',
    "url": _URL,
    "hashes": _HASHES,
    "size": r"(?:0|[1-9][0-9]{0,14}+)",
    "upload-time": rf'"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})T{CLOCK}"',
    "requires-python": rf"(null|{_TEXT})",
    "provenance": rf"(?:null|{_URL})",
    "gpg-sig": r"(?:true|false)",
    "yanked": rf"(true|false|{_TEXT})",
    **dict.fromkeys(METADATA_KEYS, rf"(?:true|false|{_HASHES})"),
}
_CAPTURED = frozenset({"upload-time", "requires-python", "yanked"})


class Uniform(NamedTuple):
    """Files whose text was checked. `rest` is the JSON of the page without them, `texts` are the distinct
    values of keys whose values are any text.
    """

    file_count: int
    rest: bytes
    texts: dict[str, list[object]]


def uniform_files(body: bytes) -> Uniform | None:
    """The files in the JSON of a page; None if they have another form, or if some of them are wrong. The rest
    of the page isn't checked.

    The text of each file is JSON by itself: `body` is JSON with these files if `rest` is JSON, and if its
    only "files" is the page's list.
    """
    found = _FILE_LIST.search(body)
    keys = _keys_of_first(body, found.end()) if found else ()
    if found is None or not {"filename", "url", "hashes"} <= set(keys) <= _VALUES.keys():
        return None
    form, pause = _form(keys, bool(found[1])), Pauses()
    between, distinct = set[bytes](), {key: set[bytes]() for key in keys if key in _CAPTURED}
    step, count, end = len(distinct) + 1, 0, b""
    for piece in _pieces(body, found.end(), b'}, {"' if found[1] else b'},{"'):
        if end:
            return None
        *parts, end = form.split(piece)
        count += len(parts) // step
        between.update(parts[::step])
        for number, values in enumerate(distinct.values(), 1):
            values.update(parts[number::step])
        pause()
    # A comma after the last file would be part of its match.
    if between != {b""} or not end.startswith(b"]") or body[-len(end) - 1 : -len(end)] != b"}":
        return None
    try:
        for day in distinct.pop("upload-time", ()):
            date.fromisoformat(day.decode())
        texts = {key: json.loads(b"[%b]" % b",".join(values)) for key, values in distinct.items()}
    except ValueError:
        return None
    return Uniform(count, body[: found.end()] + end, texts)


def _pieces(body: bytes, start: int, between: bytes) -> Iterator[memoryview]:
    """The text from `start` in pieces, which end before the `{"` of a file, in the text `between` two files.
    No other thread computes while a regular expression is applied to a piece.
    """
    text = memoryview(body)
    while (found := body.find(between, start + _PIECE)) >= 0:
        end = found + len(between) - len('{"')
        yield text[start:end]
        start = end
    yield text[start:]


def _keys_of_first(body: bytes, start: int) -> tuple[str, ...]:
    """The keys of the first file, in their order; none if there is no file, or only a very long one."""
    try:
        first, _ = json.JSONDecoder().raw_decode(body[start : start + _FIRST].decode(errors="replace"))
    except (ValueError, RecursionError):
        return ()
    return tuple(first) if isinstance(first, dict) else ()


@lru_cache(maxsize=32)
def _form(keys: tuple[str, ...], has_blanks: bool) -> re.Pattern[bytes]:
    """What matches a file that has these keys, and the comma after it."""
    pairs = (f'"{key}": {_VALUES[key]}' for key in keys)
    form = r"\{" + ", ".join(pairs) + r"\}(?:, |(?=\]))"
    if not has_blanks:
        form = form.replace('": ', '":').replace(', "', ',"').replace("(?:, |", "(?:,|")
    return re.compile(form.encode())
