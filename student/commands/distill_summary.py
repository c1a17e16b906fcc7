"""What `--json` prints of a run: the data, the plan, what was bought, and the students."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from student.data.image_set import ImageSet
from student.evaluation.results import Experiment, Purchase
from student.purchase.plan import Plan
from student.purchase.progress import PurchaseSummary
from student.wires.client import NO_LIMIT


def data_figures(scanned: ImageSet) -> dict[str, Any]:
    """The images that are read, and how many files are left out for which reason."""
    catalogue = scanned.catalogue
    return {
        "images": len(catalogue.items),
        "domains": list(catalogue.domains),
        "classes": list(catalogue.classes),
        "left_out": dict(Counter(one.reason for one in catalogue.left_out)),
        "sha256": catalogue.digest,
    }


def plan_figures(plan: Plan) -> dict[str, Any]:
    """The plan in numbers: counts of embeddings, queries, and micro-USD."""
    texts = sum(request.key.modality == "text" for request in plan.to_buy)
    return {
        "model": plan.model.id,
        "fingerprint": plan.model.fingerprint,
        "price_list": plan.prices.description,
        "images_asked": plan.images_asked,
        "texts_asked": plan.texts_asked,
        "distinct": len(plan.ordered),
        "already_paid": plan.already_paid,
        "refused_before": plan.refused_before,
        "unfit": len(plan.unfit),
        "in_open_purchases": len(plan.in_open_purchases),
        "texts_to_buy": texts,
        "images_to_buy": len(plan.to_buy) - texts,
        "queries": plan.units + plan.canary_units,
        "cost_micro_usd": plan.cost_micro_usd,
        "budget": plan.budget if plan.budget < NO_LIMIT else None,
        "queries_left_before": plan.remaining + plan.canary_units,
        "queries_left_after": plan.remaining - plan.units,
        "left_out_by_the_budget": len(plan.left_out),
    }


def purchase_figures(summary: PurchaseSummary) -> dict[str, Any]:
    """What this run bought: counts of embeddings, queries, and micro-USD."""
    return {
        "stop_reason": summary.stop_reason,
        "bought": summary.bought,
        "recovered": summary.recovered,
        "restored": summary.restored,
        "refused": len(summary.refused),
        "left_out": summary.left_out,
        "written_off": summary.written_off,
        "in_doubt": summary.in_doubt,
        "open_purchases": summary.open_purchases,
        "queries": summary.units,
        "cost_micro_usd": summary.cost_micro_usd,
    }


def student_figures(
    trained: Sequence[tuple[Experiment, Purchase]], folders: Sequence[Path]
) -> list[dict[str, Any]]:
    """Each student: its folder, what its embeddings cost, and its scores on each part."""
    return [
        {
            "folder": str(folder),
            "held_out": list(experiment.targets),
            "method": experiment.student.method,
            "queries": paid.units,
            "cost_micro_usd": paid.cost_micro_usd,
            "scores": {part: one.as_dict() for part, one in experiment.student.scores.items()},
            "retrieval": {
                part: one.as_dict() for part, one in experiment.student.retrieval.items()
            },
        }
        for (experiment, paid), folder in zip(trained, folders, strict=True)
    ]
