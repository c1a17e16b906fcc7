"""Writes a student in a form that other programs load, and checks that it computes the same."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.storage.atomic_file import replacing
from student.errors import BadInput, TrainingError
from student.inference.exported_network import (
    INPUT,
    MOST_DIFFERENCE,
    ExportedNetwork,
    as_properties,
    description,
    sample_pixels,
)
from student.inference.trained_student import TrainedStudent
from student.models.timm_folder import (
    normalised,
    read_timm_folder,
    timm_network,
    write_timm_folder,
)

FORMATS: Final = ("onnx", "torch", "timm")
_NEEDED: Final = ("onnx", "onnxscript", "onnxruntime")
_BATCHES: Final = (1, 3)  # sizes of the batches that are compared


def require_exporter(form: str) -> None:
    """Raise BadInput if a package that this format needs is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if form == "onnx" and missing:
        message = (
            f"--format onnx needs {', '.join(missing)}: pip install 'rented-teacher[export]', or "
            "use --format torch"
        )
        raise BadInput(message)


def export(trained: TrainedStudent, form: str, out: Path) -> float:
    """Write the student to `out`; return the greatest difference of an output from the student's.

    `form` is "onnx" (a file; ONNX Runtime computes the comparison), "torch" (a file for
    `torch.export.load`) or "timm" (a folder for `timm.create_model("local-dir:…")`). A batch may
    have any size. Raises BadInput for a student that the format cannot hold, and TrainingError if
    an output differs by more than 1e-4; then only "timm" has written anything.
    """
    write = {"onnx": _onnx, "torch": _torch, "timm": _timm}[form]
    return write(trained, out)


def _onnx(trained: TrainedStudent, out: Path) -> float:
    import onnxruntime

    network = ExportedNetwork(trained).eval()
    with _quiet():
        program: Any = torch.onnx.export(
            network,
            (sample_pixels(trained.image_size, 2),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(network.outputs),
            dynamic_shapes=_any_batch(),
        )
    program.model.metadata_props.update(as_properties(description(trained)))
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(pixels: Tensor) -> Sequence[NDArray[np.float32]]:
        answers: Sequence[NDArray[np.float32]] = session.run(None, {INPUT: pixels.numpy()})
        return answers

    difference = max(_differences(network, run, trained.image_size))
    _require_equal(difference)
    with replacing(out) as file:
        file.write(content)
    return difference


def _torch(trained: TrainedStudent, out: Path) -> float:
    network = ExportedNetwork(trained).eval()
    with _quiet():
        program = torch.export.export(
            network, (sample_pixels(trained.image_size, 2),), dynamic_shapes=_any_batch()
        )
        computed: Any = program.module()

        def run(pixels: Tensor) -> Sequence[NDArray[np.float32]]:
            with torch.no_grad():
                return [answer.numpy() for answer in computed(pixels)]

        difference = max(_differences(network, run, trained.image_size))
        _require_equal(difference)
        with replacing(out) as file:
            torch.export.save(
                program, file, extra_files={"description.json": json.dumps(description(trained))}
            )
    return difference


def _timm(trained: TrainedStudent, out: Path) -> float:
    student = trained.student
    write_timm_folder(student, timm_network(student), out, about=description(trained))
    read = read_timm_folder(out)
    pixels = sample_pixels(trained.image_size, max(_BATCHES))
    with torch.no_grad():
        features_NF = student.features(pixels)
        head: Any = student.head
        expected = head.align(features_NF) if trained.dim else head(features_NF)
        found = read(normalised(student, pixels))
    difference = float((found - expected).abs().max() / expected.abs().max())
    _require_equal(difference)
    return difference


def _any_batch() -> dict[str, dict[int, Any]]:
    return {"pixels_NSS3": {0: torch.export.Dim("batch", min=1, max=2**16)}}


def _differences(network: ExportedNetwork, run: Any, size: int) -> Iterator[float]:
    """The greatest difference of each output, for batches of several sizes."""
    for count in _BATCHES:
        pixels = sample_pixels(size, count)
        with torch.no_grad():
            expected = network(pixels)
        for found, wanted in zip(run(pixels), expected, strict=True):
            yield float(np.abs(found - wanted.numpy()).max())


def _require_equal(difference: float) -> None:
    if not difference <= MOST_DIFFERENCE:
        message = (
            f"the exported network differs from the student by {difference:.1e}, more than "
            f"{MOST_DIFFERENCE:.0e}: do not use it"
        )
        raise TrainingError(message)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own progress and its warnings about its own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
