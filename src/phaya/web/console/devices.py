"""What kind of browser a session is of, so that its owner knows it again. Nothing else of what browsers say is kept."""

from __future__ import annotations

# The first that fits is taken: most browsers name others beside themselves.
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser/", "Samsung Internet"), ("Vivaldi/", "Vivaldi"),
    ("Firefox/", "Firefox"), ("FxiOS/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows"),
    ("Macintosh", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def device_of(agent: str) -> str | None:
    """A `User-Agent` header in a word or two, `Firefox, Windows`; None where it says neither browser nor system."""
    found = [next((name for mark, name in known if mark in agent), None) for known in (_BROWSERS, _SYSTEMS)]
    return ", ".join(name for name in found if name is not None) or None
