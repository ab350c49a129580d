"""The client for programs and notebooks without an event loop: the other one, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from phaya.client.asynchronous import AsyncClient, Reply, Talk
from phaya.client.jobs import Job
from phaya.client.services import Options, Services

T = TypeVar("T")


class Client(Services):
    """Phaya with one key: a method for each service, jobs, chat, files and the balance.

    Base and key are those given, else PHAYA_BASE and PHAYA_API_KEY, else those of `phaya login`. It may be used by
    several threads, and is closed by `close`, at the end of `with`, or with the program. All methods raise ApiError
    where the server refuses, and Unreachable where nobody answers.
    """

    def __init__(self, base: str | None = None, key: str | None = None) -> None:
        self._client = AsyncClient(base, key)
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="phaya-client", daemon=True)
        thread.start()
        self.run(self._client.__aenter__())
        self._end = weakref.finalize(self, _close, self._client, self._loop, thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._end()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does work of the AsyncClient in its thread. An interrupt ends the work too."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """What an iterator of the AsyncClient gives."""

        async def following() -> tuple[T, ...]:
            async for item in items:
                return (item,)
            return ()

        while found := self.run(following()):
            yield found[0]

    def generate(self, service: str, fields: Mapping[str, Any], **options: Unpack[Options]) -> Job:
        """Buys a job of any service by its path; files of this machine, given as Path, are uploaded first.

        A create whose answer is lost is sent again under the same idempotency key, and bought once.
        """
        return Job(self, self.run(self._client.generate(service, fields, **options)))

    def price(self, service: str, **fields: Any) -> Decimal:
        """What a request would cost; nothing is charged."""
        return self.run(self._client.price(service, **fields))

    def job(self, job_id: str) -> Job:
        """A job of this account."""
        return Job(self, self.run(self._client.job(job_id)))

    def jobs(self, *, service: str | None = None, state: str | None = None) -> Iterator[Job]:
        """The jobs of this account, newest first, page by page."""
        return (Job(self, job) for job in self.each(self._client.jobs(service=service, state=state)))

    def chat(self, talk: Talk, *, system: str | None = None, **fields: Any) -> Reply:
        """Asks Phaya-GPT: one question, or a conversation in OpenAI's shape."""
        return self.run(self._client.chat(talk, system=system, **fields))

    def chat_stream(self, talk: Talk, *, system: str | None = None, **fields: Any) -> Iterator[str]:
        """The same, word by word as it is said."""
        return self.each(self._client.chat_stream(talk, system=system, **fields))

    def embed(self, texts: str | Sequence[str], **fields: Any) -> list[list[float]]:
        """Texts as vectors, in their order."""
        return self.run(self._client.embed(texts, **fields))

    def upload(self, file: str | Path, content: bytes | None = None) -> str:
        """Keeps a file of this machine (or `content` under a name) on the server; answers a link, good as any input."""
        return self.run(self._client.upload(file, content))

    def balance(self) -> Decimal:
        """What the account can spend, in credits."""
        return self.run(self._client.balance())

    def services(self) -> list[dict[str, Any]]:
        """What is on sale, with schemas and prices."""
        return self.run(self._client.services())


def _close(client: AsyncClient, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    asyncio.run_coroutine_threadsafe(client.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
