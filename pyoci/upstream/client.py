"""UpstreamClient: requests the page of a project, with credentials, redirects and gzip, and parses it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import urlsplit

from pyoci.admission import PARSING, Admission
from pyoci.distributions.filenames import Version
from pyoci.errors import AnswerTooLong, Denied, NotFound, ProtocolError
from pyoci.net.addresses import Reach
from pyoci.net.messages import Answer, Call
from pyoci.net.reading import decoded
from pyoci.net.transport import Transport
from pyoci.request_scope import Host
from pyoci.simple_api import model, reading, verbatim, writing
from pyoci.simple_api.model import File, Page, version_of
from pyoci.simple_api.verbatim import Verbatim, VerbatimFiles
from pyoci.upstream.address import UpstreamAddress, origin_of
from pyoci.upstream.circuit import unavailable
from pyoci.upstream.rules import Judgement

NAME = "the upstream package index"
_LATE = f"other large pages of {NAME} took too long to read; try again later"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
JSON_LIMIT = 32 * 1024 * 1024  # bytes, unpacked; the largest pages of PyPI have some 20 million
HTML_LIMIT = 16 * 1024 * 1024
_SMALL = 4 * 1024 * 1024  # bytes, unpacked; larger pages are read one at a time
_UNQUEUED = 64 * 1024  # bytes of JSON, unpacked, that are parsed without waiting for other pages
_WAITING = 2 * 1024 * 1024  # bytes in gzip of a large page that waits; a longer one is requested again
MIN_LIFETIME = 60.0  # seconds, whatever upstream says: one run of a client requests a page more than once
MAX_LIFETIME = 3600.0
_REDIRECTS = 3
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_JSON = frozenset({"application/vnd.pypi.simple.v1+json", "application/json"})
_HTML = frozenset({"application/vnd.pypi.simple.v1+html", "text/html", "application/xhtml+xml"})
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamPage(Page):
    """A page as upstream sent it, without its invalid parts. The URLs of its files are absolute.

    Pages with the same fingerprint are identical. `until` is a time of the monotonic clock: until then the
    page may be served again without asking upstream. If upstream couldn't be asked when it expired, `stale`
    is the number of seconds since upstream was last asked. If `stored`, the page was made of the files that
    are stored here. `judgement` is what the rules say about its files, if there are rules.
    """

    files: Sequence[File]
    fingerprint: str = ""
    until: float = field(default=0.0, compare=False)
    stale: float | None = field(default=None, compare=False)
    stored: bool = field(default=False, compare=False)
    judgement: Judgement | None = field(default=None, compare=False)

    @property
    def is_withheld(self) -> bool:
        """Whether the rules withhold files of it."""
        return self.judgement is not None and self.judgement.withholds

    def of_version(self, version: Version) -> Self:
        """The page with the files of one version, also among those that are withheld."""
        page = Page.of_version(self, version)
        if self.judgement is None:
            return page
        withheld = tuple(each for each in self.judgement.withheld if version_of(each.file) == version)
        return replace(page, judgement=replace(self.judgement, withheld=withheld))

    @classmethod
    def of(cls, page: Page) -> Self:
        """The same page with its fingerprint."""
        files = tuple(page.files)
        fingerprint = hashlib.sha256(
            writing.page_json(replace(page, files=files), files_last=False)
        ).hexdigest()[:32]
        return cls(
            name=page.name, files=files, versions=page.versions, status=page.status, fingerprint=fingerprint
        )

    @classmethod
    def verbatim(cls, name: str, files: VerbatimFiles) -> Self:
        """A page that is passed on as it was sent."""
        about = files.about
        return cls(
            name=name,
            files=files,
            versions=about.versions,
            status=about.status,
            fingerprint=files.fingerprint,
        )


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """Upstream's answer about a page; `page` is None if the known one has not changed (304)."""

    page: UpstreamPage | None
    headers: Mapping[str, str]


class UpstreamClient:
    """Requests pages at one address, with its credentials. `large` admits the large ones."""

    def __init__(
        self, address: UpstreamAddress, transport: Transport, large: Admission | None = None
    ) -> None:
        self._address = address
        self._transport = transport
        self._large = large or Admission()

    def host(self, name: str) -> Host | None:
        """The host that is asked for a project's page."""
        return Call(method="GET", url=self._address.page_url(name), reach=Reach.LISTED, name=NAME).asked_host

    def fetch(self, name: str, conditions: Mapping[str, str]) -> PageAnswer:
        """Request the page of a project, under `conditions` (headers such as If-None-Match).

        Takes ten seconds at most, redirects included. Raises NotFound, Denied, Unreachable, ProtocolError.
        """
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip", **conditions}
        if self._address.authorization is not None:
            headers["Authorization"] = self._address.authorization
        url = self._address.page_url(name)
        call = Call(
            method="GET", url=url, headers=headers, reach=Reach.LISTED, name=NAME, operation="upstream"
        )
        seconds = self._transport.document_seconds
        with self._transport.shared_deadline(), _Allowance(self._large, seconds) as allowed:
            try:
                return self._fetch(call, name, allowed)
            except AnswerTooLong:
                if allowed.is_large:
                    raise
            # Outside of `except`: the exception refers to what was read, which must not live during the wait.
            allowed.grow()
            return self._fetch(call, name, allowed)

    def _fetch(self, call: Call, name: str, allowed: _Allowance) -> PageAnswer:
        """Follow redirects, and read the answer. Raises AnswerTooLong."""
        for _ in range(1 + _REDIRECTS):
            answer = self._send(call, allowed)
            if answer.status not in _REDIRECTED:
                return PageAnswer(self._read(answer, name, call, allowed), answer.headers)
            call = self._redirected(call, answer.headers.get("location", ""))
        raise ProtocolError(f"{NAME} redirects more than {_REDIRECTS} times")

    def _read(self, answer: Answer, name: str, call: Call, allowed: _Allowance) -> UpstreamPage | None:
        """The page in an answer; None for a 304. Raises AnswerTooLong if it has to be requested again."""
        if not _has_page(answer, name, call):
            return None
        try:
            return self._parsed(answer, name, call.url, allowed.limit)
        except AnswerTooLong:
            if allowed.is_large or len(answer.body) > _WAITING:
                raise
        # Outside of `except`: the exception refers to what was read, which must not live during the wait.
        return self._parsed(answer, name, call.url, allowed.grow())

    def _parsed(self, answer: Answer, name: str, url: str, limit: int) -> UpstreamPage:
        if _kind(answer) in _JSON:
            with suppress(AnswerTooLong):
                return _passed_on(_page(answer, name, url, _UNQUEUED), name)
        with PARSING.turn(NAME, self._transport.document_seconds, _LATE):
            page = _page(answer, name, url, limit)
        return _passed_on(page, name)

    def _send(self, call: Call, allowed: _Allowance) -> Answer:
        try:
            return self._transport.document(call, allowed.limit, allowed.grow)
        except Denied as exc:
            # The transport's message mentions registries, and may contain an internal host name.
            raise ProtocolError(
                f"{NAME} redirects to an address that PyOCI may not ask; expected a public one"
            ) from exc

    def _redirected(self, call: Call, location: str) -> Call:
        """The call that follows a redirect. Credentials are not sent to another origin, nor after a redirect
        back from it.
        """
        url = model.url(location, call.url)
        if url is None:
            raise ProtocolError(f"{NAME} redirects to an unusable URL")
        own, target = self._address.origin, origin_of(urlsplit(url))
        if target == own and origin_of(urlsplit(call.url)) == own:
            return replace(call, url=url)
        if target[0] == "http" and own[0] == "https":
            raise ProtocolError(f"{NAME} redirects to plain http; expected https")
        headers = {key: value for key, value in call.headers.items() if key != "Authorization"}
        reach = self._transport.resolver.reach_beyond(*own[1:])
        return replace(call, url=url, headers=headers, reach=reach)


def freshness_lifetime(headers: Mapping[str, str], default: float) -> float:
    """For how many seconds an answer is fresh (RFC 9111, section 4.2): its max-age less its Age, at least a
    minute and at most an hour; `default` if upstream specifies none.
    """
    directives = _directives(headers.get("cache-control", ""))
    if directives.keys() & {"no-store", "no-cache"}:
        return MIN_LIFETIME
    # s-maxage takes precedence, since this is a shared cache.
    max_age = directives.get("s-maxage", directives.get("max-age", ""))
    if not _SECONDS.fullmatch(max_age):
        return max(default, MIN_LIFETIME)
    age = headers.get("age", "").strip()
    left = float(max_age) - (float(age) if _SECONDS.fullmatch(age) else 0.0)
    return min(max(left, MIN_LIFETIME), MAX_LIFETIME)


def _directives(header: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in header[:1000].split(","))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


class _Allowance:
    """How many bytes of a page may be read. Large pages are read one at a time.

    The size isn't known in advance: a quarter of a megabyte of gzip may become a gigabyte.
    """

    def __init__(self, large: Admission, seconds: float) -> None:
        self.limit = _SMALL
        self._large, self._seconds = large, seconds
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def is_large(self) -> bool:
        return self.limit > _SMALL

    def grow(self) -> int:
        """Wait until no other large page is being read; returns the limit of a large one. Raises
        Unreachable.
        """
        if not self.is_large:
            self._stack.enter_context(self._large.turn(NAME, self._seconds, _LATE))
            self.limit = JSON_LIMIT
        return self.limit


@dataclass(frozen=True, slots=True)
class _Recognized:
    """A page that can be passed on as it was sent; `gzip` is its `body` as upstream compressed it, if it
    did.
    """

    about: Verbatim
    body: bytes = field(repr=False)
    gzip: bytes | None = field(repr=False)


def _has_page(answer: Answer, name: str, call: Call) -> bool:
    """Whether the answer has a page; False for a 304. Raises NotFound, Denied, ProtocolError, Unreachable."""
    status = answer.status
    if status == 200:
        return True
    if status == 304 and call.headers.keys() & {"If-None-Match", "If-Modified-Since"}:
        return False
    if status in {404, 410}:
        raise NotFound(f"{NAME} has no project {name}")
    if status == 401:
        raise ProtocolError(
            f"{NAME} answered 401; expected PYOCI_UPSTREAM_AUTH to have valid credentials for it"
        )
    if status in {403, 451}:
        raise Denied(f"{NAME} refuses the page of {name}")
    busy = unavailable(status, answer.headers, NAME)
    raise busy or ProtocolError(f"{NAME} answered {status}; expected a page")


def _passed_on(page: UpstreamPage | _Recognized, name: str) -> UpstreamPage:
    """The page, with its JSON as it was sent if it can be passed on so."""
    if not isinstance(page, _Recognized):
        return page
    packed = page.gzip or verbatim.packed(page.body)
    return UpstreamPage.verbatim(name, VerbatimFiles.of(packed, page.about))


def _kind(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _page(answer: Answer, name: str, url: str, limit: int) -> UpstreamPage | _Recognized:
    kind = _kind(answer)
    if kind in _JSON:
        body, packed = decoded(answer, limit, NAME, reading.Weight().add)
        about = verbatim.recognize_text(body, name)
        if about is None:
            document = reading.read_document(body)
            about = verbatim.recognize(document, body, name)
            if about is None:
                return UpstreamPage.of(reading.read_page(document, name, url))
        return _Recognized(about, body, packed)
    if kind in _HTML:
        body, _ = decoded(answer, min(limit, HTML_LIMIT), NAME)
        return UpstreamPage.of(reading.read_html(body, name, url))
    raise ProtocolError(f"{NAME} sent neither JSON nor HTML of the simple API")
