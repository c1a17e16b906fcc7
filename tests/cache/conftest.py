"""Fixtures: each test has its own cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cache.cli import CACHE_VARIABLE
from cache.commands import KEY_VARIABLE
from cache.paid_cache import PaidCache
from cache.records.receipt import Receipt
from tests.support.cache_purchases import (
    NOON,
    SECRET,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    run_record,
    text,
)

# A busy machine must not fail these tests: none of them asserts a speed.
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
    """An open, empty cache in `folder` with a fixed clock."""
    with PaidCache.open(folder, patience_s=2.0, clock=lambda: NOON) as cache:
        yield cache


@pytest.fixture
def ledger() -> Ledger:
    """A vendor's ledger that contains only the first grant."""
    return Ledger()


@pytest.fixture
def bought(cache: PaidCache, ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two purchases, named by the environment."""
    cache.record_run(run_record("run-1", planned=3, already_paid=1))
    buy(cache, ledger, *images(1, 2))
    buy(cache, ledger, image(3))
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    return folder


@pytest.fixture
def receipts(cache: PaidCache, ledger: Ledger) -> list[Receipt]:
    """Three purchases in the cache and in the ledger."""
    return [
        buy(cache, ledger, *images(1, 2)),
        buy(cache, ledger, image(3), text("a")),
        buy(cache, ledger, image(4)),
    ]


@pytest.fixture
def receipt(cache: PaidCache, ledger: Ledger) -> Receipt:
    """The second of two receipts in a cache with every kind of record."""
    buy(cache, ledger, *images(1, 2), text("a"))
    receipt = buy(cache, ledger, *images(3, 4))
    cache.reserve(intent_of(image(5)), budget=100)
    cache.refuse(image(6), code="invalid_image", detail="truncated")
    cache.record_run(run_record())
    return receipt
