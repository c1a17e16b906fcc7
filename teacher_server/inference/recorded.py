"""Sells answers that were recorded before, with no model: for tests, classrooms and CI.

A recording is a folder of three files. `recorded.json` has the name of the recording and where it
is from; `items.txt` has a line for each answer, `image` or `text`, a blank, and a SHA-256 in hex:
of the image file's bytes, or of the text in NFC and UTF-8; `vectors.npy` has the answers as float32
rows of unit length (N, D). `cache-report record` writes one from a paid cache.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from teacher_server.errors import ImageRefused, ModelUnavailable, TextRefused
from teacher_server.inference.model_info import Modality, ModelInfo, Prepared, Vectors
from teacher_server.inference.weights import sha256_of

PREFIX: Final = "recorded:"
_FORMAT: Final = 1
_IMAGE_SIZE: Final = 224  # pixels, of a recording that does not name another
_CONTEXT_LENGTH: Final = 77  # tokens, of a recording that does not name another
_LENGTH_TOLERANCE: Final = 1e-3


class RecordedItems:
    """The items of one recording, without its answers."""

    def __init__(self, info: ModelInfo, rows: Mapping[str, int]) -> None:
        """`rows` has the row of the answer for each line of items.txt."""
        self._info = info
        self._rows = rows

    @property
    def info(self) -> ModelInfo:
        """The identity of the recording: another recording is another model."""
        return self._info

    def prepare_item(self, item: str | bytes) -> Prepared:
        """Find an item, by the bytes of the image file or the text.

        Raises ImageRefused or TextRefused if it was not recorded.
        """
        if isinstance(item, bytes):
            row = self._rows.get(f"image {hashlib.sha256(item).hexdigest()}")
            if row is None:
                message = "the recording has no answer for this image file"
                raise ImageRefused(message, code="invalid_image")
            return _prepared("image", row)
        text = unicodedata.normalize("NFC", item).encode()
        row = self._rows.get(f"text {hashlib.sha256(text).hexdigest()}")
        if row is None:
            message = f"the recording has no answer for the text {item[:100]!r}"
            raise TextRefused(message)
        return _prepared("text", row)

    def prepare_image(self, image: Image.Image) -> Prepared:
        """The first recorded answer, whatever the image: only the readiness probe asks this way."""
        return _prepared("image", 0)

    def prepare_text(self, text: str) -> Prepared:
        """The first recorded answer, whatever the text: only the readiness probe asks this way."""
        return _prepared("text", 0)


class RecordedEncoder(RecordedItems):
    """The answers of one recording, as an Encoder: an item is found, not computed."""

    def __init__(self, folder: Path) -> None:
        """Read the recording. Raises ModelUnavailable if it is not complete."""
        try:
            described = json.loads((folder / "recorded.json").read_text("utf-8"))
            lines = (folder / "items.txt").read_text("ascii").splitlines()
            self._vectors: Vectors = np.load(folder / "vectors.npy", allow_pickle=False)
            info = _model_info(folder, described, self._vectors)
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = (
                f"{folder} is no recording: it needs recorded.json, items.txt and vectors.npy "
                f"({error})"
            )
            raise ModelUnavailable(message) from error
        super().__init__(info, {line: row for row, line in enumerate(lines)})
        self._require_sound(folder, lines)

    @property
    def preparation(self) -> RecordedItems:
        """What finds items, for a process that does not have the answers."""
        return RecordedItems(self._info, self._rows)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Return the recorded answers (N, D), bit for bit."""
        rows = [int(item.array[0]) for item in items]
        return np.ascontiguousarray(self._vectors[rows])

    def _require_sound(self, folder: Path, lines: Sequence[str]) -> None:
        vectors = self._vectors
        fault = ""
        if vectors.dtype != np.float32 or vectors.ndim != 2:
            fault = f"vectors.npy is {vectors.dtype} {vectors.shape}, not float32 (N, D)"
        elif len(lines) != len(vectors) or not lines:
            fault = f"items.txt has {len(lines)} lines, and vectors.npy {len(vectors)} rows"
        elif len(self._rows) != len(lines):
            fault = f"items.txt names {len(lines) - len(self._rows)} items twice"
        else:
            lengths = np.linalg.norm(vectors, axis=1)
            if (bad := np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE))).size:
                fault = f"row {bad[0]} of vectors.npy has the length {lengths[bad[0]]:.4f}, not 1"
        if fault:
            message = f"{folder} cannot be sold: {fault}"
            raise ModelUnavailable(message)


def _prepared(modality: Modality, row: int) -> Prepared:
    return Prepared(modality, np.array([row]))


def _model_info(folder: Path, described: dict[str, Any], vectors: Vectors) -> ModelInfo:
    if described["format"] != _FORMAT:
        message = f"its format is {described['format']}, and this program reads {_FORMAT}"
        raise ValueError(message)
    both = sha256_of(folder / "items.txt") + sha256_of(folder / "vectors.npy")
    return ModelInfo(
        id=f"recorded/{described['name']}",
        weights_sha256=hashlib.sha256(both.encode()).hexdigest(),
        dim=int(vectors.shape[-1]),
        image_size=int(described.get("image_size", _IMAGE_SIZE)),
        context_length=int(described.get("context_length", _CONTEXT_LENGTH)),
        preprocess={},
        open_clip_version="",
        is_embedded=False,
        created=int((folder / "vectors.npy").stat().st_mtime),
        configuration={"recorded_from": described.get("recorded_from", {})},
    )
