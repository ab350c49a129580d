"""The Python client's methods, printed from the catalog so that editors and type checkers know each field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from phaya.catalog import CATALOG
from phaya.catalog.acceptance import options
from phaya.catalog.service import Generation

HEAD = '''"""A method for each service of the catalog. Printed by `make docs`; change the catalog, not this file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from phaya.client.jobs import AsyncJob, Job

File = str | Path
"""A link, a data URL, or a file of this machine, which is uploaded first."""


class Options(TypedDict, total=False):
    """What every service's method takes beside the service's own fields."""

    idempotency_key: str
    """Your name for this purchase; without it the client takes one of its own."""
    cancel_after: int
    """Seconds after which the job is cancelled and refunded, if it has not ended."""
    webhook_url: str
    """Who is told of the job's end."""
'''

TO_GENERATE = '''    @abstractmethod
    {word}def generate(self, service: str, fields: Mapping[str, Any], **options: Unpack[Options]) -> {job}:
        """Buys a job of any service."""
'''


def methods_module() -> str:
    """`phaya/client/services.py`."""
    paths = "".join(f"    {_text(service.path)}: {_text(service.create_path())},\n" for service in CATALOG)
    known = f'CREATE_PATHS: Mapping[str, str] = {{\n{paths}}}\n"""Where each service is asked for, by its path."""\n'
    return "\n\n".join([f"{HEAD}\n\n{known}", *_classes()])


def _classes() -> Iterator[str]:
    for name, word, job in (("AsyncServices", "async ", "AsyncJob"), ("Services", "", "Job")):
        head = f'class {name}(ABC):\n    """The services, each a method that buys a job and returns it at once."""\n'
        methods = [_method(service, word, job) for service in CATALOG]
        yield "\n".join([head, TO_GENERATE.format(word=word, job=job), *methods])


def _method(service: type[Generation], word: str, job: str) -> str:
    fields = service.model_fields
    ordered = sorted(fields, key=lambda field: not fields[field].is_required())
    parameters = "".join(f"        {_parameter(service, field)},\n" for field in ordered)
    values = ", ".join(f"{_text(field)}: {field}" for field in fields)
    wait = "await " if word else ""
    prices = ", ".join(f"{what} {amount}" for what, amount in service.rates.items())
    name = service.path.replace("-", "_").replace("/", "_")
    told = "".join(f"            {field}: {text}\n" for field in ordered if (text := fields[field].description))
    explained = f"\n\n        Args:\n{told}        " if told else ""
    return (
        f"    {word}def {name}(\n        self,\n        *,\n{parameters}        **options: Unpack[Options],\n"
        f'    ) -> {job}:\n        """{service.name()}: {service.summary()}. Credits: {prices}.{explained}"""\n'
        f"        fields: dict[str, Any] = {{{values}}}\n"
        f"        return {wait}self.generate({_text(service.path)}, fields, **options)\n"
    )


def _parameter(service: type[Generation], name: str) -> str:
    field = service.model_fields[name]
    kind = _kind(field, name in service.inputs())
    return f"{name}: {kind}" if field.is_required() else f"{name}: {kind} | None = None"


def _kind(field: FieldInfo, file: bool) -> str:
    """A field's type as a caller writes it."""
    if offered := options(field.annotation):
        return f"Literal[{', '.join(_text(one) for one in offered)}]"
    kinds = set(_parts(field.annotation))
    if list in kinds:
        return "Sequence[File]" if file else "Sequence[str]"
    if file:
        return "File"
    if any(issubclass(kind, BaseModel) for kind in kinds):
        return "Mapping[str, Any]"
    return next(kind.__name__ for kind in (bool, int, float, str) if kind in kinds)


def _parts(annotation: Any) -> Iterator[type]:
    """The plain types that an annotation is made of; of a list only that it is one."""
    origin = get_origin(annotation)
    if isinstance(annotation, type):
        yield annotation
    elif origin is list:
        yield list
    elif origin is not Literal:
        for part in get_args(annotation):
            yield from _parts(part)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
