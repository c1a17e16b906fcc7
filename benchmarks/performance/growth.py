"""How the time for each row and the memory grow with a cache, from 1,000 to 1,000,000 rows.

Each operation runs in a process of its own, so that its memory is its own. Its time for a row is
held against the same operation on a cache of a tenth of the rows: 1 is linear.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

import numpy as np

from benchmarks.performance.comparison import Comparison, Subject, compare
from benchmarks.support.synthetic_cache import (
    DIM,
    FINGERPRINT,
    KEY_ID,
    MODEL,
    SyntheticVendor,
    buy,
    image_key,
    synthetic_digest,
)
from cache.audit.audit import audit_cache
from cache.audit.ledger_client import VendorAccount, VendorLedger
from cache.embedding_table import materialise
from cache.integrity.second_copy import second_copy_faults
from cache.integrity.verify import verify
from cache.maintenance.merge import merge
from cache.paid_cache import PaidCache
from cache.records.receipt import Receipt
from cache.reports.spend import spend_summary
from student.data.folder.image_folder import Item
from student.purchase.embedding_requests import image_requests
from student.purchase.plan import make_plan
from student.vendor.schemas import Limits, Model, Prices, UnitPrices

SECTION: Final = "growth"
_FULL: Final = (1_000, 10_000, 100_000, 1_000_000)
_QUICK: Final = (1_000, 10_000)
_MOST_MIB: Final = 1024.0
_PURCHASED: Final = 1_280

Report = Callable[[Comparison], None]
Operation = Callable[[Path, int], float]


def measure(*, quick: bool, report: Report) -> None:
    """Report time and memory of every operation at every size but the smallest."""
    sizes = _QUICK if quick else _FULL
    with TemporaryDirectory() as folder:
        smaller = _filled(Path(folder), sizes[0])
        for rows in sizes[1:]:
            larger = _filled(Path(folder), rows)
            for name, operation in _OPERATIONS.items():
                if rows > _LARGEST.get(name, rows):
                    continue
                for comparison in _compare(name, operation, (larger, rows), (smaller, rows // 10)):
                    report(comparison)
            smaller = larger


def _filled(parent: Path, rows: int) -> Path:
    folder = parent / str(rows)
    _in_child(_fill, folder, rows)
    return folder


def _compare(
    name: str, operation: Operation, larger: tuple[Path, int], smaller: tuple[Path, int]
) -> Iterator[Comparison]:
    peaks: list[float] = []

    def ours() -> float:
        micros, peak = _in_child(operation, *larger)
        peaks.append(peak)
        return micros

    rows = larger[1]
    subject = partial(Subject, section=SECTION, better="lower")
    time_subject = subject(
        name=f"{name}, {rows:,} rows",
        unit="µs a row",
        peer=f"the same with {smaller[1]:,} rows",
        goal=1.5,
    )
    yield compare(time_subject, ours, lambda: _in_child(operation, *smaller)[0], warm_up=0)
    memory_subject = subject(
        name=f"memory: {name}, {rows:,} rows", unit="MiB", peer="1 GiB", goal=1.0
    )
    limits = (_MOST_MIB,) * len(peaks)
    yield Comparison(subject=memory_subject, ours=tuple(peaks), peers=limits)


def _in_child(operation: Operation, folder: Path, rows: int) -> tuple[float, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, operation, folder, rows).result()


def _measured(operation: Operation, folder: Path, rows: int) -> tuple[float, float]:
    """The microseconds of an operation for a row, and the peak memory of the process in MiB."""
    micros = operation(folder, rows)
    return micros, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Stopwatch:
    micros_a_row = 0.0


@contextmanager
def _timed(rows: int) -> Iterator[_Stopwatch]:
    watch, started = _Stopwatch(), time.perf_counter()
    yield watch
    watch.micros_a_row = (time.perf_counter() - started) / rows * 1e6


def _fill(folder: Path, rows: int) -> float:
    vendor = SyntheticVendor()
    folder.mkdir()
    with PaidCache.open(folder / "cache") as cache:
        for start in range(0, rows, 100_000):
            end = min(rows, start + 100_000)
            buy(cache, vendor, [image_key(number) for number in range(start, end)])
    (folder / "ledger.json").write_text(json.dumps([vendor.spent, vendor.ledger]))
    return 0.0


def _purchase(folder: Path, rows: int) -> float:
    """Into a cache of so many rows; not bought for long, so that it keeps its size nearly."""
    with PaidCache.open(folder / "cache") as cache:
        ((highest,),) = cache.query("SELECT max(rowid) FROM Cache")
        keys = [image_key(10**9 + highest + number) for number in range(_PURCHASED)]
        vendor = SyntheticVendor(key_id=f"k{highest}")
        return buy(cache, vendor, keys) / len(keys) * 1e6


def _plan(folder: Path, rows: int) -> float:
    """What a repeat run does before it asks whether to buy, from the scanned images on."""
    items = [
        Item(
            path=Path("images", f"{number}.jpg"),
            digest=synthetic_digest(number),
            num_bytes=20_000,
            image_format="JPEG",
            width=256,
            height=256,
            domain="photo",
            class_name="cat",
            unseen_group=None,
        )
        for number in range(rows)
    ]
    pixels = np.broadcast_to(np.zeros(1, dtype=np.uint8), (rows, 1, 64, 64, 3))
    model = _model()
    with _timed(rows) as watch, PaidCache.open(folder / "cache") as cache:
        second_copy_faults(cache)
        requests = image_requests(FINGERPRINT, items, pixels, range(rows), model.limits)
        prices = Prices(
            version="2026-11",
            currency="USD",
            micro_usd_per_unit=100,
            units=UnitPrices(image=1, text=1),
        )
        plan = make_plan(requests, cache=cache, model=model, prices=prices, budget=2**40)
        if plan.to_buy or plan.already_paid != rows:
            raise AssertionError(plan.describe())
    return watch.micros_a_row


def _table(folder: Path, rows: int) -> float:
    keys = [image_key(number) for number in range(rows)]
    with TemporaryDirectory(dir=folder) as out, PaidCache.open(folder / "cache") as cache:
        with _timed(rows) as watch:
            materialise(cache, keys, Path(out))
        return watch.micros_a_row


def _summary(folder: Path, rows: int) -> float:
    with PaidCache.open(folder / "cache") as cache, _timed(rows) as watch:
        spend_summary(cache)
    return watch.micros_a_row


def _verify(folder: Path, rows: int) -> float:
    with PaidCache.open(folder / "cache") as cache, _timed(rows) as watch:
        if not verify(cache).is_sound:
            raise AssertionError(folder)
    return watch.micros_a_row


@dataclass(frozen=True, slots=True)
class _LedgerInMemory:
    """A vendor's ledger without the wire: this measures the client's side of an audit."""

    spent: int
    lines: list[str]
    url: str = "http://127.0.0.1:8000"

    def account(self) -> VendorAccount:
        return VendorAccount(id=KEY_ID, spent_units=self.spent)

    def entries(self) -> list[Receipt]:
        return [Receipt.model_validate_json(line) for line in self.lines]


def _audit(folder: Path, rows: int) -> float:
    ledger = _LedgerInMemory(*json.loads((folder / "ledger.json").read_text()))
    with PaidCache.open(folder / "cache") as cache, _timed(rows) as watch:
        if not audit_cache(cache, cast(VendorLedger, ledger)).is_balanced:
            raise AssertionError(folder)
    return watch.micros_a_row


def _merge(folder: Path, rows: int) -> float:
    with (
        TemporaryDirectory(dir=folder) as out,
        PaidCache.open(folder / "cache") as source,
        PaidCache.open(Path(out) / "cache") as into,
        _timed(rows) as watch,
    ):
        merge(source, into)
    return watch.micros_a_row


def _model() -> Model:
    return Model(
        id=MODEL,
        fingerprint=FINGERPRINT,
        weights_sha256="0" * 64,
        dim=DIM,
        image_size=224,
        context_length=77,
        preprocess={},
        embedded=False,
        limits=Limits(
            max_items=64,
            max_image_bytes=2**20,
            max_image_pixels=2**24,
            max_body_bytes=2**25,
            image_formats=("JPEG", "PNG"),
        ),
    )


# Buying is the last: it makes the cache larger.
_OPERATIONS: Final[dict[str, Operation]] = {
    "plan": _plan,
    "table": _table,
    "summary": _summary,
    "verify": _verify,
    "audit, the client's side": _audit,
    "merge": _merge,
    "purchase": _purchase,
}
# What writes to the disk, or sends a ledger entry for each purchase, takes minutes a round beyond.
_LARGEST: Final = {"audit, the client's side": 100_000, "merge": 100_000, "purchase": 100_000}
