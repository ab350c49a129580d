"""Stored files are whole, stay where they belong, and are served by our own types, also in parts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from yarl import URL

import servers
from phaya.errors import StorageDown
from phaya.links import key_for
from phaya.storage import Storage
from phaya.web.files import media_routes

JULY = 1_784_000_000_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder, and a bucket of a real S3 server."""
    if request.param == "folder":
        return Storage((tmp_path / "stored files").as_uri(), "https://phaya.example/p/")
    server: servers.S3 = request.getfixturevalue("s3")
    return Storage(f"s3://{server.new_bucket()}/stored%20files", "https://phaya.example/p/")


async def stored(storage: Storage, key: str, body: bytes, folder: Path) -> str:
    source = folder / "source"
    source.write_bytes(body)
    assert await storage.put(key, source, "image/png") == len(body)
    return key


@pytest.mark.anyio
async def test_what_was_stored_is_read_back(storage: Storage, tmp_path: Path) -> None:
    body = bytes(range(256)) * 40_000
    key = await stored(storage, "2026/07/job/image.png", body, tmp_path)

    read = b"".join([chunk async for chunk in storage.stream(key)])
    part = b"".join([chunk async for chunk in storage.stream(key, 5, 1_000_005)])
    tail = b"".join([chunk async for chunk in storage.stream(key, len(body) - 3)])
    copied = await storage.fetch_to(key, tmp_path / "copy")

    assert (read, part, tail) == (body, body[5:1_000_005], body[-3:])
    assert (copied, (tmp_path / "copy").read_bytes()) == (len(body), body)


@pytest.mark.anyio
async def test_a_stored_file_is_described(storage: Storage, tmp_path: Path) -> None:
    key = await stored(storage, "2026/07/job/image.png", b"hello", tmp_path)

    stat = await storage.head(key)

    assert stat is not None
    assert (stat.key, stat.size, stat.content_type) == (key, 5, "image/png")
    assert stat.etag
    assert '"' not in stat.etag
    assert stat.modified > JULY


@pytest.mark.anyio
async def test_deleted_files_are_gone_and_may_be_deleted_again(storage: Storage, tmp_path: Path) -> None:
    for name in ("a", "b"):
        await stored(storage, f"2026/07/{name}/image.png", b"hello", tmp_path)

    for _ in range(2):
        await storage.delete(["2026/07/none/image.png", "2026/07/a/image.png"])

    assert await storage.head("2026/07/a/image.png") is None
    assert [stat.key async for stat in storage.listing("2026/07")] == ["2026/07/b/image.png"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../secret",
        "a/../../secret",
        "a//b",
        "a/./b",
        ".hidden",
        "a/.hidden",
        "a\\b",
        "a b",
        "a/",
        "a%2Fb",
        "a\0b",
        "a\n",
        "ภาพ.png",
        "a" * 256,
        "a/" * 300 + "a",
    ],
)
async def test_a_key_cannot_leave_the_storage(storage: Storage, tmp_path: Path, key: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"hello")

    with pytest.raises(ValueError, match="is no key"):
        await storage.put(key, source)
    assert await storage.head(key) is None
    assert storage.local_path(key) is None
    assert storage.key_of(f"https://phaya.example/p/media/{key}") is None


def test_a_key_begins_with_the_month() -> None:
    assert key_for(JULY, "job_1", "video", "mp4") == "2026/07/job_1/video.mp4"


def test_a_job_cannot_choose_its_folder() -> None:
    with pytest.raises(ValueError, match="is no key"):
        key_for(JULY, "../../etc", "passwd", "png")


def test_links_are_absolute_and_known_again(tmp_path: Path) -> None:
    storage = Storage(tmp_path.as_uri(), lambda: "https://phaya.example/p")
    link = storage.link("2026/07/job/video.mp4")

    assert link == "https://phaya.example/p/media/2026/07/job/video.mp4"
    assert storage.key_of(link) == "2026/07/job/video.mp4"


@pytest.mark.parametrize(
    "url",
    [
        "https://phaya.example/media/2026/07/job/video.mp4",
        "https://phaya.example.evil/p/media/2026/07/job/video.mp4",
        "http://phaya.example/p/media/2026/07/job/video.mp4",
        "2026/07/job/video.mp4",
    ],
)
def test_other_addresses_are_not_taken_for_our_links(url: str, tmp_path: Path) -> None:
    assert Storage(tmp_path.as_uri(), "https://phaya.example/p").key_of(url) is None


@pytest.mark.anyio
async def test_a_file_in_a_folder_is_there_without_a_copy(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "files").as_uri(), "https://phaya.example")
    key = await stored(storage, "2026/07/job/image.png", b"hello", tmp_path)

    assert storage.local_path(key) == tmp_path / "files" / key
    assert storage.local_path("2026/07/job") is None
    assert storage.local_path("2026/07/job/other.png") is None


# Serving

KEY = "2026/07/job/image.png"
BODY = bytes(range(256)) * 4  # 1024 bytes


@asynccontextmanager
async def served(storage: Storage) -> AsyncGenerator[aiohttp.ClientSession]:
    """The media route behind a real server; gives a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=media_routes(storage))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            yield client
    finally:
        server.should_exit = True
        await task


@pytest.mark.anyio
async def test_a_file_is_served_whole_with_safe_headers(storage: Storage, tmp_path: Path) -> None:
    await stored(storage, KEY, BODY, tmp_path)

    async with served(storage) as client, client.get(f"/media/{KEY}") as answer:
        body = await answer.read()

    assert (answer.status, body) == (200, BODY)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Length"] == "1024"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "Content-Disposition" not in answer.headers


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("wanted", "status", "content_range", "body"),
    [
        ("bytes=0-0", 206, "bytes 0-0/1024", BODY[:1]),
        ("bytes=0-499", 206, "bytes 0-499/1024", BODY[:500]),
        ("bytes=500-", 206, "bytes 500-1023/1024", BODY[500:]),
        ("bytes=-24", 206, "bytes 1000-1023/1024", BODY[1000:]),
        ("bytes=1000-9999", 206, "bytes 1000-1023/1024", BODY[1000:]),
        ("bytes=-9999", 206, "bytes 0-1023/1024", BODY),
        ("BYTES = 10 - 19", 206, "bytes 10-19/1024", BODY[10:20]),
        ("bytes=1024-", 416, "bytes */1024", b""),
        ("bytes=-0", 416, "bytes */1024", b""),
        ("bytes=20-10", 200, None, BODY),
        ("bytes=-", 200, None, BODY),
        ("bytes=a-b", 200, None, BODY),
        ("bytes=0-1,5-6", 200, None, BODY),
        ("rows=0-1", 200, None, BODY),
    ],
)
async def test_parts_of_a_file_are_served(
    storage: Storage, tmp_path: Path, wanted: str, status: int, content_range: str | None, body: bytes
) -> None:
    await stored(storage, KEY, BODY, tmp_path)

    async with served(storage) as client:
        async with client.get(f"/media/{KEY}", headers={"Range": wanted}) as answer:
            got = await answer.read()
        async with client.head(f"/media/{KEY}", headers={"Range": wanted}) as head:
            pass

    assert (answer.status, answer.headers.get("Content-Range"), got) == (status, content_range, body)
    assert (head.status, head.headers["Content-Length"]) == (status, str(len(body)))


@pytest.mark.anyio
async def test_a_file_that_the_client_holds_is_not_sent_again(storage: Storage, tmp_path: Path) -> None:
    await stored(storage, KEY, BODY, tmp_path)

    async with served(storage) as client:
        async with client.head(f"/media/{KEY}") as first:
            etag, date = first.headers["ETag"], first.headers["Last-Modified"]
        answers: list[int] = []
        for headers in (
            {"If-None-Match": etag},
            {"If-None-Match": f'"other", W/{etag}'},
            {"If-None-Match": "*"},
            {"If-Modified-Since": date},
            {"If-None-Match": '"other"'},
            {"If-None-Match": '"other"', "If-Modified-Since": date},
        ):
            async with client.get(f"/media/{KEY}", headers=headers) as answer:
                answers.append(answer.status)

    assert answers == [304, 304, 304, 304, 200, 200]


@pytest.mark.anyio
async def test_a_part_is_given_of_the_file_that_the_client_began(storage: Storage, tmp_path: Path) -> None:
    await stored(storage, KEY, BODY, tmp_path)

    async with served(storage) as client:
        async with client.head(f"/media/{KEY}") as first:
            etag, date = first.headers["ETag"], first.headers["Last-Modified"]
        answers: list[int] = []
        for condition in (etag, date, '"other"', f"W/{etag}", formatdate(0, usegmt=True)):
            headers = {"Range": "bytes=0-9", "If-Range": condition}
            async with client.get(f"/media/{KEY}", headers=headers) as answer:
                answers.append(answer.status)

    assert answers == [206, 206, 200, 200, 200]


@pytest.mark.anyio
@pytest.mark.parametrize("extension", ["html", "svg", "js", "bin", "pdf", "m3u8"])
async def test_what_a_browser_might_run_is_a_download(tmp_path: Path, extension: str) -> None:
    storage = Storage(tmp_path.as_uri(), "https://phaya.example")
    key = await stored(storage, f"2026/07/job/page.{extension}", b"<script>alert(1)</script>", tmp_path)

    async with served(storage) as client, client.get(f"/media/{key}") as answer:
        pass

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="page.{extension}"'


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "2026/07/job/none.png",
        "2026/07/job",
        "2026/07/job/image.png/more.png",
        "%2e%2e/source",
        "..%2fsource",
        "%2fetc%2fpasswd",
        "2026%2F..%2F..%2Fsource",
        "2026/07/job/image.png%00",
    ],
)
async def test_any_other_path_is_not_found_in_words(storage: Storage, tmp_path: Path, path: str) -> None:
    await stored(storage, KEY, BODY, tmp_path)

    async with served(storage) as client, client.get(URL(f"/media/{path}", encoded=True)) as answer:
        body = await answer.json()

    message = "There is no such file, or its time is over."
    assert answer.status == 404
    assert body == {"success": False, "error": "not_found", "message": message, "detail": message}


@pytest.mark.anyio
async def test_a_folder_lists_whole_files_only_and_nothing_where_nothing_is(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "stored").as_uri(), "https://phaya.example")
    await stored(storage, "2026/07/job/image.png", b"hello", tmp_path)
    (tmp_path / "stored/2026/07/job/image.png#1").write_bytes(b"hel")  # as obstore leaves it when the process dies

    found = [(stat.key, stat.size) async for stat in storage.listing("2026")]

    assert found == [("2026/07/job/image.png", 5)]
    assert (await storage.folders(), await storage.folders("2026")) == (["2026"], ["2026/07"])
    assert ([stat async for stat in storage.listing("2025")], await storage.folders("2025")) == ([], [])


@pytest.mark.anyio
async def test_what_lies_on_another_disk_behind_a_link_is_listed_too(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "stored").as_uri(), "https://phaya.example")
    (tmp_path / "disk").mkdir()
    (tmp_path / "stored/2026").symlink_to(tmp_path / "disk")
    await stored(storage, "2026/07/job/image.png", b"hello", tmp_path)

    assert [stat.key async for stat in storage.listing()] == ["2026/07/job/image.png"]
    assert await storage.folders() == ["2026"]


@pytest.mark.anyio
async def test_a_folder_that_is_gone_is_no_empty_one(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "stored").as_uri(), "https://phaya.example")
    (tmp_path / "stored").rmdir()

    with pytest.raises(StorageDown):
        _ = [stat async for stat in storage.listing()]
    with pytest.raises(StorageDown):
        await storage.folders()
