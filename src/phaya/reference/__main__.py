"""`python -m phaya.reference` writes the pages; with `--check` it only compares, and ends with 1 if one is stale."""

import sys

from phaya.reference import main

sys.exit(main(sys.argv[1:]))
