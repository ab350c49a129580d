"""Chat. A chat is priced by tokens: its ceiling is held before the call and settled to the provider's usage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from phaya.calls import Chat
from phaya.catalog.acceptance import faults
from phaya.catalog.service import Rates
from phaya.credits import Credits, credits, per_million
from phaya.errors import Fault, Invalid

PASSED_ON = frozenset(
    {
        *("top_p", "top_k", "min_p", "top_a", "frequency_penalty", "presence_penalty", "repetition_penalty", "seed"),
        *("stop", "logit_bias", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls"),
        *("response_format", "reasoning", "reasoning_effort", "user"),
    }
)
"""OpenRouter's fields that go on as they stand. Those that change who answers at what price do not."""

# Upper bounds in tokens. A token is at least one byte of text; what is no text has a bound of its own.
PER_MESSAGE, PER_IMAGE, PER_SEARCH, ALWAYS = 16, 6_000, 24_000, 64


class Message(BaseModel):
    """One turn of a conversation, in OpenAI's shape; further fields (tool calls, names) go on as they stand."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, JsonValue]] | None = None


class ChatRequest(BaseModel):
    """Phaya-GPT: a conversation with a language model, with tools, pictures and structured answers.

    Beside these fields OpenRouter's sampling, tool and format fields are passed on.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    path: ClassVar[str] = "phaya-gpt"
    model_name: ClassVar[str] = "Phaya-GPT"
    # Credits for a million tokens, of the prompt and of the answer.
    rates: ClassVar[Rates] = {"input": credits("10.50"), "output": credits("87.50")}
    minutes: ClassVar[float] = 15
    example: ClassVar[dict[str, JsonValue]] = {"messages": [{"role": "user", "content": "Say hello in Thai."}]}

    messages: Annotated[list[Message], Field(min_length=1, max_length=2000, description="The talk so far.")]
    model: Annotated[str | None, Field(description="Phaya-GPT; others are answered by it with a warning.")] = None
    temperature: Annotated[float, Field(ge=0, le=2, description="How freely words are chosen.")] = 0.7
    max_tokens: Annotated[int | None, Field(ge=1, description="Tokens that the answer may have.")] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, description="The newer name of max_tokens.")] = None
    stream: Annotated[bool, Field(description="Answer word by word, as server-sent events.")] = False
    web_search: Annotated[bool, Field(description="Let the model search the web.")] = False

    def bound(self, most: int) -> int:
        """Tokens that the answer may have; `most` is the operator's bound."""
        return min(self.max_completion_tokens or self.max_tokens or most, most)

    def ceiling(self, most: int, rates: Rates | None = None) -> Credits:
        """What the call can cost at the most, at these rates: a byte of text is at least one token's worth."""
        size = ALWAYS + len(orjson.dumps([self.extra("tools"), self.extra("response_format")]))
        for message in self.messages:
            size += PER_MESSAGE
            sent = message.model_dump(exclude_none=True)
            if not isinstance(message.content, list):
                size += len(orjson.dumps(sent))
                continue
            for part in message.content:
                size += PER_IMAGE if part.get("type") == "image_url" else len(orjson.dumps(part))
            size += len(orjson.dumps({name: value for name, value in sent.items() if name != "content"}))
        size += PER_SEARCH if self.web_search else 0
        return cost(rates or self.rates, size, self.bound(most))

    def call(self, model: str, most: int) -> Chat:
        """OpenRouter's body. The answer's length is always bounded, or its own default would be reserved."""
        body: dict[str, JsonValue] = {
            "model": model,
            "messages": [message.model_dump(mode="json", exclude_unset=True) for message in self.messages],
            "temperature": self.temperature,
            "max_tokens": self.bound(most),
        }
        extra = self.model_extra or {}
        body |= {name: extra[name] for name in sorted(PASSED_ON & extra.keys()) if extra[name] is not None}
        if self.stream:
            body["stream"] = True
        if self.web_search:
            body["plugins"] = [{"id": "web"}]
        return Chat(body)

    def usage_apart(self) -> bool:
        """Whether the caller's client expects the usage in an event without choices."""
        options = self.extra("stream_options")
        return isinstance(options, dict) and cast("dict[str, object]", options).get("include_usage") is True

    def extra(self, name: str) -> Any:
        """A field that is only passed on."""
        return (self.model_extra or {}).get(name)


KNOWN = frozenset({*ChatRequest.model_fields, *PASSED_ON, "stream_options", "dry_run"})
"""Every field of a body that means something."""


def read_chat(body: object) -> tuple[ChatRequest, list[str]]:
    """Reads a chat's body; answers the request and warnings. Raises Invalid."""
    if not isinstance(body, Mapping):
        raise Invalid(Fault("body", "must be a JSON object", "model_type"))
    given = {str(name): value for name, value in cast("Mapping[str, Any]", body).items() if value is not None}
    try:
        request = ChatRequest.model_validate(given)
    except ValidationError as error:
        raise Invalid(*faults(error)) from None
    for number, message in enumerate(request.messages):
        for part in message.content if isinstance(message.content, list) else []:
            if part.get("type") not in ("text", "image_url"):
                kind = str(part.get("type"))[:40]
                raise Invalid(Fault(f"messages.{number}.content", f"takes parts text and image_url, not {kind!r}"))
    warnings = [f"Unknown field '{name}' was ignored." for name in given if name not in KNOWN]
    if request.model and request.model.lower() not in ("phaya-gpt", "phaya-gpt/phaya-gpt"):
        warnings.append(f"Model '{request.model[:80]}' is not offered; Phaya-GPT answered.")
    return request, warnings


def cost(rates: Rates, prompt: int, completion: int) -> Credits:
    """The exact price of so many tokens."""
    return per_million(rates["input"], prompt) + per_million(rates["output"], completion)


def guess_tokens(size: int) -> int:
    """How many tokens so many bytes of text are, where the provider did not tell: a usual tokenizer needs one
    for about four bytes."""
    return max(1, math.ceil(size / 4))
