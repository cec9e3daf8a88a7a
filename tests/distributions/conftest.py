"""Reading archives through the public functions, while memory and exceptions are checked."""

from __future__ import annotations

import io
import re
import tracemalloc
from collections.abc import Callable

import pytest

from pyoci.distributions.filenames import parse_filename
from pyoci.distributions.metadata import CoreMetadata, read_metadata
from pyoci.errors import InvalidRequest

Read = Callable[[str, bytes], CoreMetadata]
Refusal = Callable[..., str]


@pytest.fixture
def read() -> Read:
    """Read the metadata of a file of that name and content."""

    def read(filename: str, content: bytes) -> CoreMetadata:
        return read_metadata(io.BytesIO(content), parse_filename(filename))

    return read


@pytest.fixture
def refusal(read: Read) -> Refusal:
    """The sentence with which a file is refused, after at most `megabytes` of memory were in use."""

    def refusal(filename: str, content: bytes, *, megabytes: float = 5) -> str:
        tracemalloc.start()
        try:
            with pytest.raises(InvalidRequest) as caught:
                read(filename, content)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < megabytes * 1e6
        assert re.fullmatch(r"[ -~]{10,400}", caught.value.message)
        assert "expected" in caught.value.message
        return caught.value.message

    return refusal
