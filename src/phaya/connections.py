"""Connections with a limit to everybody's patience: heads that never end, bodies that trickle, answers that nobody
reads. uvicorn itself bounds only the silence between two requests. And they take answers whole, see wire.py."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from http import HTTPStatus
from typing import cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from phaya.wire import WHOLE

HEAD_SECONDS = 10.0
"""Seconds in which the head of a request must be there, from the connection's or the head's first byte on."""
HEAD_BYTES = 65_536
"""Bytes of a head: the request line and all headers."""
SILENCE = 20.0
"""Seconds that a body may pause."""
PACE = 500
"""Bytes a second that a body comes with on average, once it has lasted longer than a pause may."""
READING_SECONDS = 300.0
"""Seconds for which a client may leave an answer unread: players of films pause, too."""
TELLING = "Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"


class Connection(HttpToolsProtocol):
    """One client's connection."""

    head_seconds = HEAD_SECONDS
    silence = SILENCE
    pace = PACE
    reading_seconds = READING_SECONDS

    _timer: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _head = True  # whether a head is being waited for or received
    _whole = True  # whether nothing is to be received
    _of_head = False  # whether the timer waits for a head
    _head_bytes = 0
    _piece = 0  # bytes that are being taken in
    _too_large = False
    _since = 0.0
    _heard = 0.0
    _received = 0
    _idle_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected: they have something to ask, or go."""
        super().connection_made(transport)
        # uvicorn writes its own lines where its logger has a handler, even one that nobody asked it to use.
        self.access_log = self.access_log and self.config.access_log
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._set_timer(None)
        self.resume_writing()
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or several requests."""
        self._piece = len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._whole:
            if self._timer is not None:
                self._set_timer(None)
        elif self._head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            elif not self._of_head or self._timer is None:
                self._wait_for_head()
        else:
            self._heard = self.loop.time()
            if self._of_head or self._timer is None:
                self._since, self._received = self._heard, len(data)
                self._set_timer(self.loop.call_later(self.silence, self._look))
            else:
                self._received += len(data)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._head, self._whole, self._head_bytes = True, False, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head = False
        most = self._head_bytes + self._piece  # with what else came in the same pieces
        if most > HEAD_BYTES and self._size_of_head() > HEAD_BYTES:
            self._too_large = True
            raise ValueError("the head of the request is too large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is there."""
        self._whole = True
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # A cycle holds its scope: were the scope to hold the cycle, too, each request would be left to the collector
        # of garbage, which costs a poll a tenth of its time. To uvicorn every extension is a table.
        cycle.scope["extensions"] = {WHOLE: partial(_take, weakref.ref(cycle))}  # pyright: ignore[reportGeneralTypeIssues]
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """What cannot be read is refused, and a head that is too large by its own name."""
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if self._too_large else HTTPStatus.BAD_REQUEST)

    def on_response_complete(self) -> None:
        """An answer was sent: another request may come. uvicorn sets a timer after each answer and cancels it at the
        next request; here one goes on for the whole connection, and looks at its end how long there was silence."""
        if self.pipeline or self.transport.is_closing():
            return super().on_response_complete()
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_for_request(self.timeout_keep_alive)
        return None

    def timeout_keep_alive_handler(self) -> None:
        """The connection is closed, if there was silence since the timer began."""
        silence = 0.0 if self._idle_since is None else self.loop.time() - self._idle_since
        if silence < self.timeout_keep_alive:
            return self._wait_for_request(self.timeout_keep_alive - silence)
        return super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _wait_for_request(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def pause_writing(self) -> None:
        """The client does not read what it asked for."""
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(self.reading_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().resume_writing()

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _look(self) -> None:
        """Whether a body still comes. Where we do not read ourselves, its sender is not to blame."""
        now = self.loop.time()
        if self.flow.read_paused:
            self._since, self._heard, self._received = now, now, 0
        lasted = now - self._since
        if now - self._heard >= self.silence or (lasted > self.silence and self._received < lasted * self.pace):
            return self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        self._timer = self.loop.call_later(self.silence / 4, self._look)
        return None

    def _refuse(self, status: HTTPStatus) -> None:
        """Ends the connection, with a word where nothing was answered yet."""
        self._set_timer(None)
        if self.transport.is_closing():
            return None
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if self._head and cycle is not None and not cycle.response_complete:
            # The next head comes while the answer before it is under way: that one is sent to its end.
            return self._wait_for_head()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            text = f"{status.value} {status.phrase}"
            told = f"{TELLING}Content-Length: {len(text)}\r\n\r\n{text}"
            self.transport.write(STATUS_LINE[status.value] + told.encode())
        self.transport.close()
        return None

    def _wait_for_head(self) -> None:
        self._set_timer(self.loop.call_later(self.head_seconds, self._refuse, HTTPStatus.REQUEST_TIMEOUT))
        self._of_head = True

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._of_head = timer, False


def _take(asked: weakref.ref[RequestResponseCycle], status: int, lines: bytes, body: bytes) -> bool:
    """Sends an answer in one piece, as `cycle.send` would send its two messages; False, and nothing is done, where
    those are more than that.

    It does what uvicorn's `send` does with an answer of a known length, so it relies on that method and the fields of
    a cycle being as they are in the version that constraints.txt names; tests/test_wire.py tells when they are not.
    """
    cycle = asked()
    if (
        cycle is None  # it is over
        or cycle.response_started  # the answer is broken, and `send` says so
        or cycle.disconnected
        or cycle.flow.write_paused  # `send` waits until there is room
        or cycle.access_log
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    first = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])  # its date
    last = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
    cycle.transport.write(b"".join((STATUS_LINE[status], first, lines, last, body)))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
