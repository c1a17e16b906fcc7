"""Records of runs that bought nothing yet."""

from __future__ import annotations

from cache.records.purchase_records import RunRecord


def run_record(run: str) -> RunRecord:
    """As a client records a run before its first purchase."""
    return RunRecord(
        run=run,
        started_ms=1,
        command="test",
        model="m",
        model_fingerprint="sha256:x",
        planned=0,
        already_paid=0,
        bought_units=0,
        cost_micro_usd=0,
        micro_usd_per_unit=1,
    )
