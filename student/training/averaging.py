"""SWAD: the average of the weights over the loss valley.

SWAD (Cha et al., NeurIPS 2021, arXiv 2102.08604) averages the weights of every step, from where
the validation loss stops falling to where it has risen for good. Written from the paper. Only the
weights that the stage trains are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True, kw_only=True)
class WeightMean:
    """A running mean of weights, by name."""

    count: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def add(self, tensors: Mapping[str, Tensor], *, count: int = 1) -> None:
        """Adds these weights, counted `count` times."""
        self.count += count
        if not self.tensors:
            self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
            return
        for name, mean in self.tensors.items():
            mean.lerp_(tensors[name].detach(), count / self.count)


@dataclass(slots=True, kw_only=True)
class Segment:
    """The mean weights of the steps between two validations, and the loss at the second."""

    loss: float
    mean: WeightMean


@dataclass(slots=True, kw_only=True)
class LossValley:
    """Collects segments, one for each validation, and averages those in the valley.

    The valley starts at the first segment whose loss none of the next `n_converge` - 1 undercuts.
    Its rim is the mean loss of those `n_converge`, times 1 + `tolerance_ratio`. It ends before
    `n_tolerance` segments in a row above the rim.
    """

    n_converge: int = 3
    n_tolerance: int = 6
    tolerance_ratio: float = 0.3
    waiting: list[Segment] = field(default_factory=list)
    rim: float | None = None
    mean: WeightMean = field(default_factory=WeightMean)
    ended: bool = False

    def add(self, segment: Segment) -> None:
        """Adds the next segment; once the valley has `ended`, it is ignored."""
        if self.ended:
            return
        self.waiting.append(segment)
        if self.rim is None:
            self._look_for_start()
        while self.rim is not None and not self.ended and len(self.waiting) >= self.n_tolerance:
            if min(late.loss for late in self.waiting[: self.n_tolerance]) > self.rim:
                self.ended = True
            else:
                self._average(self.waiting.pop(0))

    def average(self) -> dict[str, Tensor]:
        """The mean weights of the valley, or of the last segment where none began.

        Segments at the end that stayed above the rim are left out.
        """
        if self.rim is None:
            return self.waiting[-1].mean.tensors
        while not self.ended and any(late.loss <= self.rim for late in self.waiting):
            self._average(self.waiting.pop(0))
        return self.mean.tensors

    def _look_for_start(self) -> None:
        losses = [segment.loss for segment in self.waiting]
        if len(losses) < self.n_converge:
            return
        first = self.waiting.pop(0)
        if first.loss == min(losses):
            self.rim = sum(losses) / len(losses) * (1 + self.tolerance_ratio)
            self._average(first)

    def _average(self, segment: Segment) -> None:
        self.mean.add(segment.mean.tensors, count=segment.mean.count)
