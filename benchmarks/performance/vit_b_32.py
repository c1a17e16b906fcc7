"""Section "vit_b_32": ViT-B/32 over HTTP, beside the bare model and beside infinity.

infinity is installed in an environment of its own the first time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.embedding_servers.bare import bare_model
from benchmarks.embedding_servers.infinity import infinity, install, is_installed
from benchmarks.embedding_servers.load import Measured
from benchmarks.embedding_servers.models import vit_b_32
from benchmarks.embedding_servers.servers import Server, photos, vendor
from benchmarks.performance.comparison import Better, Comparison, Subject, compare
from benchmarks.performance.loads import (
    IMAGES_PER_SECOND,
    MILLISECONDS,
    RepeatedLoad,
    one_request,
)

Report = Callable[[Comparison], None]
SECTION = "vit_b_32"
_RATE, _MS = IMAGES_PER_SECOND, MILLISECONDS
ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / "build" / "peers" / "infinity"


def measure(*, quick: bool, report: Report) -> None:
    """Report each comparison; none in the quick mode, because each of them takes minutes."""
    if quick:
        return
    if not is_installed(PEER):
        install(PEER)
    with tempfile.TemporaryDirectory() as folder:
        model = vit_b_32(Path(folder))
        files = photos(64, 256)
        _beside_infinity(model, files, report)
        _beside_bare(model, files, report)


def _beside_bare(model: str, files: Sequence[bytes], report: Report) -> None:
    with vendor(model, engine="onnx") as server, bare_model(model) as bare:
        name = "ONNX Runtime"
        report(one_request(SECTION, name, server, bare, files, goal=1.15, count=20))
    with vendor(model) as server, bare_model(model) as bare:
        report(
            compare(
                _subject("64 clients, beside the bare model", _RATE, "bare model", "higher", 0.9),
                RepeatedLoad(lambda: _singles(server, files)).items_per_second,
                lambda: bare.images_per_second(files, batch=64, batches=2),
            )
        )
        report(one_request(SECTION, "PyTorch", server, bare, files, goal=1.15, count=20))


def _beside_infinity(model: str, files: Sequence[bytes], report: Report) -> None:
    name = "infinity-emb 0.0.78"
    with infinity(PEER) as peer:
        with vendor(model) as server:
            ours = RepeatedLoad(lambda: _singles(server, files))
            theirs = RepeatedLoad(lambda: _singles(peer, files))
            subject = _subject("64 clients of one image", _RATE, name, "higher", 1.1)
            report(compare(subject, ours.items_per_second, theirs.items_per_second))
            p99 = _subject("64 clients of one image, p99", _MS, name, "lower", 0.9)
            report(_of_latencies(p99, ours, theirs, share=0.99))
            p50 = _subject("64 clients of one image, p50", _MS, name, "lower", None)
            report(_of_latencies(p50, ours, theirs, share=0.5))
            report(
                compare(
                    _subject("4 clients of 16 images", _RATE, name, "higher", 1.1),
                    RepeatedLoad(lambda: _sixteens(server, files)).items_per_second,
                    RepeatedLoad(lambda: _sixteens(peer, files)).items_per_second,
                )
            )
        with vendor(model, dtype="bf16") as server:
            report(
                compare(
                    _subject(
                        "bf16, 64 clients of one image",
                        _RATE,
                        f"{name} in fp32",
                        "higher",
                        2.0,
                    ),
                    RepeatedLoad(lambda: _singles(server, files)).items_per_second,
                    RepeatedLoad(lambda: _singles(peer, files)).items_per_second,
                )
            )


def _singles(server: Server, files: Sequence[bytes]) -> Measured:
    return server.load(files, clients=64, items=1, requests=192)


def _sixteens(server: Server, files: Sequence[bytes]) -> Measured:
    return server.load(files, clients=4, items=16, requests=8)


def _of_latencies(
    subject: Subject, ours: RepeatedLoad, theirs: RepeatedLoad, *, share: float
) -> Comparison:
    """A percentile of the rounds that were measured, without the first."""
    own, peers = (
        tuple(measured.percentile(share) * 1000 for measured in load.rounds[1:])
        for load in (ours, theirs)
    )
    return Comparison(subject=subject, ours=own, peers=peers)


def _subject(name: str, unit: str, peer: str, better: Better, goal: float | None) -> Subject:
    return Subject(section=SECTION, name=name, unit=unit, peer=peer, better=better, goal=goal)
