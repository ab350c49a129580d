"""What a download may do, as an audit hook (PEP 578) of the child process that yt-dlp runs in.

yt-dlp follows redirects and the sources in pages to whatever address they name, and knows no guard against that
(2026.10). The hook bars every connection, program and write that a download does not need. It is a wall against
what sites answer, not against code that runs here: hence no plugin, no native HTTP client, no stranger's option.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from phaya.addresses import Guard, UrlRefused

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_READABLE = ("/usr/share", "/usr/lib", "/lib", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/mime.types",
             "/etc/localtime", "/etc/os-release", "/dev/null", "/dev/urandom")  # fmt: skip
# Beginnings of files that FFmpeg may open. What it takes for a playlist or a script would have it open others.
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"sidx", b"moof", b"pnot")
_MAGIC = (
    b"\x1aE\xdf\xa3",
    b"OggS",
    b"fLaC",
    b"RIFF",
    b"RF64",
    b"FLV\x01",
    b"ID3",
    b"\x30\x26\xb2\x75",
    b"\0\0\x01\xba",
)
_NEVER = ("socket.sendto", "socket.sendmsg", "socket.bind", "os.exec", "os.system", "os.posix_spawn", "os.spawn",
          "os.fork", "os.forkpty", "os.link", "os.symlink", "os.chown", "os.chmod", "os.putenv", "os.unsetenv",
          "ctypes.dlopen", "sqlite3.connect", "pty.spawn", "ftplib.connect", "smtplib.connect")  # fmt: skip
_MOVING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "shutil.move")


class Barred(PermissionError):
    """Something was about to happen that no download needs."""


class Bars:
    """The audit hook. `refused` lists what it barred, for the report."""

    def __init__(self, order: Mapping[str, Any], folder: Path) -> None:
        self.refused: list[str] = []
        self._folder = os.path.realpath(folder)
        self._ffmpeg = os.path.realpath(order["ffmpeg"])
        self._deno = os.path.realpath(order["deno"]) if order["deno"] else None
        # Not the folders that `sys.path` begins with: the source tree of a checkout lies beside its data.
        self._readable = tuple(
            os.path.realpath(path)
            for path in (self._folder, sys.prefix, sys.base_prefix, Path(__file__).parents[1], *_READABLE)
        )
        networks = [ip_network(network) for network in order["networks"]]
        self._pages = Guard(networks=networks)
        # With a proxy nothing else is connected, and what it may reach is its own to decide.
        proxy = _resolved(order["proxy"])
        self._sockets = Guard(origins=proxy, ports=()) if proxy else self._pages
        self._events: dict[str, Callable[[tuple[Any, ...]], str | None]] = {
            "socket.connect": self._connect,
            "urllib.Request": self._request,
            "subprocess.Popen": self._program,
            "open": self._open,
            **dict.fromkeys(_MOVING, self._move),
            **dict.fromkeys(_NEVER, lambda _: "is never needed"),
        }

    @property
    def met_an_address(self) -> bool:
        """Whether a connection or a request was barred."""
        return any(one.startswith(("socket.connect", "urllib.Request")) for one in self.refused)

    def __call__(self, event: str, values: tuple[Any, ...]) -> None:
        """Raises Barred."""
        check = self._events.get(event)
        trouble = check(values) if check else None
        if trouble:
            self.refused.append(f"{event} {trouble}")
            raise Barred(f"{event}: {trouble}")

    def _connect(self, values: tuple[Any, ...]) -> str | None:
        family, target = values[0].family, values[1]
        if family in (socket.AF_INET, socket.AF_INET6) and self._sockets.permits(str(target[0]), target[1]):
            return None
        return "the address is not public"

    def _request(self, values: tuple[Any, ...]) -> str | None:
        try:
            self._pages.check_url(values[0])
        except UrlRefused as error:
            return error.message
        return None

    def _program(self, values: tuple[Any, ...]) -> str | None:
        program, arguments = os.path.realpath(os.fsdecode(values[0])), [os.fsdecode(one) for one in values[1]]
        if program == self._deno:
            return None
        if program != self._ffmpeg:
            return f"{program} is not allowed"
        if any("://" in one for one in arguments):
            return "FFmpeg gets no addresses"
        inputs = [arguments[at + 1] for at, one in enumerate(arguments[:-1]) if one == "-i"]
        return next((f"{name} is no film" for name in inputs if not _is_film(name.removeprefix("file:"))), None)

    def _open(self, values: tuple[Any, ...]) -> str | None:
        path, mode, flags = values
        if isinstance(path, int):
            return None
        real = os.path.realpath(os.fsdecode(path))
        if (flags or 0) & _WRITING or set(mode or "") & set("wax+"):
            return None if _below(real, self._folder) or real == os.devnull else f"{real} is not to be written"
        return None if any(_below(real, one) for one in self._readable) else f"{real} is not to be read"

    def _move(self, values: tuple[Any, ...]) -> str | None:
        paths = [os.path.realpath(os.fsdecode(one)) for one in values if isinstance(one, str | bytes)]
        return next((f"{path} is not to be changed" for path in paths if not _below(path, self._folder)), None)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_film(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            head = file.read(512)
    except OSError:
        return False
    transport = head[:1] == b"\x47" and head[188:189] == b"\x47"
    frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0  # MPEG sound
    return transport or frame or head[4:8] in _BOXES or head.startswith(_MAGIC)


def port_of(proxy: str) -> int:
    """The port of a proxy's address."""
    parts = urlsplit(proxy)
    return parts.port or {"https": 443, "http": 80}.get(parts.scheme, 1080)


def _resolved(proxy: str | None) -> list[tuple[str, int]]:
    if not proxy:
        return []
    port = port_of(proxy)
    found = socket.getaddrinfo(urlsplit(proxy).hostname, port, type=socket.SOCK_STREAM)
    return [(str(address[0]), port) for *_, address in found]
