"""A process that pushes tags: `python -m tests.embedded.pushing <directory> <prefix> <count>`."""

import sys
from pathlib import Path

from pyoci.embedded import create_registry_app
from tests.embedded.builders import Wire, make_image_index


def main() -> None:
    directory, prefix, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    wire = Wire(create_registry_app(directory, htpasswd=None, local_only=False).test_client())
    sys.stdin.read()  # until the test has started everybody
    for number in range(count):
        tag = f"{prefix}{number}"
        wire.push("acme/hello", tag, make_image_index(annotations={"tag": tag}))
        wire.push_blob("acme/hello", tag.encode())


if __name__ == "__main__":
    main()
