"""Record a stand-in for a CLIP on PACS, in a real CLIP's own space.

    python -m tools.pacs.lay_out --pacs FOLDER
    python -m tools.pacs.train_teacher
    python -m tools.pacs.record_in_clip_space --real-clip FOLDER
    teacher-server serve --model recorded:work/pacs-clip-space

The second FOLDER has `answers.npz`, `cifar` and `flickr8k`: what CLIP ViT-B/32 answered for 500
images of CIFAR-10, for 1,415 photographs and for many texts. Sold for each image of PACS is what a
linear map learnt from those answers, with the class that the teacher of `tools.pacs.train_teacher`
sees in it, and as class texts the CLIP's own. As much of the variance lies within classes as in the
CLIP's own answers. With `--without-teacher` the linear map is all there is: it saw no image of
PACS, and knows photographs best and sketches hardly.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from student.data.folder.image_folder import Catalogue, discover
from student.embeddings.keys import prompts_for
from student.evaluation.results import AccuracyCount
from teacher_server.inference.encoder import load_encoder
from tools.pacs.clip_space import (
    AnswersFromFeatures,
    Vectors,
    features_of,
    stretched,
    unit,
    weight_for,
    with_classes,
)
from tools.pacs.lay_out import SEEN, is_teachers
from tools.pacs.real_clip import RealClip
from tools.provenance import commit
from tools.recording import Answer, write_recording
from tools.train_teacher.folder import PROVENANCE, WEIGHTS, write_provenance
from tools.train_teacher.measure import Scores, as_dict, embedding_spread, table

_MOST = 500  # images whose embeddings are described, as for the other teachers
_HALVES = {True: "trained on by the teacher", False: "never trained on"}
_MODULE = "tools.pacs.record_in_clip_space"
_MODEL = "a linear map to answers of OpenAI CLIP ViT-B/32"


def class_shares(folder: Path, paths: Sequence[Path], classes: Sequence[str]) -> Vectors:
    """Return a teacher's probabilities (N, C) of the classes for images, at its own temperature."""
    encoder = load_encoder(str(folder), None, device="cpu")
    scale = float(load_file(folder / WEIGHTS)["logit_scale"].float().exp())
    prompts = [prompt for name in classes for prompt in prompts_for(name, (), "class")]
    texts = encoder.encode([encoder.prepare_text(prompt) for prompt in prompts])
    found = []
    for start in range(0, len(paths), 64):
        images = [Image.open(path).convert("RGB") for path in paths[start : start + 64]]
        found.append(encoder.encode([encoder.prepare_image(image) for image in images]) @ texts.T)
    cosines = torch.from_numpy(np.concatenate(found))
    shares: Vectors = torch.softmax(scale * cosines, dim=-1).numpy()
    return shares


def zero_shot(catalogue: Catalogue, images: Vectors, texts: Vectors) -> Scores:
    """Return the accuracy of the nearest text, by domain and by half of PACS."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for item, answer in zip(catalogue.items, (images @ texts.T).argmax(axis=1), strict=True):
        is_right = catalogue.classes[int(answer)] == item.class_name
        right[item.domain.removesuffix(SEEN)][_HALVES[is_teachers(item)]].append(is_right)
    return {
        domain: {
            half: AccuracyCount(correct=sum(hits), images=len(hits))
            for half, hits in sorted(by_half.items())
        }
        for domain, by_half in sorted(right.items())
    }


def run(options: argparse.Namespace) -> None:
    """Fit the linear map, write the recording, and measure it."""
    if options.threads:
        torch.set_num_threads(options.threads)
    clip, catalogue = RealClip(options.real_clip), discover(options.data)
    texts = np.stack([clip.text(name) for name in catalogue.classes])
    labels = np.array([catalogue.classes.index(item.class_name) for item in catalogue.items])
    kept, asked = ~clip.held_out(), features_of(clip.images)
    expected = AnswersFromFeatures(asked[kept], clip.answers[kept])
    paths = [item.path for item in catalogue.items]
    images = stretched(expected(features_of(paths)), clip.variance())
    rows = random.Random(0).sample(range(len(images)), min(_MOST, len(images)))
    weight, made_of = 0.0, {}
    if options.teacher is None:
        images = unit(images)
    else:
        shares = class_shares(options.teacher, paths, catalogue.classes)
        share = clip.spread().within_classes
        weight = weight_for(share, images[rows], texts, shares[rows], labels[rows])
        images = with_classes(images, texts, shares, weight=weight)
        made_of = {"teacher": json.loads((options.teacher / PROVENANCE).read_text())}
    answers: list[Answer] = [
        ("image", path.read_bytes(), embedding)
        for path, embedding in zip(paths, images, strict=True)
    ]
    for class_name, embedding in zip(catalogue.classes, texts, strict=True):
        for prompt in prompts_for(class_name, (), "class"):
            answers.append(("text", prompt.encode(), embedding))
    name = "pacs-clip-space" + ("" if options.teacher else "-without-teacher")
    folder = options.out or Path("work") / name
    written = write_recording(folder, name=name, source=__name__, answers=answers, model=_MODEL)
    scores, spread = (
        zero_shot(catalogue, images, texts),
        embedding_spread(images[rows], labels[rows]),
    )
    missed = expected.not_explained(asked[~kept], clip.answers[~kept])
    write_provenance(
        folder,
        {
            "command": _command(options),
            "commit": commit(),
            "answers": int(kept.sum()),
            "answers_held_out": int((~kept).sum()),
            "variance_of_held_out_answers_not_explained": round(missed, 3),
            "weight_of_classes": round(weight, 3),
            "embedding_spread": spread.as_dict(),
            "embedding_spread_of_clip_on_cifar": clip.spread().as_dict(),
            "zero_shot": as_dict(scores),
            **made_of,
        },
    )
    print(f"wrote {written} answers to {folder}; {spread}")
    print(f"of the variance of answers that were held out {missed:.0%} is not explained")
    print(f"zero-shot accuracy by domain:\n{table(scores)}")


def _command(options: argparse.Namespace) -> str:
    """Return the command that repeats this, without the user's paths."""
    teacher = "" if options.teacher else " --without-teacher"
    return f"python -m {_MODULE} --real-clip FOLDER{teacher}"


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description="Record a stand-in for a CLIP on PACS.")
    parser.add_argument("--real-clip", type=Path, required=True, help="answers.npz and its images")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/pacs-photo"),
        help="any folder of tools.pacs.lay_out with all of PACS (default: %(default)s)",
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--teacher",
        type=Path,
        default=Path("work/teachers/pacs"),
        help="the teacher that says the classes (default: %(default)s)",
    )
    classes.add_argument(
        "--without-teacher",
        dest="teacher",
        action="store_const",
        const=None,
        help="use the CLIP's answers alone, and no image of PACS",
    )
    parser.add_argument("--out", type=Path, help="folder of the recording")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 uses all (default)")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
