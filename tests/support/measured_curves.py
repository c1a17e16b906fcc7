"""Bench rows and finished runs of a learning curve whose power law is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from student.bench.rows import Row
from student.evaluation.results import AccuracyCount
from student.forecast.power_law import Law

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
FULL = 2000
TRUTH = Law(top=0.82, gap=0.3, scale=150.0, power=1.0)


def row(
    level: float,
    *,
    selector: str = "random",
    seed: int = 0,
    method: str = "vl2v-adip-1q",
    more: Mapping[str, str] | None = None,
) -> Row:
    """A row of a bench, as it writes it; shares 0 and 1 have the selector "random".

    `more` are fields that another row would have otherwise.
    """
    queries = round(level * FULL)
    is_chosen = 0.0 < level < 1.0
    measured_row = Row(
        id=f"{method} {selector} {level} {seed} {more or ''}",
        kind="budget",
        dataset="emoji",
        method=method,
        seed=seed,
        sources=("apple", "google"),
        targets=("windows",),
        views=4 if level else 1,
        fraction=level,
        selector=selector if is_chosen else "random",
        options={},
        steps=420,
        lmd=0.5,
        images=500,
        queries=queries,
        cost_micro_usd=100 * queries,
        accuracies={
            "windows": AccuracyCount(correct=round(1000 * TRUTH(queries)), images=1000),
            "known to nobody, target domains": AccuracyCount(correct=200, images=1000),
        },
        validation=AccuracyCount(correct=90, images=100),
        chosen="average",
        seconds=1.0,
        teacher="embedded",
        fingerprint="sha256:0",
        data_sha256="0",
        command="bench",
        commit="c",
        machine="m",
    )
    return measured_row.model_copy(update=more or {})


def run_folder(
    root: Path,
    queries: int,
    *,
    budget: int | None = None,
    seed: int = 0,
    targets: Sequence[str] = ("sketch",),
) -> Path:
    """The files of a finished run that a forecast reads; by default its whole budget is spent."""
    folder = root / f"run-{queries}-{seed}"
    folder.mkdir()
    common = {"data": "pets", "views": 2, "selector": "herding", "steps": 100, "lmd": 0.5}
    meta = {
        "method": "vl2v-adip",
        "targets": targets,
        "settings": {
            **common,
            **{"budget": queries if budget is None else budget, "out": str(folder), "seed": seed},
        },
        "recipe": {},
        "seed": seed,
        "teacher": {"model": "clip", "fingerprint": "sha256:0"},
        "queries": queries,
        "scores": {
            **{
                domain: {"correct": round(500 * TRUTH(queries)), "images": 500}
                for domain in targets
            },
            "source validation": {"correct": round(100 * TRUTH(queries)), "images": 100},
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
