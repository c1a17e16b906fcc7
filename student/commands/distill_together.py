"""`distill-client` started several times by a launcher: the first process runs the command, and the
others train with it."""

from __future__ import annotations

from collections.abc import Sequence

from student.commands import distill
from student.distributed.join import joined
from student.distributed.launch import Launch, end_with_launcher
from student.evaluation.shared_training import require_trainable_together
from student.options import Options
from student.options.output import Output


def main(launch: Launch, options: Options, output: Output, arguments: Sequence[str]) -> int:
    """Runs the command on the first process and takes part in its training on any other.

    Raises StudentError and CacheError.
    """
    require_trainable_together(options, launch.count)
    end_with_launcher()
    with joined(launch, device=options.training.device) as crew:
        if launch.is_first:
            return distill.main(options, output, arguments, crew)
        crew.follow()
    return 0
