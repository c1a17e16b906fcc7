from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from student.transforms.parameters import (
    LUMA,
    NUM_UNIFORMS,
    Recipe,
    ViewParameters,
    colour_matrix,
    draw_views,
)
from student.transforms.random_view import augment, random_views

STILL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def _recoloured(image: torch.Tensor, **changes: float) -> torch.Tensor:
    """An image (3, H, W) between 0 and 1 under one colour matrix."""
    grey = float((torch.tensor(LUMA, dtype=image.dtype) @ image.flatten(1)).mean())
    matrix = torch.tensor(colour_matrix(**{**STILL, **changes}, mean_grey=grey), dtype=image.dtype)
    flat = matrix[:, :3] @ image.flatten(1) + matrix[:, 3:]
    return flat.view_as(image)


@pytest.fixture
def image() -> torch.Tensor:
    """Medium colours, so that no value is clipped."""
    return 0.35 + 0.3 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        ("brightness", tv.adjust_brightness),
        ("contrast", tv.adjust_contrast),
        ("saturation", tv.adjust_saturation),
    ],
)
def test_each_colour_change_except_hue_equals_torchvisions(
    image: torch.Tensor, change: str, reference: object
) -> None:
    assert callable(reference)
    for factor in (0.7, 1.2):
        expected = reference(image, factor)
        torch.testing.assert_close(
            _recoloured(image, **{change: factor}), expected, rtol=0, atol=1e-4
        )


def test_changes_are_applied_in_their_order_as_torchvision_would(image: torch.Tensor) -> None:
    expected = tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(image, 1.1), 0.8), 1.25)
    ours = _recoloured(image, brightness=1.1, contrast=0.8, saturation=1.25)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_hue_rotates_red_to_green_to_blue_and_keeps_luma_and_grey() -> None:
    red = np.array([1.0, 0.0, 0.0])
    third = colour_matrix(**{**STILL, "hue": 1 / 3})[:, :3]
    assert (third @ red).argmax() == 1
    assert (third @ third @ red).argmax() == 2
    np.testing.assert_allclose(LUMA @ third, LUMA, atol=1e-12)
    np.testing.assert_allclose(third @ np.ones(3), np.ones(3), atol=1e-12)


def test_no_saturation_is_grayscale(image: torch.Tensor) -> None:
    grey = _recoloured(image, saturation=0.0)
    torch.testing.assert_close(grey, tv.rgb_to_grayscale(image, 3), rtol=0, atol=1e-4)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), aspect=st.sampled_from([1.0, 1.6, 0.5]))
def test_every_crop_lies_in_the_image_with_the_recipes_area_and_ratio(
    seed: int, aspect: float
) -> None:
    uniform = np.random.default_rng(seed).random((16, NUM_UNIFORMS))
    left, top, width, height = draw_views(uniform, aspect=aspect).box.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width <= 1 + 1e-9).all()
    assert (top + height <= 1 + 1e-9).all()
    ratio = width / height * aspect
    assert ((ratio >= 3 / 4 - 1e-9) & (ratio <= 4 / 3 + 1e-9)).all()
    drawn = ~np.isclose(np.maximum(width, height), 1.0)  # otherwise it may be the central fallback
    assert (width * height)[drawn].min(initial=1.0) >= 0.7 - 1e-9


def test_flips_and_grayscale_come_as_often_as_the_recipe_says() -> None:
    uniform = np.random.default_rng(0).random((4000, NUM_UNIFORMS))
    views = draw_views(uniform, Recipe(flip=0.5, grayscale=0.1))
    assert views.flipped.mean() == pytest.approx(0.5, abs=0.03)
    rows_alike = np.isclose(views.colour[:, 0, :3], views.colour[:, 1, :3]).all(axis=1)
    assert rows_alike.mean() == pytest.approx(0.1, abs=0.02)


def _parameters(box: tuple[float, float, float, float], *, flipped: bool) -> ViewParameters:
    return ViewParameters(
        box=np.array([box]),
        flipped=np.array([flipped]),
        colour=colour_matrix(**STILL)[None],
    )


def test_the_whole_image_unchanged_is_the_image() -> None:
    pixels = torch.randint(0, 256, (1, 6, 6, 3), dtype=torch.uint8)
    out = augment(pixels, _parameters((0, 0, 1, 1), flipped=False))
    assert torch.equal(out.round().to(torch.uint8), pixels)


def test_a_flip_is_the_mirror_image() -> None:
    pixels = torch.randint(0, 256, (1, 6, 6, 3), dtype=torch.uint8)
    out = augment(pixels, _parameters((0, 0, 1, 1), flipped=True))
    assert torch.equal(out.round().to(torch.uint8), pixels.flip(2))


def test_a_crop_is_torchvisions_resized_crop() -> None:
    pixels = torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8)
    out = augment(pixels, _parameters((0.25, 0.125, 0.75, 0.75), flipped=False))
    expected = tv.resized_crop(
        pixels.permute(0, 3, 1, 2).float(), top=1, left=2, height=6, width=6, size=[8, 8]
    ).permute(0, 2, 3, 1)
    inner = (slice(None), slice(1, 7), slice(1, 7))  # the rim may blend with pixels outside
    torch.testing.assert_close(out[inner], expected[inner], rtol=0, atol=1e-2)


def test_one_seed_gives_one_set_of_views_and_another_seed_another() -> None:
    pixels = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    first, again, other = (
        random_views(pixels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 255
