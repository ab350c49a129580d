"""Downloads films from other sites, with yt-dlp in a guarded child process."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import sys
import sysconfig
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]

from phaya.addresses import Guard, UrlRefused
from phaya.calls import Download, LocalCall
from phaya.folders import fresh_folder
from phaya.providers import Made, Rejected, Report, Unavailable
from phaya.providers.child import Limits, run_child
from phaya.providers.download_bars import port_of
from phaya.providers.download_refusals import SENTENCES, Failure
from phaya.providers.gateway import Gateway
from phaya.providers.platforms import Platforms

LOOK_SECONDS = 25.0
LOOKS = 4
"""Pages looked at at a time."""
REMEMBERED_SECONDS = 120.0
"""How long what a look found is good for, so that an estimate and the order after it are one look."""
REMEMBERED = 256

_CHILD = Path(__file__).with_name("download_child.py")
# The code that runs there, and what certificates are checked and a proxy's name is looked up by. Never `/proc`: our
# environment can be read there, and Deno 2.9 does without.
_READABLE = tuple(
    Path(path)
    for path in (sys.prefix, sys.base_prefix, Path(__file__).parents[2], "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
                 "/etc/mime.types", "/etc/os-release", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf",
                 "/etc/host.conf", "/etc/gai.conf")
)  # fmt: skip
_MEMORY = 4 << 30
_DENO_MEMORY = 1 << 40  # V8 reserves far more address space than it uses
_MP3_BYTES = 24_000  # a second, at 192 kbit/s
_FILM_BYTES = 1_250_000  # a second of film whose size nobody says, 10 Mbit/s


class YtDlp:
    """The downloader. `folder` is for looks; `most_bytes` the largest file, `wall_seconds` the longest time.

    `networks` may be connected besides public addresses; with a `proxy` nothing but it is connected.
    """

    name = "ytdlp"

    def __init__(
        self,
        platforms: Platforms,
        folder: Path,
        *,
        most_bytes: int,
        wall_seconds: float = 600,
        networks: Sequence[IPv4Network | IPv6Network] = (),
        proxy: str | None = None,
        cookies: Path | None = None,
    ) -> None:
        self._platforms = platforms
        self._folder = folder
        self._most = most_bytes
        self._wall_seconds = wall_seconds
        self._networks = tuple(networks)
        self._guard = Guard(networks=self._networks)
        self._proxy = proxy
        self._cookies = cookies
        self._looks = asyncio.Semaphore(LOOKS)
        self._seen: dict[Download, tuple[float, int | None]] = {}

    async def foresee(self, call: Download) -> int | None:
        """The bytes that the file will have at the most, by what the site says; None where it does not.

        Raises Rejected where the page is refused or holds nothing to download, Unavailable where it was not reached.
        """
        until, size = self._seen.get(call, (0.0, None))
        if until > time.monotonic():
            return size
        url = self._checked(call.url)
        self._folder.mkdir(parents=True, exist_ok=True)
        async with self._looks, fresh_folder(self._folder) as folder:
            try:
                answer = await self._ask(call, url, folder, look=True)
            except TimeoutError:
                return None
        found = answer.get("found")
        if found is None:
            failure = _failure(answer)
            if failure.why == "unreachable":
                raise Unavailable(f"{SENTENCES['unreachable'][1]}", failure.detail)
            raise self._refusal(failure)
        size = expected(call, found)
        if size is not None and size[0] > self._most:
            raise Rejected(f"the film is larger than {self._most // 1_000_000} MB", code="source_too_large")
        most = size and min(size[1], self._most)
        while len(self._seen) >= REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[call] = (time.monotonic() + REMEMBERED_SECONDS, most)
        return most

    async def run(self, call: LocalCall, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
        """Downloads into `folder`. Raises Rejected or Unavailable."""
        assert isinstance(call, Download)
        most = min(call.limit, self._most)
        try:
            answer = await self._ask(call, self._checked(call.url), folder, look=False, report=report)
        except TimeoutError as error:
            raise Rejected(
                f"The download took longer than {self._wall_seconds:g} seconds.", code="source_timeout"
            ) from error
        name = answer.get("file")
        file = folder / Path(str(name)).name
        if name is None or file.is_symlink() or not file.is_file():
            raise self._refusal(_failure(answer), most)
        size = file.stat().st_size
        if size > most:
            raise self._refusal(Failure(f"the file has {size} bytes", "large"), most)
        return Made([file], {"bytes": size})

    def _checked(self, url: str) -> str:
        """The address without its fragment, in which yt-dlp would look for instructions. Raises Rejected."""
        try:
            parsed = self._guard.check_url(url)
        except UrlRefused as error:
            raise Rejected(f"is refused: {error.message}", code="source_unsupported") from error
        if not self._platforms.serve(parsed.raw_host or ""):
            raise Rejected(self._platforms.sentence, code="source_unsupported")
        return str(parsed)

    def _refusal(self, failure: Failure, most: int | None = None) -> Rejected:
        code, reason = SENTENCES[failure.why]
        if failure.why == "large" and most is not None:
            reason = f"the film is larger than the {most // 1_000_000} MB that were held for it"
        if failure.why == "unsupported":
            reason = f"no film was found there; {self._platforms.sentence}"
        if most is not None:  # of a job: a sentence that stands alone
            reason = f"The download failed: {reason}."
        return Rejected(reason, failure.detail, code)

    async def _ask(
        self, call: Download, url: str, folder: Path, *, look: bool, report: Report | None = None
    ) -> dict[str, Any]:
        """The child's last words, and what the gateway did not connect for it."""
        if self._proxy is not None:  # what it may reach is its own to decide
            return await self._child(call, url, folder, self._proxy, look=look, report=report)
        async with Gateway(self._guard) as gateway:
            answer = await self._child(call, url, folder, gateway.url, look=look, report=report)
        if gateway.refused and "file" not in answer:  # a film whose parts lead inside is none
            failed: dict[str, Any] = {"text": "it leads to an address that is not public"} | (
                answer.get("failed") or {}
            )
            return {"failed": failed | {"barred": [*failed.get("barred", ()), *gateway.refused]}}
        return answer

    async def _child(
        self, call: Download, url: str, folder: Path, proxy: str, *, look: bool, report: Report | None = None
    ) -> dict[str, Any]:
        """The child's last words, by their name. Raises TimeoutError, or Unavailable where it said none."""
        try:
            ffmpeg = await asyncio.to_thread(imageio_ffmpeg.get_ffmpeg_exe)
        except RuntimeError as error:
            raise Unavailable("the downloader is not installed", str(error), retry_after=600) from error
        deno = _deno()
        sound = call.format == "mp3" or call.quality == "audio"
        # Sound is often cut out of a film that is much larger; and before parts are joined they are a little more.
        most = self._most if sound else min(self._most, call.limit) * 11 // 10 + 1_000_000
        order: dict[str, Any] = {
            "url": url,
            "look": look,
            "format": call.format,
            "quality": call.quality,
            "extractors": self._platforms.extractors,
            "networks": [str(network) for network in self._networks],
            "proxy": proxy,
            "cookies": self._copied_cookies(folder),
            "ffmpeg": ffmpeg,
            "deno": deno,
            "most": most,
        }
        (folder / "order.json").write_text(json.dumps(order))
        seconds = LOOK_SECONDS if look else self._wall_seconds
        limits = confinement(
            Path(ffmpeg),
            Path(deno) if deno else None,
            port_of(proxy),
            seconds=seconds,
            most=most,
            names=self._proxy is not None,
        )
        words: dict[str, Any] = {}
        argv = (sys.executable, "-I", str(_CHILD))
        outcome = await run_child(argv, folder=folder, limits=limits, on_line=_reader(words, report))
        if outcome.timed_out:
            raise TimeoutError
        if not words:
            complaint = f"the child ended with {outcome.code}: {outcome.stderr_tail}"
            raise Unavailable("the downloader was stopped", complaint, retry_after=15)
        if "No space left" in str(words.get("failed")):
            raise Unavailable("there is no room for the film", str(words), retry_after=60)
        return words

    def _copied_cookies(self, folder: Path) -> str | None:
        """yt-dlp writes its cookies back: it gets a copy, which is gone with the folder."""
        if self._cookies is None:
            return None
        try:
            return shutil.copyfile(self._cookies, folder / "cookies.txt").name
        except OSError as error:
            raise Unavailable("the operator's cookie file cannot be read", str(error), retry_after=600) from error


def confinement(
    ffmpeg: Path, deno: Path | None, port: int, *, seconds: float, most: int, names: bool = False
) -> Limits:
    """What a download of `most` bytes may use. It connects to one `port`, and looks `names` up only where that is a
    proxy of the operator's."""
    return Limits(
        cpu_seconds=math.ceil(seconds * 2),
        memory_bytes=_DENO_MEMORY if deno else _MEMORY,
        file_bytes=most * 2 + (64 << 20),
        wall_seconds=seconds,
        reads=[*_READABLE, ffmpeg, *([deno] if deno else [])],
        ports=[port],
        datagrams=names,
        forks=True,
    )


def expected(call: Download, found: Mapping[str, Any]) -> tuple[int, int] | None:
    """By what a look found: the bytes that the file will have as likely as not, and at the most."""
    size, seconds = found.get("bytes"), found.get("seconds")
    sound = call.format == "mp3" or call.quality == "audio"
    if sound and call.format != "best":
        if seconds:
            likely = math.ceil(seconds * _MP3_BYTES)
            return likely, likely * 102 // 100 + 100_000
        # Sound of few bits grows when it is made MP3; that of a film is a part of it.
        return None if size is None else (size, size * (4 if found.get("pure") else 2))
    if size is not None:
        return size, size * (102 if found.get("exact") else 125) // 100 + 100_000
    likely = math.ceil(seconds * _FILM_BYTES) if seconds else None
    return None if likely is None else (0, likely)


def _failure(words: Mapping[str, Any]) -> Failure:
    failed = words.get("failed")
    return Failure(**failed) if failed else Failure(f"no file: {words}", "nothing")


def _reader(words: dict[str, Any], report: Report | None) -> Callable[[str], Awaitable[None]]:
    """Reports the share that is done, and keeps every other word."""

    async def read(line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        share = said.pop("share", None)
        words.update(said)
        if share is not None and report is not None:
            await report(share)

    return read


def _deno() -> str | None:
    """The JavaScript runtime that YouTube's pages need, where it is installed."""
    return shutil.which("deno", path=sysconfig.get_path("scripts")) or shutil.which("deno")
