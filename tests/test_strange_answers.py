"""What comes instead of an answer: every dialect says what it proves, within its time, and tells nobody's secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from conftest import Reply, running
from phaya.calls import GeminiSpeech, KieTask, Passage
from phaya.operator import Refused
from phaya.providers import ProviderError, Rejected, Unavailable, Unknown
from phaya.providers.gemini import Gemini
from phaya.providers.kie import Kie
from phaya.providers.openrouter import OpenRouter
from wire import Act, Step, Wire, answer

pytestmark = pytest.mark.anyio

KEY = "secret-0123456789abcdef0123456789"
TASK = KieTask("z-image", {"prompt": "a red kite"})
PAGE = b"<!DOCTYPE html><html><title>Error 520</title><h1>Web server is returning an unknown error</h1></html>"
HTML = {"Content-Type": "text/html; charset=UTF-8"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
MEGABYTE = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
ENDLESS: list[Step] = [HEAD, *[MEGABYTE] * 20_000]
"""Twenty gigabytes, of which nobody may take more than the limit of an honest answer."""

STRANGE: Mapping[str, list[Step]] = {
    "silent": [Act.HANG],
    "too slow": [HEAD + b"1\r\n{\r\n", Act.HANG],
    "reset before the head": [Act.RESET],
    "reset after the head": [HEAD, Act.RESET],
    "cut in the middle": [b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"code":200,"data"', Act.CLOSE],
    "endless": ENDLESS,
    "other JSON": answer({"weather": "fine"}),
    "a list": answer([1, 2, 3]),
    "JSON of another charset": answer('{"code": 200, "msg": "成功"}'.encode("utf-16")),
    "bytes of another language": answer("{\"error\": \"ไม่สำเร็จ\"}".encode("cp874")),
    "200 with a page": answer(PAGE, 200, HTML),
    "520 with a page": answer(PAGE, 520, HTML),
    "522 with a page": answer(PAGE, 522, HTML),
    "524 with a page": answer(PAGE, 524, HTML),
    "elsewhere": answer(b"", 307, {"Location": "http://127.0.0.1:9/elsewhere"}),
}  # fmt: skip


async def _create(session: aiohttp.ClientSession, base: str, _folder: Path) -> None:
    await Kie(session, base, [KEY], submit_seconds=0.3, look_seconds=0.3).submit(TASK, KEY, None)


async def _look(session: aiohttp.ClientSession, base: str, _folder: Path) -> None:
    await Kie(session, base, [KEY], submit_seconds=0.3, look_seconds=0.3).look(TASK, KEY, "ticket")


async def _chat(session: aiohttp.ClientSession, base: str, _folder: Path) -> None:
    await OpenRouter(session, base, KEY, silence_seconds=0.3, whole_seconds=0.5).complete(
        {"model": "m", "messages": []}
    )


async def _stream(session: aiohttp.ClientSession, base: str, _folder: Path) -> None:
    router = OpenRouter(session, base, KEY, silence_seconds=0.3)
    async with router.stream({"model": "m", "messages": []}, seconds=0.5) as stream:
        async for _ in stream:
            pass


async def _speak(session: aiohttp.ClientSession, base: str, folder: Path) -> None:
    async def report(_part: float) -> None:
        pass

    gemini = Gemini(session, base, KEY, "gemini-3.8-flash-tts", answer_seconds=0.2, pause_seconds=0.01)
    await gemini.run(GeminiSpeech([Passage("Good morning", 1)], "Kore"), {}, folder, report)


DOORS = {
    "a creation": (_create, (Unknown,), 1),
    "a chat": (_chat, (Unavailable, Unknown), 1),
    "a stream": (_stream, (Unavailable, Unknown), 1),
    "a look": (_look, (Unavailable, Unknown), 2),
    "speech": (_speak, (Rejected,), 4),
}
"""Who asks, what alone may be concluded, and how often may be asked. What may have been bought is asked for once."""


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("door", DOORS)
async def test_what_is_no_answer_proves_nothing_and_is_told_in_plain_words(
    door: str, strange: str, tmp_path: Path
) -> None:
    """A creation is never said to have failed, so nobody buys it twice; a chat is asked for once; a look is tried
    again; speech is paid back. The user reads a sentence, and the operator what came."""
    ask, concluded, times = DOORS[door]
    async with Wire() as wire, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        wire.play(*[STRANGE[strange]] * times)

        with pytest.raises(ProviderError) as told:
            await ask(session, wire.base, tmp_path)

        assert isinstance(told.value, concluded), told.value
        assert 1 <= len(wire.asked) <= times
    assert told.value.detail
    for word in ("<", "{", "Error", "127.0.0.1", KEY, "520"):
        assert word not in told.value.message
    assert told.value.message.endswith(".")
    assert KEY not in told.value.detail


@pytest.mark.parametrize("status", [520, 524])
async def test_a_chat_that_the_edge_gave_up_costs_nothing_is_sent_once_and_needs_eyes(
    status: int, tmp_path: Path
) -> None:
    """Nobody knows whether it was made and billed: the user gets the credits back, the operator a line on the list."""
    async with Wire() as wire:
        provider = {"OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": wire.base}
        async with running(tmp_path, **provider) as phaya:
            said = {"messages": [{"role": "user", "content": "Good morning"}]}
            doors = ("/api/v1/phaya-gpt/chat/completions", "/v1/chat/completions")
            told: list[Reply] = []
            for door in doors:
                for streamed in (False, True):
                    wire.play(answer(PAGE, status, HTML))
                    told.append(await phaya.ask("POST", door, {**said, "model": "Phaya-GPT", "stream": streamed}))
            listed = (await phaya.operate("reconcile list"))["jobs"]
            eyes = [item["what"] for item in (await phaya.operate("digest"))["items"] if item["eyes"]]
            balance, faults = await phaya.balance(), await phaya.audit()
            with pytest.raises(Refused, match="is a chat"):
                await phaya.operate("reconcile look", job=listed[0]["job_id"])
            for job in listed:
                await phaya.operate("reconcile close", job=job["job_id"], by="me", reason="looked at the bill")
            left = (await phaya.operate("reconcile list"))["jobs"]

    assert [one.status for one in told] == [502] * 4
    assert all("Nothing was charged." in one.json["message"] for one in told)
    assert {one.headers.get("x-should-retry") for one in told} == {None, "false"}
    assert len(wire.asked) == 4
    assert (balance, faults) == (1000, [])
    assert {(job["error_code"], f"HTTP {status}" in job["trouble"]) for job in listed} == {("unknown", True)}
    assert len(listed) == 4
    assert "doubt" in eyes
    assert left == []
