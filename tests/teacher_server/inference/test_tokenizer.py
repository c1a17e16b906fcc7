"""Words become open_clip's own tokens, in less than quadratic time and with a bounded cache."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from teacher_server.inference.encoder import OpenClipEncoder
from teacher_server.inference.tokenizer import use_fast_merges

THEIRS, OURS = SimpleTokenizer(), use_fast_merges(SimpleTokenizer())
ALPHABETS = ("ab", "aeinorst", string.ascii_letters, string.printable, "ĐđÀﬃİ日本語🐶🎉é\u0301")


class CountingRanks(dict[tuple[str, str], int]):
    """Ranks that count how often a pair is looked up."""

    lookups = 0

    def get(self, key: Any, default: Any = None) -> Any:
        self.lookups += 1
        return super().get(key, default)


def word(seed: int, length: int, alphabet: str = string.ascii_lowercase) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


@given(st.text(max_size=80) | st.text(st.sampled_from("abcdehilnorst'!0"), max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_has_open_clips_own_tokens(text: str) -> None:
    assert OURS.encode(text) == THEIRS.encode(text)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_long_words_have_open_clips_own_tokens(alphabet: str) -> None:
    for length in (1, 2, 3, 64, 65, 100, 500, 1000):
        text = word(length, length, alphabet)
        assert OURS.encode(text) == THEIRS.encode(text)


def test_the_marks_of_start_and_end_stay_whole() -> None:
    text = "a<start_of_text> <end_of_text>b <END_OF_TEXT>"
    assert OURS.encode(text) == THEIRS.encode(text)
    assert (OURS([text]) == THEIRS([text])).all()


def test_a_word_twice_as_long_takes_little_more_than_twice_the_work() -> None:
    lookups = []
    for length in (4096, 8192):
        tokenizer = SimpleTokenizer()
        tokenizer.bpe_ranks = CountingRanks(tokenizer.bpe_ranks)
        use_fast_merges(tokenizer).encode(word(0, length))
        lookups.append(tokenizer.bpe_ranks.lookups)
    assert lookups[0] < 4 * 4096
    assert lookups[1] < 4 * 8192


def test_the_cache_of_words_is_bounded(encoder: OpenClipEncoder) -> None:
    tokenizer: Any = encoder._tokenize
    before = len(tokenizer.cache)
    for number in range(100):
        encoder.prepare_text(" ".join(word(1000 * number + index, 8) for index in range(200)))
    encoder.prepare_text(word(0, 1000))
    assert len(tokenizer.cache) == before
    known = tokenizer.bpe._cached_merge.cache_info()
    assert known.currsize == known.maxsize < 20_000


def test_a_text_is_tokenized_once(
    encoder: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer: Any = encoder._tokenize
    clean, cleaned = tokenizer.clean_fn, []

    def counted(text: str) -> str:
        cleaned.append(text)
        return str(clean(text))

    monkeypatch.setattr(tokenizer, "clean_fn", counted)
    assert encoder.prepare_text("a dog!").num_tokens == 5
    assert cleaned == ["a dog!"]
