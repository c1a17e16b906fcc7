"""The canary: a model behind a wire that changes silently stops the run before it buys."""

from __future__ import annotations

import pytest

from cache.paid_cache import PaidCache
from student.errors import ModelChanged
from tests.support.wire_setup import CANARY, WireSetup


async def test_each_run_that_buys_has_one_canary_of_an_image_and_a_text(setup: WireSetup) -> None:
    await setup.buy(setup.images(2))
    await setup.buy(setup.images(4))
    await setup.buy(setup.images(4))  # buys nothing
    assert setup.vendor.spent == 4 + 2 * CANARY
    with PaidCache.open(setup.folder) as cache:
        views = sorted(row.key.view for row in cache.rows() if row.key.view != "original")
    assert views == ["canary#run-1", "canary#run-1", "canary#run-2", "canary#run-2"]


async def test_a_model_that_has_changed_ends_the_run_before_anything_else_is_bought(
    setup: WireSetup,
) -> None:
    await setup.buy(setup.images(2))
    await setup.buy(setup.images(3))
    spent = setup.vendor.spent
    setup.vendor.epoch = "2"
    with pytest.raises(ModelChanged, match=r"cosine of .* It was unmoved at 20.*after that"):
        await setup.buy(setup.images(9))
    assert setup.vendor.spent == spent + CANARY == setup.committed()
    assert sum(setup.paid(setup.images(9))) == 3


async def test_a_model_of_another_size_has_changed(setup: WireSetup) -> None:
    await setup.buy(setup.images(2))
    setup.vendor.dim = 12
    with pytest.raises(ModelChanged, match=r"cosine of 0\.0000"):
        await setup.buy(setup.images(9))


async def test_a_new_revision_starts_anew_with_a_canary_of_its_own(setup: WireSetup) -> None:
    await setup.buy(setup.images(2))
    setup.vendor.epoch = "2"
    setup.options["model_revision"] = "2026-12"
    plan = await setup.plan(setup.images(2))
    assert plan.model_change is not None
    assert plan.model_change.bought_anew == 2
    assert (await setup.buy(setup.images(2))).bought == 2


async def test_a_tiny_change_of_rounding_is_no_change_of_the_model(setup: WireSetup) -> None:
    await setup.buy(setup.images(2))
    vector = setup.vendor.vector
    setup.vendor.vector = lambda payload: [  # type: ignore[method-assign]
        round(value, 3) for value in vector(payload)
    ]
    assert (await setup.buy(setup.images(4))).bought == 2


@pytest.mark.parametrize(
    "other",
    [
        {"vendor": "http://other.test"},
        {"teacher": "clip-2"},
        {"dimensions": 4},
        {"task": "retrieval"},
        {"model_revision": "b"},
    ],
    ids=lambda value: next(iter(value)),
)
def test_whatever_changes_an_embedding_is_in_the_fingerprint(
    setup: WireSetup, other: dict[str, object]
) -> None:
    before = setup.model.fingerprint
    setup.options |= other
    assert setup.model.fingerprint != before


@pytest.mark.parametrize(
    "other",
    [
        {"vendor": "http://FOREIGN.test/v1/"},
        {"vendor": "http://foreign.test/v1/embeddings"},
        {"input_shape": "strings"},
        {"price_image": 9},
        {"requests_per_minute": 5},
    ],
    ids=str,
)
def test_what_changes_no_embedding_is_not_in_the_fingerprint(
    setup: WireSetup, other: dict[str, object]
) -> None:
    before = setup.model.fingerprint
    setup.options |= other
    assert setup.model.fingerprint == before


@pytest.mark.parametrize(
    ("wire", "other"),
    [
        ("voyage", {"input_type": "query"}),
        ("voyage", {"truncate": True}),
        ("cohere", {"input_type": "clustering"}),
        ("cohere", {"truncate": True}),
        ("cohere", {"dimensions": 512}),
    ],
    ids=str,
)
def test_what_a_vendor_is_told_about_the_input_is_in_the_fingerprint(
    setup: WireSetup, wire: str, other: dict[str, object]
) -> None:
    setup.options |= {"wire": wire, "teacher": "embed-v4.0"}
    before = setup.model.fingerprint
    setup.options |= other
    assert setup.model.fingerprint != before
