"""Labels: the annotations that `PyOCI :: Label :: <key> :: <value>` classifiers add to the manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pyoci.errors import InvalidRequest

COUNT_LIMIT = 100  # labels
KEY_LIMIT = 255  # characters
VALUE_LIMIT = 4096  # characters; all labels together stay below a manifest's usual limit of 4 MiB

_PREFIX = "PyOCI :: Label :: "
_RESERVED = "com.pyoci."
# C0 and C1 controls, line and paragraph separators, and surrogates, which UTF-8 can't carry.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def labels(classifiers: Iterable[str]) -> dict[str, str]:
    """The labels among `classifiers`; the last one of a key counts. Raises InvalidRequest."""
    found: dict[str, str] = {}
    for classifier in classifiers:
        if not classifier.startswith(_PREFIX):
            continue
        key, separator, value = classifier.removeprefix(_PREFIX).partition(" :: ")
        if not (key and separator):
            continue  # an ordinary classifier, as for the Rust PyOCI
        _check(key, value)
        found[key] = value
        if len(found) > COUNT_LIMIT:
            raise InvalidRequest(f"there are more than {COUNT_LIMIT} labels among the classifiers")
    return found


def _check(key: str, value: str) -> None:
    if _CONTROLS.search(key) or _CONTROLS.search(value):
        raise InvalidRequest(f"the label {key[:100]!a} holds control characters; expected plain text")
    if key.startswith(_RESERVED):
        raise InvalidRequest(
            f"the label {key[:100]!a} is PyOCI's own; expected another key than {_RESERVED}*"
        )
    if len(key) > KEY_LIMIT:
        raise InvalidRequest(f"the label {key[:20]!a}... has a key over {KEY_LIMIT} characters")
    if len(value) > VALUE_LIMIT:
        raise InvalidRequest(f"the label {key[:100]!a} has a value over {VALUE_LIMIT} characters")
