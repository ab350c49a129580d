"""Markers: words in square brackets in a prompt, with which the person who asks chooses the ending.

Tasks (pictures, films, songs):

    [fail]      ends as failed, with KIE's failCode 500 or 501 (Suno: GENERATE_AUDIO_FAILED)
    [reject]    ends as refused for its content (failCode 400 and a policy text; Suno: SENSITIVE_WORD_ERROR)
    [refuse]    the creation itself is refused: HTTP 200, code 500 and the generic text
    [slow 20]   takes exactly 20 seconds, whatever the pace
    [lost]      never ends and never calls back
    [drop]      runs and calls back, but the connection is closed without an answer to the creation
    [429]       the first creation with this very prompt is answered by code 429, the next is accepted
    [garbage]   looks answer in turn: an HTML page with status 525, JSON that breaks off, a state that nobody
                documented, and from then on a success without any usable address
    [twice]     every callback is sent twice at once

Chat and embeddings (the marker stands in the last user message, or in the input):

    [fail]      502 with the upstream's text in `metadata.raw`
    [reject]    403, stopped by moderation
    [429]       the first request with this very prompt gets 429 with `Retry-After: 1`
    [slow 20]   20 seconds pass before the first token; a stream carries keep-alive comments meanwhile
    [drop]      a stream breaks off in the middle without `[DONE]`; a plain request is closed without an answer
    [midfail]   an error event in the middle of a stream; a plain answer is HTTP 200 with an error inside
    [garbage]   HTTP 200 whose `choices` is null
    [forever]   an answer of thousands of tokens, ten a second

Speech (the marker stands in the text):

    [fail]      500 INTERNAL, always
    [reject]    HTTP 200 without candidates, `promptFeedback.blockReason` PROHIBITED_CONTENT
    [refuse]    400 INVALID_ARGUMENT
    [429]       the first request with this very text gets 429 RESOURCE_EXHAUSTED with a retry delay of a second
    [slow 20]   the answer takes 20 seconds
    [drop]      the first request with this very text is closed without an answer
    [midfail]   the first request with this very text ends with finishReason OTHER, without sound, and is billed
    [garbage]   answers in turn: no candidates, STOP without parts, a web page

Markers may be combined, and are left out of what is drawn, sung and said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(
    r"\[(?:(fail|reject|refuse|lost|drop|429|garbage|twice|midfail|forever)|slow\s+(\d{1,6}(?:\.\d{1,3})?))\]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Ending:
    """What the markers of one prompt ask for. `slow` is in seconds."""

    words: frozenset[str]
    slow: float | None = None

    def __contains__(self, word: str) -> bool:
        return word in self.words


def ending_of(prompt: str) -> Ending:
    """The ending that a prompt's markers choose; without markers, the good one."""
    words: set[str] = set()
    slow: float | None = None
    for word, seconds in _MARK.findall(prompt):
        if word:
            words.add(str(word).lower())
        else:
            slow = float(seconds)
    return Ending(frozenset(words), slow)


def unmarked(prompt: str) -> str:
    """The prompt without its markers, for everything that shows it; a prompt of markers alone stays as it is."""
    return re.sub(r" {2,}", " ", _MARK.sub("", prompt)).strip() or prompt
