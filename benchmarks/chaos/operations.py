"""Histories as operations: what was asked, when, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.history import Event
from benchmarks.chaos.observations import Process

NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request of one client. `end` is NEVER when no whole answer came: it may still work."""

    process: str
    key_id: str
    what: str
    key: str
    items: tuple[str, ...]
    begin: int
    end: int
    outcome: Event

    @property
    def status(self) -> int:
        """The HTTP status; 0 when only the vendor knows."""
        if self.outcome.get("kind") == "ok":
            return 200
        status: int = self.outcome.get("status") or 0
        return status

    @property
    def receipt(self) -> dict[str, Any]:
        receipt: dict[str, Any] = self.outcome["receipt"]
        return receipt


def operations(processes: Sequence[Process]) -> list[Operation]:
    """Every request of every client, in the order in which they were made."""
    found = [one for process in processes for one in _of(process)]
    return sorted(found, key=lambda one: one.begin)


def _of(process: Process) -> Iterator[Operation]:
    ends = {event["op"]: event for event in process.events if event["kind"] in _ENDS}
    for event in process.events:
        if event["kind"] != "invoke":
            continue
        end = ends.get(event["op"], {})
        is_known = end.get("kind") in {"ok", "fail"}
        yield Operation(
            process=process.name,
            key_id=process.key_id,
            what=event["what"],
            key=event["key"],
            items=tuple(event.get("items", ())),
            begin=event["t"],
            end=end["t"] if is_known else NEVER,
            outcome=end if is_known else {},
        )


_ENDS = frozenset({"ok", "fail", "info"})
