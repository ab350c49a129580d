"""Looks at or downloads one film with yt-dlp. Runs in the child process only, behind its bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import yt_dlp
from yt_dlp.networking import HEADRequest
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import DownloadCancelled

from phaya.providers.download_bars import Bars

Order = Mapping[str, Any]
Info = dict[str, Any]
Tell = Callable[..., None]

NAME = "film"


class Stop(DownloadCancelled):
    """The film is not to be had; `kind` says why in one word."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Log:
    """Takes yt-dlp's messages; its warnings tell what a failure was about."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        """Progress and chatter."""

    def warning(self, message: str) -> None:
        """Kept for the report."""
        self.warnings = [*self.warnings[-19:], message]

    error = warning


def options(order: Order, log: Log) -> dict[str, Any]:
    """yt-dlp's options. Nothing of the stranger's request is among them but two words of fixed lists."""
    sound = order["format"] == "mp3" or order["quality"] == "audio"
    height = order["quality"].removesuffix("p")
    size = f"res:{height}" if height.isdigit() else "res"
    after: list[dict[str, str]] = []
    if sound:
        codec = "best" if order["format"] == "best" else "mp3"
        after.append({"key": "FFmpegExtractAudio", "preferredcodec": codec, "preferredquality": "192"})
    else:
        # Sound alone keeps its own container, and `best` any that players know.
        kept = "mp3>mp3/m4a>m4a/opus>opus/ogg>ogg/wav>wav/flac>flac/aac>m4a/"
        form = "mp4" if order["format"] == "mp4" else "mp4>mp4/webm>webm/mkv>mkv/mov>mov/m4v>m4v/mkv"
        after.append({"key": "FFmpegVideoRemuxer", "preferedformat": kept + form})
    return {
        "format": "ba/b" if sound else "bv*+ba/b/ba",
        "format_sort": ["vcodec:h264", size, "acodec:aac"] if order["format"] == "mp4" else [size],
        "merge_output_format": "mp4" if order["format"] == "mp4" else None,
        "postprocessors": after,
        "outtmpl": {"default": f"{NAME}.%(ext)s"},
        "allowed_extractors": order["extractors"],
        "noplaylist": True,
        "playlist_items": "1:2",
        "proxy": order["proxy"] or "",
        "cookiefile": order["cookies"],
        "ffmpeg_location": order["ffmpeg"],
        "js_runtimes": {"deno": {"path": order["deno"]}} if order["deno"] else {},
        "external_downloader": {"default": "native"},
        "enable_file_urls": False,
        "cachedir": False,
        "updatetime": False,
        "ignoreerrors": False,
        "quiet": True,
        "noprogress": True,
        "logger": log,
        "socket_timeout": 15,
        "retries": 2,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "file_access_retries": 0,
        "max_filesize": None,
    }


def one_film(found: Info | None) -> Info:
    """The one film that was found. Raises Stop where there is none, there are several, or it is not over."""
    if not found:
        raise Stop("nothing")
    if found.get("_type", "video") != "video":
        entries = [entry for entry in found.get("entries") or () if entry]
        if len(entries) != 1 or (found.get("playlist_count") or 1) > 1:
            raise Stop("several" if entries else "nothing")
        return one_film(entries[0])
    if found.get("is_live") or found.get("live_status") in ("is_live", "is_upcoming", "post_live"):
        raise Stop("live")
    if not all(str(part.get("url")).startswith(("http://", "https://")) for part in _parts(found)):
        raise Stop("nothing")
    return found


def _parts(film: Info) -> list[Info]:
    """The files that are to be loaded for a film: picture and sound may be apart."""
    return film.get("requested_formats") or [film]


class Work:
    """One order being carried out; `tell` takes what the parent is told."""

    def __init__(self, order: Order, bars: Bars, log: Log, tell: Tell) -> None:
        self._order = order
        self._bars = bars
        self._tell = tell
        self._options = options(order, log)
        self._loaded: dict[str, int] = {}
        self._parts = 1

    def look(self) -> None:
        """Tells what is known of the film's size: bytes where the site says them, seconds of playing time."""
        with _reader(self._options) as reader:
            film = one_film(reader.extract_info(self._order["url"], download=False))
            parts = _parts(film)
            exact: list[int | None] = [part.get("filesize") or self._told(reader, part) for part in parts]
            rough = [size or part.get("filesize_approx") or 0 for size, part in zip(exact, parts, strict=True)]
        self._tell(
            found={
                "bytes": sum(rough) if all(rough) else None,
                "exact": all(exact),
                "seconds": film.get("duration"),
                "pure": all(part.get("vcodec") == "none" for part in parts),
            }
        )

    def load(self) -> None:
        """Downloads the film and tells its file's name."""
        hooks: dict[str, Any] = {
            "match_filter": self._admit,
            "progress_hooks": [self._progress],
            "postprocessor_hooks": [self._finishing],
        }
        with _reader(self._options | hooks) as reader:
            film = one_film(reader.extract_info(self._order["url"], download=True))
        files: list[Info] = film.get("requested_downloads") or [{}]
        name: str | None = files[0].get("filepath")
        if not name:
            raise Stop("nothing")
        self._tell(file=Path(name).name)

    def _told(self, reader: Any, part: Info) -> int | None:
        """The size that the file's server tells, where it is one plain file. Raises Stop where it must not be asked."""
        if part.get("protocol") not in ("http", "https"):
            return None
        with suppress(RequestError, ValueError):
            with reader.urlopen(HEADRequest(part["url"], headers=part.get("http_headers") or {})) as answer:
                length = int(answer.headers.get("Content-Length") or 0)
            return length or None
        if self._bars.met_an_address:
            raise Stop("address")
        return None

    def _finishing(self, _: Info) -> None:
        self._tell(share=0.95)

    def _admit(self, film: Info, *, incomplete: bool = False) -> None:
        """yt-dlp's own filters skip without a word; this one ends everything with the reason."""
        if not incomplete:
            if (film.get("n_entries") or 1) > 1:
                raise Stop("several")
            one_film(film)
            self._parts = len(_parts(film))

    def _progress(self, state: Info) -> None:
        """Counts bytes as they arrive: a body without a length is only seen to be too large here."""
        loaded, total = state.get("downloaded_bytes") or 0, state.get("total_bytes")
        self._loaded[str(state.get("filename"))] = max(loaded, total or 0)
        if sum(self._loaded.values()) > self._order["most"]:
            raise Stop("large")
        expected = total or state.get("total_bytes_estimate")
        if expected:
            done = len(self._loaded) - 1 + min(1.0, loaded / expected)
            self._tell(share=0.9 * min(1.0, done / self._parts))


def _reader(options: dict[str, Any]) -> Any:
    # Its types change with every release, and know half of the options.
    return yt_dlp.YoutubeDL(cast("Any", options))
