"""Results: made when somebody first asks for them, then kept in a folder that does not grow without end.

A file is named by the hash of its specification, so equal requests share one. It is made under another
name and moved into place, so there is never half a file. Addresses of stills are fetched at that moment;
one that cannot be fetched is left out, and the file is made without it.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import av
import structlog
from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from phaya.clock import Clock
from phaya.providers.sandbox import kie, suno, veo
from phaya.providers.sandbox.fields import Refusal
from phaya.providers.sandbox.products import TYPES, Film, Product, digest, make, stills_of
from phaya.providers.sandbox.tasks import Task, Tasks
from phaya.providers.sandbox.wire import json_answer

log = structlog.get_logger()

Fetch = Callable[[str], Awaitable[bytes]]

MOST_STILLS = 2


class FetchRefused(Exception):
    """The address is not fetched."""


async def fetch_nothing(url: str) -> bytes:
    """Refuses every address: what is fetched, and from where, is the caller's decision."""
    raise FetchRefused(url)


class Files:
    """The folder of results. At most half of the cores make files, and one file is made once."""

    def __init__(self, folder: Path, tasks: Tasks, fetch: Fetch, clock: Clock, cap: int) -> None:
        self._kept = folder / "files"
        self._making = folder / "making"
        self._tasks = tasks
        self._fetch = fetch
        self._clock = clock
        self._cap = cap
        self._slots = asyncio.Semaphore(max(1, (os.cpu_count() or 2) // 2))
        self._makers: dict[str, asyncio.Task[Path]] = {}

    def routes(self) -> list[Route]:
        """Results need no key, as on KIE."""
        return [Route("/files/{task}/{name}", self.serve, methods=["GET"])]

    def prepare(self) -> None:
        """Makes the folders, and clears what a killed process left unfinished."""
        shutil.rmtree(self._making, ignore_errors=True)
        self._kept.mkdir(parents=True, exist_ok=True)
        self._making.mkdir(parents=True)

    async def close(self) -> None:
        """Stops what is being made."""
        makers = list(self._makers.values())
        for maker in makers:
            maker.cancel()
        await asyncio.gather(*makers, return_exceptions=True)

    async def serve(self, request: Request) -> Response:
        """`GET /files/<task>/<number>.<suffix>`, with ranges."""
        task = await self._tasks.find(request.path_params["task"])
        ready = task is not None and task.outcome == "success" and task.ended(self._clock.now())
        try:
            product = _files_of(task).get(request.path_params["name"]) if task is not None and ready else None
        except Refusal:  # a task of an older edition, whose model is described differently now
            product = None
        if product is None:
            return json_answer({"code": 404, "msg": "Not Found"}, 404)
        path = await self.file(product)
        return FileResponse(path, media_type=TYPES[product.suffix], headers={"Cache-Control": "public, max-age=86400"})

    async def file(self, product: Product) -> Path:
        """The product's file; waits until it is made."""
        name = f"{digest(product)}.{product.suffix}"
        path = self._kept / name
        if await asyncio.to_thread(_touch, path):
            return path
        if name not in self._makers:
            maker = asyncio.create_task(self._make(product, path))
            self._makers[name] = maker
            maker.add_done_callback(lambda _: self._makers.pop(name, None))
        return await asyncio.shield(self._makers[name])

    async def _make(self, product: Product, path: Path) -> Path:
        async with self._slots:
            folder = Path(tempfile.mkdtemp(dir=self._making))
            try:
                if isinstance(product, Film) and product.driving:
                    product = await self._driven(product)
                stills = await self._stills(product, folder)
                unfinished = folder / path.name
                await make(product, unfinished, stills)
                unfinished.replace(path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        await asyncio.to_thread(_shrink, self._kept, self._cap, path)
        return path

    async def _driven(self, film: Film) -> Film:
        """The film in the length of the one that it follows, where that can be fetched and read."""
        try:
            content = await self._fetch(film.driving)
            seconds = await asyncio.to_thread(_seconds, content)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, a film is made
            log.info("sandbox.driving_film.left_out", url=film.driving, reason=repr(error))
            return film
        return replace(film, seconds=min(seconds, film.most))

    async def _stills(self, product: Product, folder: Path) -> list[Path]:
        found: list[Path] = []
        for url in stills_of(product)[:MOST_STILLS]:
            try:
                content = await self._fetch(url)
                suffix = await asyncio.to_thread(_picture_suffix, content)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, a still is only an ingredient
                log.info("sandbox.still.left_out", url=url, reason=repr(error))
                continue
            still = folder / f"still-{len(found)}.{suffix}"
            await asyncio.to_thread(still.write_bytes, content)
            found.append(still)
        return found


def _files_of(task: Task) -> dict[str, Product]:
    """The files of a task by the names that its links carry."""
    if task.family == "suno":
        files: dict[str, Product] = {}
        for song, cover in suno.songs_of(task):
            files |= {f"{song.take}.mp3": song, f"{cover.take}.jpeg": cover}
        return files
    products = veo.films_of(task) if task.family == "veo" else kie.products_of(task)
    return {f"{number}.{product.suffix}": product for number, product in enumerate(products, 1)}


def _seconds(content: bytes) -> float:
    """How long a film lasts. Raises where it is none."""
    with av.open(io.BytesIO(content), "r") as film:
        if not film.streams.video or not film.duration:
            raise ValueError("it is no film")
        return film.duration / av.time_base


def _picture_suffix(content: bytes) -> str:
    """The suffix of a whole and readable picture. Raises where it is none."""
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as picture:
        picture.load()
        return str(picture.format).lower()


def _touch(path: Path) -> bool:
    """Whether the file is there; it counts as used now. Its time of change stays, as it is part of the ETag."""
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


def _shrink(folder: Path, cap: int, newest: Path) -> None:
    """Deletes the files that were longest unused, until the folder is within its cap."""
    with os.scandir(folder) as entries:
        files = sorted((entry.stat().st_atime_ns, entry.stat().st_size, entry.path) for entry in entries)
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= cap:
            return
        if path != str(newest):
            Path(path).unlink(missing_ok=True)
            total -= size
