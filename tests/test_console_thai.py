"""The console's Thai: what the catalog says, and what goes wrong, is said in Thai as well."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import phaya
from phaya.catalog import CATALOG
from phaya.catalog.acceptance import accept
from phaya.catalog.images import Seedream
from phaya.catalog.service import Generation
from phaya.credits import credits
from phaya.errors import Closed, Invalid, NotEnoughCredits
from phaya.providers import download_refusals, refusals
from phaya.web.console import forms, translations
from phaya.web.console.forms import Field

THAI = translations.catalogue("th")
LETTERS = re.compile(r"[\u0e01-\u0e5b]")
SOURCE = Path(phaya.__file__).parent


def flat(fields: Iterable[Field]) -> Iterator[Field]:
    for one in fields:
        yield one
        yield from flat(one.fields)


def untold(service: type[Generation]) -> list[str]:
    """What a service shows that has no Thai."""
    missing = [] if service.path in THAI["services"] else [f'[services] "{service.path}"']
    for one in flat(forms.fields_of(service, {})):
        if translations.label("th", service, one.name) is None:
            missing.append(f'[labels] "{one.name}"')
        if one.help and one.help not in THAI["helps"]:
            missing.append(f'[helps] "{one.help}"')
    return missing


@pytest.mark.parametrize("service", CATALOG, ids=lambda service: service.path)
def test_a_service_is_told_in_thai(service: type[Generation]) -> None:
    """A service that is not begun in the catalogue is shown in English, and skipped here with what is missing."""
    missing = untold(service)
    if missing and service.path not in THAI["services"]:
        pytest.skip(f"no Thai in catalog.th.toml for {', '.join(missing)}")

    assert missing == []


def test_nothing_is_translated_that_is_not_there() -> None:
    fields = [(service, one) for service in CATALOG for one in flat(forms.fields_of(service, {}))]
    names = {one.name for _, one in fields} | {f"{service.path}.{one.name}" for service, one in fields}
    options = {option for _, one in fields for option in one.options}
    options |= {f"{one.name}.{option}" for _, one in fields for option in one.options}

    assert set(THAI["services"]) - {service.path for service in CATALOG} == set()
    assert set(THAI["helps"]) - {one.help for _, one in fields} == set()
    for language in ("en", "th"):
        assert set(translations.catalogue(language)["labels"]) - names == set()
        assert set(translations.catalogue(language)["options"]) - options == set()


def test_a_service_without_thai_is_shown_in_english() -> None:
    class Newcomer(Seedream):
        """Newcomer 9: a picture of what comes next."""

        path = "newcomer-9"

    assert translations.name("th", Newcomer) == "Newcomer 9"
    assert translations.summary("th", Newcomer) == "A picture of what comes next"
    assert untold(Newcomer) == ['[services] "newcomer-9"']


def sentences_of_failures() -> set[str]:
    """Every sentence by which a job may fail: what our own code rejects or ends with, holes as `…`."""
    found = {text for name, text in vars(refusals).items() if name.isupper() and isinstance(text, str) and " " in text}
    found |= {f"The download failed: {sentence}." for _, sentence in download_refusals.SENTENCES.values()}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            match node.func:
                case ast.Name("Rejected" | "Unrenderable") if node.args:
                    said = node.args[0]
                case ast.Attribute(attr="_fail") if len(node.args) > 1:
                    said = node.args[1]
                case _:
                    continue
            match said:
                case ast.Constant(str(text)):
                    found.add(text)
                case ast.JoinedStr(parts):
                    found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts))
                case _:
                    pass
    return found


def test_every_sentence_by_which_a_job_fails_has_thai() -> None:
    said = {one for one in sentences_of_failures() if not one.startswith("is refused: ")}

    assert len(said) > 40
    assert {one for one in said if not LETTERS.search(translations.sentence("th", one))} == set()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"prompt": "ab"}, "คำบรรยาย: ต้องมีอย่างน้อย 3 ตัวอักษร แต่มี 2"),
        ({"prompt": "    "}, "คำบรรยาย: ต้องไม่เว้นว่าง"),
        ({}, "คำบรรยาย: ต้องกรอก"),
        ({"prompt": "a boat", "quality": "low"}, "คุณภาพ: ต้องเป็นค่าใดค่าหนึ่งใน basic, high ไม่ใช่ 'low'"),
        ({"prompt": "a boat", "image_urls": ["x"]}, "ภาพ: ต้องเป็นที่อยู่ http หรือ https"),
    ],
    ids=["short", "blank", "missing", "choice", "address"],
)
def test_a_wrong_field_is_named_as_the_form_names_it(body: dict[str, object], told: str) -> None:
    with pytest.raises(Invalid) as wrong:
        accept(Seedream, body)

    assert translations.refusal("th", wrong.value, Seedream) == told


def test_amounts_and_reasons_within_a_sentence_are_kept() -> None:
    short = NotEnoughCredits(credits("8"), credits("0.5"))
    closed = Closed("The provider has paused this model. Try again in 30 seconds. Nothing was charged.")

    assert translations.refusal("th", short) == "เครดิตไม่พอ: ต้องใช้ 8 แต่มี 0.5"
    assert translations.refusal("th", closed) == ("ผู้ให้บริการหยุดโมเดลนี้ไว้ชั่วคราว ลองใหม่ใน 30 วินาที ยังไม่มีการหักเครดิต")
    assert translations.refusal("en", short) == "Not enough credits: 8 needed, the balance is 0.5."
