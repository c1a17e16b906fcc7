"""Writes the output folder of a run: student, meta.json, model card, report and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cache.storage.atomic_file import replace_file
from student.console import Terminal
from student.data.image_set import ImageSet
from student.evaluation.file_names import student_folder
from student.evaluation.method_choice import chosen_options
from student.evaluation.results import Experiment, MethodResult, Purchase
from student.models.saved import save_student
from student.options import Options
from student.report.break_even import Economics, measure_economics
from student.report.calibration import (
    CAVEAT,
    calibration_notes,
    calibration_rows,
    draw_reliability,
)
from student.report.html.page import html_report
from student.report.markdown import report, score_rows
from student.report.model_card import model_card
from student.report.pictures.gallery import draw_answers
from student.report.retrieval import COLUMNS, EXPLANATION, retrieval_rows
from student.report.unknown_classes import EXPLANATION as UNKNOWN
from student.report.unknown_classes import unknown_rows
from student.training.methods import method_of


def write_artefacts(
    options: Options,
    scanned: ImageSet,
    trained: Sequence[tuple[Experiment, Purchase]],
    purchase: Purchase,
    spend: str,
    terminal: Terminal,
    not_tracked: Sequence[str] = (),
) -> None:
    """Writes everything under the folder `out` of the options and prints the tables.

    A single experiment is written to `out` itself. Leave-one-domain-out writes each student to
    `out/<held-out domain>`, and one report for all. `trained` has each experiment with the purchase
    behind its student; `purchase` is their total. `spend` is Markdown; `not_tracked` are sentences
    about trackers that failed.
    """
    out, experiments = options.run.out, [experiment for experiment, _ in trained]
    economics = measure_economics(experiments[0].student.trained.student, purchase)
    pictures: dict[str, str] = {}
    diagrams: list[Path] = []
    for experiment, paid in trained:
        folder = student_folder(out, experiment.targets, of=len(experiments))
        folder.mkdir(parents=True, exist_ok=True)
        for result in experiment.results:
            is_student = result is experiment.student
            own_folder = folder if is_student else folder / result.method
            own = chosen_options(options, experiment.selection)
            meta = _meta(own, scanned, experiment, result, paid, economics.paying(paid))
            save_student(result.trained.student, own_folder, meta)
            if is_student:
                replace_file(folder / "MODEL_CARD.md", model_card(meta).encode())
        if experiment.targets:
            picture = folder / "answers.png"
            note = draw_answers(picture, experiment, scanned, seed=options.run.seed)
            if note is not None:
                pictures[picture.relative_to(out).as_posix()] = note
        replace_file(folder / "curves.jsonl", _curves(experiment, paid).encode())
        if experiment.is_labelled:
            diagram = folder / "calibration.png"
            draw_reliability(diagram, experiment)
            diagrams.append(diagram)
            pictures[diagram.relative_to(out).as_posix()] = ""
        _show(experiment, terminal)
    terminal.heading("what the student saves")
    terminal.table(("", ""), economics.rows())
    for note in dict.fromkeys(filter(None, pictures.values())):
        terminal.warn(f"answers.png: {note}")
    text = report(options, experiments, purchase, economics, spend, pictures, not_tracked)
    replace_file(out / "report.md", text.encode())
    page = html_report(options, scanned, experiments, purchase, economics, diagrams, not_tracked)
    replace_file(out / "report.html", page.encode())
    terminal.heading("spend")
    terminal.markdown(spend)
    folders = [student_folder(out, one.targets, of=len(experiments)) for one in experiments]
    terminal.say(
        f"wrote {out}/report.md and report.html; student.safetensors, meta.json and MODEL_CARD.md "
        f"of each student are in {', '.join(map(str, folders))}"
    )


def _curves(experiment: Experiment, paid: Purchase) -> str:
    """The validation history of every method, beside what was paid, a JSON object a line."""
    spent = {"queries": paid.units, "cost_micro_usd": paid.cost_micro_usd}
    rows = (
        {"method": result.method, **row, **spent}
        for result in experiment.results
        for row in result.trained.history
    )
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _show(experiment: Experiment, terminal: Terminal) -> None:
    held_out = ", ".join(experiment.targets) or "nothing"
    if not experiment.is_labelled:
        terminal.heading(f"retrieval, held out: {held_out}")
        terminal.table(COLUMNS, retrieval_rows(experiment))
        terminal.say(EXPLANATION)
        return
    terminal.heading(f"accuracy, held out: {held_out}")
    terminal.table(*score_rows(experiment))
    terminal.heading("calibration error before / after temperature scaling")
    terminal.table(*calibration_rows(experiment))
    for note in calibration_notes(experiment):
        terminal.warn(note)
    terminal.say(CAVEAT)
    columns, rows = unknown_rows(experiment)
    if rows:
        terminal.heading("classes that were held out")
        terminal.table(columns, rows)
        terminal.say(UNKNOWN)


def _scores(experiment: Experiment) -> dict[str, dict[str, Any]]:
    return {
        result.method: {part: count.as_dict() for part, count in result.scores.items()}
        for result in experiment.results
    }


def _meta(
    options: Options,
    scanned: ImageSet,
    experiment: Experiment,
    result: MethodResult,
    purchase: Purchase,
    economics: Economics,
) -> dict[str, Any]:
    """Returns the content of meta.json: how one method's weights were made, and their scores."""
    return {
        "method": result.method,
        "classes": list(scanned.catalogue.classes),
        "sources": list(experiment.sources),
        "targets": list(experiment.targets),
        "settings": options.as_json(),
        # The settings that the method overrides.
        "recipe": dict(method_of(result.method, options.training).overrides),
        "seed": options.run.seed,
        "threads": result.trained.threads,
        "processes": result.trained.processes,
        "chosen": asdict(result.trained.chosen),
        "train_seconds": round(result.trained.seconds, 1),
        "images_trained_on": experiment.num_train,
        "embeddings_bought": experiment.num_bought,
        **({"embeddings_not_learnt_from": experiment.num_wrong} if experiment.num_wrong else {}),
        "teacher": {
            "model": purchase.model,
            "fingerprint": purchase.fingerprint,
            **({"zero_shot": experiment.teacher.as_dict()} if experiment.teacher else {}),
        },
        "queries": purchase.units,
        "cost_micro_usd": purchase.cost_micro_usd,
        "receipts_digest": purchase.receipts_digest,
        "data_sha256": scanned.catalogue.digest,
        "calibration": result.calibration.as_dict(),
        **({"selection": experiment.selection.as_dict()} if experiment.selection else {}),
        "scores": _scores(experiment)[result.method],
        "compared": _scores(experiment),
        **_more(scanned, result, purchase),
        "economics": economics.as_dict(),
    }


def _more(scanned: ImageSet, result: MethodResult, purchase: Purchase) -> dict[str, Any]:
    """Returns what a student has that has no classes, or of which classes were held out."""
    found: dict[str, Any] = {}
    if result.retrieval:
        found["retrieval"] = {part: one.as_dict() for part, one in result.retrieval.items()}
    if scanned.catalogue.held_out:
        found["held_out_classes"] = list(scanned.catalogue.held_out)
        found["unknown_classes"] = {part: one.as_dict() for part, one in result.unknown.items()}
    if purchase.measuring_units:
        found["queries_for_measuring"] = purchase.measuring_units
    return found
