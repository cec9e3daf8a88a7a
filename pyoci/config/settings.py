"""Settings: the operator's configuration, read from the environment. All mistakes are reported together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from pyoci.config import packages, serving, upstream
from pyoci.config.environment import Reader, WrongSettings, topics


@dataclass(frozen=True, kw_only=True)
class Settings(serving.ServerSettings, upstream.UpstreamSettings, packages.PackageSettings):
    """Every setting. `warnings` are sentences for the log about settings that are probably unintended."""

    warnings: tuple[str, ...]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment. Raises WrongSettings, which lists every mistake in it."""
        reader = Reader(cls, environ)
        settings = cls(**reader.values(), warnings=())
        mistakes = [*reader.mistakes, *_contradictions(settings)]
        if mistakes:
            raise WrongSettings.of_server(*mistakes)
        return replace(settings, warnings=(*reader.warnings, *_doubts(settings), *reader.unknown()))


def _contradictions(settings: Settings) -> Iterator[str]:
    """Mistakes in combinations of settings that are each valid."""
    if settings.embedded_htpasswd is not None and settings.embedded is None:
        yield "PYOCI_EMBEDDED_HTPASSWD is set without PYOCI_EMBEDDED; expected both"
    if settings.upstream_files and settings.upstream is None:
        yield "PYOCI_UPSTREAM_FILES is set without PYOCI_UPSTREAM_INDEX; expected both"
    if settings.upstream_files and settings.upstream_files_dir is None:
        yield "PYOCI_UPSTREAM_FILES is set without PYOCI_UPSTREAM_FILES_DIR; expected both"
    if settings.upstream_offline and not settings.upstream_files:
        yield "PYOCI_UPSTREAM_OFFLINE is set while PYOCI_UPSTREAM_FILES is direct; expected proxy or store"
    if settings.upstream_store_credentials is not None and settings.upstream_store is None:
        yield "PYOCI_UPSTREAM_STORE_CREDENTIALS is set without PYOCI_UPSTREAM_STORE; expected both"
    if settings.upstream is None:
        for name in settings.rule_variables:
            yield f"{name} is set without PYOCI_UPSTREAM_INDEX; expected both"
    if settings.cache.kind == "memory" and settings.workers > 1:
        yield (
            f"PYOCI_CACHE_URL: memory:// serves one process, and {settings.workers} are configured; "
            "expected WEB_CONCURRENCY=1 with it, or file://"
        )


def _doubts(settings: Settings) -> Iterator[str]:
    """Warnings about settings that are probably unintended."""
    upstream = settings.upstream
    if upstream is not None and settings.upstream_on_denied and not settings.private_projects.patterns:
        yield (
            "PYOCI_UPSTREAM_ON_DENIED without PYOCI_PRIVATE_PROJECTS: a caller without access to a "
            "private project gets the project of that name from upstream, whoever published it there"
        )
    if (
        upstream is not None
        and upstream.authorization is not None
        and settings.registries.anyone
        and not settings.short_urls.alone
    ):
        yield (
            "PYOCI_UPSTREAM_AUTH without PYOCI_REGISTRIES: anyone can name an empty registry of their"
            " own in the URL, and see the pages that these credentials give access to; list your "
            "registries"
        )
    if settings.cache_key and settings.cache.kind != "redis":
        yield (
            "PYOCI_CACHE_KEY has no effect unless PYOCI_CACHE_URL names a Redis: it signs the entries"
            " of that cache, and nothing else"
        )
    if upstream is not None and "simple" not in upstream.url:
        yield (
            "PYOCI_UPSTREAM_INDEX: most simple APIs have `simple` in their URL, and this one doesn't;"
            " if it is not a simple API, no project is found"
        )


TOPICS = topics(Settings)  # PackageSettings' first
