"""`python -m phaya` is the `phaya` command."""

from phaya.cli import main

main()
