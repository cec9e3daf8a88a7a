"""Events: plain callables for logs, metrics and traces, which `app` connects to telemetry. By default they do
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType

from pyoci import errors

_NOTHING = nullcontext()
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def _nobody(*_: object, **_facts: object) -> None:
    """The default listener."""


def _unwatched(_operation: str, _origin: str, _facts: Mapping[str, object]) -> AbstractContextManager[None]:
    return _NOTHING


def _no_headers() -> Mapping[str, str]:
    return _NO_HEADERS


@dataclass(frozen=True, slots=True)
class Events:
    """The callables of telemetry.

    `log` takes an event, the `room` (the part of PyOCI that logs), the `level` and facts. `count` adds one to
    a measure that `telemetry/measures.py` names, with the values of its labels.

    `calling` is entered around each HTTP request to a registry or upstream, with the kind of call, the
    origin, and facts: `method` is known before the request, `status` after it. `headers` returns the headers
    of such a request that relate it to the client's request (trace context).

    Facts and labels may be logged: they contain no credential, no token and no full query.
    """

    log: Callable[..., None] = _nobody
    count: Callable[..., None] = _nobody
    calling: Callable[[str, str, Mapping[str, object]], AbstractContextManager[None]] = _unwatched
    headers: Callable[[], Mapping[str, str]] = _no_headers

    def debug(self, room: str, event: str, **facts: object) -> None:
        self.log(event, room=room, level="debug", **facts)

    def info(self, room: str, event: str, **facts: object) -> None:
        self.log(event, room=room, level="info", **facts)

    def warning(self, room: str, event: str, **facts: object) -> None:
        self.log(event, room=room, level="warning", **facts)

    def error(self, room: str, event: str, **facts: object) -> None:
        self.log(event, room=room, level="error", **facts)

    @contextmanager
    def outcome(self, measure: str) -> Iterator[None]:
        """Count how the block ends: `done`, or the kind of error that it raises; `failed` is a defect."""
        result = "failed"
        try:
            yield
            result = "done"
        except errors.PyOCIError as exc:
            # RegistryDenied is Denied.
            result = next(kind.__name__ for kind in type(exc).__mro__ if kind.__module__ == errors.__name__)
            raise
        finally:
            self.count(measure, result)
