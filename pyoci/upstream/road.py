"""Road: asks upstream for one page: credentials, redirects, gzip, and what its answers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from pyoci.errors import Denied, NotFound, ProtocolError
from pyoci.net.addresses import Reach
from pyoci.net.messages import Answer, Call
from pyoci.net.reading import decoded
from pyoci.net.retries import retry_after_seconds
from pyoci.net.transport import Transport
from pyoci.upstream import fields
from pyoci.upstream.address import UpstreamAddress, origin_of
from pyoci.upstream.circuit import Unwell
from pyoci.upstream.documents import read_json
from pyoci.upstream.html import read_html
from pyoci.upstream.models import UpstreamPage

NAME = "the upstream package index"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
JSON_LIMIT = 64 * 1024 * 1024  # bytes, unpacked; the largest pages of PyPI have some twenty millions
HTML_LIMIT = 16 * 1024 * 1024
_REDIRECTS = 3
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_JSON = frozenset({"application/vnd.pypi.simple.v1+json", "application/json"})
_HTML = frozenset({"application/vnd.pypi.simple.v1+html", "text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class Told:
    """An answer about a page: `page` is None where the one that is known still stands (304)."""

    page: UpstreamPage | None
    headers: Mapping[str, str]


class Road:
    """Asks at one address, with its credentials."""

    def __init__(self, address: UpstreamAddress, transport: Transport) -> None:
        self._address = address
        self._transport = transport

    def ask(self, name: str, conditions: Mapping[str, str]) -> Told:
        """What upstream says of a project, under `conditions` (If-None-Match).

        Takes ten seconds at most, redirects included. Raises NotFound, Denied, Unreachable, ProtocolError.
        """
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip", **conditions}
        if self._address.authorization is not None:
            headers["Authorization"] = self._address.authorization
        url = self._address.page_url(name)
        call = Call(
            method="GET", url=url, headers=headers, reach=Reach.LISTED, name=NAME, operation="upstream"
        )
        with self._transport.shared_deadline():
            for _ in range(1 + _REDIRECTS):
                answer = self._answer(call)
                if answer.status not in _REDIRECTED:
                    return _told(answer, name, call)
                call = self._redirected(call, answer.headers.get("location", ""))
        raise ProtocolError(f"{NAME} redirects more than {_REDIRECTS} times")

    def _answer(self, call: Call) -> Answer:
        try:
            return self._transport.document(call, JSON_LIMIT)
        except Denied as exc:
            # The road speaks of registries, and may name a host that is nobody's business.
            raise ProtocolError(f"{NAME} leads to where nobody may be asked") from exc

    def _redirected(self, call: Call, location: str) -> Call:
        """The call that a redirect asks for. Credentials stay at home, and come back with nobody."""
        url = fields.url(location, call.url)
        if url is None:
            raise ProtocolError(f"{NAME} redirects to what is no usable URL")
        own, there = self._address.origin, origin_of(urlsplit(url))
        if there == own and origin_of(urlsplit(call.url)) == own:
            return replace(call, url=url)
        if there[0] == "http" and own[0] == "https":
            raise ProtocolError(f"{NAME} redirects to plain http; expected https")
        headers = {key: value for key, value in call.headers.items() if key != "Authorization"}
        return replace(call, url=url, headers=headers, reach=self._elsewhere())

    def _elsewhere(self) -> Reach:
        """An upstream in a private network may name others there."""
        _, host, port = self._address.origin
        return Reach.PRIVATE if self._transport.resolver.is_private(host, port) else Reach.VOUCHED


def _told(answer: Answer, name: str, call: Call) -> Told:
    status = answer.status
    if status == 200:
        return Told(_page(answer, name, call.url), answer.headers)
    if status == 304 and call.headers.keys() & {"If-None-Match", "If-Modified-Since"}:
        return Told(None, answer.headers)
    if status in {404, 410}:
        raise NotFound(f"{NAME} has no project {name}")
    if status == 401:
        raise ProtocolError(f"{NAME} wants other credentials than PYOCI_UPSTREAM_AUTH has")
    if status in {403, 451}:
        raise Denied(f"{NAME} does not give out {name}")
    if status == 429 or status >= 500:
        wait = retry_after_seconds(answer.headers.get("retry-after"))
        busy = status == 429 or wait is not None
        raise Unwell(f"{NAME} can't answer now; try again later", float(wait or 1) if busy else None)
    raise ProtocolError(f"{NAME} answered {status}; expected a page")


def _page(answer: Answer, name: str, url: str) -> UpstreamPage:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _JSON:
        return read_json(decoded(answer, JSON_LIMIT, NAME), name, url)
    if kind in _HTML:
        return read_html(decoded(answer, HTML_LIMIT, NAME), name, url)
    raise ProtocolError(f"{NAME} sent neither JSON nor HTML of the simple API")
