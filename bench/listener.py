"""Listens to many streamed chats at a time, and says how long each word of the talker (talker.py) was on its way.

    python bench/listener.py PORT KEY COUNT SECONDS

COUNT streams are begun evenly over SECONDS and read to their ends. Prints JSON: `first` and `later`, milliseconds on
the way of each stream's first word and of each later one; `opening`, milliseconds from each request to the reading of
its first word; `whole`, how many streams had their usage and their end;
`open`, how many were open at the most.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time

import aiohttp
import orjson
import uvloop

MOMENT = re.compile(rb'"content":"(\d+\.\d+) ?"')
BODY = {"messages": [{"role": "user", "content": "Tell me the time."}], "max_tokens": 100, "stream": True}


async def main(url: str, key: str, count: int, seconds: float) -> None:
    """Opens all, reads all, prints what came."""
    opening, first, later = list[float](), list[float](), list[float]()
    whole = opened = most = 0
    body = orjson.dumps(BODY | {"stream_options": {"include_usage": True}})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    began = time.monotonic()

    async def listen(number: int, session: aiohttp.ClientSession) -> None:
        nonlocal whole, opened, most
        await asyncio.sleep(began + number * seconds / count - time.monotonic())
        waits, text = list[float](), b""
        sent = time.monotonic()
        async with session.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            opened += 1
            most = max(most, opened)
            async for part in answer.content.iter_any():
                now = time.monotonic()
                if not waits:
                    opening.append(1000 * (now - sent))
                waits += [1000 * (now - float(moment)) for moment in MOMENT.findall(part)]
                text = text[-600:] + part
        opened -= 1
        first.append(waits[0])
        later.extend(waits[1:])
        whole += b'"prompt_tokens":11' in text and text.rstrip().endswith(b"[DONE]")

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        await asyncio.gather(*(listen(number, session) for number in range(count)))
    print(orjson.dumps({"opening": opening, "first": first, "later": later, "whole": whole, "open": most}).decode())


if __name__ == "__main__":
    port, text, many, spread = sys.argv[1:]
    uvloop.run(main(f"http://127.0.0.1:{port}/v1/chat/completions", text, int(many), float(spread)))
