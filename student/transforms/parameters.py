"""Parameters of a random view: a crop, a flip and a colour matrix, drawn from the paper's ranges.

Pure numpy, so that stored views, which are rendered once and sent, follow the same rule as the
views of every step. Shapes: B views, 3 colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)

_ATTEMPTS = 10  # torchvision's number: then the largest central crop is taken
NUM_UNIFORMS = 2 * _ATTEMPTS + 8
"""How many numbers in [0, 1) decide a view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The ranges. The defaults are the paper's: RandomResizedCrop(scale .7-1), horizontal flip,
    ColorJitter(.3, .3, .3, .3), RandomGrayscale(.1)."""

    scale: tuple[float, float] = (0.7, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.3
    grayscale: float = 0.1


PAPER = Recipe()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewParameters:
    """B drawn views. box (B, 4): left, top, width, height as fractions of the image; flipped (B,)
    bool; colour (B, 3, 4): `colour_matrix` for a mean grey of 1."""

    box: Floats
    flipped: NDArray[np.bool_]
    colour: Floats


def draw_views(uniform: Floats, recipe: Recipe = PAPER, *, aspect: float = 1.0) -> ViewParameters:
    """The views that these numbers in [0, 1) decide: (B, NUM_UNIFORMS) gives B views.

    `aspect` is the images' width over height.
    """
    areas, ratios = uniform[:, :_ATTEMPTS], uniform[:, _ATTEMPTS : 2 * _ATTEMPTS]
    place_x, place_y, flip, brightness, contrast, saturation, hue, grey = uniform[
        :, 2 * _ATTEMPTS :
    ].T
    width, height = _crop(areas, ratios, recipe, aspect)
    saturate = _spread(saturation, recipe.saturation)
    return ViewParameters(
        box=np.stack([place_x * (1 - width), place_y * (1 - height), width, height], axis=1),
        flipped=flip < recipe.flip,
        colour=colour_matrix(
            brightness=_spread(brightness, recipe.brightness),
            contrast=_spread(contrast, recipe.contrast),
            saturation=np.where(grey < recipe.grayscale, 0.0, saturate),
            hue=(2 * hue - 1) * recipe.hue,
        ),
    )


def colour_matrix(
    *,
    brightness: ArrayLike,
    contrast: ArrayLike,
    saturation: ArrayLike,
    hue: ArrayLike,
    mean_grey: ArrayLike = 1.0,
) -> Floats:
    """Brightness, contrast, saturation, hue, in this order, as one matrix (..., 3, 4).

    The last column is added: contrast turns about the image's own `mean_grey`, on the pixels'
    scale. Saturation 0 is grayscale. Hue is in turns, a rotation in YIQ, so grey stays grey;
    positive turns red towards green, as torchvision's does.
    """
    brightness, contrast, saturation, hue, mean_grey = (
        np.asarray(value, dtype=np.float64)
        for value in (brightness, contrast, saturation, hue, mean_grey)
    )
    gain = (brightness * contrast)[..., None, None]
    offset = (brightness * (1 - contrast) * mean_grey)[..., None, None]
    keep = saturation[..., None, None]
    saturate = keep * np.eye(3) + (1 - keep) * LUMA
    shift = np.broadcast_to(offset, (*offset.shape[:-2], 3, 1))
    return np.concatenate([gain * (_hue_rotation(hue) @ saturate), shift], axis=-1)


def _hue_rotation(turns: Floats) -> Floats:
    angle = -2 * np.pi * turns
    rotation = np.zeros((*turns.shape, 3, 3))
    rotation[..., 0, 0] = 1
    rotation[..., 1, 1] = rotation[..., 2, 2] = np.cos(angle)
    rotation[..., 2, 1] = np.sin(angle)
    rotation[..., 1, 2] = -np.sin(angle)
    turned: Floats = _FROM_YIQ @ rotation @ _TO_YIQ
    return turned


def _crop(areas: Floats, ratios: Floats, recipe: Recipe, aspect: float) -> tuple[Floats, Floats]:
    """The first attempt that fits, as fractions of the image's width and height."""
    area = recipe.scale[0] + areas * (recipe.scale[1] - recipe.scale[0])
    low, high = np.log(recipe.ratio)
    shape = np.exp(low + ratios * (high - low)) / aspect
    width, height = np.sqrt(area * shape), np.sqrt(area / shape)
    fits = (width <= 1) & (height <= 1)
    rows, first = np.arange(len(areas)), fits.argmax(axis=1)
    squeeze = np.clip(aspect, *recipe.ratio) / aspect
    found = fits.any(axis=1)
    return (
        np.where(found, width[rows, first], min(1.0, squeeze)),
        np.where(found, height[rows, first], min(1.0, 1 / squeeze)),
    )


def _spread(uniform: Floats, amount: float) -> Floats:
    return 1 + (2 * uniform - 1) * amount
