"""The Range and Content-Range headers of blobs. Pure."""

from __future__ import annotations

import re

from pyoci.embedded.errors import Refusal

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")
# OCI distribution 1.1, "Pushing a blob in chunks": `<start>-<end>`. Some clients write RFC 9110's form.
_CONTENT_RANGE = re.compile(r"(?:bytes\s+)?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?")


def requested(header: str | None, size: int) -> range | None:
    """The offsets that a Range header selects of `size` bytes; None: all of them.

    Several ranges and other units are ignored (RFC 9110, section 14.2). A range that ends before it starts
    selects nothing, which the conformance suite of OCI distribution wants refused. Raises Refusal.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found[1] or found[2]):
        return None
    if found[1]:
        selected = range(int(found[1]), min(int(found[2] or size) + 1, size))
    else:
        selected = range(max(size - int(found[2]), 0), size)
    if not selected:
        message = f"the range lies outside the blob, which has {size} bytes"
        raise Refusal("RANGE_INVALID", message, headers={"Content-Range": f"bytes */{size}"})
    return selected


def uploaded(header: str | None, arrived: int) -> int | None:
    """How many bytes a chunk's Content-Range promises; None where it promises nothing. Raises Refusal.

    `arrived` is how many came before: chunks come in order.
    """
    if header is None:
        return None
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        raise Refusal("BLOB_UPLOAD_INVALID", "the Content-Range can't be read; expected <first>-<last>")
    first, last = int(found[1]), int(found[2])
    if first != arrived:
        message = f"the chunk starts at {first}, but {arrived} bytes have arrived; send the next one"
        raise Refusal("BLOB_UPLOAD_INVALID", message, status=416)
    if last < first:
        raise Refusal("BLOB_UPLOAD_INVALID", "the Content-Range ends before it starts")
    return last - first + 1
