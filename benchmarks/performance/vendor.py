"""Section "vendor": the vendor over HTTP, beside the bare model, infinity and a null ledger."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.embedding_servers.bare import Bare, bare_model
from benchmarks.embedding_servers.infinity import infinity, install, is_installed
from benchmarks.embedding_servers.load import Measured
from benchmarks.embedding_servers.models import vit_b_32
from benchmarks.embedding_servers.servers import Server, photos, vendor
from benchmarks.performance.comparison import Better, Comparison, Subject, compare

Report = Callable[[Comparison], None]
ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / "build" / "peers" / "infinity"
_IMG_S, _MS = "img/s", "ms"
_NULL = "null ledger"


@dataclass(slots=True)
class _Load:
    """A load that keeps what it measured in each round."""

    run: Callable[[], Measured]
    rounds: list[Measured] = field(default_factory=list)

    def items_per_second(self) -> float:
        self.rounds.append(self.run())
        return self.rounds[-1].items_per_second

    def median_ms(self) -> float:
        self.rounds.append(self.run())
        return self.rounds[-1].percentile(0.5) * 1000


def measure(*, quick: bool, report: Report) -> None:
    """Measure and report each comparison; `quick` measures the embedded model alone.

    ViT-B/32 is measured beside infinity in the full mode, which installs it the first time.
    """
    _embedded(quick=quick, report=report)
    _embedded_by_onnx(quick=quick, report=report)
    if quick:
        return
    report(_start())
    if not is_installed(PEER):
        install(PEER)
    with tempfile.TemporaryDirectory() as folder:
        model = vit_b_32(Path(folder))
        files = photos(64, 256)
        _vit_beside_bare(model, files, report)
        _vit_beside_infinity(model, files, report)


def _embedded(*, quick: bool, report: Report) -> None:
    files = photos(128, 72)
    size = 1 if quick else 4
    with ExitStack() as stack:
        exact = stack.enter_context(vendor())
        null = stack.enter_context(vendor(has_ledger=False))
        bare = stack.enter_context(bare_model())
        # What a process does once, such as tracing the model, is over after these.
        for server in (exact, null):
            server.load(files, clients=8, items=1, requests=64)

        def batches(server: Server) -> Measured:
            return server.load(files, clients=2, items=64, requests=4 * size)

        def singles(server: Server) -> Measured:
            return server.load(files, clients=64, items=1, requests=256 * size)

        def bare_batches() -> float:
            return bare.images_per_second(files, batch=64, batches=4 * size)

        report(
            compare(
                _subject("embedded, batches of 64", _IMG_S, "bare model", "higher", 1.0),
                _Load(lambda: batches(exact)).items_per_second,
                bare_batches,
            )
        )
        report(
            compare(
                _subject("embedded, 64 clients of one image", _IMG_S, "bare model", "higher", 0.6),
                _Load(lambda: singles(exact)).items_per_second,
                bare_batches,
            )
        )
        report(_one_request("embedded", exact, bare, files, goal=1.5, count=40 * size))
        report(
            compare(
                _subject("ledger, batches of 64", _IMG_S, _NULL, "higher", 0.97),
                _Load(lambda: batches(exact)).items_per_second,
                _Load(lambda: batches(null)).items_per_second,
            )
        )
        report(
            compare(
                _subject("ledger, 64 clients of one image", _IMG_S, _NULL, "higher", 0.7),
                _Load(lambda: singles(exact)).items_per_second,
                _Load(lambda: singles(null)).items_per_second,
            )
        )


def _embedded_by_onnx(*, quick: bool, report: Report) -> None:
    """The same by ONNX Runtime; the bare model is torch's, as above."""
    files = photos(128, 72)
    size = 1 if quick else 4
    with vendor(engine="onnx") as server, bare_model() as bare:
        server.load(files, clients=8, items=1, requests=64)
        for load, name, goal in (
            ({"clients": 2, "items": 64, "requests": 4 * size}, "batches of 64", 1.0),
            ({"clients": 64, "items": 1, "requests": 256 * size}, "64 clients of one image", 0.6),
        ):
            report(
                compare(
                    _subject(
                        f"embedded by ONNX Runtime, {name}", _IMG_S, "bare model", "higher", goal
                    ),
                    _Load(partial(server.load, files, **load)).items_per_second,
                    lambda: bare.images_per_second(files, batch=64, batches=4 * size),
                )
            )
        name = "embedded by ONNX Runtime"
        report(_one_request(name, server, bare, files, goal=1.5, count=40 * size))


def _start() -> Comparison:
    """The vendor's start until `/readyz` is 200, beside the two imports that it cannot avoid."""
    importing = [sys.executable, "-c", "import open_clip, torch"]

    def imports() -> float:
        started = time.perf_counter()
        subprocess.run(importing, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started

    def until_ready() -> float:
        with vendor() as server:
            return server.start_seconds

    subject = _subject("start to ready", "s", "import torch and open_clip", "lower", None)
    return compare(subject, until_ready, imports)


def _vit_beside_bare(model: str, files: Sequence[bytes], report: Report) -> None:
    with vendor(model, engine="onnx") as server, bare_model(model) as bare:
        name = "ViT-B/32 by ONNX Runtime"
        report(_one_request(name, server, bare, files, goal=1.15, count=20))
    with vendor(model) as server, bare_model(model) as bare:
        report(
            compare(
                _subject("ViT-B/32, 64 clients of one image", _IMG_S, "bare model", "higher", 0.9),
                _Load(lambda: _singles(server, files)).items_per_second,
                lambda: bare.images_per_second(files, batch=64, batches=2),
            )
        )
        report(_one_request("ViT-B/32", server, bare, files, goal=1.15, count=20))


def _vit_beside_infinity(model: str, files: Sequence[bytes], report: Report) -> None:
    name = "infinity-emb 0.0.78"
    with infinity(PEER) as peer:
        with vendor(model) as server:
            ours = _Load(lambda: _singles(server, files))
            theirs = _Load(lambda: _singles(peer, files))
            subject = _subject("ViT-B/32, 64 clients of one image", _IMG_S, name, "higher", 1.1)
            report(compare(subject, ours.items_per_second, theirs.items_per_second))
            p99 = _subject("ViT-B/32, 64 clients of one image, p99", _MS, name, "lower", 0.9)
            report(_of_latencies(p99, ours, theirs, share=0.99))
            p50 = _subject("ViT-B/32, 64 clients of one image, p50", _MS, name, "lower", None)
            report(_of_latencies(p50, ours, theirs, share=0.5))
            report(
                compare(
                    _subject("ViT-B/32, 4 clients of 16 images", _IMG_S, name, "higher", 1.1),
                    _Load(lambda: _sixteens(server, files)).items_per_second,
                    _Load(lambda: _sixteens(peer, files)).items_per_second,
                )
            )
        with vendor(model, dtype="bf16") as server:
            report(
                compare(
                    _subject(
                        "ViT-B/32 in bf16, 64 clients of one image",
                        _IMG_S,
                        f"{name} in fp32",
                        "higher",
                        2.0,
                    ),
                    _Load(lambda: _singles(server, files)).items_per_second,
                    _Load(lambda: _singles(peer, files)).items_per_second,
                )
            )


def _singles(server: Server, files: Sequence[bytes]) -> Measured:
    return server.load(files, clients=64, items=1, requests=192)


def _sixteens(server: Server, files: Sequence[bytes]) -> Measured:
    return server.load(files, clients=4, items=16, requests=8)


def _one_request(
    model: str, server: Server, bare: Bare, files: Sequence[bytes], *, goal: float, count: int
) -> Comparison:
    """The median latency of one client's request, over decoding and encoding one image."""
    return compare(
        _subject(f"{model}, one request", _MS, "bare model", "lower", goal),
        _Load(lambda: server.load(files, clients=1, items=1, requests=count)).median_ms,
        lambda: bare.seconds(files, batch=1, batches=count) / count * 1000,
    )


def _of_latencies(subject: Subject, ours: _Load, theirs: _Load, *, share: float) -> Comparison:
    """A percentile of the rounds that were measured, without the first."""
    own, peers = (
        tuple(measured.percentile(share) * 1000 for measured in load.rounds[1:])
        for load in (ours, theirs)
    )
    return Comparison(subject=subject, ours=own, peers=peers)


def _subject(name: str, unit: str, peer: str, better: Better, goal: float | None) -> Subject:
    return Subject(section="vendor", name=name, unit=unit, peer=peer, better=better, goal=goal)
