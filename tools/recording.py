"""Writes answers that a user has from elsewhere as a recording that a vendor sells."""

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Answer: TypeAlias = tuple[str, bytes, NDArray[np.floating[Any]]]
"""The modality, what is embedded (an image file or a text in UTF-8), and its embedding."""
REAL_CLIP = "OpenAI CLIP ViT-B/32"


def write_recording(
    folder: Path, *, name: str, source: str, answers: Iterable[Answer], model: str = REAL_CLIP
) -> int:
    """Write the answers, at unit length, as the folder of `teacher-server serve --model
    recorded:FOLDER`; return their number. `model` says whose they are, and `source` where they
    come from."""
    lines: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    for modality, item, embedding in answers:
        lines.append(f"{modality} {hashlib.sha256(item).hexdigest()}\n")
        vectors.append(_at_unit_length(embedding))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", np.stack(vectors))
    (folder / "items.txt").write_text("".join(lines), "ascii")
    described = {
        "format": 1,
        "name": name,
        "recorded_from": {"model": model, "answers": source},
    }
    (folder / "recorded.json").write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    return len(lines)


def _at_unit_length(embedding: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The direction of an embedding, the same to the bit on every kind of processor: NumPy's own
    norm is not, and another last bit would be another teacher, whose answers are paid for anew."""
    wide = embedding.astype(np.float64)
    length = math.sqrt(math.fsum(float(value) ** 2 for value in wide))
    return np.asarray(wide / length, dtype=np.float32)
