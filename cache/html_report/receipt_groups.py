"""Receipts with a number each, and sums of them that name the receipts they are made of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cache.records.purchase_records import StoredReceipt
from cache.records.receipt import Receipt
from cache.storage.reader import CacheReader

Name = TypeVar("Name", bound=Hashable)
Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedReceipt:
    """A receipt and its number in the report, from 1, in the order of time."""

    number: int
    stored: StoredReceipt

    @property
    def receipt(self) -> Receipt:
        """The receipt itself."""
        return self.stored.receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of one receipt that belongs to a group: items, queries and micro-USD."""

    number: int
    items: int
    units: int
    cost_micro_usd: int


@dataclass(slots=True, kw_only=True)
class Group(Generic[Name]):
    """A sum of shares under one name."""

    name: Name
    items: int = 0
    units: int = 0
    cost_micro_usd: int = 0
    numbers: set[int] = field(default_factory=set)

    def add(self, share: Share) -> None:
        """Add one share."""
        self.items += share.items
        self.units += share.units
        self.cost_micro_usd += share.cost_micro_usd
        self.numbers.add(share.number)

    @property
    def ranges(self) -> list[Range]:
        """Its receipts, neighbours together: [1, 2, 3, 7] is [(1, 3), (7, 7)]."""
        return ranges_of(self.numbers)


def number_receipts(cache: CacheReader) -> list[NumberedReceipt]:
    """Return every receipt of the cache with its number, oldest first."""
    stored = sorted(cache.stored_receipts(), key=lambda one: one.receipt.created_ms)
    return [NumberedReceipt(number=n, stored=one) for n, one in enumerate(stored, 1)]


def whole(one: NumberedReceipt) -> Share:
    """Return all of a receipt."""
    receipt = one.receipt
    return Share(
        number=one.number,
        items=receipt.images + receipt.texts,
        units=receipt.units,
        cost_micro_usd=receipt.cost_micro_usd,
    )


def grouped(shares: Iterable[tuple[Name, Share]]) -> dict[Name, Group[Name]]:
    """Add up the shares of each name, in the order in which the names are first seen."""
    groups: dict[Name, Group[Name]] = {}
    for name, share in shares:
        groups.setdefault(name, Group(name=name)).add(share)
    return groups


def ranges_of(numbers: Iterable[int]) -> list[Range]:
    """Return first and last number of each unbroken sequence."""
    ranges: list[Range] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def portions(total: int, parts: int) -> Sequence[int]:
    """Divide a whole number into whole parts that add up to it and differ by at most one."""
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]
