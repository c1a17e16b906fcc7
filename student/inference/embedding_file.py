"""Embeddings of image files, written as NumPy or Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.storage.atomic_file import replace_file
from student.errors import BadInput, DataError
from student.inference.trained_student import TrainedStudent

_CHUNK = 256  # images whose pixels are in memory at the same time


def require_writer(out: Path) -> None:
    """Raise BadInput if the package that writes this kind of file is not installed."""
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        message = (
            f"{out}: Parquet needs pyarrow: pip install 'rented-teacher[parquet]', or use .npy"
        )
        raise BadInput(message)


def _require_names(out: Path, images: Sequence[Path]) -> None:
    """Raises BadInput if the file cannot hold the names of these images."""
    if out.suffix != ".parquet":
        return
    for path in images:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            message = f"{out}: Parquet takes names in UTF-8 alone: rename {path}, or use .npy"
            raise BadInput(message) from error


def write_embeddings(
    student: TrainedStudent,
    images: Sequence[Path],
    out: Path,
    *,
    on_error: Callable[[DataError], None],
) -> int:
    """Embed the images, write those that can be read to `out`, and return their number.

    A `.npy` file is float32 (N, D), and the `.json` file of the same name lists the image of each
    row. A `.parquet` file has the columns `image` and `embedding`. An existing file is
    replaced in one step. Raises BadInput for a student without a projection, and for a name that is
    not UTF-8 where Parquet is written.
    """
    _require_names(out, images)
    read: list[Path] = []
    chunks = [np.zeros((0, student.dim), dtype=np.float32)]
    for start in range(0, len(images), _CHUNK):
        pixels: list[NDArray[np.uint8]] = []
        for path in images[start : start + _CHUNK]:
            try:
                pixels.append(student.pixels([path]))
            except DataError as error:
                on_error(error)
                continue
            read.append(path)
        if pixels:
            chunks.append(student.embeddings_of(np.concatenate(pixels)))
    embeddings = np.concatenate(chunks)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".parquet":
        replace_file(out, _parquet(read, embeddings))
    else:
        names = json.dumps([str(path) for path in read], indent=0)
        replace_file(out.with_suffix(".json"), names.encode())
        replace_file(out, _npy(embeddings))
    return len(read)


def _npy(embeddings: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, embeddings, allow_pickle=False)
    return file.getvalue()


def _parquet(images: Sequence[Path], embeddings: NDArray[np.float32]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    values = pa.array(embeddings.reshape(-1), type=pa.float32())
    table = pa.table(
        {
            "image": pa.array([str(path) for path in images], type=pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(values, embeddings.shape[1]),
        }
    )
    file = pa.BufferOutputStream()
    parquet.write_table(table, file)
    content: bytes = file.getvalue().to_pybytes()
    return content
