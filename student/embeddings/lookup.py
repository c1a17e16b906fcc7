"""Where the embeddings of a split are found: in a table on disk, row by key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.embedding_table import EmbeddingTable
from cache.records.embedding_key import EmbeddingKey
from student.embeddings.keys import text_key


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeacherEmbeddings:
    """The teacher's embeddings that are on hand: the table on disk, and the row of each key."""

    table: EmbeddingTable
    rows: dict[EmbeddingKey, int]


def class_embeddings(
    table: EmbeddingTable,
    rows: dict[EmbeddingKey, int],
    fingerprint: str,
    prompts_of_class: Sequence[Sequence[str]],
) -> NDArray[np.float32]:
    """The text classifier: per class the mean of its prompts' unit vectors, made unit, (C, D)."""
    return class_means(lambda key: table.vectors[rows[key]], fingerprint, prompts_of_class)


def class_means(
    vector_of: Callable[[EmbeddingKey], NDArray[np.float32]],
    fingerprint: str,
    prompts_of_class: Sequence[Sequence[str]],
) -> NDArray[np.float32]:
    """The same from wherever the prompts' embeddings are kept."""
    means = np.stack(
        [
            np.mean([vector_of(text_key(fingerprint, text)) for text in prompts], axis=0)
            for prompts in prompts_of_class
        ]
    )
    unit: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit.astype(np.float32)


def image_embeddings(
    table: EmbeddingTable,
    rows: dict[EmbeddingKey, int],
    keys_of_image: Sequence[Sequence[EmbeddingKey]],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The bought embeddings (N, K, D), and which are bought (N, K); the others are zero."""
    shape = (len(keys_of_image), len(keys_of_image[0]) if keys_of_image else 1)
    vectors = np.zeros((*shape, table.dim), dtype=np.float32)
    bought = np.zeros(shape, dtype=bool)
    for n, keys in enumerate(keys_of_image):
        for k, key in enumerate(keys):
            if (row := rows.get(key)) is not None:
                vectors[n, k] = table.vectors[row]
                bought[n, k] = True
    return vectors, bought
