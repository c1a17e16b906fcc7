"""How a launcher started this process: alone, or as one of several. Loads no torch.

`accelerate launch` and `torchrun` name each process, its rank, in environment variables
(https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Thread
from time import sleep

from student.errors import BadInput

_PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The rank of this process among `count` processes, and among those of its machine."""

    rank: int
    count: int
    local_rank: int
    local_count: int

    @property
    def is_first(self) -> bool:
        """Whether this process buys, prints and writes."""
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """This process among those of its launcher; None if it is alone.

    Raises BadInput where Accelerate was asked for several processes and started one.
    """
    found = [environment.get(name, "") for name in _PLACE]
    if all(value.isdigit() for value in found):
        rank, count, local_rank, local_count = map(int, found)
        if count > 1:
            return Launch(rank=rank, count=count, local_rank=local_rank, local_count=local_count)
        return None
    # Accelerate sets an address for processes to meet at, and on a machine without GPUs starts
    # only one unless it has MPI.
    if "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment:
        message = (
            "accelerate launch was asked for several processes and started one, as it does on a "
            "machine without GPUs. Nothing was bought. Start them with `accelerate launch "
            "--multi_gpu --num_processes N -m student … --device cpu`, or without accelerate launch"
        )
        raise BadInput(message)
    return None


def speaker(environment: Mapping[str, str] = os.environ) -> str:
    """What a message of this process begins with: its rank, unless it is the first or alone."""
    rank = environment.get("RANK", "0")
    return "" if rank == "0" or "WORLD_SIZE" not in environment else f"rank {rank}: "


def end_with_launcher() -> None:
    """Ends this process as soon as its launcher has ended, even if the launcher was killed.

    Otherwise the processes of a killed run would train on, beside those of the run that resumes it.
    """
    launcher = os.getppid()

    def wait() -> None:
        while os.getppid() == launcher:
            sleep(1.0)
        os._exit(1)

    Thread(target=wait, name="end-with-launcher", daemon=True).start()
