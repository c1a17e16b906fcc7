"""The one training loop: a stage is a value, and so is how far it has come."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from student.errors import TrainingError
from student.models.student import Student
from student.models.timm_backbone import freeze_batch_norm
from student.training.averaging import LossValley, MovingAverage, Segment, WeightMean
from student.training.batches import Batch, Batches
from student.training.metrics import Score
from student.training.sampling import torch_seed
from student.training.stage import Stage

Row = dict[str, float | int | str]
"""What was validated at one step, ready for JSON."""

_REPORTS = 100  # how often a stage tells its loss between validations


class Report(Protocol):
    """Hears how training goes: after how many of its steps a stage stands, the mean loss since the
    last report, and the accuracy on source validation where it was just measured."""

    def __call__(
        self, *, stage: str, step: int, steps: int, loss: float, accuracy: float | None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Best:
    """The raw weights with the highest source-validation accuracy so far; of equals, least loss."""

    score: Score
    step: int
    tensors: dict[str, Tensor]


@dataclass(slots=True, kw_only=True)
class StageState:
    """How far a stage has come: all that resuming it needs beside the student's own tensors."""

    step: int = 0
    best: Best | None = None
    valley: LossValley | None = None
    ema: MovingAverage | None = None
    optimiser: dict[str, Tensor] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


def fit(
    stage: Stage,
    student: Student,
    *,
    batches: Batches,
    loss: Callable[[Batch], Tensor],
    validate: Callable[[], Score],
    state: StageState,
    eval_every: int,
    report: Report,
    save: Callable[[StageState], None],
    keep_batch_norm: bool = True,
    seed: int = 0,
) -> StageState:
    """Trains what the stage names, from where `state` stands, and nothing else.

    Validates after steps 0, eval_every, 2 eval_every, ... and the last, as DomainBed does, and
    calls `save` each time. Goes on when the loss valley has ended: the raw weights may still get
    better than its average. Raises TrainingError where the loss is not finite.
    """
    moving = thaw(student, stage, keep_batch_norm=keep_batch_norm)
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(
        parameters, lr=stage.lr, weight_decay=stage.weight_decay, fused=True
    )
    _restore(optimiser, state.optimiser)
    segment = WeightMean()
    total, counted = torch.zeros((), device=student.device), 0
    for step in range(state.step, stage.steps):
        torch.manual_seed(torch_seed(seed, step))  # dropout, where the backbone has any
        optimiser.param_groups[0]["lr"] = stage.rate(step)
        value = loss(batches(step))
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        optimiser.step()
        total, counted = total + value.detach(), counted + 1
        state.step = step + 1
        if state.valley is not None:
            segment.add(moving)
        if state.ema is not None:
            state.ema.add(moving)
        last = state.step == stage.steps
        score = None
        if step % eval_every == 0 or last:
            mean_loss = _finite(float(total) / counted, stage, step)
            modes = {module: module.training for module in student.modules()}
            score = validate()
            for module, mode in modes.items():
                module.training = mode
            _take(state, score, moving, segment)
            segment = WeightMean()
            state.optimiser = _moments(optimiser)
            state.rows.append(_row(stage, step, mean_loss, score))
            save(state)
        if score or state.step % max(1, stage.steps // _REPORTS) == 0:
            report(
                stage=stage.name,
                step=state.step,
                steps=stage.steps,
                loss=float(total) / counted,
                accuracy=score.accuracy if score else None,
            )
            total, counted = torch.zeros_like(total), 0
    return state


def settle(
    stage: Stage,
    student: Student,
    *,
    solve: Callable[[], tuple[dict[str, Tensor], float]],
    validate: Callable[[], Score],
    state: StageState,
    report: Report,
    save: Callable[[StageState], None],
) -> StageState:
    """Gives the student the solution of a stage in closed form, by name, with the loss there."""
    if state.step < stage.steps:
        moving = thaw(student, stage)
        tensors, loss = solve()
        put(student, tensors)
        score = validate()
        state.step = stage.steps
        _take(state, score, moving, WeightMean())
        state.rows.append(_row(stage, 0, _finite(loss, stage, 0), score))
        save(state)
        report(stage=stage.name, step=1, steps=1, loss=loss, accuracy=score.accuracy)
    return state


def thaw(student: Student, stage: Stage, *, keep_batch_norm: bool = True) -> dict[str, Tensor]:
    """Freezes the student but for the stage's part, and what the loss learns of itself; what can
    move now, by name in the student.

    Batch norm's statistics move only where the backbone trains and they are not to be kept.
    """
    student.requires_grad_(False).eval()
    part = student.part(stage.trains).requires_grad_(True).train()
    if keep_batch_norm or stage.uses_features:
        freeze_batch_norm(part)
    for parameter in student.loss_parameters():
        parameter.requires_grad_(True)
    moving: dict[str, Tensor] = {
        name: parameter for name, parameter in student.named_parameters() if parameter.requires_grad
    }
    for name, module in student.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            for kind, buffer in module.named_buffers(recurse=False):
                if buffer.is_floating_point():
                    moving[f"{name}.{kind}"] = buffer
    return moving


@torch.no_grad()
def put(student: Student, tensors: Mapping[str, Tensor]) -> None:
    """Gives the student these tensors, by name; the others stay."""
    held = {**dict(student.named_parameters()), **dict(student.named_buffers())}
    for name, tensor in tensors.items():
        held[name].copy_(tensor)


def _take(
    state: StageState, score: Score, moving: Mapping[str, Tensor], segment: WeightMean
) -> None:
    best = state.best
    if best is None or (-score.accuracy, score.loss) < (-best.score.accuracy, best.score.loss):
        tensors = {name: tensor.detach().clone() for name, tensor in moving.items()}
        state.best = Best(score=score, step=state.step - 1, tensors=tensors)
    if state.valley is not None:
        state.valley.add(Segment(loss=score.loss, mean=segment))


def _row(stage: Stage, step: int, loss: float, score: Score) -> Row:
    return {
        "stage": stage.name,
        "step": step,
        "lr": stage.rate(step),
        "loss": loss,
        "validation_accuracy": score.accuracy,
        "validation_loss": score.loss,
    }


def _finite(loss: float, stage: Stage, step: int) -> float:
    if not math.isfinite(loss):
        message = (
            f"the loss of stage {stage.name} is {loss} by step {step}: lower the rate {stage.lr}"
        )
        raise TrainingError(message)
    return loss


def _moments(optimiser: torch.optim.Adam) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": tensor
        for number, of_one in optimiser.state_dict()["state"].items()
        for name, tensor in of_one.items()
    }


def _restore(optimiser: torch.optim.Adam, moments: Mapping[str, Tensor]) -> None:
    """Adam's own state, laid out in memory as the parameters are, so that sums come out equal."""
    parameters = optimiser.param_groups[0]["params"]
    for name, tensor in moments.items():
        number, kind = name.split(".")
        parameter = parameters[int(number)]
        held = tensor.clone()
        if tensor.shape == parameter.shape:
            held = torch.empty_like(parameter).copy_(tensor)
        optimiser.state[parameter][kind] = held
