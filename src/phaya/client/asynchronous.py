"""The client for programs that run an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Unpack, cast
from urllib.parse import urlencode

from phaya.client.jobs import AsyncJob
from phaya.client.place import place
from phaya.client.refusals import ApiError
from phaya.client.services import CREATE_PATHS, AsyncServices, Options
from phaya.client.wire import Wire

CHAT = "phaya-gpt/chat/completions"
Talk = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Reply:
    """What the model said; `answer` is the API's whole answer."""

    text: str
    credits_used: Decimal
    answer: Mapping[str, Any]


class AsyncClient(Wire, AsyncServices):
    """Phaya with one key: a method for each service, jobs, chat, files and the balance.

    Used as `async with AsyncClient() as client`. Base and key are those given, else PHAYA_BASE and PHAYA_API_KEY, else
    those of `phaya login`. All methods raise ApiError where the server refuses, and Unreachable where nobody answers.
    """

    def __init__(self, base: str | None = None, key: str | None = None) -> None:
        super().__init__(*place(base, key))

    async def generate(self, service: str, fields: Mapping[str, Any], **options: Unpack[Options]) -> AsyncJob:
        """Buys a job of any service by its path; files of this machine, given as Path, are uploaded first.

        A create whose answer is lost is sent again under the same idempotency key, and bought once.
        """
        body = await self.ready(fields)
        if (hook := options.get("webhook_url")) is not None:
            body["webhook_url"] = hook
        cancel_after = options.get("cancel_after")
        headers = {} if cancel_after is None else {"Cancel-After": str(cancel_after)}
        created = await self.post(await self._create_path(service), body, options.get("idempotency_key"), headers)
        return AsyncJob(self, created)

    async def price(self, service: str, **fields: Any) -> Decimal:
        """What a request would cost; nothing is charged."""
        return (await self.post(f"{service}/estimate", await self.ready(fields)))["credits"]

    async def ready(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body: what is None left out, files of this machine uploaded and exchanged for their links."""
        return {name: await self._uploaded(value) for name, value in fields.items() if value is not None}

    async def job(self, job_id: str) -> AsyncJob:
        """A job of this account."""
        return AsyncJob(self, await self.get(f"jobs/{job_id}"))

    async def jobs(self, *, service: str | None = None, state: str | None = None) -> AsyncIterator[AsyncJob]:
        """The jobs of this account, newest first, page by page."""
        asked = {"service": service, "state": state, "limit": "100"}
        cursor: str | None = None
        while True:
            query = {name: value for name, value in (asked | {"cursor": cursor}).items() if value is not None}
            page = await self.get(f"jobs?{urlencode(query)}")
            for status in page["jobs"]:
                yield AsyncJob(self, status)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def chat(self, talk: Talk, *, system: str | None = None, **fields: Any) -> Reply:
        """Asks Phaya-GPT: one question, or a conversation in OpenAI's shape."""
        answer = await self.post(CHAT, _talk(talk, system) | fields)
        return Reply(str(answer["message"].get("content") or ""), answer["credits_used"], answer)

    async def chat_stream(self, talk: Talk, *, system: str | None = None, **fields: Any) -> AsyncIterator[str]:
        """The same, word by word as it is said."""
        async for event in self.stream(CHAT, _talk(talk, system) | fields | {"stream": True}):
            if error := event.get("error"):
                raise ApiError(502, str(error.get("code")), str(error.get("message")))
            choices: list[dict[str, Any]] = event.get("choices") or []
            for choice in choices:
                delta: dict[str, Any] = choice.get("delta") or {}
                if delta.get("content"):
                    yield delta["content"]

    async def embed(self, texts: str | Sequence[str], **fields: Any) -> list[list[float]]:
        """Texts as vectors, in their order."""
        answer = await self.post("embedding/create", {"input": texts, **fields})
        return [one["embedding"] for one in answer["data"]]

    async def upload(self, file: str | Path, content: bytes | None = None) -> str:
        """Keeps a file of this machine (or `content` under a name) on the server; answers a link, good as any input."""
        data = Path(file).read_bytes() if content is None else content
        return (await self.keep(Path(file).name, data))["url"]

    async def balance(self) -> Decimal:
        """What the account can spend, in credits."""
        return (await self.get("user/credits"))["credits_balance"]

    async def services(self) -> list[dict[str, Any]]:
        """What is on sale, with schemas and prices."""
        return (await self.get("services"))["services"]

    async def _create_path(self, service: str) -> str:
        """Where a service is asked for; of those that an operator added, the server knows."""
        if service in CREATE_PATHS:
            return CREATE_PATHS[service]
        known = {str(one["service"]): str(one["create"]) for one in await self.services()}
        return known.get(service, f"{service}/create").partition("/api/v1/")[2] or f"{service}/create"

    async def _uploaded(self, value: Any) -> Any:
        if isinstance(value, Path):
            return await self.upload(value)
        if isinstance(value, list | tuple):
            return [await self._uploaded(one) for one in cast("list[Any]", value)]
        return value


def _talk(talk: Talk, system: str | None) -> dict[str, Any]:
    messages = [{"role": "user", "content": talk}] if isinstance(talk, str) else [dict(one) for one in talk]
    return {"messages": [*([{"role": "system", "content": system}] if system else []), *messages]}
