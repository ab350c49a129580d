"""What can go wrong between a client and a Phaya.

ClientError
├── ApiError: the server refused           ├── Unreachable: nobody answers
│   ├── Unauthorized 401                   ├── JobFailed: a job that was waited for ended without a result
│   ├── NotEnoughCredits 402               ├── BadSignature: a webhook that is not from this Phaya
│   ├── Forbidden 403                      └── Silent: a stream that says nothing
│   ├── NotFound 404
│   ├── Conflict 409
│   ├── TooLarge 413
│   ├── Invalid 422
│   ├── TooManyRequests 429
│   └── Unavailable 502, 503, 504
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from phaya.client.amounts import read


class ClientError(Exception):
    """Whatever a client of Phaya may raise."""


class ApiError(ClientError):
    """The API refused; `status` and `code` say how, the text is its message. What is charged stands in `jobs`."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """The key is missing or not valid."""


class NotEnoughCredits(ApiError):
    """The balance or the key's cap does not cover the price; `needed` and `available` are credits."""

    needed: Decimal | None = None
    available: Decimal | None = None


class Forbidden(ApiError):
    """The key's scopes do not allow this."""


class NotFound(ApiError):
    """There is no such thing of this account."""


class Conflict(ApiError):
    """The request contradicts one that was accepted before."""


class TooLarge(ApiError):
    """The body or file is larger than is taken."""


class Invalid(ApiError):
    """A field is wrong; the text names it and what is allowed. Nothing was charged."""


class TooManyRequests(ApiError):
    """The key used up its requests for this minute; `retry_after` says when there is room."""


class Unavailable(ApiError):
    """The service, or something that it needs, is down for now."""


KINDS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    402: NotEnoughCredits,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


class Unreachable(ClientError):
    """No Phaya answers at the address. `sent`: the request may have arrived, and its answer was lost."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Silent(ClientError):
    """A stream of events that says nothing, not even that it is alive."""


class BadSignature(ClientError):
    """The webhook is not from this Phaya, was changed on the way, or is not of now."""


class JobFailed(ClientError):
    """The job ended without a result, and its credits are back; `status` is the whole answer."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        super().__init__(str(status.get("error") or status.get("message") or "The job failed."))
        self.status = status


def refused(status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
    """The error that an answer stands for."""
    try:
        told: dict[str, Any] = read(content)
    except ValueError:
        told = {"message": content[:200].decode(errors="replace")}
    after = headers.get("Retry-After", "")
    message = str(told.get("message") or f"the server answered {status}")
    kind = KINDS.get(status, ApiError)
    error = kind(status, str(told.get("error", "")), message, float(after) if after.isdigit() else None)
    if isinstance(error, NotEnoughCredits):
        error.needed, error.available = told.get("needed"), told.get("available")
    return error
