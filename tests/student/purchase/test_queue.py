"""The shelf never sells beyond its allowance, nor an item to two takers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache.records.embedding_key import EmbeddingKey, text_item
from student.purchase.queue import PurchaseQueue
from student.purchase.requests import EmbeddingRequest
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


def shelf_of(kinds: list[bool], allowance: int) -> tuple[PurchaseQueue, list[EmbeddingRequest]]:
    items = [wanted(number, is_image=kind) for number, kind in enumerate(kinds)]
    return PurchaseQueue(items, prices=PRICES, allowance=allowance), items


@given(
    kinds=st.lists(st.booleans(), max_size=30),
    allowance=st.integers(0, 60),
    steps=st.lists(st.tuples(st.integers(1, 7), st.sampled_from(["keep", "back", "strike"]))),
)
def test_no_item_goes_twice_and_no_unit_is_spent_twice(
    kinds: list[bool], allowance: int, steps: list[tuple[int, str]]
) -> None:
    shelf, items = shelf_of(kinds, allowance)
    kept: list[EmbeddingRequest] = []
    gone: list[EmbeddingRequest] = []
    for most, fate in steps:
        lot = shelf.take(most)
        assert len(lot) <= most
        if fate == "back":
            shelf.put_back(lot)
        elif fate == "strike":
            shelf.strike(lot)
            gone.extend(lot)
        else:
            kept.extend(lot)
        assert shelf.units(kept) + shelf.allowance == allowance
        assert shelf.units(kept) <= allowance
    out = [one.name for one in (*kept, *gone)]
    assert len(set(out)) == len(out)
    assert len(shelf) + len(out) == len(items)


def test_what_is_put_back_comes_next_and_in_its_order() -> None:
    shelf, _ = shelf_of([False] * 6, 6)
    lot = shelf.take(4)
    shelf.put_back(lot[1:])
    assert [one.name for one in shelf.take(9)] == ["1", "2", "3", "4", "5"]


@given(kinds=st.lists(st.booleans(), max_size=12), units=st.integers(-3, 40))
def test_the_affordable_part_is_the_longest_prefix_that_fits(kinds: list[bool], units: int) -> None:
    shelf, items = shelf_of(kinds, 0)
    part = shelf.affordable(items, units)
    assert items[: len(part)] == part
    assert shelf.units(part) <= max(units, 0)
    assert len(part) == len(items) or shelf.units(items[: len(part) + 1]) > units
