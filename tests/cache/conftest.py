"""A cache of one's own for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cache.paid import PaidCache
from tests.cache.purchases import NOON, Ledger

# A busy machine is no failure: what these tests assert is not a speed.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache to copy: making one takes sixty fsyncs."""
    folder = tmp_path_factory.mktemp("template") / "paid-cache"
    PaidCache.open(folder).close()
    return folder


@pytest.fixture
def folder(empty_cache: Path, tmp_path: Path) -> Path:
    """A folder with an empty cache in it."""
    return Path(shutil.copytree(empty_cache, tmp_path / "paid-cache"))


@pytest.fixture
def cache(folder: Path) -> Iterator[PaidCache]:
    """An open, empty cache in `folder` whose clock stands still."""
    with PaidCache.open(folder, patience_s=2.0, clock=lambda: NOON) as cache:
        yield cache


@pytest.fixture
def ledger() -> Ledger:
    """A vendor's ledger with nothing but the first grant in it."""
    return Ledger()
