"""WarmPages: answers requests for recently served pages without calling Flask.

Routing and header objects took four fifths of the time of a cached page. This module makes no decisions: the
store decides whether the page may be sent to this caller again, and the site decides whether this connection
may use the registry.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from pyoci.errors import PyOCIError
from pyoci.store.models import Validity
from pyoci.web.admission import names_its_host
from pyoci.web.context import Site
from pyoci.web.rendering import RenderedPages

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ANSWERS = 8192
_LONGEST = 1000  # characters of a key; known clients send less, and longer keys could fill the memory
# The representation, and the right to read it, depend on these. Credentials are added as a hash.
_PARTS = (
    *("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING"),
    *("wsgi.url_scheme", "HTTP_HOST"),  # pages for people, and links to provenance, have this server's URL
)
_FACTS = tuple(
    f"pyoci.{name}" for name in ("caller", "user", "registry", "path", "project", "route", "origin")
)
_NO_CACHE = re.compile("no-cache", re.IGNORECASE)
_ENVIRON = "pyoci.warm"


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer that was sent: its page and fields for the log line, how long it is valid, and the version of
    the rules that it was made by.
    """

    validity: Validity
    rules: Hashable
    page: Hashable
    fingerprint: str
    facts: dict[str, Any]


@dataclass(slots=True)
class _Asked:
    """A request that WarmPages may answer. The page's view fills in the remaining fields."""

    key: Hashable = field(repr=False)
    rules: Hashable
    validity: Validity | None = None
    page: Hashable = None
    fingerprint: str = ""


class WarmPages:
    """WSGI middleware: answers from `pages` while an answer is valid, and passes other requests on."""

    def __init__(self, application: WSGIApplication, site: Site, pages: RenderedPages) -> None:
        self._application = application
        self._site = site
        self._pages = pages
        self._key = secrets.token_bytes(32)
        self._guard = threading.Lock()
        self._given: LRUCache[Hashable, _Given] = LRUCache(_ANSWERS)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        key = self._key_of(environ)
        if key is None:
            return self._application(environ, start_response)
        answer = self._answer(key, environ)
        if answer is not None:
            status, headers, body = answer
            start_response(f"{status} {HTTPStatus(status).phrase}", headers)
            return [body] if environ["REQUEST_METHOD"] == "GET" else []
        asked = environ[_ENVIRON] = _Asked(key, self._site.rules_version())
        try:
            return self._application(environ, start_response)
        finally:
            self._keep(asked, environ)

    def _answer(
        self, key: Hashable, environ: WSGIEnvironment
    ) -> tuple[int, list[tuple[str, str]], bytes] | None:
        with self._guard:
            given = self._given.get(key)
        if given is None or given.rules != self._site.rules_version():
            return None
        if not self._site.store.is_valid(given.validity):
            return None
        page = self._pages.get(given.page, given.fingerprint)
        if page is None:
            return None
        try:
            self._site.admit(given.facts["pyoci.registry"], environ)
        except PyOCIError:
            return None  # the view raises the error
        environ.update(given.facts)
        self._site.events.count("cache", "page", "hit")
        return page.answer(environ.get("HTTP_IF_NONE_MATCH"))

    def _keep(self, asked: _Asked, environ: WSGIEnvironment) -> None:
        if asked.validity is not None:
            self._site.events.count("cache", "page", "miss")
            facts = {name: environ.get(name) for name in _FACTS}
            given = _Given(asked.validity, asked.rules, asked.page, asked.fingerprint, facts)
            with self._guard:
                self._given[asked.key] = given

    def _key_of(self, environ: WSGIEnvironment) -> Hashable | None:
        """Everything that the answer depends on; None if this isn't a plain request for a page."""
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return None
        if environ.get("CONTENT_LENGTH", "0") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in environ:
            return None
        if not names_its_host(environ):
            return None
        if _NO_CACHE.search(environ.get("HTTP_CACHE_CONTROL", "")):
            return None
        authorization = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace")
        who = hashlib.blake2b(authorization, key=self._key, digest_size=16).digest()
        parts = tuple(environ.get(name, "") for name in _PARTS)
        return (who, *parts) if sum(map(len, parts)) <= _LONGEST else None


def may_be_given_again(
    environ: WSGIEnvironment, validity: Validity | None, page: Hashable, fingerprint: str
) -> None:
    """Tell WarmPages that the answer is the entry `page` of RenderedPages with that fingerprint. It may be
    sent again while `validity` allows.
    """
    asked = environ.get(_ENVIRON)
    if asked is not None:
        asked.validity, asked.page, asked.fingerprint = validity, page, fingerprint
