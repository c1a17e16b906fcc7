"""The requests that are still to be bought, in order, and the units that may be spent on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from student.purchase.embedding_requests import EmbeddingRequest
from student.vendor.schemas import Prices


class PurchaseQueue:
    """Requests in buying order under an allowance of units (queries).

    Taking requests uses the allowance; putting them back, or dropping them because they will not
    be bought, returns it, so that the next best can be bought. A request is in the queue or with
    one worker, never both.
    """

    def __init__(
        self, requests: Iterable[EmbeddingRequest] = (), *, prices: Prices, allowance: int = 0
    ) -> None:
        self._waiting = deque(requests)
        self._prices = prices
        self._allowance = allowance

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def allowance(self) -> int:
        """Units that may still be taken."""
        return self._allowance

    def refill(self, requests: Iterable[EmbeddingRequest], *, allowance: int) -> None:
        """Replace the content; only while no worker holds any request."""
        self._waiting = deque(requests)
        self._allowance = allowance

    def take(self, most: int) -> list[EmbeddingRequest]:
        """The next requests, at most `most` and as far as the allowance goes; [] when done."""
        taken: list[EmbeddingRequest] = []
        while self._waiting and len(taken) < most:
            price = self._prices.units_for(self._waiting[0].key.modality)
            if price > self._allowance:
                break
            self._allowance -= price
            taken.append(self._waiting.popleft())
        return taken

    def put_back(self, requests: Sequence[EmbeddingRequest]) -> None:
        """Return taken requests to the front, and their units to the allowance."""
        self._waiting.extendleft(reversed(requests))
        self._allowance += self.units(requests)

    def drop(self, requests: Sequence[EmbeddingRequest]) -> None:
        """Give up taken requests; their units return to the allowance."""
        self._allowance += self.units(requests)

    def units(self, requests: Sequence[EmbeddingRequest]) -> int:
        """What these requests cost together, in units."""
        return sum(self._prices.units_for(request.key.modality) for request in requests)

    def affordable(
        self, requests: Sequence[EmbeddingRequest], units: int
    ) -> list[EmbeddingRequest]:
        """The longest prefix of `requests` that costs no more than this."""
        prefix: list[EmbeddingRequest] = []
        for request in requests:
            if self.units([*prefix, request]) > units:
                break
            prefix.append(request)
        return prefix
