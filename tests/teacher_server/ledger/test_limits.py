"""What a key may do: scopes, expiry, limits; when it was used; top-ups that arrive twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from teacher_server.errors import GrantReused, KeyUnknown, LedgerError
from teacher_server.ledger.account import LAST_MS, Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.append import MAX_GRANTED
from tests.support.ledger_operations import OneKeyLedger
from tests.support.racing import at_once


def test_a_key_is_made_with_its_limits(one_key: OneKeyLedger) -> None:
    key = ApiKey.new()
    one_key.ledger.keys.create(
        key,
        name="ci",
        budget=5,
        price_version="p1",
        scopes=("read", "embed"),
        expires_ms=one_key.now[0] + 9,
        requests_per_minute=60,
        max_concurrent=2,
    )
    account = one_key.ledger.keys.authenticate(key)
    assert account is not None
    assert account.scopes == ("embed", "read")
    assert (account.requests_per_minute, account.max_concurrent) == (60, 2)
    assert (account.budget_period, account.period_units) == ("none", None)
    assert (account.allowance_units, account.used_units) == (5, 0)


def test_a_key_may_embed_and_read_by_default(one_key: OneKeyLedger) -> None:
    assert one_key.account.scopes == ("embed", "read")
    assert one_key.account.requests_per_minute is None


def test_a_key_expires_on_the_millisecond(one_key: OneKeyLedger) -> None:
    expiry = one_key.now[0] + 1000
    one_key.ledger.keys.set_limits(one_key.key.id, expires_ms=expiry)
    one_key.now[0] = expiry - 1
    assert one_key.ledger.keys.authenticate(one_key.key) is not None
    one_key.now[0] = expiry
    assert one_key.ledger.keys.authenticate(one_key.key) is None
    one_key.ledger.keys.set_limits(one_key.key.id, expires_ms=None)
    assert one_key.ledger.keys.authenticate(one_key.key) is not None


def test_limits_that_are_not_named_stay(one_key: OneKeyLedger) -> None:
    one_key.ledger.keys.set_limits(one_key.key.id, requests_per_minute=60, scopes=["admin"])
    account = one_key.ledger.keys.set_limits(one_key.key.id, max_concurrent=3)
    assert account.scopes == ("admin",)
    assert (account.requests_per_minute, account.max_concurrent) == (60, 3)
    account = one_key.ledger.keys.set_limits(one_key.key.id, requests_per_minute=None)
    assert (account.requests_per_minute, account.max_concurrent) == (None, 3)
    assert one_key.ledger.keys.set_limits(one_key.key.id) == account


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"scopes": ()}, "none"),
        ({"scopes": ("embed", "root")}, "root"),
        ({"scopes": ("embed,admin",)}, "embed,admin"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"max_concurrent": -1}, "max_concurrent"),
        ({"max_concurrent": 2**62 + 1}, "max_concurrent"),
        ({"expires_ms": 0}, "expires_ms"),
        ({"expires_ms": LAST_MS + 1}, "expires_ms must be a time up to the year 9999"),
    ],
)
def test_invalid_limits_are_refused_by_name(
    one_key: OneKeyLedger, limits: dict[str, Any], named: str
) -> None:
    with pytest.raises(LedgerError, match=named):
        one_key.ledger.keys.set_limits(one_key.key.id, **limits)
    with pytest.raises(LedgerError, match=named):
        one_key.ledger.keys.create(ApiKey.new(), name="n", budget=1, price_version="p", **limits)
    assert len(one_key.ledger.keys.all()) == 1


def test_a_period_that_does_not_exist_is_refused(one_key: OneKeyLedger) -> None:
    with pytest.raises(LedgerError, match="'week'"):
        one_key.ledger.keys.create(
            ApiKey.new(), name="n", budget=1, price_version="p", period="week"
        )


def test_limits_of_an_unknown_id_are_an_error(one_key: OneKeyLedger) -> None:
    with pytest.raises(KeyUnknown):
        one_key.ledger.keys.set_limits("x", max_concurrent=1)


def writes_of(one_key: OneKeyLedger, work: Callable[[], object]) -> int:
    statements: list[str] = []

    def seen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(one_key.engine, "before_cursor_execute", seen)
    work()
    event.remove(one_key.engine, "before_cursor_execute", seen)
    return sum(statement.startswith("UPDATE") for statement in statements)


def test_a_use_is_recorded_once_a_minute_without_writes_in_between(one_key: OneKeyLedger) -> None:
    def use() -> Account | None:
        return one_key.ledger.keys.authenticate(one_key.key)

    assert one_key.account.last_used_ms is None
    assert writes_of(one_key, use) == 1
    first = one_key.now[0]
    assert one_key.account.last_used_ms == first
    one_key.now[0] = first + 59_999
    assert writes_of(one_key, use) == 0
    assert one_key.account.last_used_ms == first
    one_key.now[0] = first + 60_000
    assert writes_of(one_key, use) == 1
    assert one_key.account.last_used_ms == first + 60_000


def test_a_refused_key_is_not_recorded_as_used(one_key: OneKeyLedger) -> None:
    one_key.ledger.keys.authenticate(ApiKey(one_key.key.id, "x" * 43))
    assert one_key.account.last_used_ms is None


def test_a_top_up_that_arrives_twice_is_granted_once(one_key: OneKeyLedger) -> None:
    for _ in range(2):
        account = one_key.ledger.keys.top_up(
            one_key.key.id, units=5, price_version="p1", grant_id="invoice 7"
        )
        assert account.budget_units == 15
    assert [entry.units for entry in one_key.entries] == [10, 5]
    with pytest.raises(GrantReused, match="5 queries instead of 6"):
        one_key.ledger.keys.top_up(
            one_key.key.id, units=6, price_version="p1", grant_id="invoice 7"
        )
    assert one_key.account.budget_units == 15
    assert one_key.faults == ()


def test_one_grant_id_is_another_grant_for_another_key(one_key: OneKeyLedger) -> None:
    first = one_key.key
    one_key.open_key(1)
    for key in (first, one_key.key):
        one_key.ledger.keys.top_up(key.id, units=5, price_version="p1", grant_id="g")
    assert (one_key.ledger.keys.get(first.id).budget_units, one_key.account.budget_units) == (15, 6)


def test_top_ups_racing_under_one_grant_id_are_granted_once(one_key: OneKeyLedger) -> None:
    def top_up() -> int:
        return one_key.ledger.keys.top_up(
            one_key.key.id, units=5, price_version="p1", grant_id="g"
        ).budget_units

    assert at_once([top_up] * 8) == [15] * 8
    assert len(one_key.entries) == 2
    assert one_key.faults == ()


def test_top_ups_racing_without_a_grant_id_are_all_granted(one_key: OneKeyLedger) -> None:
    def top_up() -> Account:
        return one_key.ledger.keys.top_up(one_key.key.id, units=5, price_version="p1")

    at_once([top_up] * 8)
    assert one_key.account.budget_units == 50
    assert one_key.faults == ()


def test_a_budget_cannot_be_topped_up_to_more_than_a_key_may_be_made_with(
    one_key: OneKeyLedger,
) -> None:
    with pytest.raises(LedgerError, match="total budget"):
        one_key.ledger.keys.top_up(one_key.key.id, units=MAX_GRANTED - 9, price_version="p1")
    assert one_key.account.budget_units == 10
    one_key.ledger.keys.top_up(one_key.key.id, units=MAX_GRANTED - 10, price_version="p1")
    assert one_key.account.budget_units == MAX_GRANTED
    assert one_key.faults == ()
