"""The key of an embedding."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.records.embedding_key import (
    EmbeddingKey,
    Modality,
    image_item,
    text_item,
)
from tests.support.cache_purchases import image, text

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
items = st.text(st.sampled_from("0123456789abcdef"), min_size=64, max_size=64)
keys = st.builds(
    EmbeddingKey,
    model_fingerprint=words,
    modality=st.sampled_from(get_args(Modality)),
    item=items,
    view=words,
    params=words,
)


@given(key=keys)
def test_a_digest_is_the_sha256_of_the_tagged_canonical_fields(key: EmbeddingKey) -> None:
    """Any program can compute it from the exported fields."""
    fields = json.dumps(key.fields(), sort_keys=True, separators=(",", ":"))
    assert key.digest == hashlib.sha256(b"emb/v1\0" + fields.encode()).digest()


def test_a_digest_never_changes_from_one_version_to_the_next() -> None:
    """A changed digest would buy everything again."""
    key = EmbeddingKey(model_fingerprint="sha256:ab", modality="image", item="0" * 64)
    expected = "8dad6f264b25ae8afd951b5eb24b6938f28d889cd18284d4f3b71529a9868c36"
    assert key.digest.hex() == expected


@given(left=keys, right=keys)
def test_keys_are_equal_exactly_when_their_digests_are(
    left: EmbeddingKey, right: EmbeddingKey
) -> None:
    """Two purchases share a row only if every field is the same."""
    assert (left == right) == (left.digest == right.digest)
    assert replace(left) == left
    assert replace(left).digest == left.digest


@given(key=keys, data=st.data())
def test_changing_any_field_makes_another_purchase(key: EmbeddingKey, data: st.DataObject) -> None:
    """Another model, view or parameter is another embedding."""
    name = data.draw(st.sampled_from(["model_fingerprint", "item", "view", "params"]))
    value = data.draw(
        (items if name == "item" else words).filter(lambda v: v != getattr(key, name))
    )
    changed: Any = {name: value}
    assert replace(key, **changed).digest != key.digest


@given(fields=st.lists(words, min_size=3, max_size=3), cut=st.integers(0, 3))
def test_the_boundaries_of_fields_are_part_of_the_digest(fields: list[str], cut: int) -> None:
    """Moving characters over a field's border changes the digest."""
    fingerprint, view, params = fields
    moved = fingerprint + view[:cut]
    left = EmbeddingKey(
        model_fingerprint=moved, modality="text", item="0" * 64, view=view[cut:] or "x", params="p"
    )
    right = EmbeddingKey(
        model_fingerprint=fingerprint, modality="text", item="0" * 64, view=view, params=params
    )
    assert (left.digest == right.digest) == (left == right)


@given(words=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_is_the_same_item_in_every_unicode_form(words: str) -> None:
    """An accent typed in two ways is bought once."""
    assert text_item(unicodedata.normalize("NFD", words)) == text_item(words)
    assert text_item(unicodedata.normalize("NFC", words)) == text_item(words)


@pytest.mark.parametrize(("left", "right"), [("cat", "cat "), ("cat", "Cat"), ("", " ")])
def test_a_text_is_not_changed_otherwise(left: str, right: str) -> None:
    """Nothing is stripped or folded: the vendor sees the difference too."""
    assert text_item(left) != text_item(right)


@given(data=st.binary(max_size=200))
def test_an_image_is_known_by_the_bytes_of_its_file(data: bytes) -> None:
    """Not by its pixels, which another image library decodes differently."""
    assert image_item(data) == hashlib.sha256(data).hexdigest()


def test_an_image_and_a_text_are_never_the_same_purchase() -> None:
    """Even when their items are the same hash."""
    item = text_item("x")
    key = EmbeddingKey(model_fingerprint="m", modality="image", item=item)
    other = EmbeddingKey(model_fingerprint="m", modality="text", item=item)
    assert key.digest != other.digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_fingerprint", ""),
        ("view", ""),
        ("params", ""),
        ("item", ""),
        ("item", "0" * 63),
        ("item", "0" * 65),
        ("item", "A" * 64),
        ("item", "0" * 64 + "\n"),
        ("item", b"0" * 64),
        ("modality", "sound"),
        ("modality", ""),
    ],
)
def test_a_malformed_field_is_refused_before_anything_is_bought(field: str, value: object) -> None:
    """A wrong key would never be found again."""
    changed: Any = {field: value}
    with pytest.raises(ValueError, match=field):
        replace(image(1), **changed)


def test_a_surrogate_has_no_bytes_and_so_no_item() -> None:
    """It cannot be sent either."""
    with pytest.raises(ValueError, match="surrogates"):
        text_item("\ud800")


def test_keys_can_be_used_in_sets_and_dictionaries() -> None:
    """A plan removes duplicates with them."""
    assert len({image(1), image(1), image(2), text("a"), text("a")}) == 3
