"""Codes that people read and type: 16 letters and digits in groups, like `7Q4D-0X2M-9TKC-B1VN`."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter that is taken for another or for a digit."""
LENGTH = 16
"""Characters of a code, 80 bits: nobody guesses one."""
GROUP = 4
BITS = 5
"""Of each character."""

_READ_AS = str.maketrans("OIL", "011")


def draw() -> str:
    """A fresh code."""
    return _grouped("".join(secrets.choice(ALPHABET) for _ in range(LENGTH)))


def derived(secret: bytes, form: str, number: int) -> str:
    """The code of this number that belongs to a form. Whoever sends the same form again is shown the same codes, though
    none is kept; without the secret nobody finds them."""
    whole = int.from_bytes(hmac.digest(secret, f"code {number} of {form}".encode(), hashlib.sha256))
    return _grouped("".join(ALPHABET[(whole >> BITS * place) % len(ALPHABET)] for place in range(LENGTH)))


def plain(code: str) -> str:
    """What a code says, however it is typed: case, dashes and spaces do not matter, and the letters O, I and L are read
    as the digits that they look like."""
    return re.sub(r"[\s-]", "", code).upper().translate(_READ_AS)


def _grouped(text: str) -> str:
    return "-".join(text[start : start + GROUP] for start in range(0, LENGTH, GROUP))
