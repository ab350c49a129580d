"""What KIE's jobs API says of a task (`GET /api/v1/jobs/recordInfo`), in our three words.

Documented at docs.kie.ai/market/common/get-task-detail; where the wire differs, the wire is followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

import orjson
from pydantic import JsonValue

from phaya.calls import Finished, Look, Refused, Waiting
from phaya.providers import Unknown
from phaya.providers.refusals import explain
from phaya.providers.suno import songs
from phaya.providers.transport import LONGEST_URL, written

# Keys that stand behind `param` in a record. `model` is none of them: it stands inside `param` as well.
_BEHIND_PARAM = (
    "resultJson",
    "response",
    "failCode",
    "failMsg",
    "costTime",
    "completeTime",
    "createTime",
    "updateTime",
    "creditsConsumed",
    "progress",
    "state",
    "status",
    "successFlag",
    "type",
    "operationType",
    "parentMusicId",
    "errorCode",
    "errorMessage",
    "paramJson",
)


def load(body: bytes) -> JsonValue:
    """The JSON of an answer. Raises ValueError where it is none, even without what KIE escapes badly.

    One model's records (`ai-music-api/sounds`, September 2026) echoed `param` with bare quotation marks.
    It is never needed, so it is cut out.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return orjson.loads(_without_param(body.decode("utf-8", "replace")))


def _without_param(text: str) -> str:
    """The text without the values of `param` and `paramJson`.

    Users write into `param`, so its end is not looked for inside it: each key that really stands behind it is
    found from the back, where no user's text is.
    """
    for name in ("param", "paramJson"):
        begin = re.search(rf'"{name}"\s*:\s*(?=")', text)
        if begin is None:
            continue
        before = text[: begin.start()]
        ends = [
            max(found.start() for found in places)
            for key in _BEHIND_PARAM
            if f'"{key}"' not in before and (places := [*re.finditer(rf',\s*"{key}"\s*:', text[begin.end() :])])
        ]
        if ends:
            text = f"{text[: begin.end()]}null{text[begin.end() + min(ends) :]}"
    return text


def read_record(data: Mapping[str, JsonValue]) -> Look:
    """Where a task stands. Raises Unknown for a state that KIE does not document."""
    match data.get("state"):
        case "waiting" | "queuing":
            return Waiting(queued=True, progress=_progress(data.get("progress")))
        case "generating":
            return Waiting(progress=_progress(data.get("progress")))
        case "success":
            # `response` is KIE's own parsed copy of `resultJson`, since September 2026.
            for place in ("resultJson", "response"):
                found = _results(data.get(place))
                if found.urls or found.facts:
                    return Finished(found.urls, found.facts, spent=amount(data.get("creditsConsumed")))
            return Refused("The provider finished without a result.", spent=amount(data.get("creditsConsumed")))
        case "fail":
            reason, code = explain(words(data.get("failMsg")) or words(data.get("failCode")).replace("_", " "))
            return Refused(reason, code, spent=amount(data.get("creditsConsumed")))
        case other:
            raise Unknown("The provider answered in words that Phaya does not know.", f"KIE's state is {other!r}")


def words(value: JsonValue) -> str:
    """A text field, whatever KIE put there; empty for null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return written(value)


def amount(value: JsonValue) -> str | None:
    """An amount of KIE's credits as an exact decimal text; None where there is none.

    KIE's amounts have a few digits; up to fifteen pass through JSON's doubles and back unchanged.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or not -15 < number.adjusted() < 15:
        return None
    return f"{number.normalize():f}"


def addresses(value: JsonValue, depth: int = 3) -> list[str]:
    """The web addresses in a string, a list, or a string that holds a JSON list; each once, in order."""
    if isinstance(value, list):
        return list(dict.fromkeys(url for item in value if isinstance(item, str) for url in addresses(item, 0)))
    if not isinstance(value, str):
        return []
    text = value.strip()
    if depth and text[:1] in ("[", '"'):
        try:
            return addresses(orjson.loads(text), depth - 1)
        except orjson.JSONDecodeError:
            return []
    return [text] if text.startswith(("https://", "http://")) and len(text) <= LONGEST_URL else []


def _progress(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return None
    return value / 100


def _results(value: JsonValue) -> Finished:
    """The addresses and facts of a `resultJson`: JSON in a string, parsed already, or a bare address."""
    for _ in range(2):
        if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
            break
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return Finished()
    match value:
        case str():
            return Finished(addresses(value))
        case list():
            return songs(value) or Finished(addresses(value))
        case dict():
            return _result_object(value)
        case _:
            return Finished()


def _result_object(result: Mapping[str, JsonValue]) -> Finished:
    if (found := songs(result.get("data"))) is not None:
        return found
    found = films(result)
    urls, facts = found.urls, dict(found.facts)
    inner = result.get("resultObject")
    if isinstance(inner, dict):
        facts |= {name: value for name, value in inner.items() if _is_fact(value)}
    # A character's id stands at the top, or under `resultObject` for the newer model.
    if isinstance(character := result.get("character_id"), str) and character:
        facts["character_id"] = character
    if not isinstance(facts.get("character_id", ""), str):
        del facts["character_id"]
    return Finished(urls, facts)


def _is_fact(value: JsonValue) -> bool:
    """Whether a value is a word or a number: lists and objects are none, and may be deeper than a row can hold."""
    return (isinstance(value, str) and 0 < len(value) <= LONGEST_URL) or isinstance(value, int | float)


def films(result: Mapping[str, JsonValue]) -> Finished:
    """The addresses of a result, whatever they are called there; a film's original comes after the films.

    Veo crops to other ratios than 16:9 and gives the original beside it. The fact `origin` is its place in `urls`,
    `resolution` what the result says of itself.
    """
    urls = [
        *_first(addresses(result.get(name)) for name in ("resultUrls", "result_urls", "resultUrl", "videoUrl", "url"))
    ]
    facts: dict[str, JsonValue] = {}
    origins = _first(addresses(result.get(name)) for name in ("originUrls", "origin_urls"))
    if urls and origins:
        if origins[0] not in urls:
            urls.append(origins[0])
        facts["origin"] = urls.index(origins[0])
    if urls and isinstance(resolution := result.get("resolution"), str) and resolution:
        facts["resolution"] = resolution
    return Finished(urls or (), facts)


def _first(choices: Iterable[Sequence[str]]) -> Sequence[str]:
    return next((choice for choice in choices if choice), ())
