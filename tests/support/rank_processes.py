"""Real processes that train one student over gloo, for tests that kill one of them.

`rank_processes.py OUT RUNS`: RUNS is a JSON list of runs, which are made one after the other. A run
has the name of its checkpoint and of its student below OUT, a method, and a number of ranks.
With "kill_at" the last rank kills itself, as `kill -9` does, after so many steps, counted over all
stages; the others have to end by themselves. With "other_data" it has other images than the others
have, and with "fails" rank 0 raises an error before there is any work. With "command" rank 0 runs
the whole command instead, at a vendor in memory, and leaves beside the student what was spent.
Prints the exit codes of each run's ranks, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import timm  # noqa: F401 # here, so that the ranks are forks of a process that has everything
from accelerate import PartialState
from accelerate.utils import reduce  # noqa: F401

from student.commands import distill_purchase
from student.commands.distill import run_distill
from student.console import quiet
from student.distributed.join import Crew, joined
from student.distributed.launch import Launch
from student.distributed.ranks import Ranks
from student.errors import BadInput, StudentError
from student.models.saved import save_student
from student.options import TrainingOptions
from student.training.dataset import LabelledImages
from student.training.task import TrainingTask
from student.training.train import train
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of
from tests.support.shaded_images import make_data
from tests.support.small_grid import settings
from tests.support.training_tasks import task_of

_MOST_SECONDS = 150
OPTIONS = TrainingOptions(
    backbone="test_efficientnet",
    weights="none",
    steps=8,
    align_steps=4,
    lr=1e-3,
    align_lr=1e-2,
    batch_per_domain=7,  # two ranks get three and four of them
    eval_every=2,
    device="cpu",
    threads=1,
)


def task(method: str, *, seed: int) -> TrainingTask:
    """One source domain, half of it bought; seven images to validate on."""
    data = make_data(seed=seed)
    half = replace(
        data,
        domains=np.zeros_like(data.domains),
        bought=(np.arange(data.num_images) % 2 == 0)[:, None],
    )
    other = make_data(seed=1, images=7)
    validation = LabelledImages(name="validation", pixels=other.pixels[:, 0], labels=other.labels)
    return task_of(method, half, validation, OPTIONS)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The work of all ranks: one student, which the first of them writes."""

    out: Path
    name: str
    method: str
    ranks: int
    kill_at: int = 0
    other_data: bool = False
    command: bool = False
    fails: bool = False

    def do(self, ranks: Ranks) -> None:
        steps = 0
        is_last = ranks.rank == ranks.count - 1

        def follow(**_: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == self.kill_at and is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint = self.out / f"{self.name}.checkpoint"
        own = task(self.method, seed=1 if self.other_data and is_last else 0)
        trained = train(own, progress=follow, checkpoint=checkpoint, ranks=ranks)
        if ranks.is_first:
            meta = {"processes": trained.processes, "history": trained.history}
            save_student(trained.student, self.out / self.name, meta)


def run_command(work: Training, crew: Crew) -> None:
    """Buys and trains on the first rank, from a folder of its own."""
    vendor, folder = LedgerVendor(), work.out / work.name
    os.environ["TEACHER_API_KEY"] = KEY
    pets = write_domains(folder / "pets")
    options = settings(pets, method=work.method, target_domain=["d2"], threads=1, steps=6)
    with patch.object(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor)):
        run_distill(options, quiet(), command="distill-client", crew=crew)
    (folder / "spent").write_text(str(vendor.spent))


def run(work: Training) -> list[int]:
    """The exit codes of the ranks; minus the signal for one that was killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = []
    for rank in range(work.ranks):
        child = os.fork()
        if child == 0:
            signal.alarm(_MOST_SECONDS)  # a rank that waits for a killed one has to be noticed
            os._exit(_rank(work, rank, port))
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _rank(work: Training, rank: int, port: int) -> int:
    place = {"RANK": rank, "WORLD_SIZE": work.ranks, "LOCAL_RANK": rank}
    place |= {"LOCAL_WORLD_SIZE": work.ranks, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    launch = Launch(rank=rank, count=work.ranks, local_rank=rank, local_count=work.ranks)
    try:
        if work.ranks == 1:
            if work.command:
                run_command(work, Crew())
            else:
                work.do(Ranks())
            return 0
        with joined(launch, device="cpu") as crew:
            assert PartialState().backend == "gloo"
            if work.fails and launch.is_first:
                message = "the account cannot pay"
                raise BadInput(message)  # noqa: TRY301
            if work.command and launch.is_first:
                run_command(work, crew)
            elif launch.is_first:
                crew.together(work)
            else:
                crew.follow()
    except StudentError as error:
        print(f"rank {rank}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    out = Path(sys.argv[1])
    codes = [run(Training(out=out, **one)) for one in json.loads(sys.argv[2])]
    sys.stdout.write(json.dumps(codes))


if __name__ == "__main__":
    main()
