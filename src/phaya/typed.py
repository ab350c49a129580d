"""What an operator typed, read: amounts and words. What is wrong with it is told by its field's name."""

from __future__ import annotations

from phaya.credits import Credits, credits
from phaya.errors import Fault, Invalid


def read_amount(field: str, text: str) -> Credits:
    """An amount of credits. Raises Invalid."""
    try:
        return credits(text)
    except ValueError as error:
        raise Invalid(Fault(field, str(error))) from None


def read_words(field: str, text: str, longest: int) -> str:
    """Words on one line. Raises Invalid where there are none, or too many."""
    words = " ".join(text.split())
    if not 1 <= len(words) <= longest:
        raise Invalid(Fault(field, f"must have 1 to {longest} characters"))
    return words
