"""Chance that can be repeated: the same words give the same course of numbers."""

from __future__ import annotations

from random import Random


def chance(*words: str) -> Random:
    """A generator that starts from the words."""
    return Random("\n".join(words))  # noqa: S311 (nothing here is secret)
