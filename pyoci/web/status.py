"""Addresses that are no registry's: /health, and the front door."""

from __future__ import annotations

from flask import Blueprint, Response

from pyoci.web import answers

HOME = "https://github.com/AllexVeldman/pyoci"

health = Blueprint("health", __name__)  # never under PYOCI_PATH
door = Blueprint("door", __name__)  # also under PYOCI_PATH


@health.get("/health", provide_automatic_options=False)
def alive() -> Response:
    """This process answers. Asks nobody else."""
    return answers.text("ok")


@door.get("/", provide_automatic_options=False, strict_slashes=False)
def home() -> Response:
    answer = answers.text("PyOCI's home is elsewhere", 302)
    answer.headers["Location"] = HOME
    return answer
