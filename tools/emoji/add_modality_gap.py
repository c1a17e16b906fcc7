"""Write a recording of the embedded teacher's answers with the modality gap of a real CLIP.

    python -m tools.emoji.add_modality_gap
    teacher-server serve --model recorded:work/emoji-modality-gap

Every image of the data set is embedded once, and each class text once. Two dimensions are added
that bring the teacher's geometry nearest to that of a real CLIP (`tools.modality_gap`); no
zero-shot answer changes. The CLIP's figures are read from the result file. With
`--clip work/cifar-clip`, the recording of `tools.cifar.lay_out`, they are measured again.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.data.folder.image_folder import Catalogue, Item, discover
from student.embeddings.keys import prompts_for
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.inference.encoder import load_encoder
from teacher_server.inference.model_info import Encoder
from teacher_server.inference.recorded import RecordedEncoder
from tools.modality_gap import AddedGap, Geometry, Vectors, gap_towards, geometry
from tools.provenance import ROOT, commit
from tools.recording import write_recording

RESULT = ROOT / "docs/results/modality-gap.json"
RECORDING = Path("work/emoji-modality-gap")
_SEED = 0
_MOST = 500  # images on which a geometry is measured, as many as there are of the real CLIP
_BATCH = 64
_LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000)  # far above the demo data


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """A teacher's embeddings: of different images (N, D) with their classes (N,), and of the
    prompt of each class (C, D)."""

    items: tuple[Item, ...]
    labels: NDArray[np.int64]
    prompts: tuple[str, ...]
    images: Vectors
    texts: Vectors

    def with_gap(self, gap: AddedGap) -> Answers:
        """Return the same answers with two more dimensions."""
        return replace(self, images=gap.to_images(self.images), texts=gap.to_texts(self.texts))

    def sample(self) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
        """Return random images, always the same, with all texts and the labels."""
        rows = random.Random(_SEED).sample(range(len(self.items)), min(_MOST, len(self.items)))
        return self.images[rows], self.texts, self.labels[rows]

    def zero_shot(self) -> NDArray[np.int64]:
        """Return the class (N,) whose text is nearest to each image."""
        return np.asarray((self.images @ self.texts.T).argmax(axis=1))


def embedded_answers(catalogue: Catalogue, encoder: Encoder) -> Answers:
    """Return a model's answers for every image of the data set, prepared as its vendor does."""
    items = tuple({item.digest: item for item in catalogue.items}.values())
    images = []
    for start in range(0, len(items), _BATCH):
        files = [item.path.read_bytes() for item in items[start : start + _BATCH]]
        pictures = [encoder.prepare_image(decode_image(file, _LIMITS)) for file in files]
        images.append(encoder.encode(pictures))
    prompts = _prompts(catalogue)
    texts = encoder.encode([encoder.prepare_text(prompt) for prompt in prompts])
    return _answers(catalogue, items, np.concatenate(images), texts)


def clip_answers(images: Path, recording: Path) -> Answers:
    """Return a real CLIP's recorded answers for the folder of images that it was asked about."""
    encoder, catalogue = RecordedEncoder(recording), discover(images)
    items = tuple({item.digest: item for item in catalogue.items}.values())
    found = encoder.encode([encoder.prepare_item(item.path.read_bytes()) for item in items])
    texts = encoder.encode([encoder.prepare_item(prompt) for prompt in _prompts(catalogue)])
    return _answers(catalogue, items, found, texts)


def _answers(
    catalogue: Catalogue, items: tuple[Item, ...], images: Vectors, texts: Vectors
) -> Answers:
    labels = np.array([catalogue.classes.index(item.class_name) for item in items])
    prompts = tuple(_prompts(catalogue))
    return Answers(items=items, labels=labels, prompts=prompts, images=images, texts=texts)


def _prompts(catalogue: Catalogue) -> list[str]:
    return [prompt for name in catalogue.classes for prompt in prompts_for(name, (), "class")]


def record(answers: Answers, folder: Path) -> int:
    """Write the answers as a recording that a vendor sells; return their number."""
    images = zip(answers.items, answers.images, strict=True)
    texts = zip(answers.prompts, answers.texts, strict=True)
    return write_recording(
        folder,
        name="emoji-modality-gap",
        model="the embedded teacher, with a modality gap added",
        source="tools.emoji.add_modality_gap",
        answers=[
            *(("image", item.path.read_bytes(), vector) for item, vector in images),
            *(("text", prompt.encode(), vector) for prompt, vector in texts),
        ],
    )


def add_gap(answers: Answers, clip: Geometry) -> tuple[Answers, dict[str, Any]]:
    """Return the answers with a gap as near to the CLIP's as can be, and the figures of both."""
    gap = gap_towards(clip, *answers.sample())
    changed = answers.with_gap(gap)
    before, after = geometry(*answers.sample()), geometry(*changed.sample())
    return changed, {
        "seed": _SEED,
        "images_measured": len(answers.sample()[0]),
        "embedded": before.as_dict(),
        "with_gap": after.as_dict(),
        "largest_difference_to_clip": round(after.furthest_from(clip), 3),
        "gap": {name: round(value, 4) for name, value in asdict(gap).items()},
        "zero_shot": {
            "images": len(answers.items),
            "answers_changed": int((answers.zero_shot() != changed.zero_shot()).sum()),
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the recording and the figures."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    command = shlex.join(["python", "-m", "tools.emoji.add_modality_gap", *arguments])
    made = {"command": command, "commit": commit()}
    if options.clip is None:
        clip = json.loads(options.result.read_text())["clip"]
    else:
        measured = clip_answers(options.clip_images, options.clip)
        clip = made | {"images": len(measured.items)}
        clip |= {"geometry": geometry(*measured.sample()).as_dict()}
    print(f"a real CLIP: {clip['geometry']}", flush=True)
    answers = embedded_answers(discover(options.data), load_encoder(options.model))
    changed, figures = add_gap(answers, Geometry(**clip["geometry"]))
    recorded = record(changed, options.out)
    print(f"before: {figures['embedded']}\nafter: {figures['with_gap']}")
    print(f"zero-shot: {figures['zero_shot']}\n{recorded} answers in {options.out}")
    options.result.write_text(json.dumps({**made, "clip": clip, **figures}, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Record the embedded teacher's answers with the modality gap of a real CLIP."
    )
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="data set")
    parser.add_argument("--model", default="embedded", help="what `teacher-server --model` takes")
    parser.add_argument("--out", type=Path, default=RECORDING, help="recording to write")
    parser.add_argument("--result", type=Path, default=RESULT, help="JSON file of the figures")
    parser.add_argument("--clip", type=Path, default=None, help="recording of a real CLIP")
    parser.add_argument(
        "--clip-images",
        type=Path,
        default=Path("data/cifar/labelled"),
        help="the images of that recording, in a folder for each class",
    )
    return parser


if __name__ == "__main__":
    main()
