"""A new purchase setup for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ledger_vendor import LedgerVendor
from tests.support.purchase_setup import Clock, PurchaseSetup


@pytest.fixture
def vendor() -> LedgerVendor:
    return LedgerVendor()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def setup(tmp_path: Path, vendor: LedgerVendor, clock: Clock) -> PurchaseSetup:
    return PurchaseSetup(folder=tmp_path / "cache", vendor=vendor, clock=clock)
