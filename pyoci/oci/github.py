"""GitHub: the container packages of an owner, from GitHub's REST API ("List packages for an organization").

ghcr.io doesn't list its repositories. GitHub does, for classic personal access tokens, and shows what the
token may read. So the API is a companion of ghcr.io: it may be asked where the registry may, and gets the
token that the caller has for the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from pyoci.errors import ProtocolError
from pyoci.net.messages import Answer, Call
from pyoci.net.transport import Transport
from pyoci.oci import listing
from pyoci.oci.credentials import Basic, Bearer, Credentials, secrets_of
from pyoci.oci.errors import RegistryNotFound, RegistryUnauthorized, registry_error
from pyoci.oci.models import parse_json
from pyoci.oci.references import Registry
from pyoci.oci.targets import Targets

COMPANIONS = {"https://ghcr.io": "https://api.github.com"}
_ALL_PAGES = 64 * 1024 * 1024  # bytes; a package has some 6 kB, most of it about its owner
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class GitHub:
    """Asks GitHub. One for the process. `companions` are APIs, by the origin of their registry."""

    def __init__(
        self, transport: Transport, targets: Targets, companions: Mapping[str, str] = COMPANIONS
    ) -> None:
        self._transport, self._targets, self._companions = transport, targets, companions

    def knows(self, registry: Registry) -> bool:
        """Whether the packages of this registry are GitHub's."""
        return registry.origin in self._companions

    def packages(self, registry: Registry, owner: str, caller: Credentials) -> tuple[str, ...]:
        """The names of an owner's container packages: the repositories without the owner. Raises
        RegistryError, and what the transport raises.
        """
        api = Registry.parse(self._companions[registry.origin], listed=registry.listed)
        token = _token(caller)
        if token is None:
            raise RegistryUnauthorized(f"{api} lists packages only for a classic personal access token")
        headers = {**_HEADERS, "Authorization": f"Bearer {token}"}

        def fetch(url: str) -> Answer:
            call = Call(
                method="GET",
                url=url,
                headers=headers,
                reach=self._targets.own_reach(api),
                name=str(api),
                operation="catalog",
            )
            answer = self._transport.document(call)
            if answer.status != 200:
                raise registry_error(
                    f"list the packages of {owner}",
                    str(api),
                    answer.status,
                    answer.headers,
                    answer.body,
                    secrets=secrets_of(headers["Authorization"]),
                )
            return answer

        def read(kind: str) -> tuple[str, ...]:
            url = f"{api.origin}/{kind}/{quote(owner, safe='')}/packages?package_type=container&per_page=100"
            return listing.read_listing(
                fetch,
                url,
                "packages",
                lambda page, link: self._targets.next_page(api, page, link),
                entries=_names,
                size=_ALL_PAGES,
            )

        try:
            return read("orgs")
        except RegistryNotFound:
            return read("users")


def _token(caller: Credentials) -> str | None:
    match caller:
        case Basic(password=token) | Bearer(token=token) if token.isascii() and token.isprintable():
            return token or None
    return None


def _names(body: bytes) -> Iterable[str]:
    packages = parse_json(body, "a list of packages")
    if not isinstance(packages, list):
        raise ProtocolError("GitHub sent a list of packages of the wrong shape; expected a JSON list")
    names = (package.get("name") for package in packages if isinstance(package, dict))
    return [name for name in names if isinstance(name, str) and len(name) <= listing.ENTRY_LIMIT]
