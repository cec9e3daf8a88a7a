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

    `log` takes an event, the `room` (the package that logs it), the `level` and further fields. `count` adds
    one, or `amount`, to a measure of `telemetry/measures.py`, with the values of its labels.

    `calling` is entered around each HTTP request to a registry or upstream. It takes the kind of call, the
    origin, and a mapping: `method` is set before the request, `status` after it. `headers` returns the trace
    context headers to send with such a request.

    Fields and labels are logged, so they must not contain credentials, tokens or full queries.
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
        """Count how the block ends: `done`, the kind of the PyOCIError that it raises, or `failed` for any
        other exception, which is a defect.
        """
        result = "failed"
        try:
            yield
            result = "done"
        except errors.PyOCIError as exc:
            result = exc.kind  # Denied for RegistryDenied
            raise
        finally:
            self.count(measure, result)
