"""Jobs as a program holds them."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from phaya.client.refusals import ClientError, JobFailed
from phaya.client.wire import ENDED

if TYPE_CHECKING:
    from phaya.client.asynchronous import AsyncClient
    from phaya.client.synchronous import Client


class KnownJob:
    """What is known of a job; `status` is the API's last answer about it."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        self.status = dict(status)

    @property
    def id(self) -> str:
        """Its id."""
        return self.status["job_id"]

    @property
    def service(self) -> str:
        """Which service makes it."""
        return self.status["service"]

    @property
    def state(self) -> str:
        """`queued`, `processing`, `completed`, `failed` or `cancelled`, as of the last answer."""
        return self.status["state"]

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self.state in ENDED

    @property
    def url(self) -> str | None:
        """The link of its first result; no key is needed to fetch it."""
        return next(iter(self.urls), None)

    @property
    def urls(self) -> list[str]:
        """The links of all its results."""
        return results(self.status)

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.status.get("error")

    @property
    def credits_used(self) -> Decimal:
        """What it was charged; `status["credits_refunded"]` of that came back."""
        return self.status["credits_used"]

    @property
    def warnings(self) -> list[str]:
        """What the create answer warned of."""
        return list(self.status.get("warnings") or [])

    def __repr__(self) -> str:
        return f"<{self.service} {self.id} {self.state}>"

    def _repr_html_(self) -> str:
        """The results themselves, in a notebook."""
        if not self.urls:
            told = self.error or self.status.get("message") or self.state
            return f"<p><code>{html.escape(self.service)}</code> {html.escape(str(told))}</p>"
        return "\n".join(_shown(link) for link in self.urls)

    def learn(self, status: Mapping[str, Any]) -> None:
        """Takes a newer answer."""
        self.status |= status


class AsyncJob(KnownJob):
    """A job of an AsyncClient."""

    def __init__(self, client: AsyncClient, status: Mapping[str, Any]) -> None:
        super().__init__(status)
        self._client = client

    async def refresh(self) -> AsyncJob:
        """Asks where it stands."""
        self.learn(await self._client.get(f"jobs/{self.id}"))
        return self

    async def iter_events(self) -> AsyncIterator[dict[str, Any]]:
        """Its status at each change, until it has ended."""
        async for status in self._client.follow_job(self.id):
            self.learn(status)
            yield status

    async def wait(self, timeout: float | None = None) -> AsyncJob:
        """Returns when it is completed. Raises JobFailed, or TimeoutError after so many seconds; the job goes on."""
        async with asyncio.timeout(timeout):
            if not self.ended:
                async for _ in self.iter_events():
                    pass
        if self.state != "completed":
            raise JobFailed(self.status)
        return self

    async def save(self, path: str | Path) -> Path:
        """Waits for it and saves its first result; into a folder, under the result's own name."""
        await self.wait()
        if self.url is None:
            raise ClientError(f"What {self.service} makes is no file; read job.status.")
        file = Path(path)
        if file.is_dir():
            file /= urlsplit(self.url).path.rpartition("/")[2]
        await self._client.download(self.url, file)
        return file

    async def fetch(self, link: str, file: Path) -> int:
        """Saves one of its results; answers its size in bytes."""
        return await self._client.download(link, file)

    async def cancel(self) -> bool:
        """Ends it and returns its credits; False where it had ended already."""
        done: bool = (await self._client.post(f"jobs/{self.id}/cancel", {}))["success"]
        await self.refresh()
        return done


class Job(KnownJob):
    """A job of a Client."""

    def __init__(self, client: Client, job: AsyncJob) -> None:
        super().__init__(job.status)
        self.status = job.status  # one and the same: what either learns, both know
        self._client = client
        self._job = job

    def refresh(self) -> Job:
        """Asks where it stands."""
        self._client.run(self._job.refresh())
        return self

    def iter_events(self) -> Iterator[dict[str, Any]]:
        """Its status at each change, until it has ended."""
        return self._client.each(self._job.iter_events())

    def wait(self, timeout: float | None = None) -> Job:
        """Returns when it is completed. Raises JobFailed, or TimeoutError after so many seconds; the job goes on."""
        self._client.run(self._job.wait(timeout))
        return self

    def save(self, path: str | Path) -> Path:
        """Waits for it and saves its first result; into a folder, under the result's own name."""
        return self._client.run(self._job.save(path))

    def cancel(self) -> bool:
        """Ends it and returns its credits; False where it had ended already."""
        return self._client.run(self._job.cancel())


def results(status: Mapping[str, Any]) -> list[str]:
    """The links of a completed job's results, the first one first."""
    if status.get("state") != "completed":
        return []
    found: list[object] = [status.get("result_url")]
    for name, value in status.items():
        if name.endswith("_url") and name != "status_url":
            found.append(value)
        elif name.endswith("_urls"):
            found.extend(value or ())
    return list(dict.fromkeys(link for link in found if isinstance(link, str)))


def _shown(link: str) -> str:
    address = html.escape(link, quote=True)
    match urlsplit(link).path.rpartition(".")[2].lower():
        case "png" | "jpg" | "jpeg" | "webp" | "gif" | "avif":
            return f'<img src="{address}" style="max-width: 512px">'
        case "mp4" | "webm" | "mov" | "m4v":
            return f'<video src="{address}" controls style="max-width: 512px"></video>'
        case "mp3" | "wav" | "m4a" | "ogg" | "aac" | "flac":
            return f'<audio src="{address}" controls></audio>'
        case _:
            return f'<a href="{address}">{address}</a>'
