"""Films of KIE's dedicated Veo route, in our three words.

Documented at docs.kie.ai/veo3-api/get-veo-3-video-details. The record has a number for its state, and no price.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from phaya.calls import Finished, Look, Refused, Waiting
from phaya.providers import Unknown
from phaya.providers.kie_records import films, words
from phaya.providers.refusals import explain


def read_film(data: Mapping[str, JsonValue]) -> Look:
    """Where a film stands. Raises Unknown for a flag that KIE does not document."""
    match data.get("successFlag"):
        case bool():
            pass  # equal to 0 and 1 in Python, but nothing that KIE documents
        case 0 | "0":
            # KIE was seen to set `completeTime` before the flag; with an error beside it the film has failed.
            if data.get("completeTime") is not None and data.get("errorCode") is not None:
                return _refused(data)
            return Waiting()
        case 1 | "1":
            return _made(data) or Refused("The provider finished without a result.")
        case 2 | 3 | "2" | "3":
            return _refused(data)
        case _:
            pass
    told = data.get("successFlag")
    raise Unknown("The provider answered in words that Phaya does not know.", f"Veo's successFlag is {told!r}")


def _made(data: Mapping[str, JsonValue]) -> Finished | None:
    """The film and its original, from where KIE puts them now (`response`) or did (`info`, the record itself)."""
    for place in (data.get("response"), data.get("info"), data):
        if isinstance(place, dict) and (found := films(place)).urls:
            return found
    return None


def _refused(data: Mapping[str, JsonValue]) -> Refused:
    reason, code = explain(words(data.get("errorMessage")) or words(data.get("errorCode")))
    return Refused(reason, code)
