"""The errors of the embedded registry: codes of OCI distribution 1.1, "Error Codes", with their statuses."""

from __future__ import annotations

import errno
from collections.abc import Mapping

# Further codes are docker-registry's, or our own.
STATUSES: Mapping[str, int] = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 400,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNAVAILABLE": 503,
    "UNKNOWN": 500,
    "UNSUPPORTED": 405,
}


class Refusal(Exception):
    """A request that is refused. `message` is one sentence for the caller, `code` one of STATUSES."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        detail: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = STATUSES[code] if status is None else status
        self.detail = detail
        self.headers = dict(headers or {})


class Damaged(Exception):
    """A file in the registry's directory is damaged. It is not overwritten."""


class Busy(Exception):
    """Other requests kept a repository locked for too long."""


def refusal_of(error: OSError | Damaged | Busy) -> Refusal:
    """The refusal for an error in the registry's own directory; it names no path."""
    if isinstance(error, Busy):
        message = "the repository is busy with other writes; try again"
        return Refusal("UNAVAILABLE", message, headers={"Retry-After": "1"})
    if isinstance(error, Damaged):
        return Refusal("UNKNOWN", f"{error}; the embedded registry's directory needs repair")
    if error.errno == errno.ENOENT:
        message = "the repository's folder was removed while the request was served; try again"
        return Refusal("UNAVAILABLE", message, headers={"Retry-After": "1"})
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return Refusal("UNKNOWN", "the embedded registry's disk is full; nothing was stored", status=507)
    return Refusal(
        "UNKNOWN", "the embedded registry's directory can't be read or written; PyOCI's log says why"
    )
