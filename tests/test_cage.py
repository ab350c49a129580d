"""What the kernel holds a child to: no file but its own, no network but its gate, no reaching out to us."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import pytest

from phaya import cage
from phaya.providers.child import Limits, missing_walls, run_child
from phaya.providers.ytdlp import confinement

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's own"),
]
READS = (Path(sys.prefix), Path(sys.base_prefix))
LIMITS = Limits(cpu_seconds=10, memory_bytes=1 << 30, file_bytes=1 << 20, wall_seconds=20, reads=READS)
FFMPEG = replace(LIMITS, memory_bytes=4 << 30, reads=())
REFUSED = "PermissionError"
FFMPEG_PROGRAM = imageio_ffmpeg.get_ffmpeg_exe()


def landlock() -> int:
    """The version that this kernel has; 0 for none."""
    return max(0, ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))


needs_landlock = pytest.mark.skipif(sys.platform == "linux" and landlock() < 6, reason="an older kernel's Landlock")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    (tmp_path / "secret").write_text("ours")
    return tmp_path / "job"


async def said(folder: Path, code: str, limits: Limits = LIMITS) -> str:
    """What a Python program printed, or the last line of its complaint."""
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    outcome = await run_child((sys.executable, "-S", "-c", code), folder=folder, limits=limits, on_line=keep)
    return " ".join(lines) if outcome.code == 0 else outcome.stderr_tail.rpartition("\n")[2]


@needs_landlock
@pytest.mark.parametrize(
    "act",
    [
        "open('/etc/passwd')",
        "open('../secret')",
        "open('../written', 'w')",
        "os.symlink('../secret', 'link')",
        "os.rename('../secret', 'mine')",
        "os.remove('../secret')",
        "os.chmod('../secret', 0o777)",
        "os.chown('../secret', 1, 1)",
        "os.utime('../secret')",
        "os.listdir('..')",
        "open(f'/proc/{os.getppid()}/environ')",
        "open(f'/proc/{os.getppid()}/mem', 'rb')",
        "os.readlink(f'/proc/{os.getppid()}/cwd')",
        "os.kill(os.getppid(), 0)",
        "os.execv('./program', ['./program'])",
        "os.mkfifo('pipe')",
        "os.setsid()",
        "os.fork()",
        "os.posix_spawn('/bin/sh', ['sh'], {})",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))",
    ],
)
async def test_a_child_can_do_nothing_but_its_work(folder: Path, act: str) -> None:
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    code = f"import os, resource, socket\n{act}\nprint('done')"

    assert (await said(folder, code)).startswith(REFUSED)
    assert sorted(one.name for one in folder.parent.iterdir()) == ["job", "secret"]


async def test_what_this_kernel_cannot_hold_a_child_to_is_told() -> None:
    told = " ".join(missing_walls())

    assert [word in told for word in ("files", "ports", "signals")] == [landlock() < since for since in (1, 4, 6)]


async def test_a_child_does_its_work(folder: Path) -> None:
    work = "import os, threading; os.mkdir('a'); open('a/b', 'w').write('x'); os.rename('a/b', 'c'); os.remove('c')"
    thread = "one = threading.Thread(target=print, args=('done',)); one.start(); one.join()"

    assert await said(folder, f"{work}; {thread}") == "done"


@needs_landlock
async def test_a_child_reads_only_what_is_named(folder: Path) -> None:
    named = replace(LIMITS, reads=[*READS, folder.parent / "secret"])

    assert await said(folder, "print(open('../secret').read())", named) == "ours"
    assert (await said(folder, "open('../secret', 'a')", named)).startswith(REFUSED)


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    """Where something listens on loopback."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@needs_landlock
async def test_a_child_connects_to_the_ports_that_are_named(folder: Path, port: int) -> None:
    code = f"import socket; socket.create_connection(('127.0.0.1', {port})); print('connected')"

    assert await said(folder, code, replace(LIMITS, ports=[port])) == "connected"
    assert (await said(folder, code, replace(LIMITS, ports=[port + 1]))).startswith(REFUSED)


@needs_landlock
@pytest.mark.parametrize(
    "act",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socket().bind(('127.0.0.1', 0))",
    ],
)
async def test_a_child_with_a_way_out_has_no_other(folder: Path, act: str) -> None:
    assert (await said(folder, f"import socket; {act}", replace(LIMITS, ports=[1]))).startswith(REFUSED)


@needs_landlock
@pytest.mark.parametrize(
    "act", ["open(f'/proc/{os.getppid()}/environ')", "open('/etc/passwd')", "open('../secret')", "socket.socket(1)"]
)
async def test_a_download_reads_nothing_of_ours(folder: Path, act: str) -> None:
    """Also where it may start a JavaScript runtime."""
    limits = confinement(Path(FFMPEG_PROGRAM), Path("/bin/true"), 80, seconds=20, most=1000)

    assert (await said(folder, f"import os, socket; {act}", limits)).startswith(REFUSED)


FORKS = """
import os, time
count = 0
while True:
    try:
        if not os.fork():
            time.sleep(30); os._exit(0)
    except OSError as error:
        break
    count += 1
print(count)
"""


async def test_a_fork_bomb_does_not_go_off(folder: Path) -> None:
    assert await said(folder, FORKS) == "0"


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to become")
async def test_a_fork_bomb_of_a_program_that_may_fork_is_stopped_by_its_limit(tmp_path: Path) -> None:
    """Root may exceed the limit, so another user runs this one."""
    source = Path(cage.__file__).read_text()
    limits = {
        "cpu_seconds": 10, "memory_bytes": 1 << 30, "file_bytes": 1 << 20, "nice": 10, "folder": "/", "reads": ["/"],
        "ports": [], "datagrams": False, "processes": 20, "forks": True,
    }  # fmt: skip
    imports = "import __future__, collections.abc, ctypes, errno, json, os, platform, resource, signal, socket"
    imports += ", stat, struct, typing"
    code = f"{imports}\nos.setgid(65534); os.setuid(65534)\nCAGE = {source!r}\n"
    code += f"limits = {limits!r} | {{'parent': os.getppid()}}\n"
    code += "space = {'__name__': 'cage'}\nexec(CAGE, space)\nspace['confine'](limits)\n" + FORKS
    with (tmp_path / "count").open("wb") as told:  # a pipe would be held open by those that it forks
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", "-c", code), cwd=tmp_path, stdout=told, start_new_session=True
        )
    try:
        await process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    count = int((tmp_path / "count").read_text() or 0)

    assert 0 < count <= 20


PICTURES = ("-f", "lavfi", "-i", "testsrc=s=64x64:d=1")
WIDE_OPEN = ("-nostdin", "-v", "error", "-y", "-protocol_whitelist", "file,http,tcp,crypto,data")
SCRIPTS = {
    "list.m3u8": ("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n", ()),
    "list.ffconcat": ("ffconcat version 1.0\nfile '{target}'\n", ("-f", "concat", "-safe", "0")),
}


@needs_landlock
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("place", ["file", "network"])
async def test_ffmpeg_opens_nothing_that_a_script_names(folder: Path, script: str, place: str) -> None:
    """Though it is told to open whatever is named, as our renderer never tells it, and does so without the cage."""
    make = await asyncio.create_subprocess_exec(FFMPEG_PROGRAM, "-v", "error", *PICTURES, "film.ts", cwd=folder.parent)
    assert await make.wait() == 0
    met: list[bool] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(True)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        target = f"{folder.parent}/film.ts" if place == "file" else f"http://127.0.0.1:{port}/film.ts"
        content, chosen = SCRIPTS[script]
        (folder / script).write_text(content.format(target=target))
        argv = (FFMPEG_PROGRAM, *WIDE_OPEN, *chosen, "-i", script, "out.mp4")

        await run_child(argv, folder=folder, limits=FFMPEG)
        caged = written(folder / "out.mp4") or bool(met)
        free = await asyncio.create_subprocess_exec(*argv, cwd=folder, stderr=subprocess.DEVNULL)
        await free.wait()

    assert not caged
    assert written(folder / "out.mp4") or met


def written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


async def test_a_socket_of_the_server_is_not_inherited(folder: Path) -> None:
    """Not even one that some library left inheritable."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.set_inheritable(True)
    try:
        outcome = await said(folder, f"import os; os.fstat({listener.fileno()})")
    finally:
        listener.close()

    assert outcome.startswith("OSError: [Errno 9]")
