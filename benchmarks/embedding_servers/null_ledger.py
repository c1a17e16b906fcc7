"""The vendor with a ledger that keeps nothing: what the exact one costs is the difference.

For benchmarks only. Every key may buy, and every answer has a receipt that no database knows.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine

from teacher_server import cli
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.charges import Charges
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.entry import GENESIS, LedgerEntry
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.ledger import Ledger, open_ledger
from teacher_server.ledger.purchase import Earlier, Price, Purchase, Refused, Reservation


class _NullCharges(Charges):
    """Reserves nothing and stores nothing; answers are rendered as always."""

    def __init__(self, charges: Charges) -> None:
        self.__dict__.update(vars(charges))

    def find_earlier(self, purchase: Purchase) -> Earlier | None:
        return None

    def submit_reserve(
        self, purchase: Purchase, price: Price
    ) -> Future[Reservation | Earlier | Refused]:
        units = price.units(images=purchase.images, texts=purchase.texts)
        return _done(Reservation(purchase=purchase, units=units, price=price))

    def submit_post(
        self,
        reservation: Reservation,
        *,
        model: str,
        model_fingerprint: str,
        embeddings_sha256: str | None = None,
        render: Callable[[LedgerEntry], bytes],
    ) -> Future[bytes]:
        purchase = reservation.purchase
        entry = LedgerEntry(
            seq=1,
            kind="charge",
            request_id=purchase.request_id,
            idempotency_key=purchase.idempotency_key,
            model=model,
            model_fingerprint=model_fingerprint,
            images=purchase.images,
            texts=purchase.texts,
            embeddings_sha256=embeddings_sha256,
            units=reservation.units,
            price_version=reservation.price.version,
            balance_units=0,
            created_ms=unix_ms(),
            prev_hash=GENESIS,
        )
        return _done(render(entry.sealed()))


class _NullKeys(Keys):
    """Looks each key up once."""

    def __init__(self, keys: Keys) -> None:
        self.__dict__.update(vars(keys))
        self._accounts: dict[ApiKey, Account | None] = {}
        self._lock = threading.Lock()

    def authenticate(self, key: ApiKey) -> Account | None:
        with self._lock:
            if key not in self._accounts:
                self._accounts[key] = super().authenticate(key)
            return self._accounts[key]


def _done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


@contextmanager
def _open_null_ledger(engine: Engine, **options: Any) -> Iterator[Ledger]:
    with open_ledger(engine, **options) as ledger:
        keys, charges = _NullKeys(ledger.keys), _NullCharges(ledger.charges)
        yield replace(ledger, keys=keys, charges=charges)


if __name__ == "__main__":
    with patch("teacher_server.server.run.open_ledger", _open_null_ledger):
        raise SystemExit(cli.main(sys.argv[1:]))
