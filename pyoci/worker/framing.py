"""Framing: what a request's head says about its body, and where a chunked body ends.

The worker's loop uses it to collect a body that arrives slowly. Afterwards gunicorn's parser reads the same
bytes, and its result counts. A head that the parser will refuse may be reported here as one without a body,
so that the parser gets it at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEX = re.compile(rb"[0-9A-Fa-f]{1,16}(?:[ \t]*;.*)?", re.DOTALL)
_HAS_BODY = re.compile(rb"\n(?:content-length|transfer-encoding):", re.IGNORECASE)
_LINE_LIMIT = 16 * 1024  # bytes of a chunk's size line, or of one trailer


@dataclass(frozen=True, slots=True)
class Frame:
    """How a request is framed. `length` is that of the body in bytes; None if it is chunked, 0 if none."""

    method: str
    path: str
    length: int | None
    expects_continue: bool = False


_WITHOUT = Frame("", "", 0)


def read_frame(head: bytes | bytearray) -> Frame:
    """Parse a head. It may begin with empty lines, or with a line of the PROXY protocol."""
    if not _HAS_BODY.search(head):
        return _WITHOUT
    lines = bytes(head).split(b"\r\n")
    while lines and (not lines[0] or lines[0].startswith(b"PROXY ")):
        del lines[0]
    words = lines[0].split(b" ") if lines else []
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _WITHOUT
    method, path = words[0].decode("latin-1"), words[1].partition(b"?")[0].decode("latin-1")
    lengths, codings, expects = [], [], False
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        match name.lower():
            case b"content-length":
                lengths.append(value.strip(b" \t"))
            case b"transfer-encoding":
                codings += [coding.strip(b" \t").lower() for coding in value.split(b",")]
            case b"expect":
                expects = value.strip(b" \t").lower() == b"100-continue"
    return Frame(method, path, _length(lengths, codings, words[2]), expects and words[2] != b"HTTP/1.0")


def _length(lengths: list[bytes], codings: list[bytes], version: bytes) -> int | None:
    if codings and codings[-1] == b"chunked" and not lengths and version == b"HTTP/1.1":
        return None
    if codings or len(lengths) != 1 or not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        return 0
    return int(lengths[0])


class ChunkScanner:
    """Finds the end of a chunked body. `ended` is set at the end, and also if the bytes aren't a chunked
    body. `announced` is the sum of the chunk sizes so far, in bytes.
    """

    def __init__(self) -> None:
        self.ended = False
        self.announced = 0
        self._line = b""  # the beginning of a line
        self._data = 0  # bytes of a chunk that are still to come, with the line break after it
        self._in_trailers = False

    def feed(self, piece: bytes | bytearray) -> None:
        """Scan the next bytes of the body. Bytes after its end are ignored."""
        at = 0
        while at < len(piece) and not self.ended:
            if self._data:
                skipped = min(self._data, len(piece) - at)
                self._data -= skipped
                at += skipped
                continue
            end = piece.find(b"\n", at)
            if end < 0:
                self._line += piece[at:]
                self.ended = len(self._line) > _LINE_LIMIT
                return
            self._take(self._line + piece[at : end + 1])
            self._line, at = b"", end + 1

    def _take(self, line: bytes) -> None:
        text = line.rstrip(b"\r\n")
        if self._in_trailers:
            self.ended = not text
        elif _HEX.fullmatch(text):
            size = int(text.partition(b";")[0], 16)
            self.announced += size
            self._in_trailers = size == 0
            self._data = size + 2 if size else 0
        else:
            self.ended = True
