"""Secrets of keys: hashed with the pepper, compared in constant time, rotated at once."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from sqlalchemy import event, select, text

from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.tables import accounts
from teacher_server.errors import KeyRevoked, KeyUnknown
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.keys import Keys
from tests.support.ledger_operations import PEPPER, OneKeyLedger


def stored_hash(one_key: OneKeyLedger) -> str:
    with read_transaction(one_key.engine) as connection:
        found = connection.scalar(
            select(accounts.c.secret_hash).where(accounts.c.id == one_key.key.id)
        )
    return str(found)


def store_as_version_0_1(one_key: OneKeyLedger) -> None:
    digest = hashlib.sha256(f"{one_key.key.id}\0{one_key.key.secret}".encode()).hexdigest()
    with write_transaction(one_key.engine) as connection:
        connection.execute(text(f"UPDATE accounts SET secret_hash = 'sha256:{digest}'"))


def test_a_secret_is_stored_as_its_hmac_under_the_pepper(one_key: OneKeyLedger) -> None:
    message = f"{one_key.key.id}\0{one_key.key.secret}".encode()
    digest = hmac.new(PEPPER.encode(), message, hashlib.sha256).hexdigest()
    assert stored_hash(one_key) == f"hmac-sha256:{digest}"


def test_without_the_right_pepper_no_key_is_valid(one_key: OneKeyLedger) -> None:
    other_keys = Keys(one_key.engine, clock=lambda: one_key.now[0], pepper=b"another pepper")
    assert other_keys.authenticate(one_key.key) is None
    assert one_key.ledger.keys.authenticate(one_key.key) is not None


def test_a_hash_of_version_0_1_still_opens_and_is_replaced_on_its_first_use(
    one_key: OneKeyLedger,
) -> None:
    store_as_version_0_1(one_key)
    assert one_key.ledger.keys.authenticate(one_key.key) is not None
    assert stored_hash(one_key) == one_key.key.hashed(PEPPER.encode())
    assert one_key.ledger.keys.authenticate(one_key.key) is not None


def test_a_hash_of_version_0_1_is_not_replaced_for_a_wrong_secret(one_key: OneKeyLedger) -> None:
    store_as_version_0_1(one_key)
    assert one_key.ledger.keys.authenticate(ApiKey(one_key.key.id, "x" * 43)) is None
    assert stored_hash(one_key).startswith("sha256:")


class Watched(ApiKey):
    """A key that counts how often its secret is hashed."""

    __slots__ = ()
    hashings: list[str] = []  # noqa: RUF012

    def hashed(self, pepper: bytes) -> str:
        self.hashings.append(self.id)
        return super().hashed(pepper)


def test_an_unknown_id_costs_the_same_hashing_as_a_wrong_secret(one_key: OneKeyLedger) -> None:
    Watched.hashings.clear()
    assert one_key.ledger.keys.authenticate(Watched(one_key.key.id, "x" * 43)) is None
    known = len(Watched.hashings)
    assert one_key.ledger.keys.authenticate(Watched("unknown", "x" * 43)) is None
    assert len(Watched.hashings) == 2 * known > 0


def test_a_rotated_key_has_its_old_secret_refused_at_once_and_keeps_its_account(
    one_key: OneKeyLedger,
) -> None:
    one_key.buy(3)
    before = one_key.entries
    fresh = one_key.ledger.keys.rotate(one_key.key.id)
    assert fresh.id == one_key.key.id
    assert one_key.ledger.keys.authenticate(one_key.key) is None
    account = one_key.ledger.keys.authenticate(fresh)
    assert account is not None
    assert account.remaining_units == 7
    assert one_key.entries == before


def test_a_use_that_began_before_a_rotation_does_not_bring_the_old_secret_back(
    one_key: OneKeyLedger,
) -> None:
    returned: list[object] = []
    made: list[ApiKey] = []

    def rotate(*_: object) -> None:
        # The first connection that is returned has read the old hash; recording the use comes next.
        returned.append(None)
        if len(returned) == 1:
            made.append(one_key.ledger.keys.rotate(one_key.key.id))

    event.listen(one_key.engine, "checkin", rotate)
    assert one_key.ledger.keys.authenticate(one_key.key) is None
    (fresh,) = made
    assert one_key.ledger.keys.authenticate(fresh) is not None
    assert one_key.ledger.keys.authenticate(one_key.key) is None


def test_a_revoked_key_cannot_be_rotated(one_key: OneKeyLedger) -> None:
    one_key.ledger.keys.revoke(one_key.key.id)
    with pytest.raises(KeyRevoked):
        one_key.ledger.keys.rotate(one_key.key.id)
    assert one_key.ledger.keys.authenticate(one_key.key) is None


def test_rotating_an_unknown_id_is_an_error(one_key: OneKeyLedger) -> None:
    with pytest.raises(KeyUnknown, match="'x'"):
        one_key.ledger.keys.rotate("x")


def test_sessions_of_a_key_are_signed_alike_by_all_servers_until_it_is_rotated(
    one_key: OneKeyLedger,
) -> None:
    def secret(pepper: str = PEPPER) -> bytes | None:
        keys = Keys(one_key.engine, clock=lambda: one_key.now[0], pepper=pepper.encode())
        return keys.session_secret(one_key.key.id)

    first = secret()
    assert first is not None
    assert one_key.ledger.keys.session_secret(one_key.key.id) == first
    assert secret("another pepper") != first
    one_key.ledger.keys.rotate(one_key.key.id)
    assert secret() not in (first, None)
    one_key.ledger.keys.set_limits(one_key.key.id, expires_ms=one_key.now[0])
    assert secret() is None
    assert one_key.ledger.keys.session_secret("nobody") is None


def test_the_account_of_a_session_is_of_the_current_period(one_key: OneKeyLedger) -> None:
    one_key.open_key(5, period="day")
    one_key.buy(3)
    one_key.now[0] += 86_400_000
    account = one_key.ledger.keys.current(one_key.key.id)
    assert (account.remaining_units, account.used_units) == (5, 0)
    with pytest.raises(KeyUnknown):
        one_key.ledger.keys.current("nobody")
