"""The training methods: VL2V-ADiP, its one-query recipe, and what they are compared with.

| name          | head      | loss                                     | stages                  |
| ------------- | --------- | ---------------------------------------- | ----------------------- |
| vl2v-adip     | embedding | image and text cosine                    | align, distill          |
| image-only    | embedding | image cosine                             | align, distill          |
| text-only     | embedding | text cosine                              | align, distill          |
| one-stage     | embedding | image and text cosine                    | distill (with the head) |
| simkd         | embedding | image cosine                             | distill (with the head) |
| rise          | text      | KD, labels, text cosine, relations       | distill (with the head) |
| kd            | class     | KD and labels                            | distill (with the head) |
| erm           | class     | labels                                   | fine-tune               |
| lp-ft         | class     | labels                                   | probe, fine-tune        |
| linear-probe  | class     | labels                                   | probe                   |
| vl2v-adip-1q  | embedding | image and text cosine, with text targets | align, distill          |
| vl2v-adip-erm | joint     | image and text cosine, labels            | align, distill (all)    |
| vl2v-sd       | identity  | image and text cosine                    | distill                 |
| clip-ft       | identity  | labels                                   | fine-tune               |

Align trains the projection and probe trains the head, both on stored features; distill after align
trains the backbone alone; fine-tune trains everything. An identity head predicts by the cosine of
the features to the class texts: the backbone is the teacher's image tower (the white box), whose
features are embeddings already.

vl2v-adip-1q is VL2V-ADiP at one query an image (docs/decisions/0013-vl2v-adip-1q.md). It was
called `ours` in version 0.1.

vl2v-adip-erm has two heads on one backbone: labels train a classifier and embeddings the
projection, and it predicts by the mean of their two confidences. It is an experiment: no evidence
recommends it yet.

kd (arXiv 1503.02531) weighs both terms alike at temperature 1, as the published baseline intends.
simkd (CVPR 2022) reuses the teacher's classifier: the class texts. Its squared distance is between
vectors of unit length, as CLIP's last layer makes them: 2 - 2 cos. rise (ICCV 2023) is simplified:
its anchors are the class texts, not texts worded by domain and class; its projection is a layer of
its own, where RISE needs a backbone as wide as the teacher's embeddings; optimiser and schedule are
those of the options, as for every method. Its weights and temperature are of the published grid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from student.errors import BadInput
from student.models.architecture import HeadKind, Part
from student.options import TrainingOptions
from student.training.loss_weights import LossWeights
from student.training.stage import Stage

_RECIPE = TrainingOptions.recipe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is trained against what, stage by stage. Raises BadInput if the parts do not fit.

    With `shares_lmd` the image and text cosines weigh lmd and 1 - lmd. `overrides` are options that
    the method sets itself: they win over those of a run, unless it `yields` them. With
    `heeds_doubts` it learns from the right answers alone of a domain in which the teacher is wrong
    on most images.
    """

    name: str
    head: HeadKind
    terms: LossWeights = field(default_factory=LossWeights)
    parts: tuple[tuple[str, Part], ...]
    shares_lmd: bool = False
    overrides: tuple[tuple[str, float | str | bool], ...] = ()
    heeds_doubts: bool = False

    def __post_init__(self) -> None:
        reads_projection = self.shares_lmd or self.terms.reads_projection
        reason = ""
        if not (reads_projection or self.terms.reads_logits):
            reason = "no term has a weight"
        elif self.head == "class" and reads_projection:
            reason = "a class head has no embedding for its terms"
        elif self.head in ("class", "text", "joint") and self.terms.learns_scale:
            reason = "only cosines have a scale to learn"
        elif self.shares_lmd and max(self.terms.image, self.terms.text) > 0:
            reason = "lmd weighs the image and text cosines, and so do its terms"
        elif self.head in ("class", "identity") and any(
            part == "projection" for _, part in self.parts
        ):
            reason = f"its head ({self.head}) has no projection to train"
        elif unknown := [name for name, _ in self.overrides if name not in _RECIPE]:
            reason = f"it cannot override {', '.join(unknown)}"
        if reason:
            message = f"method {self.name}: {reason}"
            raise BadInput(message)

    def settings_for(self, options: TrainingOptions) -> TrainingOptions:
        """The options of a run by this method, its overrides applied."""
        return options.changed(**dict(self.overrides)) if self.overrides else options

    def yielding(self, names: Collection[str]) -> Method:
        """The same method without its overrides of these options."""
        kept = tuple((name, value) for name, value in self.overrides if name not in names)
        return replace(self, overrides=kept)

    @property
    def reads_images(self) -> bool:
        """Whether it can use image embeddings at all, with any options but an lmd of 0."""
        return self.shares_lmd or self.terms.reads_images

    @property
    def asks_teacher(self) -> bool:
        """Whether it reads any embedding at all, of an image or of a class text."""
        return self.head != "class" or self.terms.kd > 0

    def terms_for(self, options: TrainingOptions) -> LossWeights:
        """The weights of the loss terms, with those that lmd decides."""
        if not self.shares_lmd:
            return self.terms
        lmd = self.settings_for(options).lmd
        return replace(self.terms, image=lmd, text=1.0 - lmd)

    def stages(self, options: TrainingOptions) -> tuple[Stage, ...]:
        """The stages with the lengths and learning rates of the options."""
        used = self.settings_for(options)
        return tuple(_stage(name, trains, used) for name, trains in self.parts)


def _stage(name: str, trains: Part, options: TrainingOptions) -> Stage:
    on_features = trains in ("projection", "head")
    return Stage(
        name=name,
        trains=trains,
        steps=options.align_steps if on_features else options.steps,
        lr=options.align_lr if on_features else options.lr,
        schedule=options.schedule,
    )


_ALIGN_THEN_DISTILL: tuple[tuple[str, Part], ...] = (
    ("align", "projection"),
    ("distill", "backbone"),
)
_TOGETHER: tuple[tuple[str, Part], ...] = (("distill", "all"),)
_PROBE: tuple[tuple[str, Part], ...] = (("probe", "head"),)
_FINE_TUNE: tuple[tuple[str, Part], ...] = (("fine-tune", "all"),)
_LABELS = LossWeights(labels=1.0)
_ALL = (
    Method(name="vl2v-adip", head="embedding", shares_lmd=True, parts=_ALIGN_THEN_DISTILL),
    Method(
        name="image-only", head="embedding", terms=LossWeights(image=1.0), parts=_ALIGN_THEN_DISTILL
    ),
    Method(
        name="text-only", head="embedding", terms=LossWeights(text=1.0), parts=_ALIGN_THEN_DISTILL
    ),
    Method(name="one-stage", head="embedding", shares_lmd=True, parts=_TOGETHER),
    Method(name="erm", head="class", terms=_LABELS, parts=_FINE_TUNE),
    Method(name="lp-ft", head="class", terms=_LABELS, parts=_PROBE + _FINE_TUNE),
    Method(name="linear-probe", head="class", terms=_LABELS, parts=_PROBE),
    Method(name="kd", head="class", terms=LossWeights(labels=0.5, kd=0.5), parts=_TOGETHER),
    Method(name="simkd", head="embedding", terms=LossWeights(image=1.0), parts=_TOGETHER),
    Method(
        name="rise",
        head="text",
        terms=LossWeights(kd=0.9, labels=0.1, text=1.0, relations=10.0, temperature=3.0),
        parts=_TOGETHER,
    ),
    Method(
        name="vl2v-adip-1q",
        head="embedding",
        shares_lmd=True,
        parts=_ALIGN_THEN_DISTILL,
        overrides=(  # values: docs/experiments.md; their order is part of stored digests
            ("lmd", 0.9),
            ("clean_prob", 0.7),
            ("mean_target_prob", 0.4),
            ("line_drawing_prob", 0.5),
            ("text_targets", True),
        ),
    ),
    Method(
        name="vl2v-adip-erm",
        head="joint",
        terms=_LABELS,
        shares_lmd=True,
        parts=(("align", "projection"), ("distill", "all")),
    ),
    Method(
        name="vl2v-adip-joint",
        head="joint",
        terms=LossWeights(labels=0.1),
        shares_lmd=True,
        parts=(("align", "projection"), ("distill", "all")),
        heeds_doubts=True,
        overrides=(
            ("lmd", 0.9),
            ("clean_prob", 0.12),
            ("mean_target_prob", 0.4),
            ("line_drawing_prob", 0.17),
            ("plain_clean_prob", 0.7),
            ("plain_line_drawing_prob", 0.5),
            ("text_targets", True),
            ("averaging", "swad-only"),
        ),
    ),
    Method(name="vl2v-sd", head="identity", shares_lmd=True, parts=(("distill", "backbone"),)),
    Method(name="clip-ft", head="identity", terms=_LABELS, parts=(("fine-tune", "backbone"),)),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})


def method_of(name: str, options: TrainingOptions) -> Method:
    """The method of this name, without overrides of the options that the user has named."""
    return METHODS[name].yielding(options.model_fields_set)


def reads_images(options: TrainingOptions) -> bool:
    """Whether any of the methods that the options name reads image embeddings."""
    methods = (method_of(name, options) for name in options.methods)
    return any(method.terms_for(options).reads_images for method in methods)
