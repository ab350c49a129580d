"""Keys of stored files, what they are served as, and the links under which clients fetch them.

A link is one of three kinds: `served` by Phaya, `signed` by the bucket for a while, or `public` at an address that
the operator has given the files. All three are known again, whichever is being made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from phaya.clock import DAY, MINUTE, Clock, SystemClock

Kind = Literal["served", "signed", "public"]

# What a browser may show under our name. A file with any other extension is offered as a download only:
# a page or an SVG among the results would run its scripts as ours.
CONTENT_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "m4v": "video/x-m4v",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "avi": "video/x-msvideo",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
}
UNKNOWN_TYPE = "application/octet-stream"

LONGEST_SIGNED = 7 * DAY
"""S3 signs for no longer."""

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
_KEY = re.compile(rf"(?=.{{1,512}}$){_PART}(?:/{_PART})*")


def key_for(now: int, job_id: str, name: str, extension: str) -> str:
    """The key of a job's file, by the month of `now` (milliseconds since 1970). Raises ValueError."""
    month = datetime.fromtimestamp(now / 1000, UTC)
    return checked(f"{month:%Y}/{month:%m}/{job_id}/{name}.{extension}")


def is_key(key: str) -> bool:
    """Whether this can be a key: no empty, hidden or climbing parts, plain letters."""
    return _KEY.fullmatch(key) is not None


def checked(key: str) -> str:
    """The key, if it can be one. Raises ValueError."""
    if not is_key(key):
        raise ValueError(f"{key!r} is no key of a stored file")
    return key


def content_type_of(key: str) -> str:
    """What a file is served as, by its extension alone."""
    return CONTENT_TYPES.get(key.rpartition(".")[2].lower(), UNKNOWN_TYPE)


class Links:
    """Makes links, and tells which file a link is of."""

    def __init__(
        self,
        served: Callable[[], str] | str,
        kind: Kind = "served",
        *,
        public: str | None = None,
        sign: Callable[[str, timedelta], str] | None = None,
        days: float = 14,
        clock: Clock | None = None,
    ) -> None:
        """`served` is Phaya's own address, which may be known only later, `public` that of the files, `sign` makes
        a link of a key for a while. Files are kept for `days`."""
        self._served = served
        self._kind = kind
        self._public = public and public.rstrip("/") + "/"
        self._sign = sign
        self._signed: str | None = None
        self._kept = int(days * DAY)
        self._clock = clock or SystemClock()

    def link(self, key: str, since: int | None = None) -> str:
        """The absolute address of a file that is kept since a moment (now, if none is given).

        A signed one is good until the file's time is over, but at most for seven days from now.
        """
        checked(key)
        if self._kind == "signed":
            assert self._sign is not None
            now = self._clock.now()
            left = (now if since is None else since) + self._kept - now
            return self._sign(key, timedelta(milliseconds=max(MINUTE, min(left, LONGEST_SIGNED))))
        if self._kind == "public":
            assert self._public is not None
            return self._public + key
        return self._prefix() + key

    def learn(self) -> None:
        """Finds out how signed links begin, so that they are known again. Raises whatever signing raises."""
        if self._sign is not None:
            self._signed = self._sign("a", timedelta(minutes=1)).partition("?")[0][:-1]

    def key_of(self, url: str) -> str | None:
        """The key of a file that `link` gave the address of, in any of the three kinds; None for others.

        Whether a signed link is still good is not asked: like a served one, it is as secret as its key.
        """
        for prefix in (self._prefix(), self._public):
            if prefix and url.startswith(prefix) and is_key(key := url[len(prefix) :]):
                return key
        if self._signed and url.startswith(self._signed):
            key, mark, _ = url[len(self._signed) :].partition("?")
            if mark and is_key(key):
                return key
        return None

    def _prefix(self) -> str:
        served = self._served if isinstance(self._served, str) else self._served()
        return served.rstrip("/") + "/media/"
