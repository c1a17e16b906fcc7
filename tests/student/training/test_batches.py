from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from student.distributed.ranks import Ranks
from student.options import TrainingOptions
from student.training.batches import Batch, BatchSource, FeatureBatches, PixelBatches, pick_views
from student.training.dataset import TrainingData
from student.training.sampling import BalancedSampler
from tests.support.shaded_images import DIM, make_data

CPU = torch.device("cpu")


def _pixels(
    data: TrainingData,
    *,
    bought: NDArray[np.bool_] | None = None,
    **options: float,
) -> PixelBatches:
    return PixelBatches(
        _source(data, data.bought if bought is None else bought),
        device=CPU,
        options=TrainingOptions().changed(**options),
    )


def _source(data: TrainingData, bought: NDArray[np.bool_]) -> BatchSource:
    sampler = BalancedSampler(data.domains, per_domain=4, seed=0)
    return BatchSource(data=data, sampler=sampler, seed=(0,), bought=bought)


def _rows(data: TrainingData, step: int) -> NDArray[np.int64]:
    return BalancedSampler(data.domains, per_domain=4, seed=0).indices(step)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    per_domain=st.integers(1, 9),
    steps=st.integers(1, 6),
)
def test_every_batch_is_balanced_and_every_epoch_shows_each_image_once(
    sizes: list[int], per_domain: int, steps: int
) -> None:
    domains = np.repeat(np.arange(len(sizes)), sizes)
    sampler = BalancedSampler(domains, per_domain=per_domain, seed=3)
    seen = [sampler.indices(step) for step in range(steps)]
    for batch in seen:
        assert Counter(domains[batch].tolist()) == dict.fromkeys(range(len(sizes)), per_domain)
    for domain, size in enumerate(sizes):
        order = np.concatenate([batch[domains[batch] == domain] for batch in seen])
        for epoch in range(len(order) // size):
            members = order[epoch * size : (epoch + 1) * size]
            assert sorted(members) == np.flatnonzero(domains == domain).tolist()


def test_a_step_has_its_batch_whatever_was_asked_before() -> None:
    """So a resumed run sees what an uninterrupted one would have seen."""
    domains = np.arange(20) % 3
    walked = BalancedSampler(domains, per_domain=4, seed=0)
    for step in range(7):
        walked.indices(step)
    fresh = BalancedSampler(domains, per_domain=4, seed=0)
    assert walked.indices(7).tolist() == fresh.indices(7).tolist()


def test_only_bought_views_are_picked_and_uniformly() -> None:
    bought = np.tile(np.array([False, True, False, True]), (6000, 1))
    views, paid = pick_views(bought, np.random.default_rng(0))
    counts = Counter(views.tolist())
    assert set(counts) == {1, 3}
    assert abs(counts[1] - 3000) < 200
    assert paid.all()


def test_without_a_bought_view_the_clean_image_is_picked_and_nothing_is_paid() -> None:
    views, paid = pick_views(np.zeros((3, 4), dtype=bool), np.random.default_rng(0))
    assert views.tolist() == [0, 0, 0]
    assert not paid.any()


def test_bought_views_are_shown_exactly_as_they_were_sent() -> None:
    """Every image of the batch is one of its stored views, with that view's own embedding."""
    data = make_data(views=3)
    batch = _pixels(data)(0)
    assert batch.inputs.dtype == torch.uint8
    for row, pixels, embedding in zip(
        _rows(data, 0), batch.inputs.numpy(), batch.images.numpy(), strict=True
    ):
        view = int(np.argmax([np.array_equal(pixels, stored) for stored in data.pixels[row]]))
        np.testing.assert_array_equal(pixels, data.pixels[row, view])
        np.testing.assert_array_equal(embedding, data.image_embeddings[row, view])


def test_one_query_an_image_shows_fresh_views_against_the_clean_embedding() -> None:
    data = make_data(views=1)
    batches = _pixels(data)
    batch = batches(0)
    rows = _rows(data, 0)
    np.testing.assert_array_equal(batch.images.numpy(), data.image_embeddings[rows, 0])
    assert bool(batch.bought.all())
    assert not np.array_equal(batch.inputs.numpy(), data.pixels[rows, 0])
    torch.testing.assert_close(batches(0).inputs, batch.inputs, rtol=0, atol=0)
    assert not torch.equal(batches(9).inputs, batch.inputs)


def test_an_image_of_which_only_the_clean_view_was_bought_counts_as_one_query() -> None:
    bought = np.zeros((18, 3), dtype=bool)
    bought[:, 0] = True
    data = make_data(views=3, bought=bought)
    batch = _pixels(data)(0)
    assert bool(batch.bought.all())
    assert not np.array_equal(batch.inputs.numpy(), data.pixels[_rows(data, 0), 0])


def test_images_beyond_the_budget_get_fresh_views_beside_stored_ones() -> None:
    bought = np.zeros((18, 3), dtype=bool)
    bought[:9, 1:] = True
    data = make_data(views=3, bought=bought)
    batch = _pixels(data)(0)
    rows = _rows(data, 0)
    assert batch.bought.tolist() == (rows < 9).tolist()
    for row, pixels, embedding in zip(rows, batch.inputs.numpy(), batch.images, strict=True):
        stored = any(np.array_equal(pixels, view) for view in data.pixels[row])
        assert stored == (row < 9)
        assert bool(embedding.any()) == (row < 9)


def test_a_fresh_view_beside_stored_views_has_the_mean_bought_embedding_as_target() -> None:
    """Half of the time here; an embedding that was not bought is not in the mean."""
    bought = np.ones((18, 3), dtype=bool)
    bought[:, 1] = False
    data = make_data(views=3, bought=bought)
    embeddings = data.image_embeddings.copy()
    embeddings[:, 1] = np.nan
    data = replace(data, image_embeddings=embeddings)
    batches, fresh = _pixels(data, mean_target_prob=0.5), 0
    for step in range(20):
        batch = batches(step)
        assert bool(batch.bought.all())
        for row, pixels, embedding in zip(
            _rows(data, step), batch.inputs.numpy(), batch.images.numpy(), strict=True
        ):
            if any(np.array_equal(pixels, view) for view in data.pixels[row]):
                continue
            fresh += 1
            mean = data.image_embeddings[row, [0, 2]].mean(axis=0)
            np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), rtol=1e-5)
    assert 40 < fresh < 120


def test_images_with_only_the_clean_view_bought_have_no_mean_target() -> None:
    data = make_data()
    with_chance, without = _pixels(data, mean_target_prob=1.0)(0), _pixels(data)(0)
    assert torch.equal(with_chance.inputs, without.inputs)
    assert torch.equal(with_chance.images, without.images)


def test_with_one_query_per_image_the_original_is_shown_with_clean_prob() -> None:
    data = make_data(views=1)
    batches, exact = _pixels(data, clean_prob=0.25), 0
    for step in range(50):
        batch = batches(step)
        for row, pixels in zip(_rows(data, step), batch.inputs.numpy(), strict=True):
            exact += int(np.array_equal(pixels, data.pixels[row, 0]))
    assert 70 < exact < 130  # of 400


def test_among_several_stored_views_the_clean_view_is_shown_with_clean_prob() -> None:
    """With its own embedding; otherwise another stored view or a fresh view is shown."""
    data = make_data(views=3)
    batches, clean = _pixels(data, clean_prob=0.5, mean_target_prob=1.0), 0
    for step in range(50):
        batch = batches(step)
        for row, pixels, embedding in zip(
            _rows(data, step), batch.inputs.numpy(), batch.images.numpy(), strict=True
        ):
            if np.array_equal(pixels, data.pixels[row, 0]):
                clean += 1
                np.testing.assert_array_equal(embedding, data.image_embeddings[row, 0])
            else:
                mean = data.image_embeddings[row].mean(axis=0)
                np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), rtol=1e-5)
    assert 160 < clean < 240  # of 400


def test_an_unbought_clean_view_does_not_replace_bought_views() -> None:
    bought = np.ones((18, 3), dtype=bool)
    bought[:, 0] = False
    data = make_data(views=3, bought=bought)
    batch = _pixels(data, clean_prob=1.0)(0)
    assert bool(batch.bought.all())
    for row, pixels in zip(_rows(data, 0), batch.inputs.numpy(), strict=True):
        assert any(np.array_equal(pixels, view) for view in data.pixels[row, 1:])


def test_an_unbought_image_is_shown_unaugmented_as_often_as_a_bought_one() -> None:
    data = make_data(views=1)
    nothing = np.zeros((18, 1), dtype=bool)
    batch = _pixels(data, bought=nothing, clean_prob=1.0)(0)
    np.testing.assert_array_equal(batch.inputs.numpy(), data.pixels[_rows(data, 0), 0])


def test_images_on_a_plain_background_may_be_shown_unchanged_more_often() -> None:
    data = _half_plain()
    batches, unchanged = _pixels(data, clean_prob=0.2, plain_clean_prob=0.8), Counter[bool]()
    for step in range(50):
        rows = _rows(data, step)
        for row, pixels in zip(rows, batches(step).inputs.numpy(), strict=True):
            unchanged[bool(row < 9)] += int(np.array_equal(pixels, data.pixels[row, 0]))
    assert 140 < unchanged[True] < 180  # of 200 on a plain background
    assert 20 < unchanged[False] < 60  # of 200 others


def test_images_on_a_plain_background_may_be_line_drawings_more_often() -> None:
    data = _half_plain()
    drawings = _pixels(data, line_drawing_prob=0.0, plain_line_drawing_prob=1.0)(0).inputs
    views = _pixels(data)(0).inputs
    changed = [not torch.equal(a, b) for a, b in zip(drawings, views, strict=True)]
    assert changed == (_rows(data, 0) < 9).tolist()


def test_without_values_of_their_own_images_on_a_plain_background_are_shown_as_others() -> None:
    data = _half_plain()
    shown = _pixels(data, clean_prob=0.3, line_drawing_prob=0.5)(0)
    same = _pixels(
        data,
        clean_prob=0.3,
        plain_clean_prob=0.3,
        line_drawing_prob=0.5,
        plain_line_drawing_prob=0.5,
    )(0)
    assert torch.equal(shown.inputs, same.inputs)


def _half_plain(*, views: int = 1, bought: NDArray[np.bool_] | None = None) -> TrainingData:
    """The first nine images have a white border; the others are noise."""
    data = make_data(views=views, bought=bought)
    pixels = np.random.default_rng(1).integers(0, 256, data.pixels.shape, dtype=np.uint8)
    pixels[:9, :, :2] = pixels[:9, :, -2:] = 255
    pixels[:9, :, :, :2] = pixels[:9, :, :, -2:] = 255
    return replace(data, pixels=pixels)


def test_stored_views_are_never_redrawn_and_fresh_ones_keep_their_target() -> None:
    stored = make_data(views=3)
    shown = _pixels(stored, line_drawing_prob=1.0, mean_target_prob=0.5)(0)
    plain = _pixels(stored, mean_target_prob=0.5)(0)
    assert torch.equal(shown.images, plain.images)
    for row, drawing, picture in zip(
        _rows(stored, 0), shown.inputs.numpy(), plain.inputs.numpy(), strict=True
    ):
        is_stored = any(np.array_equal(picture, view) for view in stored.pixels[row])
        assert np.array_equal(drawing, picture) == is_stored


def test_only_useful_images_are_shown_and_a_domain_without_any_is_left_out() -> None:
    domains = np.repeat(np.arange(3), 4)
    useful = np.array([True, False, True, False] + [False] * 4 + [True] * 4)
    sampler = BalancedSampler(domains, per_domain=2, seed=0, useful=useful)
    seen = Counter(np.concatenate([sampler.indices(step) for step in range(2)]).tolist())
    assert seen == {0: 2, 2: 2, 8: 1, 9: 1, 10: 1, 11: 1}


def test_a_method_without_image_term_reads_no_embedding() -> None:
    data = make_data(views=3)
    batch = _pixels(data, bought=np.zeros((18, 3), dtype=bool))(0)
    assert not batch.bought.any()
    assert batch.images.shape == (8, DIM)
    assert not batch.images.any()


def test_features_are_paired_with_the_embedding_of_the_same_view() -> None:
    bought = np.zeros((18, 3), dtype=bool)
    bought[::2, 1:] = True
    data = make_data(views=3, bought=bought)
    needed = bought.copy()
    needed[1::2, 0] = True
    rows_NK = np.where(needed, np.cumsum(needed).reshape(needed.shape) - 1, -1)
    codes = np.argwhere(needed)  # the feature of a view is its own (image, view)
    batches = FeatureBatches(
        _source(data, bought),
        features=torch.from_numpy(codes),
        rows_NK=rows_NK,
    )
    for step in range(4):
        batch = batches(step)
        for (image, view), embedding, paid in zip(
            batch.inputs.tolist(), batch.images.numpy(), batch.bought.tolist(), strict=True
        ):
            assert paid == bought[image, view]
            expected = data.image_embeddings[image, view] if paid else np.zeros(DIM)
            np.testing.assert_array_equal(embedding, expected)


@settings(deadline=None, max_examples=25)
@given(
    ranks=st.integers(2, 8),
    step=st.integers(0, 5),
    clean=st.sampled_from([0.0, 0.5]),
    mean=st.sampled_from([0.0, 0.5]),
    drawn=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 3),
    plain=st.sampled_from([None, 0.9]),
)
def test_the_rows_of_all_ranks_are_the_batch_of_one_process(
    ranks: int, step: int, clean: float, mean: float, drawn: float, seed: int, plain: float | None
) -> None:
    bought = np.random.default_rng(seed).random((18, 3)) < 0.4
    data = _half_plain(views=3, bought=bought)
    options = TrainingOptions(
        clean_prob=clean,
        mean_target_prob=mean,
        line_drawing_prob=drawn,
        plain_clean_prob=plain,
        plain_line_drawing_prob=plain,
    )
    whole_source = _source(data, bought)

    def batch(source: BatchSource) -> Batch:
        return PixelBatches(source, device=CPU, options=options)(step)

    whole = batch(whole_source)
    parts = [
        batch(replace(whole_source, ranks=Ranks(rank=rank, count=ranks))) for rank in range(ranks)
    ]
    for field in fields(Batch):
        joined = torch.cat([getattr(part, field.name) for part in parts]).float()
        assert torch.allclose(joined, getattr(whole, field.name).float(), atol=0.01), field.name


def test_the_features_of_all_ranks_are_the_batch_of_one_process() -> None:
    data = make_data(views=2)
    source = _source(data, data.bought)
    rows = np.arange(data.bought.size).reshape(data.bought.shape)
    features = torch.arange(float(data.bought.size))[:, None]
    whole = FeatureBatches(source, features=features, rows_NK=rows)(3)
    parts = [
        FeatureBatches(
            replace(source, ranks=Ranks(rank=rank, count=3)), features=features, rows_NK=rows
        )(3)
        for rank in range(3)
    ]
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
