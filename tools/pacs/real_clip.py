"""What a real CLIP answered, from a copy that the user has."""

import hashlib
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tools.pacs.clip_space import Vectors, unit
from tools.train_teacher.measure import EmbeddingSpread, embedding_spread

NAMES = MappingProxyType({"house": ("dollhouse", "birdhouse", "houseboat")})
"""For a class without a text of its own: those whose mean is taken."""
_ONE_IN = 10  # answers, of which one is kept to measure on


class RealClip:
    """The answers that are there: for images, and for texts "a {name}"."""

    def __init__(self, folder: Path) -> None:
        """Read `answers.npz` in a folder with the images, at unit length."""
        stored = np.load(folder / "answers.npz")
        bought = {int(path.stem): path for path in folder.glob("cifar/bought/*/*.png")}
        photographs = [folder / "flickr8k" / str(name) for name in stored["flickr_names"]]
        self._of_cifar = [bought[row].parent.name for row in range(len(bought))]
        self.images = [*(bought[row] for row in range(len(bought))), *photographs]
        self.answers = unit(
            np.concatenate([stored["cifar_test_first500_emb"], stored["flickr_emb"]])
        )
        names = [str(name).split(":")[-1] for name in stored["detic_names"]]
        self._texts = dict(zip(names, unit(stored["detic_text"]), strict=True))

    def text(self, class_name: str) -> Vectors:
        """Return the embedding (D,) of a class name."""
        words = NAMES.get(class_name, (class_name,))
        return unit(np.mean([self._texts[word] for word in words], axis=0))

    def held_out(self) -> NDArray[np.bool_]:
        """Return which images (N,) are kept to measure on: by their digests, alike everywhere."""
        digests = (hashlib.sha256(path.read_bytes()).digest() for path in self.images)
        return np.array([digest[0] % _ONE_IN == 0 for digest in digests])

    def variance(self) -> float:
        """Return the variance of its answers for the images of CIFAR-10, summed over dimensions."""
        answers = self.answers[: len(self._of_cifar)]
        return float(answers.var(axis=0).sum())

    def spread(self) -> EmbeddingSpread:
        """Return how its answers for the images of CIFAR-10 differ."""
        _, labels = np.unique(self._of_cifar, return_inverse=True)
        return embedding_spread(self.answers[: len(labels)], labels)
