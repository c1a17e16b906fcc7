"""The methods: VL2V-ADiP, what it is compared with, and ours, each a value of the one loop.

| name         | head      | loss                                   | stages                    |
| ------------ | --------- | -------------------------------------- | ------------------------- |
| vl2v-adip    | embedding | image and text cosine                  | align, distill            |
| image-only   | embedding | image cosine                           | align, distill            |
| text-only    | embedding | text cosine                            | align, distill            |
| one-stage    | embedding | image and text cosine                  | distill (with the head)   |
| simkd        | embedding | image cosine                           | distill (with the head)   |
| rise         | text      | KD, labels, text cosine, relations     | distill (with the head)   |
| kd           | class     | KD and labels                          | distill (with the head)   |
| erm          | class     | labels                                 | fine-tune                 |
| lp-ft        | class     | labels                                 | probe, fine-tune          |
| linear-probe | class     | labels                                 | probe                     |
| ours         | embedding | image and text cosine, stand-ins       | align, distill            |
| vl2v-sd      | identity  | image and text cosine                  | distill                   |
| clip-ft      | identity  | labels                                 | fine-tune                 |

Align trains the projection and probe the head, on stored features; distill after align trains the
backbone alone; fine-tune trains everything. An identity head predicts by the features' own cosine
to the class texts: the backbone is the teacher's image tower (the white box), in its space already.

kd (arXiv 1503.02531) weighs both terms alike at temperature 1, as the published baseline means to.
simkd (CVPR 2022) reuses the teacher's classifier: the class texts. Its squared distance is taken
between vectors of unit length, as CLIP's last layer makes them: 2 - 2 cos. rise (ICCV 2023) is
simplified: its anchors are the class texts, not texts worded by domain and class; its projection is
a layer of its own, where RISE needs a backbone as wide as the teacher's space; optimiser and
schedule are the settings', as every method's are. Weights and temperature are of its published
grid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

from student.errors import BadInput
from student.models.architecture import HeadKind, Part
from student.training.config import TrainingSettings
from student.training.loss_weights import LossWeights
from student.training.stage import Stage

# Where and on what a run is made is the caller's, never the recipe's.
_THE_CALLERS = frozenset({"backbone", "weights", "image_size", "device", "seed", "threads"})
_RECIPE = frozenset(one.name for one in fields(TrainingSettings)) - _THE_CALLERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is trained against what, stage by stage. Raises BadInput where the parts do not fit.

    With `shares_lmd` the image and text cosines weigh the settings' lmd and 1 - lmd. `overrides`
    are settings that belong to the recipe: they win over those of a run, unless it yields them.
    """

    name: str
    head: HeadKind
    terms: LossWeights = field(default_factory=LossWeights)
    parts: tuple[tuple[str, Part], ...]
    shares_lmd: bool = False
    overrides: tuple[tuple[str, float | str | bool], ...] = ()

    def __post_init__(self) -> None:
        reads_projection = self.shares_lmd or self.terms.reads_projection
        reason = ""
        if not (reads_projection or self.terms.reads_logits):
            reason = "no term has a weight"
        elif self.head == "class" and reads_projection:
            reason = "a class head has no embedding for its terms"
        elif self.head in ("class", "text") and self.terms.learns_scale:
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

    def settings_for(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings of a run by this method, its overrides applied."""
        return replace(settings, **dict(self.overrides))  # type: ignore[arg-type]  # checked there

    def yielding(self, names: Collection[str]) -> Method:
        """The same method, with its overrides of these names left to the caller's settings."""
        kept = tuple((name, value) for name, value in self.overrides if name not in names)
        return replace(self, overrides=kept)

    @property
    def reads_images(self) -> bool:
        """Whether image embeddings are of use to it, whatever the settings but an lmd of 0."""
        return self.shares_lmd or self.terms.reads_images

    def terms_for(self, settings: TrainingSettings) -> LossWeights:
        """The terms, with lmd shared out where the method shares it."""
        if not self.shares_lmd:
            return self.terms
        lmd = self.settings_for(settings).lmd
        return replace(self.terms, image=lmd, text=1.0 - lmd)

    def stages(self, settings: TrainingSettings) -> tuple[Stage, ...]:
        """The stages with the settings' lengths and rates."""
        used = self.settings_for(settings)
        return tuple(_stage(name, trains, used) for name, trains in self.parts)


def _stage(name: str, trains: Part, settings: TrainingSettings) -> Stage:
    on_features = trains in ("projection", "head")
    in_closed_form = trains == "projection" and settings.align == "ridge"
    steps = settings.align_steps if on_features else settings.steps
    return Stage(
        name=name,
        trains=trains,
        steps=1 if in_closed_form else steps,
        lr=settings.align_lr if on_features else settings.lr,
        schedule=settings.schedule,
        weight_decay=settings.weight_decay,
        in_closed_form=in_closed_form,
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
        name="ours",
        head="embedding",
        shares_lmd=True,
        parts=_ALIGN_THEN_DISTILL,
        overrides=(  # the values come from docs/experiments.md
            ("lmd", 0.9),
            ("exact", 0.7),
            ("between", 0.4),
            ("drawn", 0.5),
            ("stand_ins", True),
        ),
    ),
    Method(name="vl2v-sd", head="identity", shares_lmd=True, parts=(("distill", "backbone"),)),
    Method(name="clip-ft", head="identity", terms=_LABELS, parts=(("fine-tune", "backbone"),)),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
