"""A grid that trains quickly, and a vendor in memory for its purchases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType

from student.bench.constants import NO_TEACHER
from student.bench.purchase import VendorEndpoint
from student.bench.rows import Row
from student.bench.run import Grid, Run, identity, normalised
from student.bench.runner import Source, run_grid
from student.console import quiet
from student.evaluation.results import AccuracyCount
from student.options import Options
from tests.support.ledger_vendor import LedgerVendor
from tests.support.purchase_setup import client_of

SOURCE = Source(command="the command", commit="the commit")


def settings(pets: Path, **more: object) -> Options:
    """Two steps on pictures of 16 pixels."""
    folder = pets.parent
    options: dict[str, object] = {
        "data": pets,
        "budget": 1000,
        "cache": folder / "cache",
        "out": folder / "out",
        "backbone": "test_efficientnet",
        "weights": "none",
        "image_size": 16,
        "steps": 2,
        "align_steps": 2,
        "eval_every": 1,
        "batch_per_domain": 2,
        "device": "cpu",
    }
    return Options.of({**options, **more})


def run(
    method: str = "vl2v-adip",
    *,
    seed: int = 0,
    target: str = "d2",
    options: Mapping[str, object] = MappingProxyType({}),
    **more: object,
) -> Run:
    """A run on the pets."""
    return normalised(
        Run(
            dataset="pets",
            targets=(target,),
            seed=seed,
            method=method,
            options=tuple(options.items()),  # type: ignore[arg-type]  # checked by the callee
            **more,  # type: ignore[arg-type]
        )
    )


def grid(pets: Path, runs: Sequence[Run], **more: object) -> Grid:
    """These runs as a grid."""
    return Grid(name="small", base=settings(pets, **more), runs=tuple(runs))


def sold_by(vendor: LedgerVendor) -> Callable[[str], AbstractContextManager[VendorEndpoint]]:
    """An endpoint for every teacher: this vendor."""

    @contextmanager
    def opened(_: str) -> Iterator[VendorEndpoint]:
        yield VendorEndpoint(open=lambda: client_of(vendor))

    return opened


def make(
    bench_grid: Grid,
    vendor: LedgerVendor,
    *,
    processes: int = 1,
) -> Path:
    """Run the grid; return the path of its rows."""
    rows = bench_grid.base.run.out / "rows.jsonl"
    run_grid(
        bench_grid,
        rows,
        endpoints=sold_by(vendor),
        processes=processes,
        source=SOURCE,
        terminal=quiet(),
    )
    return rows


def row(bench_run: Run, base: Options, *, queries: int = 0, **correct: int) -> Row:
    """The row of a run, with this many correct of a hundred in each part (_ for a space)."""
    counts = {
        part.replace("_", " "): AccuracyCount(correct=right, images=100)
        for part, right in correct.items()
    }
    return Row(
        id=identity(bench_run, base),
        kind="small",
        dataset=bench_run.dataset,
        method=bench_run.method,
        seed=bench_run.seed,
        sources=("d0", "d1"),
        targets=bench_run.targets,
        views=bench_run.views,
        fraction=bench_run.fraction,
        selector=bench_run.selector,
        options=dict(bench_run.options),
        steps=base.training.steps,
        lmd=base.training.lmd,
        images=100,
        queries=queries,
        cost_micro_usd=100 * queries,
        accuracies=counts,
        validation=AccuracyCount(correct=90, images=100),
        chosen="raw",
        seconds=36.0,
        teacher=bench_run.teacher,
        fingerprint=NO_TEACHER,
        data_sha256="0" * 64,
        command="the command",
        commit="c0ffee0",
        machine="a machine",
    )
