"""What strangers upload is taken apart before anybody sees it, and no answer is more in a browser than it should be."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import wave
import zipfile
import zlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from conftest import Phaya, Reply, settings
from phaya.app import create_app
from phaya.decoding.decoder import Decoder
from phaya.decoding.formats import Unreadable
from phaya.decoding.pictures import MOST_FRAMES
from phaya.serving import listen, serving

pytestmark = pytest.mark.anyio
SCRIPT = b"<html><script>alert(1)</script></html>"
PLACE = "13 deg 45' 22''"


@pytest.fixture(scope="module")
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Phaya, None]:
    """A Phaya that stands behind TLS, and is asked here without."""
    app = create_app(settings(tmp_path_factory.mktemp("phaya")), "https://phaya.example")
    with listen("127.0.0.1", 0) as listener:
        async with serving(app, listener), aiohttp.ClientSession() as session:
            shared = Phaya(f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.system, session)
            shared.key = await shared.new_key(account=shared.email)
            yield shared


def saved(form: str, size: tuple[int, int] = (40, 20), mode: str = "RGB", **options: Any) -> bytes:
    picture = Image.new(mode, size, "red" if mode == "RGB" else (255, 0, 0, 128))
    into = io.BytesIO()
    picture.save(into, form, **options)
    return into.getvalue()


def photograph() -> bytes:
    """A JPEG that a turned camera made at a place that it tells."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "secret description"
    exif.get_ifd(0x8825)[1] = PLACE
    return saved("JPEG", exif=exif.tobytes(), comment=SCRIPT)


def commented() -> bytes:
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", SCRIPT.decode())
    return saved("PNG", pnginfo=told)


def archive() -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as zipped:
        zipped.writestr("Applet.class", b"\xca\xfe\xba\xbe" + SCRIPT)
    return into.getvalue()


def tone() -> bytes:
    """A second of silence as a WAV file, which is kept as it is sent."""
    into = io.BytesIO()
    with wave.open(into, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    return into.getvalue()


def moving(form: str) -> bytes:
    frames = [Image.new("RGBA", (40, 20), (shade, 0, 0, 255)) for shade in (0, 128, 255)]
    into = io.BytesIO()
    frames[0].save(into, form, save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    return into.getvalue()


async def upload(phaya: Phaya, content: bytes, name: str) -> Reply:
    form = aiohttp.FormData()
    form.add_field("file", content, filename=name, content_type="image/svg+xml")
    headers = {"Authorization": f"Bearer {phaya.key}"}
    async with phaya.session.post(f"{phaya.url}/api/v1/media/upload", data=form, headers=headers) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def served(phaya: Phaya, link: str) -> Reply:
    return await phaya.ask("GET", "/media/" + link.partition("/media/")[2])


POLYGLOTS = {
    "a place": (photograph(), PLACE.encode(), "jpg"),
    "a page in a comment": (photograph(), SCRIPT, "jpg"),
    "a page in a text": (commented(), SCRIPT, "png"),
    "a page behind the end": (saved("PNG") + SCRIPT, SCRIPT, "png"),
    "a program behind the end": (saved("GIF") + archive(), b"PK\x03\x04", "gif"),
    "a page behind a moving picture": (moving("GIF") + SCRIPT, SCRIPT, "gif"),
    "a page in metadata": (saved("WEBP", exif=b"Exif\0\0" + SCRIPT, xmp=SCRIPT), SCRIPT, "webp"),
}


@pytest.mark.parametrize(("content", "hidden", "extension"), POLYGLOTS.values(), ids=POLYGLOTS)
async def test_an_uploaded_picture_is_served_as_its_pixels_alone(
    secure: Phaya, content: bytes, hidden: bytes, extension: str
) -> None:
    assert hidden in content

    sent = await upload(secure, content, "page.html")
    found = await served(secure, sent.json["url"])

    assert sent.json["url"].endswith(f".{extension}")
    assert found.status == 200
    assert hidden not in found.content
    assert found.headers["Content-Type"] == {"jpg": "image/jpeg"}.get(extension, f"image/{extension}")
    assert (sent.json["bytes"], found.headers["X-Content-Type-Options"]) == (len(found.content), "nosniff")


async def test_a_picture_in_a_data_url_is_kept_as_its_pixels_alone(secure: Phaya) -> None:
    address = "data:image/jpeg;base64," + base64.b64encode(photograph()).decode()

    created = await secure.post("seedream/create", {"prompt": "A boat", "image_urls": [address]})
    kept = [one async for one in secure.system.results.storage.listing("inputs") if one.key.endswith(".jpg")]
    contents = [(await secure.ask("GET", f"/media/{one.key}")).content for one in kept]

    assert created.status == 200
    assert contents
    assert not any(PLACE.encode() in content or SCRIPT in content for content in contents)


async def test_a_turned_photograph_stands_upright_without_saying_so(secure: Phaya) -> None:
    sent = await upload(secure, photograph(), "photo.jpg")
    found = Image.open(io.BytesIO((await served(secure, sent.json["url"])).content))

    assert (found.size, sent.json["width"], sent.json["height"]) == ((20, 40), 20, 40)
    assert dict(found.getexif()) == {}


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
async def test_a_moving_picture_goes_on_moving(decoder: Decoder, tmp_path: Path, form: str) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    source.write_bytes(moving(form))

    await decoder.renew_picture(source, into)

    with Image.open(into) as found:
        assert (found.format, getattr(found, "n_frames", 1), found.size) == (form, 3, (40, 20))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
async def test_transparency_is_kept(decoder: Decoder, tmp_path: Path, form: str) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    source.write_bytes(saved(form, mode="RGBA"))

    await decoder.renew_picture(source, into)

    with Image.open(into) as found:
        assert found.getchannel("A").getextrema() == (128, 128)


SHAM = {
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "an SVG behind a prolog": b'<?xml version="1.0"?><svg onload="alert(1)"/>',
    "a page": b"<!doctype html>" + SCRIPT,
    "a PDF": b"%PDF-1.7\n",
    "a ZIP": archive(),
    "a GIF by its first bytes": b"GIF89a/*" + SCRIPT,
    "a playlist": b"#EXTM3U\n#EXTINF:3,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "a concat script": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "subtitles": b"1\n00:00:00,000 --> 00:00:05,000\n<img src=http://169.254.169.254/>\n",
    "a film whose header lies": struct.pack(">I", 24) + b"ftypisom" + bytes(12)
    + struct.pack(">I", 0xFFFFFFF0) + b"moov" + struct.pack(">I", 0x7FFFFFFF) + b"mvhd" + bytes(64),
}  # fmt: skip


@pytest.mark.parametrize("content", SHAM.values(), ids=SHAM)
async def test_what_is_no_picture_film_or_sound_is_not_kept(secure: Phaya, content: bytes) -> None:
    sent = await upload(secure, content, "picture.png")

    assert (sent.status, sent.json["error"]) == (422, "invalid_request"), sent.content


def png(side: int) -> bytes:
    """A black PNG of one bit a pixel, whose rows are all there."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def test_a_picture_of_nine_hundred_megapixels_in_a_hundred_kilobytes_is_refused(secure: Phaya) -> None:
    bomb = png(30_000)
    assert len(bomb) < 120_000

    sent = await upload(secure, bomb, "bomb.png")

    assert (sent.status, "more than 50 megapixels" in sent.json["message"]) == (422, True)


async def test_an_animation_of_a_million_frames_is_read_no_further_than_needed(
    decoder: Decoder, tmp_path: Path
) -> None:
    single = saved("GIF", (1, 1))
    frame = single[single.index(b",") : -1]
    (source := tmp_path / "source").write_bytes(single[:-1] + frame * 1_000_000 + b";")

    with pytest.raises(Unreadable, match=f"more than {MOST_FRAMES} frames"):
        await decoder.renew_picture(source, tmp_path / "into")
    with pytest.raises(Unreadable, match=f"more than {MOST_FRAMES} frames"):
        await decoder.clean_animation(source, tmp_path / "into")


async def test_an_answer_of_the_api_is_nothing_for_a_browser_to_show(secure: Phaya) -> None:
    for path in ("/api/v1/user/credits", "/healthz", "/openapi.json", "/nowhere", "/api/v1/text-to-image/status/x"):
        headers = (await secure.ask("GET", path)).headers

        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'"), path
        assert headers["Referrer-Policy"] == "no-referrer", path


async def test_https_is_asked_for_for_a_year_where_it_is_there(secure: Phaya, phaya: Phaya) -> None:
    for path in ("/healthz", "/sign-in", "/media/nothing.png"):
        assert (await secure.ask("GET", path)).headers["Strict-Transport-Security"] == "max-age=31536000", path
        assert "Strict-Transport-Security" not in (await phaya.ask("GET", path)).headers, path


async def test_a_page_of_the_console_runs_and_frames_nothing_foreign(secure: Phaya) -> None:
    page = await secure.ask("GET", "/sign-in")
    parts = [rule.strip().partition(" ") for rule in page.headers["Content-Security-Policy"].split(";")]
    rules = {name: value for name, _, value in parts}

    assert page.status == 200
    assert (rules["default-src"], rules["script-src"], rules["style-src"]) == ("'none'", "'self'", "'self'")
    assert (rules["frame-ancestors"], rules["base-uri"], rules["form-action"]) == ("'none'", "'none'", "'self'")
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_stored_file_is_boxed_in(secure: Phaya) -> None:
    sent = await upload(secure, saved("PNG"), "a.png")
    headers = (await served(secure, sent.json["url"])).headers

    assert headers["Content-Security-Policy"].endswith("sandbox")
    assert "script-src" not in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers.getall("Content-Security-Policy") == [headers["Content-Security-Policy"]]  # type: ignore[attr-defined]


async def test_a_stored_file_of_no_known_type_is_a_download(secure: Phaya, tmp_path: Path) -> None:
    for name in ("page.html", "picture.svg", "list.m3u8"):
        (file := tmp_path / name).write_bytes(SCRIPT)
        await secure.system.results.storage.put(f"2026/11/{name}", file)
        headers = (await secure.ask("GET", f"/media/2026/11/{name}")).headers

        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"] == f'attachment; filename="{name}"'


def test_the_turn_of_a_camera_is_what_is_tested() -> None:
    """The photograph above is one that viewers turn."""
    picture = Image.open(io.BytesIO(photograph()))

    assert (picture.size, ImageOps.exif_transpose(picture).size) == ((40, 20), (20, 40))


async def test_an_answer_to_what_should_not_have_happened_has_its_headers_too(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path), "https://phaya.example")
    app.add_api_route("/broken", lambda: 1 / 0)  # what no handler foresees is answered outside of all middleware
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/broken"
        async with serving(app, listener), aiohttp.ClientSession() as session, session.get(url) as answer:
            assert (answer.status, (await answer.json())["error"]) == (500, "internal_error")
            names = ("X-Content-Type-Options", "Content-Security-Policy", "Strict-Transport-Security")
            assert [
                answer.headers.getall(name, []) for name in names if len(answer.headers.getall(name, [])) != 1
            ] == []


async def test_whoever_has_a_file_cannot_find_out_whether_it_was_used_here(secure: Phaya) -> None:
    """The link of an upload, which needs no key, follows from nothing that its sender alone did not get."""
    content = tone()
    mark = hashlib.sha256(content).hexdigest()

    sent = await upload(secure, content, "a.wav")
    again = await upload(secure, content, "b.wav")

    path = sent.json["url"].removeprefix("https://phaya.example")
    assert again.json["url"] == sent.json["url"], "it is kept once"
    assert (await secure.ask("GET", path)).content == content
    assert mark not in path
    assert (await secure.ask("GET", f"{path.rpartition('/')[0]}/{mark}.wav")).status == 404
