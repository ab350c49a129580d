"""The catalog and plain sentences in the visitor's language. What has no translation is shown in English as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from phaya.catalog.service import Generation
from phaya.errors import Invalid, PhayaError
from phaya.web.console.forms import Field
from phaya.web.console.messages import FOLDER

HOLE = re.compile(r"\\{(\w+)\\}")
NESTED = "said"
"""The hole that holds a sentence of its own."""


@cache
def catalogue(language: str) -> Mapping[str, Mapping[str, Any]]:
    """A language's words for the catalog: `services`, `labels`, `helps`, `options` and `sentences`."""
    return tomllib.loads((FOLDER / f"catalog.{language}.toml").read_text(encoding="utf-8"))


def name(language: str, service: type[Generation]) -> str:
    """What a service is called."""
    return _service(language, service)[0]


def summary(language: str, service: type[Generation]) -> str:
    """What it does, in a line."""
    return _service(language, service)[1]


def spoken(language: str, service: type[Generation], fields: Sequence[Field]) -> list[Field]:
    """A form's fields with their labels, helps and options in a language."""
    words = catalogue(language)
    helps: Mapping[str, str] = words.get("helps", {})
    return [
        replace(
            one,
            label=label(language, service, one.name) or one.label,
            help=helps.get(one.help, one.help),
            shown={option: _option(language, one.name, option) for option in one.options},
            fields=spoken(language, service, one.fields),
        )
        for one in fields
    ]


def label(language: str, service: type[Generation], field: str) -> str | None:
    """What a field is called, where it has more than its own name."""
    labels: Mapping[str, str] = catalogue(language).get("labels", {})
    return labels.get(f"{service.path}.{field}") or labels.get(field)


def sentence(language: str, said: str) -> str:
    """A sentence of Phaya's or of a provider's."""
    for pattern, template in _patterns(language):
        if found := pattern.fullmatch(said):
            holes = found.groupdict()
            if NESTED in holes:
                holes[NESTED] = sentence(language, holes[NESTED])
            return template.format(**holes)
    return said


def refusal(language: str, error: PhayaError, service: type[Generation] | None = None) -> str:
    """An error in plain words; faults name the fields as the form does."""
    if not isinstance(error, Invalid):
        return sentence(language, error.message)
    told: list[str] = []
    for fault in error.faults:
        field = fault.field.partition(".")[0]
        known = service is not None and field in service.model_fields
        words = (label(language, service, field) if known and service is not None else None) or fault.field
        words = words if words != "body" else ""
        told.append(": ".join(part for part in (words, sentence(language, fault.message)) if part))
    return "; ".join(told)


def _service(language: str, service: type[Generation]) -> tuple[str, str]:
    found: Sequence[str] | None = catalogue(language).get("services", {}).get(service.path)
    if found is not None:
        return found[0], found[1]
    told = service.summary()
    return service.name(), told[:1].upper() + told[1:]


def _option(language: str, field: str, option: str) -> str:
    options: Mapping[str, str] = catalogue(language).get("options", {})
    found = options.get(f"{field}.{option}") or options.get(option)
    return found or (option.replace("_", " ").capitalize() if "_" in option and option.islower() else option)


@cache
def _patterns(language: str) -> Sequence[tuple[re.Pattern[str], str]]:
    """Every sentence as a pattern; those with more words of their own first, so that the closest one is found."""
    sentences: Mapping[str, str] = catalogue(language).get("sentences", {})
    order = sorted(sentences, key=lambda said: -len(re.sub(r"\{\w+\}", "", said)))
    return [(re.compile(HOLE.sub(r"(?P<\1>.+)", re.escape(said)), re.DOTALL), sentences[said]) for said in order]
