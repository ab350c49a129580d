"""The entry of the `phaya` command, and of `python -m phaya`."""

import importlib
import sys


def main() -> None:
    """Runs a command. A server loads nothing of the other commands: it would keep them in memory for its whole life."""
    if sys.argv[1:2] in (["serve"], ["work"]):
        from phaya.absence import absent

        with absent("rich", "greenlet"):  # traces are written plainly, and no lines are kept for greenlets
            importlib.import_module("structlog")  # which looks for it here only

        from phaya.servers import program

        program()()
    else:
        from phaya.cli import app

        app()


if __name__ == "__main__":
    main()
