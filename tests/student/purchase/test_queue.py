"""The queue never exceeds its allowance and never gives an item to two buyers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache.records.embedding_key import EmbeddingKey, text_item
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.queue import PurchaseQueue
from student.vendor.schemas import Prices

PRICES = Prices.model_validate(
    {
        "version": "v",
        "currency": "USD",
        "units": {"image": 3, "text": 1},
        "micro_usd_per_unit": 100,
    }
)


def wanted(number: int, *, is_image: bool) -> EmbeddingRequest:
    key = EmbeddingKey(
        model_fingerprint="sha256:x",
        modality="image" if is_image else "text",
        item=text_item(str(number)),
    )
    return EmbeddingRequest(key=key, payload=str(number), name=str(number))


def queue_of(kinds: list[bool], allowance: int) -> tuple[PurchaseQueue, list[EmbeddingRequest]]:
    items = [wanted(number, is_image=kind) for number, kind in enumerate(kinds)]
    return PurchaseQueue(items, prices=PRICES, allowance=allowance), items


@given(
    kinds=st.lists(st.booleans(), max_size=30),
    allowance=st.integers(0, 60),
    steps=st.lists(st.tuples(st.integers(1, 7), st.sampled_from(["keep", "back", "strike"]))),
)
def test_no_item_is_taken_twice_and_no_unit_is_spent_twice(
    kinds: list[bool], allowance: int, steps: list[tuple[int, str]]
) -> None:
    queue, items = queue_of(kinds, allowance)
    kept: list[EmbeddingRequest] = []
    gone: list[EmbeddingRequest] = []
    for most, fate in steps:
        batch = queue.take(most)
        assert len(batch) <= most
        if fate == "back":
            queue.put_back(batch)
        elif fate == "strike":
            queue.drop(batch)
            gone.extend(batch)
        else:
            kept.extend(batch)
        assert queue.units(kept) + queue.allowance == allowance
        assert queue.units(kept) <= allowance
    out = [request.name for request in (*kept, *gone)]
    assert len(set(out)) == len(out)
    assert len(queue) + len(out) == len(items)


def test_items_that_are_put_back_come_next_in_their_order() -> None:
    queue, _ = queue_of([False] * 6, 6)
    batch = queue.take(4)
    queue.put_back(batch[1:])
    assert [request.name for request in queue.take(9)] == ["1", "2", "3", "4", "5"]


@given(kinds=st.lists(st.booleans(), max_size=12), units=st.integers(-3, 40))
def test_the_affordable_part_is_the_longest_prefix_that_fits(kinds: list[bool], units: int) -> None:
    queue, items = queue_of(kinds, 0)
    part = queue.affordable(items, units)
    assert items[: len(part)] == part
    assert queue.units(part) <= max(units, 0)
    assert len(part) == len(items) or queue.units(items[: len(part) + 1]) > units
