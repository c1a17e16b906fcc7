"""A training run on disk, so that a killed run can be resumed: one safetensors file.

The file is replaced as a whole and its header holds the JSON, so that tensors and JSON are always
of the same step.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cache.storage.atomic_file import replace_file
from student.training.averaging import LossValley, Segment, WeightMean
from student.training.loop import Best, Row, StageState
from student.training.metrics import Score

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A run at a validation: the stage, its state, and the student's tensors."""

    digest: str
    stage: int
    seconds: float
    history: list[Row]  # rows of the finished stages
    state: StageState
    student: dict[str, Tensor]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces the file at `path` in one step."""
    from safetensors.torch import save

    state = checkpoint.state
    tensors = {f"student/{name}": tensor for name, tensor in checkpoint.student.items()}
    tensors |= {f"adam/{name}": tensor for name, tensor in state.optimiser.items()}
    meta: dict[str, Any] = {
        "digest": checkpoint.digest,
        "stage": checkpoint.stage,
        "seconds": checkpoint.seconds,
        "history": checkpoint.history,
        "step": state.step,
        "rows": state.rows,
    }
    if state.best is not None:
        tensors |= {f"best/{name}": tensor for name, tensor in state.best.tensors.items()}
        meta["best"] = {"step": state.best.step, "score": asdict(state.best.score)}
    if state.valley is not None:
        valley = state.valley
        means = [valley.mean, *(segment.mean for segment in valley.waiting)]
        for number, mean in enumerate(means):
            tensors |= {f"mean{number}/{name}": tensor for name, tensor in mean.tensors.items()}
        meta["valley"] = {
            "n_converge": valley.n_converge,
            "n_tolerance": valley.n_tolerance,
            "tolerance_ratio": valley.tolerance_ratio,
            "rim": valley.rim,
            "ended": valley.ended,
            "losses": [segment.loss for segment in valley.waiting],
            "counts": [mean.count for mean in means],
        }
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, save(plain, metadata={"training": json.dumps(meta)}))


def read_checkpoint(path: Path, digest: str, device: torch.device) -> Checkpoint | None:
    """The checkpoint at `path`; None if there is none.

    None as well, with a warning in the log, for a checkpoint of another run and for a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt", device=str(device)) as stored:
            meta = json.loads((stored.metadata() or {}).get("training", "{}"))
            if meta.get("digest") != digest:
                _log.warning(
                    "%s is of a run with other data, options, number of processes or another "
                    "torch: "
                    "training starts from the beginning",
                    path,
                )
                return None
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 # no mapping
    except (SafetensorError, ValueError):
        _log.warning("%s is not a checkpoint: training starts from the beginning", path)
        return None

    def group(prefix: str) -> dict[str, Tensor]:
        begin = f"{prefix}/"
        return {
            name.removeprefix(begin): tensor
            for name, tensor in tensors.items()
            if name.startswith(begin)
        }

    state = StageState(step=meta["step"], optimiser=group("adam"), rows=meta["rows"])
    if best := meta.get("best"):
        state.best = Best(score=Score(**best["score"]), step=best["step"], tensors=group("best"))
    if valley := meta.get("valley"):
        losses, counts = valley.pop("losses"), valley.pop("counts")
        mean, *waiting = (
            WeightMean(count=count, tensors=group(f"mean{number}"))
            for number, count in enumerate(counts)
        )
        segments = [
            Segment(loss=loss, mean=of_segment)
            for loss, of_segment in zip(losses, waiting, strict=True)
        ]
        state.valley = LossValley(**valley, mean=mean, waiting=segments)
    return Checkpoint(
        digest=digest,
        stage=meta["stage"],
        seconds=meta["seconds"],
        history=meta["history"],
        state=state,
        student=group("student"),
    )
