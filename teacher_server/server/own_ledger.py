"""The ledger that a vendor's settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from teacher_server.ledger.ledger import Ledger, open_database, open_ledger
from teacher_server.settings import VendorSettings


@contextmanager
def own_ledger(settings: VendorSettings) -> Iterator[Ledger]:
    """The ledger in the settings' database, open until the block ends.

    Raises as `open_database` and `open_ledger` do.
    """
    with (
        open_database(settings.database) as engine,
        open_ledger(
            engine, lease_seconds=settings.lease_seconds, pepper=settings.given_pepper
        ) as ledger,
    ):
        yield ledger
