"""Imports run one way: the layers of pyproject.toml hold."""

from __future__ import annotations

from importlinter.cli import lint_imports


def test_imports_run_one_way() -> None:
    assert lint_imports(no_cache=True) == 0
