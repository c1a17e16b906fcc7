"""The targets that were set before the runs, and the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.evidence.lines import HOUSE, LINES, TEACHER_ONLY, Found
from student.bench.series import Column, Series
from student.bench.statistics import Mean, by_seed, ratio_of
from student.report.markdown import table

DOMAINS = 6  # that are labelled on emoji


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A threshold for a measured figure."""

    wording: str
    least: float
    measured: Mean | None
    show: Callable[[Mean], str]

    def row(self) -> list[str]:
        """The wording, the figure, and whether the target is met."""
        if self.measured is None:
            return [self.wording, "", "not yet run"]
        return [self.wording, self.show(self.measured), self._verdict(self.measured)]

    def _verdict(self, found: Mean) -> str:
        if found.value < self.least:
            return "**missed**"
        if found.half_width is None:
            return "met"
        return "met, with the whole interval" if found.low >= self.least else "met on average"


def target_table(found: Found) -> list[str]:
    """A row for every target."""
    columns = ["target", "measured", ""]
    return table(columns, [target.row() for target in _targets(found)])


def _targets(found: Found) -> Iterator[Target]:
    erm, kd, published, one_query, _ = found.headline()
    long, _, short, _ = found.published_steps()
    for column, least in ((HOUSE, 5), (LINES, 10)):
        for other in (erm, kd):
            yield _points("published", published, other, column, least)
    for column in (HOUSE, LINES):
        yield _points(one_query.title, one_query, published, column, 3)
    for least, wording, asked in (
        (15, "queries of the published recipe over those of VL2V-ADiP-1q", published.queries),
        (50, "the same, at the published 5,001 steps a stage of 24 images", long.queries),
        (50, "the same, of the published batch, 32 a domain", _asked_as_published()),
    ):
        yield Target(
            wording=f"{wording}: at least {least} times",
            least=least,
            measured=_ratio(asked, one_query),
            show=lambda mean: f"{mean.value:,.1f} times",
        )
    for column in (HOUSE, LINES):
        yield Target(
            wording=f"at 10% of the images, part of the gain over ERM kept, {column.title}: 75%",
            least=0.75,
            measured=kept_at_a_tenth(found, column),
            show=Mean.percent,
        )
    for column in (HOUSE, LINES):
        yield _points(short.title, short, long, column, 0)
    yield _points(one_query.title, one_query, erm, TEACHER_ONLY, 3)


def _points(name: str, line: Series, other: Series, column: Column, least: int) -> Target:
    return Target(
        wording=f"{name} above {other.title}, {column.title}: at least {least} points",
        least=least / 100,
        measured=line.above(other, column),
        show=lambda mean: mean.percent(signed=True),
    )


def kept_at_a_tenth(found: Found, column: Column, selector: str = "random") -> Mean | None:
    """The gain over ERM at a tenth of the images, as a share of the gain at all images."""
    erm = found.curve_levels()["ERM"].values(column)
    points = next(curve for curve in found.curves() if curve.label == selector).points
    by_share = {point.title: point.values(column) for point in points}
    tenth, whole = by_share[f"{selector}, 10%"], by_share[f"{selector}, 100%"]
    shared = tenth.keys() & whole.keys() & erm.keys()
    kept = by_seed({at: tenth[at] - erm[at] for at in shared})
    full = by_seed({at: whole[at] - erm[at] for at in shared})
    return ratio_of(list(kept.values()), list(full.values()))


def _ratio(asked: float | None, one_query: Series) -> Mean | None:
    if asked is None or not one_query.queries:
        return None
    return Mean(value=asked / one_query.queries, half_width=None, count=1)


def _asked_as_published() -> float:
    return float(2 * 5001 * 32 * DOMAINS)
