"""The tables and charts of docs/performance.md, from the results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.performance.results import Rows, rows_of
from student.report.markdown import table

_BLOCK = re.compile(r"<!-- measured: (?P<section>\w+) -->\n.*?<!-- end -->", re.DOTALL)
_MET = {True: "yes", False: "**no**", None: ""}


def write_page(page: Path, results: dict[str, Any]) -> None:
    """Replace what stands between `<!-- measured: SECTION -->` and `<!-- end -->` in the page.

    Draws docs/images/performance-SECTION.png of each section too.
    """
    page.write_text(rendered(page.read_text(), results))
    for section in results["sections"]:
        draw(page.parent / "images" / f"performance-{section}.png", rows_of(results, section))


def rendered(text: str, results: dict[str, Any]) -> str:
    """Return the page's text with the tables of these results."""

    def block(found: re.Match[str]) -> str:
        section = found["section"]
        lines = "\n".join(_section(section, results))
        return f"<!-- measured: {section} -->\n{lines}\n<!-- end -->"

    return _BLOCK.sub(block, text)


def _section(section: str, results: dict[str, Any]) -> Iterator[str]:
    measured = results["sections"].get(section)
    if measured is None:
        yield "Not measured yet."
        return
    rows = rows_of(results, section)
    yield f"![Ratios of this section](images/performance-{section}.png)"
    yield ""
    head = ("What", "Unit", "This project", "Peer or limit", "Its figure", "Ratio", "Goal", "Met")
    yield from table(head, [_cells(row) for row in rows])
    yield ""
    yield (
        f"Measured by `{measured['command']}` at {measured['commit'][:9]} on "
        f"{measured['machine']}; medians of {len(rows[0]['ours'])} rounds, both sides in turn."
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    goal = ""
    if row["goal"] is not None:
        goal = f"{'at least' if row['better'] == 'higher' else 'at most'} {row['goal']:g}"
    return (
        row["name"],
        row["unit"],
        f"{row['ours_median']:.4g}",
        row["peer"],
        f"{row['peer_median']:.4g}",
        f"{row['ratio']:.2f}",
        goal,
        _MET[row["meets_goal"]],
    )


def draw(path: Path, rows: Rows) -> None:
    """Draw the ratio of each row with its rounds, its goal, and the peer at 1."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "performance"}):
        figure = Figure(figsize=(8, 0.9 + 0.42 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(1, color="#6e7781", linewidth=1, label="the peer or limit")
        for place, row in enumerate(reversed(rows)):
            ratios = [ours / peer for ours, peer in zip(row["ours"], row["peers"], strict=True)]
            axes.plot(ratios, [place] * len(ratios), ".", color="#8ab6d6", markersize=5)
            axes.plot(row["ratio"], place, "o", color="#0072B2", markersize=7)
            if row["goal"] is not None:
                axes.plot(row["goal"], place, "|", color="#D55E00", markersize=16, mew=2)
        arrows = {"higher": "→", "lower": "←"}
        names = [f"{row['name']}  {arrows[row['better']]}" for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xscale("log")
        axes.set_xlabel(
            "ratio to the peer (grey line); arrow: the better direction; orange: the goal"
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.savefig(path, dpi=130, metadata={"Software": None})
