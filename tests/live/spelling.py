"""The possible encodings of a secret."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote, quote_plus


def spellings(secret: str) -> Iterator[bytes]:
    """Unchanged, quoted for a URL or a form, or base64 of both kinds."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield quote_plus(secret).encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret.encode()).rstrip(b"=")


def spellings_of_account(username: str, password: str) -> Iterator[bytes]:
    """Of the password, and of user and password together, as in Basic."""
    yield from spellings(password)
    yield base64.b64encode(f"{username}:{password}".encode()).rstrip(b"=")
