"""Collects the evidence after a chaos test: over HTTP from a fresh vendor, and from the caches."""

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
from cache.audit.audit import audit_cache
from cache.audit.ledger_client import VendorLedger
from cache.errors import CacheUnavailable
from cache.integrity.verify import verify
from cache.maintenance.merge import merge
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from student.errors import VendorError, VendorUnreachable
from student.vendor.retry import RETRIED_STATUSES

# The vendor did not answer in time, or another process held the cache for too long.
EXPECTED_ERRORS = frozenset({VendorUnreachable.__name__, CacheUnavailable.__name__})
_MAX_RECOVERY_SECONDS = 60.0  # longer than any lease


async def gather(run: Supervisor, processes: ProcessPool) -> tuple[Evidence, float]:
    """Return the evidence, and the seconds until dead vendors' reservations were released."""
    folder, settings = run.settings.folder, run.settings
    reference_file = folder / "reference.npy"
    await (
        await processes.start(
            "reference", "reference", {"count": run.scenario.num_items, "out": str(reference_file)}
        )
    ).ended
    port_file = folder / "last-vendor.port"
    last = await processes.start(
        "vendor",
        "last-vendor",
        {
            "dsn": settings.dsn,
            "port_file": str(port_file),
            "history": str(run.history_of("last-vendor")),
            "options": settings.options,
        },
    )
    while not port_file.exists():
        await asyncio.sleep(0.05)
    url = f"http://127.0.0.1:{int(port_file.read_text())}"
    started = time.monotonic()
    deadline = started + _MAX_RECOVERY_SECONDS
    accounts = {}
    async with httpx.AsyncClient(base_url=url, timeout=30.0) as http:
        for account in run.scenario.accounts.values():
            while await _reserved(http, account) and time.monotonic() < deadline:
                await asyncio.sleep(0.25)
        recovery = time.monotonic() - started
        for key_id, account in run.scenario.accounts.items():
            accounts[key_id] = await _account(http, account)
    histories = _histories(run)
    faults = [*run.crashes, *unexpected_ends(histories)]
    for account in run.scenario.accounts.values():
        faults += await asyncio.to_thread(_own_checks, folder, account, run, url)
    processes.kill(last)
    await last.ended
    evidence = Evidence(
        accounts=accounts,
        caches={p.name: _cache(folder / "caches" / p.name, p) for p in run.scenario.plans},
        processes=histories,
        reference=read_reference(reference_file),
        faults=tuple(faults),
    )
    return evidence, recovery


def unexpected_ends(processes: Sequence[Process]) -> Iterator[str]:
    """Report client errors that neither a kill nor a network fault explains: product faults."""
    for process in processes:
        for event in process.events:
            if event["kind"] != "end" or "error" not in event:
                continue
            is_retried = (
                event["error"] == VendorError.__name__ and event["status"] in RETRIED_STATUSES
            )
            if not (is_retried or event["error"] in EXPECTED_ERRORS):
                yield f"{process.name} ended with {event['error']}: {event['detail']}"


async def _get(http: httpx.AsyncClient, path: str, account: Account) -> httpx.Response:
    answer = await http.get(path, headers={"Authorization": f"Bearer {account.key.token}"})
    return answer.raise_for_status()


async def _reserved(http: httpx.AsyncClient, account: Account) -> int:
    reserved: int = (await _get(http, "/v1/key", account)).json()["reserved_units"]
    return reserved


async def _account(http: httpx.AsyncClient, account: Account) -> AccountFacts:
    view = (await _get(http, "/v1/key", account)).json()
    ledger: list[dict[str, object]] = []
    while page := (await _get(http, f"/v1/ledger?after={len(ledger)}", account)).text:
        ledger += [json.loads(line) for line in page.splitlines()]
    answers = {}
    for entry in ledger:
        if entry["kind"] != "charge":
            continue
        key = str(entry["idempotency_key"])
        body = (await _get(http, f"/v1/requests/{quote(key, safe='')}", account)).content
        vectors = [
            np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4")
            for row in json.loads(body)["data"]
        ]
        answers[key] = (hashlib.sha256(body).hexdigest(), vectors)
    return AccountFacts(
        budget=view["budget_units"],
        spent=view["spent_units"],
        reserved=view["reserved_units"],
        ledger=ledger,
        answers=answers,
        expected_charges=account.expected_charges,
    )


def _own_checks(folder: Path, account: Account, run: Supervisor, url: str) -> list[str]:
    """The faults that `cache-report verify`, `merge` and `audit` find in the caches of one key."""
    faults = []
    merged = folder / "merged" / account.key.id
    for plan in run.scenario.plans:
        if plan.account is not account:
            continue
        with (
            CacheReader.open(folder / "caches" / plan.name) as records,
            PaidCache.open(merged) as into,
        ):
            problems = verify(records).problems
            faults += [f"cache-report verify, {plan.name}: {problem}" for problem in problems]
            merge(records, into)
    with CacheReader.open(merged) as records:
        problems = verify(records).problems
        faults += [f"cache-report verify, merged: {problem}" for problem in problems]
        differences = audit_cache(records, VendorLedger(url=url, key=account.key.token)).differences
    return faults + [f"cache-report audit, {account.key.id}: {found}" for found in differences]


def _cache(folder: Path, plan: ClientPlan) -> CacheFacts:
    with CacheReader.open(folder) as records:
        spend = records.spend_on_record()
        return CacheFacts(
            key_id=plan.account.key.id,
            budget=plan.budget,
            receipts=[receipt.entry() for receipt in records.receipts()],
            rows=[
                Row(item=paid.key.item, vector=paid.vector, request_id=paid.request_id)
                for paid in (*records.rows(), *records.rows_bought_again())
            ],
            units_on_record=spend.receipt_units,
            open_units=spend.open_units,
        )


def _histories(run: Supervisor) -> list[Process]:
    found = []
    for path in sorted(run.history_of("").parent.glob("client-*.jsonl")):
        plan = next(p for p in run.scenario.plans if path.stem.startswith(f"client-{p.name}"))
        found.append(
            Process(name=path.stem, key_id=plan.account.key.id, events=list(read_history(path)))
        )
    return found
