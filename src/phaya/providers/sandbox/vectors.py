"""Embeddings: vectors in which texts that share words and parts of words lie close together.

Every word and every run of three signs is thrown onto one place of the vector by its hash, up or down.
No model knows that a boat is like a ship, but a search in a demonstration finds what it should.
"""

from __future__ import annotations

import base64
import math
import zlib
from array import array
from collections.abc import Iterator
from sys import byteorder


def embedding(text: str, dimensions: int) -> list[float]:
    """The text's vector, of length one."""
    vector = [0.0] * dimensions
    for feature, weight in _features(text.casefold()):
        place = zlib.crc32(feature.encode(errors="surrogatepass"))
        # crc32 is linear, so its bits are stirred before some of them choose the sign
        stirred = (place * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF
        vector[stirred % dimensions] += weight if stirred & 0x80000000 else -weight
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0:
        vector[0], length = 1.0, 1.0
    return list(array("f", (value / length for value in vector)))


def packed(vector: list[float]) -> str:
    """The vector as base64 of little-endian 32-bit floats, as OpenAI's clients ask for it."""
    numbers = array("f", vector)
    if byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def _features(text: str) -> Iterator[tuple[str, float]]:
    for word in text.split():
        yield f"w {word}", 1.0
        for start in range(len(word) - 2):
            yield f"t {word[start : start + 3]}", 0.4
