"""Shows a plan as a table and a running purchase as a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cache.records.money import dollars
from student.console import Terminal
from student.purchase.plan import Plan
from student.purchase.progress import Listener, Progress


def show_plan(plan: Plan, terminal: Terminal) -> None:
    """Print what would be bought, as a table."""
    terminal.table(("plan", ""), [list(row) for row in plan.describe()])


@contextmanager
def purchase_bar(terminal: Terminal) -> Iterator[Listener]:
    """A bar that follows a purchase: bought, cached, spent and time left."""
    with terminal.bar("buying") as update:

        def listen(now: Progress) -> None:
            got = now.bought + now.recovered
            note = (
                f"{got:,} bought, {now.cached:,} cached, {now.units:,} queries "
                f"({dollars(now.cost_micro_usd)}), {now.in_flight} in flight"
            )
            update(got + now.refused, now.planned, note)

        yield listen
