"""OpenAPI of what is made from the catalog: exact fields and words of each route."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from typing import Any, ParamSpec

from pydantic import BaseModel

from phaya.catalog.language import ChatRequest
from phaya.catalog.service import Generation, Rates
from phaya.webhooks import LONGEST

Schema = dict[str, Any]
P = ParamSpec("P")


class _Later(Schema):
    """Docs that are written when the document is asked for: a server whose document nobody reads keeps none of them."""

    def __init__(self, write: Callable[[], Schema]) -> None:
        super().__init__()
        self._write = write

    def __bool__(self) -> bool:
        return True  # FastAPI passes over what is empty

    def items(self):  # type: ignore[no-untyped-def]
        """All that is written."""
        return self._write().items()


def _later(write: Callable[P, Schema]) -> Callable[P, Schema]:
    @wraps(write)
    def kept(*args: P.args, **values: P.kwargs) -> Schema:
        return _Later(partial(write, *args, **values))

    return kept


AMOUNT: Schema = {"type": "number", "description": "Credits, exact."}
TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
STATE: Schema = {"type": "string", "enum": ["queued", "processing", "completed", "failed", "cancelled"]}

ERROR: Schema = {
    "type": "object",
    "required": ["success", "error", "message", "detail"],
    "properties": {
        "success": {"const": False},
        "error": {"type": "string", "description": "A short code."},
        "message": {"type": "string", "description": "One sentence: what is wrong and what is allowed."},
        "detail": {"description": "The same sentence; for 422 a list of faults with `loc`, `msg` and `type`."},
        "request_id": {"type": ["string", "null"], "description": "The answer's `X-Request-Id`."},
    },
}

REFUSALS = {
    401: "The key is missing or not valid.",
    402: "Not enough credits; `needed` and `available` say how many.",
    403: "The key's scopes do not allow this.",
    404: "There is no such job, or it is another account's.",
    413: "The body is too large.",
    422: "A field is wrong; nothing was charged.",
    429: "Too many requests of this key; see Retry-After.",
    503: "The service is off or its provider is down; nothing was charged.",
}


KNOWN: dict[int | str, dict[str, Any]] = {304: {"description": "Nothing new since the answer of this ETag."}}
SEEN: dict[int | str, dict[str, Any]] = {204: {"description": "The job has ended, and its end was seen already."}}


@cache
def plain_docs() -> dict[int | str, dict[str, Any]]:
    """The refusals that any route may answer with."""
    return {
        status: {"description": text, "content": {"application/json": {"schema": ERROR}}}
        for status, text in REFUSALS.items()
    }


@cache
def paid_docs() -> dict[int | str, dict[str, Any]]:
    """The refusals of a native route that takes an Idempotency-Key."""
    text = "The Idempotency-Key was used for another request, or its first request is still being answered."
    return plain_docs() | {409: {"description": text, "content": {"application/json": {"schema": ERROR}}}}


@cache
def openai_docs() -> dict[int | str, dict[str, Any]]:
    """The refusals of the OpenAI-style routes, in OpenAI's envelope."""
    more = {
        409: "It cannot be done in this state, or the Idempotency-Key was used for another request.",
        502: "The model failed.",
        504: "It took too long; the job goes on.",
    }
    inner = object_of({"message": TEXT, "type": TEXT, "code": MAYBE_TEXT, "param": MAYBE_TEXT})
    schema = object_of({"error": inner, "message": TEXT})
    return {
        status: {"description": text, "content": {"application/json": {"schema": schema}}}
        for status, text in (REFUSALS | more).items()
    }


def body_schema(model: type[BaseModel]) -> Schema:
    """A request's JSON schema. Unknown fields are taken with a warning, so none are forbidden."""
    schema = model.model_json_schema()
    schema.pop("additionalProperties", None)
    return schema


def _inlined(schema: Schema) -> Schema:
    """The schema without `$defs`, whose references would not resolve inside an OpenAPI document."""
    definitions: dict[str, Schema] = schema.pop("$defs", {})

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            if name in definitions:
                rest = {key: one for key, one in value.items() if key != "$ref"}  # pyright: ignore[reportUnknownVariableType]
                return walk(definitions[name] | rest)
            return {key: walk(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, list):
            return [walk(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
        return value

    return walk(schema)


@_later
def create_docs(service: type[Generation], rates: Rates | None = None, *, estimate: bool = False) -> Schema:
    """The create (or estimate) route of a service; its own rates where no others are in force."""
    schema = _inlined(body_schema(service))
    schema["properties"]["dry_run"] = {
        "type": "boolean",
        "default": False,
        "description": "Validate and price only; nothing is charged or started.",
    }
    if not estimate:
        schema["properties"]["webhook_url"] = {
            "type": "string",
            "description": "Is told of the job's end by a signed request, besides the account's webhooks; an http or "
            f"https address of at most {LONGEST} characters.",
        }
    done = _quote() if estimate else {"anyOf": [_created(service), _quote(), _settled(service)]}
    prices = ", ".join(f"{name} {amount}" for name, amount in (rates or service.rates).items())
    return {
        "summary": ("Price of " if estimate else "") + service.name(),
        "description": f"{service.summary()}. Credits: {prices}.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": service.example}},
        },
        "responses": {"200": _answer("Accepted." if not estimate else "The price.", done)},
    }


@_later
def status_docs(name: str, services: Sequence[type[Generation]]) -> Schema:
    """The status route of a home and its services, or with none of any job: failed jobs are 200 too."""
    return {
        "summary": f"Status of {name}",
        "description": "Answers at once, or with `wait` at the job's end.",
        "responses": {"200": _answer("Where the job stands.", _status(services))},
    }


@_later
def event_docs() -> Schema:
    """The event stream of a job."""
    event: Schema = {
        "type": "object",
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"const": "status"},
            "id": TEXT,
            "data": TEXT | {"contentMediaType": "application/json", "description": "A status answer."},
        },
    }
    return {
        "description": "Server-sent events named `status`, each with a status answer as data: the first at once, the "
        "others at each change of it. With the job's end the stream ends.",
        "responses": {"200": {"description": "The events.", "content": {"text/event-stream": {"itemSchema": event}}}},
    }


@_later
def jobs_docs() -> Schema:
    """The list of jobs of all services."""
    page = {"success": {"type": "boolean"}, "jobs": {"type": "array", "items": _status(())}, "next_cursor": MAYBE_TEXT}
    return {
        "summary": "Your jobs",
        "responses": {"200": _answer("A page of jobs; `next_cursor` is null on the last one.", object_of(page))},
    }


def _status(services: Sequence[type[Generation]]) -> Schema:
    fields: Schema = {
        field: {"type": ["string", "array", "null"]} for service in services for field in service.answer.fields
    }
    # Where services share a home, a job has the fields of its own.
    own = [field for field in fields if not all(field in service.answer.fields for service in services)]
    words = dict.fromkeys(word for service in services for word in service.words.value)
    schema = object_of(
        {
            "success": {"type": "boolean"},
            "job_id": TEXT,
            "id": TEXT,
            "task_id": MAYBE_TEXT,
            "service": TEXT,
            "status": {"type": "string", "enum": list(words)} if words else TEXT,
            "state": STATE,
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "message": MAYBE_TEXT,
            **fields,
            "result_url": MAYBE_TEXT,
            "error": MAYBE_TEXT,
            "error_code": MAYBE_TEXT,
            "credits_used": AMOUNT,
            "credits_refunded": AMOUNT,
            "created_at": TEXT,
            "completed_at": MAYBE_TEXT,
            "processing_time_ms": {"type": "integer"},
            "poll_after": {
                "type": ["number", "null"],
                "description": "Seconds after which it is of use to ask again; null at the end.",
            },
            "sandbox": {"type": "boolean"},
        }
    )
    schema["required"] = [name for name in schema["required"] if name not in own]
    schema["properties"]["cancel_at"] = TEXT | {"description": "When it is cancelled, where Cancel-After was sent."}
    return schema


def statement_docs() -> Schema:
    """A statement of credits, as JSON or as a table."""
    entry: Schema = {
        "id": {"type": "integer"},
        "created_at": TEXT,
        "reason": TEXT,
        "amount": AMOUNT,
        "balance": AMOUNT,
        "job_id": MAYBE_TEXT,
        "service": MAYBE_TEXT,
        "note": TEXT,
    }
    properties: Schema = {
        "success": {"type": "boolean"},
        "account": TEXT,
        "currency": TEXT,
        "from": TEXT,
        "to": TEXT,
        "opening_balance": AMOUNT,
        "entries": {"type": "array", "items": object_of(entry)},
        "closing_balance": AMOUNT,
    }
    answer = _answer("The statement; amounts are exact.", object_of(properties))
    answer["content"]["text/csv"] = {"schema": TEXT}
    return answer


@_later
def chat_docs() -> Schema:
    """The native chat route."""
    return {
        "summary": ChatRequest.model_name,
        "description": (ChatRequest.__doc__ or "").partition(":")[2].strip(),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _inlined(body_schema(ChatRequest)),
                    "example": ChatRequest.example,
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer; with `stream` OpenAI-shaped events that end with `data: [DONE]`.",
                "content": {
                    "application/json": {
                        "schema": object_of(
                            {
                                "success": {"type": "boolean"},
                                "id": MAYBE_TEXT,
                                "model": TEXT,
                                "message": {"type": "object"},
                                "choices": {"type": "array", "items": {"type": "object"}},
                                "usage": {"type": "object"},
                                "credits_used": AMOUNT,
                                "credits_balance": AMOUNT,
                                "finish_reason": MAYBE_TEXT,
                            }
                        )
                    },
                    "text/event-stream": {},
                },
            },
            "502": _answer("The model failed after it was asked; nothing was charged.", ERROR),
        },
    }


def first_word(service: type[Generation]) -> str:
    """The status word of a create answer."""
    return "PENDING" if service.words.name.startswith("UPPER") else service.words.spell("queued")


@_later
def answer_docs(request: type[BaseModel], description: str, fields: Sequence[str], summary: str) -> Schema:
    """A route that takes a request of the catalog and answers with these fields."""
    body: Schema = {"schema": _inlined(body_schema(request)), "example": getattr(request, "example", {})}
    answer = object_of({field: {} for field in fields})
    return {
        "summary": summary,
        "description": description,
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"200": _answer(description, answer)},
    }


@_later
def told_docs(summary: str, told: Schema, request: type[BaseModel] | None = None, example: object = None) -> Schema:
    """A route that answers with an object of these properties, and takes a body where a model of it is given."""
    docs: Schema = {"summary": summary, "responses": {"200": _answer(f"{summary}.", object_of(told))}}
    if request is not None:
        body: Schema = {"schema": _inlined(body_schema(request)), "example": example}
        docs["requestBody"] = {"required": True, "content": {"application/json": body}}
    return docs


def _created(service: type[Generation]) -> Schema:
    return object_of(
        {
            "success": {"type": "boolean"},
            "job_id": TEXT,
            "id": TEXT,
            "task_id": MAYBE_TEXT,
            "service": TEXT,
            "status": {"type": "string", "enum": [first_word(service)]},
            "state": STATE,
            "message": TEXT,
            "credits_used": AMOUNT,
            "credits_balance": AMOUNT,
            "status_url": TEXT,
            "sandbox": {"type": "boolean"},
            "warnings": {"type": "array", "items": TEXT},
        }
    )


def _settled(service: type[Generation]) -> Schema:
    """A create answer that waited for the job's end."""
    status, created = _status((service,)), _created(service)
    extra = ("credits_balance", "status_url", "warnings")
    return {
        **status,
        "properties": status["properties"] | {name: created["properties"][name] for name in extra},
        "required": [*status["required"], *extra],
    }


def _quote() -> Schema:
    return object_of(
        {
            "success": {"type": "boolean"},
            "dry_run": {"const": True},
            "service": TEXT,
            "credits": AMOUNT,
            "credits_used": AMOUNT,
            "credits_balance": AMOUNT,
            "affordable": {"type": "boolean"},
            "message": TEXT,
            "warnings": {"type": "array", "items": TEXT},
        }
    )


def object_of(properties: Schema) -> Schema:
    """An object that has all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
