"""The body of a request that yanks: `{"yanked": "reason" | true | false}`."""

from __future__ import annotations

import json
import re

from pyoci.errors import InvalidRequest, TooLarge
from pyoci.store.writing.publish import REASON_LIMIT
from pyoci.web.body import SMALL_BODY, RequestBody

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_EXPECTED = 'expected JSON, {"yanked": "reason"} or {"yanked": true} or {"yanked": false}'


def read_yank(body: RequestBody) -> str | None:
    """The reason; "" if none is given, None to unyank. Raises InvalidRequest and TooLarge."""
    match _document(body):
        case {"yanked": bool(yanked), **rest} if not rest:
            return "" if yanked else None
        case {"yanked": str(reason), **rest} if not rest:
            return _checked(reason.strip())
    raise InvalidRequest(f"the body has the wrong content; {_EXPECTED}")


def _document(body: RequestBody) -> object:
    content = b""
    while piece := body.read(SMALL_BODY + 1):
        content += piece
        if len(content) > SMALL_BODY:
            raise TooLarge(f"the body has more than {SMALL_BODY} bytes, which is the limit here")
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidRequest(f"the body can't be parsed; {_EXPECTED}") from None


def _checked(reason: str) -> str:
    if not reason:
        raise InvalidRequest(f"the reason is empty; {_EXPECTED}")
    if len(reason) > REASON_LIMIT or _CONTROL.search(reason):
        raise InvalidRequest(
            f"the reason can't be displayed; expected one line of at most {REASON_LIMIT} characters"
        )
    return reason
