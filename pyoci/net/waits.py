"""How long a server asks to wait: the Retry-After header (RFC 9110, section 10.2.3). Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 24 * 3600  # seconds; what asks for more is wrong, or means no


def retry_after_seconds(header: str | None, now: datetime | None = None) -> int | None:
    """Whole seconds from now on, of a number or a date; None where it is missing or neither."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return int(text) if len(text) < 9 and int(text) < LONGEST_WAIT else LONGEST_WAIT
    try:
        wait = parsedate_to_datetime(text) - (now or datetime.now(UTC))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(math.ceil(wait.total_seconds()), 0), LONGEST_WAIT)
