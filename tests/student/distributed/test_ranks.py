"""How ranks share rows; what they add up is tested with real processes in test_training.py."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from student.distributed.ranks import ALONE, Ranks


@given(rows=st.integers(1, 200), count=st.integers(1, 17))
def test_each_row_of_a_batch_is_of_one_rank_and_parts_differ_by_one_at_most(
    rows: int, count: int
) -> None:
    parts = [Ranks(rank=rank, count=count).part(rows) for rank in range(count)]
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    sizes = {len(range(rows)[part]) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1 or rows < count


def test_a_process_alone_computes_all_features_and_changes_no_gradient() -> None:
    def doubled(rows: NDArray[np.int64]) -> torch.Tensor:
        return 2.0 * torch.from_numpy(rows)[:, None]

    assert ALONE.gathered(5, doubled).flatten().tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    gradient = torch.tensor([1.0, 2.0])
    ALONE.add_up([gradient])
    ALONE.copy_first([gradient])
    ALONE.require_equal("a", "letter")
    assert gradient.tolist() == [1.0, 2.0]
