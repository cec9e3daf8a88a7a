"""The lines that make a tool use a package index: for each tool on the home page, and for one project."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_SLOT = re.compile(r"%(base|auth|host|path|name|NAME|user|token)%")
_LIVE = frozenset({"path", "name", "NAME", "user", "token"})  # what the form's fields decide
_UNNAMED = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Index:
    """A package index: `base` is the URL of this server, with a slash at its end, and `path` the part after
    it, without one at its end.
    """

    base: str
    path: str
    upstream: bool = False  # whether it also has the projects of another package index

    @property
    def url(self) -> str:
        return f"{self.base}{self.path}/"

    @property
    def name(self) -> str:
        """A name for it in the configuration of tools."""
        return _UNNAMED.sub("-", self.path.rpartition("/")[2].lower()).strip("-") or "packages"

    def slots(self) -> dict[str, str]:
        """The values of the slots in the texts of the tools."""
        parts = urlsplit(self.base)
        on_github = self.path.startswith("ghcr.io/")
        return {
            "base": self.base,
            "auth": f"{parts.scheme}://USER:TOKEN@{parts.netloc}{parts.path}",
            "host": parts.hostname or "",
            "path": self.path,
            "name": self.name,
            "NAME": self.name.replace("-", "_").upper(),
            "user": "github.actor" if on_github else "secrets.REGISTRY_USER",
            "token": "secrets.GITHUB_TOKEN" if on_github else "secrets.REGISTRY_TOKEN",
        }


@dataclass(frozen=True, slots=True)
class Block:
    """Lines to copy, below a sentence. Each piece has its text and the slot that it comes from, or ""."""

    sentence: str
    pieces: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool and its lines."""

    key: str
    title: str
    blocks: tuple[Block, ...]


def tools(index: Index) -> tuple[Tool, ...]:
    """The lines for every tool."""
    texts = _WITH_UPSTREAM if index.upstream else {}
    return tuple(
        Tool(
            key, title, tuple(_block(sentence, text, index) for sentence, text in (texts.get(key) or blocks))
        )
        for key, title, blocks in _TOOLS
    )


def installing(
    index: Index, project: str, version: str, hashes: Iterable[str], *, pinned: bool
) -> tuple[Tool, ...]:
    """The lines that install a project, `pinned` to this version or not. `hashes` are the sha256 of the
    version's files.
    """
    wanted = f"{project}=={version}" if pinned else project
    locked = " \\\n    ".join((f"{project}=={version}", *(f"--hash=sha256:{digest}" for digest in hashes)))
    found = (
        ("pip", "pip", f"pip install --index-url %base%%path%/ {wanted}"),
        ("uv", "uv", f"uv add --index %name%=%base%%path%/ {wanted}"),
        (
            "poetry",
            "poetry",
            f"poetry source add --priority=explicit %name% %base%%path%/\n"
            f"poetry add --source %name% {wanted}",
        ),
        ("pdm", "pdm", f"{_PDM_SOURCE % project}\n# then: pdm add {wanted}"),
        ("requirements", "requirements.txt", f"--index-url %base%%path%/\n{locked}"),
    )
    return tuple(Tool(key, title, (_block("", text, index),)) for key, title, text in found)


def _block(sentence: str, text: str, index: Index) -> Block:
    slots, pieces, at = index.slots(), [], 0
    for found in _SLOT.finditer(text):
        pieces += [(text[at : found.start()], ""), (slots[found[1]], found[1] if found[1] in _LIVE else "")]
        at = found.end()
    pieces.append((text[at:], ""))
    return Block(sentence, tuple(piece for piece in pieces if piece[0] or piece[1]))


_NETRC = "machine %host%\nlogin USER\npassword TOKEN"
_PDM_SOURCE = """\
[[tool.pdm.source]]
name = "%%name%%"
url = "%%base%%%%path%%/"
include_packages = ["%s"]
exclude_packages = ["*"]"""
_TOOLS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "pip",
        "pip",
        (
            ("Install a project from this index.", "pip install --index-url %base%%path%/ PROJECT"),
            ("Make it the default, for pip alone.", "pip config set global.index-url %base%%path%/"),
            ("Put the credentials into ~/.netrc, which only you may read.", _NETRC),
        ),
    ),
    (
        "uv",
        "uv",
        (
            (
                "In pyproject.toml: projects that are named below sources come from this index.",
                '[[tool.uv.index]]\nname = "%name%"\nurl = "%base%%path%/"\npublish-url = "%base%%path%/"\n'
                'explicit = true\n\n[tool.uv.sources]\nPROJECT = { index = "%name%" }',
            ),
            (
                "The credentials come from variables, or from ~/.netrc.",
                "export UV_INDEX_%NAME%_USERNAME=USER\nexport UV_INDEX_%NAME%_PASSWORD=TOKEN\nuv add PROJECT",
            ),
            ("Publish.", "uv publish --index %name% --username USER --password TOKEN"),
        ),
    ),
    (
        "poetry",
        "poetry",
        (
            (
                "Add this index as a source for the projects that name it.",
                "poetry config http-basic.%name% USER TOKEN\n"
                "poetry source add --priority=explicit %name% %base%%path%/\n"
                "poetry add --source %name% PROJECT",
            ),
            (
                "Publish.",
                "poetry config repositories.%name% %base%%path%/\npoetry publish --build --repository %name%",
            ),
        ),
    ),
    (
        "pdm",
        "pdm",
        (
            ("In pyproject.toml: only the projects that are listed come from here.", _PDM_SOURCE % "PROJECT"),
            (
                "The credentials, and publishing.",
                "pdm config pypi.%name%.username USER\npdm config pypi.%name%.password TOKEN\n"
                "pdm publish --repository %base%%path%/ --username USER --password TOKEN",
            ),
        ),
    ),
    (
        "hatch",
        "hatch",
        (
            ("Publish.", "hatch publish --repo %base%%path%/ --user USER --auth TOKEN"),
            ("Environments take the index from pip's variable.", "export PIP_INDEX_URL=%auth%%path%/"),
        ),
    ),
    (
        "twine",
        "twine",
        (
            ("Publish.", "twine upload --repository-url %base%%path%/ -u USER -p TOKEN dist/*"),
            (
                "Or keep the address in ~/.pypirc.",
                "[distutils]\nindex-servers = %name%\n\n[%name%]\nrepository = %base%%path%/\n"
                "username = USER\npassword = TOKEN",
            ),
        ),
    ),
    (
        "renovate",
        "Renovate",
        (
            (
                "In Renovate's own configuration, where secrets belong.",
                '{\n  "hostRules": [\n    {\n      "hostType": "pypi",\n'
                '      "matchHost": "%base%%path%/",\n      "username": "USER",\n'
                '      "password": "TOKEN"\n    }\n  ]\n}',
            ),
            (
                "In renovate.json: the projects to look up here.",
                '{\n  "packageRules": [\n    {\n      "matchDatasources": ["pypi"],\n'
                '      "matchPackageNames": ["PROJECT"],\n'
                '      "registryUrls": ["%base%%path%/"]\n    }\n  ]\n}',
            ),
        ),
    ),
    (
        "docker",
        "Docker build",
        (
            (
                "In the Dockerfile. The secret is in no layer of the image.",
                "RUN --mount=type=secret,id=netrc,target=/root/.netrc \\\n"
                "    pip install --index-url %base%%path%/ PROJECT",
            ),
            ("Build with your ~/.netrc.", "docker build --secret id=netrc,src=$HOME/.netrc ."),
            ("The lines for ~/.netrc.", _NETRC),
        ),
    ),
    (
        "actions",
        "GitHub Actions",
        (
            (
                "Publish from a job.",
                "permissions:\n  contents: read\n  packages: write\njobs:\n  publish:\n"
                "    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n"
                "      - uses: astral-sh/setup-uv@v6\n      - run: uv build\n      - run: uv publish\n"
                "        env:\n          UV_PUBLISH_URL: %base%%path%/\n"
                "          UV_PUBLISH_USERNAME: ${{ %user% }}\n          UV_PUBLISH_PASSWORD: ${{ %token% }}",
            ),
            (
                "Install in a job, with the index that pyproject.toml names (see uv).",
                "    env:\n      UV_INDEX_%NAME%_USERNAME: ${{ %user% }}\n"
                "      UV_INDEX_%NAME%_PASSWORD: ${{ %token% }}\n    steps:\n"
                "      - run: uv sync --locked",
            ),
        ),
    ),
)
# Where the index also has the projects of another one, it takes that one's place.
_WITH_UPSTREAM = {
    "uv": (
        (
            "In pyproject.toml: all projects come from this index.",
            '[[tool.uv.index]]\nname = "%name%"\nurl = "%base%%path%/"\npublish-url = "%base%%path%/"\n'
            "default = true",
        ),
        *_TOOLS[1][2][1:],
    ),
    "poetry": (
        (
            "Add this index in PyPI's place.",
            "poetry config http-basic.%name% USER TOKEN\n"
            "poetry source add --priority=primary %name% %base%%path%/\npoetry add PROJECT",
        ),
        *_TOOLS[2][2][1:],
    ),
    "pdm": (
        (
            "In pyproject.toml: a source that is called pypi takes PyPI's place.",
            '[[tool.pdm.source]]\nname = "pypi"\nurl = "%base%%path%/"',
        ),
        (
            "The credentials, and publishing.",
            "pdm config pypi.username USER\npdm config pypi.password TOKEN\n"
            "pdm publish --repository %base%%path%/ --username USER --password TOKEN",
        ),
    ),
}
