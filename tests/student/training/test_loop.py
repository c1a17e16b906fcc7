from __future__ import annotations

import copy
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from student.errors import BadInput, TrainingError
from student.models.architecture import Part
from student.models.heads import EmbeddingHead
from student.models.student import NewHead, Student, new_student
from student.training.averaging import LossValley
from student.training.batches import Batch
from student.training.loop import StageState, StageWork, fit, thaw
from student.training.losses import label_loss
from student.training.metrics import Score
from student.training.stage import Stage
from student.training.train import choose, silent
from tests.support.shaded_images import CLASSES, DIM, SIZE


def _student(backbone: str = "test_efficientnet") -> Student:
    torch.manual_seed(0)
    return new_student(
        NewHead(num_classes=CLASSES, text_embeddings=torch.eye(CLASSES, DIM)),
        backbone=backbone,
        weights="none",
        image_size=SIZE,
    )


def _batch(step: int) -> Batch:
    source = torch.Generator().manual_seed(step)
    return Batch(
        inputs=torch.randint(0, 256, (8, SIZE, SIZE, 3), generator=source, dtype=torch.uint8),
        labels=torch.arange(8) % CLASSES,
        images=torch.zeros(8, DIM),
        bought=torch.zeros(8, dtype=torch.bool),
    )


def _fit(student: Student, stage: Stage, *, keep_batch_norm: bool = True) -> StageState:
    work = StageWork(
        stage=stage,
        batches=_batch,
        loss=lambda batch: label_loss(student(batch.inputs), batch),
        validate=lambda: Score(accuracy=0.0, loss=0.0),
        eval_every=1,
        keep_batch_norm=keep_batch_norm,
    )
    return fit(work, student, state=StageState(), report=silent, save=lambda state: None)


INSIDE = {
    "projection": ("head.projection.",),
    "head": ("head.projection.",),
    "backbone": ("backbone.",),
    "all": ("backbone.", "head.projection."),
}


@pytest.mark.parametrize("keep_batch_norm", [True, False])
@pytest.mark.parametrize("part", get_args(Part))
def test_parameters_that_a_stage_does_not_name_stay_unchanged(
    part: Part, *, keep_batch_norm: bool
) -> None:
    """Exactly equal after three steps, batch-norm statistics and text embeddings included."""
    student = _student()
    before = copy.deepcopy(student.state_dict())
    stage = Stage(name="x", trains=part, steps=3, lr=0.1)
    _fit(student, stage, keep_batch_norm=keep_batch_norm)
    moved = {
        key for key, held in student.state_dict().items() if not torch.equal(held, before[key])
    }
    assert all(key.startswith(INSIDE[part]) for key in moved)
    assert {key for key, _ in student.named_parameters() if key.startswith(INSIDE[part])} <= moved
    statistics = any("running_" in key for key in moved)
    assert statistics == (not keep_batch_norm and part in ("backbone", "all"))


@pytest.mark.parametrize("part", get_args(Part))
def test_a_learned_scale_is_trained_in_every_stage_and_scales_the_logits(
    part: Part,
) -> None:
    torch.manual_seed(0)
    student = new_student(
        NewHead(
            num_classes=CLASSES,
            text_embeddings=torch.eye(CLASSES, DIM),
            logit_scale=20.0,
            learns_scale=True,
        ),
        backbone="test_vit",
        weights="none",
        image_size=SIZE,
    )
    head = student.head
    assert isinstance(head, EmbeddingHead)
    assert head.log_scale is not None
    _fit(student, Stage(name="x", trains=part, steps=3, lr=0.1))
    learned = float(head.log_scale.detach().exp())
    assert learned != pytest.approx(20.0, rel=0.05)
    with torch.no_grad():
        features = student.features(_batch(0).inputs)
        unit = nn.functional.normalize(head.project(features), dim=-1)
        torch.testing.assert_close(head(features), learned * unit @ head.text_CD.T)


def test_a_class_head_has_no_projection() -> None:
    student = new_student(
        NewHead(num_classes=2, text_embeddings=None),
        backbone="test_vit",
        weights="none",
        image_size=SIZE,
    )
    with pytest.raises(BadInput, match="no projection"):
        thaw(student, Stage(name="align", trains="projection", steps=1, lr=0.1))


def test_the_optimiser_is_plain_adam() -> None:
    """The fused kernel on channels_last weights does what torch's simplest Adam does."""
    student, reference = _student(), _student()
    stage = Stage(name="x", trains="all", steps=3, lr=1e-3)
    _fit(student, stage)
    thaw(reference, stage)
    optimiser = torch.optim.Adam(
        [p for p in reference.parameters() if p.requires_grad], lr=1e-3, foreach=False
    )
    for step in range(3):
        batch = _batch(step)
        optimiser.zero_grad()
        torch.autograd.backward(label_loss(reference(batch.inputs), batch))
        optimiser.step()
    for (name, ours), theirs in zip(
        student.named_parameters(), reference.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("steps", [10, 101])
def test_the_one_cycle_rate_is_torchs(steps: int) -> None:
    stage = Stage(name="x", trains="all", steps=steps, lr=0.1, schedule="one-cycle")
    optimiser = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.1, total_steps=steps, cycle_momentum=False
    )
    for step in range(steps):
        assert stage.rate(step) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-12)
        optimiser.step()
        if step < steps - 1:
            schedule.step()


@pytest.mark.parametrize("steps", [1, 10, 101])
def test_the_cosine_rate_is_torchs(steps: int) -> None:
    stage = Stage(name="x", trains="all", steps=steps, lr=0.1, schedule="cosine")
    optimiser = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    for step in range(steps):
        assert stage.rate(step) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-12)
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_shortest_stages_have_a_rate_too(steps: int) -> None:
    stage = Stage(name="x", trains="all", steps=steps, lr=0.1, schedule="one-cycle")
    assert all(0 < stage.rate(step) <= 0.1 for step in range(steps))


def test_a_loss_that_is_not_finite_stops_training() -> None:
    student = _student("test_vit")

    def broken(batch: Batch) -> Tensor:
        return label_loss(student(batch.inputs), batch) * float("nan")

    work = StageWork(
        stage=Stage(name="x", trains="head", steps=2, lr=0.1),
        batches=_batch,
        loss=broken,
        validate=lambda: Score(accuracy=0.0, loss=0.0),
        eval_every=1,
    )
    with pytest.raises(TrainingError, match="lower the rate"):
        fit(work, student, state=StageState(), report=silent, save=lambda state: None)


def _chosen(raw: float, average: float, takes_average: bool = False) -> tuple[str, float]:
    """Best raw weights of 1 at accuracy `raw`, an average of 0.5 at accuracy `average`."""
    student = _student("test_vit")
    bias = student.head.get_parameter("projection.bias")
    accuracies = iter([0.0, raw, average])
    state = StageState(valley=LossValley(n_converge=1))

    def loss(batch: Batch) -> Tensor:
        return (bias * torch.zeros(DIM)).sum()

    def validate() -> Score:
        score = Score(accuracy=next(accuracies), loss=1.0)
        with torch.no_grad():
            bias.add_(1.0)
        return score

    with torch.no_grad():
        bias.fill_(0.0)
    work = StageWork(
        stage=Stage(name="x", trains="projection", steps=2, lr=1e-9),
        batches=_batch,
        loss=loss,
        validate=validate,
        eval_every=1,
    )
    fit(work, student, state=state, report=silent, save=lambda state: None)
    assert state.best is not None
    state.best.tensors["head.projection.bias"].fill_(7.0)
    chosen = choose(
        student,
        state,
        lambda: Score(accuracy=average, loss=1.0),
        takes_average=takes_average,
    )
    return chosen.weights, float(bias.detach()[0])


def test_the_average_is_taken_where_it_is_asked_for_whatever_the_best_single_step_reached() -> None:
    assert _chosen(raw=0.9, average=0.8, takes_average=True) == ("average", 0.5)


def test_the_better_of_raw_and_average_is_chosen_and_the_average_where_they_are_equal() -> None:
    assert _chosen(raw=0.9, average=0.8) == ("raw", 7.0)
    assert _chosen(raw=0.8, average=0.9)[0] == "average"
    weights, value = _chosen(raw=0.9, average=0.9)
    assert weights == "average"
    assert value == np.float32(0.5)
