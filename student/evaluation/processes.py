"""How many processes train the methods of a run at once, and on how many threads each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from student.options import TrainingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Processes that train at once, the threads of each, and the cores that they share."""

    count: int
    threads: int
    cores: int

    @classmethod
    def of(cls, options: TrainingOptions, *, ranks: int = 1) -> Self:
        """The processes of a run: a function of the options and the machine, not of its load.

        Several `ranks` train one method at a time, together. Threads change the last bits of sums,
        so that their number decides the student.
        """
        cores = options.threads or torch.get_num_threads()
        is_on_cpu = not options.device.startswith("cuda") and not torch.cuda.is_available()
        # More processes than cores: otherwise the last of three runs would use one core and leave
        # the other idle.
        count = min(len(options.methods), 2 * cores) if is_on_cpu and ranks == 1 else 1
        threads = max(1, cores // count) if count > 1 else options.threads
        return cls(count=count, threads=threads, cores=cores)

    def together(self, seconds: Sequence[float]) -> float:
        """The time of methods that take so many seconds each, alone, on `threads` threads."""
        if self.count == 1:
            return sum(seconds)
        return max(*seconds, sum(seconds) * self.threads / self.cores)
