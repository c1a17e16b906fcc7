"""Training loop for one stage; its progress is a StageState, so that it can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from student.distributed.ranks import ALONE, Ranks
from student.errors import TrainingError
from student.models.student import Student
from student.models.timm_backbone import freeze_batch_norm
from student.training.averaging import LossValley, Segment, WeightMean
from student.training.batches import Batch, Batches
from student.training.metrics import Score
from student.training.sampling import torch_seed
from student.training.stage import Stage

Row = dict[str, float | int | str]
"""What was validated at one step, ready for JSON."""

_REPORTS = 100  # about how often a stage reports its loss
FIRST_STEPS = 6
"""How many steps are each reported when a stage begins, so that their time can be measured."""


class Report(Protocol):
    """Receives the progress of a stage: its steps so far and in all, the mean loss since the last
    report, and the accuracy on source validation if it was just measured."""

    def __call__(
        self, *, stage: str, step: int, steps: int, loss: float, accuracy: float | None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Best:
    """The raw weights with the best source-validation accuracy so far; ties: the least loss."""

    score: Score
    step: int
    tensors: dict[str, Tensor]


@dataclass(slots=True, kw_only=True)
class StageState:
    """The progress of a stage: all that resuming it needs beside the student's own tensors."""

    step: int = 0
    best: Best | None = None
    valley: LossValley | None = None
    optimiser: dict[str, Tensor] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageWork:
    """What a stage trains on: the batch of a step, the loss of a batch, and the score on source
    validation, which is measured every `eval_every` steps. `seed` is that of the dropout."""

    stage: Stage
    batches: Batches
    loss: Callable[[Batch], Tensor]
    validate: Callable[[], Score]
    eval_every: int
    keep_batch_norm: bool = True
    seed: int = 0
    ranks: Ranks = ALONE


def fit(
    work: StageWork,
    student: Student,
    *,
    state: StageState,
    report: Report,
    save: Callable[[StageState], None],
) -> StageState:
    """Trains the part of the student that the stage names, from the step at which `state` is.

    Validates after steps 0, eval_every, 2 eval_every, ... and the last, as DomainBed does, and
    calls `save` each time. Training continues after the loss valley has ended: the raw weights may
    still become better than its average. Several ranks add up their gradients and losses at every
    step. Raises TrainingError if the loss is not finite.
    """
    stage = work.stage
    moving = thaw(student, stage, keep_batch_norm=work.keep_batch_norm)
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=stage.lr, fused=True)
    _restore(optimiser, state.optimiser)
    segment = WeightMean()
    total, counted = torch.zeros((), device=student.device), 0
    first = state.step
    for step in range(first, stage.steps):
        # Dropout, where the backbone has any: other values for the rows of other ranks.
        others = (work.ranks.rank,) if work.ranks.rank else ()
        torch.manual_seed(torch_seed(work.seed, step, *others))
        optimiser.param_groups[0]["lr"] = stage.rate(step)
        value = work.loss(work.batches(step))
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        loss = value.detach()
        work.ranks.add_up([loss, *(one.grad for one in parameters if one.grad is not None)])
        optimiser.step()
        total, counted = total + loss, counted + 1
        state.step = step + 1
        if state.valley is not None:
            segment.add(moving)
        score = None
        if step % work.eval_every == 0 or state.step == stage.steps:
            mean_loss = _finite(float(total) / counted, stage, step)
            score = _validate(work, student)
            _take(state, score, moving, segment)
            segment = WeightMean()
            state.optimiser = _moments(optimiser)
            state.rows.append(_row(stage, step, mean_loss, score))
            save(state)
        is_due = score is not None or state.step % max(1, stage.steps // _REPORTS) == 0
        if is_due or state.step <= first + FIRST_STEPS:
            report(
                stage=stage.name,
                step=state.step,
                steps=stage.steps,
                loss=float(total) / counted,
                accuracy=score.accuracy if score else None,
            )
        if is_due:
            total, counted = torch.zeros_like(total), 0
    return state


def _validate(work: StageWork, student: Student) -> Score:
    """The score on source validation; every module is left in the mode in which it was."""
    modes = {module: module.training for module in student.modules()}
    score = work.validate()
    for module, mode in modes.items():
        module.training = mode
    return score


def thaw(student: Student, stage: Stage, *, keep_batch_norm: bool = True) -> dict[str, Tensor]:
    """Freezes the student except for the stage's part and the parameters of the loss.

    Returns the tensors that training changes, by name in the student. Batch-norm statistics are
    among them only if the backbone is trained and they are not to be kept.
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
    """Copies these tensors into the student, by name; the others are unchanged."""
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
    """Restores Adam's state in the memory layout of the parameters, so that sums are equal."""
    parameters = optimiser.param_groups[0]["params"]
    for name, tensor in moments.items():
        number, kind = name.split(".")
        parameter = parameters[int(number)]
        held = tensor.clone()
        if tensor.shape == parameter.shape:
            held = torch.empty_like(parameter).copy_(tensor)
        optimiser.state[parameter][kind] = held
