"""Thai is written without spaces between words: here texts are cut into words, as line breaks and captions need."""

from __future__ import annotations

import re
import threading

_THAI = re.compile(r"[\u0e00-\u0e7f]+")
_loading = threading.Lock()


def cut(text: str) -> list[str]:
    """The words of a text. Spaces and punctuation stay with the word before, so that joined they are the text.

    The dictionary takes half a second to load at first: to be called in a thread.
    """
    with _loading:
        from newmm_tokenizer.tokenizer import (  # pyright: ignore[reportMissingTypeStubs]
            word_tokenize,  # pyright: ignore[reportUnknownVariableType]
        )
    pieces: list[str] = []
    for part in re.findall(r"[\u0e00-\u0e7f]+|[^\u0e00-\u0e7f\s]+|\s+", text):
        if _THAI.fullmatch(part):
            pieces.extend(str(word) for word in word_tokenize(part))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        else:
            pieces.append(part)
    words: list[str] = []
    for piece in pieces:
        # The repetition mark ๆ and closing signs begin no line.
        if words and (piece.isspace() or not any(sign.isalnum() or sign in "([{“‘" for sign in piece)):
            words[-1] += piece
        else:
            words.append(piece)
    return words
