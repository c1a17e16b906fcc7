"""Verifying the ledger: an unaltered ledger balances, and a forged entry is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text, update

from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.tables import answers
from tests.support.ledger_operations import OneKeyLedger, body_of, tamper


@pytest.fixture
def traded(one_key: OneKeyLedger) -> OneKeyLedger:
    """A grant (seq 1), charges of 2, 1 and 2 units (2 to 4), 1 unit of the first refunded (5)."""
    first = one_key.buy(2)
    one_key.buy(1)
    one_key.buy(2)
    one_key.ledger.records.correct(
        first.request_id, units=1, cost_micro_usd=100, reason="wrong price", actor="ann"
    )
    return one_key


def test_an_unaltered_ledger_balances(traded: OneKeyLedger) -> None:
    audit = traded.ledger.records.verify()
    assert (audit.keys, audit.entries, audit.faults) == (1, 5, ())
    assert (audit.units_charged, audit.units_corrected) == (5, 1)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE ledger_entries SET units = 3 WHERE seq = 3", "seq 3: the entry was altered"),
        ("UPDATE ledger_entries SET cost_micro_usd = 0 WHERE seq = 2", "seq 2: the entry was alt"),
        ("UPDATE ledger_entries SET created_ms = 1 WHERE seq = 4", "seq 4: the entry was altered"),
        ("UPDATE ledger_entries SET hash = prev_hash WHERE seq = 2", "seq 3: prev_hash is not"),
        ("DELETE FROM ledger_entries WHERE seq = 3", "seq 4: expected seq 3"),
        ("DELETE FROM ledger_entries WHERE seq = 5", "the account row says"),
        ("UPDATE accounts SET spent_units = 3", "the account row says"),
        ("UPDATE accounts SET budget_units = 1000", "the account row says"),
        ("UPDATE accounts SET reserved_units = 1", "1 reserved units, its open requests 0"),
        ("UPDATE accounts SET period_base_units = 1", "1 units were spent before its period"),
        ("DELETE FROM requests WHERE request_id LIKE '%_2'", "charged 1 units in the ledger, None"),
        ("UPDATE requests SET units = 9 WHERE request_id LIKE '%_3'", "charged 2 units in the led"),
        ("UPDATE requests SET micro_usd_per_unit = 1", "charged at another price than it was res"),
        ("UPDATE requests SET price_version = 'p0'", "charged at another price than it was reser"),
        (
            "UPDATE requests SET state = 'voided' WHERE request_id LIKE '%_1'",
            "_1: charged 2 units in the ledger, None by its answer",
        ),
        ("UPDATE requests SET idempotency_key = 'x' WHERE request_id LIKE '%_2'", "_2: charged un"),
        ("UPDATE requests SET texts = 1 WHERE request_id LIKE '%_2'", "_2: charged for other ima"),
        ("DELETE FROM answers WHERE request_id LIKE '%_2'", "_2: its stored answer is missing"),
        (
            "INSERT INTO answers VALUES ('req_x', 1, 'x')",
            "answer req_x: it belongs to no charged request",
        ),
        (
            "UPDATE requests SET state = 'voided' WHERE request_id LIKE '%_2'",
            "_2: it belongs to no charged request",
        ),
        ("DELETE FROM corrections", "seq 5: corrects 'req_"),
        ("UPDATE corrections SET corrects = 'req_x'", "but no reason is recorded"),
        ("UPDATE ledger_entries SET units = -3 WHERE seq = 5", "seq 5: refunds more than"),
        ("UPDATE ledger_entries SET units = 3 WHERE seq = 5", "a correction that charges instead"),
        (
            "INSERT INTO corrections VALUES ('corr_x', 'req_x', 'none', 'eve', 1)",
            "correction corr_x of req_x: its reason is recorded, but its entry is missing",
        ),
    ],
)
def test_a_forged_entry_is_named(traded: OneKeyLedger, statement: str, fault: str) -> None:
    tamper(traded.engine, statement)
    assert any(fault in found for found in traded.faults), traded.faults


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "no JSON": lambda body: b"\xff" + body,
    "no object": lambda body: b"[" + body + b"]",
    "no receipt": lambda body: b"{}",
    "nested deeper than can be read": lambda body: b"[" * 100_000,
    "a figure of its receipt": lambda body: body.replace(b'"units": 1', b'"units": 2'),
    "a second receipt": lambda body: body[:-1] + b', "receipt": {}}',
    "a receipt without its hash": lambda body: body.replace(b'"hash"', b'"hush"'),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_stored_answer_with_another_receipt_is_named(traded: OneKeyLedger, forgery: str) -> None:
    entry = traded.entries[2]
    forged = FORGED[forgery](body_of(entry))
    assert forged != body_of(entry)
    with write_transaction(traded.engine) as connection:
        connection.execute(
            update(answers).where(answers.c.request_id == entry.request_id).values(body=forged)
        )
    fault = f"request {entry.request_id}: the receipt in its stored answer is not its ledger entry"
    assert [fault in found for found in traded.faults] == [True], traded.faults


def test_answers_are_verified_in_portions_and_purged_ones_not_at_all(one_key: OneKeyLedger) -> None:
    one_key.open_key(100)
    for _ in range(40):
        one_key.buy(1)
    assert one_key.faults == ()
    with write_transaction(one_key.engine) as connection:
        connection.execute(update(answers).values(body=b"forged"))
    assert len(one_key.faults) == 40
    one_key.ledger.records.purge(2**60)
    assert one_key.faults == ()


def test_a_forged_alert_is_named(one_key: OneKeyLedger) -> None:
    one_key.buy(8)
    tamper(one_key.engine, "UPDATE alerts SET used_units = 1")
    assert any("1 units are not 80% of 10" in found for found in one_key.faults)


def test_an_entry_forged_with_its_hash_recomputed_breaks_the_next(traded: OneKeyLedger) -> None:
    entry = traded.entries[2]
    tamper(traded.engine, "UPDATE ledger_entries SET texts = 7 WHERE seq = 3")
    forged = traded.entries[2].sealed()
    tamper(traded.engine, f"UPDATE ledger_entries SET hash = '{forged.hash}' WHERE seq = 3")
    assert forged.hash != entry.hash
    assert any("seq 4: prev_hash" in fault for fault in traded.faults)


def test_a_reader_sees_one_snapshot_whatever_is_charged_meanwhile(
    one_key: OneKeyLedger,
) -> None:
    count = text("SELECT count(*), max(seq) FROM ledger_entries")
    with read_transaction(one_key.engine) as connection:
        before = connection.execute(count).one()
        one_key.buy(2)
        assert connection.execute(count).one() == before
    with read_transaction(one_key.engine) as connection:
        assert connection.execute(count).one() != before


def test_usage_sums_charges_by_time_and_subtracts_corrections(
    one_key: OneKeyLedger,
) -> None:
    one_key.now[0] = 3_600_000 * 10
    first = one_key.buy(3)
    one_key.buy(2)
    one_key.now[0] += 3_600_000
    one_key.buy(1)
    one_key.ledger.records.correct(
        first.request_id, units=2, cost_micro_usd=200, reason="r", actor="ann"
    )
    buckets = one_key.ledger.records.usage(
        one_key.key.id, start_time=36_000, end_time=36_000 + 5_400, width=3_600
    )
    assert [(b.start_time, b.end_time, b.images, b.units, b.cost_micro_usd) for b in buckets] == [
        (36_000, 39_600, 5, 5, 500),
        (39_600, 41_400, 1, -1, -100),
    ]
    assert [b.num_model_requests for b in buckets] == [2, 1]
    assert sum(b.units for b in buckets) == one_key.account.spent_units


def test_entries_are_read_page_by_page(traded: OneKeyLedger) -> None:
    pages = [traded.ledger.records.entries(traded.key.id, after=n, limit=2) for n in (0, 2, 4, 5)]
    assert [[entry.seq for entry in page] for page in pages] == [[1, 2], [3, 4], [5], []]


def test_the_probe_writes(one_key: OneKeyLedger) -> None:
    one_key.ledger.records.probe()
