"""Amounts of money as text."""

from __future__ import annotations

from typing import Final

MICRO_USD: Final = 1_000_000  # in a dollar


def dollars(micro_usd: int, *, plain: bool = False) -> str:
    """Write an amount in micro-USD as dollars, without rounding.

    For people: `$1,234.50`, with at least two decimals and no trailing zeros after them.
    `plain`, for files and other programs: `1234.500000`, always six decimals, no `$` and no commas.
    """
    sign = "-" if micro_usd < 0 else ""
    whole, rest = divmod(abs(micro_usd), MICRO_USD)
    if plain:
        return f"{sign}{whole}.{rest:06d}"
    cents = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{cents}"
