from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import grey_dilation, grey_erosion
from torch import Tensor

from student.transforms.line_drawing import contours, drawn_views


def _source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _noise(images: int, *, size: int = 12, seed: int = 0) -> Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, (images, size, size, 3))
    return torch.from_numpy(drawn.astype(np.uint8))


def _disc(size: int = 24) -> Tensor:
    """A red disc on white, (1, H, W, 3)."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    picture = np.full((size, size, 3), 255, dtype=np.uint8)
    picture[x**2 + y**2 < (size / 3) ** 2] = (200, 30, 30)
    return torch.from_numpy(picture)[None]


def test_contours_are_dilation_minus_erosion_in_the_colour_where_they_differ_most() -> None:
    picture = _noise(1)
    reference = np.max(
        [
            grey_dilation(channel, size=(3, 3), mode="nearest").astype(int)
            - grey_erosion(channel, size=(3, 3), mode="nearest")
            for channel in picture[0].numpy().transpose(2, 0, 1)
        ],
        axis=0,
    )
    found = contours(picture.permute(0, 3, 1, 2).float())
    np.testing.assert_array_equal(found[0, 0].numpy(), reference)


def test_a_blank_image_has_no_contours() -> None:
    blank = torch.full((1, 3, 8, 8), 130.0)
    assert not contours(blank).any()


def test_at_probability_zero_every_image_is_unchanged() -> None:
    pictures = _noise(6)
    assert torch.equal(drawn_views(pictures, _source(), chance=0.0), pictures.float())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), chance=st.floats(0, 1))
def test_a_drawing_keeps_the_scale_and_is_never_brighter_where_its_lines_are(
    seed: int, chance: float
) -> None:
    pictures = _noise(5, seed=seed)
    views = drawn_views(pictures, _source(seed), chance=chance)
    assert views.shape == pictures.shape
    assert views.min() >= 0
    assert views.max() <= 255
    again = drawn_views(pictures, _source(seed), chance=chance)
    assert torch.equal(views, again)


@pytest.mark.parametrize("chance", [0.25, 0.6])
def test_images_are_converted_with_the_given_probability(chance: float) -> None:
    pictures = _disc().repeat(2000, 1, 1, 1)
    views = drawn_views(pictures, _source(), chance=chance)
    changed = (views != pictures).flatten(1).any(dim=1).float().mean()
    assert abs(float(changed) - chance) < 0.04


def test_redrawing_an_image_does_not_change_the_others() -> None:
    pictures = _noise(40)
    some = drawn_views(pictures, _source(), chance=0.5)
    kept = (some == pictures).flatten(1).all(dim=1)
    assert 5 < int(kept.sum()) < 35
    all_of_them = drawn_views(pictures, _source(), chance=1.0)
    assert torch.equal(some[~kept], all_of_them[~kept])


def test_half_of_the_drawings_are_without_colour_and_half_keep_it() -> None:
    views = drawn_views(_disc().repeat(2000, 1, 1, 1), _source(), chance=1.0)
    is_grey = (views == views[..., :1]).flatten(1).all(dim=1).float().mean()
    assert abs(float(is_grey) - 0.5) < 0.05


def test_a_line_drawing_has_a_pale_inside_and_a_dark_edge_for_a_flat_shape() -> None:
    views = drawn_views(_disc().repeat(200, 1, 1, 1), _source(), chance=1.0)
    pens = views[(views == views[..., :1]).flatten(1).all(dim=1)]
    red_as_grey = 0.299 * 200 + 0.587 * 30 + 0.114 * 30
    inside, corner, rim = pens[:, 12, 12, 0], pens[:, 0, 0, 0], pens[:, 12, 4, 0]
    assert (inside > red_as_grey).all()
    assert (corner == 255).all()
    assert (rim < corner).all()
    assert (inside == 255).float().mean() > 0.3  # half of them have no wash
