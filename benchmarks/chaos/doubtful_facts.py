"""What is left of a chaos test of a vendor that knows no purchases: its book and the caches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.doubtful_checker import BuyerFacts
from benchmarks.chaos.items import Item
from benchmarks.chaos.observations import Row
from cache.integrity.verify import verify
from cache.records.embedding_key import EmbeddingKey
from cache.storage.reader import CacheReader


@dataclass(frozen=True, slots=True)
class Buyer:
    """One cache: its budget and the number of items and of clients."""

    name: str
    budget: int
    num_items: int
    num_clients: int


def own_checks(folder: Path, buyers: Sequence[Buyer]) -> list[str]:
    """What `cache-report verify` finds in the caches of these buyers."""
    faults = []
    for buyer in buyers:
        with CacheReader.open(folder / "caches" / buyer.name) as cache:
            problems = verify(cache).problems
        faults += [f"cache-report verify, {buyer.name}: {problem}" for problem in problems]
    return faults


def facts_of(folder: Path, buyer: Buyer) -> BuyerFacts:
    """What the vendor's book and the cache say of a buyer."""
    wanted = [Item(number).digest for number in range(buyer.num_items)]
    lines = (folder / "book.jsonl").read_text().splitlines()
    charges = [charge for charge in map(json.loads, lines) if charge["key"].endswith(buyer.name)]
    known = set(wanted)

    def named(digest: str) -> str:
        return digest if digest in known else "canary"

    with CacheReader.open(folder / "caches" / buyer.name) as cache:
        spend = cache.spend_on_record()
        write_offs = list(cache.write_offs())
        return BuyerFacts(
            name=buyer.name,
            budget=buyer.budget,
            wanted=wanted,
            charged=Counter(named(item) for charge in charges for item in charge["items"]),
            rows=[
                Row(item=_item(row.key), vector=row.vector, request_id=row.request_id)
                for row in (*cache.rows(), *cache.rows_bought_again())
            ],
            receipt_units=spend.receipt_units,
            written_off=Counter(_item(key) for one in write_offs for key in one.keys),
            written_off_units=sum(one.units for one in write_offs),
            committed=spend.committed_units,
            open_units=spend.open_units,
        )


def _item(key: EmbeddingKey) -> str:
    return "canary" if key.view.startswith("canary#") else key.item
