"""The language models that the sandbox knows, with OpenRouter's prices in USD per token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

RELEASED = 1_767_225_600


@dataclass(frozen=True, slots=True)
class Language:
    """One model: prices are USD per token, `window` and `longest` are tokens."""

    id: str
    name: str
    prompt: Decimal
    completion: Decimal
    window: int
    longest: int
    inputs: tuple[str, ...] = ("text",)
    output: Literal["text", "embeddings"] = "text"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """What a generation costs, exactly."""
        return self.prompt * prompt_tokens + self.completion * completion_tokens

    def listing(self) -> dict[str, object]:
        """The model as `GET /models` shows it: prices are decimal texts."""
        return {
            "id": self.id,
            "canonical_slug": self.id,
            "name": self.name,
            "created": RELEASED,
            "description": f"{self.name}, played by Phaya's sandbox.",
            "context_length": self.window,
            "architecture": {
                "modality": f"{'+'.join(self.inputs)}->{self.output}",
                "input_modalities": list(self.inputs),
                "output_modalities": [self.output],
                "tokenizer": "Other",
                "instruct_type": None,
            },
            "pricing": {
                "prompt": format(self.prompt, "f"),
                "completion": format(self.completion, "f"),
                "request": "0",
                "image": "0",
            },
            "top_provider": {
                "context_length": self.window,
                "max_completion_tokens": self.longest or None,
                "is_moderated": False,
            },
            "per_request_limits": None,
            "supported_parameters": [] if self.output == "embeddings" else list(PARAMETERS),
            "default_parameters": None,
            "supported_voices": None,
            "links": {"details": f"/api/v1/models/{self.id}/endpoints"},
            "expiration_date": None,
        }


PARAMETERS = (
    "max_completion_tokens",
    "max_tokens",
    "response_format",
    "seed",
    "stop",
    "structured_outputs",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
)
SEEING = ("text", "image")
_PER_MILLION = Decimal(1_000_000)


def _row(
    model: str, name: str, prompt: str, completion: str, window: int, longest: int, inputs: tuple[str, ...] = SEEING
) -> Language:
    return Language(
        model, name, Decimal(prompt) / _PER_MILLION, Decimal(completion) / _PER_MILLION, window, longest, inputs
    )


_ROWS = (
    _row("google/gemini-2.5-flash", "Gemini 2.5 Flash", "0.3", "2.5", 1_048_576, 65_535),
    _row("google/gemini-2.5-flash-lite", "Gemini 2.5 Flash Lite", "0.1", "0.4", 1_048_576, 65_535),
    _row("google/gemini-2.5-pro", "Gemini 2.5 Pro", "1.25", "10", 1_048_576, 65_536),
    _row("openai/gpt-4o-mini", "GPT-4o mini", "0.15", "0.6", 128_000, 16_384),
    _row("openai/gpt-4o", "GPT-4o", "2.5", "10", 128_000, 16_384),
    _row("anthropic/claude-sonnet-4.5", "Claude Sonnet 4.5", "3", "15", 1_000_000, 64_000),
    _row("meta-llama/llama-3.3-70b-instruct", "Llama 3.3 70B", "0.13", "0.38", 131_072, 16_384, ("text",)),
    _row("deepseek/deepseek-chat-v3.1", "DeepSeek V3.1", "0.2", "0.8", 163_840, 32_768, ("text",)),
    Language(
        "qwen/qwen3-embedding-8b",
        "Qwen3 Embedding 8B",
        Decimal("0.00000001"),
        Decimal(0),
        32_000,
        0,
        output="embeddings",
    ),
    Language(
        "openai/text-embedding-3-small",
        "Text Embedding 3 Small",
        Decimal("0.00000002"),
        Decimal(0),
        8192,
        0,
        output="embeddings",
    ),
)

LANGUAGES: Mapping[str, Language] = {row.id: row for row in _ROWS}
DIMENSIONS = {"qwen/qwen3-embedding-8b": 4096, "openai/text-embedding-3-small": 1536}
