"""What no sequence of steps and no other program's SQL can do to the books."""

from __future__ import annotations

from tests.support.ledger_operations import Books


def test_the_database_refuses_to_change_or_delete_a_ledger_line(books: Books) -> None:
    books.post(books.reserve(1))
    books.refused_by_the_database("UPDATE ledger_entries SET units = 0")
    books.refused_by_the_database("DELETE FROM ledger_entries")
    assert books.ledger.books.verify().faults == ()


def test_the_database_refuses_to_overspend(books: Books) -> None:
    books.refused_by_the_database("UPDATE accounts SET spent_units = 11")
    books.refused_by_the_database("UPDATE accounts SET spent_units = 5, reserved_units = 6")
    books.refused_by_the_database("UPDATE accounts SET reserved_units = -1")


def test_the_database_refuses_a_second_charge_of_one_request(books: Books) -> None:
    books.post(books.reserve(1))
    copied = "key_id, seq + 1, kind, request_id, idempotency_key, model, model_fingerprint, "
    copied += "images, texts, units, cost_micro_usd, price_version, balance_units, created_ms, "
    columns = copied.replace("seq + 1", "seq") + "prev_hash, hash"
    books.refused_by_the_database(
        f"INSERT INTO ledger_entries ({columns}) SELECT {copied} prev_hash, hash "
        "FROM ledger_entries WHERE kind = 'charge'"
    )


def test_the_database_refuses_an_answer_without_a_charge_state(books: Books) -> None:
    books.reserve(1)
    books.refused_by_the_database("UPDATE requests SET body = 'x'")
    books.refused_by_the_database("UPDATE requests SET state = 'posted'")
