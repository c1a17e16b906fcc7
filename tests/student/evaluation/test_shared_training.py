"""What several processes cannot train together is refused, and nothing is bought."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from student.errors import BadInput
from student.evaluation.shared_training import require_rows_for_all, require_trainable_together
from student.options import Options
from tests.support.small_grid import settings


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"dry_run": True}, "--dry-run trains nothing"),
        ({"shard": "1/2"}, "--shard trains nothing"),
        ({"freeze_batch_norm": False}, "keep --freeze-batch-norm"),
    ],
)
def test_options_that_several_processes_have_no_use_for_are_refused(
    option: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=rf"2 processes: .*{said}.*Nothing was bought"):
        require_trainable_together(settings(tmp_path, **option), 2)


def test_ordinary_options_are_taken(tmp_path: Path) -> None:
    require_trainable_together(settings(tmp_path, compare=True), 2)


def _splits(*sources: int) -> Any:
    return tuple(SimpleNamespace(sources=tuple(map(str, range(count)))) for count in sources)


def test_more_processes_than_images_in_a_batch_of_any_split_are_refused(tmp_path: Path) -> None:
    options: Options = settings(tmp_path, batch_per_domain=3)
    require_rows_for_all(options, _splits(2, 3), 6)
    with pytest.raises(BadInput, match=r"a batch has 6 images, and 7 processes"):
        require_rows_for_all(options, _splits(3, 2), 7)
