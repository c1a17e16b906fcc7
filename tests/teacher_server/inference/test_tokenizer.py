"""Words become open_clip's own tokens, in less than quadratic time and with a bounded cache."""

from __future__ import annotations

import random
import string
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer, get_clean_fn

from teacher_server.inference.encoder import OpenClipEncoder
from teacher_server.inference.tokenizer import count_tokens, use_fast_merges

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
    tokenizer: Any = encoder.preparation._tokenize
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
    tokenizer: Any = encoder.preparation._tokenize
    clean, cleaned = tokenizer.clean_fn, []

    def counted(text: str) -> str:
        cleaned.append(text)
        return str(clean(text))

    monkeypatch.setattr(tokenizer, "clean_fn", counted)
    assert encoder.prepare_text("a dog!").num_tokens == 5
    assert cleaned == ["a dog!"]


class Words:
    """A tokenizer as of the transformers package: a token for each word, and an end mark of 1."""

    bos_token_id, eos_token_id, cls_token_id, pad_token_id, sep_token_id = 5, 6, 7, 1, 1

    def __call__(self, texts: list[str], **options: Any) -> Any:
        rows = [[10 + len(one) for one in text.split()] for text in texts]
        if options.get("add_special_tokens", True):
            rows = [[*row, 1] for row in rows]
        if options.get("truncation"):
            length = options["max_length"]
            # The padding has the id of the end mark, as in SigLIP.
            rows = [(row[:length] + [1] * length)[:length] for row in rows]
            return SimpleNamespace(input_ids=torch.tensor(rows))
        return {"input_ids": rows}


@pytest.mark.parametrize(("mode", "marks"), [("", 1), ("clips", 3)])
def test_the_tokens_of_a_transformers_tokenizer_are_counted_before_its_cut(
    mode: str, marks: int
) -> None:
    tokenize = HFTokenizer.__new__(HFTokenizer)
    tokenize.tokenizer, tokenize.tokenizer_mode, tokenize.context_length = Words(), mode, 8
    tokenize.clean_fn, tokenize.strip_sep_token = get_clean_fn("canonicalize"), False
    for words in (1, 8 - marks, 9 - marks, 50):
        text = " ".join(["dog,"] * words)
        (tokens,) = tokenize([text])
        assert tokens.shape == (8,)
        assert count_tokens(tokenize, text, tokens) == words + marks


def test_the_tokens_of_a_siglip_tokenizer_are_counted_before_its_cut() -> None:
    tokenize = SigLipTokenizer.__new__(SigLipTokenizer)
    tokenize.tokenizer, tokenize.context_length = Words(), 8
    for text, count in (("a dog!", 3), ("dog " * 50, 51)):
        assert count_tokens(tokenize, text, torch.ones(8)) == count
