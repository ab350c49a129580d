"""What fails repeatedly is rested, tried by one, and works again; meanwhile nobody is charged for nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from conftest import Clock, Phaya, running
from phaya.breaker import PROBE, Breaker, Patience
from phaya.catalog import SERVICES
from phaya.jobs import State, Step
from phaya.providers import OutOfOrder, Rejected, Unavailable, Unknown
from stores import PATIENCE, Node, node, nodes, postgresql_url, redis_url
from test_moves import Bench, bench

__all__ = ["bench", "node", "nodes", "postgresql_url", "redis_url"]

pytestmark = pytest.mark.anyio

SORA = "kie sora-2-text-to-video"


@pytest.fixture
def breaker(clock: Clock, node: Node) -> Breaker:
    return Breaker(clock, PATIENCE, node.shelf)


async def fail(breaker: Breaker, times: int, name: str = "kie") -> None:
    for _ in range(times):
        await breaker.failed(name, "It is down.", limit=PATIENCE.failures)


async def test_failures_in_a_row_rest_a_circuit(breaker: Breaker) -> None:
    await fail(breaker, 2)
    assert await breaker.wait("kie") == 0

    await fail(breaker, 1)

    assert await breaker.wait("kie") == 30
    assert await breaker.wait("openrouter") == 0
    assert {"kie": "It is down."} == {name: rest.reason for name, rest in (await breaker.resting()).items()}


async def test_a_success_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    await fail(breaker, 2)
    await breaker.succeeded("kie")
    await fail(breaker, 2)

    assert await breaker.wait("kie") == 0


async def test_failures_far_apart_do_not_count_together(breaker: Breaker, clock: Clock) -> None:
    for _ in range(9):
        await fail(breaker, 1)
        clock.pass_seconds(61)

    assert await breaker.wait("kie") == 0


async def test_after_the_rest_one_is_let_through(breaker: Breaker, clock: Clock) -> None:
    await fail(breaker, 3)
    clock.pass_seconds(30)

    first, second = await breaker.admit("kie"), await breaker.admit("kie")

    assert (first, second > 0) == (0, True)


async def test_a_good_trial_closes_the_circuit(breaker: Breaker, clock: Clock) -> None:
    await fail(breaker, 3)
    clock.pass_seconds(30)
    await breaker.admit("kie")

    await breaker.succeeded("kie")

    assert [await breaker.admit("kie") for _ in range(3)] == [0, 0, 0]
    assert await breaker.resting() == {}


async def test_each_failed_trial_doubles_the_rest_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    await fail(breaker, 3)
    rests: list[float] = []
    for _ in range(4):
        rests.append(await breaker.wait("kie"))
        clock.pass_seconds(rests[-1])
        assert await breaker.admit("kie") == 0
        await fail(breaker, 1)

    assert rests == [30, 60, 100, 100]


async def test_what_was_under_way_when_the_rest_began_does_not_lengthen_it(breaker: Breaker) -> None:
    await fail(breaker, 9)

    assert await breaker.wait("kie") == 30


async def test_a_trial_whose_process_died_blocks_nobody_for_ever(breaker: Breaker, clock: Clock) -> None:
    await fail(breaker, 3)
    clock.pass_seconds(30)
    await breaker.admit("kie")
    clock.pass_seconds(PROBE / 1000)

    assert await breaker.admit("kie") == 0


async def test_a_job_waits_while_its_model_rests_and_takes_no_trial_of_another(breaker: Breaker, clock: Clock) -> None:
    await fail(breaker, 3)
    clock.pass_seconds(20)
    await fail(breaker, 3, SORA)
    clock.pass_seconds(10)

    assert await breaker.admit("kie", SORA) == 20
    assert await breaker.admit("kie") == 0, "the one trial was not spent"


# ── in the engine ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trouble", [Unavailable("down", retry_after=1), Unknown("?", "read timed out")])
async def test_jobs_wait_unsubmitted_while_their_provider_rests(bench: Bench, trouble: Exception) -> None:
    failures = Patience().failures
    bench.provider.submits = [trouble] * failures
    for _ in range(failures):
        await bench.open()
    for job in await bench.claim():
        await bench.moves.advance(job)
    assert bench.provider.submitted == failures
    waiting = await bench.open()

    for job in await bench.claim():
        if job.id == waiting.id:
            await bench.moves.advance(job)

    row = await bench.row(waiting)
    assert (row.step, row.state, bench.provider.submitted) == (Step.OPEN, State.QUEUED, failures)
    assert row.next_at is not None
    assert row.next_at >= bench.clock.now() + 30_000


async def test_being_asked_too_often_is_no_outage(bench: Bench) -> None:
    bench.provider.submits = [Unavailable("busy", retry_after=1, crowded=True)] * 9
    await bench.open()
    for _ in range(9):
        await bench.move()
        bench.clock.pass_seconds(61)

    assert (await bench.move()).step is Step.AWAITING


async def test_users_faults_rest_nobody(bench: Bench) -> None:
    bench.provider.submits = [Rejected("Not this.", code="content_rejected")] * 12
    for _ in range(12):
        await bench.open()
        await bench.move()
    await bench.open()

    assert (await bench.move()).step is Step.AWAITING


async def test_a_paused_model_rests_alone(bench: Bench) -> None:
    bench.provider.submits = [OutOfOrder("Paused.")] * 2
    ends: list[State] = []
    for _ in range(2):
        await bench.open()
        ends.append((await bench.move()).state)
    await bench.open()

    waiting = await bench.move()

    assert ends == [State.FAILED, State.FAILED]
    assert (waiting.step, bench.provider.submitted) == (Step.OPEN, 2)
    assert await bench.balance() == "92", "the refused ones were given back"


# ── at the doors ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def paused(tmp_path: Path) -> AsyncGenerator[Phaya, None]:
    async with running(tmp_path, PHAYA_SANDBOX_PAUSED="sora-2-text-to-video") as phaya:
        yield phaya


async def test_a_resting_model_is_told_before_anybody_is_charged(paused: Phaya) -> None:
    key = await paused.new_key("50")
    path = "sora2-text-to-video"
    for _ in range(Patience().refusals):
        created = await paused.create(SERVICES[path], key)
        ended = await paused.finish(path, created["job_id"], key)
        assert (ended["state"], ended["error"]) == ("failed", "The provider has paused this model.")

    answer = await paused.post(f"{path}/create", {"prompt": "x"}, key=key)
    services = {one["service"]: one for one in (await paused.get("services")).json["services"]}
    ready = await paused.ask("GET", "/readyz")
    other = await paused.create(SERVICES["text-to-image"], key)

    assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
    assert "The provider has paused this model. Try again in" in answer.json["message"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert (services[path]["available"], services["text-to-image"]["available"]) == (False, True)
    assert "paused" in services[path]["reason"]
    assert ready.status == 200
    assert ready.json["providers"]["kie"] == "ready"
    assert ready.json["providers"]["kie sora-2-text-to-video"].startswith("resting until 20")
    assert (await paused.finish("text-to-image", other["job_id"], key))["state"] == "completed"
    assert await paused.balance(key) == 49
    assert await paused.audit() == []


async def test_a_chat_provider_that_fails_is_rested_and_nothing_is_held(tmp_path: Path) -> None:
    file = tmp_path / "phaya.toml"
    file.write_text("[breaker]\nfailures = 2\n")
    async with running(tmp_path) as phaya:
        key = await phaya.new_key("50")
        body = {"messages": [{"role": "user", "content": "Hello [drop]"}]}
        path = "phaya-gpt/chat/completions"

        answers = [(await phaya.post(path, body, key=key)).status for _ in range(2)]
        rested = await phaya.post(path, {"messages": [{"role": "user", "content": "Hello"}]}, key=key)

        assert (answers, rested.status) == ([502, 502], 503)
        assert int(rested.headers["Retry-After"]) >= 1
        assert (await phaya.ask("GET", "/readyz")).json["providers"]["openrouter"].startswith("resting until")
        assert await phaya.balance(key) == 50


async def test_a_gemini_that_always_fails_is_rested_and_the_next_reading_is_refused_unpaid(tmp_path: Path) -> None:
    (tmp_path / "phaya.toml").write_text("[breaker]\nfailures = 2\n")
    async with running(tmp_path) as phaya:
        key = await phaya.new_key("50")
        for number in range(2):
            created = await phaya.create(SERVICES["text-to-speech"], key, prompt=f"Hello {number} [fail]")
            assert (await phaya.finish("text-to-speech", created["job_id"], key))["state"] == "failed"

        rested = await phaya.post("text-to-speech/generate", {"prompt": "Hello"}, key=key)

        assert (rested.status, await phaya.balance(key)) == (503, 50)
        assert (await phaya.ask("GET", "/readyz")).json["providers"]["gemini"].startswith("resting until")


async def test_a_text_that_cannot_be_read_rests_nobody(tmp_path: Path) -> None:
    (tmp_path / "phaya.toml").write_text("[breaker]\nfailures = 1\n")
    async with running(tmp_path) as phaya:
        created = await phaya.create(SERVICES["text-to-speech"], prompt="Hello [reject]")
        assert (await phaya.finish("text-to-speech", created["job_id"]))["state"] == "failed"

        assert (await phaya.ask("GET", "/readyz")).json["providers"]["gemini"] == "ready"


@pytest.mark.parametrize(
    ("paused", "path"), [("veo", "veo31-video"), ("veo3_fast", "veo31-video"), ("suno", "text-to-music")]
)
async def test_the_sandbox_plays_a_pause_on_the_dedicated_routes_too(tmp_path: Path, paused: str, path: str) -> None:
    async with running(tmp_path, PHAYA_SANDBOX_PAUSED=paused) as phaya:
        key = await phaya.new_key("50")
        created = await phaya.create(SERVICES[path], key)

        ended = await phaya.finish(path, created["job_id"], key)

        assert (ended["error"], await phaya.balance(key)) == ("The provider has paused this model.", 50)
