"""The database itself refuses changes to the ledger by other programs."""

from __future__ import annotations

from tests.support.ledger_operations import OneKeyLedger


def test_the_database_refuses_to_change_or_delete_a_ledger_entry(one_key: OneKeyLedger) -> None:
    one_key.post(one_key.reserve(1))
    one_key.assert_database_refuses("UPDATE ledger_entries SET units = 0")
    one_key.assert_database_refuses("DELETE FROM ledger_entries")
    assert one_key.ledger.records.verify().faults == ()


def test_the_database_refuses_to_overspend(one_key: OneKeyLedger) -> None:
    one_key.assert_database_refuses("UPDATE accounts SET spent_units = 11")
    one_key.assert_database_refuses("UPDATE accounts SET spent_units = 5, reserved_units = 6")
    one_key.assert_database_refuses("UPDATE accounts SET reserved_units = -1")


def test_the_database_refuses_a_second_charge_of_one_request(one_key: OneKeyLedger) -> None:
    one_key.post(one_key.reserve(1))
    copied = "key_id, seq + 1, kind, request_id, idempotency_key, model, model_fingerprint, "
    copied += "images, texts, units, cost_micro_usd, price_version, balance_units, created_ms, "
    columns = copied.replace("seq + 1", "seq") + "prev_hash, hash"
    one_key.assert_database_refuses(
        f"INSERT INTO ledger_entries ({columns}) SELECT {copied} prev_hash, hash "
        "FROM ledger_entries WHERE kind = 'charge'"
    )


def test_the_database_refuses_a_charge_without_an_answer(one_key: OneKeyLedger) -> None:
    one_key.reserve(1)
    one_key.assert_database_refuses("UPDATE requests SET state = 'posted'")
    one_key.assert_database_refuses("UPDATE requests SET purged_ms = 1")
