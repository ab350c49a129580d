"""Songs: what KIE's dedicated Suno route says of a task, and how a song looks wherever KIE shows one.

Documented at docs.kie.ai/suno-api/get-music-details. The dedicated route writes names in camelCase, the same
songs inside a jobs record are in snake_case.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import JsonValue

from phaya.calls import Finished, Look, Refused, Waiting
from phaya.providers import Unknown
from phaya.providers.refusals import AGAINST_POLICY, CONTENT, explain
from phaya.providers.transport import LONGEST_URL

# In order of how long they last. A stream's address answers 200 without a body after a few hours.
_ADDRESSES = (
    "audioUrl",
    "audio_url",
    "sourceAudioUrl",
    "source_audio_url",
    "streamAudioUrl",
    "stream_audio_url",
    "sourceStreamAudioUrl",
    "source_stream_audio_url",
)
_SHORT_LIVED = ("audiostream.", "musicfile.")


def read_songs(data: Mapping[str, JsonValue]) -> Look:
    """Where a Suno task stands. Raises Unknown for a status that KIE does not document."""
    response = data.get("response")
    tracks = response.get("sunoData") if isinstance(response, dict) else None
    match data.get("status"):
        case "PENDING":
            return Waiting(queued=True)
        case "TEXT_SUCCESS" | "FIRST_SUCCESS":
            # The first track is playable by now, but perhaps only as a stream, and two were paid for.
            return Waiting()
        case "SUCCESS":
            found = songs(tracks)
            if found is None or not found.urls:
                return Refused("The provider finished without a result.")
            return found
        case "CALLBACK_EXCEPTION":
            # KIE could not reach our callback address. That says nothing about the music.
            return (songs(tracks) if _all_durable(tracks) else None) or Waiting()
        case "SENSITIVE_WORD_ERROR":
            return Refused(AGAINST_POLICY, CONTENT)
        case "CREATE_TASK_FAILED" | "GENERATE_AUDIO_FAILED":
            told = data.get("errorMessage")
            reason, code = explain(told if isinstance(told, str) else "")
            return Refused(reason, code)
        case other:
            raise Unknown("The provider answered in words that Phaya does not know.", f"Suno's status is {other!r}")


def songs(value: JsonValue) -> Finished | None:
    """The songs of a list, track 1 first, with their titles and seconds; None where it holds none."""
    if not isinstance(value, list):
        return None
    urls: list[str] = []
    titles: list[JsonValue] = []
    durations: list[JsonValue] = []
    for song in value:
        if not isinstance(song, dict) or (url := _address(song)) is None:
            continue
        title, duration = song.get("title"), song.get("duration")
        urls.append(url)
        titles.append(title if isinstance(title, str) else None)
        durations.append(duration if isinstance(duration, int | float) and not isinstance(duration, bool) else None)
    return Finished(urls, {"titles": titles, "durations": durations}) if urls else None


def _address(song: Mapping[str, JsonValue]) -> str | None:
    """The song's longest-lived address."""
    known = [song.get(name) for name in _ADDRESSES]
    texts = [url.strip() for url in known if isinstance(url, str)]
    usable = [url for url in texts if url.startswith(("https://", "http://")) and len(url) <= LONGEST_URL]
    return next((url for url in usable if _lasts(url)), usable[0] if usable else None)


def _lasts(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return not host.startswith(_SHORT_LIVED)


def _all_durable(tracks: JsonValue) -> bool:
    """Whether every track that KIE lists has a lasting address. Placeholders of unfinished ones have none."""
    if not isinstance(tracks, list) or not tracks:
        return False
    known = [_address(track) if isinstance(track, dict) else None for track in tracks]
    return all(url is not None and _lasts(url) for url in known)
