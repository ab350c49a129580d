"""The chat provider that all gateways ask: nginx with one fixed answer, shaped as OpenRouter's, plain or as a stream.

`/v1/chat/completions` answers as the Accept header asks, `/plain/v1/…` and `/stream/v1/…` always the same way.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import orjson

import machine

PROMPT_TOKENS, COMPLETION_TOKENS = 11, 4
WORDS = "Sawasdee krap, good morning."
_NAMED = {"id": "gen-1764000000-bench", "provider": "Stand-in", "model": "google/gemini-2.5-flash"}
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "cost": 0.0000133,
}


def whole() -> bytes:
    """The answer in one piece."""
    message = {"role": "assistant", "content": WORDS, "refusal": None, "reasoning": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "native_finish_reason": "STOP", "logprobs": None}
    return orjson.dumps(
        {**_NAMED, "object": "chat.completion", "created": 1764000000, "choices": [choice], "usage": _USAGE}
    )


def events(words: Sequence[str] = WORDS.split(" ")) -> list[bytes]:
    """The answer as events: a word each, the reason of the end, the usage, the end."""
    shown = [_event({"role": "assistant", "content": f"{word} "}) for word in words]
    return [
        *shown,
        _event({"role": "assistant", "content": ""}, "stop"),
        _event({}, None, usage=True),
        b"data: [DONE]\n\n",
    ]


def _event(delta: dict[str, str], reason: str | None = None, *, usage: bool = False) -> bytes:
    body: dict[str, object] = {**_NAMED, "object": "chat.completion.chunk", "created": 1764000000}
    body["choices"] = [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]
    return b"data: " + orjson.dumps(body | ({"usage": _USAGE} if usage else {})) + b"\n\n"


CONFIGURATION = """
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/errors warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_accept $shape {{ default plain; "~event-stream" stream; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /v1/chat/completions {{
            default_type application/json;
            if ($shape = stream) {{ rewrite ^ /stream/v1/chat/completions last; }}
            return 200 '{whole}';
        }}
        location = /plain/v1/chat/completions {{ default_type application/json; return 200 '{whole}'; }}
        location = /stream/v1/chat/completions {{ default_type text/event-stream; return 200 '{events}'; }}
    }}
}}
"""


class Missing(Exception):
    """A program that the benchmark needs is not there, and how it is had."""


def needed(program: str, package: str) -> str:
    """Where a program is. Raises Missing."""
    for folder in (None, "/usr/sbin:/usr/local/sbin"):
        if (found := shutil.which(program, path=folder)) is not None:
            return found
    raise Missing(f"{program} is not installed: `apt-get install {package}` on Debian, or your system's package.")


@contextlib.asynccontextmanager
async def upstream(folder: Path) -> AsyncGenerator[int]:
    """The port of a running nginx. Raises Missing."""
    folder.mkdir(parents=True, exist_ok=True)
    port, file = machine.free_port(), folder / "nginx.conf"
    answers = {"whole": _quoted(whole()), "events": _quoted(b"".join(events()))}
    file.write_text(CONFIGURATION.format(folder=folder, port=port, **answers))
    command = (needed("nginx", "nginx"), "-c", str(file), "-p", str(folder))
    async with machine.spawned(folder / "nginx.log", command, {}, machine.REST):
        await machine.answered(f"http://127.0.0.1:{port}/plain/v1/chat/completions")
        yield port


def _quoted(answer: bytes) -> str:
    """As nginx reads it between apostrophes."""
    text = answer.decode()
    assert "'" not in text
    assert "$" not in text
    return text.replace("\\", "\\\\")
