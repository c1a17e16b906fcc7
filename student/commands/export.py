"""`distill-client export`: writes a finished student for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cache.storage.atomic_file import replace_file
from student.commands.student_option import add_student_option
from student.errors import BadInput
from student.options.folders import require_writable
from student.options.section import user_path
from student.report.model_card import TAG, model_card

_FORMATS = ("onnx", "torch", "timm")
_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "timm": ""}


_CARDS: Final[Mapping[str, Mapping[str, str]]] = {
    "onnx": {"library": "onnx", "usage": "Load the file with ONNX Runtime"},
    "torch": {"library": "pytorch", "usage": "Load the file with `torch.export.load`"},
    "timm": {
        "library": "timm",
        "usage": 'Load it with `timm.create_model("local-dir:FOLDER", pretrained=True)`',
    },
}


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client export",
        description=(
            "Write a finished student for other programs, and check that its outputs are the "
            "student's within 1e-4. onnx: a file that takes 8-bit RGB pixels (batch of any size, "
            "size, size, 3) and returns the confidences and the embedding; normalisation and "
            "temperature are inside. torch: the same for torch.export.load. timm: a folder for "
            "timm.create_model('local-dir:FOLDER', pretrained=True), whose classifier is the "
            "student's projection into the teacher's space. Images are squashed to a square, "
            "bicubic. Beside it, FILE.md (in a timm folder README.md) is a model card for Hugging "
            "Face."
        ),
    )
    add_student_option(made)
    made.add_argument(
        "--format", choices=_FORMATS, default="onnx", help="what to write (default: onnx)"
    )
    made.add_argument(
        "--out",
        type=user_path,
        required=True,
        metavar="PATH",
        help="a .onnx file, a .pt2 file (torch) or a folder (timm)",
    )
    return made


def main(arguments: list[str]) -> int:
    """Writes the file or folder and prints how far its outputs are from the student's.

    Raises BadInput, before anything is computed, for an output that cannot be written, and
    TrainingError if the written network computes something else.
    """
    options = parser().parse_args(arguments)
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
    card = _card_file(out)
    replace_file(card, model_card(trained.meta, **_CARDS[options.format]).encode())
    print(f"wrote {out}; its outputs are the student's within {difference:.1e}")
    print(f"wrote {card}: queries, price, teacher, results, and a caution about the vendor's terms")
    return 0


def _card_file(out: Path) -> Path:
    """The card beside the export; a README.md of the user's own is never replaced."""
    if not out.is_dir():
        return out.with_name(f"{out.name}.md")
    readme = out / "README.md"
    is_own = not readme.exists() or TAG in readme.read_text("utf-8", errors="replace")
    return readme if is_own else out / "MODEL_CARD.md"
