"""A skill for AI agents: how to make things with Phaya, in one page that an agent loads when it needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from phaya.catalog import CATALOG
from phaya.catalog.language import ChatRequest
from phaya.catalog.service import Generation
from phaya.reference.markdown import page, table
from phaya.reference.services import curl_example

FRONT = """---
name: phaya
description: >-
  Makes pictures, films, songs and clips, and talks to a language model, through Phaya's REST API with one key and
  one prepaid balance. Use it when asked to generate or animate media, or to check what that costs.
---"""


def skill_page() -> str:
    """SKILL.md."""
    picture = CATALOG[0]
    return page(
        [
            FRONT,
            "# Phaya",
            "Two environment variables are needed: `PHAYA_API_KEY` (starts with `pk_`) and `PHAYA_BASE` (the API's "
            "address, ending in `/api/v1`). Every request carries `Authorization: Bearer $PHAYA_API_KEY`.",
            "Where the tools of Phaya's MCP server are at hand (`text_to_image`, `wait_job`, …), use them: they "
            "do the same. Clients add it as `phaya mcp`, or as the server's address with `/mcp`.",
            "## How it goes",
            "\n".join(
                [
                    "1. `POST` the service's create path. The answer has `job_id`, `credits_used`, `credits_balance` "
                    "and `warnings`: read them, an ignored field is named there.",
                    "2. `GET` its status path with `?wait=30`: it answers as soon as the job has ended. Ask again "
                    "until `state` is `completed`, `failed` or `cancelled`. A request that fails is tried again; the "
                    "job goes on.",
                    "3. When it is completed, read the result field. The link needs no key; download what must last. "
                    "When it has failed, `error` says why, and the credits are back already.",
                ]
            ),
            f"```sh\n{curl_example(picture)}\n```",
            "## Rules",
            "\n".join(
                [
                    "- Ask the price first when it matters: `dry_run: true` in any create body costs nothing.",
                    "- `402` means that the balance or the key's cap is too low; `422` names the field and what is "
                    "allowed; `429` and `503` say in `Retry-After` when to come back.",
                    "- Send a fresh `Idempotency-Key` header with each create. If its answer is lost, send the same "
                    "body with the same key again: it is answered as the first time and not charged twice.",
                    "- Do not give up a job by not asking any more: send `Cancel-After: 300` with the create, and what "
                    "has not ended after 300 seconds is cancelled and refunded.",
                    "- Inputs are `http(s)` links that the public can fetch, data URLs, or earlier results.",
                    '- Answers with `"sandbox": true` are practice material.',
                ]
            ),
            "## Services",
            "\n\n".join(_services()),
            f"## {ChatRequest.model_name}",
            f"`POST {ChatRequest.path}/chat/completions` with "
            f"`{json.dumps(ChatRequest.example, ensure_ascii=False)}`; read `message.content`.",
            "`GET user/credits` tells the balance, `GET services` every field as JSON schema.",
        ]
    )


def _services() -> Iterator[str]:
    yield table(
        ("Create path", "Makes", "Credits", "Read", "Usual seconds"),
        (
            (
                f"`{service.create_path()}`",
                f"{service.name()}: {service.summary()}",
                _price(service),
                ", ".join(f"`{name}`" for name in service.answer.fields),
                str(service.seconds),
            )
            for service in CATALOG
        ),
    )
    for service in CATALOG:
        fields = ", ".join(_field(name, field) for name, field in service.model_json_schema()["properties"].items())
        yield f"**{service.path}**: {fields}."


def _price(service: type[Generation]) -> str:
    amounts = sorted(service.rates.values())
    return str(amounts[0]) if amounts[0] == amounts[-1] else f"{amounts[0]} to {amounts[-1]}"


def _field(name: str, field: dict[str, object]) -> str:
    options = field.get("enum")
    if isinstance(options, list):
        return f"`{name}` ({' '.join(str(option) for option in options)})"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return f"`{name}`"
