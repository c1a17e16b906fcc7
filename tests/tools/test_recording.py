"""A recording of answers is the same file on every machine."""

from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np

from tools.recording import write_recording


def test_recorded_answers_are_rounded_once_from_their_exact_direction(tmp_path: Path) -> None:
    """The sum of squares of a BLAS depends on the processor, and the last bit on that sum."""
    embeddings = np.random.default_rng(0).normal(size=(20, 512)).astype(np.float16)
    answers = [("text", bytes([row]), embedding) for row, embedding in enumerate(embeddings)]
    write_recording(tmp_path, name="a recording", source="a test", answers=answers)
    recorded = np.load(tmp_path / "vectors.npy", allow_pickle=False)
    with localcontext() as exact:
        exact.prec = 60
        for embedding, vector in zip(embeddings, recorded, strict=True):
            values = [Decimal(float(value)) for value in embedding]
            length = sum((value * value for value in values), Decimal(0)).sqrt()
            expected = np.array([float(value / length) for value in values]).astype(np.float32)
            np.testing.assert_array_equal(vector, expected)
