"""What several processes cannot train together is refused before anything is bought."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from student.data.split import Split
from student.distributed.join import Crew
from student.errors import BadInput
from student.evaluation.split_work import SeesFolder
from student.options import Options
from student.training.methods import METHODS
from student.training.stage_builder import require_rows


def require_trainable_together(options: Options, ranks: int) -> None:
    """Refuses options that several processes have no use for, or that give another student.

    Raises BadInput.
    """
    reason = ""
    changing = [
        name
        for name in options.training.methods
        if not METHODS[name].settings_for(options.training).freeze_batch_norm
    ]
    if options.run.dry_run:
        reason = "--dry-run trains nothing: leave the launcher out"
    elif options.purchase.part is not None:
        reason = "--shard trains nothing: leave the launcher out"
    elif changing:
        reason = (
            f"{changing[0]} with --no-freeze-batch-norm takes the statistics of whole batches, and "
            "each process sees a part of them: keep --freeze-batch-norm"
        )
    if reason:
        message = f"{ranks} processes: {reason}. Nothing was bought"
        raise BadInput(message)


def require_rows_for_all(options: Options, splits: tuple[Split, ...], ranks: int) -> None:
    """Refuses batches of fewer images than there are processes. Raises BadInput."""
    for split in splits:
        for name in options.training.methods:
            used = METHODS[name].settings_for(options.training)
            require_rows(used.batch_per_domain * len(split.sources), ranks)


def require_shared_folders(options: Options, crew: Crew) -> None:
    """Makes the output folder, and refuses processes that do not see it and the data.

    Raises TrainingError.
    """
    if crew.ranks.count == 1:
        return
    options.run.out.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".seen-by-all-", dir=options.run.out)
    os.close(handle)
    try:
        crew.together(SeesFolder(file=Path(name), data=options.data.data))
    finally:
        Path(name).unlink()
