"""What this machine must have: the key, a budget, a device, and weights that train."""

from __future__ import annotations

from collections.abc import Iterator

from student.doctor.finding import Finding, ok, warning
from student.options import Options
from student.options.purchase import KEY_VARIABLE, api_key
from student.shared_budget.open import open_shared_budget
from student.training.device import training_device
from student.training.methods import METHODS
from student.training.preflight import check_students


def key(options: Options) -> Iterator[Finding]:
    """Whether there is an API key, and from where; the key itself is never shown."""
    api_key(options.purchase)
    source = options.purchase.key_file or f"the variable {KEY_VARIABLE}"
    yield ok("API key", f"read from {source}")


def budget(options: Options) -> Iterator[Finding]:
    """Whether a budget is set: without one, nothing is bought."""
    limit, shared = options.purchase.budget, options.purchase.shared_budget
    if shared is not None:
        now = open_shared_budget(shared).balance()
        yield ok("shared budget", f"{now.free:,} of {now.total:,} queries free in {shared}")
    if not options.purchase.has_budget:
        yield warning(
            "budget", "none is set, so a run buys nothing", "set --budget to a number of queries"
        )
    elif limit is not None:
        yield ok("budget", f"{limit:,} queries over the lifetime of the cache")


def device(options: Options) -> Iterator[Finding]:
    """The device and the threads that train."""
    import torch

    with training_device(options.training) as chosen:
        if chosen.type == "cuda":
            yield ok("device", f"{chosen}, {torch.cuda.get_device_name(chosen)}")
            return
        yield ok("device", f"{chosen}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        yield warning("device", "this machine has a GPU that is not used", "use --device auto")


def students(options: Options) -> Iterator[Finding]:
    """Whether the backbone, its weights and the image size can be trained, by one step of each."""
    training = options.training
    asked = [(METHODS[name], training) for name in training.methods]
    size = check_students(asked, image_size=options.data.image_size)
    yield ok(
        "student",
        f"{training.backbone} with weights {training.weights} trains at {options.data.image_size} "
        f"pixels ({size / 2**20:,.0f} MiB)",
    )
