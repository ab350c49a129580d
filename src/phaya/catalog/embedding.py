"""Embeddings: texts as vectors. Priced by tokens like a chat: the ceiling is held and settled to the usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from phaya.catalog.acceptance import faults
from phaya.catalog.service import Rates
from phaya.credits import Credits, credits, per_million
from phaya.errors import Fault, Invalid, NotFound

QWEN, SMALL = "qwen/qwen3-embedding-8b", "openai/text-embedding-3-small"
MOST_INPUTS = 2048
PER_INPUT = 16
"""Tokens that a model may add to an input."""

Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class ModelNotFound(NotFound):
    """There is no such model, or it does other work."""

    code = "model_not_found"


class EmbeddingRequest(BaseModel):
    """Embeddings: texts as vectors, for search and comparison."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    path: ClassVar[str] = "embedding"
    name: ClassVar[str] = "Embeddings"
    # Credits for a million tokens of the inputs.
    rates: ClassVar[Rates] = {"input": credits("2.80")}
    minutes: ClassVar[float] = 12
    dimensions_of: ClassVar[Mapping[str, int]] = {QWEN: 4096, SMALL: 1536}
    aliases: ClassVar[Mapping[str, str]] = {
        **{model.rpartition("/")[2]: model for model in (QWEN, SMALL)},
        "phaya-embedding": QWEN,
    }
    example: ClassVar[dict[str, JsonValue]] = {"input": ["A boat on the river", "เรือในแม่น้ำ"], "dimensions": 256}

    input: Annotated[
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=MOST_INPUTS)],
        Field(description="A text, or a list of texts; for the OpenAI model also lists of token numbers."),
    ]
    model: Annotated[
        str, Field(description="qwen/qwen3-embedding-8b (4096 dimensions) or openai/text-embedding-3-small (1536).")
    ] = QWEN
    dimensions: Annotated[int | None, Field(ge=1, description="Numbers in each vector; by default the most.")] = None
    encoding_format: Annotated[
        Literal["float", "base64"], Field(description="Numbers, or base64 of little-endian 32-bit floats.")
    ] = "float"
    user: Annotated[str | None, Field(max_length=256, description="A pseudonym of your user.")] = None

    @model_validator(mode="after")
    def _fits(self) -> EmbeddingRequest:
        most = self.dimensions_of[self.model]
        if self.dimensions is not None and self.dimensions > most:
            raise ValueError(f"dimensions must be at most {most} for {self.model}")
        if self.model != SMALL and not isinstance(self.texts()[0], str):
            # Token numbers mean nothing to another model's tokenizer.
            raise ValueError(f"input takes texts for {self.model}; token numbers are OpenAI's")
        return self

    def texts(self) -> list[str] | list[list[int]]:
        """The inputs, one by one."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [cast("list[int]", self.input)]
        return cast("list[str]", self.input)

    def ceiling(self, rate: Credits) -> Credits:
        """What the call can cost at the most, at so many credits a million: a token is at least one byte."""
        sizes = (len(one.encode()) if isinstance(one, str) else len(one) for one in self.texts())
        return per_million(rate, sum(size + PER_INPUT for size in sizes))

    def body(self) -> dict[str, JsonValue]:
        """OpenRouter's body."""
        sent: dict[str, JsonValue] = {
            "model": self.model,
            "input": cast("JsonValue", self.texts()),
            "encoding_format": self.encoding_format,
        }
        sent |= {name: value for name in ("dimensions", "user") if (value := getattr(self, name)) is not None}
        return sent


def read_embedding(body: object) -> tuple[EmbeddingRequest, list[str]]:
    """Reads an embedding's body; answers the request and warnings. Raises Invalid or ModelNotFound.

    Vectors of another model than the one asked for would be of no use, so no model stands in for another.
    """
    if not isinstance(body, Mapping):
        raise Invalid(Fault("body", "must be a JSON object", "model_type"))
    given = {str(name): value for name, value in cast("Mapping[str, Any]", body).items() if value is not None}
    model = given.get("model", QWEN)
    if isinstance(model, str):
        model = given["model"] = EmbeddingRequest.aliases.get(model.lower(), model.lower())
        if model not in EmbeddingRequest.dimensions_of:
            known = ", ".join(EmbeddingRequest.dimensions_of)
            raise ModelNotFound(f"model: there is no embedding model {model[:80]!r}; there are {known}.")
    warnings = [
        f"Unknown field '{name}' was ignored."
        for name in given
        if name not in EmbeddingRequest.model_fields and name != "dry_run"
    ]
    if given.get("text") is not None and "input" not in given:
        given["input"] = given["text"]
        warnings = [warning for warning in warnings if "'text'" not in warning] + ["'text' was read as 'input'."]
    for number, one in enumerate(given["input"] if isinstance(given.get("input"), list) else [given.get("input")]):
        if isinstance(one, str) and not one.strip():
            raise Invalid(Fault(f"input.{number}", "must not be blank"))
    try:
        return EmbeddingRequest.model_validate(given), warnings
    except ValidationError as error:
        if any(detail["loc"][:1] == ("input",) and detail["type"] != "missing" for detail in error.errors()):
            message = f"must be a text or a list of 1 to {MOST_INPUTS} texts"
            raise Invalid(Fault("input", message, "value_error")) from None
        raise Invalid(*faults(error)) from None
