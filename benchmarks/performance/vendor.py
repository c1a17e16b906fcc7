"""Section "vendor": the embedded model over HTTP, beside the bare model and a null ledger."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.embedding_servers.bare import bare_model
from benchmarks.embedding_servers.servers import photos, vendor
from benchmarks.performance.comparison import Comparison, Subject, compare
from benchmarks.performance.loads import (
    IMAGES_PER_SECOND,
    RepeatedLoad,
    batches,
    one_request,
    singles,
    warm_up,
)

Report = Callable[[Comparison], None]
SECTION = "vendor"
_NULL = "null ledger"


def measure(*, quick: bool, report: Report) -> None:
    """Report the embedded model by torch, the ledger's cost, and the model by ONNX Runtime."""
    _embedded(quick=quick, report=report)
    _ledger(quick=quick, report=report)
    _embedded_by_onnx(quick=quick, report=report)


def _embedded(*, quick: bool, report: Report) -> None:
    files = photos(128, 72)
    size = 1 if quick else 4
    with vendor() as server, bare_model() as bare:
        warm_up(server, files)

        def bare_batches() -> float:
            return bare.images_per_second(files, batch=64, batches=4 * size)

        report(
            compare(
                _subject("embedded, batches of 64", "bare model", 1.0),
                RepeatedLoad(partial(batches, server, files, size)).items_per_second,
                bare_batches,
            )
        )
        report(
            compare(
                _subject("embedded, 64 clients of one image", "bare model", 0.6),
                RepeatedLoad(partial(singles, server, files, size)).items_per_second,
                bare_batches,
            )
        )
        report(one_request(SECTION, "embedded", server, bare, files, goal=1.5, count=40 * size))


def _ledger(*, quick: bool, report: Report) -> None:
    """Two new servers that get the same loads, so that both have served the same."""
    files = photos(128, 72)
    size = 1 if quick else 4
    with vendor() as exact, vendor(has_ledger=False) as null:
        for server in (exact, null):
            warm_up(server, files)
        for load, name, goal in (
            (batches, "batches of 64", 0.97),
            (singles, "64 clients of one image", 0.7),
        ):
            report(
                compare(
                    _subject(f"ledger, {name}", _NULL, goal),
                    RepeatedLoad(partial(load, exact, files, size)).items_per_second,
                    RepeatedLoad(partial(load, null, files, size)).items_per_second,
                )
            )


def _embedded_by_onnx(*, quick: bool, report: Report) -> None:
    """The same by ONNX Runtime; the bare model is torch's, as above."""
    files = photos(128, 72)
    size = 1 if quick else 4
    with vendor(engine="onnx") as server, bare_model() as bare:
        warm_up(server, files)
        for load, name, goal in (
            (batches, "batches of 64", 1.0),
            (singles, "64 clients of one image", 0.6),
        ):
            report(
                compare(
                    _subject(f"embedded by ONNX Runtime, {name}", "bare model", goal),
                    RepeatedLoad(partial(load, server, files, size)).items_per_second,
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
