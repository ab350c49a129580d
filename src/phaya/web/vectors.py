"""Embeddings for both doors: as many vectors as inputs, in their order, paid by the provider's usage."""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from sys import byteorder
from typing import Any, cast

import orjson

from phaya.catalog.embedding import EmbeddingRequest, read_embedding
from phaya.catalog.language import guess_tokens
from phaya.credits import Credits, per_million
from phaya.errors import Fault, Invalid
from phaya.idempotency import Answer, Stamp
from phaya.jobs import Job
from phaya.providers import Unknown
from phaya.providers.openrouter import Usage
from phaya.system import System
from phaya.web.answers import dumps
from phaya.web.caller import Caller
from phaya.web.repeats import json_answer, look
from phaya.web.tab import Tab, dry_run, quote

GARBLED = "The embedding provider's answer does not fit the request."


@dataclass(frozen=True)
class Vectors:
    """The vectors of one request, in OpenAI's shape and written as JSON, paid for."""

    job: Job
    model: str
    data: orjson.Fragment
    usage: dict[str, int]
    used: Credits
    warnings: list[str]


async def embed(
    phaya: System,
    caller: Caller,
    body: object,
    tell: Callable[[Vectors, Credits], Mapping[str, object]],
    *,
    strict: bool,
    stamp: Stamp | None,
) -> Answer:
    """Embeds the inputs of a body, and answers as `tell` tells it with the balance after it; or answers the price
    where `dry_run` is asked for.

    Raises Forbidden, Invalid, ModelNotFound, Closed, NotEnoughCredits or BadAnswer; Taken, Reused, InProgress or
    NotKept where the request, or its key, was sent before.
    """
    caller.need(EmbeddingRequest.path, "chat")
    await look(phaya, stamp)
    dry = dry_run(body)
    asked, warnings = read_embedding(body)
    if strict and warnings:
        raise Invalid(*(Fault("body", warning, "strict") for warning in warnings))
    rate = phaya.tariff.rates(asked.path)["input"]
    if dry:
        phaya.tariff.serve(asked.path)
        return json_answer(await quote(phaya, caller, asked.path, asked.ceiling(rate), warnings))
    provider = phaya.chat_provider()
    tab = Tab(
        phaya,
        asked.path,
        asked.minutes,
        asked.ceiling(rate),
        lambda usage: per_million(rate, usage.prompt_tokens),
        "input",
        stamp,
    )
    await tab.hold(caller)
    try:
        done = await tab.ask(lambda: provider.embed(asked.body()))
        data = in_order(done.body["data"], len(asked.texts()), asked.encoding_format)
    except BaseException as error:
        raise await tab.give_up(error) from error
    usage = done.usage or Usage(guess_tokens(len(orjson.dumps(asked.texts()))), 0, None)
    counted = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
    # Megabytes of numbers are written out here, and not while the transaction is open.
    fragment = orjson.Fragment(dumps(data))
    made = Vectors(tab.job, asked.model, fragment, counted, tab.reckon(usage), warnings)
    return await tab.settle(
        usage, done.generation, lambda left: json_answer(tell(made, left)), guessed=done.usage is None
    )


def in_order(data: object, count: int, form: str) -> list[dict[str, Any]]:
    """The vectors by their index, in the form that was asked for. Raises Unknown where they do not fit."""
    entries = cast("list[Any]", data) if isinstance(data, list) else []
    found: dict[int, Any] = {}
    for place, entry in enumerate(entries):
        if isinstance(entry, dict):
            told = cast("dict[str, Any]", entry)
            index = told.get("index", place)
            found[index if isinstance(index, int) else -1] = told.get("embedding")
    if len(entries) != count or set(found) != set(range(count)):
        raise Unknown(GARBLED, f"{len(entries)} vectors with indexes {sorted(map(str, found))[:20]} for {count} inputs")
    return [
        {"object": "embedding", "index": index, "embedding": _in_form(found[index], form)} for index in range(count)
    ]


def _in_form(vector: object, form: str) -> list[float] | str:
    """A vector as numbers or as base64, whichever of the two the provider chose to send."""
    if isinstance(vector, str):
        if form == "base64":
            return vector
        try:
            numbers = array("f", base64.b64decode(vector, validate=True))
        except (binascii.Error, ValueError) as error:
            raise Unknown(GARBLED, f"a vector is no base64: {vector[:40]}") from error
        if byteorder == "big":
            numbers.byteswap()
        return list(numbers)
    if not isinstance(vector, list) or not vector:
        raise Unknown(GARBLED, "a vector is neither numbers nor base64")
    if form == "float":
        return cast("list[float]", vector)
    packed = array("f", cast("list[float]", vector))
    if byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()
