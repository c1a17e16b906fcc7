"""Canonical JSON and its digest."""

from __future__ import annotations

import hashlib
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.records.canonical_json import canonical_json, json_sha256

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(value=st.dictionaries(st.text(string.ascii_letters), st.integers() | words))
def test_canonical_json_does_not_depend_on_the_order_of_the_fields(
    value: dict[str, int | str],
) -> None:
    """And decoding it gives the same value."""
    backwards = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(backwards)
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_rejects_what_is_not_json() -> None:
    """NaN has no canonical form."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_a_json_digest_is_the_sha256_of_the_canonical_bytes() -> None:
    """Any program can compute it."""
    assert canonical_json({"b": "\u00e9", "a": [1, None]}) == b'{"a":[1,null],"b":"\\u00e9"}'
    expected = hashlib.sha256(b'{"a":1,"b":2}').hexdigest()
    assert json_sha256({"b": 2, "a": 1}) == expected
