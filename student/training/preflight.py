"""Trains each student of a run for one step, before anything is bought.

What cannot be trained is found here in seconds: an unknown backbone, weights that are missing or do
not fit, images that are too small, a device that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable

from student.errors import BadInput, StudentError
from student.options import TrainingOptions
from student.training.device import training_device
from student.training.methods import Method
from student.training.random_task import TrialImages, random_task
from student.training.student_factory import check_pair
from student.training.train import train

# Of one image of each of two domains: batch norm needs two.
_ONE_STEP: dict[str, object] = {
    "steps": 1,
    "align_steps": 1,
    "eval_every": 1,
    "batch_per_domain": 1,
    "text_targets": False,
    "wise_ft": 1.0,
}


def check_students(asked: Iterable[tuple[Method, TrainingOptions]], *, image_size: int) -> int:
    """Refuses students that cannot be trained: each network is built once, with its weights, and
    trained for one step on two random images.

    Returns the bytes that the weights of these students take, together. No random state changes.
    Raises BadInput, or TrainingError where the model hub fails.
    """
    students = list(asked)
    for method, options in students:
        check_pair(method, options.backbone)
    for options in {options.device: options for _, options in students}.values():
        with training_device(options):
            pass
    sizes: dict[tuple[str, str, str], int] = {}
    for method, options in students:
        if (network := _network(options)) not in sizes:
            sizes[network] = _size_after_one_step(method, options, image_size)
    return sum(sizes[_network(options)] for _, options in students)


def _network(options: TrainingOptions) -> tuple[str, str, str]:
    return options.backbone, options.weights, options.device


def _size_after_one_step(method: Method, options: TrainingOptions, image_size: int) -> int:
    try:
        images = TrialImages(image_size=image_size)
        student = train(random_task(method, options, images, _ONE_STEP)).student
        return sum(tensor.nbytes for tensor in student.state_dict().values())
    except StudentError:
        raise
    # timm, open_clip and torch raise whatever the network's own code raises.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        flags = f"--device {options.device}" + (" --compile" if options.compile else "")
        message = (
            f"{options.backbone} with weights {options.weights} cannot be trained on images of "
            f"{image_size} pixels with {flags}: {type(error).__name__}: {reason}"
        )
        raise BadInput(message) from error
