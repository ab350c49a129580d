"""A bucket keeps what a folder keeps: links of three kinds, large files in parts, and outages that are no 404."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from PIL import Image
from yarl import URL

import servers
from conftest import Clock, Phaya, running
from phaya.catalog.images import TextToImage
from phaya.clock import DAY, HOUR
from phaya.errors import StorageDown
from phaya.links import Kind
from phaya.outages import BadStorage
from phaya.storage import Storage
from test_cli import phaya_command
from test_storage import served

pytestmark = pytest.mark.anyio

KEY = "2026/07/job/1.png"


@pytest.fixture
def own_s3(monkeypatch: pytest.MonkeyPatch) -> Generator[servers.S3]:
    """A server that the test may stop."""
    with servers.s3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


async def stored(storage: Storage, folder: Path, body: bytes = b"hello", key: str = KEY) -> str:
    source = folder / "source"
    source.write_bytes(body)
    await storage.put(key, source)
    return key


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("links", ["served", "signed", "public"])
async def test_a_result_is_fetched_by_its_link_without_a_key(links: Kind, s3: servers.S3, tmp_path: Path) -> None:
    bucket = s3.new_bucket(public=links == "public")
    settings = {
        "PHAYA_STORAGE_URL": f"s3://{bucket}/results",
        "PHAYA_STORAGE_LINKS": links,
        "PHAYA_STORAGE_PUBLIC_URL": f"{s3.url}/{bucket}/results/",
    }
    async with running(tmp_path, **settings) as phaya:
        created = await phaya.create(TextToImage)
        status = await phaya.finish("text-to-image", created["job_id"])
        url: str = status["image_url"]
        where = phaya.url if links == "served" else s3.url

        assert url.startswith(where + "/")
        assert urlsplit(url).path.endswith((".png", ".jpg", ".webp"))
        assert ("X-Amz-Signature" in url) == (links == "signed")
        address = URL(url, encoded=True)
        async with phaya.session.get(address, allow_redirects=False) as answer:
            body = await answer.read()
            kind = answer.headers["Content-Type"]
        async with phaya.session.get(address, headers={"Range": "bytes=1-8"}) as part:
            some = await part.read()
        assert (answer.status, kind.partition("/")[0], part.status, some) == (200, "image", 206, body[1:9])
        if links != "signed":  # a link is signed for GET alone
            async with phaya.session.head(address) as head:
                assert (head.status, head.headers["Content-Length"]) == (200, str(len(body)))
        assert not (tmp_path / "media").exists()


@pytest.mark.parametrize("links", ["served", "signed", "public"])
async def test_an_earlier_result_is_read_from_the_bucket_by_any_link(
    links: Kind, s3: servers.S3, tmp_path: Path
) -> None:
    """None of these addresses may be fetched over HTTP: they are of this machine, which the guard refuses."""
    bucket = s3.new_bucket()
    public = f"{s3.url}/{bucket}"
    settings = {"PHAYA_STORAGE_URL": f"s3://{bucket}", "PHAYA_STORAGE_PUBLIC_URL": public}
    async with running(tmp_path, **settings) as phaya:
        source = tmp_path / "picture.png"
        source.write_bytes(picture())
        storage = phaya.system.results.storage
        await storage.put("2026/07/job/1-1.png", source)
        earlier = Storage(f"s3://{bucket}", phaya.url, links, public=public).link("2026/07/job/1-1.png")

        answer = await phaya.post("image-to-video/create", {"image_url": earlier, "duration": 1})

        assert answer.status == 200, answer.content
        done = await phaya.finish("image-to-video", answer.json["job_id"])
        assert done["state"] == "completed", done


def picture() -> bytes:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((320, 180)).convert("RGB").save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("since", "seconds"),
    [(0, 7 * 86400), (-8 * DAY, 6 * 86400), (-14 * DAY + HOUR, 3600), (-20 * DAY, 60), (None, 7 * 86400)],
)
async def test_a_signed_link_lasts_as_long_as_its_file_but_seven_days_at_the_most(
    since: int | None, seconds: int, s3: servers.S3, clock: Clock
) -> None:
    storage = Storage(f"s3://{s3.new_bucket()}", "https://phaya.example", "signed", days=14, clock=clock)

    link = storage.link(KEY, None if since is None else clock.now() + since)

    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == [str(seconds)]


async def test_links_given_before_the_setting_changed_are_known_again(s3: servers.S3) -> None:
    where = f"s3://{s3.new_bucket()}/a"
    kinds: tuple[Kind, ...] = ("served", "signed", "public")
    made = [Storage(where, "https://phaya.example", kind, public="https://cdn.example/x/") for kind in kinds]
    now = made[0]
    await now.check()

    links = [storage.link(KEY) for storage in made]

    assert links[2] == "https://cdn.example/x/" + KEY
    assert [now.key_of(link) for link in links] == [KEY] * 3
    assert now.key_of(links[1].replace("/a/", "/b/")) is None
    assert now.key_of(links[1].replace(KEY, "../b")) is None


async def test_a_bucket_says_the_type_of_a_file_and_keeps_pages_from_running(s3: servers.S3, tmp_path: Path) -> None:
    bucket = s3.new_bucket(public=True)
    storage = Storage(f"s3://{bucket}", "https://phaya.example", "public", public=f"{s3.url}/{bucket}")
    picture = await stored(storage, tmp_path)
    page = await stored(storage, tmp_path, b"<script>", "2026/07/job/page.html")

    async with aiohttp.ClientSession() as client:
        async with client.get(storage.link(picture)) as one:
            pass
        async with client.get(storage.link(page)) as other:
            pass

    assert one.headers["Content-Type"] == "image/png"
    assert other.headers["Content-Type"] == "application/octet-stream"
    assert other.headers["Content-Disposition"] == 'attachment; filename="page.html"'


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_large_file_goes_in_parts_and_comes_back_whole(s3: servers.S3, tmp_path: Path) -> None:
    storage = Storage(f"s3://{s3.new_bucket()}", "https://phaya.example")
    body = os.urandom(17_000_000)
    await stored(storage, tmp_path, body, "2026/07/job/1.mp4")

    stat = await storage.head("2026/07/job/1.mp4")
    await storage.fetch_to("2026/07/job/1.mp4", tmp_path / "copy")

    assert stat is not None
    assert stat.size == len(body)
    assert stat.etag.endswith("-4"), "S3's mark of a file that came in four parts"
    assert (tmp_path / "copy").read_bytes() == body


async def test_more_files_than_one_page_are_listed_and_deleted(s3: servers.S3, tmp_path: Path) -> None:
    storage = Storage(f"s3://{s3.new_bucket()}/p", "https://phaya.example")
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    keys = {f"2026/07/{number}/1.png" for number in range(1_010)}
    await asyncio.gather(*(storage.put(key, source) for key in keys))

    assert {stat.key async for stat in storage.listing("2026")} == keys
    assert (await storage.folders(), await storage.folders("2026")) == (["2026"], ["2026/07"])
    await storage.delete([*keys, "2026/07/none/1.png"])
    assert [stat.key async for stat in storage.listing()] == []


# ── outages ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def first_listed(storage: Storage) -> None:
    async for _ in storage.listing():
        break


ASKS: dict[str, Callable[[Storage, Path], Awaitable[object]]] = {
    "head": lambda storage, _: storage.head(KEY),
    "fetch_to": lambda storage, path: storage.fetch_to(KEY, path / "copy"),
    "begun": lambda storage, _: storage.begun(KEY),
    "put": lambda storage, path: stored(storage, path),
    "delete": lambda storage, _: storage.delete([KEY]),
    "folders": lambda storage, _: storage.folders(),
    "ready": lambda storage, _: storage.ready(),
    "listing": lambda storage, _: first_listed(storage),
}


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("outage", ["nobody listens", "bucket is gone"])
async def test_an_outage_is_told_as_such(
    ask: str, outage: str, s3: servers.S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if outage == "nobody listens":
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    storage = Storage("s3://no-such-bucket", "https://phaya.example")

    with pytest.raises(StorageDown):
        await ASKS[ask](storage, tmp_path)


async def test_a_file_out_of_reach_is_503_and_never_404(own_s3: servers.S3, tmp_path: Path) -> None:
    storage = Storage(f"s3://{own_s3.new_bucket()}", "https://phaya.example")
    await stored(storage, tmp_path)

    async with served(storage) as client:
        async with client.get(f"/media/{KEY}") as before:
            assert (before.status, await before.read()) == (200, b"hello")
        own_s3.stop()
        async with client.get(f"/media/{KEY}") as answer:
            body = await answer.json()

    assert (answer.status, body["error"]) == (503, "storage_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_readiness_tells_of_the_storage_and_uploads_are_503(own_s3: servers.S3, tmp_path: Path) -> None:
    async with running(tmp_path, PHAYA_STORAGE_URL=f"s3://{own_s3.new_bucket()}") as phaya:
        assert (await phaya.ask("GET", "/readyz")).status == 200
        own_s3.stop()

        ready = await phaya.ask("GET", "/readyz")
        upload = await send(phaya, picture())

    assert (ready.status, ready.json["troubles"]) == (503, {"storage": "StorageDown"})
    assert (upload.status, upload.json["error"]) == (503, "storage_unavailable")


async def send(phaya: Phaya, body: bytes) -> Any:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    form = head + body + b"\r\n--x--\r\n"
    return await phaya.ask("POST", "/api/v1/media/upload", form, Content_Type="multipart/form-data; boundary=x")


# ── the start ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "links", "told"),
    [
        ("file:///tmp/phaya", "signed", "PHAYA_STORAGE_LINKS=signed needs a bucket"),
        ("s3://bucket", "public", "needs PHAYA_STORAGE_PUBLIC_URL"),
        ("gs://bucket", "served", "must be like file:///folder or s3://bucket/prefix"),
        ("file://folder", "served", "must be like file:///folder or s3://bucket/prefix"),
        ("s3:///prefix", "served", "must be like file:///folder or s3://bucket/prefix"),
        ("s3://id:secret@bucket", "served", "must be like file:///folder or s3://bucket/prefix"),
        ("s3://bucket?region=x", "served", "must have no"),
        ("file:///dev/null/media", "served", "cannot be made"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(url: str, links: Kind, told: str) -> None:
    with pytest.raises(BadStorage, match=told) as refused:
        Storage(url, "https://phaya.example", links)
    assert "secret" not in str(refused.value)


async def test_a_bucket_that_cannot_be_used_is_refused_in_a_sentence(
    s3: servers.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadStorage, match="the bucket no-such-bucket does not exist"):
        await Storage("s3://no-such-bucket", "https://phaya.example").check()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    with pytest.raises(BadStorage, match="the bucket b cannot be reached; see AWS_ENDPOINT_URL"):
        await Storage("s3://b", "https://phaya.example").check()
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(BadStorage, match="the bucket b is at an http address, which needs AWS_ALLOW_HTTP=true"):
        await Storage("s3://b", "https://phaya.example").check()


async def test_the_server_does_not_start_on_a_bucket_that_is_not_there(s3: servers.S3, tmp_path: Path) -> None:
    code, _, told = await phaya_command(
        "serve", "--port", "0", PHAYA_DATA_DIR=str(tmp_path), PHAYA_STORAGE_URL="s3://no-such-bucket", **s3.environment
    )

    assert (code, told.strip()) == (1, "PHAYA_STORAGE_URL: the bucket no-such-bucket does not exist.")
