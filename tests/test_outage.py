"""A provider that is away for an hour, and a clock that jumps: jobs wait, are told of, and end with the books right."""

from __future__ import annotations

import pytest

from phaya.jobs import Job, State, Step
from phaya.providers import Unavailable
from test_moves import Bench, bench

__all__ = ["bench"]

pytestmark = pytest.mark.anyio

MINUTE, HOUR = 60, 3600


async def _pass(bench: Bench, seconds: float) -> None:
    """What is due is moved, again and again, for so long."""
    end = bench.clock.now() + seconds * 1000
    while bench.clock.now() < end:
        for job in await bench.claim():
            await bench.moves.advance(job)
        bench.clock.pass_seconds(MINUTE)


async def _told(bench: Bench, opened: list[Job]) -> set[tuple[State, str, str | None]]:
    """State, what was returned, and the words of each; the books are right, and hold what was not returned."""
    rows = [await bench.row(job) for job in opened]
    assert await bench.clean()
    assert await bench.balance() == str(100 - sum(8 for row in rows if str(row.returned) == "0"))
    return {(row.state, str(row.returned), row.error) for row in rows}


async def test_an_hour_without_the_provider_returns_the_credits_once_and_then_all_goes_on(bench: Bench) -> None:
    bench.provider.submits = [Unavailable("down", retry_after=1)] * 1000
    early = [await bench.open() for _ in range(5)]

    await _pass(bench, 5 * MINUTE)
    assert await _told(bench, early) == {(State.QUEUED, "0", None)}
    await _pass(bench, 55 * MINUTE)
    assert await _told(bench, early) == {(State.FAILED, "8", "The job could not be started in time.")}
    assert bench.provider.submitted < 30, "a provider that is down is left in peace"

    bench.provider.submits = []
    late = [await bench.open() for _ in range(2)]
    await _pass(bench, 20 * MINUTE)
    assert {(await bench.row(job)).step for job in late} == {Step.AWAITING}
    assert len(await _told(bench, early + late)) == 2


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forth", "back"])
async def test_a_clock_that_jumps_submits_nothing_twice_and_returns_the_credits_once(bench: Bench, jump: int) -> None:
    opened = [await bench.open() for _ in range(2)]
    await _pass(bench, MINUTE)

    bench.clock.pass_seconds(jump)
    opened.append(await bench.open())
    await _pass(bench, 2 * HOUR)

    reason = "The provider did not finish in time; your credits were returned."
    assert await _told(bench, opened) == {(State.FAILED, "8", reason)}
    assert bench.provider.submitted == 3
