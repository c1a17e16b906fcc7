"""Measure the zero-shot accuracy of teachers by style, with the vendor's encoder.

    python -m tools.train_teacher.measure --data data/emoji --out runs/teachers.json \
        teacher_server/embedded work/teachers/emoji-weak

The fp16 weights in the folder are measured, since the vendor sells their embeddings.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from student.data.folder.image_folder import Item, discover
from student.evaluation.results import AccuracyCount
from teacher_server.inference.encoder import OpenClipEncoder, load_encoder
from tools.train_teacher.folder import PROVENANCE, write_provenance

FREE = "free to train on"
"""The group of the images that `unseen.csv` does not name."""

_MOST = 500  # images whose embeddings are described: the effective rank grows with their number

Scores = dict[str, dict[str, AccuracyCount]]
"""By style, then by the item's group in `unseen.csv`."""


def zero_shot(data: Path, encoder: OpenClipEncoder) -> Scores:
    """Return top-1 accuracy over all classes, with the prompt `a photo of a {class}`."""
    catalogue = discover(data)
    prompts = [f"a photo of a {name}" for name in catalogue.classes]
    texts = encoder.encode([encoder.prepare_text(prompt) for prompt in prompts])
    scores: Scores = {}
    for style in catalogue.domains:
        items = [item for item in catalogue.items if item.domain == style]
        answers = (_encoded(encoder, items) @ texts.T).argmax(axis=1)
        right: dict[str, list[bool]] = defaultdict(list)
        for item, answer in zip(items, answers, strict=True):
            group = item.unseen_group or FREE
            right[group].append(catalogue.classes[int(answer)] == item.class_name)
        scores[style] = {
            group: AccuracyCount(correct=sum(hits), images=len(hits))
            for group, hits in sorted(right.items())
        }
    return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpread:
    """How the embeddings of images differ, on so many random images.

    `within_classes` is the share (0 to 1) of their variance that lies within classes: what a
    student can learn from the teacher beyond the labels. `effective_rank` is the exponential of the
    entropy of the spectrum of their covariance (Roy and Vetterli, EUSIPCO 2007): the number of
    directions.
    """

    images: int
    within_classes: float
    effective_rank: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {
            "images": self.images,
            "variance_within_classes": round(self.within_classes, 3),
            "effective_rank": round(self.effective_rank, 1),
        }

    def __str__(self) -> str:
        return (
            f"of the variance of {self.images} image embeddings {self.within_classes:.0%} lies "
            f"within classes, at an effective rank of {self.effective_rank:.0f}"
        )


def embedding_spread(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> EmbeddingSpread:
    """Return the spread of embeddings (N, D) with these labels (N,)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    means = np.stack([centred[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = centred - means[np.unique(labels, return_inverse=True)[1]]
    spectrum = np.linalg.svd(centred, compute_uv=False) ** 2
    shares = spectrum[spectrum > 0] / spectrum.sum()
    return EmbeddingSpread(
        images=len(vectors),
        within_classes=float((within**2).sum() / (centred**2).sum()),
        effective_rank=float(np.exp(-(shares * np.log(shares)).sum())),
    )


def measure_spread(data: Path, encoder: OpenClipEncoder) -> EmbeddingSpread:
    """Return the spread of the embeddings of random images of the folder, always the same."""
    catalogue = discover(data)
    count = min(_MOST, len(catalogue.items))
    items = random.Random(0).sample(catalogue.items, count)
    labels = np.array([catalogue.classes.index(item.class_name) for item in items])
    return embedding_spread(_encoded(encoder, items), labels)


def _encoded(encoder: OpenClipEncoder, items: Sequence[Item]) -> NDArray[np.float32]:
    pictures = [encoder.prepare_image(Image.open(item.path).convert("RGB")) for item in items]
    batches = [encoder.encode(pictures[i : i + 64]) for i in range(0, len(pictures), 64)]
    return np.concatenate(batches)


def measure(folder: Path, data: Path, *, device: str) -> Scores:
    """Measure the model in `folder` and add the figures to its provenance."""
    encoder = load_encoder(str(folder), None, device=device)
    scores, spread = zero_shot(data, encoder), measure_spread(data, encoder)
    provenance = json.loads((folder / PROVENANCE).read_text())
    provenance["zero_shot"] = as_dict(scores)
    provenance["embedding_spread"] = spread.as_dict()
    write_provenance(folder, provenance)
    print(spread)
    return scores


def as_dict(scores: Scores) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the scores as a JSON object."""
    return {
        style: {group: count.as_dict() for group, count in by.items()}
        for style, by in scores.items()
    }


def main() -> None:
    """Measure model folders without changing them."""
    parser = argparse.ArgumentParser(
        description="Measure the zero-shot accuracy of teachers by style."
    )
    parser.add_argument("models", type=Path, nargs="+", help="model folders")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument(
        "--out", type=Path, help="JSON file to write: accuracy by model, style and group"
    )
    options = parser.parse_args()
    measured: dict[str, object] = {}
    for folder in options.models:
        encoder = load_encoder(str(folder))
        scores, spread = zero_shot(options.data, encoder), measure_spread(options.data, encoder)
        measured[folder.resolve().name] = as_dict(scores)
        print(f"{folder}: {spread}\n{table(scores)}", flush=True)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(measured, indent=2) + "\n")


def table(scores: Scores) -> str:
    """Format the scores as one line per style."""
    return "\n".join(
        f"  {style}: " + ", ".join(f"{group} {count}" for group, count in by.items())
        for style, by in scores.items()
    )


if __name__ == "__main__":
    main()
