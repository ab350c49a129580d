"""The deliverer: claims due deliveries of webhooks, sends each once, and writes what became of it.

Every node runs one. A delivery is sent again where its outcome was never written, with the same `webhook-id`, so
that its receiver can tell; otherwise after growing pauses, for three days.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

import structlog

from phaya import __version__, deliveries
from phaya.addresses import FetchFailed
from phaya.clock import HOUR, MINUTE, SECOND
from phaya.deliveries import Delivery, Letter, Outcome
from phaya.logs import job_id
from phaya.metrics import DELIVERIES
from phaya.receivers import SECONDS, Answer, Receivers
from phaya.results import Results
from phaya.tariff import Tariff
from phaya.telling import dumps, tell, written
from phaya.webhooks import Event, Signer
from phaya.workflow import Workflow

log = structlog.get_logger()

PLACES = 32
"""Deliveries of this node under way at a time."""
LEASE = 2 * SECONDS * SECOND
LONGEST_SLEEP = 5 * SECOND
PAUSES = (
    5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR,
)  # fmt: skip
"""Between one attempt and the next, as the specification recommends; a fifth more at the most, by chance."""
LONGEST_WISH = HOUR
"""How long a receiver may put us off by `Retry-After`."""
RESTS = "the host has not answered lately; it was not tried"


class Deliverer:
    """Delivers until it is stopped."""

    def __init__(
        self,
        workflow: Workflow,
        results: Results,
        tariff: Tariff,
        secret: bytes,
        networks: Sequence[IPv4Network | IPv6Network] = (),
        dice: random.Random | None = None,
    ) -> None:
        """`secret` is the server's; `networks` may be sent to besides public ones; `dice` only spreads moments."""
        self._workflow = workflow
        self._database = workflow.database
        self._clock = workflow.clock
        self._results = results
        self._tariff = tariff
        self._secret = secret
        self.receivers = Receivers(networks, workflow.clock)
        self._dice = dice or random.Random()  # noqa: S311 - nothing secret hangs on it
        self._sending: dict[asyncio.Task[None], Delivery] = {}
        self._woken = asyncio.Event()
        self._stopping = False
        workflow.on_news(self._woken.set)

    async def run(self) -> None:
        """Delivers until `stop`."""
        while not self._stopping:
            self._woken.clear()
            try:
                pause = await self._round()
            except Exception:
                log.exception("deliverer.round_failed")
                pause = 1.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)

    async def stop(self, patience: float = 5.0) -> None:
        """Begins no more, lets sends end for `patience` seconds, then leaves the rest to their leases."""
        self._stopping = True
        self._woken.set()
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=patience)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self.receivers.close()

    async def _round(self) -> float:
        """Begins what is due, as far as there are places; answers how many seconds to sleep."""
        free = PLACES - len(self._sending)
        if free <= 0:
            return LONGEST_SLEEP / SECOND  # the end of a send wakes
        taken = [delivery.place for delivery in self._sending.values()]
        due = await self._database.read(deliveries.next_due, taken)
        now = self._clock.now()
        if due is not None and due <= now:
            for delivery in await self._database.write(deliveries.claim, free, now, LEASE, taken):
                task = asyncio.create_task(self._deliver(delivery))
                self._sending[task] = delivery
                task.add_done_callback(self._done)
            return 0.001  # there may be more for others
        return LONGEST_SLEEP / SECOND if due is None else min(due - now, LONGEST_SLEEP) / SECOND

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._woken.set()

    async def _deliver(self, delivery: Delivery) -> None:
        job_id.set(delivery.job_id)
        try:
            outcome = await self.attempt(delivery)
            DELIVERIES.labels(outcome.word).inc()
            if not await self._database.write(deliveries.settle, delivery, outcome, self._clock.now()):
                log.info("delivery.lost", delivery=delivery.id)
        except Exception:
            # The lease ends by itself, and the attempt is counted.
            log.exception("delivery.failed", delivery=delivery.id)

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Sends a claimed delivery once and answers what is to be written; nothing is written here."""
        if delivery.attempts > len(PAUSES) + 1:
            return Outcome(trouble="its last attempt broke off on our side")
        letter = await self._database.read(deliveries.letter, delivery)
        if letter.signer is None:
            return Outcome(trouble=letter.reason)
        data = self._data(delivery, letter)
        if data is None:
            return Outcome(trouble="the service of the job is not offered any more")
        host, _ = delivery.place
        if self.receivers.rests(host):
            return self._again(delivery, None, RESTS)
        body = dumps({"type": delivery.event, "timestamp": written(letter.moment), "data": data})
        try:
            answer = await self.receivers.send(delivery.url, self._headers(delivery, letter.signer, body), body)
        except FetchFailed as error:
            self.receivers.missed(host)
            return self._again(delivery, None, error.message)
        self.receivers.heard(host)
        return self._read(delivery, answer)

    def _read(self, delivery: Delivery, answer: Answer) -> Outcome:
        match answer.status:
            case status if 200 <= status < 300:
                return Outcome(status)
            case 410:
                return Outcome(410, "it answered 410: it wants nothing more", gone=True)
            case status if 300 <= status < 400:
                return self._again(delivery, status, f"it answered {status}; redirects are not followed")
            case status:
                wish = answer.retry_after if status in (429, 503) else None
                return self._again(delivery, status, f"it answered {status}", wish or 0)

    def _again(self, delivery: Delivery, status: int | None, trouble: str, wish: float = 0) -> Outcome:
        """A failure, with the next attempt, if there is to be one, not before so many seconds as were wished."""
        if delivery.attempts > len(PAUSES):
            return Outcome(status, trouble, exhausted=True)
        pause = self._workflow.scaled(PAUSES[delivery.attempts - 1] * self._dice.uniform(1, 1.2))
        pause = max(pause, min(int(wish * SECOND), LONGEST_WISH))
        return Outcome(status, trouble, self._clock.now() + pause)

    def _data(self, delivery: Delivery, letter: Letter) -> Mapping[str, object] | None:
        """What happened; for a job its status answer, in its own service's words and fields."""
        if delivery.event is Event.TEST:
            return {"message": "This is a test.", "webhook_id": delivery.endpoint_id}
        job = letter.job
        service = None if job is None else self._tariff.services.get(job.service)
        if job is None or service is None:
            return None
        return tell(self._results, self._tariff, self._clock.now(), job, service)

    def _headers(self, delivery: Delivery, signer: Signer, body: bytes) -> Mapping[str, str]:
        now = self._clock.now()
        return {
            "Content-Type": "application/json",
            "User-Agent": f"phaya/{__version__}",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(now // SECOND),
            "webhook-signature": signer.sign(self._secret, delivery.id, now // SECOND, body, now),
        }
