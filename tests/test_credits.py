"""Amounts are exact."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaya.catalog.language import ChatRequest, cost
from phaya.credits import UNITS, Credits, credits, per_million


def test_eleven_and_four_tokens_cost_what_the_contract_says() -> None:
    assert str(cost(ChatRequest.rates, 11, 4)) == "0.0004655"


@pytest.mark.parametrize(
    ("text", "shown"), [("8", "8"), ("0.50", "0.5"), ("-1.5", "-1.5"), ("0", "0"), ("1e-9", "0.000000001")]
)
def test_amounts_are_read_and_shown_exactly(text: str, shown: str) -> None:
    assert str(credits(text)) == shown


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1e-10", "9999999999999"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        credits(text)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_amount_survives_text_and_json(units: int) -> None:
    amount = Credits(units)

    assert credits(str(amount)) == amount
    assert orjson.dumps(amount.number()).decode() == str(amount)


@given(st.integers(0, 10**6), st.integers(0, 10**9))
def test_a_price_by_the_million_is_never_below_the_exact_one(rate: int, count: int) -> None:
    price = per_million(Credits(rate), count)

    assert 0 <= price.units * 1_000_000 - rate * count < 1_000_000


def test_money_has_no_floats() -> None:
    with pytest.raises((TypeError, AttributeError)):
        credits("0.1") + 0.2  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]


def test_a_unit_is_a_billionth() -> None:
    assert credits("1").units == UNITS == 10**9
