"""The other side of webhooks, as one node sees it: a request to a receiver, and the rest that it needs where it does
not answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Network, IPv6Network

import aiohttp

from phaya.addresses import UrlRefused, failure
from phaya.clock import MINUTE, SECOND, Clock
from phaya.webhooks import guard

SECONDS = 15
"""How long a receiver may take to answer."""
SILENT = 5
"""Requests in a row without an answer after which a receiver rests."""
LONGEST_REST = 10 * MINUTE
REMEMBERED = 10_000
"""Receivers whose silence is remembered; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said: its status, and after how many seconds it wants to be asked again."""

    status: int
    retry_after: float | None


@dataclass(slots=True)
class _Silence:
    count: int = 0
    until: int = 0


class Receivers:
    """Sends to addresses that strangers chose: behind the guard, without proxy, cookie or redirect."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network], clock: Clock) -> None:
        """`networks` are those that the operator lets through besides public ones."""
        self._guard = guard(networks)
        self._clock = clock
        self._silences: OrderedDict[str, _Silence] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Posts a body once; of the answer only the head is read. Raises FetchFailed."""
        try:
            target = self._guard.check_url(url)
            async with self._open().post(target, data=body, headers=headers, allow_redirects=False) as answer:
                return Answer(answer.status, self._retry_after(answer.headers.get("Retry-After", "")))
        except (UrlRefused, TimeoutError, aiohttp.ClientError) as error:
            raise failure(error, SECONDS) from error

    def rests(self, host: str) -> bool:
        """Whether a host has been silent so often that it is left alone for a while."""
        silence = self._silences.get(host)
        return silence is not None and self._clock.now() < silence.until

    def heard(self, host: str) -> None:
        """The host answered, whatever it said."""
        self._silences.pop(host, None)

    def missed(self, host: str) -> None:
        """The host did not answer. From the fifth time in a row on it rests, each time for longer."""
        silence = self._silences.setdefault(host, _Silence())
        self._silences.move_to_end(host)
        silence.count += 1
        if silence.count >= SILENT:
            rest = 30 * SECOND * 2 ** min(silence.count - SILENT, 10)
            silence.until = self._clock.now() + min(rest, LONGEST_REST)
        while len(self._silences) > REMEMBERED:
            self._silences.popitem(last=False)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No connection is used twice: one that its receiver is just closing would lose a delivery.
            connector = self._guard.connector(limit=0, use_dns_cache=False, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=SECONDS),
                trust_env=False,
            )
        return self._session

    def _retry_after(self, text: str) -> float | None:
        """Seconds from a `Retry-After`, which may be a number of them or a date."""
        if text.isascii() and text.isdigit() and len(text) < 10:
            return float(text)
        try:
            return parsedate_to_datetime(text).timestamp() - self._clock.now() / 1000
        except ValueError:
            return None
