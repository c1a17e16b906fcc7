"""`distill-client` without a subcommand: scan, plan, buy, train, report.

The network is not used after the purchase.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.reports.markdown import markdown_report
from student.commands.distill_purchase import RunPurchase, ask, stored_purchase
from student.commands.distill_summary import (
    data_figures,
    plan_figures,
    purchase_figures,
    student_figures,
)
from student.console import Terminal, terminal
from student.data.folder.image_folder import require_data
from student.data.image_set import ImageSet, load_image_set
from student.data.split import Split
from student.distributed.join import Crew
from student.embeddings.keys import held_out_keys, measuring_keys, split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.errors import BadInput
from student.evaluation.duration import say_time_of_trial
from student.evaluation.experiment import Point
from student.evaluation.file_names import require_no_other_student, student_folder
from student.evaluation.flat_metrics import flat_metrics
from student.evaluation.method_choice import (
    bought_with,
    choose_methods,
    what_auto_buys,
    without_guesses,
)
from student.evaluation.parallel import run_experiment
from student.evaluation.results import Experiment, Purchase
from student.evaluation.shared_training import require_rows_for_all, require_shared_folders
from student.options import Options, TrainingOptions
from student.options.folders import require_folders, require_room
from student.options.output import Output
from student.options.purchase import api_key
from student.options.sharded import shardable
from student.options.unlabelled import without_classes
from student.purchase.cost import PurchaseCost, purchase_cost
from student.purchase.plan import Plan
from student.report.writer import write_artefacts
from student.selection.selection import Selection
from student.tracking.opened import opened, require_trackers
from student.tracking.tracking import Tracking
from student.training.methods import METHODS, Method
from student.training.preflight import check_students

# Of the weights of each student: the student itself, its checkpoint and the best weights in that.
_COPIES = 3


def main(
    options: Options, output: Output, arguments: Sequence[str], crew: Crew | None = None
) -> int:
    """Runs the command with these options, which were read from `arguments`."""
    command = shlex.join(["distill-client", *arguments])  # the API key is never an argument
    summary = run_distill(options, terminal(output), command=command, crew=crew)
    if output.json:
        print(json.dumps(summary))
    return 0


def run_distill(
    options: Options, terminal: Terminal, *, command: str, crew: Crew | None = None
) -> dict[str, Any]:
    """Buys what the run needs, trains the students and writes the output folder; returns its
    figures, ready for JSON.

    After Ctrl-C or a kill, the same command resumes from the cache and the checkpoints, and pays
    for nothing twice. A `crew` trains each student together. Raises StudentError and CacheError.
    """
    options, crew = shardable(without_classes(options)), crew or Crew()
    key, weight_bytes = _check(options)
    require_shared_folders(options, crew)
    ask(options, _students(options), key, terminal)
    scanned = load_image_set(options.data, options.run, terminal)
    require_rows_for_all(options, scanned.splits, crew.ranks.count)
    require_no_other_student(options.run.out, of=len(scanned.splits))
    require_room(options.run.out, _COPIES * weight_bytes * len(scanned.splits), "--out")
    with (
        PaidCache.open(options.purchase.cache) as cache,
        _opened(options, scanned.splits, terminal) as tracked,
    ):
        may_train = not options.run.dry_run and options.purchase.part is None
        purchase = RunPurchase(
            options=options,
            scanned=scanned,
            cache=cache,
            key=key,
            terminal=terminal,
            command=command,
        )
        selections: Mapping[tuple[str, ...], Selection] = {}
        if may_train and options.training.is_auto:
            purchase.check()
            selections = choose_methods(options, scanned, terminal)
        asked, wanted = bought_with(options, scanned, selections)
        result = replace(
            purchase,
            options=asked,
            scanned=wanted,
            stops_at_guesses=bool(selections) and not options.training.compare,
        ).buy()
        figures = {"data": data_figures(scanned)}
        if isinstance(result, Plan):  # a dry run
            if options.training.is_auto:
                terminal.say(what_auto_buys(options.training))
            say_time_of_trial(options, scanned, terminal)
            return {**figures, "plan": plan_figures(result), "purchase": None, "students": []}
        if options.purchase.part is not None:
            terminal.say(
                f"shard {options.purchase.part} ends here. When all have ended, join their caches "
                "with `cache-report merge`, and run with the whole cache and without --shard"
            )
            return {
                **figures,
                "plan": plan_figures(result.plan),
                "purchase": purchase_figures(result.summary),
                "students": [],
            }
        if result.guesses is not None:
            selections = without_guesses(selections, result.guesses, terminal)
        terminal.heading("distillation")
        whole, paid = stored_purchase(options, result, cache)
        cost_of = partial(purchase_cost, cache, prices=result.plan.prices)
        trained: list[tuple[Experiment, Purchase]] = []
        for split in scanned.splits:
            if split.targets:
                terminal.say(f"held out: {', '.join(split.targets)}")
            selection = selections.get(split.targets)
            is_solved = selection is not None and selection.is_solved
            own = _share(split, scanned, paid, options, cost_of, whole, with_images=not is_solved)
            tracking = tracked[split.targets]
            tracking.paid(queries=own.units, cost_micro_usd=own.cost_micro_usd)
            follow = partial(_follow, tracking)
            experiment = run_experiment(
                split, scanned, paid, options, terminal, follow, selection, crew
            )
            tracking.result(flat_metrics(experiment))
            tracking.close()
            trained.append((experiment, own))
        lost = list(chain.from_iterable(one.losses() for one in tracked.values()))
        spend = markdown_report(cache)
        write_artefacts(options, scanned, trained, whole, spend, terminal, lost)
        folders = _folders(options, scanned.splits)
        return {
            **figures,
            "plan": plan_figures(result.plan),
            "purchase": purchase_figures(result.summary),
            "students": student_figures(trained, list(folders.values())),
        }


@contextmanager
def _opened(
    options: Options, splits: Sequence[Split], terminal: Terminal
) -> Iterator[dict[tuple[str, ...], Tracking]]:
    """The trackers of each split's student; none where nothing is trained: a dry run, a shard."""
    if options.run.dry_run or options.purchase.part is not None:
        yield {}
        return
    with opened(options, _folders(options, splits), terminal) as tracked:
        yield tracked


def _folders(options: Options, splits: Sequence[Split]) -> dict[tuple[str, ...], Path]:
    """Where the student of each split goes."""
    return {
        split.targets: student_folder(options.run.out, split.targets, of=len(splits))
        for split in splits
    }


def _share(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    cost_of: Callable[[Collection[EmbeddingKey]], PurchaseCost],
    whole: Purchase,
    *,
    with_images: bool,
) -> Purchase:
    """Returns the share of the purchase that the student of this split is made from.

    Without images where none was bought for it: those of other splits are some of its own.
    """
    keys = split_keys(
        split, scanned.catalogue, options.data, options.purchase.prompts, whole.fingerprint
    )
    own = _paid_by(cost_of(paid.rows.keys() & keys.keys(split.train if with_images else ())), whole)
    measured = [
        *_measured(split, scanned, paid),
        *held_out_keys(keys, scanned.catalogue).text_keys(),
    ]
    return replace(own, measuring_units=cost_of(measured).units) if measured else own


def _follow(tracking: Tracking, method: str, point: Point) -> None:
    tracking.point(method, point.step, {"validation_accuracy": point.accuracy, "loss": point.loss})


def _measured(split: Split, scanned: ImageSet, paid: TeacherEmbeddings) -> list[EmbeddingKey]:
    """What was bought to measure a student without labels; [] with labels."""
    if scanned.catalogue.is_labelled:
        return []
    items = chain(split.validation, *split.tests.values())
    return [key for key in measuring_keys(paid.fingerprint, items) if key in paid.rows]


def _check(options: Options) -> tuple[SecretStr, int]:
    """Checks the options before anything is read, sent or paid.

    Returns the API key and the size of the students in bytes. Raises BadInput if there is no
    budget, a folder cannot be used or the options cannot be trained.
    """
    if not options.purchase.has_budget and not options.run.dry_run:
        message = "no budget: set the maximum number of queries with --budget (try --dry-run first)"
        raise BadInput(message)
    key = api_key(options.purchase)
    require_trackers(options.run.track)
    require_data(options.data.data)
    require_folders(options)
    return key, check_students(_students(options), image_size=options.data.image_size)


def _students(options: Options) -> list[tuple[Method, TrainingOptions]]:
    return [(METHODS[name], options.training) for name in options.training.methods]


def _paid_by(cost: PurchaseCost, whole: Purchase) -> Purchase:
    """Returns the share of a run's purchase that one of its students was trained from."""
    return replace(
        whole,
        units=cost.units,
        cost_micro_usd=cost.cost_micro_usd,
        receipts_digest=cost.digest,
    )
