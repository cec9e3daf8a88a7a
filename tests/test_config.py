"""Settings: valid values, and all mistakes in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyoci.cache.address import CacheAddress
from pyoci.config import Settings, WrongSettings
from pyoci.config.values import LogLevels, cores, default_threads, default_workers
from pyoci.distributions.names import PrivateProjects
from pyoci.errors import Denied, NotFound
from pyoci.oci.registries import ShortUrl
from pyoci.upstream.address import FileHosts, UpstreamAddress

VALUES: list[tuple[str, str, str, Any]] = [
    ("PORT", "9000", "port", 9000),
    ("PORT", "", "port", 8080),
    ("PYOCI_PATH", "/packages/", "path", "/packages"),
    ("PYOCI_PATH", "/", "path", ""),
    ("PYOCI_PATH", "//", "path", ""),
    ("PYOCI_MAX_BODY", "1000", "max_body", 1000),
    ("PYOCI_MAX_VERSIONS", "0", "max_versions", 0),
    ("PYOCI_BEARER_USERNAME", "__token__", "bearer_username", "__token__"),
    ("PYOCI_CATALOG", "pyoci.catalog", "catalog", "pyoci.catalog"),
    ("PYOCI_CATALOG", "", "catalog", ""),
    ("PYOCI_HOST_CONNECTIONS", "4", "host_connections", 4),
    ("PYOCI_CACHE_URL", "file://", "cache", CacheAddress()),
    ("PYOCI_CACHE_URL", "file:///a%20b/c", "cache", CacheAddress(directory=Path("/a b/c"))),
    ("PYOCI_CACHE_TTL_OLD", "60", "cache_ttl_old", 60),
    (
        "PYOCI_UPSTREAM_INDEX",
        "https://me:pw@host:8443/simple/",
        "upstream",
        UpstreamAddress("https://host:8443/simple/", "Basic bWU6cHc="),
    ),
    ("PYOCI_UPSTREAM_ON_DENIED", "yes", "upstream_on_denied", True),
    ("PYOCI_UPSTREAM_FILES", "direct", "upstream_files", False),
    ("PYOCI_UPSTREAM_FILES_DIR", "/a/files", "upstream_files_dir", Path("/a/files")),
    ("PYOCI_UPSTREAM_FILES_BYTES", "5000", "upstream_files_bytes", 5000),
    (
        "PYOCI_UPSTREAM_FILE_HOSTS",
        "files.example, files.example:8443, http://10.0.0.5",
        "upstream_file_hosts",
        FileHosts(
            frozenset(
                {
                    ("https", "files.example", 443),
                    ("https", "files.example", 8443),
                    ("http", "10.0.0.5", 80),
                }
            )
        ),
    ),
    ("PYOCI_OSV_URL", "https://api.osv.dev", "osv_url", "https://api.osv.dev/"),
    ("PYOCI_OSV_URL", "http://10.0.0.5:8080/osv/", "osv_url", "http://10.0.0.5:8080/osv/"),
    ("PYOCI_PRIVATE_PROJECTS", "Acme_*, tool", "private_projects", PrivateProjects(("acme-*", "tool"))),
    ("WEB_CONCURRENCY", "3", "workers", 3),
    ("PYOCI_THREADS", "8", "threads", 8),
    ("PYOCI_LOG", "debug", "log", LogLevels("debug")),
    ("PYOCI_LOG", "pyoci.oci=debug,info", "log", LogLevels("info", {"oci": "debug"})),
    ("PYOCI_LOG", "pyoci=warn", "log", LogLevels("info", {"": "warning"})),
    ("PYOCI_LOG_USER", "no", "log_user", False),
    ("RUST_LOG", "pyoci::oci=trace,info", "log", LogLevels("info", {"oci": "debug"})),
    ("HTTPS_PROXY", "http://proxy:3128", "proxies", {"https": "http://proxy:3128"}),
    ("NO_PROXY", "localhost", "no_proxy", "localhost"),
    ("SSL_CERT_FILE", __file__, "ca_bundle", __file__),
]


@pytest.mark.parametrize(("name", "text", "field", "value"), VALUES, ids=[f"{v[0]}={v[1]}" for v in VALUES])
def test_a_variable_sets_its_field(name: str, text: str, field: str, value: Any) -> None:
    """An empty variable is an unset one."""
    assert getattr(Settings.from_environ({name: text}), field) == value


@pytest.mark.parametrize("text", ["a/b", "Capital", "a..b", "-a", "a b", "a" * 129, "é"])
def test_a_catalogue_is_one_segment_of_a_repository(text: str) -> None:
    """It is below every namespace."""
    with pytest.raises(WrongSettings, match=r"PYOCI_CATALOG: .* is not a name; expected"):
        Settings.from_environ({"PYOCI_CATALOG": text})


def test_nothing_needs_to_be_set() -> None:
    """`gunicorn wsgi:app` works without settings."""
    settings = Settings.from_environ({})
    assert (settings.max_body, settings.max_versions, settings.path) == (50_000_000, 1000, "")
    assert settings.registries.anyone


@pytest.mark.parametrize(
    ("cores", "workers", "threads"),
    [pytest.param(1, 2, 40, id="1 core"), (2, 2, 40), (4, 4, 20), (8, 8, 16), (64, 8, 16)],
)
def test_workers_and_threads_fit_the_machine(cores: int, workers: int, threads: int) -> None:
    """A process for each core, at least two; threads for 80 concurrent transfers in total."""
    assert (default_workers(cores), default_threads(workers)) == (workers, threads)


def test_threads_make_up_for_few_workers() -> None:
    """A single process has all the threads."""
    assert Settings.from_environ({"WEB_CONCURRENCY": "1"}).threads == 80


@pytest.mark.parametrize(
    ("text", "most"),
    [
        pytest.param("50000 100000", 1, id="half a core"),
        pytest.param("100000 100000", 1, id="one"),
        pytest.param("max 100000", 1000, id="no quota"),
        pytest.param("0 0", 1000, id="nonsense"),
        pytest.param(None, 1000, id="no cgroup"),
    ],
)
def test_a_containers_quota_counts(tmp_path: Path, text: str | None, most: int) -> None:
    """The container's limit, not the machine's cores."""
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert cores(tmp_path / "cpu.max") == min(cores(tmp_path / "none"), most)


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    """One message, with a line and the expected value for each."""
    environ = {
        "PORT": "99999",
        "PYOCI_PATH": "packages",
        "PYOCI_MAX_BODY": "50MB",
        "PYOCI_MAX_VERSIONS": "-1",
        "PYOCI_BEARER_USERNAME": "a:b",
        "PYOCI_REGISTRIES": "local=ghcr.io, http://, a=b=c",
        "PYOCI_HOST_CONNECTIONS": "0",
        "PYOCI_EMBEDDED_HTPASSWD": str(tmp_path / "none"),
        "PYOCI_LOG": "loud",
        "PYOCI_THREADS": "many",
        "PYOCI_CACHE_URL": "memcached://host",
        "PYOCI_CACHE_KEY": "short",
        "PYOCI_CACHE_TTL_OLD": "soon",
        "PYOCI_DEFAULT_INDEX": "ghcr.io",
        "PYOCI_INDEXES": "team",
        "PYOCI_ONLY_INDEXES": "perhaps",
        "PYOCI_UPSTREAM_INDEX": "host",
        "PYOCI_UPSTREAM_AUTH": "Basic\nx",
        "PYOCI_UPSTREAM_ON_DENIED": "perhaps",
        "PYOCI_PRIVATE_PROJECTS": "a b -x",
    }
    with pytest.raises(WrongSettings) as caught:
        Settings.from_environ(environ)
    message = str(caught.value)
    assert {name for name in environ if name not in message} == set()
    assert len(message.splitlines()) >= len(environ) + 3
    assert "expected" in message


def test_passwords_need_a_registry(tmp_path: Path) -> None:
    """PYOCI_EMBEDDED_HTPASSWD alone protects nothing."""
    passwords = tmp_path / "htpasswd"
    passwords.touch()
    with pytest.raises(WrongSettings, match="without PYOCI_EMBEDDED"):
        Settings.from_environ({"PYOCI_EMBEDDED_HTPASSWD": str(passwords)})


def test_unknown_parts_of_rust_log_are_ignored_with_a_warning() -> None:
    """It may still have crates of the Rust PyOCI."""
    settings = Settings.from_environ({"RUST_LOG": "hyper=debug,pyoci=warn,loud"})
    assert settings.log == LogLevels("info", {"": "warning"})
    assert len(settings.warnings) == 2


def test_a_proxys_password_is_in_no_repr() -> None:
    """Settings may be in a log line or a traceback."""
    assert "hunter2" not in repr(Settings.from_environ({"HTTPS_PROXY": "http://me:hunter2@proxy"}))


class TestCacheKey:
    """PYOCI_CACHE_KEY: the secret that values in Redis are signed with."""

    @pytest.mark.parametrize("key", ["hunter2", "hunter2" * 4 + "abc", "hunter2 \x00" * 5], ids=len)
    def test_is_long_and_printable(self, key: str) -> None:
        """So it can't be guessed. A wrong value isn't repeated in the message."""
        with pytest.raises(WrongSettings, match=r"PYOCI_CACHE_KEY: .*at least 32") as caught:
            Settings.from_environ({"PYOCI_CACHE_URL": "redis://host", "PYOCI_CACHE_KEY": key})
        assert "hunter2" not in str(caught.value)

    def test_is_in_no_repr(self) -> None:
        """Settings may be in a log line or a traceback."""
        environ = {"PYOCI_CACHE_URL": "redis://host", "PYOCI_CACHE_KEY": "hunter2" * 5}
        settings = Settings.from_environ(environ)
        assert settings.cache_key == "hunter2" * 5
        assert settings.warnings == ()
        assert "hunter2" not in repr(settings)

    def test_has_no_use_without_redis(self) -> None:
        """The operator gets a warning."""
        (warning,) = Settings.from_environ({"PYOCI_CACHE_KEY": "hunter2" * 5}).warnings
        assert "PYOCI_CACHE_KEY" in warning
        assert "hunter2" not in warning


class TestCache:
    """PYOCI_CACHE_URL: the address of the cache."""

    @pytest.mark.parametrize(
        "url",
        [
            "redis://cache.example",
            "redis://cache.example:6380/1",
            "rediss://me:hunter2%2F@cache.example/0",
            "redis://:hunter2@[::1]:6379/0",
        ],
    )
    def test_redis_keeps_its_url_and_shows_it_nowhere(self, url: str) -> None:
        """It may have a password."""
        settings = Settings.from_environ({"PYOCI_CACHE_URL": url})
        assert (settings.cache.kind, settings.cache.url) == ("redis", url)
        assert "hunter2" not in repr(settings) + str(settings.cache)

    @pytest.mark.parametrize(
        "url",
        [
            "hunter2",
            "/hunter2",
            "memcached://me:hunter2@host",
            "reddis://me:hunter2@host",
            "redis:hunter2@host",
            "redis://me:hunter2@",
            "redis://me:hunter2@host:port",
            "redis://me:hunter2@host:99999",
            "redis://me:hunter2@host/name",
            "redis://me:hunter2@host/0?password=hunter2",
            "redis://me:hunter2@host/0#hunter2",
            "redis://me:hunter2@[::1",
            "redis://me:hunter2\n@host",
            "memory://hunter2",
            "file://hunter2",
            "file://hunter2/cache",
            "file:///",
            "file:///../hunter2",
            "file:///%00hunter2",
        ],
    )
    def test_a_wrong_one_stops_the_start_and_is_not_repeated(self, url: str) -> None:
        """The message says what was expected."""
        with pytest.raises(WrongSettings, match=r"PYOCI_CACHE_URL: .*expected .*://") as caught:
            Settings.from_environ({"PYOCI_CACHE_URL": url})
        assert "hunter2" not in str(caught.value)

    def test_a_file_is_no_directory(self) -> None:
        """Nor can a directory be below one."""
        for path in (__file__, f"{__file__}/cache"):
            with pytest.raises(WrongSettings, match="a file of that name exists"):
                Settings.from_environ({"PYOCI_CACHE_URL": f"file://{path}"})

    @pytest.mark.parametrize("workers", ["2", ""])
    def test_memory_is_for_one_process(self, workers: str) -> None:
        """By default there are at least two."""
        environ = {"PYOCI_CACHE_URL": "memory://", "WEB_CONCURRENCY": workers}
        with pytest.raises(WrongSettings, match="expected WEB_CONCURRENCY=1"):
            Settings.from_environ(environ)
        assert Settings.from_environ(environ | {"WEB_CONCURRENCY": "1"}).cache.kind == "memory"


class TestRegistries:
    """PYOCI_REGISTRIES: hosts, patterns, URLs and aliases."""

    LIST = "ghcr=ghcr.io, *.azurecr.io, http://127.0.0.1:5000, lab=http://10.0.0.5:5000, reg.example.com"

    @pytest.mark.parametrize(
        ("text", "origin", "listed"),
        [
            ("ghcr", "https://ghcr.io", True),
            ("ghcr.io", "https://ghcr.io", True),
            ("GHCR.io", "https://ghcr.io", True),
            ("team.azurecr.io", "https://team.azurecr.io", True),
            ("127.0.0.1:5000", "http://127.0.0.1:5000", True),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", True),
            ("http%3A%2F%2F127.0.0.1%3A5000", "http://127.0.0.1:5000", True),
            ("lab", "http://10.0.0.5:5000", True),
            ("https://reg.example.com:443", "https://reg.example.com", True),
        ],
    )
    def test_listed_registry_is_allowed(self, text: str, origin: str, listed: bool) -> None:
        """By any of its names."""
        registry = Settings.from_environ({"PYOCI_REGISTRIES": self.LIST}).registries.parse(text)
        assert (registry.origin, registry.listed) == (origin, listed)

    @pytest.mark.parametrize(
        "text",
        [
            "docker.io",
            "http://reg.example.com",
            "https://127.0.0.1:5000",
            "http://x.azurecr.io",
            "azurecr.io",
        ],
    )
    def test_unlisted_registry_is_denied(self, text: str) -> None:
        """The message names the setting."""
        with pytest.raises(Denied, match="PYOCI_REGISTRIES"):
            Settings.from_environ({"PYOCI_REGISTRIES": self.LIST}).registries.parse(text)

    @pytest.mark.parametrize("listing", ["", "*", "ghcr=ghcr.io, *"])
    def test_any_https_registry_is_allowed_by_default(self, listing: str) -> None:
        """Its address is checked on connecting. Plain http has to be listed."""
        registries = Settings.from_environ({"PYOCI_REGISTRIES": listing}).registries
        assert not registries.parse("quay.io").listed
        with pytest.raises(Denied):
            registries.parse("http://quay.io")

    def test_local_is_the_embedded_registry_and_off_by_default(self, tmp_path: Path) -> None:
        """PYOCI_EMBEDDED switches it on."""
        with pytest.raises(NotFound, match="PYOCI_EMBEDDED"):
            Settings.from_environ({}).registries.parse("local")
        on = Settings.from_environ({"PYOCI_EMBEDDED": str(tmp_path)}).registries
        assert on.parse("local").scheme == "embedded"

    @pytest.mark.parametrize(
        ("listing", "sentence"),
        [
            ("v2=ghcr.io", "a name that PyOCI uses itself"),
            ("local=ghcr.io", "a name that PyOCI uses itself"),
            ("Up=ghcr.io", "not an alias"),
            ("a=ghcr.io,a=quay.io", "given twice"),
            ("ftp://x", "not a registry"),
            ("user:pw@host", "not a registry"),
            ("host:99999", "not a port"),
            ("https://host/path", "not a registry"),
            ("embedded://local", "not a registry"),
        ],
    )
    def test_a_wrong_entry_stops_the_start(self, listing: str, sentence: str) -> None:
        """The message has the entry and the reason."""
        with pytest.raises(WrongSettings, match=sentence):
            Settings.from_environ({"PYOCI_REGISTRIES": listing})


class TestShortUrls:
    """PYOCI_DEFAULT_INDEX, PYOCI_INDEXES, PYOCI_ONLY_INDEXES."""

    REGISTRIES = "ghcr=ghcr.io, http://127.0.0.1:5000, lab=http://10.0.0.5:5000"

    @pytest.mark.parametrize(
        ("text", "registry", "path"),
        [
            ("ghcr.io/acme", "ghcr.io", ("acme",)),
            ("GHCR.io/Acme/Python/", "ghcr.io", ("acme", "python")),
            ("https://ghcr.io/acme", "https://ghcr.io", ("acme",)),
            ("ghcr/acme", "ghcr", ("acme",)),
            ("lab/acme", "lab", ("acme",)),
            ("127.0.0.1:5000/acme", "127.0.0.1:5000", ("acme",)),
            ("HTTP://127.0.0.1:5000/acme", "http://127.0.0.1:5000", ("acme",)),
        ],
    )
    def test_the_default(self, text: str, registry: str, path: tuple[str, ...]) -> None:
        """An alias, a host or a URL, and a namespace."""
        environ = {"PYOCI_REGISTRIES": self.REGISTRIES, "PYOCI_DEFAULT_INDEX": text}
        short = Settings.from_environ(environ).short_urls
        assert (short.urls, short.alone) == ({"simple": ShortUrl(registry, path)}, False)

    def test_names(self, tmp_path: Path) -> None:
        """A list, beside the default."""
        environ = {
            "PYOCI_EMBEDDED": str(tmp_path),
            "PYOCI_DEFAULT_INDEX": "local/main",
            "PYOCI_INDEXES": "team=ghcr.io/acme/python, lab = local/lab,",
            "PYOCI_ONLY_INDEXES": "yes",
        }
        short = Settings.from_environ(environ).short_urls
        assert short.alone
        assert short.urls == {
            "simple": ShortUrl("local", ("main",)),
            "team": ShortUrl("ghcr.io", ("acme", "python")),
            "lab": ShortUrl("local", ("lab",)),
        }

    @pytest.mark.parametrize("name", ["PYOCI_INDEXES", "PYOCI_REGISTRIES"])
    @pytest.mark.parametrize("text", ["https://me:hunter2@ghcr.io/acme", "me:hunter2@x=ghcr.io/acme"])
    def test_a_password_in_an_entry_is_not_repeated(self, name: str, text: str) -> None:
        """Whichever part is wrong."""
        with pytest.raises(WrongSettings, match=f"{name}: this: ") as caught:
            Settings.from_environ({name: f"{text}, !"})
        assert "hunter2" not in str(caught.value)
        assert "'!'" in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            pytest.param("ghcr.io", "expected <registry>/<namespace>", id="a registry alone"),
            pytest.param("ghcr.io/", "expected <registry>/<namespace>", id="a registry and a slash"),
            pytest.param("/acme", "expected <registry>/<namespace>", id="no registry"),
            pytest.param("https://ghcr.io", "expected <registry>/<namespace>", id="a URL alone"),
            pytest.param("acme/python", "'acme' is not a registry", id="no alias"),
            pytest.param("\u212aey.io/acme", "expected <registry>/<namespace>", id="a letter like another"),
            pytest.param("local/main", "PYOCI_EMBEDDED", id="nothing embedded"),
            pytest.param("quay.io/acme", "PYOCI_REGISTRIES", id="not listed"),
            pytest.param("http://ghcr.io/acme", "PYOCI_REGISTRIES", id="not by http"),
            pytest.param("ftp://ghcr.io/acme", "expected <registry>/<namespace>", id="not by ftp"),
            pytest.param("ghcr.io/a b", "not a repository name", id="a blank"),
            pytest.param("ghcr.io/acme/../x", "not a repository name", id="dots"),
            pytest.param("ghcr.io/a//b", "not a repository name", id="an empty segment"),
            pytest.param("ghcr.io/acme/+simple", "not a repository name", id="+simple"),
            pytest.param("me:hunter2@ghcr.io/acme", "not a registry", id="a password"),
            pytest.param("https://me:hunter2@ghcr.io/acme", "not a registry", id="a password in a URL"),
            pytest.param("ghcr.io/acme@hunter2", "not a repository name", id="something with @"),
        ],
    )
    def test_a_wrong_target_stops_the_start(self, text: str, sentence: str) -> None:
        """As default and by name, without passwords in the message."""
        for name, value in (("PYOCI_DEFAULT_INDEX", text), ("PYOCI_INDEXES", f"team={text}")):
            with pytest.raises(WrongSettings, match=f"{name}: .*{sentence}") as caught:
                Settings.from_environ({"PYOCI_REGISTRIES": self.REGISTRIES, name: value})
            assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            *((name, "PyOCI uses itself") for name in ("simple", "pypi", "legacy", "local", "localhost")),
            *((name, "PyOCI uses itself") for name in ("health", "ready", "metrics", "v2")),
            ("ghcr", "'ghcr' is an alias in PYOCI_REGISTRIES"),
            ("ghcr.io", "not a short URL's name"),
            ("host:5000", "not a short URL's name"),
            ("Team", "not a short URL's name"),
            ("a/b", "not a short URL's name"),
            ("_", "not a short URL's name"),
            ("robots.txt", "not a short URL's name"),
            ("", "not a short URL's name"),
        ],
    )
    def test_a_name_that_means_something_else_stops_the_start(self, name: str, sentence: str) -> None:
        """An address of PyOCI, an alias, or a possible host."""
        environ = {"PYOCI_REGISTRIES": self.REGISTRIES, "PYOCI_INDEXES": f"{name}=ghcr.io/acme"}
        with pytest.raises(WrongSettings, match=f"PYOCI_INDEXES: .*{sentence}"):
            Settings.from_environ(environ)

    def test_all_its_mistakes_are_reported(self) -> None:
        """One a line."""
        text = "a=ghcr.io/a, a=ghcr.io/b, v2=ghcr.io/c, team, b=x/y, ok=ghcr.io/ok"
        with pytest.raises(WrongSettings, match="'a' is given twice") as caught:
            Settings.from_environ({"PYOCI_INDEXES": text})
        assert str(caught.value).count("PYOCI_INDEXES: ") == 4

    @pytest.mark.parametrize("environ", [{}, {"PYOCI_INDEXES": " , "}], ids=["unset", "empty"])
    def test_only_indexes_without_an_index_stops_the_start(self, environ: dict[str, str]) -> None:
        """PYOCI_ONLY_INDEXES needs one."""
        with pytest.raises(WrongSettings, match="PYOCI_ONLY_INDEXES alone would serve nothing"):
            Settings.from_environ(environ | {"PYOCI_ONLY_INDEXES": "yes"})

    def test_a_mistake_in_the_names_is_reported_once(self) -> None:
        """Without the message that there are none."""
        with pytest.raises(WrongSettings, match="PYOCI_INDEXES") as caught:
            Settings.from_environ({"PYOCI_INDEXES": "team", "PYOCI_ONLY_INDEXES": "yes"})
        assert "PYOCI_ONLY_INDEXES" not in str(caught.value)


def storing(folder: Path, store: str) -> dict[str, str]:
    return {
        "PYOCI_UPSTREAM_INDEX": "https://host/simple/",
        "PYOCI_UPSTREAM_FILES": "store",
        "PYOCI_UPSTREAM_FILES_DIR": str(folder / "files"),
        "PYOCI_UPSTREAM_STORE": store,
    }


class TestUpstream:
    """PYOCI_UPSTREAM_INDEX and related settings."""

    def test_files_through_this_server(self, tmp_path: Path) -> None:
        """They need an upstream and a directory."""
        environ = {
            "PYOCI_UPSTREAM_INDEX": "https://host/simple/",
            "PYOCI_UPSTREAM_FILES": "proxy",
            "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
        }
        assert Settings.from_environ(environ).upstream_files
        for missing in ("PYOCI_UPSTREAM_INDEX", "PYOCI_UPSTREAM_FILES_DIR"):
            incomplete = {name: value for name, value in environ.items() if name != missing}
            with pytest.raises(WrongSettings, match=f"is set without {missing}; expected both"):
                Settings.from_environ(incomplete)

    def test_the_store_of_copies(self, tmp_path: Path) -> None:
        """Its registry need not be one that callers may name."""
        login = tmp_path / "login"
        login.write_text("me:hunter2\n")
        settings = Settings.from_environ(
            {
                **storing(tmp_path, "http://10.0.0.5:5000/Acme/Upstream"),
                "PYOCI_REGISTRIES": "ghcr.io",
                "PYOCI_UPSTREAM_STORE_CREDENTIALS": str(login),
            }
        )
        assert settings.upstream_files
        assert settings.upstream_store == ShortUrl("http://10.0.0.5:5000", ("acme", "upstream"))
        assert settings.upstream_store_credentials == login
        assert "hunter2" not in repr(settings)

    @pytest.mark.parametrize(
        ("store", "short"),
        [
            ("ghcr.io/acme", "PYOCI_DEFAULT_INDEX=ghcr.io/acme"),
            ("ghcr.io/acme", "PYOCI_INDEXES=team=GHCR.io/ACME"),
            ("ghcr.io/acme", "PYOCI_INDEXES=team=ghcr.io/acme/team"),
            ("hub/acme", "PYOCI_DEFAULT_INDEX=registry-1.docker.io/acme"),
            ("docker.io/acme", "PYOCI_DEFAULT_INDEX=hub/acme"),
        ],
    )
    def test_no_short_url_leads_to_the_copies(self, tmp_path: Path, store: str, short: str) -> None:
        """A private project that is looked up there could be found to be upstream's."""
        name, _, value = short.partition("=")
        environ = {**storing(tmp_path, store), name: value}
        with pytest.raises(WrongSettings, match="leads to this namespace") as caught:
            Settings.from_environ({**environ, "PYOCI_REGISTRIES": "*, hub=docker.io"})
        assert "PYOCI_UPSTREAM_STORE: the short URL /" in str(caught.value)

    @pytest.mark.parametrize("short", ["ghcr.io/acme", "ghcr.io/acme/upstream2", "quay.io/acme/upstream"])
    def test_other_short_urls_do_not(self, tmp_path: Path, short: str) -> None:
        """One of the namespace above doesn't either: below a short URL there are projects alone."""
        environ = storing(tmp_path, "ghcr.io/acme/upstream")
        assert Settings.from_environ({**environ, "PYOCI_DEFAULT_INDEX": short}).upstream_store

    @pytest.mark.parametrize("store", ["ghcr.io/acme/pypi", "ghcr.io/acme/simple/up", "ghcr.io/legacy"])
    def test_no_alias_leads_to_the_copies(self, tmp_path: Path, store: str) -> None:
        """`acme/simple/flask/` may mean the project flask of acme."""
        with pytest.raises(WrongSettings, match="has addresses of the one above"):
            Settings.from_environ(storing(tmp_path, store))

    @pytest.mark.parametrize("store", ["acme", "ghcr.io", "ghcr.io/ac me", "ghcr.io/acme/../x"])
    def test_a_store_that_is_no_namespace(self, tmp_path: Path, store: str) -> None:
        """The sentence names the setting."""
        with pytest.raises(WrongSettings, match="PYOCI_UPSTREAM_STORE: "):
            Settings.from_environ(storing(tmp_path, store))

    @pytest.mark.parametrize(
        ("name", "text", "sentence"),
        [
            ("PYOCI_UPSTREAM_FILES", "yes", "'yes' is not valid; expected direct, proxy or store"),
            ("PYOCI_UPSTREAM_FILES", "store", "is set without PYOCI_UPSTREAM_STORE; expected both"),
            ("PYOCI_UPSTREAM_STORE", "ghcr.io/acme", "is set without PYOCI_UPSTREAM_FILES=store"),
            ("PYOCI_UPSTREAM_STORE_CREDENTIALS", "/nowhere", "there is no file '/nowhere'"),
            ("PYOCI_UPSTREAM_STORE_CREDENTIALS", "/proc/self/comm", "has no credentials; expected user:pass"),
            (
                "PYOCI_UPSTREAM_OFFLINE",
                "yes",
                "is direct; expected proxy or store",
            ),
            ("PYOCI_UPSTREAM_OFFLINE", "maybe", "'maybe' is not valid; expected yes or no"),
            ("PYOCI_UPSTREAM_FILES_DIR", __file__, "is not a directory"),
            ("PYOCI_UPSTREAM_FILES_BYTES", "0", "expected a whole number from 1"),
            ("PYOCI_UPSTREAM_FILE_HOSTS", "https://me:hunter2@host", "has credentials or a path"),
            ("PYOCI_UPSTREAM_FILE_HOSTS", "host/files", "has credentials or a path"),
            ("PYOCI_UPSTREAM_FILE_HOSTS", "ftp://host", "this is no URL"),
        ],
    )
    def test_wrong_settings_of_files(self, name: str, text: str, sentence: str) -> None:
        """They stop the start, and no password is repeated."""
        with pytest.raises(WrongSettings, match=sentence) as caught:
            Settings.from_environ({name: text})
        assert name in str(caught.value)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("yes", "isn't the URL of a service; expected one like https://api.osv.dev/"),
            ("https://me:hunter2@host/", "without credentials"),
            ("https://host/?key=hunter2", "isn't the URL of a service"),
            ("https://host/v1/", "ends with v1/, which PyOCI appends"),
        ],
    )
    def test_wrong_urls_of_a_vulnerability_service(self, text: str, sentence: str) -> None:
        """They stop the start, and no password is repeated."""
        with pytest.raises(WrongSettings, match=sentence) as caught:
            Settings.from_environ({"PYOCI_OSV_URL": text})
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "hunter2",
            "//me:hunter2@host/simple/",
            "ftp://me:hunter2@host/simple/",
            "https://me:hunter2@/simple/",
            "https://me:hunter2@host:port/simple/",
            "https://me:hunter2@host:99999/simple/",
            "https://me:hunter2@[::1/simple/",
            "https://host/simple/?token=hunter2",
            "https://host/simple/#hunter2",
            "https://host/hunter2 /",
        ],
    )
    def test_a_wrong_url_stops_the_start_and_is_not_repeated(self, url: str) -> None:
        """It may have a password."""
        with pytest.raises(WrongSettings, match=r"PYOCI_UPSTREAM_INDEX: .*expected .*https://") as caught:
            Settings.from_environ({"PYOCI_UPSTREAM_INDEX": url})
        assert "hunter2" not in str(caught.value)

    def test_its_credentials_are_in_no_repr(self) -> None:
        """Neither those in the URL nor the header."""
        url = {"PYOCI_UPSTREAM_INDEX": "https://me:hunter2@host/"}
        apart = {"PYOCI_UPSTREAM_INDEX": "https://host/", "PYOCI_UPSTREAM_AUTH": "me:hunter2"}
        for environ in (url, apart):
            settings = Settings.from_environ(environ)
            assert settings.upstream == UpstreamAddress("https://host/", "Basic bWU6aHVudGVyMg==")
            assert "hunter2" not in repr(settings)
            assert "bWU6" not in repr(settings)

    def test_its_credentials_stand_in_one_place(self) -> None:
        """Two of them are a mistake."""
        environ = {
            "PYOCI_UPSTREAM_INDEX": "https://me:hunter2@host/",
            "PYOCI_UPSTREAM_AUTH": "Bearer hunter2",
        }
        with pytest.raises(WrongSettings, match="expected one of the two") as caught:
            Settings.from_environ(environ)
        assert "hunter2" not in str(caught.value)

    def test_denials_that_count_as_absences_want_private_names(self) -> None:
        """Without private names, callers without access get upstream's projects with those names. There is a
        warning.
        """
        environ = {"PYOCI_UPSTREAM_INDEX": "https://host/simple/", "PYOCI_UPSTREAM_ON_DENIED": "yes"}
        assert any("PYOCI_PRIVATE_PROJECTS" in warning for warning in Settings.from_environ(environ).warnings)
        environ["PYOCI_PRIVATE_PROJECTS"] = "acme-*"
        assert Settings.from_environ(environ).warnings == ()

    @pytest.mark.parametrize(("url", "odd"), [("https://host/pypi/", True), ("https://host/+simple/", False)])
    def test_a_url_that_is_hardly_a_simple_api_is_doubted(self, url: str, odd: bool) -> None:
        """There is a warning, because every project would be absent."""
        warnings = Settings.from_environ({"PYOCI_UPSTREAM_INDEX": url}).warnings
        assert any("`simple`" in warning for warning in warnings) is odd

    def test_its_credentials_want_registries(self) -> None:
        """There is a warning: anyone could name an empty registry, and read all pages that the credentials
        give access to.
        """
        environ = {"PYOCI_UPSTREAM_INDEX": "https://me:pw@host/simple/"}
        (warning,) = Settings.from_environ(environ).warnings
        assert "PYOCI_REGISTRIES" in warning
        assert "pw" not in warning
        for name, value in {
            "PYOCI_REGISTRIES": "ghcr.io",
            "PYOCI_UPSTREAM_INDEX": "https://host/simple/",
        }.items():
            assert Settings.from_environ({**environ, name: value}).warnings == ()
        alone = {**environ, "PYOCI_DEFAULT_INDEX": "ghcr.io/acme", "PYOCI_ONLY_INDEXES": "yes"}
        assert Settings.from_environ(alone).warnings == ()

    def test_what_belongs_to_it_does_no_harm_alone(self) -> None:
        """The operator may have switched it off for a while."""
        environ = {"PYOCI_UPSTREAM_ON_DENIED": "yes", "PYOCI_PRIVATE_PROJECTS": "acme-*"}
        assert Settings.from_environ(environ).upstream is None


class TestMisspelled:
    """A variable that looks like a setting gives a warning. It may be another program's, so the start goes
    on.
    """

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("PYOCI_REGISTRYS", "PYOCI_REGISTRIES"),
            ("PYOCI_MAXBODY", "PYOCI_MAX_BODY"),
            ("pyoci_path", "PYOCI_PATH"),
            ("PYOCI_WEB_CONCURRENCY", "WEB_CONCURRENCY"),
            ("PYOCI_PORT", "PORT"),
        ],
    )
    def test_the_nearest_is_named(self, name: str, meant: str) -> None:
        """Its value isn't repeated, because it may be a password."""
        [warning] = Settings.from_environ({name: "hunter2"}).warnings
        assert warning == f"{name} is not a setting of PyOCI and is ignored; did you mean {meant}?"

    def test_none_is_near(self) -> None:
        """The warning suggests none."""
        assert Settings.from_environ({"PYOCI_XXXXXXXXXXXXXXXX": "1"}).warnings == (
            "PYOCI_XXXXXXXXXXXXXXXX is not a setting of PyOCI and is ignored",
        )

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("PYOCI_SERVICE_HOST", "10.0.0.1"),
            ("PYOCI_SERVICE_PORT_HTTP", "80"),
            ("PYOCI_PORT", "tcp://10.0.0.1:80"),
            ("PYOCI_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
        ],
    )
    def test_others_are_left_alone(self, name: str, text: str) -> None:
        """Kubernetes sets such variables for other services."""
        assert Settings.from_environ({name: text}).warnings == ()


class TestTelemetry:
    """The destination of telemetry."""

    @pytest.mark.parametrize(
        ("environ", "wanted"),
        [
            ({}, False),
            ({"OTLP_ENDPOINT": "https://collector.example.com:4318"}, True),
            ({"OTLP_ENDPOINT": "http://[::1]:4318/base/"}, True),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
            ({"OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, False),
            ({"OTLP_AUTH": "Bearer secret"}, False),
        ],
    )
    def test_is_sent_where_an_endpoint_is_set(self, environ: dict[str, str], wanted: bool) -> None:
        """PyOCI's variable, or one of OpenTelemetry's."""
        assert Settings.from_environ(environ).export.wanted == wanted

    @pytest.mark.parametrize(
        "environ",
        [
            {"OTLP_ENDPOINT": "collector:4318"},
            {"OTLP_ENDPOINT": "https://me:hidden@collector.example.com"},
            {"OTLP_ENDPOINT": "https://collector.example.com/?key=hidden"},
            {"OTLP_AUTH": "Bearer hidden\nX-Other: 1"},
            {"OTLP_AUTH": "Bearer hidd\u00ebn"},
            {"CONTAINER_APP_NAME": "a\x00b"},
            {"PYOCI_METRICS": "on"},
        ],
    )
    def test_what_is_wrong_stops_the_start(self, environ: dict[str, str]) -> None:
        """A wrong value isn't repeated, because it may be a credential."""
        with pytest.raises(WrongSettings, match=next(iter(environ))) as caught:
            Settings.from_environ(environ)
        assert "hidd" not in str(caught.value)

    def test_base_url(self) -> None:
        """Without its final slash."""
        assert (
            Settings.from_environ({"OTLP_ENDPOINT": "http://c.example/"}).export.endpoint
            == "http://c.example"
        )
