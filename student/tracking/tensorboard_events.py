"""Event files that TensorBoard reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class TensorBoardEvents:
    """A tracker that writes a folder for TensorBoard; an earlier run's events in it are deleted.

    Nothing is written, and the library is not imported, before the first values.
    """

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds a scalar for each value. Raises OSError."""
        writer = self._opened()
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def result(self, values: Mapping[str, float]) -> None:
        """Adds a scalar for each value, at step 0. Raises OSError."""
        self.log(values, 0)

    def close(self, *, failed: bool) -> None:
        """Writes what is left."""
        if self._writer is not None:
            self._writer.close()

    def _opened(self) -> SummaryWriter:
        if self._writer is None:
            # Imported here: it takes seconds, of which --help and a plan need none.
            from tensorboardX import SummaryWriter

            for earlier in self._folder.glob("events.out.tfevents.*"):
                earlier.unlink()
            self._writer = SummaryWriter(str(self._folder))
        return self._writer
