"""What KIE's doors have in common: the key, the limits, the markers that concern the creation itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from phaya.providers.sandbox.endings import Ending, ending_of
from phaya.providers.sandbox.fields import Refusal
from phaya.providers.sandbox.rates import Rate
from phaya.providers.sandbox.records import Records, first_time
from phaya.providers.sandbox.wire import BadBody, NoAnswer, bearer, envelope

Door = Callable[[Request], Awaitable[Response]]

GENERIC = "Server exception, please try again later or contact customer service"
TOO_OFTEN = "Your call frequency is too high. Please try again later."
NO_ACCESS = "You do not have access permissions"


class Desk:
    """Stands before every KIE route and turns away what KIE would turn away."""

    def __init__(self, records: Records, creations: Rate, looks: Rate, paused: Collection[str] = ()) -> None:
        self._records = records
        self._paused = frozenset(paused)
        self._creations = creations
        self._looks = looks

    def offer(self, *names: str) -> None:
        """Raises Refusal where a model, or the route that leads to it, is played as paused."""
        if not self._paused.isdisjoint(names):
            raise Refusal(500, "This interface is temporarily paused.")

    def open(self, door: Door) -> Door:
        """The door behind a check of the key; refusals become envelopes."""

        async def behind(request: Request) -> Response:
            if bearer(request) is None:
                return envelope(code=401, message=NO_ACCESS)
            try:
                return await door(request)
            except Refusal as refusal:
                return envelope(code=refusal.code, message=refusal.message)
            except BadBody as error:
                return envelope(code=400, message=str(error))

        return behind

    def creating(self, door: Door) -> Door:
        """A door that creates tasks, within the limit of creations."""
        return self._limited(door, self._creations)

    def looking(self, door: Door) -> Door:
        """A door that looks at tasks, within the limit of looks."""
        return self._limited(door, self._looks)

    def _limited(self, door: Door, rate: Rate) -> Door:
        async def behind(request: Request) -> Response:
            if not rate.take(bearer(request) or ""):
                raise Refusal(429, TOO_OFTEN)
            return await door(request)

        return self.open(behind)

    async def ending(self, prompt: str) -> Ending:
        """The ending that the prompt chose. Raises Refusal where it chose to be refused now."""
        ending = ending_of(prompt)
        if "refuse" in ending:
            raise Refusal(500, GENERIC)
        if "429" in ending and await first_time(self._records, "kie", prompt):
            raise Refusal(429, TOO_OFTEN)
        return ending


def accepted(ending: Ending, data: dict[str, str]) -> Response:
    """The answer to an accepted creation, unless its prompt chose that it be lost."""
    return NoAnswer() if "drop" in ending else envelope(data)


def garbage(look: int) -> Response | None:
    """The first two answers to looks at a `[garbage]` task, as an edge in trouble gives them."""
    match look:
        case 1:
            page = "<html><head><title>525: SSL handshake failed</title></head><body>cloudflare</body></html>"
            return HTMLResponse(page, 525)
        case 2:
            return Response(b'{"code":200,"msg":"success","data":{"taskId":"', media_type="application/json")
        case _:
            return None
