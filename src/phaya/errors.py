"""What a caller can do wrong, or find closed. Each error knows its HTTP status, its short code and what
to do about it; the doors (native, OpenAI-style, command line) only choose how to print it.

    PhayaError
    ├── Unauthorized 401       ├── Conflict 409   ├── TooManyRequests 429
    ├── NotEnoughCredits 402   ├── TooLarge 413   ├── Closed 503
    ├── Forbidden 403          ├── Invalid 422    ├── DatabaseDown 503
    ├── NotFound 404           ├── StorageDown 503
    ├── StorageFull 507        ├── Overloaded 503
    └── Parted 503
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from phaya.credits import Credits

WRONG_KEY = "This API key is not valid."
"""In the same words whatever is wrong with it."""


class PhayaError(Exception):
    """A refusal that cost nothing. `message` is one sentence for a person."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def retry_after(self) -> int | None:
        """Whole seconds after which trying again is useful, where that is known."""
        return None


class Unauthorized(PhayaError):
    """The key is missing, unknown, expired, suspended or revoked."""

    status = 401
    code = "unauthorized"


class NotEnoughCredits(PhayaError):
    """The balance, or the key's own cap, does not cover the price."""

    status = 402
    code = "insufficient_credits"

    def __init__(self, needed: Credits, available: Credits, *, cap: bool = False) -> None:
        whose = "this key's cap leaves" if cap else "the balance is"
        super().__init__(f"Not enough credits: {needed} needed, {whose} {available}.")
        self.needed = needed
        self.available = available


class Forbidden(PhayaError):
    """The key may not do this."""

    status = 403
    code = "forbidden"


class NotFound(PhayaError):
    """There is no such thing, or it is another account's."""

    status = 404
    code = "not_found"


class Conflict(PhayaError):
    """The request contradicts one that was accepted before."""

    status = 409
    code = "conflict"


class TooLarge(PhayaError):
    """The body or file is larger than is taken."""

    status = 413
    code = "too_large"


class StorageFull(PhayaError):
    """The account has as many bytes stored as it may."""

    status = 507
    code = "storage_full"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: where, and what is allowed."""

    field: str
    message: str
    type: str = "value_error"
    place: str = "body"


class Invalid(PhayaError):
    """Fields of the request are wrong; the message names each and what is allowed."""

    status = 422
    code = "invalid_request"

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults


class TooManyRequests(PhayaError):
    """The key used up its requests for this minute."""

    status = 429
    code = "rate_limited"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self._retry_after = retry_after

    @property
    def retry_after(self) -> int | None:
        """Seconds until the window has room again."""
        return self._retry_after


class DatabaseDown(PhayaError):
    """The database does not answer. Where a request was being kept at that moment, its fate is not known here."""

    status = 503
    code = "database_unavailable"

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "The database does not answer at the moment. Try again with the same Idempotency-Key, or look at your "
            "jobs first: what was accepted is there, and nothing else was charged."
        )

    @property
    def retry_after(self) -> int | None:
        """Seconds that a restart usually takes."""
        return 2


class StorageDown(PhayaError):
    """The storage of files does not answer, or not in time. Whether a file is there cannot be told."""

    status = 503
    code = "storage_unavailable"

    def __init__(self) -> None:
        super().__init__("The storage of files does not answer at the moment. Try again soon.")

    @property
    def retry_after(self) -> int | None:
        """Seconds after which a new try is sensible."""
        return 5


class Overloaded(PhayaError):
    """This process has more to do than it can do in time. Nothing was begun."""

    status = 503
    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("This server has too much to do at the moment; nothing was begun. Try again in a few seconds.")

    @property
    def retry_after(self) -> int | None:
        """Seconds after which a new try is sensible."""
        return 2


class Parted(PhayaError):
    """The process stops and cannot end the request. Where something was being kept, its fate is not known here."""

    status = 503
    code = "restarting"

    def __init__(self) -> None:
        super().__init__(
            "This server is being restarted. Try again with the same Idempotency-Key, or look at your jobs first: what "
            "was accepted is there, and nothing else was charged."
        )

    @property
    def retry_after(self) -> int | None:
        """Seconds that a restart usually takes."""
        return 5


class Closed(PhayaError):
    """The service is off, or its provider is known to be down. Nothing was charged."""

    status = 503
    code = "service_unavailable"

    def __init__(self, message: str, retry_after: int = 30) -> None:
        super().__init__(message)
        self._retry_after = retry_after

    @property
    def retry_after(self) -> int | None:
        """Seconds after which a new try is sensible."""
        return self._retry_after


class Apart(Exception):
    """What the nodes share beside the database cannot be reached: each goes by what it knows itself."""
