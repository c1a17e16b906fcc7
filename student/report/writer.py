"""Writes the output folder of a run: student, meta.json, model card, report and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cache.storage.atomic_file import replace_file
from student.console import Terminal
from student.data.image_set import ImageSet
from student.evaluation.results import Experiment, MethodResult, Purchase
from student.models.saved import save_student
from student.options import Options
from student.report.break_even import Economics, weigh
from student.report.gallery import draw_answers
from student.report.markdown import model_card, report, score_rows
from student.training.methods import method_of


def write_artefacts(
    out: Path,
    *,
    options: Options,
    scanned: ImageSet,
    experiments: Sequence[Experiment],
    own: Sequence[Purchase],
    purchase: Purchase,
    spend: str,
    terminal: Terminal,
) -> None:
    """Writes everything under `out` and prints the tables.

    One experiment writes into `out` itself; leave-one-domain-out writes each student into
    `out/<held-out domain>`, and one report over all. `own` is, experiment by experiment, what its
    student was made from; `purchase` what they were made from together.
    """
    economics = weigh(experiments[0].student.trained.student, purchase)
    pictures: list[str] = []
    for one, paid in zip(experiments, own, strict=True):
        folder = out if len(experiments) == 1 else out / "+".join(one.targets)
        folder.mkdir(parents=True, exist_ok=True)
        for result in one.results:
            where = folder if result is one.student else folder / result.method
            meta = _meta(options, scanned, one, result, paid, economics.paying(paid))
            save_student(result.trained.student, where, meta)
        replace_file(folder / "MODEL_CARD.md", model_card(options, one, paid).encode())
        if one.targets:
            picture = folder / "answers.png"
            draw_answers(picture, one, scanned, seed=options.run.seed)
            pictures.append(str(picture.relative_to(out)))
        terminal.heading(f"accuracy, held out: {', '.join(one.targets) or 'nothing'}")
        columns, rows = score_rows(one)
        terminal.table(columns, rows)
    terminal.heading("what the student saves")
    terminal.table(("", ""), economics.rows())
    text = report(options, experiments, purchase, economics, spend, pictures)
    replace_file(out / "report.md", text.encode())
    terminal.heading("spend")
    terminal.markdown(spend)
    terminal.say(f"wrote {out}/student.safetensors, meta.json, MODEL_CARD.md, report.md")


def _scores(one: Experiment) -> dict[str, dict[str, Any]]:
    return {
        result.method: {part: tally.as_dict() for part, tally in result.scores.items()}
        for result in one.results
    }


def _meta(
    options: Options,
    scanned: ImageSet,
    one: Experiment,
    result: MethodResult,
    purchase: Purchase,
    economics: Economics,
) -> dict[str, Any]:
    """All that explains one method's weights; JSON."""
    return {
        "method": result.method,
        "classes": list(scanned.catalogue.classes),
        "sources": list(one.sources),
        "targets": list(one.targets),
        "settings": options.as_json(),
        # What the method itself set in the place of these.
        "recipe": dict(method_of(result.method, options.training).overrides),
        "seed": options.run.seed,
        "chosen": asdict(result.trained.chosen),
        "train_seconds": round(result.trained.seconds, 1),
        "images_trained_on": one.num_train,
        "embeddings_bought": one.num_bought,
        "teacher": {"model": purchase.model, "fingerprint": purchase.fingerprint},
        "queries": purchase.units,
        "cost_micro_usd": purchase.cost_micro_usd,
        "receipts_digest": purchase.receipts_digest,
        "scores": _scores(one)[result.method],
        "compared": _scores(one),
        "economics": economics.as_dict(),
    }
