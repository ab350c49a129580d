"""What a server does without, though it is installed: packages that libraries load only because they are there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator

from pydantic import BaseModel


@contextlib.contextmanager
def absent(*names: str) -> Generator[None]:
    """Inside the block these modules are missing to whoever asks for them, unless they were loaded before."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] - None is Python's word for it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def unbuilt() -> Generator[None]:
    """Models that are declared inside the block are built when they are first used."""
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
