"""What tells one embedded registry from all others: a name of its own, kept beside its repositories."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

_FILE = "_identity"  # no repository's name begins so
_WRITTEN = re.compile(r"[0-9a-f]{32}")


def identity(directory: Path) -> str:
    """The name, made when it is first asked for. Host names and paths won't do: two clusters may have the
    same. Where it can't be kept, or read, a new one each time.
    """
    path = directory / _FILE
    made = secrets.token_hex(16)
    temporary = directory / f"{_FILE}-{made}"
    with suppress(OSError):  # it is there already, or can't be written
        temporary.write_text(made)
        try:
            os.link(temporary, path)  # whole or not at all, and by the first alone
        finally:
            temporary.unlink()
    try:
        known = path.read_text(errors="replace")
    except OSError:
        return made
    return known if _WRITTEN.fullmatch(known) else made
