"""`<index>/simple/` and `<index>/legacy/`: aliases of the index above, through HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from pyoci.cache.backend import Position
from pyoci.distributions.names import ProjectName
from pyoci.errors import Denied, Unauthorized, Unreachable
from pyoci.oci.credentials import Credentials
from pyoci.oci.registries import ShortUrl, ShortUrls
from pyoci.store.models import Absence, ForeignPage, Namespace, ProjectPage, Root, Validity
from pyoci.web.addresses import IndexAddress
from tests.upstream_pages import make_upstream_page
from tests.web.doubles import MemoryStore, reading
from tests.web.uploads import make_form, post

WHEEL = "hello_world-1.0-py3-none-any.whl"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
ALIAS = "/ghcr.io/acme/simple/"


@pytest.mark.parametrize(
    ("path", "root", "index", "project"),
    [
        pytest.param("ghcr.io/simple", None, None, None, id="simple as the only namespace"),
        pytest.param("ghcr.io/legacy", None, None, None, id="legacy as the only namespace"),
        pytest.param("ghcr.io/simple/foo", None, None, None, id="a project of the namespace simple"),
        pytest.param("ghcr.io/acme/simple", "acme", "acme", None, id="root"),
        pytest.param("ghcr.io/acme/Simple", "acme", "acme", None, id="root in capitals"),
        pytest.param("ghcr.io/acme/legacy", None, "acme", None, id="legacy takes uploads alone"),
        pytest.param("ghcr.io/acme/simple/foo", None, None, ("acme", "foo"), id="page"),
        pytest.param("ghcr.io/acme/SIMPLE/Foo.b", None, None, ("acme", "Foo.b"), id="page in capitals"),
        pytest.param("ghcr.io/acme/legacy/foo", None, None, None, id="no pages at legacy"),
        pytest.param("ghcr.io/a/b/simple/foo", None, None, ("a/b", "foo"), id="page below two segments"),
        pytest.param("ghcr.io/simple/simple/foo", None, None, ("simple", "foo"), id="of a namespace simple"),
        pytest.param("ghcr.io/simple/simple", "simple", "simple", None, id="root of a namespace simple"),
        pytest.param("ghcr.io/a/simple/simple", "a/simple", "a/simple", ("a", "simple"), id="simple twice"),
        pytest.param("ghcr.io/acme/simple/foo/bar", None, None, None, id="too deep"),
        pytest.param("ghcr.io/acme/simple/+simple", None, None, None, id="exactly that namespace"),
        pytest.param("ghcr.io/acme/simple/+simple/foo", None, None, None, id="its page"),
        pytest.param("ghcr.io/acme/+simple/simple", None, None, None, id="exactly the project simple"),
        pytest.param("ghcr.io/acme", None, None, None, id="no alias"),
        pytest.param("ghcr.io", None, None, None, id="registry"),
    ],
)
def test_aliases(path: str, root: str | None, index: str | None, project: tuple[str, str] | None) -> None:
    """The alias that an address is: of a root, for uploads, and of a project's page."""
    address = reading()(path)
    assert (address.aliased_root, address.aliased_index, address.aliased_project) == (root, index, project)


def test_an_alias_of_an_alias() -> None:
    """Each stands for the project of the index above, which may itself be an alias."""
    address = reading()("ghcr.io/acme/simple/simple/foo")
    assert address.aliased_projects() == (("acme/simple", "foo"), ("acme", "foo"))
    address = reading()("ghcr.io/acme/simple/pypi/foo")
    assert address.aliased_projects() == ()
    assert address.aliased_projects(for_json=True) == (("acme/simple", "foo"), ("acme", "foo"))


@pytest.mark.parametrize(
    ("path", "json", "shadowed"),
    [
        pytest.param("ghcr.io/acme/pypi/foo", ("acme", "foo"), None, id="legacy JSON"),
        pytest.param("ghcr.io/pypi/foo", None, None, id="pypi as the only namespace"),
        pytest.param("ghcr.io/acme/pypi", None, None, id="pypi alone"),
        pytest.param("ghcr.io/acme/simple/+simple/foo", None, ("acme", "foo"), id="exactly simple"),
        pytest.param("ghcr.io/acme/legacy/+simple/foo", None, ("acme", "foo"), id="exactly legacy"),
        pytest.param("ghcr.io/acme/legacy/+simple", None, None, id="root of exactly legacy"),
        pytest.param("ghcr.io/acme/+simple/foo", None, None, id="exactly acme"),
        pytest.param("ghcr.io/simple/+simple/foo", None, None, id="exactly the only namespace"),
        pytest.param("team/foo", None, None, id="a short URL of a namespace simple"),
    ],
)
def test_addresses_that_clients_derive(
    path: str, json: tuple[str, str] | None, shadowed: tuple[str, str] | None
) -> None:
    """Dependabot and hatch derive addresses from the configured one."""
    short = ShortUrls({"team": ShortUrl("ghcr.io", ("acme", "simple"))})
    address = IndexAddress.read(path, lambda _: False, short)
    assert (address.aliased_json, address.shadowed_project) == (json, shadowed)


class TestPages:
    """`<index>/simple/<project>/`."""

    @pytest.mark.parametrize("namespace", ["ghcr.io/acme", "ghcr.io/acme/simple"])
    def test_everything_is_there(self, client: FlaskClient, store: MemoryStore, namespace: str) -> None:
        """The page and the files that it links to, in whichever namespace the project is."""
        store.put(WHEEL, b"wheel", namespace=namespace, metadata=b"Name: hello-world\n")
        page = f"{ALIAS}hello-world/"
        assert client.get(page, headers=JSON).get_json()["name"] == "hello-world"
        assert client.get(page).headers["X-PyOCI-Origin"] == "registry"
        assert client.get(f"{page}{WHEEL}").data == b"wheel"
        assert client.head(f"{page}{WHEEL}").content_length == 5
        assert client.get(f"{page}{WHEEL}.metadata").data == b"Name: hello-world\n"
        [file] = client.get(f"{page}json").get_json()["releases"]["1.0"]
        assert client.get(file["url"]).data == b"wheel"
        assert client.patch(f"{page}{WHEEL}", json={"yanked": True}).status_code == 200
        assert client.delete(f"{page}1.0").status_code == 200
        assert client.get(page, headers=JSON).get_json()["files"] == []
        assert {place for place, _ in store.kept} == {namespace}

    def test_the_namespace_goes_first(self, client: FlaskClient, store: MemoryStore) -> None:
        """If both namespaces have the project, its page and files are never mixed."""
        store.put("hello_world-1.0.zip", b"one")
        store.put("hello_world-2.0.zip", b"two", namespace="ghcr.io/acme/simple")
        page = client.get(f"{ALIAS}hello-world/", headers=JSON).get_json()
        assert page["versions"] == ["2.0"]
        assert client.get(f"{ALIAS}hello-world/hello_world-2.0.zip").data == b"two"
        assert client.get(f"{ALIAS}hello-world/hello_world-1.0.zip").status_code == 404
        assert client.delete(f"{ALIAS}hello-world/1.0").status_code == 404

    @pytest.mark.parametrize("failure", [Unauthorized("who?"), Denied("no"), Unreachable("down")])
    def test_any_other_answer_is_returned(
        self, client: FlaskClient, store: MemoryStore, failure: Exception
    ) -> None:
        """The index above isn't asked: for pages, files, the legacy JSON and changes."""
        store.put(WHEEL)
        store.failure = failure
        page = f"{ALIAS}hello-world/"
        statuses = {
            client.get(page).status_code,
            client.get(f"{page}{WHEEL}").status_code,
            client.get(f"{page}{WHEEL}.metadata").status_code,
            client.get(f"{page}json").status_code,
            client.patch(f"{page}1.0", json={"yanked": True}).status_code,
            client.delete(f"{page}1.0").status_code,
        }
        assert len(statuses) == 1
        assert statuses <= {401, 403, 504}
        assert {call[1] for call in store.calls} == {"ghcr.io/acme/simple"}

    def test_another_spelling_is_redirected(self, client: FlaskClient, store: MemoryStore) -> None:
        """Within the alias."""
        store.put(WHEEL)
        answer = client.get(f"{ALIAS}Hello_World/?format=json")
        assert (answer.status_code, answer.headers["Location"]) == (301, "../hello-world/?format=json")
        assert client.get(f"{ALIAS}Hello_World/json").headers["Location"] == "../hello-world/json"

    def test_upstream_gets_the_same_names_as_without_an_alias(
        self, client: FlaskClient, store: MemoryStore
    ) -> None:
        """A project that neither index has comes from upstream. A namespace's name is never sent there."""
        store.elsewhere[ProjectName.parse("flask")] = ForeignPage(make_upstream_page("flask"))
        store.elsewhere[ProjectName.parse("team")] = ForeignPage(make_upstream_page("team"))
        store.put(WHEEL, namespace="ghcr.io/acme/team")
        answer = client.get(f"{ALIAS}flask/")
        assert (answer.status_code, answer.headers["X-PyOCI-Origin"]) == (200, "upstream")
        for path in (f"{ALIAS}team/", f"{ALIAS}team/json"):
            assert client.get(path).status_code == 404

    def test_a_namespace_below_the_namespace(self, client: FlaskClient, store: MemoryStore) -> None:
        """`acme/simple/team` with projects is shown as a root."""
        store.put(WHEEL, namespace="ghcr.io/acme/simple/team")
        store.put("team-1.0.zip")
        assert client.get(f"{ALIAS}team/", headers=JSON).get_json()["projects"] == [{"name": "hello-world"}]
        assert client.get(f"{ALIAS}team/team-1.0.zip").status_code == 404

    def test_exactly_that_namespace(self, client: FlaskClient, store: MemoryStore) -> None:
        """Below `+simple/` nothing is an alias."""
        store.put(WHEEL)
        assert client.get(f"{ALIAS}+simple/hello-world/").status_code == 404
        assert client.get(f"{ALIAS}+simple/", headers=JSON).get_json()["projects"] == []

    def test_a_namespace_simple_has_no_index_above(self, client: FlaskClient, store: MemoryStore) -> None:
        """`ghcr.io/simple/foo` isn't an alias."""
        store.put(WHEEL, namespace="ghcr.io/simple")
        assert client.get("/ghcr.io/simple/hello-world/").status_code == 200
        assert {call[0] for call in store.calls} == {"page"}


class TestLegacyJson:
    """`<index>/pypi/<project>/json`: Dependabot derives it from an address that ends in `/simple/`."""

    def test_of_the_index_above(self, client: FlaskClient, store: MemoryStore) -> None:
        """Its links lead to files."""
        store.put(WHEEL, b"wheel")
        [file] = client.get("/ghcr.io/acme/pypi/hello-world/json").get_json()["releases"]["1.0"]
        assert file["url"].startswith("http://localhost/ghcr.io/acme/hello-world/")
        assert client.get(file["url"]).data == b"wheel"
        answer = client.get("/ghcr.io/acme/pypi/Hello_World/json")
        assert (answer.status_code, answer.headers["Location"]) == (301, "../hello-world/json")

    def test_of_a_namespace_of_that_name(self, client: FlaskClient, store: MemoryStore) -> None:
        """The namespace takes precedence."""
        store.put("hello_world-1.0.zip", b"one")
        store.put("hello_world-2.0.zip", b"two", namespace="ghcr.io/acme/pypi")
        releases = client.get("/ghcr.io/acme/pypi/hello-world/json").get_json()["releases"]
        assert list(releases) == ["2.0"]
        assert client.get(releases["2.0"][0]["url"]).data == b"two"

    def test_a_private_project_is_not_asked_for_upstream(
        self, client: FlaskClient, store: MemoryStore
    ) -> None:
        """Like at the alias itself."""
        store.elsewhere[ProjectName.parse("hello-world")] = ForeignPage(make_upstream_page("hello-world"))
        store.put(WHEEL)
        answer = client.get("/ghcr.io/acme/pypi/hello-world/json")
        assert answer.headers["X-PyOCI-Origin"] == "registry"

    def test_nothing_else_is_an_alias(self, client: FlaskClient, store: MemoryStore) -> None:
        """Neither for pages, files and roots nor for uploads."""
        store.put(WHEEL)
        for path in ("hello-world/", f"hello-world/{WHEEL}", ""):
            assert client.get(f"/ghcr.io/acme/pypi/{path}").status_code == 404
        assert post(client, make_form(), "/ghcr.io/acme/pypi/").text.endswith("/acme/pypi/hello_world")
        assert client.get("/ghcr.io/pypi/hello-world/json").status_code == 404


class TestExactly:
    """`<index>/simple/+simple/` and `<index>/legacy/+simple/`, which hatch derives from an alias."""

    @pytest.fixture(params=["simple", "legacy"])
    def page(self, request: pytest.FixtureRequest, store: MemoryStore) -> str:
        """The page of a project that another caller has published, too."""
        store.elsewhere[ProjectName.parse("hello-world")] = ForeignPage(make_upstream_page("hello-world"))
        return f"/ghcr.io/acme/{request.param}/+simple/hello-world/"

    def test_a_project_of_the_index_above(self, client: FlaskClient, store: MemoryStore, page: str) -> None:
        """It isn't shown, and upstream isn't asked for it."""
        store.put(WHEEL)
        for path in (page, f"{page}json"):
            assert client.get(path).status_code == 404

    def test_a_namespace_in_the_index_above(self, client: FlaskClient, store: MemoryStore, page: str) -> None:
        """Upstream isn't asked for its name."""
        store.put(WHEEL, namespace="ghcr.io/acme/hello-world")
        assert client.get(page).status_code == 404

    def test_a_project_that_neither_has(self, client: FlaskClient, store: MemoryStore, page: str) -> None:
        """It comes from upstream, like in every namespace."""
        answer = client.get(page)
        assert (answer.status_code, answer.headers["X-PyOCI-Origin"]) == (200, "upstream")

    def test_an_index_above_with_an_unclear_answer(
        self, client: FlaskClient, store: MemoryStore, page: str
    ) -> None:
        """The answer of the namespace itself is returned."""
        store.refused = {"ghcr.io/acme": Unreachable("down")}
        assert client.get(page).status_code == 404

    def test_other_segments_have_no_index_above(self, client: FlaskClient, store: MemoryStore) -> None:
        """Their projects come from upstream, whatever other namespaces have."""
        store.elsewhere[ProjectName.parse("hello-world")] = ForeignPage(make_upstream_page("hello-world"))
        store.put(WHEEL)
        answer = client.get("/ghcr.io/acme/team/+simple/hello-world/")
        assert answer.headers["X-PyOCI-Origin"] == "upstream"


class TestRoots:
    """`<index>/simple/` itself."""

    def test_of_the_index(self, client: FlaskClient, store: MemoryStore) -> None:
        """The projects of the index above, with links to their pages."""
        store.put(WHEEL)
        answer = client.get(ALIAS)
        assert '<a href="hello-world/">hello-world</a>' in answer.text
        assert client.get(f"{ALIAS}hello-world/").status_code == 200

    def test_of_the_namespace_where_it_is_one(self, client: FlaskClient, store: MemoryStore) -> None:
        """It takes precedence over the index above."""
        store.put(WHEEL)
        store.put("other-1.0.zip", namespace="ghcr.io/acme/simple")
        assert client.get(ALIAS, headers=JSON).get_json()["projects"] == [{"name": "other"}]

    def test_a_project_of_that_name_goes_first(self, client: FlaskClient, store: MemoryStore) -> None:
        """Its page is shown."""
        store.put("simple-1.0.zip")
        store.put("other-1.0.zip", namespace="ghcr.io/acme/simple")
        assert client.get(ALIAS, headers=JSON).get_json()["name"] == "simple"
        assert client.get(f"{ALIAS}json").get_json()["info"]["name"] == "simple"
        assert client.get(f"{ALIAS}simple-1.0.zip").status_code == 200

    @pytest.mark.parametrize("path", [ALIAS, "/ghcr.io/acme/Simple/", f"{ALIAS}json", f"{ALIAS}simple/json"])
    def test_never_from_upstream(self, client: FlaskClient, store: MemoryStore, path: str) -> None:
        """PyPI's project called `simple` isn't meant, neither by the page nor by the JSON."""
        store.elsewhere[ProjectName.parse("simple")] = ForeignPage(make_upstream_page("simple"))
        assert client.get(path, headers=JSON).headers.get("X-PyOCI-Origin") != "upstream"
        assert b"3.1.0" not in client.get(path).data

    def test_a_refusal_is_returned(self, client: FlaskClient, store: MemoryStore) -> None:
        """The list of the index above isn't shown."""
        store.failure = Denied("no")
        assert client.get(ALIAS).status_code == 403
        assert [call[0] for call in store.calls] == ["absence"]

    def test_of_a_namespace_simple(self, client: FlaskClient, store: MemoryStore) -> None:
        """`acme/simple/simple/` is the root of `acme/simple`, if that is a namespace."""
        store.put(WHEEL, namespace="ghcr.io/acme/simple")
        root = f"{ALIAS}simple/"
        assert client.get(root, headers=JSON).get_json()["projects"] == [{"name": "hello-world"}]
        assert client.get(f"{root}hello-world/").status_code == 200


class TestUploads:
    """POST to `<index>/simple/` and `<index>/legacy/`."""

    @pytest.mark.parametrize("alias", ["simple/", "simple", "legacy/", "legacy", "Legacy/"])
    def test_to_the_index_above(self, client: FlaskClient, store: MemoryStore, alias: str) -> None:
        """The answer names the repository."""
        answer = post(client, make_form(), f"/ghcr.io/acme/{alias}")
        assert (answer.status_code, answer.text) == (
            200,
            f"{WHEEL} is published in ghcr.io/acme/hello_world",
        )

    @pytest.mark.parametrize("alias", ["simple", "legacy"])
    def test_to_the_namespace_in_use(self, client: FlaskClient, store: MemoryStore, alias: str) -> None:
        """Further uploads go there, too."""
        store.put("other-1.0.zip", namespace=f"ghcr.io/acme/{alias}")
        answer = post(client, make_form(), f"/ghcr.io/acme/{alias}/")
        assert answer.text.endswith(f" in ghcr.io/acme/{alias}/hello_world")

    @pytest.mark.parametrize("alias", ["simple", "legacy"])
    def test_to_exactly_that_namespace(self, client: FlaskClient, store: MemoryStore, alias: str) -> None:
        """Whether it is in use or not."""
        answer = post(client, make_form(), f"/ghcr.io/acme/{alias}/+simple/")
        assert answer.text.endswith(f" in ghcr.io/acme/{alias}/hello_world")

    @pytest.mark.parametrize("name", ["simple", "legacy"])
    def test_to_a_namespace_of_that_name(self, client: FlaskClient, store: MemoryStore, name: str) -> None:
        """It has no index above."""
        assert post(client, make_form(), f"/ghcr.io/{name}/").text.endswith(f" in ghcr.io/{name}/hello_world")

    def test_legacy_is_no_alias_for_reading(self, client: FlaskClient, store: MemoryStore) -> None:
        """It is a project or a namespace."""
        store.put(WHEEL)
        assert client.get("/ghcr.io/acme/legacy/").status_code == 404
        assert client.get("/ghcr.io/acme/legacy/hello-world/").status_code == 404


class ValidityStore(MemoryStore):
    """Gives each page the validity of its namespace. Those of the namespaces in `torn` have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.torn: set[str] = set()

    def validity(self, namespace: Namespace) -> Validity:
        return Validity("me", str(namespace), Position("epoch", 1), 10.0)

    def absence(self, namespace: Namespace, *arguments: object, **options: object) -> Absence | None:
        found = super().absence(namespace, *arguments, **options)  # type: ignore[arg-type]
        return None if found is None else Absence(self.validity(namespace))

    def find(
        self,
        namespace: Namespace,
        name: ProjectName,
        caller: Credentials,
        *,
        after: Absence | None = None,
        **options: object,
    ) -> ProjectPage | Root | ForeignPage:
        found = super().find(namespace, name, caller, **options)  # type: ignore[arg-type]
        assert isinstance(found, ProjectPage)
        validity = replace(self.validity(namespace), also=after.validity if after else None)
        return replace(found, fingerprint=f"{namespace}", validity=validity)

    def is_valid(self, validity: Validity) -> bool:
        return validity.journal not in self.torn and (validity.also is None or self.is_valid(validity.also))


class TestWarm:
    """A cached page is served again."""

    @pytest.fixture
    def store(self) -> ValidityStore:
        return ValidityStore()

    def test_the_alias_ends_with_the_absence(self, client: FlaskClient, store: ValidityStore) -> None:
        """A publication in the namespace shows at once. The page in the index above is still cached."""
        store.put("hello_world-1.0.zip")
        direct, alias = "/ghcr.io/acme/hello-world/", f"{ALIAS}hello-world/"
        pages = [client.get(path, headers=JSON).data for path in (direct, alias)]
        assert pages[0] == pages[1]
        calls = len(store.calls)
        assert [client.get(path, headers=JSON).data for path in (direct, alias)] == pages
        assert len(store.calls) == calls
        store.put("hello_world-2.0.zip", namespace="ghcr.io/acme/simple")
        store.torn.add("ghcr.io/acme/simple")
        assert client.get(direct, headers=JSON).data == pages[0]
        assert client.get(alias, headers=JSON).get_json()["versions"] == ["2.0"]

    def test_addresses_do_not_share_pages(self, client: FlaskClient, store: ValidityStore) -> None:
        """Each of three addresses has its own page."""
        store.put("hello_world-1.0.zip")
        store.put("hello_world-2.0.zip", namespace="ghcr.io/acme/simple")
        for _ in range(2):
            for path, versions in (
                (f"{ALIAS}hello-world/", ["2.0"]),
                (f"{ALIAS}+simple/hello-world/", ["2.0"]),
                ("/ghcr.io/acme/hello-world/", ["1.0"]),
            ):
                assert client.get(path, headers=JSON).get_json()["versions"] == versions
