"""The address of PyPI in this machine's pip configuration: a mirror, or a proxy with its own certificate."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

_PYPI = """\
import json
from pip._internal.commands import create_command
options = create_command("install").parser.get_default_values()
print(json.dumps([options.index_url, options.cert]))
"""


@cache
def where_pypi_is(python: Path) -> tuple[str, dict[str, str]]:
    """The URL of its simple API, and the settings by which others than pip trust it. `python` has pip, which
    takes half a second to say so.
    """
    said = subprocess.run([python, "-c", _PYPI], capture_output=True, text=True, timeout=60, check=True)
    url, certificates = json.loads(said.stdout)
    certificates = certificates or os.environ.get("SSL_CERT_FILE")
    names = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    return url, dict.fromkeys(names, certificates) if certificates else {}
