"""Lets `python -m benchmarks` run them."""

import sys

from benchmarks.run import main

sys.exit(main())
