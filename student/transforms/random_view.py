"""Random views of a whole batch at once: one resampling and one colour matrix per image.

Shapes: B batch, H and W pixels, 3 colours; pixels lie on the scale 0 to 255.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from student.transforms.parameters import (
    LUMA,
    NUM_UNIFORMS,
    PAPER,
    Recipe,
    ViewParameters,
    draw_views,
)


def random_views(
    pixels_BHW3: Tensor,
    generator: torch.Generator,
    recipe: Recipe = PAPER,
    *,
    first: int = 0,
    of: int | None = None,
) -> Tensor:
    """A fresh view of each uint8 image: float (B, H, W, 3), decided by the generator alone.

    Images that are rows `first` and following of a larger batch, `of` so many images, get the views
    that they get in the whole of it.
    """
    count = len(pixels_BHW3)
    drawn = torch.rand(of or count, NUM_UNIFORMS, generator=generator, dtype=torch.float64)
    uniform = drawn[first : first + count]
    height, width = pixels_BHW3.shape[1:3]
    return augment(pixels_BHW3, draw_views(uniform.numpy(), recipe, aspect=width / height))


def augment(pixels_BHW3: Tensor, parameters: ViewParameters) -> Tensor:
    """The views with these parameters: float (B, H, W, 3) between 0 and 255.

    Bilinear, as torchvision's crop; the flip is part of the same resampling.
    """
    device = pixels_BHW3.device
    pixels_B3HW = pixels_BHW3.permute(0, 3, 1, 2).to(torch.float32, copy=True).contiguous()
    grid_BHW2 = functional.affine_grid(
        _source_of(parameters).to(device), list(pixels_B3HW.shape), align_corners=False
    )
    cropped_B3HW = functional.grid_sample(
        pixels_B3HW, grid_BHW2, padding_mode="border", align_corners=False
    )
    cropped_B3P = cropped_B3HW.flatten(2)
    colour_B34 = torch.from_numpy(parameters.colour).to(device, torch.float32)
    luma_13 = torch.from_numpy(LUMA).to(device, torch.float32)[None]
    grey_B11 = (luma_13 @ cropped_B3P.mean(-1, keepdim=True)).view(-1, 1, 1)
    coloured_B3P = torch.baddbmm(colour_B34[..., 3:] * grey_B11, colour_B34[..., :3], cropped_B3P)
    return coloured_B3P.clamp_(0, 255).view_as(cropped_B3HW).permute(0, 2, 3, 1)


def _source_of(parameters: ViewParameters) -> Tensor:
    """Where each output pixel comes from: (B, 2, 3) on torch's scale, -1 to 1 across the image."""
    left, top, width, height = torch.from_numpy(parameters.box).to(torch.float32).T
    direction = 1 - 2 * torch.from_numpy(parameters.flipped).to(torch.float32)
    nought = torch.zeros_like(left)
    row_x = torch.stack([width * direction, nought, 2 * left + width - 1], dim=1)
    row_y = torch.stack([nought, height, 2 * top + height - 1], dim=1)
    return torch.stack([row_x, row_y], dim=1)
