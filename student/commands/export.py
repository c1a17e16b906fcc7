"""`distill-client export`: writes a finished student for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from student.commands.student_option import add_student_option
from student.errors import BadInput
from student.options.folders import require_writable
from student.options.section import user_path

_FORMATS = ("onnx", "torch", "timm")
_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "timm": ""}


def main(arguments: list[str]) -> int:
    """Writes the file or folder and prints how far its outputs are from the student's.

    Raises BadInput, before anything is computed, for an output that cannot be written, and
    TrainingError if the written network computes something else.
    """
    parser = argparse.ArgumentParser(
        "distill-client export",
        description=(
            "Write a finished student for other programs, and check that its outputs are the "
            "student's within 1e-4. onnx: a file that takes 8-bit RGB pixels (batch of any size, "
            "size, size, 3) and returns the confidences and the embedding; normalisation and "
            "temperature are inside. torch: the same for torch.export.load. timm: a folder for "
            "timm.create_model('local-dir:FOLDER', pretrained=True), whose classifier is the "
            "student's projection into the teacher's space. Images are squashed to a square, "
            "bicubic."
        ),
    )
    add_student_option(parser)
    parser.add_argument(
        "--format", choices=_FORMATS, default="onnx", help="what to write (default: onnx)"
    )
    parser.add_argument(
        "--out",
        type=user_path,
        required=True,
        metavar="PATH",
        help="a .onnx file, a .pt2 file (torch) or a folder (timm)",
    )
    options = parser.parse_args(arguments)
    out: Path = options.out
    suffix = _SUFFIXES[options.format]
    if suffix and out.suffix != suffix:
        message = f"--out {out}: the name of this format ends in {suffix}"
        raise BadInput(message)
    require_writable(out.parent if suffix else out, "--out")
    from student.inference.export import export, require_exporter
    from student.inference.trained_student import load

    require_exporter(options.format)
    trained = load(options.student)
    (out.parent if suffix else out).mkdir(parents=True, exist_ok=True)
    difference = export(trained, options.format, out)
    print(f"wrote {out}; its outputs are the student's within {difference:.1e}")
    return 0
