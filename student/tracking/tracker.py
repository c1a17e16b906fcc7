"""What a tracker takes: validation points while a student trains, and its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Tracker(Protocol):
    """The record of one student in a tool. Its methods raise whatever the tool raises."""

    name: str

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Records values at a step of the training, counted over all stages."""

    def result(self, values: Mapping[str, float]) -> None:
        """Records what the finished student is measured by."""

    def close(self, *, failed: bool) -> None:
        """Ends the record; nothing is logged afterwards."""
