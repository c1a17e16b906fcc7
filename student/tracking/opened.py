"""Opens the trackers of a run before anything is bought, and closes them at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from student.console import Terminal
from student.errors import BadInput
from student.options import Options
from student.options.run import TrackerName
from student.tracking.mlflow_run import MlflowRun
from student.tracking.tensorboard_events import TensorBoardEvents
from student.tracking.tracking import Tracking, reason
from student.tracking.wandb_run import WandbRun

_PROJECT = "rented-teacher"
_OPEN: Mapping[TrackerName, Callable[[str, Mapping[str, Any]], MlflowRun | WandbRun]] = (
    MappingProxyType(
        {
            "mlflow": lambda title, given: MlflowRun(title, given, experiment=_PROJECT),
            "wandb": lambda title, given: WandbRun(title, given, project=_PROJECT),
        }
    )
)


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Raises BadInput for a tracker whose library is not installed."""
    for name in names:
        if find_spec(name) is None:
            message = f"--track {name} needs {name}: pip install 'rented-teacher[{name}]'"
            raise BadInput(message)


@contextmanager
def opened(
    options: Options, folders: Mapping[tuple[str, ...], Path], terminal: Terminal
) -> Iterator[dict[tuple[str, ...], Tracking]]:
    """The trackers of each student, by its held-out domains; `folders` are where students go.

    TensorBoard's events are written beside each student. Records are closed at the end, as failed
    if the block raises. Raises BadInput for a tracker that cannot be opened.
    """
    made: dict[tuple[str, ...], Tracking] = {}
    failed = True
    try:
        for targets, folder in folders.items():
            title = (
                f"{folder}" if len(folders) == 1 else f"{folder}, held out: {', '.join(targets)}"
            )
            told = settings(options) | {"held_out": ", ".join(targets)}
            made[targets] = Tracking([TensorBoardEvents(folder / "tensorboard")], terminal)
            for name in options.run.track:
                made[targets].add(_opened(name, title, told, terminal))
        yield made
        failed = False
    finally:
        for tracking in made.values():
            tracking.close(failed=failed)


def _opened(
    name: TrackerName, title: str, told: Mapping[str, Any], terminal: Terminal
) -> MlflowRun | WandbRun:
    try:
        tracker = _OPEN[name](title, told)
    # Each tool has its own errors for a server that is away, a login or a database.
    except Exception as error:
        message = f"--track {name} cannot be opened: {reason(error)}. Nothing was bought"
        raise BadInput(message) from error
    terminal.say(f"{name}: {tracker.place}")
    return tracker


def settings(options: Options) -> dict[str, Any]:
    """The options that are logged: all of them, without a name or a password in the vendor's URL.

    The API key is no option.
    """
    told = options.as_json()
    parts = urlsplit(told["vendor"])
    told["vendor"] = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
    return told
