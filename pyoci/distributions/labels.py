"""Labels: annotations of a version and of its files that registries and other OCI tools show.

Some are made from the core metadata, with the keys of the OCI image specification ("Pre-Defined Annotation
Keys"). A classifier `PyOCI :: Label :: <key> :: <value>` adds one, or replaces one of these.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping

from pyoci.distributions.metadata import CoreMetadata
from pyoci.errors import InvalidRequest

LABEL_COUNT_LIMIT = 100  # labels
LABEL_KEY_LIMIT = 255  # characters
LABEL_VALUE_LIMIT = 4096  # characters; all labels together stay below a manifest's usual limit of 4 MiB
SUMMARY_LIMIT = 1000  # characters of a summary
_LICENSE_LIMIT = 500  # characters of a licence expression; a part of one would say something else
_URL_LIMIT = 2048  # characters

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
DESCRIPTION = "org.opencontainers.image.description"
LICENSES = "org.opencontainers.image.licenses"
SOURCE = "org.opencontainers.image.source"
URL = "org.opencontainers.image.url"
DOCUMENTATION = "org.opencontainers.image.documentation"
_FROM_METADATA = frozenset({TITLE, VERSION, DESCRIPTION, LICENSES, SOURCE, URL, DOCUMENTATION})
# The labels of project URLs that are well known, normalised (packaging specifications, "Well-known Project
# URLs in Metadata").
_WELL_KNOWN = {
    "homepage": URL,
    "source": SOURCE,
    "repository": SOURCE,
    "sourcecode": SOURCE,
    "github": SOURCE,
    "documentation": DOCUMENTATION,
    "docs": DOCUMENTATION,
}
_PUNCTUATION = str.maketrans("", "", string.punctuation + string.whitespace)

_LABEL_PREFIX = "PyOCI :: Label :: "
_LABEL_RESERVED = "com.pyoci."
# C0 and C1 controls, line and paragraph separators, and surrogates, which UTF-8 can't carry.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def labels(
    metadata: CoreMetadata, project_urls: Mapping[str, str], classifiers: Iterable[str]
) -> dict[str, str]:
    """The labels of a file. Those of classifiers go before those of the metadata. Raises InvalidRequest."""
    return {**_metadata_labels(metadata, project_urls), **classifier_labels(classifiers)}


def version_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of a file that its version has as well: those whose keys are made from the metadata."""
    return {key: value for key, value in labels.items() if key in _FROM_METADATA}


def shown_line(text: str, limit: int) -> str:
    """A text that somebody else has written, such as a label's value, as one line of at most `limit`
    printable characters.
    """
    printable = "".join(each if each.isprintable() else " " for each in text[: 4 * limit])
    return " ".join(printable.split())[:limit]


def _metadata_labels(metadata: CoreMetadata, project_urls: Mapping[str, str]) -> dict[str, str]:
    """The labels in core metadata. `project_urls` have web URLs alone."""
    found = {TITLE: metadata.name.normalized, VERSION: str(metadata.version)}
    if metadata.summary:
        found[DESCRIPTION] = metadata.summary[:SUMMARY_LIMIT]
    expression = metadata.license_expression
    if expression and expression.isascii() and len(expression) <= _LICENSE_LIMIT:
        found[LICENSES] = expression
    for label, url in project_urls.items():
        key = _WELL_KNOWN.get(label.translate(_PUNCTUATION).lower())
        if key is not None and len(url) <= _URL_LIMIT:
            found.setdefault(key, url)
    return found


def classifier_labels(classifiers: Iterable[str]) -> dict[str, str]:
    """The labels among `classifiers`; the last one of a key counts. Raises InvalidRequest."""
    found: dict[str, str] = {}
    for classifier in classifiers:
        if not classifier.startswith(_LABEL_PREFIX):
            continue
        key, separator, value = classifier.removeprefix(_LABEL_PREFIX).partition(" :: ")
        if not (key and separator):
            continue  # an ordinary classifier, as for the Rust PyOCI
        _check_label(key, value)
        found[key] = value
        if len(found) > LABEL_COUNT_LIMIT:
            raise InvalidRequest(f"there are more than {LABEL_COUNT_LIMIT} labels among the classifiers")
    return found


def _check_label(key: str, value: str) -> None:
    if _CONTROLS.search(key) or _CONTROLS.search(value):
        raise InvalidRequest(f"the label {key[:100]!a} holds control characters; expected plain text")
    if key.startswith(_LABEL_RESERVED):
        raise InvalidRequest(
            f"the label {key[:100]!a} is PyOCI's own; expected another key than {_LABEL_RESERVED}*"
        )
    if len(key) > LABEL_KEY_LIMIT:
        raise InvalidRequest(f"the label {key[:20]!a}... has a key over {LABEL_KEY_LIMIT} characters")
    if len(value) > LABEL_VALUE_LIMIT:
        raise InvalidRequest(f"the label {key[:100]!a} has a value over {LABEL_VALUE_LIMIT} characters")
