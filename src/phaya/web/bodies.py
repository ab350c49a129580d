"""What JSON can be read and yet not be kept, nor written again.

A body of four megabytes may hold a million lists, and nobody else is answered while we look: so orjson does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import orjson

from phaya.errors import Fault

DEEPEST = 100
"""Lists and objects that may stand within one another. orjson reads 1024 and writes `WRITTEN`; a request is written
into its row, and within what is sent to the provider."""
WRITTEN = 254

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def unfit(value: Any, body: bytes | bytearray) -> Fault | None:
    """What is wrong with the value of a JSON body, whose bytes spare most of them a closer look; None where nothing."""
    if body.count(b"[") + body.count(b"{") > DEEPEST and _too_deep(value):
        return Fault("body", f"must not have more than {DEEPEST} lists and objects within one another", "too_deep")
    if b"\\u0000" in body and _NUL.search(body):  # PostgreSQL keeps no such text
        return Fault(_field_with_nul(value), "must not hold the character U+0000", "nul")
    return None


def _too_deep(value: Any) -> bool:
    for _ in range(WRITTEN - DEEPEST):  # lists around it take the rest of what orjson writes
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def _field_with_nul(value: Any) -> str:
    if isinstance(value, dict):
        for field, one in cast("Mapping[str, Any]", value).items():
            if "\0" not in field and _NUL.search(orjson.dumps(one)):
                return field
    return "body"
