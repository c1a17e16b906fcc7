"""A fresh shop for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ledger_vendor import LedgerVendor
from tests.support.purchase_setup import Clock, Shop


@pytest.fixture
def vendor() -> LedgerVendor:
    return LedgerVendor()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(tmp_path: Path, vendor: LedgerVendor, clock: Clock) -> Shop:
    return Shop(folder=tmp_path / "cache", vendor=vendor, clock=clock)
