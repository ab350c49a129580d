"""Results are kept by the claim that owns the job, and by no other; what was bought waits for storage that is away."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import servers
from phaya.addresses import Fetcher, Guard
from phaya.calls import Finished
from phaya.decoding.decoder import Decoder
from phaya.errors import StorageDown
from phaya.jobs import Job, State, Step
from phaya.moves import LEASE, PROVIDER_KEEPS, TRIES
from phaya.results import NO_ROOM, Results, keys_of
from phaya.serving import listen, serving
from phaya.storage import TRIAL_BYTES, Storage
from test_full_disk import no_room
from test_moves import Bench, bench
from test_storage import storage

pytestmark = pytest.mark.anyio
__all__ = ["bench", "storage"]

ROOM = TRIAL_BYTES * 3 // 4
"""Bytes that a file may have on a disk without room: the database has enough for a while, a film has not."""


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


@dataclass
class Maker:
    """A provider's file server, whose first answer can be held back."""

    url: str = ""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    fetched: int = 0
    content: bytes = field(default_factory=lambda: _png(Image.linear_gradient("L").resize((64, 64)).convert("RGB")))

    async def file(self, _: Request) -> Response:
        self.fetched += 1
        first = self.fetched == 1
        self.asked.set()
        if first:
            await self.held.wait()
        return Response(self.content, media_type="image/png")


@asynccontextmanager
async def making(bench: Bench, storage: Storage, folder: Path) -> AsyncGenerator[Maker]:
    """A file server, from which the bench's engine fetches results into `storage`."""
    maker = Maker()
    fetcher = Fetcher(Guard(networks=[ip_network("127.0.0.0/8")]))
    with listen("127.0.0.1", 0) as listener:
        maker.url = f"http://127.0.0.1:{listener.getsockname()[1]}/1.png"
        async with Decoder() as decoder, serving(Starlette(routes=[Route("/1.png", maker.file)]), listener):
            bench.moves.results = Results(storage, decoder, fetcher, folder / "work")
            try:
                yield maker
            finally:
                await fetcher.close()


async def made(bench: Bench, maker: Maker) -> Job:
    """A picture that its provider has finished: the next look finds out, and fetches it."""
    bench.provider.answers = [Finished((maker.url,), {})]
    job = await bench.open(path="text-to-image")
    await bench.move()
    bench.clock.pass_seconds(60)
    return job


async def stored(storage: Storage) -> list[str]:
    return [stat.key async for stat in storage.listing() if not stat.key.startswith("inputs/")]


async def fetching(bench: Bench, maker: Maker) -> tuple[Job, asyncio.Task[None]]:
    """Such a picture while its worker fetches the file, which the maker holds back."""
    job = await made(bench, maker)
    [claimed] = await bench.claim()
    move = asyncio.create_task(bench.moves.advance(claimed))
    await asyncio.wait_for(maker.asked.wait(), 30)
    return job, move


async def test_a_lost_claim_leaves_the_owners_files_and_none_of_its_own(
    bench: Bench, storage: Storage, tmp_path: Path
) -> None:
    async with making(bench, storage, tmp_path) as maker:
        job, slow = await fetching(bench, maker)
        bench.clock.pass_seconds(LEASE / 1000)

        owned = await bench.move()
        maker.held.set()
        await slow

    after = await bench.row(job)
    assert (after.state, after.results) == (State.COMPLETED, owned.results)
    assert await stored(storage) == keys_of(owned.results)
    assert await bench.clean()


async def test_a_cancelled_job_keeps_nothing_that_is_stored_after_its_end(
    bench: Bench, storage: Storage, tmp_path: Path
) -> None:
    async with making(bench, storage, tmp_path) as maker:
        job, slow = await fetching(bench, maker)

        assert await bench.workflow.cancel(job.id, job.account_id)
        maker.held.set()
        await slow

    assert (await bench.row(job)).state is State.CANCELLED
    assert await stored(storage) == []
    assert await bench.balance() == "100"


async def test_what_was_bought_waits_for_storage_that_is_away(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.s3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        storage = Storage(f"s3://{server.new_bucket()}", "http://x")
        async with making(bench, storage, tmp_path) as maker:
            maker.held.set()
            job = await made(bench, maker)
            server.stop()
            for _ in range(TRIES + 1):
                await bench.move()
                bench.clock.pass_seconds(61)
            waiting = await bench.row(job)
            assert (waiting.step, waiting.state) == (Step.KEEPING, State.PROCESSING)
            server.start()
            server.buckets = 0
            server.new_bucket()

            after = await bench.move()

    assert (after.state, bench.provider.submitted) == (State.COMPLETED, 1)
    assert await bench.balance() == "92"
    assert after.id == job.id


async def test_what_was_bought_waits_for_room_on_the_disk_also_past_its_deadline(bench: Bench, tmp_path: Path) -> None:
    """The provider has the film, so it is neither lost nor paid back; that nothing fits is seen until it does."""
    storage = Storage((tmp_path / "media").as_uri(), "http://x")
    async with making(bench, storage, tmp_path) as maker:
        maker.held.set()
        maker.content = _png(Image.effect_noise((2400, 2400), 100))
        assert len(maker.content) > ROOM
        job = await made(bench, maker)
        with no_room(ROOM):
            for _ in range(TRIES):
                await bench.move()
                bench.clock.pass_seconds(61)
            waiting = await bench.move()
            with pytest.raises(StorageDown):
                await bench.moves.results.ready()
            bench.clock.pass_seconds((job.deadline_at - bench.clock.now()) / 1000)
            late = await bench.move()
            bench.clock.pass_seconds(61)

        after = await bench.move()
        await bench.moves.results.ready()

    assert (waiting.step, waiting.trouble) == (Step.KEEPING, NO_ROOM)
    assert (late.state, late.step, str(late.returned)) == (State.PROCESSING, Step.KEEPING, "0")
    assert (after.state, bench.provider.submitted) == (State.COMPLETED, 1)
    assert await stored(storage) == keys_of(after.results)
    assert await bench.balance() == "92"
    assert await bench.clean()


async def test_storage_that_stays_away_until_the_provider_forgets_returns_the_credits(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: servers.S3
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    async with making(bench, Storage("s3://bucket", "http://x"), tmp_path) as maker:
        maker.held.set()
        job = await made(bench, maker)
        for _ in range(TRIES):
            await bench.move()
            bench.clock.pass_seconds(61)
        bench.clock.pass_seconds((job.deadline_at - bench.clock.now()) / 1000)
        waiting = await bench.move()
        bench.clock.pass_seconds(PROVIDER_KEEPS / 1000)

        after = await bench.move()

    assert (waiting.state, waiting.step) == (State.PROCESSING, Step.KEEPING)
    assert (after.state, after.step, after.error_code) == (State.FAILED, Step.WATCHING, "result_unavailable")
    assert await bench.balance() == "100"
