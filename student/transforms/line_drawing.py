"""Line drawings of images, so that a student that has only colour images also sees line drawings.

Drawing an image's contours does not change what it shows, so the drawing keeps the target of its
image and costs no query. The contours are the morphological gradient (Serra, "Image
Analysis and Mathematical Morphology", 1982): the brightest minus the darkest of each 3 x 3 pixels.

Shapes: B batch, H and W pixels, 3 colours; pixels lie on the scale 0 to 255.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from student.transforms.parameters import LUMA

_FAINTEST, _BOLDEST = 0.7, 3.0  # ink per step of brightness
_DARKEST_WASH = 0.5  # of the picture's own shading, under a pen's lines
_LEVELS = 4  # of each colour, where colours are laid flat


def drawn_views(
    pixels_BHW3: Tensor,
    generator: torch.Generator,
    *,
    chance: float | Tensor,
    first: int = 0,
    of: int | None = None,
) -> Tensor:
    """Each image unchanged or, with probability `chance`, drawn: float (B, H, W, 3) from 0 to 255.

    `chance` is one number, or one for each image: (B,).

    Half of the drawings are pen drawings: lines on white, half of them with a grey wash. The others
    are lines over the colours, which are posterised in half of them.
    `first` and `of` are those of `random_views`.
    """
    count = len(pixels_BHW3)
    uniform_B5 = torch.rand(of or count, 5, generator=generator)[first : first + count]
    is_drawn, is_pen, plain, ink, wash = uniform_B5.to(pixels_BHW3.device).T
    rows = (is_drawn < torch.as_tensor(chance).to(is_drawn)).nonzero().squeeze(1)
    views_BHW3 = pixels_BHW3.float()
    if not len(rows):
        return views_BHW3
    picked_B3HW = views_BHW3[rows].permute(0, 3, 1, 2)
    strength_B = _FAINTEST + (_BOLDEST - _FAINTEST) * ink[rows]
    lines_B1HW = 255 - (strength_B[:, None, None, None] * contours(picked_B3HW)).clamp(max=255)
    is_plain_B111 = (plain[rows] < 1 / 2)[:, None, None, None]
    shade_B111 = torch.where(is_plain_B111, 0.0, _DARKEST_WASH * wash[rows][:, None, None, None])
    under_pen_B1HW = 255 - shade_B111 * (255 - _grey(picked_B3HW))
    under_ink_B3HW = torch.where(is_plain_B111, picked_B3HW, _flat(picked_B3HW))
    is_pen_B111 = (is_pen[rows] < 1 / 2)[:, None, None, None]
    under_B3HW = torch.where(is_pen_B111, under_pen_B1HW, under_ink_B3HW)
    redrawn_B3HW = torch.minimum(lines_B1HW, under_B3HW)
    return views_BHW3.index_copy(0, rows, redrawn_B3HW.permute(0, 2, 3, 1))


def contours(pixels_B3HW: Tensor) -> Tensor:
    """The difference between the brightest and the darkest neighbour of each pixel, in the colour
    channel where it is largest: (B, 1, H, W) between 0 and 255."""
    framed = functional.pad(pixels_B3HW, (1, 1, 1, 1), mode="replicate")
    spread_B3HW = functional.max_pool2d(framed, 3, 1) + functional.max_pool2d(-framed, 3, 1)
    return spread_B3HW.amax(dim=1, keepdim=True)


def _grey(pixels_B3HW: Tensor) -> Tensor:
    weights = torch.from_numpy(LUMA).to(pixels_B3HW)
    return (pixels_B3HW * weights[:, None, None]).sum(dim=1, keepdim=True)


def _flat(pixels_B3HW: Tensor) -> Tensor:
    """Posterised: the nearest lower of a few levels of each colour, over the whole scale."""
    step = 256 / _LEVELS
    return (pixels_B3HW / step).floor() * (255 / (_LEVELS - 1))
