"""Section "vendor": the embedded model over HTTP, beside the bare model and a null ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.embedding_servers.bare import bare_model
from benchmarks.embedding_servers.load import Measured
from benchmarks.embedding_servers.servers import Server, photos, vendor
from benchmarks.performance.comparison import Comparison, Subject, compare
from benchmarks.performance.loads import IMAGES_PER_SECOND, RepeatedLoad, one_request

Report = Callable[[Comparison], None]
SECTION = "vendor"
_NULL = "null ledger"


def measure(*, quick: bool, report: Report) -> None:
    """Report the embedded model by torch, with the ledger's cost, and by ONNX Runtime."""
    _embedded(quick=quick, report=report)
    _embedded_by_onnx(quick=quick, report=report)


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
                _subject("embedded, batches of 64", "bare model", 1.0),
                RepeatedLoad(lambda: batches(exact)).items_per_second,
                bare_batches,
            )
        )
        report(
            compare(
                _subject("embedded, 64 clients of one image", "bare model", 0.6),
                RepeatedLoad(lambda: singles(exact)).items_per_second,
                bare_batches,
            )
        )
        report(one_request(SECTION, "embedded", exact, bare, files, goal=1.5, count=40 * size))
        report(
            compare(
                _subject("ledger, batches of 64", _NULL, 0.97),
                RepeatedLoad(lambda: batches(exact)).items_per_second,
                RepeatedLoad(lambda: batches(null)).items_per_second,
            )
        )
        report(
            compare(
                _subject("ledger, 64 clients of one image", _NULL, 0.7),
                RepeatedLoad(lambda: singles(exact)).items_per_second,
                RepeatedLoad(lambda: singles(null)).items_per_second,
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
                    _subject(f"embedded by ONNX Runtime, {name}", "bare model", goal),
                    RepeatedLoad(partial(server.load, files, **load)).items_per_second,
                    lambda: bare.images_per_second(files, batch=64, batches=4 * size),
                )
            )
        name = "embedded by ONNX Runtime"
        report(one_request(SECTION, name, server, bare, files, goal=1.5, count=40 * size))


def _subject(name: str, peer: str, goal: float) -> Subject:
    return Subject(
        section=SECTION,
        name=name,
        unit=IMAGES_PER_SECOND,
        peer=peer,
        better="higher",
        goal=goal,
    )
