"""What is still to be bought, in order, and how many units may still go on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from student.purchase.requests import EmbeddingRequest
from student.vendor.schemas import Prices


class PurchaseQueue:
    """Items in buying order under an allowance of units.

    What is taken uses the allowance up; what is put back, or struck off because it will not be
    bought, gives it back, so that the next best items can have it. An item is on the shelf or with
    one taker, never both.
    """

    def __init__(
        self, wanted: Iterable[EmbeddingRequest], *, prices: Prices, allowance: int
    ) -> None:
        self._waiting = deque(wanted)
        self._prices = prices
        self._allowance = allowance

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def allowance(self) -> int:
        """Units that may still be taken."""
        return self._allowance

    def take(self, most: int) -> list[EmbeddingRequest]:
        """The next items, at most so many and as far as the allowance goes; [] when done."""
        lot: list[EmbeddingRequest] = []
        while self._waiting and len(lot) < most:
            price = self._prices.units_for(self._waiting[0].key.modality)
            if price > self._allowance:
                break
            self._allowance -= price
            lot.append(self._waiting.popleft())
        return lot

    def put_back(self, lot: Sequence[EmbeddingRequest]) -> None:
        """Return taken items to the front."""
        self._waiting.extendleft(reversed(lot))
        self._allowance += self.units(lot)

    def strike(self, lot: Sequence[EmbeddingRequest]) -> None:
        """These taken items will not be bought here; others may have their units."""
        self._allowance += self.units(lot)

    def units(self, lot: Sequence[EmbeddingRequest]) -> int:
        """What these items cost together."""
        return sum(self._prices.units_for(one.key.modality) for one in lot)

    def affordable(self, lot: Sequence[EmbeddingRequest], units: int) -> list[EmbeddingRequest]:
        """The longest prefix of `lot` that costs no more than this."""
        prefix: list[EmbeddingRequest] = []
        for one in lot:
            if self.units([*prefix, one]) > units:
                break
            prefix.append(one)
        return prefix
