"""Which part of each receipt paid for images, for texts, and for a domain or a class.

A receipt has one sum for all that it paid for. It is divided as far as the receipts allow; what
cannot be divided is listed under a name that says why, so that each table adds up to the total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final, Literal, NamedTuple

from cache.html_report.data_places import Place, find_places
from cache.html_report.receipt_groups import NumberedReceipt, Share, portions, whole
from cache.records.receipt import Receipt
from cache.storage.reader import CacheReader

Kind = Literal["image", "text", "both"]
Price = tuple[Fraction, Fraction]  # queries and micro-USD of an item


class Label(NamedTuple):
    """The name of a domain or class; with `is_note`, why there is none."""

    is_note: bool
    name: str


_TEXTS: Final = Label(True, "texts, which have no image")
_BOTH: Final = Label(True, "images and texts in one request, prices not known apart")
_GONE: Final = Label(True, "paid, rows not in the cache")
_ELSEWHERE: Final = Label(True, "not in the data")
_SEVERAL: Final = Label(True, "the same file in several")
_NO_DOMAIN: Final = Label(True, "the data has classes only")
_NO_CLASS: Final = Label(True, "the data has no classes")


def by_modality(receipts: Sequence[NumberedReceipt]) -> list[tuple[Kind, Share]]:
    """Divide receipts for images and texts by the prices of receipts for one of them alone.

    The prices are those of the same account, model and price list. Without them, a receipt for both
    stays whole.
    """
    known = _known_prices(receipts)
    return [part for one in receipts for part in _divided(one, known)]


def by_place(
    cache: CacheReader, receipts: Sequence[NumberedReceipt], data: Path
) -> list[tuple[Label, Label, Share]]:
    """Divide receipts by the domain and the class of their images, as they lie in the data.

    The cache knows an image by the SHA-256 of its file, so the files of the data are hashed. The
    images of one receipt cost the same each. Raises ReportImpossible as `find_places` does.
    """
    items = _items_by_request(cache)
    places = find_places(data, {item for found in items.values() for item in found})
    by_number = {one.number: one.receipt for one in receipts}
    shares = []
    for kind, share in by_modality(receipts):
        if kind != "image":
            label = _TEXTS if kind == "text" else _BOTH
            shares.append((label, label, share))
            continue
        receipt = by_number[share.number]
        found = items.pop((receipt.request_id, receipt.created_ms), [])
        shares += _by_image(share, [_labels(item, places) for item in found])
    return shares


def _by_image(
    share: Share, labels: Sequence[tuple[Label, Label]]
) -> list[tuple[Label, Label, Share]]:
    """Divide a share equally between its images, of which those with a row have labels."""
    if not share.items:
        return [(_GONE, _GONE, share)]
    costs = portions(share.cost_micro_usd, share.items)
    parts = [
        Share(number=share.number, items=1, units=units, cost_micro_usd=cost)
        for units, cost in zip(portions(share.units, share.items), costs, strict=True)
    ]
    missing = [(_GONE, _GONE)] * (share.items - len(labels))
    return [(*names, part) for names, part in zip([*labels, *missing], parts, strict=False)]


def _labels(item: str, places: Mapping[str, Place]) -> tuple[Label, Label]:
    place = places.get(item)
    if place is None:
        return _ELSEWHERE, _ELSEWHERE
    return _label(place.domains, _NO_DOMAIN), _label(place.classes, _NO_CLASS)


def _label(names: frozenset[str], none: Label) -> Label:
    if not names:
        return none
    return Label(False, next(iter(names))) if len(names) == 1 else _SEVERAL


def _items_by_request(cache: CacheReader) -> dict[tuple[str, int], list[str]]:
    # Two vendors may use the same request id, but not in the same millisecond.
    items: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in chain(cache.rows(), cache.rows_bought_again()):
        if row.key.modality == "image":
            items[row.request_id, row.created_ms].append(row.key.item)
    return items


def _price_list(one: NumberedReceipt) -> tuple[str, str, str]:
    return one.stored.account, one.receipt.model_fingerprint, one.receipt.price_version


def _known_prices(
    receipts: Sequence[NumberedReceipt],
) -> dict[tuple[tuple[str, str, str], Kind], Price]:
    """The prices of an image and of a text that receipts for one kind agree on."""
    seen: dict[tuple[tuple[str, str, str], Kind], set[Price]] = defaultdict(set)
    for one in receipts:
        receipt = one.receipt
        items = receipt.images + receipt.texts
        if (kind := _kind(receipt)) != "both" and items:
            price = Fraction(receipt.units, items), Fraction(receipt.cost_micro_usd, items)
            seen[_price_list(one), kind].add(price)
    return {name: prices.pop() for name, prices in seen.items() if len(prices) == 1}


def _kind(receipt: Receipt) -> Kind:
    if receipt.images and receipt.texts:
        return "both"
    return "text" if receipt.texts else "image"


def _divided(
    one: NumberedReceipt, known: Mapping[tuple[tuple[str, str, str], Kind], Price]
) -> Iterator[tuple[Kind, Share]]:
    receipt, all_of_it = one.receipt, whole(one)
    if (kind := _kind(receipt)) != "both":
        yield kind, all_of_it
        return
    image, text = (known.get((_price_list(one), kind)) for kind in ("image", "text"))
    if image is not None:
        units, cost = (each * receipt.images for each in image)
    elif text is not None:
        units = receipt.units - text[0] * receipt.texts
        cost = receipt.cost_micro_usd - text[1] * receipt.texts
    else:
        yield "both", all_of_it
        return
    is_whole = units.denominator == cost.denominator == 1
    is_part = 0 <= units <= receipt.units and 0 <= cost <= receipt.cost_micro_usd
    if text is not None and units + text[0] * receipt.texts != receipt.units:
        is_part = False
    if not is_whole or not is_part:
        yield "both", all_of_it
        return
    images = Share(
        number=one.number, items=receipt.images, units=int(units), cost_micro_usd=int(cost)
    )
    yield "image", images
    yield (
        "text",
        Share(
            number=one.number,
            items=receipt.texts,
            units=receipt.units - images.units,
            cost_micro_usd=receipt.cost_micro_usd - images.cost_micro_usd,
        ),
    )
