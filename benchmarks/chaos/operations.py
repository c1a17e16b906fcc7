"""Requests with their outcomes, read from the clients' histories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.history import Event
from benchmarks.chaos.observations import Process

NEVER = 2**63 - 1
_OUTCOMES = frozenset({"ok", "fail", "info"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request of one client.

    `end` is NEVER if no complete answer arrived: the request may still take effect at any time.
    """

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
        """The HTTP status, or 0 if no complete answer arrived."""
        if self.outcome.get("kind") == "ok":
            return 200
        status: int = self.outcome.get("status") or 0
        return status

    @property
    def receipt(self) -> dict[str, Any]:
        receipt: dict[str, Any] = self.outcome["receipt"]
        return receipt


def operations(processes: Sequence[Process]) -> list[Operation]:
    """Return every request of every client, ordered by the time it was made."""
    found = [operation for process in processes for operation in _operations_of(process)]
    return sorted(found, key=lambda operation: operation.begin)


def _operations_of(process: Process) -> Iterator[Operation]:
    outcomes = {event["op"]: event for event in process.events if event["kind"] in _OUTCOMES}
    for event in process.events:
        if event["kind"] != "invoke":
            continue
        outcome = outcomes.get(event["op"], {})
        is_known = outcome.get("kind") in {"ok", "fail"}
        yield Operation(
            process=process.name,
            key_id=process.key_id,
            what=event["what"],
            key=event["key"],
            items=tuple(event.get("items", ())),
            begin=event["t"],
            end=outcome["t"] if is_known else NEVER,
            outcome=outcome if is_known else {},
        )
