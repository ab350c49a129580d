"""KIE's envelope, `{"code", "msg", "data"}`, and what an answer proves: of a creation, and of a look.

Codes are listed at docs.kie.ai for each route and mean about the same everywhere. The same condition comes
under several codes (lack of credits as 402 or 500, a wrong parameter as 422 or 500), so texts decide too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from phaya.calls import Refused
from phaya.providers import NotThere, OutOfOrder, Rejected, Unavailable, Unknown
from phaya.providers.kie_records import load, words
from phaya.providers.refusals import CONTENT, NO_SUCH_MODEL, PAUSED, explain, lacks_credit
from phaya.providers.transport import start_of

LONGEST_TICKET = 128

OPERATOR_PAUSE = 300.0
"""Seconds until a key is tried again whose account or rights the operator has to mend."""
CAP_PAUSE = 600.0
MAINTENANCE_PAUSE = 60.0
CROWDED_PAUSE = 10.0
"""Seconds in which KIE's window of creations has room again."""
LOOK_PAUSE = 2.0

BUSY = "The provider is not taking requests at the moment."
UNSURE = "The provider did not say whether it took the request."
FILE_NOT_FETCHED = "The provider could not fetch an input file; its address must be public and stay valid."
NO_ANSWER_IN_TIME = "The provider did not finish in its own time limit."

_GONE = re.compile(r"record\s?(info)? is null|record not found|record does not exist|task not found", re.IGNORECASE)

# What the Veo route said of a film that was still being made, in 2025, under the code for an unknown one.
_NOT_YET = re.compile(r"record status is not success|record result data is blank", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What KIE answered. `code` is None where the body is no envelope; `start` is what logs show."""

    status: int
    code: int | None
    text: str
    data: JsonValue
    start: str
    pause: float | None

    @property
    def described(self) -> str:
        """The answer for the operator."""
        return f"KIE answered HTTP {self.status}: {self.start}"


def read_answer(status: int, body: bytes, pause: float | None) -> Answer:
    """Reads the envelope, if the body is one; a code in digits counts as a number."""
    start = start_of(body)
    try:
        parsed = load(body)
    except ValueError:
        parsed = None
    envelope = parsed if isinstance(parsed, dict) else {}
    code = envelope.get("code")
    if isinstance(code, str) and re.fullmatch(r"[0-9]{1,9}", code):
        code = int(code)
    if isinstance(code, bool) or not isinstance(code, int):
        return Answer(status, None, "", None, start, pause)
    text = words(envelope.get("msg")) or words(envelope.get("message"))
    return Answer(status, code, text, envelope.get("data"), start, pause)


def usable_ticket(value: object) -> str | None:
    """A task's id as KIE gives it: opaque, printable, at most 128 characters."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST_TICKET and value.isprintable() and not value.isspace():
        return value
    return None


def ticket_in(answer: Answer) -> str:
    """The ticket of a creation. Raises Rejected, Unavailable, or Unknown where the answer proves nothing.

    What proves that nothing was created is an explicit refusal without a ticket; a server error that did not
    come out of KIE's own application does not.
    """
    named = answer.data.get("taskId") if isinstance(answer.data, dict) else None
    if answer.status == 200 and answer.code == 200 and (ticket := usable_ticket(named)):
        return ticket
    if answer.code == 200 or named:
        raise Unknown(UNSURE, answer.described)
    _raise_if_unavailable(answer, CROWDED_PAUSE)
    # An HTTP refusal without an envelope comes from the edge, before KIE's application.
    match answer.code or answer.status:
        case 400 | 409 | 413 | 422 | 501 | 505 | 531:
            refused = True
        case 404 if answer.code is None:
            # No route there: the address is wrong, or KIE's edge is. Either may be mended.
            raise Unavailable(BUSY, answer.described, OPERATOR_PAUSE)
        case 404:
            refused = True
        case 451:
            raise Rejected(FILE_NOT_FETCHED, answer.described)
        case 500:
            # KIE's own 500 is mostly a wrong parameter, and has no data; it comes with HTTP 200.
            refused = answer.code == 500 and answer.status < 500 and answer.data in (None, {}, "")
        case _:
            refused = False
    if not refused:
        raise Unknown(UNSURE, answer.described)
    reason, code = explain(answer.text)
    # 505 is a feature that KIE has switched off, whatever the text says.
    if reason in (PAUSED, NO_SUCH_MODEL) or (answer.code == 505 and code != CONTENT):
        raise OutOfOrder(reason, answer.described, code)
    raise Rejected(reason, answer.described, code)


def record_in(answer: Answer) -> Mapping[str, JsonValue] | Refused:
    """The record of a look, or the end that the envelope tells. Raises NotThere, Unavailable or Unknown."""
    if answer.code is None or answer.status >= 500:
        _raise_if_unavailable(answer, LOOK_PAUSE)
        raise Unavailable(BUSY, answer.described)
    if answer.code == 200 and answer.status == 200:
        if isinstance(answer.data, dict):
            return answer.data
        if answer.data is None:
            # How the Suno route says that it does not know the ticket.
            raise NotThere("The provider does not know this task.", answer.described)
        raise Unknown("The provider answered in words that Phaya does not know.", answer.described)
    if _NOT_YET.search(answer.text):
        raise Unavailable(BUSY, answer.described, LOOK_PAUSE)
    if answer.code in (404, 422) or _GONE.search(answer.text):
        raise NotThere("The provider does not know this task.", answer.described)
    _raise_if_unavailable(answer, LOOK_PAUSE)
    match answer.code:
        case 408:
            return Refused(NO_ANSWER_IN_TIME)
        case 501 | 531:
            reason, code = explain(answer.text)
            return Refused(reason, code)
        case code if code >= 500:
            raise Unavailable(BUSY, answer.described)
        case _:
            raise Unknown("The provider answered in words that Phaya does not know.", answer.described)


def _raise_if_unavailable(answer: Answer, crowded: float) -> None:
    """Raises Unavailable for answers about the key, the account or the moment, not about the request."""
    pause: float | None
    busy = False
    match 429 if answer.status == 429 else answer.code or answer.status:
        case 401 | 402 | 403:
            pause = OPERATOR_PAUSE
        case 433:
            pause = CAP_PAUSE
        case 455:
            pause = MAINTENANCE_PAUSE
        case 405 | 429 | 430:
            pause, busy = answer.pause or crowded, True
        case _ if lacks_credit(answer.text):
            pause = OPERATOR_PAUSE
        case _:
            return
    raise Unavailable(BUSY, answer.described, pause, crowded=busy)
