"""Why a download came to nothing, in sentences for users: from yt-dlp's words, which differ from site to site."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SENTENCES: Mapping[str, tuple[str, str]] = {
    "address": ("source_unavailable", "the page leads to an address that is not public"),
    "unsupported": ("source_unsupported", "the page is not of a supported site, or holds no film"),
    "several": ("source_unsupported", "the page holds several films; give the address of one of them"),
    "live": ("source_live", "the film is a live stream; it can be downloaded when it is over"),
    "large": ("source_too_large", "the film is too large"),
    "drm": ("source_unavailable", "the film is protected against copying"),
    "geo": ("source_unavailable", "the film may not be seen in the country of this server"),
    "sign_in": (
        "source_unavailable",
        "the site asks for a sign-in, or takes this server for a robot; the operator can give cookies or a proxy",
    ),
    "busy": ("source_unavailable", "the site refuses more requests from this server for now; try again later"),
    "private": ("source_unavailable", "the film is private, was removed, or never was there"),
    "runtime": (
        "source_unavailable",
        "the site's films need a JavaScript runtime, which is not installed here; the operator can install "
        "phaya[youtube]",
    ),
    "unreachable": ("source_unavailable", "the site could not be reached"),
    "nothing": ("source_unavailable", "the site gave no film that can be used"),
}
"""For each kind of failure an error code, and what is wrong, as the part of a sentence."""

# In the order in which they are looked for: a sign-in is asked for in sentences that say "private", too.
_WORDS = tuple(
    (kind, re.compile(words, re.IGNORECASE))
    for kind, words in (
        ("unsupported", r"no suitable extractor|unsupported ?url|UnsupportedError"),
        ("drm", r"\bDRM\b"),
        ("geo", r"GeoRestricted|geo.?restrict|in your (country|region|location)|from your location"),
        ("busy", r"HTTP Error 429|rate.?limit|too many requests"),
        (
            "sign_in",
            r"\bsign in|\blog ?in\b|login required|--cookies|not a bot|age.?restricted|authenticat|HTTP Error 401",
        ),
        ("live", r"UserNotLive|live event|is offline|premieres in"),
        ("private", r"\bprivate\b|unavailable|removed|deleted|does not exist|not (be )?found|HTTP Error 4(03|04|10)"),
        (
            "unreachable",
            r"timed? ?out|refused|unreachable|not known|name resolution|no address|reset by|SSL|certificate|"
            r"TransportError|IncompleteRead|ProxyError|HTTP Error 5\d\d|unable to connect",
        ),
    )
)


@dataclass(frozen=True)
class Failure:
    """What the child said: `kind` where it knows it itself, yt-dlp's text, what was barred, and warnings."""

    text: str
    kind: str | None = None
    barred: Sequence[str] = field(default_factory=tuple[str, ...])
    warnings: Sequence[str] = field(default_factory=tuple[str, ...])

    @property
    def why(self) -> str:
        """A key of SENTENCES."""
        if self.kind is not None and self.kind in SENTENCES:
            return self.kind
        if any(one.startswith(("socket.connect", "urllib.Request")) for one in self.barred):
            return "address"
        found = next((kind for kind, words in _WORDS if words.search(self.text)), "nothing")
        needs = any("javascript runtime" in one.lower() for one in self.warnings)
        return "runtime" if found == "nothing" and needs else found

    @property
    def detail(self) -> str:
        """Everything, for the operator."""
        return "; ".join([self.text, *self.barred, *self.warnings])
