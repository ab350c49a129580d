"""The operator's file, `phaya.toml`: prices, services that are off or mapped, added models, the breaker.

Whatever in it is not understood stops the start, with one sentence that names the file, the key and, where
there is one, the name that was probably meant.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

from phaya.breaker import Patience
from phaya.calls import KieTask
from phaya.catalog.declared import Declaration, FieldDeclaration, Undeclarable, declare
from phaya.catalog.service import Generation, Rates
from phaya.catalog.translation import untranslatable
from phaya.credits import NOTHING, Credits, credits
from phaya.settings import Settings
from phaya.tariff import Pack, Stand, Tariff, Terms, TopUp, standard

NAME = "phaya.toml"
LONGEST_PATH = 63
TAKEN = (
    *("user", "services", "callback", "embedding", "media", "tts", "images", "videos", "audio", "models", "chat"),
    *("topup", "webhooks"),
)
"""First parts of paths that are no service's own."""
MOST_EXPENSIVE = 99_999_999
"""What Stripe takes at the most, in the smallest unit of most currencies."""
PLAYED = {"image": "gpt-image-2-text-to-image", "video": "sora-2-text-to-video", "audio": ""}
"""What the sandbox plays for a declared model without a base."""


class BadTariff(Exception):
    """The file cannot be used; the message is one sentence for the operator."""


def tariff_of(settings: Settings) -> Tariff:
    """The tariff by `PHAYA_CONFIG`, by `phaya.toml` in the data folder, or the catalog's own. Raises BadTariff."""
    file = settings.config or settings.data_dir / NAME
    if settings.config is None and not file.is_file():
        return standard()
    return read_tariff(file)


def read_tariff(file: Path) -> Tariff:
    """The catalog as a file changes it. Raises BadTariff."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise BadTariff(f"{file}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise BadTariff(f"{file}: is not UTF-8 text.") from None
    except (tomllib.TOMLDecodeError, ArithmeticError) as error:
        raise BadTariff(f"{file}: is not TOML: {error}.") from None
    try:
        return _tariff(_Table(document))
    except _Wrong as error:
        place = f"{file}: {error.key}: " if error.key else f"{file}: "
        raise BadTariff(place + error.message.rstrip(".") + ".") from None


class _Wrong(Exception):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.message = message


class _Table:
    """A table of the file, which knows its own key and of which kinds its values must be."""

    def __init__(self, values: Mapping[str, Any], key: str = "") -> None:
        self.values = values
        self.key = key

    def at(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name

    def only(self, *names: str) -> None:
        for name in self.values:
            if name not in names:
                raise _Wrong(self.at(name), _unknown("is no key that Phaya knows", name, names))

    def get(self, name: str, kind: type | tuple[type, ...], told: str, default: Any = None) -> Any:
        value = self.values.get(name, default)
        wrong = isinstance(value, bool) and bool not in (kind if isinstance(kind, tuple) else (kind,))
        if name in self.values and (wrong or not isinstance(value, kind)):
            raise _Wrong(self.at(name), f"must be {told}")
        return value

    def text(self, name: str) -> str:
        return self.get(name, str, "a text", "")

    def needed(self, name: str) -> str:
        if not self.text(name).strip():
            raise _Wrong(self.at(name), "is required")
        return self.text(name)

    def switch(self, name: str) -> bool:
        return self.get(name, bool, "true or false", False)

    def number(self, name: str) -> float | None:
        value = self.get(name, (int, Decimal), "a number")
        return None if value is None else float(value)

    def table(self, name: str) -> _Table:
        return _Table(self.get(name, dict, "a table", {}), self.at(name))

    def tables(self) -> Mapping[str, _Table]:
        return {name: self.table(name) for name in self.values}

    def plain(self, name: str) -> dict[str, JsonValue]:
        """A table of values that go into JSON."""
        table = self.table(name)
        return {one: _plain(value, table.at(one)) for one, value in table.values.items()}


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{what}; did you mean '{near[0]}'?" if near else f"{what}; known are {', '.join(known) or 'none'}"


def _plain(value: Any, key: str) -> JsonValue:
    match value:
        case Decimal():
            return float(value)
        case str() | bool() | int():
            return value
        case list():
            return [_plain(one, key) for one in cast("list[Any]", value)]
        case dict():
            return {str(name): _plain(one, key) for name, one in cast("dict[str, Any]", value).items()}
        case _:
            raise _Wrong(key, "must be a text, a number, true or false, or a list or table of these")


def _tariff(document: _Table) -> Tariff:
    document.only("service", "model", "breaker", "topup")
    start = standard()
    services, terms = dict(start.services), dict(start.terms)
    played: dict[str, str] = {}
    entries = document.table("service").tables()
    for path, table in entries.items():
        if path not in terms:
            raise _Wrong(table.key, _unknown("there is no such service", path, list(terms)))
        table.only("rates", "off", "reason", "substitute", "via")
        terms[path] = Terms(_rates(table.table("rates"), terms[path].rates))
    for path, table in document.table("model").tables().items():
        service, model, plays = _declared(path, table, services, terms)
        services[path], terms[path], played[model] = service, Terms(service.rates), plays
    for path, table in entries.items():
        terms[path] = _terms(path, table, services, terms, entries)
    return Tariff(services, terms, _patience(document.table("breaker")), played, _topup(document.table("topup")))


def _amount(value: object, key: str) -> Credits:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise _Wrong(key, "must be an amount of credits, as a number or a text")
    try:
        amount = credits(value)
    except ValueError as error:
        raise _Wrong(key, str(error)) from None
    if amount < NOTHING:
        raise _Wrong(key, f"must not be negative, and is {amount}")
    return amount


def _rates(table: _Table, before: Rates) -> Rates:
    """The rates with the file's over them; only those that are there can be changed."""
    for name in table.values:
        if name not in before:
            raise _Wrong(table.at(name), _unknown("there is no such rate", name, list(before)))
    return {**before, **{name: _amount(value, table.at(name)) for name, value in table.values.items()}}


def _terms(
    path: str,
    table: _Table,
    services: Mapping[str, type[Generation]],
    terms: Mapping[str, Terms],
    entries: Mapping[str, _Table],
) -> Terms:
    off, substitute = table.switch("off"), table.text("substitute")
    if substitute and substitute not in terms:
        raise _Wrong(table.at("substitute"), _unknown("names no service", substitute, list(terms)))
    if substitute == path or (substitute in entries and entries[substitute].switch("off")):
        raise _Wrong(table.at("substitute"), f"'{substitute}' is off itself")
    for name in ("substitute", "reason"):
        if table.text(name) and not off:
            raise _Wrong(table.at(name), "means something only beside off = true")
    stands = table.get("via", list, "a list of services", [])
    if stands and off:
        raise _Wrong(table.at("via"), "cannot be beside off = true")
    if stands and path not in services:
        raise _Wrong(table.at("via"), "is only for services that make media")
    via = tuple(_stand(services[path], one, table.at("via"), services, entries) for one in stands)
    if len({stand.service for stand in via}) < len(via):
        raise _Wrong(table.at("via"), "names a service twice")
    return Terms(terms[path].rates, off, table.text("reason"), substitute or None, via)


def _stand(
    source: type[Generation],
    given: object,
    key: str,
    services: Mapping[str, type[Generation]],
    entries: Mapping[str, _Table],
) -> Stand:
    if isinstance(given, str):
        given = {"service": given}
    if not isinstance(given, dict):
        raise _Wrong(key, "must list services, each as a text or as { service = …, set = { … } }")
    table = _Table(cast("dict[str, Any]", given), key)
    table.only("service", "set")
    path = table.needed("service")
    if path not in services:
        raise _Wrong(key, _unknown(f"'{path}' is no service that makes media", path, list(services)))
    target, fixed = services[path], table.plain("set")
    if path in entries and entries[path].switch("off"):
        raise _Wrong(key, f"'{path}' is off")
    if strange := next((name for name in fixed if name not in target.model_fields), None):
        raise _Wrong(f"{key}.set.{strange}", _unknown(f"is no field of {path}", strange, list(target.model_fields)))
    if target is source:
        if fixed:
            raise _Wrong(f"{key}.set", f"cannot be for {path} itself")
        return Stand(target)
    if target.local or source.local:
        raise _Wrong(key, f"'{path if target.local else source.path}' is made on this server and takes no part in this")
    if target.answer.media != source.answer.media:
        raise _Wrong(key, f"'{path}' makes {target.answer.media}, not {source.answer.media}")
    if missing := untranslatable(source, target, fixed):
        raise _Wrong(key, f"'{path}' needs '{missing[0]}', which requests for {source.path} do not have")
    return Stand(target, fixed)


def _declared(
    path: str, table: _Table, services: Mapping[str, type[Generation]], terms: Mapping[str, Terms]
) -> tuple[type[Generation], str, str]:
    """The service that a model's table declares, KIE's name for it, and what the sandbox plays for it."""
    table.only(
        "base", "model", "name", "summary", "makes", "price_by", "rates", "example", "input", "fields",
        "minutes", "seconds",
    )  # fmt: skip
    if not path.isascii() or not path.replace("-", "").isalnum() or path != path.lower() or len(path) > LONGEST_PATH:
        raise _Wrong(table.key, "a model's name is its path: lower-case letters, digits and hyphens")
    if path in {*TAKEN, *(other.partition("/")[0] for other in terms)}:
        raise _Wrong(table.key, "that name is taken already")
    base = table.text("base")
    if base and base not in services:
        raise _Wrong(table.at("base"), _unknown("there is no such service", base, list(services)))
    parent = services.get(base)
    if parent and (table.text("makes") or table.text("price_by")):
        raise _Wrong(table.at("makes" if table.text("makes") else "price_by"), "comes from the base; leave it out")
    if parent:
        rates = _rates(table.table("rates"), terms[base].rates)
    else:
        given = table.table("rates")
        rates = {name: _amount(value, given.at(name)) for name, value in given.values.items()}
    model = table.needed("model")
    minutes, seconds = table.number("minutes") or 0, table.number("seconds") or 0
    if minutes < 0 or seconds < 0:
        raise _Wrong(table.at("minutes" if minutes < 0 else "seconds"), "must not be negative")
    asked = Declaration(
        path=path,
        model=model,
        rates=rates,
        example=table.plain("example") or (parent.example if parent else {}),
        name=table.text("name"),
        summary=table.text("summary"),
        base=parent,
        makes=table.text("makes"),
        price_by=table.text("price_by"),
        minutes=minutes,
        seconds=int(seconds),
        input=table.plain("input"),
        fields={name: _field(one) for name, one in table.table("fields").tables().items()},
    )
    try:
        service = declare(asked)
    except Undeclarable as error:
        raise _Wrong(table.at(error.key), str(error)) from None
    return service, model, _plays(parent, asked)


def _plays(parent: type[Generation] | None, asked: Declaration) -> str:
    if parent is None:
        return PLAYED[asked.makes]
    call = parent.call(parent.model_validate(dict(parent.example)))
    return call.model if isinstance(call, KieTask) else ""


def _field(table: _Table) -> FieldDeclaration:
    table.only("kind", "options", "default", "required", "min", "max", "description")
    default = table.values.get("default")
    return FieldDeclaration(
        kind=table.needed("kind"),
        options=[
            one if isinstance(one, int) else str(one)
            for one in table.get("options", list, "a list of what may be chosen", [])
        ],
        default=None if default is None else _plain(default, table.at("default")),
        required=table.switch("required"),
        least=table.number("min"),
        most=table.number("max"),
        description=table.text("description"),
    )


def _patience(table: _Table) -> Patience:
    names = [one.name for one in fields(Patience)]
    table.only(*names)
    given = {name: table.number(name) for name in table.values}
    for name, value in given.items():
        if value is None or value <= 0:
            raise _Wrong(table.at(name), "must be more than 0")
    counts = {name: int(given[name] or 1) for name in ("failures", "refusals") if name in given}
    return Patience(**(cast("dict[str, Any]", given) | counts))


def _topup(table: _Table) -> TopUp:
    table.only("packs", "tax", "invoices", "return_url")
    key, packs = table.at("packs"), list[Pack]()
    for given in table.get("packs", list, "a list of packs", []):
        if not isinstance(given, dict):
            raise _Wrong(key, 'must list packs as { credits = 100, price = 10000, currency = "thb" }')
        pack = _pack(_Table(cast("dict[str, Any]", given), key))
        if pack.id in {other.id for other in packs}:
            raise _Wrong(key, f"has two packs of {pack.credits} credits in {pack.currency}")
        packs.append(pack)
    address = table.text("return_url")
    if address and not address.startswith(("https://", "http://")):
        raise _Wrong(table.at("return_url"), "must be an http or https address")
    return TopUp(tuple(packs), table.switch("tax"), table.switch("invoices"), address)


def _pack(table: _Table) -> Pack:
    table.only("credits", "price", "currency")
    amount, price = _amount(table.values.get("credits"), table.at("credits")), table.values.get("price")
    if not amount:
        raise _Wrong(table.at("credits"), "must be more than 0")
    if not isinstance(price, int) or isinstance(price, bool) or not 0 < price <= MOST_EXPENSIVE:
        raise _Wrong(table.at("price"), "must be a whole number of smallest units, such as 10000 for 100 THB")
    currency = table.needed("currency").lower()
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise _Wrong(table.at("currency"), "must be three letters, such as thb")
    return Pack(amount, price, currency)
