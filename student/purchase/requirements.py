"""What a run needs to buy, and what its selector may use to choose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cache.records.embedding_key import EmbeddingKey
from cache.storage.reader import CacheReader
from student.acquisition.candidates import Answers, Candidates
from student.acquisition.features import frozen_features
from student.acquisition.strategies import Selector
from student.console import Terminal
from student.data.image_set import ImageSet
from student.embeddings.keys import (
    PromptStyle,
    held_out_keys,
    original_key,
    prompts_of_splits,
    split_keys,
    text_key,
)
from student.embeddings.lookup import class_means
from student.options import DataOptions, RunOptions, TrainingOptions
from student.purchase.embedding_requests import EmbeddingRequest, image_requests, text_requests
from student.vendor.schemas import Model


def candidates_for(
    selector: Selector,
    scanned: ImageSet,
    training: TrainingOptions,
    run: RunOptions,
    terminal: Terminal,
) -> Candidates:
    """The training images as candidates for this selector, row by row.

    Without features (F is 0) where the selector reads none. Raises as `frozen_features` does.
    """
    items = scanned.training
    domains = {name: number for number, name in enumerate(scanned.catalogue.domains)}
    features = np.zeros((len(items), 0), dtype=np.float32)
    if selector.reads_features:
        with terminal.bar("computing features") as update:
            features = frozen_features(
                [item.digest for item in items],
                scanned.stored[:, 0],
                training,
                seed=run.seed,
                folder=run.out / "features",
                progress=lambda done, total: update(done, total, ""),
            )
    return Candidates(
        features=features,
        labels=np.array([scanned.label(item) for item in items], dtype=np.int64),
        domains=np.array([domains[item.domain] for item in items], dtype=np.int64),
    )


class EmbeddingRequirements:
    """The prompts and the views that the splits of a run need, of one model.

    Without labels there are no prompts: the captions of the images that are measured, and these
    images, come first.
    """

    def __init__(
        self, data: DataOptions, prompts: PromptStyle, scanned: ImageSet, model: Model
    ) -> None:
        self._scanned = scanned
        self._fingerprint = model.fingerprint
        self._limits = model.limits
        keys = [
            split_keys(split, scanned.catalogue, data, prompts, model.fingerprint)
            for split in scanned.splits
        ]
        self._prompts = prompts_of_splits(keys)
        held_out = [held_out_keys(one, scanned.catalogue) for one in keys]
        self._of_held_out = prompts_of_splits(held_out)

    def wanted(self, rows: Sequence[int]) -> list[EmbeddingRequest]:
        """The prompts, then every view of the training images of these rows, in their order.

        Without labels, what measures comes before the training images.
        """
        texts = text_requests(self._fingerprint, self._distinct_prompts())
        training, stored = self._scanned.training, self._scanned.stored
        images = image_requests(self._fingerprint, training, stored, rows, self._limits)
        return [*texts, *self.measuring(), *images]

    def measuring(self) -> list[EmbeddingRequest]:
        """What measures a student without labels: captions, then images; [] with labels."""
        if self.has_labels:
            return []
        items, clean = self._scanned.measured, self._scanned.clean
        captions = [caption for item in items for caption in item.captions]
        images = image_requests(self._fingerprint, items, clean, range(len(items)), self._limits)
        texts = text_requests(self._fingerprint, list(dict.fromkeys(captions)), kind="caption")
        return [*texts, *images]

    @property
    def has_labels(self) -> bool:
        """Whether the images have classes."""
        return self._scanned.catalogue.is_labelled

    def labels(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """The classes of the training images of these rows, by number."""
        training = self._scanned.training
        return np.array([self._scanned.label(training[row]) for row in rows], dtype=np.int64)

    def has_texts(self, cache: CacheReader) -> bool:
        """Whether every prompt was bought."""
        return not cache.missing(self._text_keys())

    def answers(self, rows: Sequence[int], cache: CacheReader) -> Answers:
        """What was bought of the original views of these rows; all prompts must have been."""
        text_of = cache.fetch(self._text_keys())
        texts = class_means(lambda key: text_of[key].vector, self._fingerprint, self._prompts)
        training = self._scanned.training
        originals = [original_key(self._fingerprint, training[row]) for row in rows]
        bought = cache.fetch(originals)
        images = np.zeros((len(training), texts.shape[1]), dtype=np.float32)
        known = np.zeros(len(training), dtype=bool)
        for row, key in zip(rows, originals, strict=True):
            if key in bought:
                images[row], known[row] = bought[key].vector, True
        return Answers(texts=texts, images=images, known=known)

    def _distinct_prompts(self) -> list[str]:
        return list(dict.fromkeys(chain.from_iterable([*self._prompts, *self._of_held_out])))

    def _text_keys(self) -> list[EmbeddingKey]:
        return [text_key(self._fingerprint, prompt) for prompt in self._distinct_prompts()]
