"""AuditLog: appends a line of JSON to a file for each change that the command makes, or fails to make."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pyoci
from pyoci.cli.output import timestamp
from pyoci.errors import PyOCIError


class AuditLog:
    """The file of --audit. It is opened at once, so that nothing is changed if it can't be written."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0)
        self._now = now

    def write(
        self,
        action: str,
        index: str,
        project: str,
        file: str = "",
        *,
        sha256: Iterable[str | None] = (),
        error: PyOCIError | OSError | None = None,
        result: str = "",
        **more: str | None,
    ) -> None:
        """Append a line. Facts that are empty are left out. `result` is for failures that are no `error`."""
        facts = {
            "timestamp": timestamp(self._now()),
            "event": "audit",
            "action": action,
            "index": index,
            "project": project,
            "file": file,
            "sha256": sorted(filter(None, sha256)),
            **more,
            "result": result or _result(error),
            "user": _user(),
            "client": f"pyoci/{pyoci.__version__}",
        }
        line = json.dumps({name: fact for name, fact in facts.items() if fact})
        self._file.write(line.encode("ascii") + b"\n")  # one write: several commands may share a file

    def close(self) -> None:
        self._file.close()


def _result(error: PyOCIError | OSError | None) -> str:
    if error is None:
        return "done"
    return error.kind if isinstance(error, PyOCIError) else type(error).__name__


def _user() -> str:
    """The user of this machine; "" if it has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
