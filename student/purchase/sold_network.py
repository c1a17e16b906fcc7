"""What the vendor says of the image network whose embeddings it sells, for a tower to follow."""

from __future__ import annotations

from typing import cast

from student.models.architecture import NetworkSettings, SoldNetwork
from student.vendor.schemas import Model


def sold_network(model: Model) -> SoldNetwork:
    """The image network of a model on sale. What is missing, or is not of its type, is unknown."""
    quick_gelu = model.configuration.get("quick_gelu")
    model_cfg = model.configuration.get("model_cfg")
    vision = model_cfg.get("vision_cfg") if isinstance(model_cfg, dict) else None
    return SoldNetwork(
        vision=vision if isinstance(vision, dict) else {},
        settings=NetworkSettings(
            mean=_three(model.preprocess.get("mean")),
            std=_three(model.preprocess.get("std")),
            quick_gelu=quick_gelu if isinstance(quick_gelu, bool) else None,
        ),
    )


def _three(value: object) -> tuple[float, ...] | None:
    """Three numbers; None for anything else."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    is_numeric = all(isinstance(one, int | float) for one in value)
    return tuple(map(float, cast("list[float]", value))) if is_numeric else None
