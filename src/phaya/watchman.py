"""The watchman: looks at the ledger every hour, and sends what needs eyes once a day, on one node of all.

Which node does it is decided by a mark in the database. Whoever dies over it is followed by another one after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Protocol

import aiohttp
import orjson
import structlog

from phaya import __version__, marks
from phaya.breaker import Circuits
from phaya.clock import DAY, HOUR, MINUTE, SECOND, Clock, written
from phaya.database import Database
from phaya.digest import Item, digest, text_of
from phaya.figures import LEDGER, drift
from phaya.limits import Meters
from phaya.providers import ProviderError
from phaya.webhooks import Signer

log = structlog.get_logger()

ROUND = 30.0
"""Seconds between two looks at what is due."""
LEASE = 15 * MINUTE
"""After so long another node takes over what one began and never finished."""
DIGEST = "digest"
"""The mark of the last digest, and whose secret signs it."""
TRIES = (1.0, 10.0, 60.0)
"""Seconds between two attempts to send a digest; the last one is followed by another node's, after the lease."""
SENDING = 15.0
ASKING = 20.0
"""Seconds that a provider may take to say what is left."""


class Ready(Protocol):
    """Where files are kept."""

    async def ready(self) -> None:
        """Sees whether they can be. Raises StorageDown."""
        ...


class Purse(Protocol):
    """A provider that is paid beforehand."""

    name: str

    @property
    def keys(self) -> Sequence[str]:
        """The keys that the provider knows us by."""
        ...

    async def credit(self, key: str) -> Decimal:
        """What is left of a key's account. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Outlook:
    """What only a running node knows: who rests, what is left at the provider, what can be written."""

    breaker: Circuits
    storage: Ready
    meters: Meters | None = None
    purse: Purse | None = None
    low: float = 0
    database: Database | None = None

    async def items(self) -> list[Item]:
        """All of it; nothing that is asked can keep the others from being told."""
        found = [
            Item("circuits", f"{name} rests until {written(rest.until)}: {rest.reason}", eyes=True)
            for name, rest in (await self.breaker.resting()).items()
        ]
        if self.meters is not None and (since := self.meters.alone_since) is not None:
            found.append(Item("limits", f"Redis has not answered since {written(since)}.", eyes=True))
        if self.database is not None:
            try:
                await self.database.ready()
            except Exception as error:  # noqa: BLE001 - whatever it is, the database is of no use
                found.append(Item("database", f"The database cannot be written: {type(error).__name__}.", eyes=True))
        try:
            await self.storage.ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, the storage is of no use
            found.append(Item("storage", f"The storage of files cannot be used: {type(error).__name__}.", eyes=True))
        return [*found, *await self._purses()]

    async def _purses(self) -> list[Item]:
        if self.purse is None:
            return []
        found: list[Item] = []
        for number, key in enumerate(self.purse.keys, 1):
            name = self.purse.name + (f" key {number}" if len(self.purse.keys) > 1 else "")
            try:
                async with asyncio.timeout(ASKING):
                    left = await self.purse.credit(key)
            except (ProviderError, TimeoutError) as error:
                found.append(Item("balance", f"{name} does not say what is left: {type(error).__name__}.", eyes=True))
            else:
                found.append(Item("balance", f"{name} has {left:f} credits left.", eyes=left < Decimal(str(self.low))))
        return found


@dataclass(frozen=True)
class Post:
    """Where a day's digest goes, if anywhere."""

    url: str | None
    hour: int
    always: bool
    public_url: str


class Watchman:
    """Makes his rounds until he is stopped."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outlook: Outlook,
        secret: bytes,
        post: Post,
        pauses: Sequence[float] = TRIES,
    ) -> None:
        """`secret` is the server's; `pauses` are the seconds between attempts to send."""
        self._database = database
        self._clock = clock
        self._outlook = outlook
        self._secret = secret
        self._post = post
        self._pauses = pauses
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Makes rounds until `stop`."""
        while not self._stopping.is_set():
            for duty in (self.look_at_ledger, self.send_digest):
                try:
                    await duty()
                except Exception:
                    log.exception("watchman.failed", duty=duty.__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), ROUND)

    async def stop(self, _patience: float = 0.0) -> None:
        """Begins nothing more."""
        self._stopping.set()

    async def look_at_ledger(self) -> bool:
        """Compares balances and entries, if nobody has for an hour; answers whether it did."""
        now = self._clock.now()
        before = await self._database.read(marks.read, LEDGER)
        found: dict[str, Any] = {} if before is None else orjson.loads(before)
        if now < found.get("due", 0):
            return False
        taken = _packed({**found, "due": now + LEASE})
        if not await self._database.write(marks.swap, LEDGER, before, taken):
            return False
        adrift, units = await self._database.read(drift)
        checked = _packed({"due": now + HOUR, "checked_at": now, "adrift": adrift, "units": units})
        await self._database.write(marks.swap, LEDGER, taken, checked)
        if adrift:
            log.error("ledger.adrift", accounts=adrift, units=units)
        return True

    async def send_digest(self) -> bool:
        """Sends the digest of the day, if it is time and no node has; answers whether it was taken."""
        url, now = self._post.url, self._clock.now()
        day = (now - self._post.hour * HOUR) // DAY
        if url is None:
            return False
        before = await self._database.read(marks.read, DIGEST)
        found: dict[str, int] = {} if before is None else orjson.loads(before)
        if found.get("day") == day and now < found["due"]:
            return False
        if before is None and now % DAY < self._post.hour * HOUR:
            return False  # a new Phaya does not begin with the digest of yesterday
        taken = _packed({"day": day, "due": now + LEASE})
        if not await self._database.write(marks.swap, DIGEST, before, taken):
            return False
        live = [asdict(item) for item in await self._outlook.items()]
        told = await self._database.read(digest, self._secret, now, {"live": live})
        sent = False
        if told["eyes"] or self._post.always:
            sent = await self._send(url, f"digest-{day}", told)
            if not sent:
                return False  # the mark runs out, and the next round after it tries again
        await self._database.write(marks.swap, DIGEST, taken, _packed({"day": day, "due": (day + 2) * DAY}))
        return sent

    async def _send(self, url: str, message: str, told: Mapping[str, Any]) -> bool:
        """Posts a digest as Slack and its likes read it, signed as all our webhooks are."""
        body = orjson.dumps({"text": text_of(told, self._post.public_url)})
        trouble = ""
        for pause in (0.0, *self._pauses):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause or 0.001)
            if self._stopping.is_set():
                return False
            now = self._clock.now()
            signature = signer().sign(self._secret, message, now // SECOND, body, now)
            headers = {
                "Content-Type": "application/json",
                "User-Agent": f"phaya/{__version__}",
                "webhook-id": message,
                "webhook-timestamp": str(now // SECOND),
                "webhook-signature": signature,
            }
            try:
                async with (
                    aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=SENDING)) as session,
                    session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
                ):
                    if answer.status < 300:
                        log.info("digest.sent", eyes=told["eyes"])
                        return True
                    trouble = f"it answered {answer.status}"
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                trouble = type(error).__name__  # its text may hold the address, which is a secret
        log.error("digest.unsent", detail=trouble)
        return False


def signer() -> Signer:
    """Whose secret signs digests."""
    return Signer(DIGEST, 0, None)


def _packed(value: Mapping[str, int]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
