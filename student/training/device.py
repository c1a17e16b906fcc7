"""The device, threads and random numbers of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from student.errors import BadInput
from student.options import TrainingOptions


@contextmanager
def training_device(options: TrainingOptions) -> Iterator[torch.device]:
    """The device, with the threads and random state of this run; both are restored afterwards.

    Raises BadInput for a device that this machine does not have.
    """
    has_gpu = torch.cuda.is_available()
    name = ("cuda" if has_gpu else "cpu") if options.device == "auto" else options.device
    try:
        device = torch.device(name)
    except RuntimeError as error:
        message = f"torch knows no device {name!r}"
        raise BadInput(message) from error
    try:
        torch.zeros(1, device=device).item()
    # torch raises what the backend of the device raises, or where it was built without it.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"this machine has no device {name!r}: use --device auto or --device cpu"
        raise BadInput(message) from error
    threads = torch.get_num_threads()
    gpus: list[int] = []
    if device.type == "cuda":
        gpus = [torch.cuda.current_device() if device.index is None else device.index]
    try:
        torch.set_num_threads(options.threads or threads)
        with (
            torch.random.fork_rng(devices=gpus),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        ):
            yield device
    finally:
        torch.set_num_threads(threads)
