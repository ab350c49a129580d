"""Callbacks: one loop that sleeps until the next letter is due, sends it, and tries again where it failed.

As on KIE: an answer other than HTTP 200 within 15 seconds is a failure, three more attempts follow, then
the letter is dropped. How long KIE waits in between is not documented. With a webhook key every letter
carries `X-Webhook-Timestamp` (seconds) and `X-Webhook-Signature`, which cover the task's id, not the body.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable

import aiohttp
import structlog

from phaya.clock import SECOND, Clock
from phaya.providers.sandbox.fields import Refusal
from phaya.providers.sandbox.tasks import Letter, Task, Tasks, until

log = structlog.get_logger()

Body = Callable[[Task, str], bytes]

PATIENCE = 15.0
RETRY_AFTER = (2.0, 5.0, 15.0)  # seconds at pace 1
AT_ONCE = 16
LONGEST_NAP = 30.0  # so that a clock that was set back or forward is noticed


def signature(key: str, task_id: str, timestamp: str) -> str:
    """KIE's signature of a callback."""
    mac = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


class Callbacks:
    """Sends what tasks owe. `body` writes a letter of a task."""

    def __init__(
        self,
        tasks: Tasks,
        body: Body,
        *,
        key: str | None,
        pace: float,
        clock: Clock,
        connector: Callable[[], aiohttp.BaseConnector],
    ) -> None:
        self._tasks = tasks
        self._body = body
        self._key = key
        self._pace = pace
        self._clock = clock
        self._connector = connector
        self._busy: set[int] = set()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be an earlier letter than the one that is slept for."""
        self._woken.set()

    async def run(self) -> None:
        """Sends for ever; cancelling it is safe at any moment, letters then are sent after the next start."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        session = aiohttp.ClientSession(
            connector=self._connector(), timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        async with session, asyncio.TaskGroup() as sending:
            while True:
                self._woken.clear()
                room = AT_ONCE - len(self._busy)
                ready = await self._tasks.due(self._clock.now(), room, self._busy) if room else []
                for letter, task in ready:
                    self._busy.add(letter.number)
                    sending.create_task(self._deliver(session, letter, task))
                await self._nap()

    async def _nap(self) -> None:
        nap = LONGEST_NAP
        if len(self._busy) < AT_ONCE:
            due = await self._tasks.next_due(self._busy)
            nap = nap if due is None else min(nap, until(self._clock.now(), due))
        try:
            async with asyncio.timeout(nap):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _deliver(self, session: aiohttp.ClientSession, letter: Letter, task: Task) -> None:
        try:
            if await self._arrives(session, letter, task):
                await self._tasks.delivered(letter)
            elif letter.attempts >= len(RETRY_AFTER):
                log.info("sandbox.callback.dropped", task=task.id, kind=letter.kind)
                await self._tasks.delivered(letter)
            else:
                pause = RETRY_AFTER[letter.attempts] * self._pace
                await self._tasks.postpone(letter, self._clock.now() + round(pause * SECOND))
        finally:
            self._busy.discard(letter.number)
            self._woken.set()

    async def _arrives(self, session: aiohttp.ClientSession, letter: Letter, task: Task) -> bool:
        headers = {"Content-Type": "application/json"}
        if self._key:
            timestamp = str(self._clock.now() // SECOND)
            headers["X-Webhook-Timestamp"] = timestamp
            headers["X-Webhook-Signature"] = signature(self._key, task.id, timestamp)
        try:
            body = self._body(task, letter.kind)
        except Refusal as error:
            log.warning("sandbox.callback.unreadable", task=task.id, reason=str(error))
            return True  # a task of an older edition, whose model is described differently now
        try:
            async with session.post(
                task.callback_url or "", data=body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            log.debug("sandbox.callback.failed", task=task.id, kind=letter.kind, reason=repr(error))
            return False
