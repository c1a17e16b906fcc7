"""Train a stand-in for a CLIP on PACS, in a real CLIP's own space, and record its answers.

    python -m tools.pacs.lay_out --pacs FOLDER
    python -m tools.pacs.train_in_clip_space --real-clip FOLDER
    teacher-server serve --model recorded:work/pacs-clip-space

The second FOLDER has `answers.npz`, `cifar` and `flickr8k`: what CLIP ViT-B/32 answered for 500
images of CIFAR-10, for 1,415 photographs and for many texts. An image tower learns those answers
and the labels of half of PACS, the half on which `tools.pacs.train_teacher` trains. Sold are the
tower's answers for all images of PACS and, as class texts, the CLIP's own. With `--without-labels`
the tower is trained on no image of PACS: it knows photographs best, and sketches hardly.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from student.data.folder.image_folder import Catalogue, Item, discover
from student.embeddings.keys import prompts_for
from student.evaluation.results import AccuracyCount
from tools.pacs.clip_space import Lessons, Tower, Vectors, read_pixels, train_tower
from tools.pacs.lay_out import SEEN, is_teachers
from tools.pacs.real_clip import RealClip
from tools.provenance import commit
from tools.recording import Answer, write_recording
from tools.train_teacher.folder import write_provenance
from tools.train_teacher.measure import Scores, as_dict, embedding_spread, table

_MOST = 500  # images whose embeddings are described, as for the other teachers
_HALVES = {True: "trained on by teachers", False: "never trained on"}


def lessons(clip: RealClip, items: Sequence[Item], classes: Sequence[str]) -> Lessons:
    """Return what the tower is trained on: the answers that are not held out, and these items."""
    kept = np.flatnonzero(~clip.held_out())
    groups = sorted({(item.domain.removesuffix(SEEN), item.class_name) for item in items})
    of_item = [groups.index((item.domain.removesuffix(SEEN), item.class_name)) for item in items]
    return Lessons(
        answered=read_pixels([clip.images[row] for row in kept]),
        answers=clip.answers[kept],
        labelled=read_pixels([item.path for item in items]),
        labels=np.array([classes.index(item.class_name) for item in items], dtype=np.int64),
        groups=np.array(of_item, dtype=np.int64),
        texts=np.stack([clip.text(name) for name in classes]),
    )


def not_explained(tower: Tower, clip: RealClip) -> float:
    """Return the share of the variance of the held-out answers that the tower does not explain.

    1 is what the mean of all other answers would give.
    """
    is_held_out = clip.held_out()
    rows = np.flatnonzero(is_held_out)
    answers = clip.answers[rows]
    found = tower.embed(read_pixels([clip.images[row] for row in rows]))
    spread = answers - clip.answers[~is_held_out].mean(axis=0)
    return float(((found - answers) ** 2).sum() / (spread**2).sum())


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
    """Train the tower, write the recording, and measure it."""
    if options.threads:
        torch.set_num_threads(options.threads)
    clip, catalogue = RealClip(options.real_clip), discover(options.data)
    taught = [item for item in catalogue.items if is_teachers(item)]
    known = lessons(clip, [] if options.without_labels else taught, catalogue.classes)
    tower = train_tower(
        known,
        steps=options.steps,
        batch=options.batch,
        seed=options.seed,
        progress=lambda line: print(line, flush=True),
    )
    images = tower.embed(read_pixels([item.path for item in catalogue.items]))
    name = "pacs-clip-space-without-labels" if options.without_labels else "pacs-clip-space"
    folder = options.out or Path("work") / name
    answers: list[Answer] = [
        ("image", item.path.read_bytes(), embedding)
        for item, embedding in zip(catalogue.items, images, strict=True)
    ]
    for class_name, embedding in zip(catalogue.classes, known.texts, strict=True):
        for prompt in prompts_for(class_name, (), "class"):
            answers.append(("text", prompt.encode(), embedding))
    model = "a network trained towards OpenAI CLIP ViT-B/32"
    written = write_recording(folder, name=name, source="tools.pacs", answers=answers, model=model)
    scores = zero_shot(catalogue, images, known.texts)
    rows = random.Random(0).sample(range(len(images)), min(_MOST, len(images)))
    labels = np.array([catalogue.classes.index(item.class_name) for item in catalogue.items])
    spread, missed = embedding_spread(images[rows], labels[rows]), not_explained(tower, clip)
    write_provenance(
        folder,
        {
            "command": _command(options),
            "commit": commit(),
            "steps": options.steps,
            "seed": options.seed,
            "labelled_images": len(known.labelled),
            "answers": len(known.answered),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "zero_shot": as_dict(scores),
            "embedding_spread": spread.as_dict(),
            "embedding_spread_of_clip_on_cifar": clip.spread().as_dict(),
            "variance_of_held_out_answers_not_explained": round(missed, 3),
        },
    )
    print(f"wrote {written} answers to {folder}; {spread}")
    print(f"of the variance of held-out answers {missed:.0%} is not explained")
    print(f"zero-shot accuracy by domain:\n{table(scores)}")


def _command(options: argparse.Namespace) -> str:
    """Return the command that repeats this, without the user's paths."""
    labels = " --without-labels" if options.without_labels else ""
    return (
        "python -m tools.pacs.train_in_clip_space --real-clip FOLDER"
        f" --steps {options.steps} --batch {options.batch} --seed {options.seed}{labels}"
    )


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description="Train a stand-in for a CLIP on half of PACS.")
    parser.add_argument("--real-clip", type=Path, required=True, help="answers.npz and its images")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/pacs-photo"),
        help="any folder of tools.pacs.lay_out with all of PACS (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, help="folder of the recording")
    parser.add_argument("--without-labels", action="store_true", help="train on no image of PACS")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument(
        "--batch", type=int, default=64, help="images of each kind in a step (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 uses all (default)")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
