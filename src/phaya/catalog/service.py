"""What a service is: its fields are what may be asked, `price` is what it costs, `call` is what it becomes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, JsonValue, PrivateAttr
from pydantic.fields import FieldInfo

from phaya.calls import LocalCall, RemoteCall
from phaya.catalog.answers import Answer, Words
from phaya.catalog.fields import Aliases, Input, Page
from phaya.credits import Credits

Rates = Mapping[str, Credits]
Mark = TypeVar("Mark")


class Generation(BaseModel, ABC):
    """A service that makes media. One class is one service; every surface of it follows from the class."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    _lengths: dict[str, float] = PrivateAttr(default_factory=dict[str, float])
    _bytes: int | None = PrivateAttr(default=None)

    path: ClassVar[str]
    verb: ClassVar[str] = "create"
    """The last part of the create path; empty where `path` is the whole of it, and its parent the home."""
    answer: ClassVar[Answer]
    words: ClassVar[Words]
    rates: ClassVar[Rates]
    example: ClassVar[dict[str, JsonValue]]
    minutes: ClassVar[float]
    """Minutes after which a silent job fails and its credits return."""
    seconds: ClassVar[int]
    """Seconds that a job usually takes."""
    priced_by_length: ClassVar[bool] = False
    """Whether `price` reads `length_of` or `size`, so that an estimate must measure the inputs too."""
    lasting: ClassVar[bool] = False
    """Whether results are no files and stay beyond the storage time."""
    local: ClassVar[bool] = False
    """Whether the work is done on this machine, so that inputs are copied to our storage first."""

    @abstractmethod
    def price(self, rates: Rates) -> Credits:
        """The credits that this very request costs."""

    @abstractmethod
    def call(self) -> RemoteCall | LocalCall:
        """What is asked of whom, in the provider's own terms."""

    def cost(self, rates: Rates, facts: Mapping[str, JsonValue]) -> Credits:
        """What the finished job costs, where that is only known by what came of it; never more than `price`."""
        return self.price(rates)

    def notes(self) -> list[str]:
        """What the caller should know of how this request is understood."""
        return []

    def wants_sound_track(self) -> bool:
        """Whether the film's sound is offered as a file of its own."""
        return False

    @classmethod
    def remembered(cls, text: str) -> Self:
        """A request from a job's row. It was validated once; its addresses may be keys of our storage by now."""
        return cls.model_construct(**json.loads(text))

    @classmethod
    def mend(cls, body: dict[str, Any]) -> Iterator[str]:
        """Corrects slips that only this service's clients make, in place, and names each."""
        yield from ()

    @classmethod
    def name(cls) -> str:
        """The model's name, the first part of the docstring."""
        return (cls.__doc__ or cls.__name__).split(":")[0].strip()

    @classmethod
    def summary(cls) -> str:
        """What it does, the rest of the docstring's first line."""
        return (cls.__doc__ or "").split("\n")[0].partition(":")[2].strip().rstrip(".")

    @classmethod
    def create_path(cls) -> str:
        """Below `/api/v1`, without a leading slash."""
        return f"{cls.path}/{cls.verb}" if cls.verb else cls.path

    @classmethod
    def home(cls) -> str:
        """Below which path its status, cancel and history routes are; services may share one."""
        return cls.path if cls.verb else cls.path.rpartition("/")[0]

    @classmethod
    def inputs(cls) -> Mapping[str, Input]:
        """The fields that name files, with what kind."""
        return _inputs(cls)

    @classmethod
    def page(cls) -> str | None:
        """The field that names a page to download from, if there is one."""
        return _page(cls)

    @classmethod
    def spellings(cls) -> dict[str, str]:
        """Other names of fields, each with the field it stands for."""
        return _spellings(cls)

    def length_of(self, field: str) -> float:
        """Seconds of film or sound behind a field's addresses together, as measured before charging."""
        return self._lengths[field]

    def with_lengths(self, lengths: Mapping[str, float]) -> Self:
        """The same request with its inputs' lengths, in seconds, by field."""
        measured = self.model_copy()
        measured._lengths = dict(lengths)
        return measured

    @property
    def size(self) -> int | None:
        """Bytes that a download will have at the most, as found out before charging; None where nobody says."""
        return self._bytes

    def with_size(self, size: int | None) -> Self:
        """The same request with what its download will have at the most, in bytes."""
        measured = self.model_copy()
        measured._bytes = size
        return measured

    def with_inputs(self, addresses: Mapping[tuple[str, str], str]) -> Self:
        """The same request with its inputs' addresses exchanged, each by its field and what it was."""
        values: dict[str, Any] = {}
        for name in self.inputs():
            value = getattr(self, name)
            if isinstance(value, str):
                values[name] = addresses[name, value]
            elif value:
                values[name] = [addresses[name, one] for one in value]
        return self.model_copy(update=values)


def marked(field: FieldInfo, kind: type[Mark]) -> Mark | None:
    """What hangs on a field's type, if it is there; on `X | None` it hangs on the X."""
    parts = [field.metadata, *(getattr(part, "__metadata__", ()) for part in get_args(field.annotation))]
    return next((mark for part in parts for mark in part if isinstance(mark, kind)), None)


@cache
def _inputs(service: type[Generation]) -> Mapping[str, Input]:
    return {name: mark for name, field in service.model_fields.items() if (mark := marked(field, Input))}


@cache
def _page(service: type[Generation]) -> str | None:
    return next((name for name, field in service.model_fields.items() if marked(field, Page)), None)


@cache
def _spellings(service: type[Generation]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in service.model_fields.items():
        aliases = marked(field, Aliases)
        for other in aliases.names if aliases else ():
            if other not in service.model_fields:
                found.setdefault(other, name)
    return found
