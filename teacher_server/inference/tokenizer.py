"""Byte-pair merges in time that hardly grows faster than the word, and a bounded memory of words.

open_clip's own looks through the whole word for every merge, the square of its length: a stranger's
word of 8,192 letters took it seconds. It also keeps every word that it ever met.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

# Some megabytes; longer words are rare, and are merged anew each time.
_KNOWN_WORDS = 2**14
_KNOWN_LENGTH = 64


def bound(tokenize: Any) -> Any:
    """The tokenizer with these merges in place of open_clip's own; another kind as it is."""
    if hasattr(tokenize, "bpe_ranks"):
        tokenize.bpe = _Words(tokenize.bpe_ranks, dict(tokenize.cache))
    return tokenize


class _Words:
    """The merged parts of a word, parted by spaces, as `SimpleTokenizer.bpe` gives them."""

    def __init__(self, ranks: Mapping[tuple[str, str], int], special: Mapping[str, str]) -> None:
        self._ranks = ranks
        self._pairs = {rank: pair for pair, rank in ranks.items()}
        self._special = special
        self._known = lru_cache(_KNOWN_WORDS)(self._merged)

    def __call__(self, word: str) -> str:
        if word in self._special:
            return self._special[word]
        return self._known(word) if len(word) <= _KNOWN_LENGTH else self._merged(word)

    def _merged(self, word: str) -> str:
        return " ".join(merged([*word[:-1], word[-1] + "</w>"], self._ranks, self._pairs))


def merged(
    symbols: Sequence[str],
    ranks: Mapping[tuple[str, str], int],
    pairs: Mapping[int, tuple[str, str]],
) -> list[str]:
    """The symbols after all merges: always the lowest rank there is, at all its places at once.

    `pairs` is `ranks` the other way round.
    """
    parts = list(symbols)
    end = len(parts)
    after, before = list(range(1, end + 1)), list(range(-1, end - 1))
    waiting: list[tuple[int, int]] = []

    def note(left: int, right: int) -> None:
        if left >= 0 and right < end:
            rank = ranks.get((parts[left], parts[right]))
            if rank is not None:
                heapq.heappush(waiting, (rank, left))

    for place in range(end - 1):
        note(place, place + 1)
    while waiting:
        rank = waiting[0][0]
        # All places of a rank before any that its merges make, from left to right.
        places = []
        while waiting and waiting[0][0] == rank:
            places.append(heapq.heappop(waiting)[1])
        first, second = pairs[rank]
        for left in places:
            right = after[left]
            # An earlier merge may have taken either; what was merged into its left is empty.
            if right == end or (parts[left], parts[right]) != (first, second):
                continue
            parts[left], parts[right] = first + second, ""
            after[left] = after[right]
            if after[left] < end:
                before[after[left]] = left
            note(before[left], left)
            note(left, after[left])
    return [part for part in parts if part]
