"""Training from a table of views in archives, beside training from one mapped file of them.

    python -m benchmarks.scale.archives [--out FILE] [--gigabytes N] [--steps N] [--backbone NAME]

The tables have the same random pixels. Steps are timed in turn, in one process: some from the
mapped file, some from the archives on the same disk, some from archives in a store on the network,
and so on. Memory is measured in training runs of their own, whose processes may not take more than
`LIMIT_BYTES` beyond what they have when they start.

The store is an S3 server on this machine that waits before each answer. It reads a file whole
whenever a part of it is asked for, so its table is smaller, of archives of a few views.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scale.stages import PeakMemory, anonymous_bytes
from benchmarks.scale.store import running_store
from student.data.archives.archive_folder import ArchiveFolder
from student.data.archives.layout import Layout
from student.data.archives.rendering import opened_table
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS
from student.training.pixels import Pixels, SelectedPixels
from student.training.stage_builder import StageBuilder
from student.training.student_factory import make_student
from student.training.task import TrainingTask
from student.training.train import train
from tools.provenance import ROOT, commit

RESULTS: Final = ROOT / "docs/results/scale-archives.json"
LIMIT_BYTES: Final = 2**30
_KINDS: Final = ("mapped", "archives")
_STORED: Final = {"images": 400, "each": 4}  # of the table in the store
_TOGETHER: Final = 4  # steps from one table before those from the next one
_PIXELS: Final = 224
_DOMAINS: Final = 5
_CLASSES: Final = 10
_PER_DOMAIN: Final = 4
_STEPS: Final = 4  # of a training run whose memory is measured
_SMALL: Final = "test_efficientnet"  # a network that takes no memory worth mentioning


def main(argv: Sequence[str] | None = None) -> int:
    """Make both tables, train from each, and write the figures as JSON."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    layout = Layout.of(
        images=max(2 * _DOMAINS, int(options.gigabytes * 1e9) // (3 * _PIXELS**2)),
        views=1,
        size=_PIXELS,
    )
    with tempfile.TemporaryDirectory(prefix="archives-", dir=options.folder) as folder:
        tables = Tables(Path(folder), layout)
        tables.make()
        result: dict[str, Any] = {
            "provenance": {
                "command": shlex.join(["python", "-m", "benchmarks.scale.archives", *arguments]),
                "commit": commit(),
                "seed": 0,
                "machine": f"{os.cpu_count()} hardware threads",
            },
            "table_bytes": layout.images * layout.view_bytes,
            "archives": layout.archives,
            "memory": _memory(tables),
        }
        if options.steps > 0:
            with running_store(options.store_ms) as address:
                result["steps"] = _apart(
                    _step_times, tables, address, options.backbone, options.steps
                ) | {"store_answers_after_ms": options.store_ms}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 0


class Tables:
    """One table of random pixels, as a mapped file and as archives, in a folder."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._folder = folder
        self.layout = layout

    def make(self) -> None:
        """Write both."""
        mapped = np.lib.format.open_memmap(
            self._folder / "table.npy", mode="w+", dtype=np.uint8, shape=self.layout.shape
        )
        for number in range(self.layout.archives):
            rows = self.layout.rows(number)
            _fill(rows, mapped[rows.start : rows.stop])
        mapped.flush()
        self.pixels("archives")

    def pixels(self, kind: str) -> Pixels:
        """The table of this kind, as a run opens it."""
        if kind == "mapped":
            found: Pixels = np.load(self._folder / "table.npy", mmap_mode="r")
            return found
        return _archived(str(self._folder), self.layout)


def _archived(address: str, layout: Layout) -> SelectedPixels:
    """The table at this address, which is written if it is not there."""
    table = opened_table(ArchiveFolder(address, "table"), layout, _fill).table
    return SelectedPixels.whole(table, table.checksums)


def _fill(rows: range, pixels: NDArray[np.uint8]) -> dict[int, str]:
    for row, image in zip(rows, pixels, strict=True):
        source = np.random.default_rng(row)
        image[:] = source.integers(0, 256, image.shape, dtype=np.uint8)
    return {}


def _step_times(tables: Tables, address: str, backbone: str, steps: int) -> dict[str, Any]:
    """The seconds of each step of each kind, those of reading its views alone, and the medians of
    the ratios of steps of one number.

    A step reads its views, augments them and computes the loss and its gradients, while the next
    one's views are read.
    """
    stored = Layout(images=_STORED["images"], views=1, size=_PIXELS, each=_STORED["each"])
    pixels = {kind: tables.pixels(kind) for kind in _KINDS} | {"store": _archived(address, stored)}
    works = {}
    for kind, table in pixels.items():
        task = _task(table, backbone, steps, _PER_DOMAIN).ready()
        student = make_student(task, pretrained=False).train()
        works[kind] = StageBuilder(task, student).work(0)
    seconds: dict[str, list[float]] = {kind: [] for kind in pixels}
    for first in range(0, steps, _TOGETHER):
        for kind, work in works.items():
            # One more in front: its views were not read ahead, and the first makes everything.
            for step in range(first, min(first + _TOGETHER, steps) + 1):
                started = time.perf_counter()
                torch.autograd.backward(work.loss(work.batches(step)))
                if step > first:
                    seconds[kind].append(time.perf_counter() - started)
    return {
        "backbone": backbone,
        "rows": _PER_DOMAIN * _DOMAINS,
        "seconds": seconds,
        "ratios_to_mapped": {
            kind: median(one / other for one, other in zip(took, seconds["mapped"], strict=True))
            for kind, took in seconds.items()
            if kind != "mapped"
        },
        "seconds_of_reading": {
            kind: _reading_times(table, steps) for kind, table in pixels.items()
        },
    }


def _reading_times(pixels: Pixels, steps: int) -> list[float]:
    """The seconds in which the views of a step are read, of as many steps."""
    source, seconds = np.random.default_rng(0), []
    for _ in range(steps):
        rows = source.integers(0, len(pixels), _PER_DOMAIN * _DOMAINS)
        started = time.perf_counter()
        pixels[rows, np.zeros_like(rows)]
        seconds.append(time.perf_counter() - started)
    return seconds


def _memory(tables: Tables) -> dict[str, Any]:
    """What training from each table takes beyond what the process had, in bytes."""
    found = {kind: _apart(_grown_bytes, tables, kind)["bytes"] for kind in _KINDS}
    return {"backbone": _SMALL, "limit_bytes": LIMIT_BYTES, **found}


def _grown_bytes(tables: Tables, kind: str) -> dict[str, int]:
    """Train on labels from one table; the memory that was taken."""
    before = anonymous_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + LIMIT_BYTES, hard))
    memory = PeakMemory()
    with tempfile.TemporaryDirectory() as folder:
        # With a checkpoint, so that the run's digest is computed, too.
        task = _task(tables.pixels(kind), _SMALL, _STEPS, 2)
        train(task, checkpoint=Path(folder) / "checkpoint")
    return {"bytes": memory.stop() - before}


def _task(pixels: Pixels, backbone: str, steps: int, per_domain: int) -> TrainingTask:
    images = len(pixels)
    texts = np.zeros((_CLASSES, 1), np.float32)
    return TrainingTask(
        method=METHODS["erm"],
        data=TrainingData(
            pixels=pixels,
            labels=np.arange(images) % _CLASSES,
            domains=np.arange(images) % _DOMAINS,
            image_embeddings=np.zeros((images, 1, 1), np.float32),
            bought=np.zeros((images, 1), dtype=bool),
            text_embeddings=texts,
        ),
        validation=LabelledImages(
            name="validation", pixels=pixels[:_CLASSES, 0], labels=np.arange(_CLASSES)
        ),
        options=TrainingOptions(
            backbone=backbone,
            weights="none",
            steps=steps,
            eval_every=steps,
            batch_per_domain=per_domain,
            averaging="none",
            device="cpu",
        ),
        seed=0,
        num_classes=_CLASSES,
    )


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return 1024 * int(line.split()[1])
    message = "/proc/self/status has no VmData: memory is measured on Linux only"
    raise RuntimeError(message)


def _apart(function: Any, *arguments: Any) -> dict[str, Any]:
    """The result of a function in a fork, which has imported everything."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as one:
        found: dict[str, Any] = one.submit(function, *arguments).result()
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.scale.archives", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: docs/results")
    parser.add_argument("--folder", type=Path, help="a disk with room for two tables")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of the table")
    parser.add_argument("--steps", type=int, default=20, help="of each kind that are timed")
    parser.add_argument("--store-ms", type=int, default=50, help="before each answer of the store")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="whose steps are timed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
