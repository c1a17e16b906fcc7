"""Shards: every image and text is in exactly one, and what is no shard is refused."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from student.errors import BadInput
from student.options import Options
from student.options.shard import Shard
from student.options.sharded import shardable


@given(st.binary(), st.integers(1, 1_000))
def test_an_image_is_in_exactly_one_shard_of_a_count(data: bytes, count: int) -> None:
    digest = hashlib.sha256(data).hexdigest()
    assert sum(Shard(number, count).has(digest) for number in range(1, count + 1)) == 1


def test_the_shards_of_a_list_are_of_about_the_same_size() -> None:
    digests = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(9_000)]
    sizes = Counter(n for n in (1, 2, 3) for digest in digests if Shard(n, 3).has(digest))
    assert sum(sizes.values()) == 9_000
    assert all(2_800 < size < 3_200 for size in sizes.values())


def test_the_shard_of_a_digest_never_changes() -> None:
    digest = hashlib.sha256(b"image").hexdigest()
    shards = [(n, count) for count in (2, 3, 5, 7) for n in range(1, count + 1)]
    found = [shard for shard in shards if Shard(*shard).has(digest)]
    assert found == [(2, 2), (2, 3), (1, 5), (6, 7)]


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "1", "1/0", "a/b", "1/3/5", "-1/3", "1.0/3", "\u0661/3"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"shard: .*write K/N"):
        Options.of({"shard": text})


def test_a_shard_is_read_and_kept_as_text() -> None:
    options = Options.of({"shard": " 2/3 "})
    assert options.purchase.part == Shard(2, 3)
    assert options.as_json()["shard"] == "2/3"
    assert shardable(options).training.method == "vl2v-adip-joint"


@pytest.mark.parametrize("more", [{"selector": "margin"}, {"selector": "hybrid"}])
def test_a_shard_of_what_depends_on_answers_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="only its own answers"):
        shardable(Options.of({"shard": "1/3", **more}))
