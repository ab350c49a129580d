"""OpenRouter's API: chat completions, embeddings, models, generations, key. Every key is good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phaya.providers.sandbox import tokens
from phaya.providers.sandbox.completions import RATE_LIMIT, Completion, stops_of
from phaya.providers.sandbox.endings import Ending, ending_of, unmarked
from phaya.providers.sandbox.generations import PROVIDER, Generations
from phaya.providers.sandbox.languages import DIMENSIONS, LANGUAGES, Language
from phaya.providers.sandbox.records import Records, first_time
from phaya.providers.sandbox.replies import Message, last_words, prompt_tokens, reply, text_of
from phaya.providers.sandbox.speech import EventStream
from phaya.providers.sandbox.vectors import embedding, packed
from phaya.providers.sandbox.wire import BadBody, NoAnswer, bearer, json_answer, json_body, number

Door = Callable[[Request], Awaitable[Response]]

DEFAULT = "google/gemini-2.5-flash"
DEFAULT_EMBEDDING = "qwen/qwen3-embedding-8b"
ROLES = ("system", "developer", "user", "assistant", "tool")
MOST_INPUTS = 2048


class Problem(Exception):
    """A request that is answered by an error envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        metadata: Mapping[str, object] | None = None,
        headers: dict[str, str] | None = None,
        availability: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.error: dict[str, object] = {"code": status, "message": message, "metadata": metadata}
        if availability is not None:
            self.error["availability"] = availability

    def answer(self) -> Response:
        """The envelope, with the status that it names."""
        return json_answer({"error": self.error, "user_id": "user_sandbox"}, self.status, self.headers)


class OpenRouter:
    """The doors of OpenRouter."""

    def __init__(self, records: Records, generations: Generations, pace: float) -> None:
        self._records = records
        self._generations = generations
        self._pace = pace

    def routes(self) -> list[Route]:
        """Paths as on openrouter.ai; the list of models needs no key."""
        return [
            Route("/api/v1/chat/completions", _open(self.complete), methods=["POST"]),
            Route("/api/v1/embeddings", _open(self.embed), methods=["POST"]),
            Route("/api/v1/models", self.models, methods=["GET"]),
            Route("/api/v1/embeddings/models", self.embedding_models, methods=["GET"]),
            Route("/api/v1/model/{author}/{slug}", self.model, methods=["GET"]),
            Route("/api/v1/generation", _open(self.generation), methods=["GET"]),
            Route("/api/v1/key", _open(self.key), methods=["GET"]),
            Route("/api/v1/credits", _open(self.credits), methods=["GET"]),
        ]

    async def complete(self, request: Request) -> Response:
        """`POST /api/v1/chat/completions`, plain or streamed."""
        body = await json_body(request)
        messages = _messages(body)
        language = _language(body, DEFAULT, "text")
        count = prompt_tokens(messages, body.get("tools"))
        if count > language.window:
            raise Problem(
                400,
                f"This model's maximum context length is {language.window} tokens. You requested {count} tokens.",
                {"error_type": "context_length_exceeded"},
            )
        most = _most(body, language)
        prompt = last_words(messages)
        ending = await self._ending(prompt)
        streamed = body.get("stream") is True
        generation = self._generations.begin(language, prompt, count, streamed=streamed)
        completion = Completion(
            self._generations,
            generation,
            reply(body, messages),
            ending,
            most=most,
            stops=stops_of(body),
            pace=self._pace,
        )
        if streamed:
            return EventStream(completion, {"X-Generation-Id": generation.id})
        return await completion.whole()

    async def embed(self, request: Request) -> Response:
        """`POST /api/v1/embeddings`: one vector for each input, in their order."""
        body = await json_body(request)
        language = _language(body, DEFAULT_EMBEDDING, "embeddings")
        inputs = _inputs(body.get("input"))
        width = body.get("dimensions")
        longest = DIMENSIONS[language.id]
        if width is not None and (isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= longest):
            raise Problem(400, f"dimensions must be between 1 and {longest}", {"error_type": "invalid_request"})
        form = body.get("encoding_format", "float")
        if form not in ("float", "base64"):
            raise Problem(400, "encoding_format must be float or base64", {"error_type": "invalid_request"})
        prompt = "\n".join(inputs)
        ending = await self._ending(prompt)
        generation = self._generations.begin(language, prompt, sum(max(1, tokens.count(text)) for text in inputs))
        generation.finish_reason = "stop"
        await self._generations.keep(generation)
        if "drop" in ending:
            return NoAnswer()
        vectors = [embedding(unmarked(text), width or longest) for text in inputs]
        data = [
            {"object": "embedding", "index": index, "embedding": packed(vector) if form == "base64" else vector}
            for index, vector in enumerate(vectors)
        ]
        usage = {
            "prompt_tokens": generation.prompt_tokens,
            "total_tokens": generation.prompt_tokens,
            "cost": number(generation.cost),
        }
        answer = {"id": generation.id, "object": "list", "model": language.id, "data": data, "usage": usage}
        return json_answer(answer, headers={"X-Generation-Id": generation.id})

    async def models(self, request: Request) -> Response:
        """`GET /api/v1/models`: those that answer in text, unless `output_modalities` says otherwise."""
        return _listing(request.query_params.get("output_modalities", "text").split(","))

    async def embedding_models(self, request: Request) -> Response:
        """`GET /api/v1/embeddings/models`."""
        return _listing(["embeddings"])

    async def model(self, request: Request) -> Response:
        """`GET /api/v1/model/{author}/{slug}`."""
        name = f"{request.path_params['author']}/{request.path_params['slug']}"
        if name not in LANGUAGES:
            return Problem(404, f"Model {name} not found", {"error_type": "not_found"}).answer()
        return json_answer({"data": LANGUAGES[name].listing()})

    async def generation(self, request: Request) -> Response:
        """`GET /api/v1/generation?id=`."""
        name = request.query_params.get("id", "")
        data = await self._generations.find(name)
        if data is None:
            raise Problem(404, f"Generation {name} not found", {"error_type": "not_found"})
        return json_answer({"data": data})

    async def key(self, request: Request) -> Response:
        """`GET /api/v1/key`: what the key may spend, and has spent."""
        spent = number(await self._generations.spent())
        data: dict[str, object] = {
            "label": "sk-or-v1-sandbox",
            "limit": None,
            "limit_remaining": None,
            "limit_reset": None,
            "usage": spent,
            "usage_daily": spent,
            "usage_weekly": spent,
            "usage_monthly": spent,
            "byok_usage": 0,
            "include_byok_in_limit": False,
            "is_free_tier": False,
            "is_management_key": False,
            "expires_at": None,
        }
        return json_answer({"data": data})

    async def credits(self, request: Request) -> Response:
        """`GET /api/v1/credits`: for management keys only, which the sandbox has none of."""
        raise Problem(403, "Only management keys can read credits", {"error_type": "permission_denied"})

    async def _ending(self, prompt: str) -> Ending:
        """The ending that the prompt chose. Raises Problem where it is one that comes before the first token."""
        ending = ending_of(prompt)
        if "429" in ending and await first_time(self._records, "openrouter", prompt):
            raise Problem(429, "Rate limit exceeded", {**RATE_LIMIT, "retry_after_seconds": 1}, {"Retry-After": "1"})
        if "reject" in ending:
            flagged = {"reasons": ["sandbox"], "flagged_input": prompt[:100], "provider_name": PROVIDER}
            raise Problem(
                403, "Your input was flagged by moderation", {"error_type": "content_policy_violation", **flagged}
            )
        if "fail" in ending or "refuse" in ending:
            raw = '{"error":{"message":"The upstream model is overloaded","type":"overloaded_error"}}'
            told = {"error_type": "provider_unavailable", "raw": raw, "provider_name": PROVIDER, "is_byok": False}
            raise Problem(502, "Provider returned error", told)
        return ending


def _open(door: Door) -> Door:
    async def behind(request: Request) -> Response:
        try:
            if bearer(request) is None:
                raise Problem(401, "No auth credentials found", {"error_type": "authentication"})
            return await door(request)
        except BadBody as error:
            return Problem(400, str(error), {"error_type": "invalid_request"}).answer()
        except Problem as problem:
            return problem.answer()

    return behind


def _listing(outputs: list[str]) -> Response:
    data = [row.listing() for row in LANGUAGES.values() if row.output in outputs or "all" in outputs]
    return json_answer({"data": data, "total_count": len(data), "links": {"next": None}})


def _language(body: Mapping[str, JsonValue], default: str, output: str) -> Language:
    """The first known one of `model` and its fallbacks in `models`; suffixes such as `:online` change nothing."""
    fallbacks = body.get("models")
    named = [body.get("model"), *(fallbacks if isinstance(fallbacks, list) else [])]
    asked = [name for name in named if name is not None] or [default]
    for name in asked:
        found = LANGUAGES.get(name.partition(":")[0]) if isinstance(name, str) else None
        if found is not None and found.output == output:
            return found
    raise Problem(
        400,
        f"{asked[0]} is not a valid model ID",
        {"error_type": "invalid_request"},
        availability={"code": "model_not_found", "retryable": False, "requested_models": asked},
    )


def _messages(body: Mapping[str, JsonValue]) -> list[Message]:
    given = body.get("messages")
    if given is None and isinstance(body.get("prompt"), str):
        given = [{"role": "user", "content": body["prompt"]}]
    if not isinstance(given, list) or not given:
        raise Problem(400, 'Input required: specify "prompt" or "messages"', {"error_type": "invalid_request"})
    messages: list[Message] = []
    for place, message in enumerate(given):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Problem(400, f"messages[{place}] has no valid role", {"error_type": "invalid_request"})
        messages.append(message)
    return messages


def _most(body: Mapping[str, JsonValue], language: Language) -> int:
    """How many tokens the answer may have."""
    bounds = [language.longest]
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Problem(400, f"{name} must be a positive integer", {"error_type": "invalid_request"})
        bounds.append(value)
    return min(bounds)


def _inputs(given: JsonValue) -> list[str]:
    """Every input as text: a text, a list of texts, of token lists, or of objects with `content` parts."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and len(given) <= MOST_INPUTS:
        if all(isinstance(item, int) and not isinstance(item, bool) for item in given):
            return [_token_text(given)]
        if all(isinstance(item, str) for item in given):
            return cast("list[str]", given)
        if all(isinstance(item, list) and item for item in given):
            return [_token_text(item) for item in given if isinstance(item, list)]
        if all(isinstance(item, dict) for item in given):
            return [text_of(item) for item in given if isinstance(item, dict)]
    raise Problem(
        400, f"input must be a text or a list of 1 to {MOST_INPUTS} inputs", {"error_type": "invalid_request"}
    )


def _token_text(numbers: list[JsonValue]) -> str:
    return " ".join(str(part) for part in numbers)
