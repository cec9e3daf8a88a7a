"""Certificates that are made for a test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from shutil import which

import pytest


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A key and a certificate that is signed with it, for the host `name`; needs openssl."""
    if which("openssl") is None:
        missing = "openssl makes the certificate; Debian's package is openssl"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    key, file = directory / "key.pem", directory / "certificate.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN={name} -addext subjectAltName=DNS:{name}"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", file], check=True, capture_output=True)
    return key, file
