"""The client killed with SIGKILL at each step of a purchase from a real vendor process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.raw_http import serving_in_thread
from benchmarks.support.vendor_in_process import HashEncoder, ledger_at
from cache.paid_cache import PaidCache
from cache.records.receipt import Receipt, chain_breaks
from cache.storage.missing_rows import find_missing_rows
from teacher_server.api.app import create_app
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.ledger import Ledger
from teacher_server.server.connections import ConnectionLimits
from teacher_server.settings import VendorSettings
from tests.student.purchase.test_kill import PATIENCE, assert_runs_to_its_end, client_at

COUNT = 7


@dataclass(frozen=True, slots=True)
class RealVendor:
    url: str
    key: ApiKey
    ledger: Ledger
    encoder: HashEncoder

    @property
    def charges(self) -> list[Receipt]:
        """The ledger's entries except the grant, as the client reads them."""
        lines = [
            Receipt.model_validate(entry.document())
            for entry in self.ledger.records.entries(self.key.id, after=0, limit=1000)
        ]
        assert not list(chain_breaks(lines))
        return [line for line in lines if line.kind == "charge"]


@contextmanager
def vendor_on_a_socket(folder: Path) -> Iterator[RealVendor]:
    encoder = HashEncoder()
    with ledger_at(folder) as (_, ledger):
        key = ApiKey.new()
        ledger.keys.create(key, name="test", budget=100, price_version="p")
        app = create_app(encoder=encoder, ledger=ledger, settings=VendorSettings(max_delay_ms=0))
        limits = ConnectionLimits(header_seconds=10, body_seconds=60, max_connections=100)
        with serving_in_thread(app, limits) as server:
            try:
                yield RealVendor(f"http://127.0.0.1:{server.port}", key, ledger, encoder)
            finally:
                encoder.may_encode.set()


def assert_paid_once_and_nothing_lost(vendor: RealVendor, folder: Path) -> None:
    account = vendor.ledger.keys.get(vendor.key.id)
    assert (account.spent_units, account.reserved_units) == (COUNT, 0)
    with PaidCache.open(folder) as cache:
        stored = sorted(cache.receipts(), key=lambda receipt: receipt.seq)
        assert stored == vendor.charges
        assert len(list(cache.rows())) == COUNT
        assert not list(cache.rows_bought_again())
        assert cache.open_intents() == []
        assert find_missing_rows(cache) == []
        assert cache.spend_on_record().committed_units == COUNT


def test_killed_at_each_step_in_turn_and_run_again_it_has_paid_once(tmp_path: Path) -> None:
    points = ["before-send", "before-store", "after-store"]
    with vendor_on_a_socket(tmp_path) as vendor:
        process = client_at(vendor.url, vendor.key.token, tmp_path / "cache", COUNT, *points)
        assert assert_runs_to_its_end(process) == len(points)
        assert_paid_once_and_nothing_lost(vendor, tmp_path / "cache")


def test_killed_after_the_send_while_the_vendor_works_it_has_paid_once(tmp_path: Path) -> None:
    with vendor_on_a_socket(tmp_path) as vendor:
        vendor.encoder.may_encode.clear()
        process = client_at(vendor.url, vendor.key.token, tmp_path / "cache", COUNT)
        while not vendor.ledger.keys.get(vendor.key.id).reserved_units:
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=PATIENCE)
        again = client_at(vendor.url, vendor.key.token, tmp_path / "cache", COUNT)
        vendor.encoder.may_encode.set()
        assert_runs_to_its_end(again)
        assert_paid_once_and_nothing_lost(vendor, tmp_path / "cache")
