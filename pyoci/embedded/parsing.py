"""The parts of a request, parsed: names, digests, ranges, pages and bodies. Bad input raises Refusal."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import get_input_stream

from pyoci.embedded.errors import Refusal
from pyoci.embedded.storage import PIECE, Layout, RepositoryFolder
from pyoci.errors import InvalidRequest
from pyoci.oci.references import Digest, Reference, Tag

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PAGE_LIMIT = 10_000  # names in one answer
# werkzeug's parser ignores `500-0` and `-0`, which the conformance suite of OCI distribution wants refused.
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")
# OCI distribution 1.1, "Pushing a blob in chunks": `<start>-<end>`. Some clients write RFC 9110's form, the
# only one that werkzeug parses.
_CONTENT_RANGE = re.compile(r"(?:bytes\s+)?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?")


def parse_folder(layout: Layout, name: str) -> RepositoryFolder:
    try:
        return layout.folder(name)
    except InvalidRequest as error:
        raise Refusal("NAME_INVALID", error.message) from error


def parse_digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidRequest as error:
        raise Refusal("DIGEST_INVALID", error.message) from error


def parse_reference(text: str) -> Reference:
    """A digest or a tag, distinguished by the colon in a digest."""
    if ":" in text:
        return parse_digest(text)
    try:
        return Tag.parse(text)
    except InvalidRequest as error:
        raise Refusal("TAG_INVALID", error.message) from error


def parse_range(header: str | None, size: int) -> range | None:
    """The offsets that a Range header selects of `size` bytes; None for all of them.

    Several ranges and other units are ignored (RFC 9110, section 14.2).
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found[1] or found[2]):
        return None
    if found[1]:
        selected = range(int(found[1]), min(int(found[2] or size) + 1, size))
    else:
        selected = range(max(size - int(found[2]), 0), size)
    if not selected:
        message = f"the range selects none of the blob's {size} bytes"
        raise Refusal("RANGE_INVALID", message, headers={"Content-Range": f"bytes */{size}"})
    return selected


def parse_content_range(header: str | None, arrived: int) -> int | None:
    """The number of bytes that the Content-Range of a chunk announces; None without the header.

    `arrived` bytes came before. Chunks come in order.
    """
    if header is None:
        return None
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        raise Refusal("BLOB_UPLOAD_INVALID", "the Content-Range can't be parsed; expected <first>-<last>")
    first, last = int(found[1]), int(found[2])
    if first != arrived:
        message = f"the chunk starts at {first}, but {arrived} bytes have arrived; send the next one"
        raise Refusal("BLOB_UPLOAD_INVALID", message, status=416)
    if last < first:
        raise Refusal("BLOB_UPLOAD_INVALID", "the Content-Range ends before it starts")
    return last - first + 1


def select_page(names: Sequence[str], query: Mapping[str, str]) -> tuple[Sequence[str], str | None]:
    """The page of the sorted `names` that `n` and `last` select; and its last name, if more follow."""
    text = query.get("n")
    if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 18):
        message = "the parameter n must be a number"
        raise Refusal("PAGINATION_NUMBER_INVALID", message, detail={"n": text[:100]})
    count = _PAGE_LIMIT if text is None else min(int(text), _PAGE_LIMIT)
    start = bisect_right(names, query["last"]) if "last" in query else 0
    found = names[start : start + count]
    # OCI distribution 1.1, "Listing Tags": n=0 gives an empty list without a Link.
    return found, found[-1] if found and start + count < len(names) else None


def read_body(environ: WSGIEnvironment, limit: int) -> Iterator[bytes]:
    """The body in pieces. Raises Refusal if it ends early or exceeds `limit` bytes."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length and not length.isdecimal():
        raise Refusal("SIZE_INVALID", "the Content-Length is not a number")
    if length and int(length) > limit:
        raise _too_large(limit)
    stream = get_input_stream(environ)
    taken = 0
    while True:
        try:
            piece = stream.read(PIECE)
        except (ClientDisconnected, OSError) as error:  # of the client, not of the disk
            raise Refusal("SIZE_INVALID", "the request's body ended early; nothing was stored") from error
        if not piece:
            return
        taken += len(piece)
        if taken > limit:
            raise _too_large(limit)
        yield piece


def _too_large(limit: int) -> Refusal:
    return Refusal(
        "SIZE_INVALID", f"the body has more than the {limit} bytes that are accepted here", status=413
    )
