"""Whatever a file does to the process that decodes it, it does to that process alone.

A picture that takes over its decoder is played by a child of ours in which Pillow is replaced: it runs the Python that
follows the first bytes of a PNG. Everything else of it is the real child, behind the real walls.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from cluster import cluster
from conftest import Clock
from phaya.decoding.decoder import Decoder
from phaya.decoding.formats import Unreadable
from phaya.decoding.process import Bounds
from phaya.errors import Overloaded, StorageDown
from test_cage import needs_landlock
from test_child import alive, gone
from test_shields import png

pytestmark = pytest.mark.anyio

BOUNDS = Bounds(file_seconds=60)
TAKEN_OVER = """
import json, sys, types
sys.path[:] = json.loads(sys.argv[1])["paths"]
import errno, fcntl, os, resource, signal, socket, time
from phaya.decoding import child, formats

def work(file, *others):
    space = globals() | {"file": file, "others": others, "found": {"width": 1, "height": 1}}
    try:
        exec(file.read()[8:].decode(), space)
    except PermissionError:
        raise formats.Unreadable("PermissionError")
    return space["found"]

library = types.ModuleType("phaya.decoding.pictures")
library.READING, library.WRITING = {"measure": work}, {"clean": work}
sys.modules[library.__name__] = library
child.main()
"""


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


@asynccontextmanager
async def taken_over(bounds: Bounds = BOUNDS, clock: Clock | None = None) -> AsyncGenerator[Decoder]:
    """A decoder that pictures take over."""
    async with Decoder(clock, bounds, (sys.executable, "-I", "-S", "-c", TAKEN_OVER)) as decoder:
        yield decoder


@pytest.fixture(scope="module")
async def prey() -> AsyncGenerator[Decoder]:
    """One that the tests of a module share."""
    async with taken_over() as decoder:
        yield decoder


def hostile(folder: Path, act: str) -> Path:
    (path := folder / "hostile.png").write_bytes(b"\x89PNG\r\n\x1a\n" + act.encode())
    return path


def small(folder: Path, form: str = "PNG") -> Path:
    Image.new("RGB", (40, 20), "red").save(path := folder / "small", form)
    return path


async def outcome(decoder: Decoder, path: Path) -> str:
    """What is said of a file that cannot be read."""
    with pytest.raises(Unreadable) as caught:
        await decoder.measure(path)
    return caught.value.message


@needs_landlock
@pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's own")
@pytest.mark.parametrize(
    "act",
    [
        "open('/etc/passwd')",
        "open(os.__file__)",
        "open('/dev/null')",
        "open('/proc/self/environ')",
        "open(f'/proc/{os.getppid()}/environ')",
        "open(f'/proc/self/fd/{file.fileno()}')",
        "open('{folder}/secret')",
        "open('{folder}/written', 'w')",
        "os.listdir('{folder}')",
        "os.remove('{folder}/secret')",
        "os.rename('{folder}/secret', '{folder}/mine')",
        "os.chmod('{folder}/secret', 0o777)",
        "os.chown('{folder}/secret', 1, 1)",
        "os.utime('{folder}/secret')",
        "os.mkdir('{folder}/made')",
        "os.symlink('{folder}/secret', '{folder}/link')",
        "os.execv('/bin/sh', ['sh'])",
        "os.fork()",
        "os.setsid()",
        "os.kill(os.getppid(), 0)",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))",
    ],
)
async def test_a_picture_that_takes_over_its_decoder_opens_no_file_and_no_socket(
    prey: Decoder, tmp_path: Path, act: str
) -> None:
    (secret := tmp_path / "secret").write_text("ours")
    secret.chmod(0o600)
    before = secret.stat()

    assert await outcome(prey, hostile(tmp_path, act.replace("{folder}", str(tmp_path)))) == "PermissionError"
    assert secret.stat() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["hostile.png", "secret"]


async def test_a_decoder_has_its_socket_and_the_file_and_nothing_else(
    prey: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIE_API_KEY", "secret")
    probe = "for n in range(4 + file.fileno()):\n try: fcntl.fcntl(n, fcntl.F_GETFD)\n except OSError: continue\n"
    act = f"held = []\n{probe} else: held.append(n)\nfound['width'], found['height'] = len(held), len(os.environ)"

    found = await prey.measure(hostile(tmp_path, act))

    # Its socket, what swallows its words twice, and the file; three variables of ours and what Python adds.
    assert (found.width, found.height <= 4) == (4, True)
    assert await outcome(prey, hostile(tmp_path, "assert 'KIE_API_KEY' in os.environ")) == "it could not be read"


@pytest.mark.parametrize(
    "act",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os._exit(0)",
        "os.close(0)",
        "raise RuntimeError('a fault\\nof ours')",
        "os.write(0, b'nonsense')",
        "os.write(0, b'\\xff\\xff\\xff\\xff' + bytes(1000))",
        "os.write(0, b'\\0\\0\\0\\2[]')",
        "os.write(0, b'\\0\\0\\0\\2{}')",
        "os.write(0, b'\\0\\0\\0\\2{}' * 5000)",
        "os.write(0, b'\\0\\0\\x40\\0' + b'[' * 0x4000)",
        "found = []",
        "found = {'width': 1}",
        "found['width'] = -1",
        "found['width'] = 1.5",
        "found['width'] = True",
        "found['width'] = 'wide'",
        "found['width'] = 10**9",
        "found['width'] = found['height'] = 90_000",
        "found['width'] = float('inf')",
        "raise formats.Unreadable('two\\nlines')",
        "raise formats.Unreadable('words ' * 100)",
    ],
)
async def test_a_file_by_which_a_decoder_ends_or_talks_nonsense_cannot_be_read_and_the_next_one_can(
    prey: Decoder, tmp_path: Path, act: str
) -> None:
    assert await outcome(prey, hostile(tmp_path, act)) == "it could not be read"

    assert (await prey.measure(hostile(tmp_path, "found['width'] = 7"))).width == 7


async def test_a_decoder_that_writes_something_else_than_a_picture_is_not_believed(
    prey: Decoder, tmp_path: Path
) -> None:
    act = "others[0].write(b'<script>alert(1)</script>'); others[0].flush()"

    with pytest.raises(Unreadable, match="it could not be read"):
        await prey.clean_picture(hostile(tmp_path, act), tmp_path / "into.png")

    assert not list(tmp_path.glob("into*"))


async def test_a_disk_without_room_is_not_the_files_fault(prey: Decoder, tmp_path: Path) -> None:
    act = "raise OSError(errno.ENOSPC, 'full')"

    with pytest.raises(StorageDown):
        await prey.measure(hostile(tmp_path, act))


async def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_read(tmp_path: Path) -> None:
    async with taken_over(replace(BOUNDS, file_seconds=2)) as decoder:
        assert await outcome(decoder, hostile(tmp_path, "while True: time.sleep(1)")) == "it takes too long to read"
        assert decoder.children == []

        assert (await decoder.measure(hostile(tmp_path, ""))).width == 1


@pytest.mark.skipif(sys.platform != "linux", reason="macOS bounds no memory")
async def test_a_bomb_of_memory_goes_off_in_the_decoder_alone(tmp_path: Path) -> None:
    (bomb := tmp_path / "bomb.png").write_bytes(png(7000))
    async with Decoder(bounds=replace(BOUNDS, memory_bytes=200_000_000)) as decoder:
        with pytest.raises(Unreadable, match="it takes too much memory to read"):
            await decoder.clean_picture(bomb, tmp_path / "into.png")

        assert (await decoder.measure(small(tmp_path))).width == 40
    assert not list(tmp_path.glob("into*"))


async def test_who_goes_away_in_the_middle_of_a_file_leaves_no_decoder_at_work(tmp_path: Path) -> None:
    async with taken_over() as decoder:
        asking = asyncio.create_task(decoder.measure(hostile(tmp_path, "while True: time.sleep(1)")))
        while not decoder.children:
            await asyncio.sleep(0.01)
        [pid] = decoder.children

        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        assert await gone(pid)
        assert (await decoder.measure(hostile(tmp_path, ""))).width == 1


async def test_a_decoder_that_is_closed_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with taken_over() as decoder:
        asking = asyncio.create_task(decoder.measure(hostile(tmp_path, "while True: time.sleep(1)")))
        while not decoder.children:
            await asyncio.sleep(0.01)
        [pid] = decoder.children

    assert await gone(pid)
    with pytest.raises(Unreadable, match="it could not be read"):
        await asking


async def test_a_decoder_serves_many_files_and_no_more_than_it_may(tmp_path: Path) -> None:
    async with Decoder(bounds=replace(BOUNDS, most_files=3)) as decoder:
        served: list[list[int]] = []
        for _ in range(6):
            await decoder.measure(small(tmp_path))
            served.append(decoder.children)

    assert served[0] == served[1]
    assert served[2] == served[5] == []
    assert served[3] == served[4] != served[0]


async def test_a_decoder_that_holds_much_memory_is_replaced(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("macOS does not tell how much")
    async with Decoder(bounds=replace(BOUNDS, most_resident=1000)) as decoder:
        assert (await decoder.measure(small(tmp_path))).width == 40
        assert decoder.children == []


async def test_a_decoder_that_is_idle_for_a_minute_ends(tmp_path: Path, clock: Clock) -> None:
    async with Decoder(clock) as decoder:
        await decoder.measure(small(tmp_path))
        [pid] = decoder.children
        clock.pass_seconds(59)
        await decoder.tidy()
        assert decoder.children == [pid]

        clock.pass_seconds(1)
        await decoder.tidy()

        assert decoder.children == []
        assert await gone(pid)
        assert (await decoder.measure(small(tmp_path))).width == 40


async def test_a_decoder_that_was_killed_while_it_was_idle_costs_no_file(tmp_path: Path) -> None:
    async with Decoder(bounds=BOUNDS) as decoder:
        await decoder.measure(small(tmp_path))
        [pid] = decoder.children
        os.kill(pid, signal.SIGKILL)
        assert await gone(pid)

        assert (await decoder.measure(small(tmp_path))).width == 40
        assert decoder.children != [pid]


async def test_where_no_decoder_can_be_started_nothing_is_said_about_the_file(tmp_path: Path) -> None:
    for program in ("/nowhere/python",), (sys.executable, "-c", "raise SystemExit(3)"), (sys.executable, "-c", "print"):
        async with Decoder(bounds=BOUNDS, program=program) as decoder:
            with pytest.raises(Overloaded):
                await decoder.measure(small(tmp_path))


async def test_more_files_than_decoders_wait_for_their_turn(tmp_path: Path) -> None:
    async with Decoder(bounds=BOUNDS) as decoder:
        found = await asyncio.gather(*(decoder.measure(small(tmp_path)) for _ in range(20)))

        assert {one.width for one in found} == {40}
        assert 1 <= len(decoder.children) <= 2


HOST = """
import asyncio, pathlib, sys
from phaya.decoding.decoder import Decoder

async def main():
    decoder = Decoder()
    await decoder.measure(pathlib.Path(sys.argv[1]))
    print(*decoder.children, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_decoder_ends_with_the_server_even_when_that_is_killed(tmp_path: Path) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, str(small(tmp_path)), stdout=subprocess.PIPE
    )
    assert host.stdout is not None
    pid = int(await host.stdout.readline())
    assert alive(pid)
    host.kill()
    await host.wait()

    assert await gone(pid)


LOADED = """
import importlib, io, json, sys
from pathlib import Path
from phaya.decoding import child, formats

work = importlib.import_module(f"phaya.decoding.{sys.argv[1]}")
before = set(sys.modules)
for path in map(Path, sys.argv[2:]):
    for name, doing in (work.READING | work.WRITING).items():
        form = "mp3" if name == "recode" else formats.sniff(path.read_bytes()[:64])
        if (name, form) == ("renew_frames", "jpg"):
            continue  # a JPEG does not move
        with path.open("rb") as file, Path("into").open("w+b") as into:
            try:
                doing(*([file, form] if name in work.READING else [file, into, form]))
            except (formats.Unreadable, formats.Moving):
                pass
print(*(set(sys.modules) - before))
"""


async def test_nothing_is_left_to_be_loaded_when_the_walls_are_up(tmp_path: Path) -> None:
    """A library that loads a part of itself with the first file of a kind could not read that kind."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    frames = [Image.new("RGB", (40, 20), shade) for shade in ("red", "lime", "blue")]
    paths: list[Path] = []
    for form in ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "MPO"):
        for name, more in {"still": {}, "moving": {"save_all": True, "append_images": frames[1:]}}.items():
            if form == "JPEG" and more:
                continue
            paths.append(tmp_path / f"{name}.{form}")
            frames[0].save(paths[-1], form, exif=exif, **more)

    assert await loaded("pictures", tmp_path, paths) == ""


async def test_nothing_of_pyav_is_left_to_be_loaded_either(tmp_path: Path) -> None:
    from test_media import ffmpeg

    film = "-f lavfi -i testsrc=s=64x64:d=1 -f lavfi -i sine=d=1 -pix_fmt yuv420p -c:a aac"
    made = {"film.mp4": film, "film.mkv": film, "film.avi": film, "sound.wav": "-f lavfi -i sine=d=1"}
    for name, arguments in made.items():
        ffmpeg(*arguments.split(), tmp_path / name)

    assert await loaded("streams", tmp_path, [tmp_path / name for name in made]) == ""


async def loaded(library: str, folder: Path, paths: list[Path]) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOADED, library, *map(str, paths)), cwd=folder, stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().strip()


@pytest.mark.parametrize("form", ["MPO", "AVIF"])
async def test_the_pictures_of_phones_and_moving_avif_are_kept(decoder: Decoder, tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (40, 20), shade) for shade in ("red", "lime")]
    frames[0].save(source := tmp_path / "source", form, save_all=True, append_images=frames[1:])

    found = await decoder.renew_picture(source, into := tmp_path / "into")

    with Image.open(into) as kept:
        kept_frames = getattr(kept, "n_frames", 1)
        assert (kept.format, kept_frames) == {"MPO": ("JPEG", 1), "AVIF": ("AVIF", 2)}[form]
    assert (found.width, found.height) == (40, 20)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what a process has loaded")
async def test_a_server_decodes_nothing_itself(tmp_path: Path) -> None:
    """Seen in what the kernel has mapped into a served process after an upload and a kept result."""
    async with cluster(tmp_path) as run:
        node = await run.serve()
        assert node.process is not None
        content = io.BytesIO()
        Image.new("RGB", (40, 20), "red").save(content, "PNG")
        form = aiohttp.FormData()
        form.add_field("file", content.getvalue(), filename="picture.png")
        headers = {"Authorization": f"Bearer {run.key}"}
        async with run.session.post(f"{node.url}/api/v1/media/upload", data=form, headers=headers) as sent:
            assert sent.status == 200, await sent.text()
        await run.create(node=node)
        [job] = (await run.finish()).values()
        server = Path(f"/proc/{node.process.pid}/maps").read_text()
        children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
        decoders = [Path(f"/proc/{child}/maps").read_text() for child in children]

    assert job["state"] == "completed"
    assert [name for name in ("/PIL/", "/av/", "/av.libs/") if name in server] == []
    assert any("/PIL/" in maps for maps in decoders)
