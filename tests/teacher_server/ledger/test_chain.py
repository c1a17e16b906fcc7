"""A part of a key's chain is verified by itself, as the audit verifies the whole chain."""

from __future__ import annotations

import pytest

from teacher_server.errors import KeyUnknown
from tests.support.ledger_operations import OneKeyLedger, tamper


def faults_in_parts(one_key: OneKeyLedger, limit: int = 2) -> list[str]:
    """The faults of all parts of `limit` entries."""
    faults: list[str] = []
    before: int | None = None
    while True:
        part = one_key.ledger.records.newest(one_key.key.id, before=before, limit=limit)
        faults += part.faults
        if part.older is None:
            return faults
        before = part.older


def test_the_newest_entries_come_first_and_lead_to_the_older_ones(one_key: OneKeyLedger) -> None:
    for _ in range(4):
        one_key.buy()
    records = one_key.ledger.records
    first = records.newest(one_key.key.id, limit=2)
    second = records.newest(one_key.key.id, before=first.older, limit=2)
    last = records.newest(one_key.key.id, before=second.older, limit=2)
    assert [[entry.seq for entry in part.entries] for part in (first, second, last)] == [
        [5, 4],
        [3, 2],
        [1],
    ]
    assert (first.older, second.older, last.older) == (4, 2, None)
    assert faults_in_parts(one_key) == []
    for beyond in (6, 2**62):
        assert records.newest(one_key.key.id, before=beyond, limit=2) == first


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("SET cost_micro_usd = 1 WHERE seq = 3", "seq 3: the entry was altered"),
        ("SET prev_hash = hash WHERE seq = 4", "seq 4: prev_hash is not the hash"),
        ("SET balance_units = 3 WHERE seq = 2", "seq 2: balance 3, expected 9"),
    ],
)
def test_a_change_is_found_in_the_part_that_shows_it(
    one_key: OneKeyLedger, change: str, fault: str
) -> None:
    for _ in range(4):
        one_key.buy()
    tamper(one_key.engine, f"UPDATE ledger_entries {change}")
    assert any(fault in one for one in faults_in_parts(one_key))
    assert any(fault in one for one in one_key.faults)


@pytest.mark.parametrize("seq", [1, 2, 3, 4, 5])
def test_a_missing_entry_is_found_wherever_it_was(one_key: OneKeyLedger, seq: int) -> None:
    for _ in range(4):
        one_key.buy()
    tamper(one_key.engine, f"DELETE FROM ledger_entries WHERE seq = {seq}")
    for limit in (1, 2, 3, 50):
        assert faults_in_parts(one_key, limit)
    assert one_key.faults


def test_a_key_without_entries_is_unknown(one_key: OneKeyLedger) -> None:
    with pytest.raises(KeyUnknown, match="nobody"):
        one_key.ledger.records.newest("nobody")
