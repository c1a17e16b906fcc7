"""An image tower in the space of another CLIP, from that CLIP's own answers and from labels.

On images that the CLIP has answered for, it is trained towards the answers. On labelled images it
is trained by the cross-entropy against the CLIP's text embeddings of the class names, at the CLIP's
own temperature. So its answers vary within a class as a CLIP's do, which those of a tower taught
with class names alone do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torchvision.transforms import v2

from student.models.timm_backbone import load_backbone
from tools.train_teacher.recipe import PREPROCESS, SIZE
from tools.train_teacher.train import SHARED, augmentation

Pixels: TypeAlias = NDArray[np.uint8]
Vectors: TypeAlias = NDArray[np.float32]
BACKBONE = "tf_efficientnet_lite0"
_LOGIT_SCALE = 100.0  # OpenAI's CLIP: the temperature at which its training was clipped
_RATE = 3e-4
_ANSWERS_WEIGH = 4.0  # against the cross-entropy of labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lessons:
    """What a tower is trained on.

    `answered` (A, SIZE, SIZE, 3) with the CLIP's `answers` (A, D); `labelled` (L, SIZE, SIZE, 3)
    with `labels` (L,) and the group of each, `groups` (L,), which are drawn equally often; `texts`
    (C, D), the CLIP's embeddings of the classes. Embeddings have unit length. L may be 0.
    """

    answered: Pixels
    answers: Vectors
    labelled: Pixels
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    texts: Vectors


class Tower(nn.Module):
    """A timm backbone and a linear map to unit vectors in the space of a CLIP."""

    def __init__(self, pixels: Pixels, answers: Vectors) -> None:
        """The map starts as the ridge regression of `answers` (A, D) on the features of `pixels`
        (A, SIZE, SIZE, 3), as in LP-FT (Kumar et al., ICLR 2022)."""
        super().__init__()
        backbone: Any = load_backbone(BACKBONE, "wheel")
        self.backbone = backbone
        self._normalise = v2.Normalize(PREPROCESS["mean"], PREPROCESS["std"])
        self.eval()
        self.head = _ridge(_in_batches(self._features, pixels), torch.from_numpy(answers))
        self.to(memory_format=torch.channels_last)

    def forward(self, raw: Tensor) -> Tensor:
        """Return the embeddings (B, D) of uint8 images (B, 3, SIZE, SIZE), at unit length."""
        return normalize(self.head(self._features(raw)), dim=-1)

    def embed(self, pixels: Pixels) -> Vectors:
        """Return the embeddings (N, D) of images (N, SIZE, SIZE, 3)."""
        found: Vectors = _in_batches(self, pixels).numpy()
        return found

    def _features(self, raw: Tensor) -> Tensor:
        images = self._normalise(raw.float() / 255).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.backbone(images)
        return features


def _in_batches(network: Callable[[Tensor], Tensor], pixels: Pixels) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(_tensor(pixels[i : i + 64])) for i in range(0, len(pixels), 64)])


def _ridge(features: Tensor, answers: Tensor) -> nn.Linear:
    """Return the linear map with the least squares on standardised features (A, F), with as much
    weight on its own size as on one image per feature."""
    mean, scale = features.mean(dim=0), features.std(dim=0) + 1e-6
    inputs = ((features - mean) / scale).double()
    target = answers.mean(dim=0)
    gram = inputs.T @ inputs + len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(gram, inputs.T @ (answers - target).double()).float()
    linear = nn.Linear(*solved.shape)
    with torch.no_grad():
        linear.weight.copy_((solved / scale[:, None]).T)
        linear.bias.copy_(target - linear.weight @ mean)
    return linear


def read_pixels(paths: Sequence[Path]) -> Pixels:
    """Return images (N, SIZE, SIZE, 3), resized as the other teachers' are."""
    pixels = np.empty((len(paths), SIZE, SIZE, 3), dtype=np.uint8)
    for row, path in enumerate(paths):
        image = Image.open(path).convert("RGB")
        pixels[row] = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return pixels


def train_tower(
    lessons: Lessons, *, steps: int, batch: int, seed: int, progress: Callable[[str], None]
) -> Tower:
    """Train a tower with AdamW and OneCycle, from ImageNet's weights.

    A step shows `batch` images with answers and as many with labels.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    answers, texts = torch.from_numpy(lessons.answers), torch.from_numpy(lessons.texts)
    labels = torch.from_numpy(lessons.labels)
    variance = (answers - answers.mean(dim=0)).square().sum(dim=-1).mean()
    # In eval() throughout: batches of sketches and photographs would move what was regressed on.
    tower = Tower(lessons.answered, lessons.answers)
    optimiser = torch.optim.AdamW(tower.parameters(), lr=_RATE, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=_RATE, total_steps=steps, pct_start=0.15
    )
    augment = augmentation(SIZE)
    of_group = [np.flatnonzero(lessons.groups == group) for group in np.unique(lessons.groups)]
    for step in range(steps):
        asked = draw.choice(len(answers), batch, replace=False)
        groups = draw.integers(len(of_group), size=batch) if of_group else ()
        named = np.array([draw.choice(of_group[group]) for group in groups], dtype=np.int64)
        raw = _tensor(np.concatenate([lessons.answered[asked], lessons.labelled[named]]))
        found = tower(torch.cat([augment(part) for part in torch.split(raw, SHARED)]))
        unexplained = (found[:batch] - answers[asked]).square().sum(dim=-1).mean() / variance
        # The sum, because the mean over no image is not a number.
        logits = _LOGIT_SCALE * found[batch:] @ texts.T
        wrong = cross_entropy(logits, labels[named], reduction="sum") / batch
        optimiser.zero_grad()
        torch.autograd.backward(_ANSWERS_WEIGH * unexplained + wrong)
        optimiser.step()
        schedule.step()
        if (step + 1) % 25 == 0:
            progress(
                f"step {step + 1}/{steps}  not explained {unexplained.item():.2f}  "
                f"cross-entropy {wrong.item():.2f}"
            )
    return tower


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
