"""The methods: VL2V-ADiP and what it is compared with, each a value.

| name         | head      | loss                    | stages                                 |
| ------------ | --------- | ----------------------- | -------------------------------------- |
| vl2v-adip    | embedding | image and text term     | align (projection), distill (backbone) |
| image-only   | embedding | image term (lmd 1)      | the same                               |
| text-only    | embedding | text term (lmd 0)       | the same                               |
| one-stage    | embedding | image and text term     | distill (projection and backbone)      |
| erm          | class     | cross-entropy on labels | fine-tune (all)                        |
| lp-ft        | class     | cross-entropy on labels | probe (head), fine-tune (all)          |
| linear-probe | class     | cross-entropy on labels | probe (head)                           |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from student.training.settings import TrainingSettings
from student.training.stage import Part, Stage

HeadKind = Literal["embedding", "class"]
LossKind = Literal["adip", "cross-entropy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is trained against what, stage by stage. `lmd` None takes the settings' own."""

    name: str
    head: HeadKind
    loss: LossKind
    parts: tuple[tuple[str, Part], ...]
    lmd: float | None = None

    def stages(self, settings: TrainingSettings) -> tuple[Stage, ...]:
        """The stages with the settings' lengths and rates."""
        return tuple(_stage(name, trains, settings) for name, trains in self.parts)

    def image_weight(self, settings: TrainingSettings) -> float:
        """How much the image term counts; 0 where the method asks for no image embedding."""
        if self.loss == "cross-entropy":
            return 0.0
        return settings.lmd if self.lmd is None else self.lmd


def _stage(name: str, trains: Part, settings: TrainingSettings) -> Stage:
    on_features = trains in ("projection", "head")
    return Stage(
        name=name,
        trains=trains,
        steps=settings.align_steps if on_features else settings.steps,
        lr=settings.align_lr if on_features else settings.lr,
        schedule=settings.schedule,
        weight_decay=settings.weight_decay,
    )


_ALIGN_THEN_DISTILL: tuple[tuple[str, Part], ...] = (
    ("align", "projection"),
    ("distill", "backbone"),
)
_ALL = (
    Method(name="vl2v-adip", head="embedding", loss="adip", parts=_ALIGN_THEN_DISTILL),
    Method(name="image-only", head="embedding", loss="adip", parts=_ALIGN_THEN_DISTILL, lmd=1.0),
    Method(name="text-only", head="embedding", loss="adip", parts=_ALIGN_THEN_DISTILL, lmd=0.0),
    Method(name="one-stage", head="embedding", loss="adip", parts=(("distill", "all"),)),
    Method(name="erm", head="class", loss="cross-entropy", parts=(("fine-tune", "all"),)),
    Method(
        name="lp-ft",
        head="class",
        loss="cross-entropy",
        parts=(("probe", "head"), ("fine-tune", "all")),
    ),
    Method(name="linear-probe", head="class", loss="cross-entropy", parts=(("probe", "head"),)),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
