"""Downloads: what is offered, what is paid, and that neither page nor address leads where it should not."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import pytest
from aiohttp import web

from conftest import Phaya, running
from phaya.catalog.downloads import VideoDownload
from phaya.providers.download_refusals import Failure
from phaya.providers.platforms import KNOWN
from phaya.serving import listen

pytestmark = pytest.mark.anyio
PATH = "video-download"
OPEN = {
    "PHAYA_DOWNLOAD_PLATFORMS": "generic",
    "PHAYA_ALLOWED_NETWORKS": "127.0.0.1/32",
    "PHAYA_DOWNLOAD_PROXY": None,
}


def ffmpeg(folder: Path, *arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], cwd=folder, check=True)


PICTURE = ("-f", "lavfi", "-i", "testsrc=s=160x120:r=15:d=3")
SOUND = ("-f", "lavfi", "-i", "sine=d=3")
CODECS = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest")


@dataclass
class Site:
    """A site of strangers, on a loopback port, and what was asked of it."""

    url: str
    asked: list[str]
    film: bytes


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Site, None]:
    folder = tmp_path_factory.mktemp("site")
    ffmpeg(folder, *PICTURE, *SOUND, *CODECS, "film.mp4")
    ffmpeg(folder, "-i", "film.mp4", "-c", "copy", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "list.m3u8")
    film = (folder / "film.mp4").read_bytes()
    asked: list[str] = []
    app = web.Application()

    def route(path: str, answer: Callable[[web.Request], Any]) -> None:
        async def note(request: web.Request) -> web.StreamResponse:
            asked.append(request.path)
            return await answer(request)

        app.router.add_get(path, note)

    async def plain(_: web.Request) -> web.Response:
        return web.Response(body=film, content_type="video/mp4")

    async def chunked(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(film)
        return answer

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        if request.method == "GET":
            await answer.write(film[:64])
            while True:
                await answer.write(bytes(1 << 20))
        return answer

    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "video/mp4", "Content-Length": str(len(film))})
        await answer.prepare(request)
        if request.method == "GET":
            await answer.write(film[:2048])
            await asyncio.sleep(60)
        return answer

    async def huge(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "video/mp4", "Content-Length": "600000000"})
        await answer.prepare(request)
        await answer.write(film[:2048])
        return answer

    async def sized(_: web.Request) -> web.Response:  # a film, and behind its end what players skip
        box = 12_000_000
        return web.Response(body=film + box.to_bytes(4, "big") + b"free" + bytes(box - 8), content_type="video/mp4")

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def page(request: web.Request) -> web.Response:
        source = request.query["src"]
        return web.Response(text=f"<html><video src='{source}'></video></html>", content_type="text/html")

    async def disguised(_: web.Request) -> web.Response:
        body = b"ffconcat version 1.0\nfile '/etc/hostname'\n" + b"#" * 4000
        return web.Response(body=body, content_type="video/x-flv")

    async def leading_out(request: web.Request) -> web.Response:
        parts = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nhttp://127.0.0.2:{request.url.port}/film.mp4\n"
        return web.Response(text=f"{parts}#EXT-X-ENDLIST\n", content_type="application/vnd.apple.mpegurl")

    async def rubbish(_: web.Request) -> web.Response:
        return web.Response(body=b"this is no film " * 1000, content_type="video/mp4")

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(folder / request.match_info["name"])

    for path, answer in {
        "/film.mp4": plain, "/watch": plain, "/chunked": chunked, "/endless.mp4": endless, "/slow.mp4": slow,
        "/huge.mp4": huge, "/sized.mp4": sized, "/redirect": redirect, "/page": page, "/odd.flv": disguised,
        "/leading-out.m3u8": leading_out, "/rubbish.mp4": rubbish,
        "/hls/{name}": file,
    }.items():  # fmt: skip
        route(path, answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    with listen("127.0.0.1", 0) as listener:
        await web.SockSite(runner, listener).start()
        yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", asked, film)
        await runner.cleanup()


@pytest.fixture(scope="module")
async def phaya(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    async with running(tmp_path_factory.mktemp("phaya"), **OPEN) as shared:
        yield shared


async def download(phaya: Phaya, url: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    answer = await phaya.post(f"{PATH}/create", {"url": url, **fields}, key=key)
    assert answer.status == 200, answer.content
    return await phaya.finish(PATH, answer.json["job_id"], key)


async def codecs(phaya: Phaya, url: str) -> list[str]:
    async with phaya.session.get(url) as answer:
        assert answer.status == 200
        with av.open(io.BytesIO(await answer.read()), "r") as found:
            return [stream.codec_context.name for stream in found.streams]


@pytest.mark.parametrize("path", ["/film.mp4", "/watch", "/chunked", "/redirect?to=/film.mp4", "/hls/list.m3u8"])
async def test_a_film_is_brought_home_however_it_is_served(phaya: Phaya, site: Site, path: str) -> None:
    status = await download(phaya, site.url + path)

    assert ("completed", None) == (status["status"], status["error"])
    assert status["download_url"] == status["video_url"] == status["result_url"]
    assert status["audio_url"] is None
    assert status["video_url"].endswith(".mp4")
    assert sorted(await codecs(phaya, status["video_url"])) == ["aac", "h264"]


async def test_a_film_inside_a_page_is_found(phaya: Phaya, site: Site) -> None:
    status = await download(phaya, f"{site.url}/page?src=/film.mp4")

    assert status["status"] == "completed"


@pytest.mark.parametrize("fields", [{"format": "mp3"}, {"quality": "audio"}])
async def test_sound_alone_is_an_mp3(phaya: Phaya, site: Site, fields: dict[str, str]) -> None:
    status = await download(phaya, f"{site.url}/film.mp4", **fields)

    assert status["download_url"] == status["audio_url"]
    assert status["video_url"] is None
    assert status["audio_url"].endswith(".mp3")
    assert (await codecs(phaya, status["audio_url"]))[0].startswith("mp3")


async def test_a_file_costs_half_a_credit_for_each_started_ten_megabytes(phaya: Phaya, site: Site) -> None:
    key = await phaya.new_key("20")

    quote = await phaya.post(f"{PATH}/estimate", {"url": f"{site.url}/sized.mp4"}, key=key)
    status = await download(phaya, f"{site.url}/sized.mp4", key)

    assert quote.json["credits"] == 1
    assert (status["state"], status["credits_used"], status["credits_refunded"]) == ("completed", 1, 0)
    assert await phaya.balance(key) == 19
    assert await phaya.audit() == []


async def test_where_no_size_is_known_more_is_held_than_it_costs(phaya: Phaya, site: Site) -> None:
    key = await phaya.new_key("20")
    url = f"{site.url}/chunked"

    status = await download(phaya, url, key)

    assert (status["credits_used"], status["credits_refunded"]) == (5, 4.5)
    assert str(await phaya.balance(key)) == "19.5"


async def test_a_body_without_end_is_cut_off_and_paid_back(phaya: Phaya, site: Site) -> None:
    key = await phaya.new_key("20")

    status = await download(phaya, f"{site.url}/endless.mp4", key)

    assert (status["status"], status["error_code"]) == ("failed", "source_too_large")
    assert "larger than the 100 MB that were held" in status["error"]
    assert await phaya.balance(key) == 20


REFUSED = [
    ("{site}/huge.mp4", "the film is larger than 500 MB"),
    ("{site}/nothing-here", "is private, was removed, or never was there"),
    ("{site}/redirect?to=http://169.254.169.254/latest/meta-data", "an address that is not public"),
    ("{site}/redirect?to=http://127.0.0.2:{port}/film.mp4", "an address that is not public"),
    ("{site}/redirect?to=/redirect?to=http://[::1]:{port}/film.mp4", "an address that is not public"),
    ("{site}/page?src=http://127.0.0.2:{port}/film.mp4", "an address that is not public"),
    ("{site}/page?src=file:///etc/passwd", "url: "),
    ("{site}/redirect?to=file:///etc/passwd", "url: "),
    ("{site}/redirect?to=data:video/mp4;base64,AAAA", "url: "),
    ("http://127.0.0.2/film.mp4", "url: is refused: the address is not public"),
    ("http://2130706434/film.mp4", "url: is refused: the address is not public"),
    ("http://user:secret@films.example/", "must not carry a user name"),
    ("http://127.0.0.1:1/film.mp4", "url: the site could not be reached"),
    ("ytsearch:cats", "url: must be an http or https address"),
    ("--exec=touch x", "url: must be an http or https address"),
    ("-U", "url: must be an http or https address"),
    ("file:///etc/passwd", "url: must be an http or https address"),
    ("data:video/mp4;base64,AAAA", "url: must be an http or https address"),
    ("ftp://films.example/film.mp4", "url: must be an http or https address"),
]


@pytest.mark.parametrize(("url", "told"), REFUSED)
async def test_what_cannot_be_downloaded_is_told_before_anything_is_charged(
    phaya: Phaya, site: Site, url: str, told: str
) -> None:
    key = await phaya.new_key("20")
    port = site.url.rpartition(":")[2]
    site.asked.clear()

    answer = await phaya.post(f"{PATH}/create", {"url": url.format(site=site.url, port=port)}, key=key)

    assert answer.status == 422
    assert told in answer.json["message"]
    assert await phaya.balance(key) == 20
    assert "/film.mp4" not in site.asked


async def test_a_source_at_an_address_that_is_not_public_is_not_fetched(phaya: Phaya, site: Site) -> None:
    """HLS lists name their parts where a look does not go: the download itself finds out."""
    key = await phaya.new_key("20")
    site.asked.clear()

    status = await download(phaya, f"{site.url}/leading-out.m3u8", key)

    assert (status["status"], status["error_code"]) == ("failed", "source_unavailable")
    assert "an address that is not public" in status["error"]
    assert "/film.mp4" not in site.asked
    assert await phaya.balance(key) == 20


@pytest.mark.parametrize("path", ["/odd.flv", "/rubbish.mp4"])
async def test_what_is_no_film_fails_at_once_and_is_paid_back(phaya: Phaya, site: Site, path: str) -> None:
    """The one would have FFmpeg open a file of ours, the other is nothing at all."""
    key = await phaya.new_key("20")
    site.asked.clear()

    status = await download(phaya, site.url + path, key)

    assert status["status"] == "failed"
    assert len(site.asked) < 8, "it was not fetched again and again"
    assert await phaya.balance(key) == 20


async def test_a_cancel_ends_the_download_and_leaves_nothing(phaya: Phaya, site: Site) -> None:
    key = await phaya.new_key("20")
    body = {"url": f"{site.url}/slow.mp4"}
    job = (await phaya.post(f"{PATH}/create", body, key=key)).json["job_id"]
    work = phaya.system.settings.data_dir / "work"
    async with asyncio.timeout(30):
        while not list(work.rglob("film*")):
            await asyncio.sleep(0.05)

    await phaya.post(f"{PATH}/cancel/{job}", {}, key=key)
    status = await phaya.finish(PATH, job, key)
    async with asyncio.timeout(30):
        while [file for file in work.rglob("*") if file.is_file()]:
            await asyncio.sleep(0.05)

    assert status["state"] == "cancelled"
    assert await phaya.balance(key) == 20
    assert not children_of(str(work))


def children_of(folder: str) -> list[str]:
    """Command lines of processes that still work below a folder."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(folder):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


async def test_with_a_proxy_nothing_else_is_connected(tmp_path: Path, site: Site) -> None:
    async with running(tmp_path, **OPEN | {"PHAYA_DOWNLOAD_PROXY": "http://127.0.0.1:9"}) as phaya:
        site.asked.clear()
        body = {"url": f"{site.url}/film.mp4"}
        created = await phaya.post(f"{PATH}/create", body)
        estimated = await phaya.post(f"{PATH}/estimate", body)

    assert (created.status, created.json["detail"][0]["type"]) == (422, "input_unreachable")
    assert estimated.json["credits"] == 5, "the price where no size is known"
    assert site.asked == []


async def test_sites_that_are_not_allowed_are_refused_with_those_that_are(tmp_path: Path, site: Site) -> None:
    async with running(tmp_path, PHAYA_ALLOWED_NETWORKS="127.0.0.1/32") as phaya:
        answer = await phaya.post(f"{PATH}/create", {"url": f"{site.url}/film.mp4"})
        platforms = (await phaya.ask("GET", f"/api/v1/{PATH}/supported-platforms")).json["platforms"]

    assert answer.status == 422
    assert "url: it must be a film's page at YouTube, TikTok, Facebook" in answer.json["message"]
    assert {"name": "youtube", "title": "YouTube"}.items() <= platforms[0].items()
    assert "youtu.be" in platforms[0]["hosts"]
    assert "generic" not in [platform["name"] for platform in platforms]


async def test_an_operator_may_turn_downloads_off(tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_DOWNLOAD_PLATFORMS="") as phaya:
        answer = await phaya.post(f"{PATH}/create", VideoDownload.example)

    assert (answer.status, answer.json["error"]) == (503, "service_unavailable")


WORDS = [
    ("ERROR: [youtube] x: Private video. Sign in if you've been granted access to this video", "sign_in"),
    ("ERROR: [youtube] x: Sign in to confirm you're not a bot. Use --cookies", "sign_in"),
    ("ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader", "private"),
    ("ERROR: [vimeo] 1: Unable to download JSON metadata: HTTP Error 404: Not Found", "private"),
    ("GeoRestrictedError: The uploader has not made this video available in your country", "geo"),
    ("ERROR: [generic] Unable to download webpage: <urlopen error [Errno 111] Connection refused>", "unreachable"),
    ("ERROR: [TikTok] 1: HTTP Error 429: Too Many Requests", "busy"),
    ("ERROR: [x] This video is DRM protected", "drm"),
    ("ERROR: Unsupported URL: https://x.example/", "unsupported"),
    ("ERROR: something new", "nothing"),
]


@pytest.mark.parametrize(("text", "why"), WORDS)
def test_sites_words_are_told_apart(text: str, why: str) -> None:
    assert Failure(text).why == why


def test_a_missing_runtime_is_named_only_where_nothing_else_explains_the_failure() -> None:
    warnings = ["[youtube] No supported JavaScript runtime could be found."]

    assert Failure("ERROR: Requested format is not available", warnings=warnings).why == "runtime"
    assert Failure("ERROR: Video unavailable", warnings=warnings).why == "private"


BARRED = {
    "write": "open(OUTSIDE + '/new', 'w')",
    "append": "os.open(OUTSIDE + '/secret', os.O_WRONLY | os.O_APPEND)",
    "read": "open(OUTSIDE + '/secret')",
    "read by a link": "open('link')",
    "climb": "open('../outside/new', 'w')",
    "remove": "os.remove(OUTSIDE + '/secret')",
    "rename": "os.rename('order.json', OUTSIDE + '/moved')",
    "folder": "os.mkdir(OUTSIDE + '/folder')",
    "link": "os.symlink(OUTSIDE, 'other')",
    "shell": "os.system('touch ' + OUTSIDE + '/new')",
    "program": "subprocess.run(['/bin/sh', '-c', 'true'])",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "fork": "os.fork()",
    "exec": "os.execv('/bin/true', ['true'])",
    "ffmpeg at an address": "subprocess.run([FFMPEG, '-i', 'http://films.example/x.mp4'])",
    "ffmpeg on a script": "subprocess.run([FFMPEG, '-i', 'file:script.mp4'])",
    "metadata": "socket.create_connection(('169.254.169.254', 80))",
    "loopback": "socket.create_connection(('127.0.0.1', 80))",
    "mapped": "socket.create_connection(('::ffff:127.0.0.1', 80))",
    "other port": "socket.create_connection(('1.1.1.1', 22))",
    "local socket": "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
    "datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53))",
    "library": "ctypes.CDLL('libc.so.6')",
}
CHILD = """
import ctypes, json, os, pathlib, socket, subprocess, sys
OUTSIDE, FFMPEG, acts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from phaya.providers.download_bars import Barred, Bars
order = {"ffmpeg": FFMPEG, "deno": None, "networks": [], "proxy": None}
sys.addaudithook(Bars(order, pathlib.Path.cwd()))
def end(act):
    try:
        eval(act)
    except Barred:
        return "barred"
    except BaseException as error:
        return repr(error)
    return "done"
print(json.dumps({name: end(act) for name, act in acts.items()}))
"""


async def test_the_child_can_do_nothing_but_what_a_download_needs(tmp_path: Path) -> None:
    folder, outside = tmp_path / "job", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("ours")
    (folder / "link").symlink_to(outside / "secret")
    (folder / "order.json").write_text("{}")
    (folder / "script.mp4").write_text("ffconcat version 1.0\nfile ../outside/secret\n")
    allowed = {"own file": "open('film.mp4', 'w')", "null": "open(os.devnull, 'w')", "own name": "os.mkdir('parts')"}

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, str(outside), imageio_ffmpeg.get_ffmpeg_exe(), json.dumps(BARRED | allowed)),
        cwd=folder,
        stdout=subprocess.PIPE,
    )
    said, _ = await process.communicate()

    assert json.loads(said) == dict.fromkeys(BARRED, "barred") | dict.fromkeys(allowed, "done")
    assert [file.name for file in outside.iterdir()] == ["secret"]


def test_every_site_is_one_that_yt_dlp_reads() -> None:
    from yt_dlp.extractor import gen_extractor_classes  # it takes a second to import

    names = [str(one.IE_NAME).lower() for one in gen_extractor_classes()]
    for platform in KNOWN.values():
        for pattern in platform.extractors:
            assert any(re.fullmatch(pattern, name) for name in names), (platform.name, pattern)
