"""The price list, and a page for each service with examples that run as they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator

from phaya.catalog import CATALOG
from phaya.catalog.answers import STATES
from phaya.catalog.embedding import EmbeddingRequest
from phaya.catalog.fields import MB
from phaya.catalog.language import PASSED_ON, ChatRequest
from phaya.catalog.service import Generation
from phaya.reference.markdown import NOTICE, Schema, fields, json_block, page, row, table
from phaya.web.openapi import first_word

HEAD = ("Field", "Takes", "Default", "Meaning")
CALL = '-H "Authorization: Bearer $PHAYA_API_KEY" -H "Content-Type: application/json"'


def price_list() -> str:
    """Every service with its prices, and where its page is."""
    return page(
        [
            "# Services and prices",
            NOTICE,
            "Amounts are credits. `GET /api/v1/services` answers the same as data, `GET /openapi.json` as OpenAPI; "
            "[api.md](api.md) tells what all services have in common.",
            table(("Service", "Makes", "For", "Credits"), _prices()),
            "A service is charged when its job is accepted, and gives everything back where the job fails or is "
            "cancelled. A chat is held at its ceiling and settled to the tokens it used.",
        ]
    )


def service_pages() -> dict[str, str]:
    """The page of each service, by its file's name in `services/`."""
    found = {f"{file_of(service)}.md": page([*_service(service)]) for service in CATALOG}
    found[f"{ChatRequest.path}.md"] = page([*_chat()])
    found[f"{EmbeddingRequest.path}.md"] = page([*_embedding()])
    return found


def file_of(service: type[Generation]) -> str:
    """A service's name as a file."""
    return service.path.replace("/", "-")


def _prices() -> Iterator[tuple[str, ...]]:
    for service in CATALOG:
        link = f"[{service.path}](services/{file_of(service)}.md)"
        for what, amount in service.rates.items():
            yield link, f"{service.name()}", what, str(amount)
    for side, amount in ChatRequest.rates.items():
        link = f"[{ChatRequest.path}](services/{ChatRequest.path}.md)"
        yield link, ChatRequest.model_name, f"a million {side} tokens", str(amount)
    for side, amount in EmbeddingRequest.rates.items():
        link = f"[{EmbeddingRequest.path}](services/{EmbeddingRequest.path}.md)"
        yield link, EmbeddingRequest.name, f"a million {side} tokens", str(amount)


def _service(service: type[Generation]) -> Iterator[str]:
    schema = service.model_json_schema()
    words = {state: service.words.spell(state) for state in STATES}
    created = first_word(service)
    yield f"# {service.name()}"
    yield NOTICE
    yield f"{service.summary()}."
    yield f"`POST /api/v1/{service.create_path()}`, then `GET /api/v1/{service.home()}/status/{{job_id}}?wait=30`, "
    "which answers as soon as the job has ended."
    yield table(
        HEAD,
        (
            row(name, field, name in schema.get("required", ()), _meaning(service, name, field))
            for name, field in fields(schema)
        ),
    )
    yield "## Price"
    yield table(("For", "Credits"), ((what, str(amount)) for what, amount in service.rates.items()))
    if service.cost is not Generation.cost:
        yield "A job holds the most that it can cost, and returns what is left."
    yield f"`POST /api/v1/{service.path}/estimate`, or `dry_run: true`, answers a request's price and costs nothing."
    yield "`webhook_url` in the body names who is told of the job's end, see [webhooks.md](../webhooks.md)."
    yield "## Answer"
    place = "It is made on this server. " if service.local else ""
    yield "\n".join(
        [
            f"- Result fields, null until the end: {', '.join(f'`{name}`' for name in service.answer.fields)}.",
            f"- `status` is `{created}` in the create answer; then "
            + ", ".join(f"{state} `{word}`" for state, word in words.items())
            + ".",
            f"- {place}It usually takes {service.seconds} s, and fails with its credits returned "
            f"after {service.minutes:g} minutes.",
        ]
    )
    yield "## Examples"
    yield f"```sh\n{curl_example(service)}\n```"
    yield f"```python\n{python_example(service)}\n```"


def curl_example(service: type[Generation]) -> str:
    """A shell script that makes the service's example and prints the result."""
    base, ended = f"$PHAYA_BASE/{service.home()}", "completed|failed|cancelled"
    return "\n".join(
        [
            f'job=$(curl -s "$PHAYA_BASE/{service.create_path()}" \\',
            f"  {CALL} \\",
            f"  -d '{_shell(service.example)}' |",
            '  sed -n \'s/.*"job_id":"\\([^"]*\\)".*/\\1/p\')',
            "",
            f'until answer=$(curl -s "{base}/status/$job?wait=30" -H "Authorization: Bearer $PHAYA_API_KEY") &&',
            f'  echo "$answer" | grep -Eq \'"state":"({ended})"|"success":false\'; do sleep 1; done',
            'echo "$answer"',
        ]
    )


def python_example(service: type[Generation]) -> str:
    """The same with httpx."""
    return "\n".join(
        [
            "import os",
            "",
            "import httpx",
            "",
            "api = httpx.Client(",
            '    base_url=os.environ["PHAYA_BASE"],',
            '    headers={"Authorization": f"Bearer {os.environ[\'PHAYA_API_KEY\']}"},',
            "    timeout=60,",
            ")",
            f'created = api.post("{service.create_path()}", json={_python(service.example)})',
            'job = created.raise_for_status().json()["job_id"]',
            'while (status := api.get(f"'
            + service.home()
            + '/status/{job}?wait=30").json())["state"] in ("queued", "processing"):',
            "    pass",
            f'print(status["{next(iter(service.answer.fields))}"] or status["error"])',
        ]
    )


def _shell(body: object) -> str:
    return json.dumps(body, ensure_ascii=False).replace("'", "'\\''")


def _python(body: object) -> str:
    text = json.dumps(body, ensure_ascii=False, indent=4)
    return text.replace(": true", ": True").replace(": false", ": False").replace(": null", ": None")


def _meaning(service: type[Generation], name: str, field: Schema) -> str:
    """The description of a field, what file it names, and under which other names it is known."""
    told = [str(field.get("description", ""))]
    if mark := service.inputs().get(name):
        told.append(f"Link or data URL, {mark.media}, at most {mark.limit // MB} MB.")
    if others := [other for other, meant in service.spellings().items() if meant == name]:
        told.append(f"Also read: {', '.join(f'`{other}`' for other in others)}.")
    return " ".join(told).strip()


def _chat() -> Iterator[str]:
    schema = ChatRequest.model_json_schema()
    yield f"# {ChatRequest.model_name}"
    yield NOTICE
    yield " ".join((ChatRequest.__doc__ or "").split()).partition(": ")[2]
    yield f"`POST /api/v1/{ChatRequest.path}/chat/completions`"
    yield table(
        HEAD,
        (
            row(name, field, name in schema.get("required", ()), field.get("description", ""))
            for name, field in schema["properties"].items()
        ),
    )
    yield "Passed on as they stand: " + ", ".join(f"`{name}`" for name in sorted(PASSED_ON)) + "."
    yield (
        "Credits: "
        + ", ".join(f"a million {side} tokens {amount}" for side, amount in ChatRequest.rates.items())
        + f". A chat ends after {ChatRequest.minutes:g} minutes at the latest."
    )
    yield json_block(ChatRequest.example)
    yield (
        f'```sh\ncurl -s "$PHAYA_BASE/{ChatRequest.path}/chat/completions" \\\n  {CALL} \\\n'
        f"  -d '{_shell(ChatRequest.example)}'\n```"
    )


def _embedding() -> Iterator[str]:
    schema = EmbeddingRequest.model_json_schema()
    yield f"# {EmbeddingRequest.name}"
    yield NOTICE
    yield (EmbeddingRequest.__doc__ or "").partition(": ")[2]
    yield f"`POST /api/v1/{EmbeddingRequest.path}/create`"
    yield table(
        HEAD,
        (
            row(name, field, name in schema.get("required", ()), field.get("description", ""))
            for name, field in schema["properties"].items()
        ),
    )
    rates = ", ".join(f"a million {side} tokens {amount}" for side, amount in EmbeddingRequest.rates.items())
    yield f"Credits: {rates}. The ceiling is held before the call, and settled to the tokens it used."
    yield json_block(EmbeddingRequest.example)
    yield (
        f'```sh\ncurl -s "$PHAYA_BASE/{EmbeddingRequest.path}/create" \\\n  {CALL} \\\n'
        f"  -d '{_shell(EmbeddingRequest.example)}'\n```"
    )
