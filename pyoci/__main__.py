"""`python -m pyoci` is the `pyoci` command."""

import sys

from pyoci.cli import main

sys.exit(main())
