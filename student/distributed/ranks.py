"""The processes that train one student together: what each does, and how they add it up.

Rank r of W takes its part of the rows of every batch, and of every set of images that features are
computed of. Shapes: B rows of a batch, N images, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from student.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process, `rank` of `count`. With a count of 1 no other process is needed or asked.

    Every rank has to make the same calls in the same order; each returns when all have made it.
    All raise TrainingError if another process has ended or cannot be reached.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this rank buys, prints and writes."""
        return self.rank == 0

    def part(self, rows: int) -> slice:
        """This rank's rows of a batch: each row is of one rank, and parts differ by one at most."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the ranks: the same bits on every rank."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        # One message for all. DDP's buckets change after its first step, and with them the order of
        # the sums of three ranks or more: a resumed run would end in another student.
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with reported():
            summed = reduce(flat, reduction="sum")
        for tensor, part in zip(
            tensors, summed.split([tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(part.view(tensor.shape))

    def gathered(self, images: int, features: Callable[[NDArray[np.int64]], Tensor]) -> Tensor:
        """The features (N, F) of all images on every rank; each rank computes those of its rows.

        `features` gets row numbers, as many on every rank: the last row stands in where there are
        none left, and is then dropped.
        """
        each = -(-images // self.count)
        places = np.arange(each * self.rank, each * (self.rank + 1), dtype=np.int64)
        own = features(np.minimum(places, images - 1))
        if self.count == 1:
            return own
        from accelerate.utils import gather

        with reported():
            joined: Tensor = gather(own.contiguous())
        return joined[:images]

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by that of the first rank."""
        if self.count == 1:
            return
        from accelerate.utils import broadcast

        with reported(), torch.no_grad():
            for tensor in tensors:
                tensor.copy_(broadcast(tensor.detach().contiguous()))

    def require_equal(self, value: object, what: str) -> None:
        """Raises TrainingError on every rank unless all of them have an equal value."""
        if self.count == 1:
            return
        from accelerate.utils import gather_object

        with reported():
            values = gather_object([value])
        others = [str(rank) for rank, one in enumerate(values) if one != values[0]]
        if others:
            message = (
                f"rank {', '.join(others)} of {self.count} does not have the same {what} as rank 0:"
                " --data and --out have to be on a disk that every machine sees, with the same "
                "version of torch on each. What was bought is stored; mend this, then run the same "
                "command again"
            )
            raise TrainingError(message)


ALONE = Ranks()
"""A process that trains by itself."""


@contextmanager
def reported() -> Iterator[None]:
    """Raises TrainingError for what torch raises when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        message = (
            "another process of this run has ended or cannot be reached. What was bought is "
            "stored; run the same command again, which resumes from the last checkpoint "
            f"({reason})"
        )
        raise TrainingError(message) from error
