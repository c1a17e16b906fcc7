"""The trackers of one student: one that fails is left behind, and costs no training."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from student.console import Terminal
from student.tracking.tracker import Tracker

_CREDENTIALS = re.compile(r"//[^/@\s]+@")


class Tracking:
    """Hands values to every tracker, with what was paid beside them.

    After its first failure a tracker gets no more values: a server that is away would delay each
    step. The values that it lacks are counted.
    """

    def __init__(self, trackers: Sequence[Tracker], terminal: Terminal) -> None:
        self._working = list(trackers)
        self._terminal = terminal
        self._paid: dict[str, float] = {}
        self._seen: set[tuple[str, int]] = set()
        self._lost: dict[str, int] = {}
        self._reasons: dict[str, str] = {}

    def add(self, tracker: Tracker) -> None:
        """Hands values to this tracker too."""
        self._working.append(tracker)

    def paid(self, *, queries: int, cost_micro_usd: int) -> None:
        """Says what the student's embeddings cost; logged with every value from now on."""
        self._paid = {"queries": queries, "cost_usd": cost_micro_usd / 1e6}

    def point(self, method: str, step: int, values: Mapping[str, float]) -> None:
        """Logs a validation; one that was logged before is not logged again."""
        if (method, step) in self._seen:
            return
        self._seen.add((method, step))
        named = {f"{name}/{method}": value for name, value in values.items()} | self._paid
        self._each(len(named), lambda tracker: tracker.log(named, step))

    def result(self, values: Mapping[str, float]) -> None:
        """Logs what the finished student is measured by."""
        whole = {**values, **self._paid}
        self._each(len(whole), lambda tracker: tracker.result(whole))

    def close(self, *, failed: bool = False) -> None:
        """Ends every record; a second call does nothing."""
        self._each(0, lambda tracker: tracker.close(failed=failed))
        self._working = []

    def losses(self) -> list[str]:
        """A sentence for each tracker that failed."""
        return [
            f"{name} failed, and {count:,} values were not recorded there: {self._reasons[name]}"
            for name, count in self._lost.items()
        ]

    def _each(self, count: int, call: Callable[[Tracker], None]) -> None:
        for name in self._lost:
            self._lost[name] += count
        for tracker in list(self._working):
            try:
                call(tracker)
            # Whatever a tool raises, the training that it watches goes on.
            except Exception as error:
                self._working.remove(tracker)
                self._lost[tracker.name] = count
                self._reasons[tracker.name] = reason(error)
                self._terminal.warn(
                    f"{tracker.name} failed and gets no more values: {reason(error)}. The training "
                    "goes on; the report counts the values"
                )


def reason(error: Exception) -> str:
    """The error's first line, without a password in a URL."""
    line = str(error).partition("\n")[0] or type(error).__name__
    return _CREDENTIALS.sub("//…@", line)
