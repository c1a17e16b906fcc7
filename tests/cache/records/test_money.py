"""Amounts of money as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.records.money import dollars


@given(micro_usd=st.integers(-(10**15), 10**15))
def test_plain_dollars_are_exact_with_six_decimals(micro_usd: int) -> None:
    """No fraction of a cent is lost to a float."""
    text = dollars(micro_usd, plain=True)
    whole, fraction = text.lstrip("-").split(".")
    assert int(whole) * 10**6 + int(fraction) == abs(micro_usd)
    assert len(fraction) == 6
    assert text.startswith("-") == (micro_usd < 0)


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [
        (0, "$0.00"),
        (100, "$0.0001"),
        (1_500_000, "$1.50"),
        (1_234_567_890, "$1,234.56789"),
        (-1_500_000, "-$1.50"),
    ],
)
def test_dollars_for_people_have_a_sign_commas_and_at_least_two_decimals(
    micro_usd: int, text: str
) -> None:
    """Nothing is rounded."""
    assert dollars(micro_usd) == text


@given(micro_usd=st.integers(-(10**15), 10**15))
def test_both_forms_show_the_same_amount(micro_usd: int) -> None:
    """Only the layout differs."""
    shown = dollars(micro_usd).replace("$", "").replace(",", "")
    assert float(shown) == float(dollars(micro_usd, plain=True))
