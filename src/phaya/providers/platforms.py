"""The sites that films may be downloaded from: by what name an operator chooses them, what their hosts are,
and which of yt-dlp's extractors read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ANY = "generic"
"""The name that stands for every other page: off unless the operator names it."""


@dataclass(frozen=True)
class Platform:
    """One site. `extractors` are patterns of yt-dlp's extractor names, in lower case; `hosts` include their
    subdomains, and are empty where the site cannot be told by its host."""

    name: str
    title: str
    hosts: tuple[str, ...]
    extractors: tuple[str, ...]

    def serves(self, host: str) -> bool:
        """Whether a host is one of this site's."""
        return any(host == one or host.endswith(f".{one}") for one in self.hosts)


KNOWN = {
    platform.name: platform
    for platform in (
        Platform("youtube", "YouTube", ("youtube.com", "youtu.be", "youtube-nocookie.com"), ("youtube.*",)),
        Platform("tiktok", "TikTok", ("tiktok.com",), ("tiktok.*", "vm.tiktok")),
        Platform("facebook", "Facebook", ("facebook.com", "fb.watch"), ("facebook.*",)),
        Platform("instagram", "Instagram", ("instagram.com",), ("instagram.*",)),
        Platform("twitter", "X (Twitter)", ("x.com", "twitter.com", "t.co"), ("twitter.*",)),
        Platform("vimeo", "Vimeo", ("vimeo.com",), ("vimeo.*",)),
        Platform("dailymotion", "Dailymotion", ("dailymotion.com", "dai.ly"), ("dailymotion.*",)),
        Platform("bilibili", "Bilibili", ("bilibili.com", "bilibili.tv", "b23.tv"), ("bili.*",)),
        Platform("soundcloud", "SoundCloud", ("soundcloud.com",), ("soundcloud.*",)),
        Platform("twitch", "Twitch", ("twitch.tv",), ("twitch.*",)),
        Platform("reddit", "Reddit", ("reddit.com", "redd.it"), ("reddit.*",)),
        Platform("pinterest", "Pinterest", ("pinterest.com", "pin.it"), ("pinterest.*",)),
        Platform(ANY, "any other site", (), (ANY, "html5")),
    )
}
DEFAULT = tuple(name for name in KNOWN if name != ANY)


@dataclass(frozen=True)
class Platforms:
    """The sites that are allowed on this Phaya."""

    allowed: tuple[Platform, ...]

    @classmethod
    def named(cls, names: Sequence[str]) -> Platforms:
        """The sites by the operator's names; a name that is not known here is taken for an extractor of yt-dlp's."""
        return cls(tuple(_named(name.strip().lower()) for name in names))

    def serve(self, host: str) -> bool:
        """Whether a film at this host may be looked for; true also where only yt-dlp can tell."""
        host = host.lower().rstrip(".")
        return any(not platform.hosts or platform.serves(host) for platform in self.allowed)

    @property
    def extractors(self) -> list[str]:
        """Patterns of the extractors that may be used."""
        return [pattern for platform in self.allowed for pattern in platform.extractors]

    @property
    def sentence(self) -> str:
        """What is allowed, for an error."""
        return "it must be a film's page at " + ", ".join(platform.title for platform in self.allowed)


def _named(name: str) -> Platform:
    return KNOWN.get(name) or Platform(name, name.capitalize(), (), (name,))
