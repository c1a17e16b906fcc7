"""What the accuracy of a finished student cost, read from its folder."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cache.errors import ReportImpossible
from cache.html_report.receipt_groups import NumberedReceipt, Range, ranges_of
from cache.reports.spend import receipts_digest

_BASELINE: Final = "erm"
_VALIDATION: Final = "source validation"
_MOST_PREFIXES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentCost:
    """What one student cost, in queries and micro-USD, and its accuracy (0 to 1) on `parts`.

    `baseline` is the accuracy of ERM, which buys nothing, in the same run; None if the run did not
    train it. `receipts` are those that paid for the student; empty if they cannot be named.
    """

    folder: str
    method: str
    parts: tuple[str, ...]
    images: int
    accuracy: float
    baseline: float | None
    units: int
    cost_micro_usd: int
    receipts: list[Range]

    @property
    def per_point(self) -> float | None:
        """Micro-USD for each point (1%) of accuracy."""
        return self.cost_micro_usd / (100 * self.accuracy) if self.accuracy else None

    @property
    def points_gained(self) -> float | None:
        """Points of accuracy above ERM."""
        return None if self.baseline is None else 100 * (self.accuracy - self.baseline)

    @property
    def per_point_gained(self) -> float | None:
        """Micro-USD for each point above ERM; None without a gain."""
        gained = self.points_gained
        return self.cost_micro_usd / gained if gained is not None and gained > 0 else None


def student_cost(folder: Path, receipts: Sequence[NumberedReceipt]) -> StudentCost:
    """Read the meta.json of a run's folder. Raises ReportImpossible if it is not one of a student.

    The accuracy is that on the held-out domains together or, without any, on source validation.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        parts = tuple(meta["targets"]) or (_VALIDATION,)
        correct, images = _counts(meta["scores"], parts)
        compared = meta.get("compared", {})
        baseline = None
        if _BASELINE in compared:
            right, of = _counts(compared[_BASELINE], parts)
            baseline = right / of
        return StudentCost(
            folder=str(folder),
            method=str(meta["method"]),
            parts=parts,
            images=images,
            accuracy=correct / images,
            baseline=baseline,
            units=int(meta["queries"]),
            cost_micro_usd=int(meta["cost_micro_usd"]),
            receipts=_receipts_of(meta["receipts_digest"], receipts),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        message = f"{folder} has no meta.json of a student with scores and costs ({error!r})"
        raise ReportImpossible(message) from error


def _counts(scores: Mapping[str, Any], parts: Sequence[str]) -> tuple[int, int]:
    return (
        sum(int(scores[part]["correct"]) for part in parts),
        sum(int(scores[part]["images"]) for part in parts),
    )


def _receipts_of(digest: str, receipts: Sequence[NumberedReceipt]) -> list[Range]:
    """The receipts with this digest, if they are those of a model or a run up to some time.

    The digest covers a set of receipts and does not name them, so likely sets are tried.
    """
    for candidate in _candidates(receipts):
        if receipts_digest(one.receipt for one in candidate) == digest:
            return ranges_of(one.number for one in candidate)
    return []


def _candidates(receipts: Sequence[NumberedReceipt]) -> Iterator[Sequence[NumberedReceipt]]:
    by_name: dict[str, list[NumberedReceipt]] = defaultdict(list)
    for one in receipts:
        by_name[f"model {one.receipt.model_fingerprint}"].append(one)
        by_name[f"run {one.stored.run}"].append(one)
    yield receipts
    for group in by_name.values():
        for length in range(len(group), max(0, len(group) - _MOST_PREFIXES), -1):
            yield group[:length]
