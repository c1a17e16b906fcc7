"""What a vendor says of its work, in its own terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def numbers_in(usage: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, int | float]]:
    """Yield the numbers of a usage, those of nested objects as `billed_units.images`."""
    for name, value in usage.items():
        if isinstance(value, Mapping):
            yield from numbers_in(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
