"""How a command begins, and how it ends at a mistake; without what paints tables, which servers never need."""

from __future__ import annotations

import sys
from typing import NoReturn

from pydantic import ValidationError

from phaya.settings import Settings


def read_settings() -> Settings:
    """The environment; ends with one sentence where it has a mistake."""
    try:
        return Settings()
    except ValidationError as error:
        # Not the error's own text, which repeats what was given: that may be a secret.
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        stop(f"The environment has a mistake: {faults}")
    except ValueError as error:  # a file that a secret is to be in
        stop(f"The environment has a mistake: {error}")


def stop(message: str, code: int = 1) -> NoReturn:
    """Says what is wrong on stderr, and ends."""
    from rich.console import Console

    Console(stderr=True).print(f"[red]{message}[/red]", highlight=False)
    sys.exit(code)
