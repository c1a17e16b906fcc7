"""What a key may do: scopes, expiry, limits; when it was used; top-ups that arrive twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from teacher_server.errors import GrantReused, KeyUnknown, LedgerError
from teacher_server.ledger.account import LAST_MS
from teacher_server.ledger.keys import MAX_GRANTED, Account, ApiKey
from tests.support.ledger_operations import Books
from tests.support.racing import at_once


def test_a_key_is_made_with_its_limits(books: Books) -> None:
    key = ApiKey.new()
    books.ledger.keys.create(
        key,
        name="ci",
        budget=5,
        price_version="p1",
        scopes=("read", "embed"),
        expires_ms=books.now[0] + 9,
        requests_per_minute=60,
        max_concurrent=2,
    )
    account = books.ledger.keys.authenticate(key)
    assert account is not None
    assert account.scopes == ("embed", "read")
    assert (account.requests_per_minute, account.max_concurrent) == (60, 2)
    assert (account.budget_period, account.period_units) == ("none", None)
    assert (account.allowance_units, account.used_units) == (5, 0)


def test_a_key_may_embed_and_read_unless_it_is_said_otherwise(books: Books) -> None:
    assert books.account.scopes == ("embed", "read")
    assert books.account.requests_per_minute is None


def test_a_key_expires_on_the_millisecond(books: Books) -> None:
    expiry = books.now[0] + 1000
    books.ledger.keys.set_limits(books.key.id, expires_ms=expiry)
    books.now[0] = expiry - 1
    assert books.ledger.keys.authenticate(books.key) is not None
    books.now[0] = expiry
    assert books.ledger.keys.authenticate(books.key) is None
    books.ledger.keys.set_limits(books.key.id, expires_ms=None)
    assert books.ledger.keys.authenticate(books.key) is not None


def test_limits_that_are_not_named_stay(books: Books) -> None:
    books.ledger.keys.set_limits(books.key.id, requests_per_minute=60, scopes=["admin"])
    account = books.ledger.keys.set_limits(books.key.id, max_concurrent=3)
    assert account.scopes == ("admin",)
    assert (account.requests_per_minute, account.max_concurrent) == (60, 3)
    account = books.ledger.keys.set_limits(books.key.id, requests_per_minute=None)
    assert (account.requests_per_minute, account.max_concurrent) == (None, 3)
    assert books.ledger.keys.set_limits(books.key.id) == account


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
        ({"expires_ms": LAST_MS + 1}, "expires_ms is a moment up to the year 9999"),
    ],
)
def test_limits_without_sense_are_refused_by_name(
    books: Books, limits: dict[str, Any], named: str
) -> None:
    with pytest.raises(LedgerError, match=named):
        books.ledger.keys.set_limits(books.key.id, **limits)
    with pytest.raises(LedgerError, match=named):
        books.ledger.keys.create(ApiKey.new(), name="n", budget=1, price_version="p", **limits)
    assert len(books.ledger.keys.all()) == 1


def test_a_period_that_does_not_exist_is_refused(books: Books) -> None:
    with pytest.raises(LedgerError, match="'week'"):
        books.ledger.keys.create(ApiKey.new(), name="n", budget=1, price_version="p", period="week")


def test_limits_of_an_unknown_id_are_said_so(books: Books) -> None:
    with pytest.raises(KeyUnknown):
        books.ledger.keys.set_limits("x", max_concurrent=1)


def writes_of(books: Books, work: Callable[[], object]) -> int:
    statements: list[str] = []

    def seen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(books.engine, "before_cursor_execute", seen)
    work()
    event.remove(books.engine, "before_cursor_execute", seen)
    return sum(statement.startswith("UPDATE") for statement in statements)


def test_a_use_is_noted_once_a_minute_and_costs_no_write_in_between(books: Books) -> None:
    def use() -> Account | None:
        return books.ledger.keys.authenticate(books.key)

    assert books.account.last_used_ms is None
    assert writes_of(books, use) == 1
    first = books.now[0]
    assert books.account.last_used_ms == first
    books.now[0] = first + 59_999
    assert writes_of(books, use) == 0
    assert books.account.last_used_ms == first
    books.now[0] = first + 60_000
    assert writes_of(books, use) == 1
    assert books.account.last_used_ms == first + 60_000


def test_a_refused_key_is_not_noted_as_used(books: Books) -> None:
    books.ledger.keys.authenticate(ApiKey(books.key.id, "x" * 43))
    assert books.account.last_used_ms is None


def test_a_top_up_that_arrives_twice_is_granted_once(books: Books) -> None:
    for _ in range(2):
        account = books.ledger.keys.top_up(
            books.key.id, units=5, price_version="p1", grant_id="invoice 7"
        )
        assert account.budget_units == 15
    assert [entry.units for entry in books.entries] == [10, 5]
    with pytest.raises(GrantReused, match="5 units instead of 6"):
        books.ledger.keys.top_up(books.key.id, units=6, price_version="p1", grant_id="invoice 7")
    assert books.account.budget_units == 15
    assert books.faults == ()


def test_one_grant_id_is_another_grant_for_another_key(books: Books) -> None:
    first = books.key
    books.open_key(1)
    for key in (first, books.key):
        books.ledger.keys.top_up(key.id, units=5, price_version="p1", grant_id="g")
    assert (books.ledger.keys.get(first.id).budget_units, books.account.budget_units) == (15, 6)


def test_top_ups_racing_under_one_grant_id_are_granted_once(books: Books) -> None:
    def top_up() -> int:
        return books.ledger.keys.top_up(
            books.key.id, units=5, price_version="p1", grant_id="g"
        ).budget_units

    assert at_once([top_up] * 8) == [15] * 8
    assert len(books.entries) == 2
    assert books.faults == ()


def test_top_ups_racing_without_a_grant_id_are_all_granted(books: Books) -> None:
    def top_up() -> Account:
        return books.ledger.keys.top_up(books.key.id, units=5, price_version="p1")

    at_once([top_up] * 8)
    assert books.account.budget_units == 50
    assert books.faults == ()


def test_a_budget_cannot_be_topped_up_to_more_than_a_key_may_be_made_with(books: Books) -> None:
    with pytest.raises(LedgerError, match="in all"):
        books.ledger.keys.top_up(books.key.id, units=MAX_GRANTED - 9, price_version="p1")
    assert books.account.budget_units == 10
    books.ledger.keys.top_up(books.key.id, units=MAX_GRANTED - 10, price_version="p1")
    assert books.account.budget_units == MAX_GRANTED
    assert books.faults == ()
