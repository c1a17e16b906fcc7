"""The images and embeddings of a split, as the arrays that training and measuring read.

Shapes: N images, K views, D teacher dimensions, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from student.data.folder.image_folder import Item
from student.data.image_set import ImageSet, rows_by_path
from student.data.split import Split
from student.embeddings.keys import split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.options import Options
from student.training.dataset import LabelledImages, TrainingData
from student.training.pixels import Pixels, images_of


def training_data(
    split: Split, scanned: ImageSet, paid: TeacherEmbeddings | None, options: Options
) -> TrainingData:
    """The training images of a split, with the embeddings that were bought for them."""
    images, bought, texts = bought_embeddings(split, scanned, paid, options)
    return TrainingData(
        pixels=stored_views(split, scanned, options.data.views),
        labels=np.array([scanned.label(item) for item in split.train], dtype=np.int64),
        domains=domains_of(split),
        image_embeddings=images,
        bought=bought,
        text_embeddings=texts,
    )


def stored_views(split: Split, scanned: ImageSet, views: int) -> Pixels:
    """The first stored views of the training images."""
    row_of = rows_by_path(scanned.training)
    rows = [row_of[item.path] for item in split.train]
    is_whole = rows == list(range(len(scanned.stored)))
    stored = scanned.stored if is_whole else images_of(scanned.stored, rows)
    first: Pixels = stored[:, :views]
    return first


def domains_of(split: Split) -> NDArray[np.int64]:
    """The number of each training image's domain among the sources (N,)."""
    return np.array([split.sources.index(i.domain) for i in split.train], dtype=np.int64)


def bought_embeddings(
    split: Split, scanned: ImageSet, paid: TeacherEmbeddings | None, options: Options
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Returns image embeddings (N, K, D), a mask of the bought (N, K), and class texts (C, D)."""
    shape = (len(split.train), options.data.views)
    classes = scanned.catalogue.classes
    if paid is None:
        nothing = np.zeros((*shape, 1), dtype=np.float32)
        return nothing, np.zeros(shape, dtype=bool), np.zeros((len(classes), 1), dtype=np.float32)
    keys = split_keys(
        split, scanned.catalogue, options.data, options.purchase.prompts, paid.fingerprint
    )
    vectors, bought = paid.image_embeddings(keys, split.train)
    return vectors, bought, paid.class_embeddings(keys)


def labelled_images(
    name: str, items: Sequence[Item], scanned: ImageSet, row_of: dict[Path, int]
) -> LabelledImages:
    """The measured images of a part, as they are, with their labels; `row_of` has their rows."""
    rows = [row_of[item.path] for item in items]
    labels: NDArray[np.int64] = np.array([scanned.label(item) for item in items], dtype=np.int64)
    return LabelledImages(name=name, pixels=images_of(scanned.clean, rows)[:, 0], labels=labels)
