"""The price list: integers only, with a version that every charge carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a query costs; `version` changes whenever a figure does."""

    version: str
    micro_usd_per_unit: int
    image_units: int = 1
    text_units: int = 1

    def units(self, *, images: int, texts: int) -> int:
        """The units that so many images and texts are billed."""
        return images * self.image_units + texts * self.text_units

    def cost(self, units: int) -> int:
        """The cost of so many units in micro-USD."""
        return units * self.micro_usd_per_unit
