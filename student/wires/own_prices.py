"""The user's own figures for what a vendor charges, where the vendor has no price list."""

from __future__ import annotations

from cache.records.canonical_json import json_sha256
from student.options.wire import WireOptions
from student.vendor.schemas import Amounts, Prices, UnitPrices

_MILLION = 1_000_000


class OwnPrices(Prices):
    """Micro-USD for an image, a text, a million tokens and a million pixels; a query an item."""

    image: int
    text: int
    million_tokens: int
    million_pixels: int

    @property
    def description(self) -> str:
        """The prices in words, for a plan."""
        figures = {
            "an image": self.image,
            "a text": self.text,
            "a million tokens": self.million_tokens,
            "a million pixels": self.million_pixels,
        }
        named = ", ".join(f"{figure:,} {what}" for what, figure in figures.items() if figure)
        if not named:
            return "no --price-… is set: your own figures would stand here"
        missing = "; images that are billed by tokens are not in it" if self._lacks_images else ""
        return f"your own figures, in micro-USD: {named}{missing}"

    @property
    def _lacks_images(self) -> bool:
        return bool(self.million_tokens) and not (self.image or self.million_pixels)

    def cost_of(self, bought: Amounts) -> int:
        """The price of these amounts in micro-USD; parts of a million are rounded up."""
        return (
            bought.images * self.image
            + bought.texts * self.text
            + -(-bought.tokens * self.million_tokens // _MILLION)
            + -(-bought.pixels * self.million_pixels // _MILLION)
        )


def own_prices(options: WireOptions) -> OwnPrices:
    """The price list that the options state, under a version that names its figures."""
    figures = {
        "image": options.price_image,
        "text": options.price_text,
        "million_tokens": options.price_million_tokens,
        "million_pixels": options.price_million_pixels,
    }
    return OwnPrices(
        version=f"own-{json_sha256(figures)[:12]}",
        currency="USD",
        units=UnitPrices(image=1, text=1),
        micro_usd_per_unit=options.price_image,
        **figures,
    )
