"""Keys: shown once, stored as a hash, compared in constant time, granted by the ledger."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import accounts
from teacher_server.errors import KeyUnknown, LedgerError
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.append import MAX_GRANTED
from teacher_server.ledger.ledger import Ledger
from tests.support.ledger_operations import OneKeyLedger
from tests.support.racing import at_once


@pytest.fixture
def ledger(one_key: OneKeyLedger) -> Ledger:
    """A ledger that already has one key with 10 units."""
    return one_key.ledger


def test_a_new_key_reads_back_from_its_token() -> None:
    key = ApiKey.new()
    assert key.token.startswith(f"sk_{key.id}_")
    assert ApiKey.parse(key.token) == key
    assert ApiKey.new().secret != key.secret


def test_a_key_never_shows_its_secret_in_its_repr() -> None:
    key = ApiKey.new()
    assert key.secret not in repr(key)
    assert key.secret not in str(key)


@pytest.mark.parametrize(
    "token",
    ["", "sk_", "sk_a_", "sk_a_short", "pk_a_0123456789abcdef", "sk__0123456789abcdef",
     "sk_a_0123456789abcdef\n", "sk_a b_0123456789abcdef", "sk_a_0123456789abcdeé"],
)  # fmt: skip
def test_text_without_the_format_of_a_key_is_not_parsed(token: str) -> None:
    assert ApiKey.parse(token) is None


@given(st.text())
def test_any_text_is_parsed_or_refused_without_an_error(token: str) -> None:
    parsed = ApiKey.parse(token)
    assert parsed is None or parsed.token == token


def test_a_key_is_stored_as_a_hash_and_found_by_its_secret(
    ledger: Ledger, one_key: OneKeyLedger
) -> None:
    key = ApiKey.new()
    ledger.keys.create(key, name="lab", budget=7, price_version="p")
    account = ledger.keys.authenticate(key)
    assert account is not None
    assert (account.id, account.name, account.remaining_units) == (key.id, "lab", 7)
    with read_transaction(one_key.engine) as connection:
        written = str(connection.execute(select(accounts)).all())
    assert key.id in written
    assert key.secret not in written


def test_a_wrong_secret_and_an_unknown_id_are_refused(ledger: Ledger) -> None:
    key = ApiKey.new()
    ledger.keys.create(key, name="lab", budget=7, price_version="p")
    assert ledger.keys.authenticate(ApiKey(key.id, "x" * 43)) is None
    assert ledger.keys.authenticate(ApiKey("unknown", key.secret)) is None


def test_two_ids_with_one_secret_have_different_hashes() -> None:
    pepper = b"p" * 32
    assert ApiKey("a", "0" * 16).hashed(pepper) != ApiKey("b", "0" * 16).hashed(pepper)


def test_a_revoked_key_is_refused_and_keeps_its_history(ledger: Ledger) -> None:
    key = ApiKey.new()
    ledger.keys.create(key, name="lab", budget=7, price_version="p")
    first = ledger.keys.revoke(key.id)
    assert ledger.keys.authenticate(key) is None
    assert ledger.keys.revoke(key.id).revoked_ms == first.revoked_ms
    assert len(ledger.records.entries(key.id)) == 1


def test_creating_and_topping_up_are_grants_in_the_ledger(ledger: Ledger) -> None:
    key = ApiKey.new()
    ledger.keys.create(key, name="lab", budget=7, price_version="p")
    account = ledger.keys.top_up(key.id, units=5, price_version="p")
    assert account.budget_units == 12
    entries = ledger.records.entries(key.id)
    assert [(e.kind, e.units, e.balance_units) for e in entries] == [
        ("grant", 7, 7),
        ("grant", 5, 12),
    ]
    assert entries[0].prev_hash == "0" * 64
    assert entries[1].prev_hash == entries[0].hash
    assert {(e.idempotency_key, e.model, e.model_fingerprint) for e in entries} == {("", "", "")}
    assert ledger.records.verify().faults == ()


def test_an_id_can_be_taken_only_once(ledger: Ledger) -> None:
    key = ApiKey.new()
    ledger.keys.create(key, name="lab", budget=7, price_version="p")
    with pytest.raises(LedgerError, match="already exists"):
        ledger.keys.create(ApiKey(key.id, "y" * 43), name="thief", budget=1, price_version="p")
    assert ledger.keys.get(key.id).budget_units == 7


def test_ensuring_a_key_creates_it_once_and_never_grants_again(ledger: Ledger) -> None:
    key = ApiKey("first", "0123456789abcdef")
    assert ledger.keys.ensure(key, name="first", budget=7, price_version="p")
    assert not ledger.keys.ensure(key, name="first", budget=9, price_version="p")
    assert ledger.keys.get("first").budget_units == 7
    with pytest.raises(LedgerError, match="another secret"):
        ledger.keys.ensure(ApiKey("first", "x" * 16), name="f", budget=7, price_version="p")


def test_a_first_key_that_was_rotated_is_refused_with_what_to_do(ledger: Ledger) -> None:
    key = ApiKey("first", "0123456789abcdef")
    ledger.keys.ensure(key, name="first", budget=7, price_version="p")
    rotated = ledger.keys.rotate("first")
    with pytest.raises(LedgerError, match="rotating prints a new key"):
        ledger.keys.ensure(key, name="first", budget=7, price_version="p")
    assert not ledger.keys.ensure(rotated, name="first", budget=7, price_version="p")


def test_a_key_that_another_replica_makes_meanwhile_is_ensured_by_both(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = ledger.keys.create

    def late(key: ApiKey, **figures: Any) -> Account:
        create(
            key, **figures
        )  # inserted by the other server between this server's read and its insert
        return create(key, **figures)

    monkeypatch.setattr(ledger.keys, "create", late)
    key = ApiKey.new()
    assert not ledger.keys.ensure(key, name="first", budget=7, price_version="p")
    assert ledger.keys.get(key.id).budget_units == 7

    def thief(key: ApiKey, **figures: Any) -> Account:
        create(ApiKey(key.id, "x" * 43), **figures)
        return create(key, **figures)

    monkeypatch.setattr(ledger.keys, "create", thief)
    with pytest.raises(LedgerError, match="another secret"):
        ledger.keys.ensure(ApiKey.new(), name="first", budget=7, price_version="p")
    monkeypatch.undo()
    with pytest.raises(LedgerError, match="budget"):
        ledger.keys.ensure(ApiKey.new(), name="first", budget=-1, price_version="p")


def test_servers_that_start_at_once_ensure_the_first_key_once(ledger: Ledger) -> None:
    key = ApiKey.new()

    def start() -> bool:
        return ledger.keys.ensure(key, name="first", budget=7, price_version="p")

    assert sum(at_once([start] * 6)) == 1
    assert ledger.records.verify().faults == ()


@pytest.mark.parametrize("budget", [-1, MAX_GRANTED + 1, 2**62, 2**70])
def test_a_budget_out_of_range_is_refused(ledger: Ledger, budget: int) -> None:
    with pytest.raises(LedgerError, match=f"from 0 to {MAX_GRANTED} queries, not {budget}"):
        ledger.keys.create(ApiKey.new(), name="n", budget=budget, price_version="p")
    assert len(ledger.keys.all()) == 1


@pytest.mark.parametrize("units", [0, -5, MAX_GRANTED + 1, 2**70])
def test_a_top_up_out_of_range_is_refused(ledger: Ledger, units: int) -> None:
    key = ApiKey.new()
    ledger.keys.create(key, name="n", budget=1, price_version="p")
    with pytest.raises(LedgerError, match=f"from 1 to {MAX_GRANTED} queries, not {units}"):
        ledger.keys.top_up(key.id, units=units, price_version="p")


def test_an_unknown_id_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(KeyUnknown, match="'x'"):
        ledger.keys.get("x")
    with pytest.raises(KeyUnknown, match="'x'"):
        ledger.keys.revoke("x")
    with pytest.raises(KeyUnknown, match="'x'"):
        ledger.keys.top_up("x", units=1, price_version="p")


def test_keys_are_listed_oldest_first(one_key: OneKeyLedger) -> None:
    for number in range(3):
        one_key.now[0] += 1
        one_key.ledger.keys.create(
            ApiKey.new(), name=f"n{number}", budget=number, price_version="p"
        )
    assert [account.name for account in one_key.ledger.keys.all()] == ["n", "n0", "n1", "n2"]
