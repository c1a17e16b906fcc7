"""Section "vit_b_32": ViT-B/32 over HTTP, beside the bare model and beside infinity.

infinity is installed in an environment of its own the first time. Where the processor does not
compute in bf16, that comparison is left out, as the vendor refuses it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.embedding_servers.bare import bare_model
from benchmarks.embedding_servers.infinity import infinity, install, is_installed
from benchmarks.embedding_servers.models import vit_b_32
from benchmarks.embedding_servers.servers import Server, photos, vendor
from benchmarks.performance.comparison import Better, Comparison, Subject, compare
from benchmarks.performance.loads import (
    IMAGES_PER_SECOND,
    MILLISECONDS,
    RepeatedLoad,
    one_request,
)
from teacher_server.inference.processor import computes_in_bf16

Report = Callable[[Comparison], None]
SECTION = "vit_b_32"
_RATE, _MS = IMAGES_PER_SECOND, MILLISECONDS
ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / "build" / "peers" / "infinity"


@dataclass(frozen=True, slots=True)
class _Size:
    """How much is measured: rounds, those before them, and the requests of one load."""

    rounds: int
    warm_up: int
    singles: int
    sixteens: int
    one_by_one: int

    def compare(
        self, subject: Subject, ours: Callable[[], float], peer: Callable[[], float]
    ) -> Comparison:
        return compare(subject, ours, peer, rounds=self.rounds, warm_up=self.warm_up)

    def singles_of(self, server: Server, files: Sequence[bytes]) -> RepeatedLoad:
        """64 clients of one image."""
        return RepeatedLoad(lambda: server.load(files, clients=64, items=1, requests=self.singles))

    def sixteens_of(self, server: Server, files: Sequence[bytes]) -> RepeatedLoad:
        """4 clients of 16 images."""
        return RepeatedLoad(lambda: server.load(files, clients=4, items=16, requests=self.sixteens))


_FULL = _Size(rounds=5, warm_up=1, singles=192, sixteens=8, one_by_one=20)
_QUICK = _Size(rounds=1, warm_up=0, singles=8, sixteens=1, one_by_one=3)


def measure(*, quick: bool, report: Report) -> None:
    """Report each comparison. The quick mode shows that they run; its figures say little."""
    size = _QUICK if quick else _FULL
    if not is_installed(PEER):
        install(PEER)
    with tempfile.TemporaryDirectory() as folder:
        model = vit_b_32(Path(folder))
        files = photos(64, 256)
        _beside_infinity(model, files, size, report)
        _beside_bare(model, files, size, report)


def _beside_bare(model: str, files: Sequence[bytes], size: _Size, report: Report) -> None:
    with bare_model(model) as bare:
        for engine, name in (("onnx", "ONNX Runtime"), ("torch", "PyTorch")):
            with vendor(model, engine=engine) as server:
                if engine == "torch":
                    subject = _subject(
                        "64 clients, beside the bare model", _RATE, "bare model", "higher", 0.9
                    )
                    ours = size.singles_of(server, files).items_per_second
                    batch = min(64, size.singles)
                    rate = partial(bare.images_per_second, files, batch=batch, batches=2)
                    report(size.compare(subject, ours, rate))
                report(
                    one_request(
                        SECTION,
                        name,
                        server,
                        bare,
                        files,
                        goal=1.15,
                        count=size.one_by_one,
                        rounds=size.rounds,
                    )
                )


def _beside_infinity(model: str, files: Sequence[bytes], size: _Size, report: Report) -> None:
    name = "infinity-emb 0.0.78"
    with infinity(PEER) as peer:
        with vendor(model) as server:
            ours, theirs = size.singles_of(server, files), size.singles_of(peer, files)
            subject = _subject("64 clients of one image", _RATE, name, "higher", 1.1)
            report(size.compare(subject, ours.items_per_second, theirs.items_per_second))
            p99 = _subject("64 clients of one image, p99", _MS, name, "lower", 0.9)
            report(_of_latencies(p99, ours, theirs, share=0.99, warm_up=size.warm_up))
            p50 = _subject("64 clients of one image, p50", _MS, name, "lower", None)
            report(_of_latencies(p50, ours, theirs, share=0.5, warm_up=size.warm_up))
            subject = _subject("4 clients of 16 images", _RATE, name, "higher", 1.1)
            ours, theirs = size.sixteens_of(server, files), size.sixteens_of(peer, files)
            report(size.compare(subject, ours.items_per_second, theirs.items_per_second))
        if not computes_in_bf16():
            sys.stdout.write("left out: bf16, which this processor does not compute in\n")
            return
        with vendor(model, dtype="bf16") as server:
            subject = _subject(
                "bf16, 64 clients of one image", _RATE, f"{name} in fp32", "higher", 2.0
            )
            ours, theirs = size.singles_of(server, files), size.singles_of(peer, files)
            report(size.compare(subject, ours.items_per_second, theirs.items_per_second))


def _of_latencies(
    subject: Subject, ours: RepeatedLoad, theirs: RepeatedLoad, *, share: float, warm_up: int
) -> Comparison:
    """A percentile of the rounds that were measured, without the first `warm_up`."""
    own, peers = (
        tuple(measured.percentile(share) * 1000 for measured in load.rounds[warm_up:])
        for load in (ours, theirs)
    )
    return Comparison(subject=subject, ours=own, peers=peers)


def _subject(name: str, unit: str, peer: str, better: Better, goal: float | None) -> Subject:
    return Subject(section=SECTION, name=name, unit=unit, peer=peer, better=better, goal=goal)
