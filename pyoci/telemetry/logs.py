"""Log lines with structlog: JSON for machines, colours for a terminal. Fields never contain credentials."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO
from urllib.parse import unquote

import structlog

AUDIT = "audit"  # the room of the audit log, which a higher level for the other rooms leaves on
_RANK = {"debug": 10, "info": 20, "warning": 30, "error": 40, "off": 99}
# User info in a URL, in any field. The web package refuses such addresses, but logs them first.
_USER_INFO = re.compile(r"[^/\s]*@")
_ENCODED = re.compile(r"%(?:25)*40", re.IGNORECASE)


_ENCODER = json.JSONEncoder(ensure_ascii=True, default=repr)


def _as_json(fields: Mapping[str, object], **_options: object) -> str:
    return _ENCODER.encode(fields)


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
        stream = stream or sys.stderr
        renderers: tuple[Any, ...] = (
            (_without_controls, structlog.dev.ConsoleRenderer(colors=True))
            if stream.isatty()
            else (structlog.processors.JSONRenderer(serializer=_as_json),)
        )
        self._logger = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                *renderers,
            ],
            wrapper_class=structlog.BoundLogger,
        ).bind()  # otherwise each line makes a logger of its own
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
            self._logger.info(event, level=level, room=f"pyoci.{room}", **shown)
            if self.listener is not None:
                self.listener(event, f"pyoci.{room}", level, shown)

    def _level(self, room: str) -> str:
        while room:
            if room in self._rooms:
                return self._rooms[room]
            room = room.rpartition(".")[0]
        return self._rooms.get("", self._default)


def _without_user_info(fact: object) -> object:
    return _masked(fact) if isinstance(fact, str) else fact


def _without_controls(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape control characters, which a path or a registry's message may contain and a terminal would
    execute.
    """
    return {key: _escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _masked(text: str) -> str:
    """`text` without user info: the characters between a slash and an `@`, however often they were
    encoded.
    """
    if "@" not in text and not _ENCODED.search(text):
        return text
    while _ENCODED.search(text):
        text = unquote(text)
    return _USER_INFO.sub("***@", text)
