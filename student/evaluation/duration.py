"""Says how long the training of a run takes on this machine, and what would take less."""

from __future__ import annotations

from collections.abc import Sequence

from student.console import Terminal
from student.data.image_set import ImageSet
from student.evaluation.processes import Processes
from student.models.backbone import is_tower
from student.options import Options
from student.selection.selection import DISTILLED
from student.training.clock import RunSize, in_words, time_training
from student.training.methods import method_of

_LONG = 2 * 3600.0  # seconds; more is worth a warning
_SHORT = 40 * 60.0  # seconds of the alternative that a warning names
_SMALLER_SIZES = (96, 64)
_FEWEST_STEPS = 100


def say_time_of_trial(options: Options, scanned: ImageSet, terminal: Terminal) -> None:
    """Says, after a few steps on random images, how long the training of all splits would take."""
    split = scanned.splits[0]
    size = RunSize(
        image_size=options.data.image_size,
        views=options.data.views,
        domains=len(split.sources),
        training=len(split.train),
        validation=len(split.validation),
    )
    is_auto = options.training.is_auto
    if is_auto:  # the slower of its two
        options = options.changed(method=DISTILLED)
    processes = Processes.of(options.training)
    training = options.training.changed(threads=processes.threads)
    times = [time_training(method_of(name, training), training, size) for name in training.methods]
    seconds = processes.together(times)
    if is_auto:  # the short run on labels alone has half of the steps
        seconds += times[0] / 2
    say_time(seconds * len(scanned.splits), options, terminal)


class RunClock:
    """Says once how long a run trains, as soon as its first steps have shown it."""

    def __init__(
        self, options: Options, processes: Processes, splits: int, terminal: Terminal
    ) -> None:
        self._options = options
        self._processes = processes
        self._splits = splits
        self._terminal = terminal
        self._left: dict[str, float] = {}
        self._is_said = False

    def note(self, method: str, left: float | None) -> None:
        """Notes the seconds that a method still trains, in this split; None if not known yet."""
        if left is None or self._is_said:
            return
        self._left[method] = left
        count = len(self._options.training.methods)
        # In parallel, every method has started and was timed beside the others.
        if len(self._left) == min(count, self._processes.count):
            self._is_said = True
            times = list(self._left.values())
            one_split = max(times) if len(times) == count else sum(times) / len(times) * count
            say_time(one_split * self._splits, self._options, self._terminal)


def say_time(seconds: float, options: Options, terminal: Terminal) -> None:
    """Prints the time that the training takes, with an alternative if it is hours."""
    training, data = options.training, options.data
    names = _listed(training.methods)
    terminal.say(f"training {names} takes about {in_words(seconds)} on this machine")
    if seconds >= _LONG and (less := _alternative(seconds, options)):
        terminal.warn(
            f"{training.steps:,} steps at {data.image_size} pixels: about {in_words(seconds)} on "
            f"this machine; {less}"
        )


def _alternative(seconds: float, options: Options) -> str:
    """Smaller images and fewer steps, with their time; empty if the options are as small already.

    The time is that of `options`, scaled by the pixels and the steps.
    """
    training, size = options.training, options.data.image_size
    smaller = next((small for small in _SMALLER_SIZES if small < size), size)
    if is_tower(training.backbone):
        smaller = size  # its positions were trained for one size
    per_step = seconds / training.steps * (smaller / size) ** 2
    steps = max(_FEWEST_STEPS, int(_SHORT / per_step))
    steps = min(training.steps, _two_digits(steps))
    named = [f"--image-size {smaller}"] if smaller < size else []
    named += [f"--steps {steps}"] if steps < training.steps else []
    return f"{' '.join(named)}: about {in_words(steps * per_step)}" if named else ""


def _two_digits(number: int) -> int:
    """The number rounded down to two significant digits."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
