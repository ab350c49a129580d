"""How deep a body may be, to the level, and which character it may not hold."""

from __future__ import annotations

import orjson
import pytest

from phaya.web.bodies import DEEPEST, unfit


def nested(levels: int, inner: bytes = b"") -> bytes:
    """So many lists and objects within one another, by turns."""
    pairs = [(b"[", b"]") if level % 2 else (b'{"a":', b"}") for level in range(levels - 1)] + [(b"[", b"]")]
    return b"".join(pair[0] for pair in pairs) + inner + b"".join(pair[1] for pair in reversed(pairs))


@pytest.mark.parametrize(
    ("levels", "fault"), [(2, None), (DEEPEST, None), (DEEPEST + 1, "too_deep"), (900, "too_deep")]
)
def test_a_body_may_have_a_hundred_levels_and_no_more(levels: int, fault: str | None) -> None:
    body = nested(levels)

    found = unfit(orjson.loads(body), body)

    assert (found and found.type) == fault


def test_many_lists_beside_one_another_are_not_deep() -> None:
    body = b"[" + b",".join([b"[[]]"] * 1000) + b"]"

    assert unfit(orjson.loads(body), body) is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (nested(DEEPEST, b'"\\u0000"'), "a"),
        (b'{"a":1,"b":{"c":["\\\\\\u0000"]}}', "b"),
        (b'{"a":1,"b":{"\\u0000":1}}', "b"),
        (b'{"a":1,"\\u0000":1}', "body"),
        (b'"\\u0000"', "body"),
    ],
)
def test_a_nul_is_found_wherever_it_is(body: bytes, field: str) -> None:
    found = unfit(orjson.loads(body), body)

    assert found is not None
    assert (found.field, found.type) == (field, "nul")


def test_a_backslash_before_the_same_letters_is_none() -> None:
    body = b'{"a":"\\\\u0000"}'

    assert orjson.loads(body) == {"a": "\\u0000"}
    assert unfit(orjson.loads(body), body) is None
