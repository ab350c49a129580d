"""The Prefer header (RFC 7240): what a client would like, and may do without."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import Request

_PREFERENCE = re.compile(
    r"""\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*
    (?:=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^\s",;]*)))?
    (?:[^",]|"(?:[^"\\]|\\.)*")*(?:,|$)""",
    re.VERBOSE,
)


def preferences(request: Request) -> Mapping[str, str]:
    """The preferences by their names in lower case; of one that is named twice the first counts.

    Parameters behind a semicolon are left out, and what cannot be read is no preference.
    """
    found: dict[str, str] = {}
    for line in request.headers.getlist("prefer"):
        for part in _PREFERENCE.finditer(line):
            value = part["quoted"] if part["quoted"] is not None else part["token"] or ""
            found.setdefault(part["name"].lower(), value)
    return found
