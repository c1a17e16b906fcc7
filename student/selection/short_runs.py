"""Short training runs that leave labelled domains out in turn, to compare methods on them.

They read the training and validation images of a split and nothing else, so they cannot see a
held-out domain of the run itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.storage.atomic_file import replace_file
from student.models.architecture import SoldNetwork
from student.options import TrainingOptions
from student.selection.candidates import Candidate
from student.selection.rule import Correct
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import method_of
from student.training.metrics import answers_of, logits_of
from student.training.run_digest import run_digest
from student.training.task import TrainingTask
from student.training.train import train

MOST_FOLDS = 3
"""Each candidate is trained so many times at most; with more domains, a fold leaves out several."""
_ALIGN_STEPS = 200  # at least, as far as the options allow: on stored features, they take a second

Progress = Callable[[str, int, int], None]
"""Called with a candidate's name, the number of finished short runs, and their total."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledDomains:
    """The labelled images of one split, in groups that are left out in turn.

    `domains` are the names of the groups. `groups` (N,) has the group of each image, by number, and
    `validation_groups` (M,) that of each image of source validation.
    """

    domains: tuple[str, ...]
    data: TrainingData
    validation: LabelledImages
    groups: NDArray[np.int64]
    validation_groups: NDArray[np.int64]
    num_classes: int
    sold: SoldNetwork | None
    seed: int


def folds(count: int) -> list[tuple[int, ...]]:
    """The domains (by number) that each fold leaves out: each domain once."""
    number = min(count, MOST_FOLDS)
    return [tuple(range(first, count, number)) for first in range(number)]


def short_steps(options: TrainingOptions, domains: int, count: int) -> int:
    """The steps of each short run of `count` candidates: together at most half of the student's.

    A method may be chosen twice: before the images are bought, and with what was bought.
    """
    return max(1, options.steps // (2 * len(folds(domains)) * count))


def run_candidates(
    labelled: LabelledDomains,
    candidates: Sequence[Candidate],
    options: TrainingOptions,
    *,
    folder: Path,
    progress: Progress,
) -> dict[str, Correct]:
    """Trains every candidate on every fold, and returns its answers on the domains left out.

    Every run leaves its answers in `folder`: after a kill, the same call continues there and ends
    in the same answers. Raises StudentError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = short_steps(options, len(labelled.domains), len(candidates))
    left_out = folds(len(labelled.domains))
    total = len(candidates) * len(left_out)
    found: dict[str, Correct] = {}
    for number, candidate in enumerate(candidates):
        correct: dict[str, NDArray[np.bool_]] = {}
        for fold, domains in enumerate(left_out):
            progress(candidate.name, number * len(left_out) + fold, total)
            task = _task(
                labelled, candidate, _shortened(candidate.options(options), steps), domains
            )
            images = {labelled.domains[domain]: _left_out(labelled, domain) for domain in domains}
            correct |= _correct(task, images, folder / f"{number}-{fold}.json")
        found[candidate.name] = {name: correct[name] for name in labelled.domains}
    progress(candidates[-1].name, total, total)
    return found


def _correct(
    task: TrainingTask, images: Mapping[str, LabelledImages], stored: Path
) -> dict[str, NDArray[np.bool_]]:
    """Whether a short run classifies each image correctly, read from its file if there is one."""
    digest = run_digest(task.ready())
    if (known := _read(stored, digest)) is not None and known.keys() == images.keys():
        return known
    checkpoint = stored.with_suffix(".checkpoint")
    student = train(task, checkpoint=checkpoint).student
    correct = {
        name: answers_of(logits_of(student, of.pixels))[0] == of.labels
        for name, of in images.items()
    }
    answers = {name: "".join("1" if right else "0" for right in of) for name, of in correct.items()}
    replace_file(stored, json.dumps({"digest": digest, "correct": answers}).encode())
    checkpoint.unlink(missing_ok=True)  # each is as large as several students
    return correct


def _read(stored: Path, digest: str) -> dict[str, NDArray[np.bool_]] | None:
    """The answers in a file of this digest; None if there is none, or it cannot be read."""
    try:
        read = json.loads(stored.read_bytes())
        if read["digest"] != digest:
            return None
        return {n: np.array([bit == "1" for bit in of]) for n, of in read["correct"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _shortened(options: TrainingOptions, steps: int) -> TrainingOptions:
    """The options of a short run: validated once, at its end, and not averaged."""
    align_steps = min(options.align_steps, max(steps, _ALIGN_STEPS))
    return options.changed(
        steps=steps,
        align_steps=align_steps,
        eval_every=max(steps, align_steps),
        averaging="none",
        wise_ft=1.0,
    )


def _task(
    labelled: LabelledDomains,
    candidate: Candidate,
    options: TrainingOptions,
    domains: tuple[int, ...],
) -> TrainingTask:
    data, validation = labelled.data, labelled.validation
    kept_N = ~np.isin(labelled.groups, domains)
    kept_M = ~np.isin(labelled.validation_groups, domains)
    return TrainingTask(
        method=method_of(candidate.short_method, options),
        data=replace(
            data,
            pixels=data.pixels[kept_N],
            labels=data.labels[kept_N],
            domains=data.domains[kept_N],
            image_embeddings=data.image_embeddings[kept_N],
            bought=data.bought[kept_N],
        ),
        validation=LabelledImages(
            name=validation.name,
            pixels=validation.pixels[kept_M],
            labels=validation.labels[kept_M],
        ),
        options=options,
        seed=labelled.seed,
        num_classes=labelled.num_classes,
        sold=labelled.sold,
    )


def _left_out(labelled: LabelledDomains, domain: int) -> LabelledImages:
    """Every labelled image of a domain, as it is."""
    data, validation = labelled.data, labelled.validation
    rows_N = labelled.groups == domain
    rows_M = labelled.validation_groups == domain
    return LabelledImages(
        name=labelled.domains[domain],
        pixels=np.concatenate([data.pixels[rows_N, 0], validation.pixels[rows_M]]),
        labels=np.concatenate([data.labels[rows_N], validation.labels[rows_M]]),
    )
