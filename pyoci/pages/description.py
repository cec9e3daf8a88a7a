"""A project's description as safe HTML: rendered in a process of its own, or shown as text."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from cachetools import LRUCache
from markupsafe import Markup

_SOURCE = 256 * 1024  # bytes that are rendered; more is shown as text
_SHOWN = 256 * 1024  # characters of a text that isn't rendered
_SECONDS = 15.0  # for one description; its process may use the processor for 4 of them
_WAIT = 2.0  # seconds for a turn
_AT_ONCE = 2  # processes
_REMEMBERED = 8 * 1024 * 1024  # characters of HTML
_PROGRAM = Path(__file__).with_name("readme.py")
_NOTHING = Markup("")
_RENDERED = frozenset({"text/markdown", "text/x-rst", ""})


@dataclass(frozen=True, slots=True)
class Description:
    """A description for a page: `html`, or else `text`. `final`: another attempt would give the same."""

    html: Markup = _NOTHING
    text: str = ""
    final: bool = True


class Descriptions:
    """Renders descriptions, and remembers them. One for the process."""

    def __init__(self, *, at_once: int = _AT_ONCE, seconds: float = _SECONDS) -> None:
        self._turns = threading.BoundedSemaphore(at_once)
        self._seconds = seconds
        self._guard = threading.Lock()
        self._known: LRUCache[bytes, Description] = LRUCache(_REMEMBERED, getsizeof=_weight)

    def render(self, text: str, media_type: str) -> Description:
        """The description. A text that is too large, takes too long or is wrong is shown as text."""
        if not text.strip():
            return Description()
        plain = Description(text=text[:_SHOWN])
        source = text.encode("utf-8", "replace")
        if media_type not in _RENDERED or len(source) > _SOURCE:
            return plain
        key = hashlib.sha256(media_type.encode() + b"\n" + source).digest()
        with self._guard:
            known = self._known.get(key)
        if known is not None:
            return known
        made = self._in_a_process(source, media_type, plain)
        if made.final and _weight(made) <= _REMEMBERED:
            with self._guard:
                self._known[key] = made
        return made

    def _in_a_process(self, source: bytes, media_type: str, plain: Description) -> Description:
        for_now = Description(text=plain.text, final=False)
        if not self._turns.acquire(timeout=_WAIT):
            return for_now
        try:
            done = subprocess.run(  # noqa: S603  # the program is our own, and its arguments are fixed
                [sys.executable, "-P", str(_PROGRAM)],
                input=media_type.encode() + b"\n" + source,
                capture_output=True,
                timeout=self._seconds,
                # Where libraries are, and nothing else: no setting of the server, no credentials.
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"},
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError):
            return for_now
        finally:
            self._turns.release()
        if done.returncode != 0:
            return plain
        return Description(html=Markup(done.stdout.decode("utf-8", "replace")))  # noqa: S704  # it was cleaned


def _weight(description: Description) -> int:
    return 1000 + len(description.html) + len(description.text)
