"""Log lines: JSON for machines, colours for a terminal. Fields never contain credentials."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TextIO
from urllib.parse import unquote

AUDIT = "audit"  # the room of the audit log, which stays on if the level for all rooms is higher
_RANK = {"debug": 10, "info": 20, "warning": 30, "error": 40, "off": 99}
# User info in a URL, in any field. The web package refuses such addresses, but logs them first.
_USER_INFO = re.compile(r"[^/\s]*@")
_ENCODED = re.compile(r"%(?:25)*40", re.IGNORECASE)
_AS_JSON = json.JSONEncoder(ensure_ascii=True, default=repr).encode
# The lines that wait, and the lock of the thread that writes them. All logs share both, since several logs
# write to standard error.
_WRITING = threading.Lock()
_WAITING: deque[tuple[TextIO, str]] = deque()
_MOST_WAITING = 1000  # lines; if there are more, a thread waits until its own is written
_AT_ONCE = 4096  # bytes: a pipe takes as many in one piece, so that lines of several processes don't mix


class Log:
    """Writes the lines whose level is high enough for their `room`, the package that logs them.

    User info of URLs is masked in all facts but `user`, which may be an e-mail address.

    `listener` is called with each line that is written: event, room, level, facts.
    """

    def __init__(
        self, default: str = "info", rooms: Mapping[str, str] | None = None, stream: TextIO | None = None
    ) -> None:
        self._default = default
        self._rooms = {AUDIT: "off" if default == "off" else "info", **(rooms or {})}
        self.listener: Callable[[str, str, str, Mapping[str, object]], None] | None = None
        self._stream = stream or sys.stderr
        self._text = _coloured() if self._stream.isatty() else _AS_JSON
        # urllib3 writes warnings with whole URLs, and a signed one is a credential.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)

    def write(self, event: str, *, room: str, level: str = "info", **facts: object) -> None:
        """Write a line, if the level of `room` (`oci`, `oci.auth`) allows it."""
        if _RANK[level] >= _RANK[self._level(room)]:
            shown = {
                key: value if key == "user" else _without_user_info(value)
                for key, value in facts.items()
                if value is not None
            }
            now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            line = {"level": level, "room": f"pyoci.{room}", **shown, "event": event, "timestamp": now}
            _write(self._stream, self._text(line) + "\n")
            if self.listener is not None:
                self.listener(event, f"pyoci.{room}", level, shown)

    def _level(self, room: str) -> str:
        while room:
            if room in self._rooms:
                return self._rooms[room]
            room = room.rpartition(".")[0]
        return self._rooms.get("", self._default)


def _write(stream: TextIO, line: str) -> None:
    """Write a line. If another thread is writing, that thread writes this line, too. If threads waited for
    each other to write, they would spend more time on that than on the rest of a request.
    """
    _WAITING.append((stream, line))
    while _WAITING and _WRITING.acquire(blocking=len(_WAITING) > _MOST_WAITING):
        try:
            _write_waiting()
        finally:
            _WRITING.release()


def _write_waiting() -> None:
    while _WAITING:
        stream, lines = _WAITING.popleft()
        while _WAITING and _WAITING[0][0] is stream and len(lines) + len(_WAITING[0][1]) <= _AT_ONCE:
            lines += _WAITING.popleft()[1]
        stream.write(lines)
        stream.flush()


def _without_user_info(fact: object) -> object:
    return _masked(fact) if isinstance(fact, str) else fact


def _coloured() -> Callable[[dict[str, object]], str]:
    """A function that renders a line for a terminal. Control characters are escaped: a path or a registry's
    message may contain them, and a terminal would execute them.
    """
    import structlog  # which loads rich, and most servers log to no terminal

    render = structlog.dev.ConsoleRenderer(colors=True)

    def text(line: dict[str, object]) -> str:
        shown = {key: _escaped(value) if isinstance(value, str) else value for key, value in line.items()}
        return render(None, "info", shown)

    return text


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _masked(text: str) -> str:
    """`text` without user info: the characters between a slash and an `@`, however often they were
    encoded.
    """
    if "@" not in text and ("%" not in text or not _ENCODED.search(text)):
        return text
    while _ENCODED.search(text):
        text = unquote(text)
    return _USER_INFO.sub("***@", text)
