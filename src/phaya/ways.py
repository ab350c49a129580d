"""Ways: the services that may carry out a request, in order, as a job remembers them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Way:
    """One service's call for the request, packed."""

    service: str
    call: str


@dataclass(frozen=True, slots=True)
class Ways:
    """The service whose call the job holds now, and which come after it."""

    current: str
    left: tuple[Way, ...] = ()


_ways = TypeAdapter(Ways)


def pack_ways(ways: Ways) -> str:
    """The ways as text, for the job's row."""
    return _ways.dump_json(ways).decode()


def unpack_ways(text: str | None) -> Ways | None:
    """What `pack_ways` wrote; None where the job has but one way."""
    return None if text is None else _ways.validate_json(text)
