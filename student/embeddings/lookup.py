"""Where the embeddings of a split are found: in a table on disk, row by key.

Shapes: N images, K views of each, C classes, D dimensions of the teacher's space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cache.embedding_table import EmbeddingTable
from cache.records.embedding_key import EmbeddingKey
from student.data.folder.image_folder import Item
from student.embeddings.keys import SplitKeys, text_key
from student.models.architecture import SoldNetwork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeacherEmbeddings:
    """The teacher's embeddings that are on hand: the table on disk, and the row of each key.

    `sold` is what the vendor says of its image network.
    """

    table: EmbeddingTable
    rows: dict[EmbeddingKey, int]
    sold: SoldNetwork | None = None

    @property
    def fingerprint(self) -> str:
        """The model of which these are."""
        return self.table.model_fingerprint

    def only(self, keys: Sequence[EmbeddingKey]) -> TeacherEmbeddings:
        """The same table, as if only these keys had been bought."""
        return replace(self, rows={key: self.rows[key] for key in keys})

    def class_embeddings(self, keys: SplitKeys) -> NDArray[np.float32]:
        """The zero-shot classifier of a split (C, D), as `class_means`; all texts must be here.

        Without labels, C is 0.
        """
        if not keys.classes:
            return np.zeros((0, self.table.dim), dtype=np.float32)
        return class_means(
            lambda key: self.table.vectors[self.rows[key]],
            keys.fingerprint,
            keys.prompts_of_class,
        )

    def image_embeddings(
        self, keys: SplitKeys, items: Sequence[Item]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The images' embeddings (N, K, D), and which are here (N, K); the others are zero."""
        shape = (len(items), keys.views)
        rows = [self.rows.get(key, -1) for item in items for key in keys.view_keys(item)]
        places = np.array(rows, dtype=np.int64).reshape(shape)
        is_here = places >= 0
        vectors = np.zeros((*shape, self.table.dim), dtype=np.float32)
        # In one step and without a copy of them all; what is not here reads row 0 at first.
        np.take(self.table.vectors, places.clip(0), axis=0, out=vectors, mode="clip")
        vectors[~is_here] = 0
        return vectors, is_here

    def vectors(
        self, keys: Sequence[EmbeddingKey]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The embeddings of these keys (N, D), and which are here (N,); the others are zero."""
        places = np.array([self.rows.get(key, -1) for key in keys], dtype=np.int64)
        found = np.zeros((len(keys), self.table.dim), dtype=np.float32)
        found[places >= 0] = self.table.vectors[places[places >= 0]]
        return found, places >= 0


def class_means(
    vector_of: Callable[[EmbeddingKey], NDArray[np.float32]],
    fingerprint: str,
    prompts_of_class: Sequence[Sequence[str]],
) -> NDArray[np.float32]:
    """Per class the mean of its prompts' unit vectors, scaled to unit length: (C, D)."""
    means = np.stack(
        [
            np.mean([vector_of(text_key(fingerprint, text)) for text in prompts], axis=0)
            for prompts in prompts_of_class
        ]
    )
    unit: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit.astype(np.float32)
