"""Counts tokens before any cut, and merges byte pairs in O(n log n) with a bounded cache.

open_clip searches the whole word for each merge, which is quadratic: a word of 8,192 letters took
seconds. Its cache of words is not bounded.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from teacher_server.canonical_json import canonical_sha256

# A few megabytes; longer words are rare, and are merged again each time.
_CACHED_WORDS = 2**14
_CACHED_LENGTH = 64


def use_fast_merges(tokenize: Any) -> Any:
    """Replace the merges of an open_clip tokenizer; other kinds of tokenizer stay as they are."""
    if hasattr(tokenize, "bpe_ranks"):
        tokenize.bpe = _WordMerger(tokenize.bpe_ranks, dict(tokenize.cache))
    return tokenize


def count_tokens(tokenize: Any, text: str, tokens: Any) -> int:
    """The tokens of a text with its marks, however many the model reads.

    `tokenize` is one of open_clip's tokenizers, which cut each text at the context length, and
    `tokens` (L,) is what it makes of the text. Where that may be cut, the tokenizer inside is asked
    without a cut.
    """
    if hasattr(tokenize, "bpe_ranks"):
        # Padding has the same id as "!"; the last token that is not padding is the end mark.
        used = int(tokens.nonzero()[-1]) + 1
        return used if used < len(tokens) else len(tokenize.encode(text)) + 2
    if not hasattr(tokenize, "tokenizer"):
        return int((tokens != 0).sum())
    clean = getattr(tokenize, "clean_fn", None) or _clean_for_siglip
    is_clips = getattr(tokenize, "tokenizer_mode", "") == "clips"
    found = tokenize.tokenizer(
        [clean(text)], add_special_tokens=not is_clips, padding=False, truncation=False
    )
    # In this mode, open_clip adds its own three marks.
    return len(found["input_ids"][0]) + (3 if is_clips else 0)


def _clean_for_siglip(text: str) -> str:
    from open_clip.tokenizer import basic_clean, canonicalize_text

    return str(canonicalize_text(basic_clean(text)))


def describe_tokenizer(tokenize: Any) -> dict[str, str]:
    """What decides the tokens of a text: the kind of tokenizer, its vocabulary and its cleaning."""
    inner = getattr(tokenize, "tokenizer", None)
    vocabulary = inner.get_vocab() if inner is not None else getattr(tokenize, "encoder", {})
    clean = getattr(tokenize, "clean_fn", None)
    return {
        "kind": type(tokenize).__name__,
        "clean": getattr(clean, "__name__", ""),
        "vocabulary_sha256": canonical_sha256(dict(vocabulary)),
    }


class _WordMerger:
    """Merges a word into parts separated by spaces, as `SimpleTokenizer.bpe` does."""

    def __init__(self, ranks: Mapping[tuple[str, str], int], special: Mapping[str, str]) -> None:
        self._ranks = ranks
        self._pairs = {rank: pair for pair, rank in ranks.items()}
        self._special = special
        self._cached_merge = lru_cache(_CACHED_WORDS)(self._merge)

    def __call__(self, word: str) -> str:
        if word in self._special:
            return self._special[word]
        return self._cached_merge(word) if len(word) <= _CACHED_LENGTH else self._merge(word)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets a cache of its own: a cache of calls cannot be sent.
        return type(self), (dict(self._ranks), dict(self._special))

    def _merge(self, word: str) -> str:
        return " ".join(merge_symbols([*word[:-1], word[-1] + "</w>"], self._ranks, self._pairs))


def merge_symbols(
    symbols: Sequence[str],
    ranks: Mapping[tuple[str, str], int],
    pairs: Mapping[int, tuple[str, str]],
) -> list[str]:
    """The symbols after all merges: repeatedly the pair of lowest rank, at all its positions.

    `pairs` is the inverse of `ranks`.
    """
    parts = list(symbols)
    end = len(parts)
    after, before = list(range(1, end + 1)), list(range(-1, end - 1))
    heap: list[tuple[int, int]] = []

    def push(left: int, right: int) -> None:
        if left >= 0 and right < end:
            rank = ranks.get((parts[left], parts[right]))
            if rank is not None:
                heapq.heappush(heap, (rank, left))

    for position in range(end - 1):
        push(position, position + 1)
    while heap:
        rank = heap[0][0]
        # All positions of a rank, from left to right, before those that its merges create.
        positions = []
        while heap and heap[0][0] == rank:
            positions.append(heapq.heappop(heap)[1])
        first, second = pairs[rank]
        for left in positions:
            right = after[left]
            # An earlier merge may have used one of the two; a part merged into its left is empty.
            if right == end or (parts[left], parts[right]) != (first, second):
                continue
            parts[left], parts[right] = first + second, ""
            after[left] = after[right]
            if after[left] < end:
                before[after[left]] = left
            push(before[left], left)
            push(left, after[left])
    return [part for part in parts if part]
