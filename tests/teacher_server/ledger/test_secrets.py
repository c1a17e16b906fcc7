"""Secrets of keys: hashed with the pepper, compared blindly, rotated at once."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from sqlalchemy import event, select, text

from teacher_server.database.engine import reading, writing
from teacher_server.database.tables import accounts
from teacher_server.errors import KeyRevoked, KeyUnknown
from teacher_server.ledger.keys import ApiKey, Keys
from tests.support.ledger_operations import PEPPER, Books


def stored_hash(books: Books) -> str:
    with reading(books.engine) as connection:
        found = connection.scalar(
            select(accounts.c.secret_hash).where(accounts.c.id == books.key.id)
        )
    return str(found)


def store_as_version_0_1(books: Books) -> None:
    digest = hashlib.sha256(f"{books.key.id}\0{books.key.secret}".encode()).hexdigest()
    with writing(books.engine) as connection:
        connection.execute(text(f"UPDATE accounts SET secret_hash = 'sha256:{digest}'"))


def test_a_secret_is_stored_as_its_hmac_under_the_pepper(books: Books) -> None:
    message = f"{books.key.id}\0{books.key.secret}".encode()
    digest = hmac.new(PEPPER.encode(), message, hashlib.sha256).hexdigest()
    assert stored_hash(books) == f"hmac-sha256:{digest}"


def test_without_the_right_pepper_the_database_recognises_no_key(books: Books) -> None:
    stranger = Keys(books.engine, clock=lambda: books.now[0], pepper=b"another pepper")
    assert stranger.authenticate(books.key) is None
    assert books.ledger.keys.authenticate(books.key) is not None


def test_a_hash_of_version_0_1_still_opens_and_is_replaced_on_its_first_use(books: Books) -> None:
    store_as_version_0_1(books)
    assert books.ledger.keys.authenticate(books.key) is not None
    assert stored_hash(books) == books.key.hashed(PEPPER.encode())
    assert books.ledger.keys.authenticate(books.key) is not None


def test_a_hash_of_version_0_1_is_not_replaced_for_a_wrong_secret(books: Books) -> None:
    store_as_version_0_1(books)
    assert books.ledger.keys.authenticate(ApiKey(books.key.id, "x" * 43)) is None
    assert stored_hash(books).startswith("sha256:")


class Watched(ApiKey):
    """A key that counts how often its secret is hashed."""

    __slots__ = ()
    hashings: list[str] = []  # noqa: RUF012

    def hashed(self, pepper: bytes) -> str:
        self.hashings.append(self.id)
        return super().hashed(pepper)


def test_an_unknown_id_costs_the_same_hashing_as_a_wrong_secret(books: Books) -> None:
    Watched.hashings.clear()
    assert books.ledger.keys.authenticate(Watched(books.key.id, "x" * 43)) is None
    known = len(Watched.hashings)
    assert books.ledger.keys.authenticate(Watched("unknown", "x" * 43)) is None
    assert len(Watched.hashings) == 2 * known > 0


def test_a_rotated_key_has_its_old_secret_refused_at_once_and_keeps_its_books(
    books: Books,
) -> None:
    books.buy(3)
    before = books.entries
    fresh = books.ledger.keys.rotate(books.key.id)
    assert fresh.id == books.key.id
    assert books.ledger.keys.authenticate(books.key) is None
    account = books.ledger.keys.authenticate(fresh)
    assert account is not None
    assert account.remaining_units == 7
    assert books.entries == before


def test_a_use_that_began_before_a_rotation_does_not_bring_the_old_secret_back(
    books: Books,
) -> None:
    commits: list[object] = []
    made: list[ApiKey] = []

    def rotate(*_: object) -> None:
        # The first commit ends the look at the old hash; the note that it was used comes next.
        commits.append(None)
        if len(commits) == 1:
            made.append(books.ledger.keys.rotate(books.key.id))

    event.listen(books.engine, "commit", rotate)
    assert books.ledger.keys.authenticate(books.key) is None
    (fresh,) = made
    assert books.ledger.keys.authenticate(fresh) is not None
    assert books.ledger.keys.authenticate(books.key) is None


def test_a_revoked_key_cannot_be_rotated_back_to_life(books: Books) -> None:
    books.ledger.keys.revoke(books.key.id)
    with pytest.raises(KeyRevoked):
        books.ledger.keys.rotate(books.key.id)
    assert books.ledger.keys.authenticate(books.key) is None


def test_rotating_an_unknown_id_is_said_so(books: Books) -> None:
    with pytest.raises(KeyUnknown, match="'x'"):
        books.ledger.keys.rotate("x")
