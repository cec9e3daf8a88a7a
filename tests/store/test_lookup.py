"""Where a project comes from: the registry if it has it; upstream only if the registry clearly lacks it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pyoci.cache.memory import MemoryBackend
from pyoci.distributions.names import ProjectName
from pyoci.errors import NotFound, ProtocolError, PyOCIError, RateLimited, Unreachable
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Basic
from pyoci.oci.errors import RegistryUnauthorized
from pyoci.oci.models import DOCKER_LIST, DOCKER_MANIFEST, IMAGE_INDEX, IMAGE_MANIFEST, Document
from pyoci.oci.references import Tag
from pyoci.oci.session import Gateway
from pyoci.store.lookup import Lookup, Rules
from pyoci.store.marker import MARKER_TAG, marker
from pyoci.store.models import ForeignPage, ProjectPage, Root
from pyoci.store.service import PackageStore
from pyoci.store.state import Freshness
from tests.builders import make_wheel
from tests.registry import TestRegistry, make_namespace, make_repository
from tests.store.shelf import HELLO, NOBODY, make_upload, publish_wheel
from tests.stores import make_cache, make_store, page_of
from tests.upstream_pages import make_upstream_page

ACME = make_namespace()


@dataclass
class PackageIndex:
    """An upstream that has every project except those in `lacks`. `asked` has the requested names."""

    lacks: str = ""
    failure: PyOCIError | None = None
    until: float = float("inf")
    asked: list[str] = field(default_factory=list)
    versions: Any = field(default_factory=itertools.count)

    def page(self, name: str, *, fresh: bool = False) -> Any:
        self.asked.append(f"{name} anew" if fresh else name)
        if self.failure is not None:
            raise self.failure
        if name == self.lacks:
            raise NotFound("upstream has none")
        return make_upstream_page(name, until=self.until)


class OneName:
    """A list with one private name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def covers(self, name: str) -> bool:
        return name == self.name


@pytest.fixture
def elsewhere() -> PackageIndex:
    return PackageIndex()


@pytest.fixture
def store(registry: TestRegistry, elsewhere: PackageIndex) -> PackageStore:
    return registry.store(upstream=elsewhere)


def find(store: PackageStore, name: ProjectName = HELLO, **options: Any) -> ProjectPage | Root | ForeignPage:
    return store.find(ACME, name, options.pop("caller", NOBODY), **options)


class TestWhoHasIt:
    def test_the_registry_alone(self, store: PackageStore, elsewhere: PackageIndex) -> None:
        """A page of the registry never has files of another project of the same name."""
        publish_wheel(store, "1.0")
        assert isinstance(found := find(store), ProjectPage)
        assert [str(version) for version in found.versions] == ["1.0"]
        assert elsewhere.asked == []

    @pytest.mark.parametrize("listed", [b'{"tags": []}', b'{"tags": null}'])
    def test_an_empty_list_of_tags_is_no_absence(
        self, registry: TestRegistry, elsewhere: PackageIndex, listed: bytes
    ) -> None:
        """olareg sends one, with 200, for repositories that it hasn't."""
        registry.answers = {"tags/list": (listed, {"Content-Type": "application/json"})}
        assert isinstance(found := find(registry.store(upstream=elsewhere)), ProjectPage)
        assert found.files == ()
        assert elsewhere.asked == []

    def test_upstream_where_the_registry_lacks_it(self, store: PackageStore, elsewhere: PackageIndex) -> None:
        """The embedded registry without passwords lets everyone in, so its 404 is conclusive."""
        assert isinstance(found := find(store), ForeignPage)
        assert found.page.name == "hello-world"
        assert elsewhere.asked == ["hello-world"]

    def test_nobody(self, store: PackageStore, elsewhere: PackageIndex) -> None:
        """The error is that for a project which is absent here."""
        elsewhere.lacks = "hello-world"
        with pytest.raises(NotFound, match="there is no project hello-world here"):
            find(store)

    def test_a_root_before_upstream(self, store: PackageStore, elsewhere: PackageIndex) -> None:
        """The name of a namespace is not sent to upstream."""
        below = make_namespace("acme/below")
        store.publish(below, make_upload(*make_wheel()), NOBODY)
        assert find(store, ProjectName.parse("below"), below=below) == Root((HELLO,))
        assert elsewhere.asked == []

    def test_a_namespace_of_namespaces_before_upstream(
        self, store: PackageStore, elsewhere: PackageIndex
    ) -> None:
        """It has no projects itself, but it is a namespace: its name is not sent."""
        inner = make_namespace("acme/below/inner")
        store.publish(inner, make_upload(*make_wheel()), NOBODY)
        below = make_namespace("acme/below")
        with pytest.raises(NotFound):
            find(store, ProjectName.parse("below"), below=below)
        assert store.absence(ACME, ProjectName.parse("below"), NOBODY, below=below) is None
        assert elsewhere.asked == []

    @pytest.mark.parametrize("strict", [False, True], ids=["sorted", "zot"])
    @pytest.mark.parametrize(
        ("status", "code"),
        [(500, "UNKNOWN"), (503, "UNAVAILABLE"), (504, "UNKNOWN"), (429, "TOOMANYREQUESTS"), (200, "")],
    )
    def test_a_list_that_fails_for_a_moment(
        self, registry: TestRegistry, elsewhere: PackageIndex, status: int, code: str, *, strict: bool
    ) -> None:
        """It doesn't say that there is no namespace, so the name is not sent, then and later, neither to
        upstream nor to another service. Without these nothing depends on it.
        """
        registry.strict = strict
        store = registry.store(upstream=elsewhere)
        store.publish(make_namespace("acme/below"), make_upload(*make_wheel()), NOBODY)
        name, below = ProjectName.parse("below"), make_namespace("acme/below")
        if status == 200:
            registry.answers = {"_catalog": (b"<html>", {"Content-Type": "text/html"})}
        else:
            registry.refuse = {"_catalog": (status, code)}
        for act in (find, find, lambda *_, **below: store.absence(ACME, name, NOBODY, **below)):
            with pytest.raises((ProtocolError, Unreachable, RateLimited)):
                act(store, name, below=below)
        telling = registry.store(rules=Rules(tells_others=True))
        with pytest.raises((ProtocolError, Unreachable, RateLimited)):
            telling.absence(ACME, name, NOBODY, below=below)
        plain = registry.store()
        with pytest.raises(NotFound):
            find(plain, name, below=below)
        assert plain.absence(ACME, name, NOBODY, below=below) is not None
        registry.refuse, registry.answers = {}, {}
        assert find(store, name, below=below) == Root((HELLO,))
        assert elsewhere.asked == []

    @pytest.mark.parametrize(
        ("status", "code"),
        [(401, "UNAUTHORIZED"), (403, "DENIED"), (404, "NAME_UNKNOWN"), (405, "UNSUPPORTED"), (400, "X")],
    )
    def test_a_registry_that_lists_nothing_to_this_caller(
        self, registry: TestRegistry, elsewhere: PackageIndex, status: int, code: str
    ) -> None:
        """Docker Hub and ghcr.io: docs/upstream.rst says what that means for the names of namespaces."""
        registry.refuse = {"_catalog": (status, code)}
        store = registry.store(upstream=elsewhere)
        below = make_namespace("acme/below")
        assert isinstance(find(store, ProjectName.parse("below"), below=below), ForeignPage)

    @pytest.mark.parametrize("quirk", ["strict", "heedless"])
    def test_a_root_before_upstream_at_zot(
        self, registry: TestRegistry, elsewhere: PackageIndex, quirk: str
    ) -> None:
        """zot can begin its list of repositories only after existing names. The list is then read from its
        start, once a minute for each caller instead of once for each dependency.
        """
        setattr(registry, quirk, True)
        store = registry.store(upstream=elsewhere)
        store.publish(make_namespace("acme/below"), make_upload(*make_wheel()), NOBODY)
        for _ in range(2):
            below = find(store, ProjectName.parse("below"), below=make_namespace("acme/below"))
            assert below == Root((HELLO,))
        assert elsewhere.asked == []
        find(store, ProjectName.parse("first"), below=make_namespace("acme/first"))
        registry.calls.clear()
        dependencies = [f"dependency{number}" for number in range(5)]
        for name in dependencies:
            find(store, ProjectName.parse(name), below=make_namespace(f"acme/{name}"))
        assert elsewhere.asked == ["first", *dependencies]
        assert registry.calls.count("GET _catalog") == 5
        somebody = Basic("user", "secret")
        find(store, ProjectName.parse("other"), below=make_namespace("acme/other"), caller=somebody)
        assert registry.calls.count("GET _catalog") == 7

    def test_a_list_is_remembered_no_longer_than_the_operator_says(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """PYOCI_CACHE_TTL=0: a new namespace is visible at once."""
        registry.strict = True
        store = registry.store(upstream=elsewhere, cache=make_cache(freshness=Freshness(0, 0)))
        below = make_namespace("acme/below")
        assert isinstance(find(store, ProjectName.parse("below"), below=below), ForeignPage)
        registry.store().publish(below, make_upload(*make_wheel()), NOBODY)
        assert find(store, ProjectName.parse("below"), below=below) == Root((HELLO,))

    def test_failing_upstream_is_an_error(self, store: PackageStore, elsewhere: PackageIndex) -> None:
        """It isn't a 404, after which a client would continue without the project, or with another package
        index.
        """
        elsewhere.failure = Unreachable("upstream is down")
        with pytest.raises(Unreachable):
            find(store)
        publish_wheel(store, "1.0")
        assert isinstance(find(store), ProjectPage)

    def test_uploads_and_downloads_ask_nobody_else(
        self, store: PackageStore, elsewhere: PackageIndex
    ) -> None:
        """Private names are not sent to upstream."""
        filename, _ = make_wheel(version="2.0")
        for act in (
            lambda: store.describe(ACME, HELLO, filename, NOBODY),
            lambda: store.open(ACME, HELLO, filename, NOBODY),
            lambda: store.metadata(ACME, HELLO, filename, NOBODY),
            lambda: store.delete(ACME, HELLO, "2.0", NOBODY),
            lambda: store.yank(ACME, HELLO, "2.0", "", NOBODY),
            lambda: page_of(store, ACME, HELLO, NOBODY),
        ):
            with pytest.raises(NotFound):
                act()
        publish_wheel(store, "1.0")
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "UNAUTHORIZED"),
        (403, "DENIED"),
        (403, "NAME_UNKNOWN"),
        (404, "DENIED"),
        (404, "MANIFEST_UNKNOWN"),
        (404, ""),
        (405, "UNSUPPORTED"),
        (429, "TOOMANYREQUESTS"),
        (500, "UNKNOWN"),
        (502, "NAME_UNKNOWN"),
        (503, "UNAVAILABLE"),
        (504, "NAME_UNKNOWN"),
    ],
)
def test_upstream_is_asked_only_after_a_conclusive_absence(
    registry: TestRegistry, store: PackageStore, elsewhere: PackageIndex, status: int, code: str
) -> None:
    """Any other answer of the registry goes to the caller."""
    registry.refuse = {"tags/list": (status, code)}
    with pytest.raises(PyOCIError) as refused:
        find(store)
    assert isinstance(refused.value, NotFound) is (status == 404)
    assert elsewhere.asked == []


def test_absence_from_a_failing_registry_is_not_conclusive(
    registry: TestRegistry, store: PackageStore, elsewhere: PackageIndex
) -> None:
    """The registry answers that the project is unknown, but `GET /v2/` fails."""
    for status, kind in ((503, ProtocolError), (429, RateLimited), (504, Unreachable)):
        registry.refuse = {"^GET $": (status, "UNAVAILABLE"), "tags/list": (404, "NAME_UNKNOWN")}
        with pytest.raises(kind):
            find(store)
    registry.refuse["^GET $"] = (401, "UNAUTHORIZED")
    with pytest.raises(NotFound):
        find(store)
    assert elsewhere.asked == []


class TestWhatExists:
    def test_what_was_emptied(
        self, registry: TestRegistry, store: PackageStore, elsewhere: PackageIndex
    ) -> None:
        """Upstream isn't asked for it, even if the registry says that there is no such repository."""
        publish_wheel(store, "1.0")
        store.delete(ACME, HELLO, "1.0", NOBODY)
        registry.refuse = {"tags/list": (404, "NAME_UNKNOWN")}
        with pytest.raises(NotFound):
            find(store, fresh=True)
        assert elsewhere.asked == []

    @pytest.mark.parametrize("later", [False, True], ids=["with-upstream", "upstream-switched-on-later"])
    def test_what_was_emptied_and_nobody_remembers(
        self, registry: TestRegistry, elsewhere: PackageIndex, *, later: bool
    ) -> None:
        """Registries forget a repository without tags; the project's marker stays."""
        registry.forgetful = True
        store = registry.store() if later else registry.store(upstream=elsewhere)
        for version in ("1.0", "2.0"):
            publish_wheel(store, version)
        for version in ("1.0", "2.0"):
            store.delete(ACME, HELLO, version, NOBODY)
        assert registry.session().tags(make_repository()) == ("0--pyoci",)
        assert isinstance(found := find(registry.store(upstream=elsewhere)), ProjectPage)
        assert found.files == ()
        assert elsewhere.asked == []
        publish_wheel(store, "2.0")
        assert isinstance(found := find(store), ProjectPage)
        assert len(found.files) == 1

    @pytest.mark.parametrize("refused", ["", "DELETE .*/manifests/[0-9]"], ids=["by-tag", "by-digest"])
    @pytest.mark.parametrize("shared", [True, False], ids=["one-server", "servers-that-share-nothing"])
    def test_what_was_emptied_by_two_at_once(
        self, registry: TestRegistry, elsewhere: PackageIndex, refused: str, *, shared: bool
    ) -> None:
        """Each sees the other's version before it deletes its own."""
        registry.forgetful = True
        store = registry.store()
        other = store if shared else registry.store()
        versions = ("1.0", "2.0")
        for version in versions:
            publish_wheel(store, version)
        both, seen = threading.Barrier(2), threading.local()
        if refused:
            registry.refuse = {refused: (400, "UNSUPPORTED")}

        def meet(line: str) -> None:
            if line.startswith("DELETE") and not hasattr(seen, "met"):
                seen.met = True
                both.wait(30)

        registry.before = meet
        with ThreadPoolExecutor(2) as pool:
            deletes = [
                pool.submit(each.delete, ACME, HELLO, version, NOBODY)
                for each, version in zip((store, other), versions, strict=True)
            ]
            for delete in deletes:
                delete.result(60)
        assert not any(registry.exists(version) for version in versions)
        assert isinstance(find(registry.store(upstream=elsewhere)), ProjectPage)
        assert elsewhere.asked == []

    def test_what_was_emptied_by_a_killed_process(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """The marker is written before anything is removed."""
        publish_wheel(registry.store())
        tags: list[tuple[str, ...]] = []

        def look(line: str) -> None:
            if line.startswith("DELETE") and "/manifests/" in line:
                tags.append(registry.session().tags(make_repository()))

        registry.before = look
        registry.store().delete(ACME, HELLO, "1.0", NOBODY)
        assert tags[0] == ("0--pyoci", "1.0")
        assert all("0--pyoci" in listed for listed in tags)

    def test_nothing_is_removed_without_a_marker(self, registry: TestRegistry, store: PackageStore) -> None:
        """A registry that refuses the marker keeps the version."""
        publish_wheel(store, "1.0")
        registry.refuse = {"PUT .*/manifests/0--pyoci": (403, "DENIED")}
        with pytest.raises(RegistryUnauthorized, match="0--pyoci"):
            store.delete(ACME, HELLO, "1.0", NOBODY)
        assert registry.exists("1.0")

    def test_what_another_caller_was_shown(self, registry: TestRegistry, elsewhere: PackageIndex) -> None:
        """By another process that shares the cache."""
        backend = MemoryBackend()
        one, other = (
            registry.store(cache=make_cache(backend), upstream=upstream) for upstream in (None, elsewhere)
        )
        publish_wheel(registry.store(), "1.0")
        page_of(one, ACME, HELLO, Basic("user", "secret"))
        registry.refuse = {"tags/list": (404, "NAME_UNKNOWN")}
        with pytest.raises(NotFound, match="there is no project hello-world here"):
            find(other)
        assert elsewhere.asked == []

    def test_an_existing_project_is_announced_again(self) -> None:
        """A project that is read every day is announced to the backend again each hour."""
        now, backend = [0.0], MemoryBackend()
        repository = make_repository()
        cache = make_cache(backend, clock=lambda: now[0]).of(repository)
        cache.access.set_existing()
        backend.discard(f"existing\0{cache.key}")
        cache.access.set_existing()
        assert not make_cache(backend).of(repository).access.has_existed()
        now[0] += 3600.0
        cache.access.set_existing()
        assert make_cache(backend).of(repository).access.has_existed()

    def test_a_repository_without_versions(
        self, registry: TestRegistry, store: PackageStore, elsewhere: PackageIndex
    ) -> None:
        """It exists, because the registry answers for it."""
        registry.put_blob(b"a layer of something else")
        assert isinstance(found := find(store), ProjectPage | ForeignPage)
        registry.put("latest", {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": []})
        elsewhere.asked.clear()
        assert isinstance(found := find(store, fresh=True), ProjectPage)
        assert found.files == ()
        assert elsewhere.asked == []


OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


def make_image(
    registry: TestRegistry, tag: str, config: str = OCI_CONFIG, kind: str = IMAGE_MANIFEST, **changes: Any
) -> Document:
    """A container image under a tag of hello-world."""
    blob = registry.put_blob(b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config, "digest": str(blob), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": str(blob), "size": 2}],
    }
    return registry.put(tag, manifest | changes)


def make_image_for_platforms(
    registry: TestRegistry, tag: str, *children: Document, kind: str = IMAGE_INDEX, **changes: Any
) -> None:
    """An image index over some manifests."""
    entries = [
        {"mediaType": child.media_type, "digest": str(child.digest), "size": len(child.body)}
        for child in children
    ]
    registry.put(tag, {"schemaVersion": 2, "mediaType": kind, "manifests": entries, **changes})


class TestImages:
    """A namespace may contain container images, too, which are not projects."""

    @pytest.mark.parametrize(
        "fill",
        [
            pytest.param(lambda registry: make_image(registry, "latest"), id="oci"),
            pytest.param(lambda registry: make_image(registry, "7.2", DOCKER_CONFIG), id="like-a-version"),
            pytest.param(
                lambda registry: make_image(registry, "latest", DOCKER_CONFIG, DOCKER_MANIFEST), id="docker"
            ),
            pytest.param(
                lambda registry: make_image_for_platforms(registry, "7.2", make_image(registry, "amd64")),
                id="platforms",
            ),
            pytest.param(
                lambda registry: make_image_for_platforms(
                    registry,
                    "latest",
                    make_image(registry, "amd64", DOCKER_CONFIG, DOCKER_MANIFEST),
                    kind=DOCKER_LIST,
                ),
                id="docker-platforms",
            ),
        ],
    )
    def test_are_no_project(
        self, registry: TestRegistry, elsewhere: PackageIndex, fill: Callable[[TestRegistry], object]
    ) -> None:
        """The page is a 404, or comes from upstream."""
        fill(registry)
        with pytest.raises(NotFound, match="there is no project hello-world here"):
            find(registry.store())
        store = registry.store(upstream=elsewhere)
        for fresh in (False, False, True):
            assert isinstance(find(store, fresh=fresh), ForeignPage)
        publish_wheel(store, "1.0")
        assert isinstance(find(store), ProjectPage)

    @pytest.mark.parametrize(
        "fill",
        [
            pytest.param(lambda registry: make_image(registry, "1", "application/helm"), id="config"),
            pytest.param(
                lambda registry: make_image(registry, "1", annotations={"com.pyoci.x": ""}), id="annotation"
            ),
            pytest.param(
                lambda registry: make_image(registry, "1", artifactType="application/pyoci.package.v1"),
                id="type",
            ),
            pytest.param(
                lambda registry: make_image_for_platforms(
                    registry, "1", make_image(registry, "2"), annotations={"com.pyoci.x": ""}
                ),
                id="annotation-of-the-index",
            ),
            pytest.param(
                lambda registry: make_image_for_platforms(
                    registry, "1", make_image(registry, "2", "application/helm")
                ),
                id="other-manifest",
            ),
            pytest.param(lambda registry: make_image_for_platforms(registry, "1"), id="no-manifest"),
            pytest.param(
                lambda registry: registry.session().push(
                    make_repository(), MARKER_TAG, Document.of(marker(datetime.now(UTC)))
                ),
                id="marker",
            ),
            pytest.param(
                lambda registry: [make_image(registry, f"tag{number}") for number in range(100)], id="many"
            ),
            pytest.param(
                lambda registry: registry.refuse.update({"manifests/latest": (403, "DENIED")}), id="denied"
            ),
            pytest.param(
                lambda registry: registry.refuse.update({"manifests/latest": (404, "MANIFEST_UNKNOWN")}),
                id="gone",
            ),
        ],
    )
    def test_unclear_content_is_a_project(
        self, registry: TestRegistry, elsewhere: PackageIndex, fill: Callable[[TestRegistry], object]
    ) -> None:
        """Also beside an image."""
        make_image(registry, "latest")
        fill(registry)
        store = registry.store(upstream=elsewhere)
        for _ in range(2):
            assert isinstance(found := find(store), ProjectPage)
            assert found.files == ()
        assert elsewhere.asked == []

    def test_what_was_ever_a_project_here_stays_one(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """Even if its versions were deleted elsewhere and an image was pushed there."""
        store = registry.store(upstream=elsewhere)
        publish_wheel(store, "1.0")
        registry.session().delete(make_repository(), Tag.parse("1.0"))
        make_image(registry, "latest")
        assert isinstance(find(store, fresh=True), ProjectPage)
        assert elsewhere.asked == []

    def test_a_failing_registry_is_an_error(self, registry: TestRegistry, elsewhere: PackageIndex) -> None:
        """It neither proves nor excludes that there is a project."""
        store = registry.store(upstream=elsewhere)
        make_image(registry, "latest")
        registry.refuse = {"manifests/latest": (503, "UNAVAILABLE")}
        with pytest.raises(ProtocolError):
            find(store)
        assert elsewhere.asked == []
        registry.refuse = {}
        assert isinstance(find(store), ForeignPage)

    def test_are_read_once_a_minute(self, registry: TestRegistry, elsewhere: PackageIndex) -> None:
        """For all callers to whom the registry lists the same tags."""
        make_image(registry, "latest")
        store = registry.store(upstream=elsewhere)
        for name in ("anna", "otto"):
            find(store, caller=Basic(name, "secret"))
        assert registry.calls.count("GET acme/hello_world/manifests/latest") == 1
        make_image(registry, "1.0", "application/helm")
        assert isinstance(find(store, caller=Basic("eve", "secret")), ProjectPage)

    def test_hide_no_project_behind_an_alias(self, registry: TestRegistry, store: PackageStore) -> None:
        """A repository of images counts as absent: the index above is asked next."""
        make_image(registry, "latest")
        for _ in range(2):
            assert store.absence(ACME, HELLO, NOBODY) is not None
        publish_wheel(store, "1.0")
        assert store.absence(ACME, HELLO, NOBODY) is None


class TestRules:
    def test_private_names_stay_here(self, registry: TestRegistry, elsewhere: PackageIndex) -> None:
        """For any answer of the registry, and any caller."""
        rules = Rules(OneName("hello-world"), on_denied=True)
        store = registry.store(upstream=elsewhere, rules=rules)
        for status, code in ((404, "NAME_UNKNOWN"), (401, "UNAUTHORIZED"), (403, "DENIED")):
            registry.refuse = {"tags/list": (status, code)}
            with pytest.raises(PyOCIError):
                find(store)
        assert elsewhere.asked == []

    @pytest.mark.parametrize(
        ("status", "code"),
        [(401, "UNAUTHORIZED"), (403, "DENIED"), (404, "DENIED"), (404, "")],
    )
    def test_a_denial_counts_as_absence_with_on_denied(
        self, registry: TestRegistry, elsewhere: PackageIndex, status: int, code: str
    ) -> None:
        """Docker Hub answers 401 for what doesn't exist. The answer isn't remembered."""
        store = registry.store(upstream=elsewhere, rules=Rules(on_denied=True))
        registry.refuse = {"tags/list": (status, code)}
        for _ in range(2):
            assert isinstance(found := find(store), ForeignPage)
            assert found.validity is None
        assert len([call for call in registry.calls if "tags/list" in call]) >= 2

    @pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "DENIED"), (404, "DENIED")])
    def test_a_denial_is_raised_if_upstream_has_none(
        self, registry: TestRegistry, elsewhere: PackageIndex, status: int, code: str
    ) -> None:
        """After a 401 a client sends credentials. A name that exists nowhere gets the same refusal as one
        that is hidden here.
        """
        elsewhere.lacks = "hello-world"
        registry.refuse = {"tags/list": (status, code)}
        refusals = []
        for upstream in (None, elsewhere):
            store = registry.store(upstream=upstream, rules=Rules(on_denied=True))
            with pytest.raises(PyOCIError) as refused:
                find(store)
            refusals.append((type(refused.value), refused.value.message))
        assert refusals[0] == refusals[1]
        assert elsewhere.asked == ["hello-world"]

    def test_404_of_a_web_server_is_no_absence(self, elsewhere: PackageIndex) -> None:
        """Load balancers answer 404 to everything."""

        def balancer(environ: Any, start_response: Any) -> list[bytes]:
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "18")])
            return [b"404 page not found"]

        gateway = Gateway(Transport(embedded=balancer, sleep=lambda _: None), ttl=60)
        with pytest.raises(NotFound):
            find(make_store(gateway, upstream=elsewhere, rules=Rules(on_denied=True)))
        assert elsewhere.asked == []

    def test_a_wrong_password_is_reported(self, elsewhere: PackageIndex) -> None:
        """A wrong password and an expired token are reported; they don't mean that the project is absent."""
        refusal = RegistryUnauthorized("host answered 401 when asked to sign in")
        refusal.status, refusal.wrong_credentials = 401, True

        def refused() -> tuple[ProjectName, ...]:
            raise refusal

        pages: Any = SimpleNamespace(page=lambda *_, **__: refused())
        lookup, repository = Lookup(pages, elsewhere, Rules(on_denied=True)), make_repository()
        project: Any = SimpleNamespace(
            cache=make_cache().of(repository),
            repository=repository,
            name=HELLO,
            caller_key="somebody",
            session=None,
        )
        with pytest.raises(RegistryUnauthorized):
            lookup.find(project, tuple)
        refusal.wrong_credentials = False
        assert isinstance(lookup.find(project, tuple), ForeignPage)

    @pytest.mark.parametrize("status", [402, 429, 451, 500, 503, 504])
    def test_other_refusals_are_no_absence(
        self, registry: TestRegistry, elsewhere: PackageIndex, status: int
    ) -> None:
        """A registry that is down, or limits the rate, has not denied anything."""
        store = registry.store(upstream=elsewhere, rules=Rules(on_denied=True))
        registry.refuse = {"tags/list": (status, "DENIED")}
        with pytest.raises(PyOCIError):
            find(store)
        assert elsewhere.asked == []

    def test_a_denial_of_an_existing_project_is_raised(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """A caller without access doesn't get another project of the same name."""
        store = registry.store(upstream=elsewhere, rules=Rules(on_denied=True))
        publish_wheel(store, "1.0")
        registry.refuse = {"tags/list": (401, "UNAUTHORIZED")}
        with pytest.raises(PyOCIError):
            find(store, caller=Basic("user", "secret"))
        assert elsewhere.asked == []


class TestRemembering:
    def test_an_absence_counts_for_a_minute(
        self, registry: TestRegistry, store: PackageStore, elsewhere: PackageIndex
    ) -> None:
        """For the caller who got it. With `fresh` the registry and upstream are asked again."""
        find(store)
        registry.calls.clear()
        find(store)
        assert registry.calls == []
        find(store, fresh=True)
        assert elsewhere.asked == ["hello-world", "hello-world", "hello-world anew"]
        assert registry.calls == ["GET acme/hello_world/tags/list"]
        find(store, caller=Basic("user", "secret"))
        assert registry.calls.count("GET acme/hello_world/tags/list") == 2

    def test_not_at_all_where_the_operator_says_so(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """PYOCI_CACHE_TTL=0."""
        store = registry.store(upstream=elsewhere, cache=make_cache(freshness=Freshness(0, 0)))
        assert isinstance(found := find(store), ForeignPage)
        assert found.validity is None
        find(store)
        assert registry.calls.count("GET acme/hello_world/tags/list") == 2

    def test_a_publication_ends_it(self, registry: TestRegistry, elsewhere: PackageIndex) -> None:
        """At once, also of another process that shares the cache."""
        backend = MemoryBackend()
        store, other = (registry.store(cache=make_cache(backend), upstream=elsewhere) for _ in range(2))
        assert isinstance(found := find(store), ForeignPage)
        assert found.validity is not None
        assert store.is_valid(found.validity)
        publish_wheel(other, "1.0")
        assert not store.is_valid(found.validity)
        assert isinstance(find(store), ProjectPage)

    def test_a_request_after_it_does_not_share_an_older_answer(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """A 404 that is under way when the project is published counts only for the caller who asked."""
        backend = MemoryBackend()
        store, other = (registry.store(cache=make_cache(backend), upstream=elsewhere) for _ in range(2))
        asked, go_on = threading.Event(), threading.Event()

        def hold(line: str) -> None:
            if line.endswith("tags/list") and not asked.is_set():
                asked.set()
                go_on.wait(30)

        registry.before = hold
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(find, store)
            try:
                assert asked.wait(30)
                publish_wheel(other, "1.0")
                assert isinstance(find(store), ProjectPage)
                assert not first.done()
            finally:
                go_on.set()
            assert isinstance(first.result(), ProjectPage)

    def test_a_page_that_another_caller_was_shown_ends_it(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """The project was published without this cache. From then on it exists for every caller."""
        backend = MemoryBackend()
        store, other = (registry.store(cache=make_cache(backend), upstream=elsewhere) for _ in range(2))
        validities = []
        for _ in range(2):
            found = find(store)
            assert isinstance(found, ForeignPage)
            validities.append(found.validity)
        publish_wheel(registry.store(), "1.0")
        assert isinstance(find(other, caller=Basic("user", "secret")), ProjectPage)
        assert isinstance(find(store), ProjectPage)
        assert not any(validity and store.is_valid(validity) for validity in validities)

    def test_a_publication_of_another_project_does_not(
        self, store: PackageStore, registry: TestRegistry
    ) -> None:
        """A write to another repository doesn't end it."""
        find(store)
        for number in range(20):
            store.publish(ACME, make_upload(*make_wheel(f"neighbour{number}")), NOBODY)
        registry.calls.clear()
        assert isinstance(found := find(store), ForeignPage)
        assert registry.calls == []
        assert found.validity is not None
        assert store.is_valid(found.validity)

    def test_validity_ends_with_upstreams_page(self, store: PackageStore, elsewhere: PackageIndex) -> None:
        """Then upstream has to be asked again."""
        elsewhere.until = 0.0
        assert isinstance(found := find(store), ForeignPage)
        assert found.validity is not None
        assert not store.is_valid(found.validity)


def test_rate_limits_keep_their_wait(registry: TestRegistry, store: PackageStore) -> None:
    """The caller gets the registry's own refusal."""
    registry.refuse = {"tags/list": (429, "TOOMANYREQUESTS")}
    with pytest.raises(RateLimited):
        find(store)


class TestAbsence:
    """The registry's answers after which another address is tried."""

    def test_a_conclusive_absence(self, store: PackageStore) -> None:
        """It is remembered until the project is published."""
        found = store.absence(ACME, HELLO, NOBODY)
        assert found is not None
        assert found.validity is not None
        assert store.is_valid(found.validity)
        publish_wheel(store, "1.0")
        assert not store.is_valid(found.validity)
        assert store.absence(ACME, HELLO, NOBODY) is None

    def test_without_upstream(self, registry: TestRegistry) -> None:
        """Upstream isn't needed for it."""
        store = registry.store()
        for _ in range(2):
            assert store.absence(ACME, HELLO, NOBODY) is not None
        assert registry.calls.count("GET acme/hello_world/tags/list") == 1
        assert store.absence(ACME, HELLO, NOBODY, fresh=True) is not None
        assert registry.calls.count("GET acme/hello_world/tags/list") == 2

    def test_not_remembered_where_the_operator_says_so(self, registry: TestRegistry) -> None:
        """PYOCI_CACHE_TTL=0."""
        store = registry.store(cache=make_cache(freshness=Freshness(0, 0)))
        found = store.absence(ACME, HELLO, NOBODY)
        assert found is not None
        assert found.validity is None

    @pytest.mark.parametrize(
        ("status", "code"),
        [(401, "UNAUTHORIZED"), (403, "DENIED"), (404, "DENIED"), (404, ""), (429, ""), (500, ""), (503, "")],
    )
    def test_any_other_answer_is_raised(self, registry: TestRegistry, status: int, code: str) -> None:
        """The caller gets it."""
        registry.refuse = {"tags/list": (status, code)}
        with pytest.raises(PyOCIError):
            registry.store().absence(ACME, HELLO, NOBODY)

    def test_a_project_that_existed_is_not_absent(self, registry: TestRegistry, store: PackageStore) -> None:
        """Even if the registry says that it is gone."""
        publish_wheel(store, "1.0")
        registry.refuse = {"tags/list": (404, "NAME_UNKNOWN")}
        with pytest.raises(NotFound):
            store.absence(ACME, HELLO, NOBODY, fresh=True)

    def test_a_namespace_with_the_same_address_is_not_absent(self, store: PackageStore) -> None:
        """If it has projects."""
        below = make_namespace("acme/below")
        store.publish(below, make_upload(*make_wheel()), NOBODY)
        assert store.absence(ACME, ProjectName.parse("below"), NOBODY, below=below) is None

    def test_a_private_name_that_is_known_to_be_absent_stays_here(
        self, registry: TestRegistry, elsewhere: PackageIndex
    ) -> None:
        """An absence that was remembered for an alias doesn't let a private name go to upstream."""
        store = registry.store(upstream=elsewhere, rules=Rules(OneName("hello-world")))
        assert store.absence(ACME, HELLO, NOBODY) is not None
        with pytest.raises(NotFound):
            find(store)
        assert elsewhere.asked == []

    def test_a_project_that_stays_inside(self, store: PackageStore, elsewhere: PackageIndex) -> None:
        """Where upstream is not to be asked, remembered or not."""
        for _ in range(2):
            with pytest.raises(NotFound):
                find(store, ask_upstream=False)
            store.absence(ACME, HELLO, NOBODY)
        assert elsewhere.asked == []

    def test_what_comes_after_it_ends_with_it(self, registry: TestRegistry, store: PackageStore) -> None:
        """The registry's or upstream's page is valid as long as both it and the absence are."""
        publish_wheel(store, "1.0")
        simple = make_namespace("acme/simple")
        for name in (HELLO, ProjectName.parse("flask")):
            after = store.absence(simple, name, NOBODY)
            found = find(store, name, after=after)
            assert isinstance(found, ProjectPage | ForeignPage)
            assert found.validity is not None
            assert store.is_valid(found.validity)
            store.publish(simple, make_upload(*make_wheel(str(name))), NOBODY)
            assert not store.is_valid(found.validity)

    def test_a_denial_where_the_operator_says_so(self, registry: TestRegistry) -> None:
        """It counts as absence, like for upstream. Neither it nor the answer after it is remembered."""
        store = registry.store(rules=Rules(on_denied=True))
        publish_wheel(registry.store(), "1.0")
        registry.refuse = {"acme/simple/hello_world/tags/list": (401, "UNAUTHORIZED")}
        after = store.absence(make_namespace("acme/simple"), HELLO, NOBODY)
        assert after is not None
        assert after.validity is None
        assert isinstance(found := find(store, after=after), ProjectPage)
        assert found.validity is None
