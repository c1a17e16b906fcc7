"""Gathers what a run left behind: over HTTP from a vendor started afresh, and from the caches."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np

from benchmarks.chaos.history import read_history
from benchmarks.chaos.observations import AccountFacts, CacheFacts, Evidence, Process, Row
from benchmarks.chaos.process_pool import ProcessPool
from benchmarks.chaos.reference import read_reference
from benchmarks.chaos.scenario import Account, ClientPlan
from benchmarks.chaos.supervisor import Supervisor
from cache.audit.audit import audit
from cache.audit.ledger_client import VendorLedger
from cache.integrity.verify import verify
from cache.maintenance.merge import merge
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from student.vendor.retry import RETRIED_STATUSES

# Nobody answered in the time allowed, or another process held the cache for too long.
EXCUSED = frozenset({"VendorUnreachable", "CacheUnavailable"})
_FOREVER = 60.0  # no lease and no watch is longer


async def gather(run: Supervisor, nursery: ProcessPool) -> tuple[Evidence, float]:
    """The evidence, and the seconds after which no reservation of a dead vendor was left."""
    folder, setting = run.setting.folder, run.setting
    reference_file = folder / "reference.npy"
    await (
        await nursery.start(
            "reference", "reference", {"count": run.scene.num_wares, "out": str(reference_file)}
        )
    ).ended
    port_file = folder / "last-vendor.port"
    last = await nursery.start(
        "vendor",
        "last-vendor",
        {
            "dsn": setting.dsn,
            "port_file": str(port_file),
            "history": str(run.history_of("last-vendor")),
            "options": setting.options,
        },
    )
    while not port_file.exists():
        await asyncio.sleep(0.05)
    url = f"http://127.0.0.1:{int(port_file.read_text())}"
    started = time.monotonic()
    accounts = {}
    async with httpx.AsyncClient(base_url=url, timeout=30.0) as http:
        for purse in run.scene.purses.values():
            while await _reserved(http, purse) and time.monotonic() - started < _FOREVER:
                await asyncio.sleep(0.25)
        recovery = time.monotonic() - started
        for key_id, purse in run.scene.purses.items():
            accounts[key_id] = await _account(http, purse)
    processes = _processes(run)
    faults = [*run.crashes, *unexcused(processes)]
    for purse in run.scene.purses.values():
        faults += await asyncio.to_thread(_own_checks, folder, purse, run, url)
    nursery.kill(last)
    await last.ended
    evidence = Evidence(
        accounts=accounts,
        caches={b.name: _cache(folder / "caches" / b.name, b) for b in run.scene.baskets},
        processes=processes,
        reference=read_reference(reference_file),
        faults=tuple(faults),
    )
    return evidence, recovery


def unexcused(processes: Sequence[Process]) -> Iterator[str]:
    """Ends of clients that no kill and no broken wire explains: each is a fault of the product."""
    for process in processes:
        for event in process.events:
            if event["kind"] != "end" or "error" not in event:
                continue
            is_refusal = event["error"] == "VendorError" and event["status"] in RETRIED_STATUSES
            if not (is_refusal or event["error"] in EXCUSED):
                yield f"{process.name} ended with {event['error']}: {event['detail']}"


async def _get(http: httpx.AsyncClient, path: str, purse: Account) -> httpx.Response:
    answer = await http.get(path, headers={"Authorization": f"Bearer {purse.key.token}"})
    return answer.raise_for_status()


async def _reserved(http: httpx.AsyncClient, purse: Account) -> int:
    reserved: int = (await _get(http, "/v1/key", purse)).json()["reserved_units"]
    return reserved


async def _account(http: httpx.AsyncClient, purse: Account) -> AccountFacts:
    standing = (await _get(http, "/v1/key", purse)).json()
    ledger: list[dict[str, object]] = []
    while page := (await _get(http, f"/v1/ledger?after={len(ledger)}", purse)).text:
        ledger += [json.loads(line) for line in page.splitlines()]
    answers = {}
    for line in ledger:
        if line["kind"] != "charge":
            continue
        key = str(line["idempotency_key"])
        body = (await _get(http, f"/v1/requests/{quote(key, safe='')}", purse)).content
        vectors = [
            np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4")
            for row in json.loads(body)["data"]
        ]
        answers[key] = (hashlib.sha256(body).hexdigest(), vectors)
    return AccountFacts(
        budget=standing["budget_units"],
        spent=standing["spent_units"],
        reserved=standing["reserved_units"],
        ledger=ledger,
        answers=answers,
        spends_to=purse.spends_to,
    )


def _own_checks(folder: Path, purse: Account, run: Supervisor, url: str) -> list[str]:
    """What `cache-report verify` says of each cache, and `merge`, `audit` of all of one key's."""
    faults = []
    merged = folder / "merged" / purse.key.id
    for basket in run.scene.baskets:
        if basket.purse is not purse:
            continue
        with (
            CacheReader.open(folder / "caches" / basket.name) as records,
            PaidCache.open(merged) as into,
        ):
            faults += [f"cache-report verify, {basket.name}: {p}" for p in verify(records).problems]
            merge(records, into)
    with CacheReader.open(merged) as records:
        faults += [f"cache-report verify, merged: {p}" for p in verify(records).problems]
        balance = audit(records, VendorLedger(url=url, key=purse.key.token))
    return faults + [f"cache-report audit, {purse.key.id}: {d}" for d in balance.differences]


def _cache(folder: Path, basket: ClientPlan) -> CacheFacts:
    with CacheReader.open(folder) as records:
        spend = records.spend_on_record()
        return CacheFacts(
            key_id=basket.purse.key.id,
            budget=basket.budget,
            receipts=[receipt.entry() for receipt in records.receipts()],
            rows=[
                Row(item=paid.key.item, vector=paid.vector, request_id=paid.request_id)
                for paid in (*records.rows(), *records.rows_bought_again())
            ],
            units_on_record=spend.receipt_units,
            units_in_flight=spend.in_flight_units,
        )


def _processes(run: Supervisor) -> list[Process]:
    found = []
    for path in sorted(run.history_of("").parent.glob("client-*.jsonl")):
        basket = next(b for b in run.scene.baskets if path.stem.startswith(f"client-{b.name}"))
        found.append(
            Process(name=path.stem, key_id=basket.purse.key.id, events=list(read_history(path)))
        )
    return found
