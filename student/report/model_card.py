"""The model card of a student, in Markdown with the front matter that Hugging Face reads.

It is made from meta.json alone, so that a student can be exported with a card at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cache.records.money import dollars
from student.options.renamed_options import renamed_method
from student.report.calibration import CAVEAT
from student.report.calibration import EXPLANATION as CALIBRATION
from student.report.markdown import plain, plain_table
from student.report.retrieval import EXPLANATION as RETRIEVAL
from student.training.methods import METHODS

TERMS = (
    "Its targets are a vendor's answers. The terms of use of many vendors forbid training a model "
    "on their answers, or publishing one. Read the terms under which the answers were bought "
    "before you use, share or sell this student; its licence here is `other` for that reason."
)
TAG = "- rented-teacher"
"""The line of the front matter by which a card of this project is known."""
_UNKNOWN = "not recorded"


def model_card(meta: Mapping[str, Any], *, library: str = "timm", usage: str | None = None) -> str:
    """Return the card of the student that this meta.json describes.

    `library` is what loads the files beside the card, and `usage` says how; without it, how the
    output folder of a run is used.
    """
    settings = meta.get("settings", {})
    backbone, is_distilled = settings.get("backbone", "student"), _is_distilled(meta)
    made = f"distilled from {_teacher(meta)['model']}" if is_distilled else "trained on labels"
    name = f"{backbone} {made}"
    lines = [*_front_matter(meta, name, library), "", f"# {plain(name)}", ""]
    lines += [_summary(meta), "", *_results(meta), *_costs(meta), ""]
    lines += ["## Limits", "", _limits(meta), ""]
    if is_distilled:
        lines += ["## Terms of the vendor", "", TERMS, ""]
    use = usage or "Use it with `distill-client predict --student FOLDER IMAGE…`, or `embed`"
    return "\n".join([*lines, "## Use", "", f"{use}; no vendor is needed.", ""])


def _is_distilled(meta: Mapping[str, Any]) -> bool:
    """Whether the method learns from a teacher's embeddings, of images or of class texts."""
    method = METHODS.get(renamed_method(meta.get("method", "")))
    return method is None or method.asks_teacher


def _teacher(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    return meta.get("teacher") or {"model": _UNKNOWN, "fingerprint": _UNKNOWN}


def _front_matter(meta: Mapping[str, Any], name: str, library: str) -> list[str]:
    """YAML; every text is in double quotes, with the escapes of JSON, which YAML shares."""
    task = "image-classification" if meta.get("classes") else "image-feature-extraction"
    lines = ["---", f"library_name: {library}", f"pipeline_tag: {task}"]
    if _is_distilled(meta):
        lines += ["license: other", "license_name: see-the-terms-of-the-vendor", "tags:"]
        lines += ["- knowledge-distillation", "- clip", TAG]
    else:
        lines += ["license: unknown", "tags:", TAG]
    metrics = list(_metrics(meta))
    if metrics:
        lines += ["model-index:", f"- name: {_quoted(name)}", "  results:"]
    for part, kind, title, value in metrics:
        lines += [
            "  - task:",
            f"      type: {task}",
            "    dataset:",
            "      type: image-folder",
            f"      name: {_quoted(part)}",
            "    metrics:",
            f"    - type: {kind}",
            f"      name: {_quoted(title)}",
            f"      value: {value}",
        ]
    return [*lines, "---"]


def _metrics(meta: Mapping[str, Any]) -> list[tuple[str, str, str, float]]:
    """The part, the kind, a title with the interval, and the value of each figure."""
    found = [
        (part, "accuracy", f"accuracy, {_interval(score)}", score["accuracy"])
        for part, score in meta.get("scores", {}).items()
    ]
    for part, result in meta.get("retrieval", {}).items():
        found += [
            (part, "recall", f"text to image {name}, {_interval(one)}", one["value"])
            for name, one in result.get("student", {}).items()
        ]
        found.append(
            (part, "cosine", f"cosine, {_interval(result['cosine'])}", result["cosine"]["value"])
        )
    return found


_BY_ANSWERS = {"guesses", "distilled_correct"}
"""What a selection has that depends on the teacher's answers."""


def _summary(meta: Mapping[str, Any]) -> str:
    settings = meta.get("settings", {})
    selection = meta.get("selection", {})
    by_answers = " and by the teacher's answers" if selection.keys() & _BY_ANSWERS else ""
    is_chosen = selection.get("chosen") == meta.get("method", _UNKNOWN)
    chosen = f", chosen on the labelled domains{by_answers}" if is_chosen else ""
    share = settings.get("wise_ft", 1.0)
    averaged = f" (WiSE-FT, {share:g} of the way)" if share < 1.0 else ""
    return (
        f"Method `{meta.get('method', _UNKNOWN)}`{chosen}{averaged}, "
        f"{meta.get('images_trained_on', 0):,} images of "
        f"{plain(', '.join(meta.get('sources', ())))}, "
        f"{meta.get('embeddings_bought', 0):,} of their views with a bought embedding, which equal "
        f"images share ({settings.get('views', 1)} stored views an image), seed "
        f"{meta.get('seed', _UNKNOWN)}."
    )


def _results(meta: Mapping[str, Any]) -> list[str]:
    if "retrieval" in meta:
        rows = [[part, title, f"{100 * value:.1f}"] for part, _, title, value in _metrics(meta)]
        return ["## Results", "", *plain_table(["part", "measure", "%"], rows), "", RETRIEVAL, ""]
    compared: Mapping[str, Any] = meta.get("compared") or {
        str(meta.get("method")): meta.get("scores", {})
    }
    calibration = meta.get("calibration") or {}
    errors = calibration.get("errors", {})
    rows = [
        [
            part,
            *(_accuracy(scores[part]) for scores in compared.values()),
            f"{score['images']:,}",
            _error(errors.get(part)),
        ]
        for part, score in meta.get("scores", {}).items()
    ]
    columns = ["accuracy, %", *compared, "images", "calibration error, %"]
    temperature = calibration.get("temperature")
    return [
        "## Results",
        "",
        *plain_table(columns, rows),
        "",
        "Percent, ± half the Wilson 95% interval over the images. The calibration error is before "
        f"/ after temperature scaling, at the temperature {temperature or 'none'}.",
        "",
        CALIBRATION,
        "",
        CAVEAT,
        "",
    ]


def _costs(meta: Mapping[str, Any]) -> list[str]:
    teacher = _teacher(meta)
    lines = [
        f"- teacher `{teacher['model']}`, fingerprint `{teacher['fingerprint']}`",
        f"- {meta.get('queries', 0):,} queries, {dollars(meta.get('cost_micro_usd', 0))}, receipts "
        f"digest `{meta.get('receipts_digest', _UNKNOWN)}`",
    ]
    if measuring := meta.get("queries_for_measuring"):
        lines.append(f"- {measuring:,} further queries only measured it")
    lines += [
        f"- data digest `{meta.get('data_sha256', _UNKNOWN)}` (SHA-256 over the domain, class and "
        "content of every image)",
        "- every option and score: `meta.json` of the run",
    ]
    return ["## Provenance", "", *lines]


def _limits(meta: Mapping[str, Any]) -> str:
    unknown = "Results on a domain that is not in the table are unknown."
    if not meta.get("classes"):
        return f"It was trained on images without labels and has no classes. {unknown}"
    return (
        "It predicts only the classes that it was trained on, and predicts one of them for any "
        f"image, whatever it shows. {unknown}"
    )


def _interval(figure: Mapping[str, Any]) -> str:
    low, high = figure["interval95"]
    return f"95% interval {low:g} to {high:g}"


def _accuracy(score: Mapping[str, Any]) -> str:
    low, high = score["interval95"]
    return f"{100 * score['accuracy']:.1f} ± {50 * (high - low):.1f}"


def _error(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{_percent(found['before'])} / {_percent(found['after'])}"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f}"


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    # YAML takes no other character that cannot be printed, and has an escape for each.
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped)
