"""The engine's moves, one at a time, with a provider whose every answer the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection, select

from conftest import BOTH, Clock
from phaya import jobs, keys, ledger
from phaya.addresses import Fetcher, Guard
from phaya.calls import Call, Finished, KieTask, LastFrame, LocalCall, Look, Refused, RemoteCall, Waiting
from phaya.catalog import SERVICES
from phaya.clock import SystemClock
from phaya.closings import end_job
from phaya.credits import credits
from phaya.database import Database
from phaya.decoding.decoder import Decoder
from phaya.jobs import Job, Lost, State, Step
from phaya.limits import Limits
from phaya.moves import LEASE, TRIES, Moves
from phaya.openings import open_job
from phaya.providers import Budget, Made, NotThere, Rejected, Report, Unavailable, Unknown
from phaya.providers.ffmpeg import Ffmpeg
from phaya.providers.roster import RENDER, Roster
from phaya.results import Results
from phaya.retention import Retention
from phaya.schema import jobs as rows
from phaya.storage import Storage
from phaya.worker import Worker
from phaya.workflow import Workflow

pytestmark = pytest.mark.anyio

ENGINES = BOTH


@dataclass
class Scripted:
    """A provider that answers what it is told to, and counts."""

    name: str = "kie"
    keys: Sequence[str] = ("k1",)
    creations: Budget = field(default_factory=lambda: Budget(20, 10))
    looks: Budget = field(default_factory=lambda: Budget(1000, 1))
    submits: list[object] = field(default_factory=list[object])
    answers: list[object] = field(default_factory=list[object])
    submitted: int = 0
    looked: int = 0

    async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
        self.submitted += 1
        answer = self.submits.pop(0) if self.submits else "ticket"
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    async def look(self, call: RemoteCall, key: str, ticket: str) -> Look:
        self.looked += 1
        answer = self.answers.pop(0) if self.answers else Waiting()
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Waiting | Finished | Refused)
        return answer

    def callback_ticket(self, body: object) -> str | None:
        return str(body)

    def callback_is_signed(self, headers: Mapping[str, str], ticket: str | None) -> bool:
        return True


@dataclass
class Wrapped:
    """A database whose calls a test may watch."""

    database: Database

    async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.database.write(work, *args, **kwargs)

    async def read(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.database.read(work, *args, **kwargs)

    async def ready(self) -> None:
        await self.database.ready()

    async def close(self) -> None:
        await self.database.close()


@dataclass
class Bench:
    """A workflow without a worker: the test claims and advances."""

    database: Database
    clock: Clock
    provider: Scripted
    workflow: Workflow
    moves: Moves
    account: str
    key: str

    async def open(
        self,
        price: str = "8",
        path: str = "sora2-text-to-video",
        call: Call | None = None,
        seconds: float | None = None,
    ) -> Job:
        """Opens a job, to be cancelled after so many seconds."""
        service = SERVICES[path]
        request = service.model_validate(service.example)
        job = self.workflow.draft(
            self.account, self.key, path, request, call or KieTask("sora-2-text-to-video", {}), credits(price), 45
        )
        if seconds is not None:
            job = replace(job, cancel_at=job.created_at + int(seconds * 1000))
        await self.database.write(open_job, job)
        return job

    async def claim(self) -> list[Job]:
        return await self.database.write(jobs.claim, "remote", 10, self.clock.now(), LEASE)

    async def move(self) -> Job:
        """Claims the one due job and advances it; answers its row."""
        [job] = await self.claim()
        await self.moves.advance(job)
        return await self.row(job)

    async def row(self, job: Job) -> Job:
        found = await self.database.read(jobs.find, job.id)
        assert found is not None
        return found

    async def balance(self) -> str:
        return str(await self.database.read(ledger.balance, self.account))

    async def clean(self) -> bool:
        return await self.database.read(ledger.audit) == []


@pytest.fixture
async def bench(database: Database, decoder: Decoder, tmp_path: Path, clock: Clock) -> Bench:
    account = await database.write(keys.open_account, "a@x", clock.now())
    _, key = await database.write(keys.mint, b"s", account, "k", clock.now())
    await database.write(ledger.grant, account.id, credits("100"), "", clock.now())
    provider = Scripted()
    workflow = Workflow(
        database,
        Roster(provider, Ffmpeg(decoder)),
        clock,
        secret=b"s",
        callback_base="http://127.0.0.1:9/api/v1",
    )
    results = Results(Storage(tmp_path.as_uri(), "http://x"), decoder, Fetcher(Guard()), tmp_path / "work")
    moves = Moves(workflow, results, Limits())
    return Bench(database, clock, provider, workflow, moves, account.id, key.id)


async def test_the_intent_is_written_before_the_provider_is_spoken_to(bench: Bench) -> None:
    seen: list[Step] = []
    job = await bench.open()

    class Peeking(Scripted):
        async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
            seen.append((await bench.row(job)).step)
            return "ticket"

    bench.workflow.roster = Roster(Peeking(), Ffmpeg(Decoder()))
    after = await bench.move()

    assert seen == [Step.SUBMITTING]
    assert (after.step, after.ticket, after.state) == (Step.AWAITING, "ticket", State.PROCESSING)


async def test_a_process_that_dies_while_submitting_never_submits_again(bench: Bench) -> None:
    job = await bench.open()
    [held] = await bench.claim()
    await bench.database.write(
        jobs.change, held, bench.clock.now(), hold=True, step=Step.SUBMITTING, next_at=bench.clock.now() + LEASE
    )
    assert await bench.claim() == [], "while the lease lasts nobody else touches it"
    bench.clock.pass_seconds(LEASE / 1000)

    doubted = await bench.move()
    waiting = await bench.move()

    assert (doubted.step, waiting.step) == (Step.UNSURE, Step.UNSURE)
    assert bench.provider.submitted == 0
    assert (await bench.row(job)).state == "processing"


@pytest.mark.parametrize("path", ["sora2-text-to-video", "sora2-character"])
async def test_a_success_without_what_was_sold_is_paid_back(bench: Bench, path: str) -> None:
    """A film needs a file and a character its id, whatever else the provider says."""
    bench.provider.answers = [Finished((), {"remark": "all is well"})]
    job = await bench.open(path=path)
    await bench.move()
    bench.clock.pass_seconds(60)

    after = await bench.move()

    assert (after.state, after.error_code) == (State.FAILED, "result_unavailable")
    assert (await bench.balance(), (await bench.row(job)).returned) == ("100", job.price)


async def test_a_submit_that_outlasts_its_lease_is_renewed_and_nobody_else_touches_it(bench: Bench) -> None:
    others: list[list[Job]] = []

    class Slow(Scripted):
        async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
            for _ in range(5):
                bench.clock.pass_seconds(LEASE / 2000)
                await bench.moves.renew()
                others.append(await bench.claim())
            return "ticket"

    await bench.open()
    bench.workflow.roster = Roster(Slow(), Ffmpeg(Decoder()))

    after = await bench.move()

    assert (others, after.step) == ([[]] * 5, Step.AWAITING)


async def test_a_node_that_was_stopped_before_it_spoke_buys_nothing_any_more(bench: Bench) -> None:
    """The intent is written, the process sleeps past its lease, another node goes by the intent."""
    job = await bench.open()
    moves, row, claims = bench.moves, bench.row, bench.claim

    class Sleeping(Wrapped):
        async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
            written = await bench.database.write(work, *args, **kwargs)
            if work is jobs.change and kwargs.get("step") is Step.SUBMITTING:
                bench.clock.pass_seconds(LEASE / 1000 + 1)
                [found] = await claims()
                await moves.advance(found)
            return written

    sleepy = Moves(bench.workflow, moves.results, Limits())
    sleepy.database = Sleeping(bench.database)
    [held] = await claims()
    await sleepy.advance(held)

    assert (bench.provider.submitted, (await row(job)).step) == (0, Step.UNSURE)


async def test_an_unsure_job_is_found_again_by_its_callback(bench: Bench) -> None:
    bench.provider.submits = [Unknown("?", "read timed out")]
    job = await bench.open()
    await bench.move()
    await bench.move()
    assert await bench.workflow.heard(job.id, bench.workflow.callback_token(job.id), {}, "named")

    found = await bench.move()

    assert (found.step, found.ticket) == (Step.AWAITING, "named")
    assert bench.provider.submitted == 1


async def test_an_unsure_job_that_nobody_calls_back_is_refunded_and_watched(bench: Bench) -> None:
    bench.provider.submits = [Unknown("?", "read timed out")]
    await bench.open()
    await bench.move()
    await bench.move()
    assert await bench.balance() == "92"
    bench.clock.pass_seconds(45 * 60)

    ended = await bench.move()

    assert (ended.state, ended.step, ended.error_code) == (State.FAILED, Step.WATCHING, "unknown")
    assert await bench.balance() == "100"
    assert await bench.clean()


@pytest.mark.parametrize("token", ["", "x" * 40])
async def test_a_callback_without_the_right_token_changes_nothing(bench: Bench, token: str) -> None:
    job = await bench.open()
    before = await bench.row(job)

    heard = await bench.workflow.heard(job.id, token, {}, "forged")

    assert not heard
    assert await bench.row(job) == before


async def test_a_callback_is_never_believed_only_asked_about(bench: Bench) -> None:
    job = await bench.open()
    await bench.move()
    await bench.workflow.heard(job.id, bench.workflow.callback_token(job.id), {}, '{"state": "success"}')

    after = await bench.move()

    assert (after.state, bench.provider.looked) == (State.PROCESSING, 1)


async def test_a_callback_during_a_look_is_not_forgotten(bench: Bench) -> None:
    job = await bench.open()
    await bench.move()
    bench.clock.pass_seconds(10)

    class Interrupted(Scripted):
        async def look(self, call: RemoteCall, key: str, ticket: str) -> Look:
            await bench.workflow.heard(job.id, bench.workflow.callback_token(job.id), {}, ticket)
            return Waiting()

    bench.workflow.roster = Roster(Interrupted(), Ffmpeg(Decoder()))
    after = await bench.move()

    assert after.next_at == bench.clock.now(), "it is looked at again at once"


async def test_a_rejected_submit_is_refunded_and_not_repeated(bench: Bench) -> None:
    bench.provider.submits = [Rejected("The picture may not show this.", code="content_rejected")]
    await bench.open()

    ended = await bench.move()

    assert (
        ended.state, ended.error_code, ended.step, ended.next_at,
    ) == (State.FAILED, "content_rejected", Step.DONE, None)  # fmt: skip
    assert ended.error == "The picture may not show this."
    assert (await bench.balance(), bench.provider.submitted) == ("100", 1)


async def test_an_unreachable_provider_is_asked_again_later(bench: Bench) -> None:
    bench.provider.submits = [Unavailable("busy", retry_after=10)]
    await bench.open()

    postponed = await bench.move()
    assert (postponed.step, postponed.state) == (Step.OPEN, State.QUEUED)
    assert await bench.claim() == []
    bench.clock.pass_seconds(11)
    after = await bench.move()

    assert (after.step, bench.provider.submitted) == (Step.AWAITING, 2)


async def test_a_job_that_cannot_start_before_its_deadline_fails_unbought(bench: Bench) -> None:
    await bench.open()
    bench.clock.pass_seconds(45 * 60)

    ended = await bench.move()

    assert (ended.state, bench.provider.submitted) == (State.FAILED, 0)
    assert await bench.balance() == "100"


async def test_a_strange_word_is_shown_to_the_operator_and_looked_at_again(bench: Bench) -> None:
    bench.provider.answers = [Unknown("odd", "state 'archived' in {…}")]
    await bench.open()
    await bench.move()
    bench.clock.pass_seconds(10)

    after = await bench.move()

    assert (after.step, after.trouble) == (Step.AWAITING, "state 'archived' in {…}")


async def test_a_ticket_is_given_time_to_appear_and_then_counts_as_lost(bench: Bench) -> None:
    bench.provider.answers = [NotThere("no", "recordInfo is null"), NotThere("no", "recordInfo is null")]
    await bench.open()
    await bench.move()
    bench.clock.pass_seconds(10)
    early = await bench.move()
    bench.clock.pass_seconds(120)

    late = await bench.move()

    assert (early.state, late.state, late.error_code) == (State.PROCESSING, State.FAILED, "lost")
    assert await bench.balance() == "100"


@pytest.mark.parametrize("cost", ["0", "8"])
async def test_whoever_lost_its_claim_changes_nothing(bench: Bench, cost: str) -> None:
    await bench.open()
    [sleeper] = await bench.claim()
    bench.clock.pass_seconds(LEASE / 1000 + 1)
    [successor] = await bench.claim()

    with pytest.raises(Lost):
        await bench.database.write(end_job, sleeper, bench.clock.now(), State.COMPLETED, credits(cost), {})

    assert (await bench.row(successor)).rev == successor.rev
    assert await bench.clean()


async def test_the_same_failure_told_ten_times_returns_once(bench: Bench) -> None:
    await bench.open()
    [job] = await bench.claim()
    ends: list[Any] = []
    for _ in range(10):
        try:
            ends.append(await bench.database.write(end_job, job, bench.clock.now(), State.FAILED, credits("0"), {}))
        except Lost:
            continue

    assert len(ends) == 1
    assert await bench.balance() == "100"
    assert await bench.clean()


async def test_the_providers_limit_is_kept_whatever_is_queued(bench: Bench) -> None:
    for _ in range(30):
        await bench.open("0")
    for _ in range(3):
        for job in await bench.claim():
            await bench.moves.advance(job)

    assert bench.provider.submitted == 20


async def test_a_cancel_before_the_submit_buys_nothing(bench: Bench) -> None:
    job = await bench.open()
    [held] = await bench.claim()
    assert await bench.workflow.cancel(job.id, bench.account)

    await bench.moves.advance(held)

    assert ((await bench.row(job)).state, bench.provider.submitted) == (State.CANCELLED, 0)
    assert await bench.balance() == "100"


async def test_a_cancel_during_the_submit_keeps_the_ticket_findable(bench: Bench) -> None:
    job = await bench.open()

    class Slow(Scripted):
        async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
            assert await bench.workflow.cancel(job.id, bench.account)
            return "bought"

    bench.workflow.roster = Roster(Slow(), Ffmpeg(Decoder()))
    after = await bench.move()

    assert (after.state, after.step, after.hint) == (State.CANCELLED, Step.WATCHING, "bought")
    assert await bench.balance() == "100"
    assert await bench.clean()


async def test_a_film_that_was_cancelled_and_paid_back_is_not_given_for_nothing(bench: Bench) -> None:
    bench.provider.answers = [Finished(["http://x/film.mp4"], spent="30")]
    job = await bench.open()
    await bench.move()
    await bench.workflow.cancel(job.id, bench.account)
    bench.clock.pass_seconds(60)

    after = await bench.move()

    assert (after.state, after.step, after.spent) == (State.CANCELLED, Step.DONE, "30")
    assert (after.outcome, after.results, await bench.balance()) == (None, None, "100")


async def test_what_a_cancelled_job_cost_us_is_recorded(bench: Bench) -> None:
    job = await bench.open()
    await bench.move()
    await bench.workflow.cancel(job.id, bench.account)
    bench.provider.answers = [Refused("failed later", spent="0")]
    bench.clock.pass_seconds(61)

    after = await bench.move()

    assert (after.state, after.step, after.spent) == (State.CANCELLED, Step.DONE, "0")


async def test_a_chat_whose_process_died_is_swept_and_paid_back(bench: Bench) -> None:
    from dataclasses import replace

    from phaya.calls import Chat

    request = SERVICES["text-to-image"].model_validate({"prompt": "x"})
    draft = bench.workflow.draft(bench.account, bench.key, "phaya-gpt", request, Chat({}), credits("3"), 15)
    lease = bench.clock.now() + 900_000
    talking = replace(draft, step=Step.TALKING, state=State.PROCESSING, claimed=True, next_at=lease)
    await bench.database.write(open_job, talking)
    assert await bench.balance() == "97"
    bench.clock.pass_seconds(901)

    ended = await bench.move()

    assert (ended.state, ended.error_code) == (State.FAILED, "interrupted")
    assert await bench.balance() == "100"
    assert await bench.clean()


async def test_looks_without_budget_are_given_turns_together(bench: Bench) -> None:
    """One denied look puts the whole crowd off, so that nobody asks again and again."""
    bench.provider.looks = Budget(1, 60)
    for _ in range(5):
        await bench.open()
    for job in await bench.claim():
        await bench.moves.advance(job)
    bench.clock.pass_seconds(60)
    first, second = await bench.database.write(jobs.claim, "remote", 2, bench.clock.now(), LEASE)

    await bench.moves.advance(first)
    await bench.moves.advance(second)

    assert await bench.claim() == [], "three were due and were never claimed"
    assert bench.provider.looked == 1
    due = await bench.database.read(moments)
    assert len(set(due)) == 5, "each has a moment of its own"
    assert sum(at > bench.clock.now() + 30_000 for at in due) == 4


async def test_creations_without_budget_are_given_turns_together(bench: Bench) -> None:
    bench.provider.creations = Budget(1, 10)
    for _ in range(4):
        await bench.open()
    first, second = await bench.database.write(jobs.claim, "remote", 2, bench.clock.now(), LEASE)

    await bench.moves.advance(first)
    await bench.moves.advance(second)

    assert await bench.claim() == []
    assert bench.provider.submitted == 1
    bench.clock.pass_seconds(80)
    assert len(await bench.claim()) == 4, "nobody is forgotten"


async def test_a_job_that_was_called_about_is_looked_at_however_many_wait(bench: Bench) -> None:
    bench.provider.looks = Budget(2, 60)
    opened = [await bench.open() for _ in range(4)]
    for job in await bench.claim():
        await bench.moves.advance(job)
    bench.clock.pass_seconds(60)
    for job in await bench.claim():
        await bench.moves.advance(job)
    assert bench.provider.looked == 1, "half of the looks is kept"

    await bench.database.write(jobs.poke, opened[-1].id, "ticket", bench.clock.now())
    await bench.move()

    assert bench.provider.looked == 2


def moments(connection: Connection) -> list[int]:
    return list(connection.scalars(select(rows.c.next_at)))


# ── a time of its user's own ─────────────────────────────────────────────────────────────────────────────


async def test_a_job_with_a_time_of_its_own_is_cancelled_then_and_watched_on(bench: Bench) -> None:
    job = await bench.open(seconds=20)
    submitted = await bench.move()
    bench.clock.pass_seconds(10)
    bench.workflow.callback_base = None
    while (seen := await bench.move()).next_at != job.cancel_at:
        assert seen.next_at is not None
        assert job.cancel_at is not None
        assert seen.next_at < job.cancel_at, "nothing is planned for later"
        bench.clock.moment = seen.next_at
    assert job.cancel_at is not None
    bench.clock.moment = job.cancel_at

    ended = await bench.move()

    assert (submitted.step, ended.state, ended.step) == (Step.AWAITING, State.CANCELLED, Step.WATCHING)
    assert (ended.error_code, ended.returned) == ("cancelled", job.price)
    assert "20 s" in (ended.error or "")
    assert await bench.balance() == "100"
    bench.provider.answers = [Refused("no", spent="3")]
    bench.clock.pass_seconds(60)
    assert (await bench.move()).spent == "3", "what the provider charged is still recorded"
    assert await bench.clean()


async def test_a_job_that_still_waits_for_its_provider_is_not_submitted_after_its_time(bench: Bench) -> None:
    bench.provider.submits = [Unavailable("busy", retry_after=600)]
    await bench.open(seconds=20)
    postponed = await bench.move()
    assert postponed.next_at == postponed.cancel_at
    bench.clock.pass_seconds(20)

    ended = await bench.move()

    assert (ended.state, ended.step, bench.provider.submitted) == (State.CANCELLED, Step.DONE, 1)
    assert await bench.balance() == "100"


async def test_a_submit_that_lasts_beyond_the_jobs_time_leaves_its_ticket(bench: Bench) -> None:
    job = await bench.open(seconds=20)

    class Slow(Scripted):
        async def submit(self, call: RemoteCall, key: str, callback_url: str | None) -> str:
            bench.clock.pass_seconds(20)
            assert (await bench.move()).state is State.CANCELLED, "nobody waits for the submit to come back"
            return "late ticket"

    bench.workflow.roster = Roster(Slow(), Ffmpeg(Decoder()))
    after = await bench.move()

    assert (after.state, after.step, after.hint) == (State.CANCELLED, Step.WATCHING, "late ticket")
    assert await bench.balance() == "100"
    assert (await bench.row(job)).ticket is None


async def test_work_that_a_stop_breaks_off_is_begun_anew_at_once_and_is_no_attempt(bench: Bench) -> None:
    """However often its process is restarted: no lease is waited for, and the job does not run out of attempts."""

    class Hanging:
        name = "hanging"
        begun = asyncio.Event()
        hangs = True

        async def run(self, call: LocalCall, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
            if self.hangs:
                self.begun.set()
                await asyncio.Event().wait()
            Image.new("RGB", (64, 64)).save(folder / "frame.png")
            return Made([folder / "frame.png"])

    worker = Hanging()
    bench.workflow.roster = Roster(bench.provider, worker)
    await bench.moves.results.storage.put("inputs/film.mp4", Path(__file__), "video/mp4")
    job = await bench.open("1", "media/extract-last-frame", LastFrame("inputs/film.mp4"))
    for _ in range(TRIES + 1):
        worker.begun.clear()
        [claimed] = await bench.database.write(jobs.claim, RENDER, 10, bench.clock.now(), LEASE)
        move = asyncio.create_task(bench.moves.advance(claimed))
        await worker.begun.wait()
        move.cancel()
        await asyncio.wait((move,))
        left = await bench.row(job)
        assert (left.state, left.step, left.attempts) == (State.PROCESSING, Step.OPEN, 0)
    worker.hangs = False
    [claimed] = await bench.database.write(jobs.claim, RENDER, 10, bench.clock.now(), LEASE)
    await bench.moves.advance(claimed)

    assert (await bench.row(job)).state is State.COMPLETED
    assert await bench.balance() == "99"
    assert await bench.clean()


async def test_local_work_stops_at_its_time_and_so_does_what_waits_for_its_place(bench: Bench) -> None:
    class Endless:
        name = "endless"
        stopped = 0

        async def run(self, call: LocalCall, inputs: Mapping[str, Path], folder: Path, report: Report) -> Made:
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped += 1
            raise AssertionError("unreachable")

    clock, endless = SystemClock(), Endless()
    bench.workflow.clock = bench.moves.clock = clock
    bench.workflow.roster = Roster(bench.provider, endless)
    film = bench.moves.results.storage
    await film.put("inputs/film.mp4", Path(__file__), "video/mp4")
    frame = LastFrame("inputs/film.mp4")
    first = await bench.open("1", "media/extract-last-frame", frame, seconds=3)
    second = await bench.open("1", "media/extract-last-frame", frame, seconds=1)
    worker = Worker(bench.moves, {RENDER: 1}, Retention(bench.database, bench.moves.results, clock, 1, 1))
    working = asyncio.create_task(worker.run())
    async with asyncio.timeout(60):
        while not (waited := await bench.row(second)).state.ended:
            await asyncio.sleep(0.02)
        assert (waited.state, endless.stopped) == (State.CANCELLED, 0), "while the first still has the only place"
        while not (stopped := await bench.row(first)).state.ended:
            await asyncio.sleep(0.02)
    await worker.stop()
    await working

    assert (stopped.state, stopped.step, endless.stopped) == (State.CANCELLED, Step.DONE, 1)
    assert await bench.balance() == "100"
    assert await bench.clean()
