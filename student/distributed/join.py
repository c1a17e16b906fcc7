"""Joins the processes of a run, and hands work from the first to the others.

The first process runs the command: it plans, buys, prints and writes. The others wait for work,
which is trained and measured together. They may wait for the hours of a purchase, so that work is
handed over in a group of its own, without a limit of time: a process that has ended closes its
connections, and whoever waits for it is told at once.

Work is pickled, as torch.distributed sends any object: the network between the machines is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from student.distributed.launch import Launch
from student.distributed.ranks import ALONE, Ranks, reported
from student.errors import BadInput, TrainingError

_NO_LIMIT = timedelta(days=365)
_LONGEST = timedelta(hours=2)  # between two steps: the tables of a large data set are hashed


class Work(Protocol):
    """Something that all ranks do together; pickled on its way to them."""

    def do(self, ranks: Ranks) -> None:
        """Does the part of this rank, making the same calls of `ranks` as the first rank does."""


@dataclass(slots=True)
class Crew:
    """The processes of a run, as the first of them sees them; alone, there is nobody to tell.

    `is_at_work` is whether the others are inside the work that was handed over last.
    """

    ranks: Ranks = ALONE
    group: Any = None
    is_at_work: bool = field(default=False, init=False)

    @contextmanager
    def working(self, work: Work) -> Iterator[None]:
        """Hands this work to the other ranks; the block does the part of the first.

        Raises TrainingError if another process has ended.
        """
        self.tell(work)
        self.is_at_work = True
        yield
        self.is_at_work = False

    def together(self, work: Work) -> None:
        """Does this work on every rank. Raises what it raises."""
        with self.working(work):
            work.do(self.ranks)

    def tell(self, work: Work | None) -> None:
        """Sends this to the other ranks, which wait for it; None ends them."""
        if self.ranks.count == 1:
            return
        import torch.distributed

        with reported():
            torch.distributed.broadcast_object_list([work], src=0, group=self.group)

    def heard(self) -> Work | None:
        """What the first rank has told, on another rank; waits for it without a limit of time."""
        import torch.distributed

        told: list[Work | None] = [None]
        with reported():
            torch.distributed.broadcast_object_list(told, src=0, group=self.group)
        return told[0]

    def follow(self) -> None:
        """Does all work that the first rank tells, on another rank, until it tells the end."""
        while (work := self.heard()) is not None:
            work.do(self.ranks)


@contextmanager
def joined(launch: Launch, *, device: str) -> Iterator[Crew]:
    """The crew of all processes of this launch, each on its own GPU or on the CPU, until the end.

    `device` is that of the options. On the first rank, the end of the block ends the others, unless
    it failed inside work: then they fail by themselves. Raises BadInput without the extra
    `distributed` or without a GPU for each process, and TrainingError if the others do not come.
    """
    try:
        from accelerate import PartialState
    except ImportError as error:
        message = (
            "several processes need accelerate: pip install 'rented-teacher[distributed]'. "
            "Nothing was bought"
        )
        raise BadInput(message) from error
    import torch.distributed

    is_on_gpu = _takes_gpus(launch, device)
    with reported():
        # What is not on a GPU, such as a message, goes by gloo there too.
        backend = "cpu:gloo,cuda:nccl" if is_on_gpu else None
        PartialState(cpu=not is_on_gpu, backend=backend, timeout=_LONGEST)
        group = torch.distributed.new_group(backend="gloo", timeout=_NO_LIMIT)
    crew = Crew(ranks=Ranks(rank=launch.rank, count=launch.count), group=group)
    try:
        yield crew
    except BaseException:
        if launch.is_first and not crew.is_at_work:
            with suppress(TrainingError):  # the first error says more
                crew.tell(None)
        raise
    if launch.is_first:
        crew.tell(None)
    torch.distributed.destroy_process_group()


def _takes_gpus(launch: Launch, device: str) -> bool:
    """Whether each process trains on a GPU of its own. Raises BadInput if they cannot."""
    import torch

    if device == "cpu":
        return False
    if device not in ("auto", "cuda"):
        message = (
            f"--device {device}: several processes each take a device of their own. Nothing was "
            "bought; use --device cuda or --device cpu"
        )
        raise BadInput(message)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto" and not gpus:
        return False
    if gpus < launch.local_count:
        message = (
            f"{launch.local_count} processes on this machine and {gpus} GPUs: each process takes "
            "one. Nothing was bought; start fewer processes, or use --device cpu"
        )
        raise BadInput(message)
    return True
