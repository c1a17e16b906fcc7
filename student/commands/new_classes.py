"""Classes that a student was not trained on: their prompts are bought, and nothing is trained."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from cache.paid_cache import PaidEmbedding
from cache.records.embedding_key import EmbeddingKey
from cache.records.money import dollars
from cache.storage.folder import DATABASE
from cache.storage.reader import CacheReader
from student.data.folder.names import folded
from student.embeddings.keys import prompts_for, text_key
from student.embeddings.lookup import class_means
from student.errors import BadInput
from student.inference.trained_student import TrainedStudent
from student.options.purchase import PurchaseOptions, api_key
from student.options.section import build
from student.options.wire import WireOptions
from student.purchase.embedding_buyer import EmbeddingBuyer
from student.purchase.plan import Plan
from student.purchase.progress import PurchaseSummary


def class_list(text: str) -> tuple[str, ...]:
    """Return the names between the commas. Raises BadInput for none, or for one name twice."""
    names = [name for part in text.split(",") if (name := part.strip())]
    first: dict[str, str] = {}
    for name in names:
        if (same := first.setdefault(folded(name), name)) is not name:
            message = f"--classes: {same} and {name} are one class"
            raise BadInput(message)
    if not names:
        message = "--classes needs names between commas, such as zebra,okapi"
        raise BadInput(message)
    return tuple(names)


@dataclass(frozen=True, kw_only=True)
class NewClasses:
    """The classes to predict over, for a student that was not trained on them.

    Their prompts come from the cache of `options`; those that it lacks are bought within its
    budget.
    """

    trained: TrainedStudent
    classes: tuple[str, ...]
    options: PurchaseOptions

    @cached_property
    def prompts_of_class(self) -> list[list[str]]:
        """The prompts of each class, in the style of the run that made the student."""
        style = self.trained.meta.get("settings", {}).get("prompts", "class")
        sources = self.trained.meta.get("sources", [])
        return [prompts_for(name, sources, style) for name in self.classes]

    @property
    def fingerprint(self) -> str:
        """The model that taught the student. Raises BadInput if meta.json does not say."""
        fingerprint: str | None = self.trained.meta.get("teacher", {}).get("fingerprint")
        if fingerprint is None:
            message = "this student's meta.json names no teacher: its space is not known"
            raise BadInput(message)
        return fingerprint

    def missing(self) -> list[str]:
        """The prompts that the cache lacks. Raises BadInput for a student that cannot use any."""
        self.trained.require_class_texts()
        found = self._on_hand()
        return [text for key, text in self._texts.items() if key not in found]

    def plan(self, missing: Sequence[str]) -> Plan:
        """What buying the missing prompts would cost. Buys nothing.

        Raises BadInput without a budget, or if the vendor sells another model than the one that
        taught the student; and PlanExceedsBudget if the budget does not cover all prompts.
        """
        if self.options.budget is None:
            shown = "; ".join(missing[:3]) + ("; …" if len(missing) > 3 else "")
            message = (
                f"{len(missing)} prompts are not in {self.options.cache} ({shown}): name with "
                "--budget the most queries that this cache may ever pay for. Nothing was bought"
            )
            raise BadInput(message)
        plan = self._buyer(self.options.budget).plan(texts=missing)
        if plan.model.fingerprint != self.fingerprint:
            message = (
                f"the vendor sells {plan.model.id} with another fingerprint "
                f"({plan.model.fingerprint}) than the model that taught this student "
                f"({self.fingerprint}): its texts lie in another space. Nothing was bought"
            )
            raise BadInput(message)
        plan.require_texts()
        return plan

    def buy(self, plan: Plan, missing: Sequence[str]) -> PurchaseSummary:
        """Buy the missing prompts, as planned. Raises VendorError."""
        return self._buyer(plan.budget).buy(texts=missing).summary

    def student(self) -> TrainedStudent:
        """The student with these classes. Raises BadInput if a prompt is still missing."""
        found = self._on_hand()
        if lacking := [text for key, text in self._texts.items() if key not in found]:
            message = f"the vendor gave no embedding of: {'; '.join(lacking)}"
            raise BadInput(message)
        means = class_means(lambda key: found[key].vector, self.fingerprint, self.prompts_of_class)
        return self.trained.with_classes(self.classes, means)

    @cached_property
    def _texts(self) -> dict[EmbeddingKey, str]:
        prompts = chain.from_iterable(self.prompts_of_class)
        return {text_key(self.fingerprint, text): text for text in prompts}

    def _on_hand(self) -> dict[EmbeddingKey, PaidEmbedding]:
        if not (self.options.cache / DATABASE).is_file():
            return {}
        with CacheReader.open(self.options.cache) as reader:
            return reader.fetch(list(self._texts))

    def _buyer(self, budget: int) -> EmbeddingBuyer:
        return EmbeddingBuyer(
            vendor=self.options.vendor,
            key=api_key(self.options),
            cache=self.options.cache,
            budget=budget,
            model=self.trained.meta.get("teacher", {}).get("model"),
            wire=self.options,
        )


def with_classes(
    trained: TrainedStudent, classes: Sequence[str], options: argparse.Namespace
) -> TrainedStudent | None:
    """Return the student with these classes, after buying the prompts that the cache lacks.

    The options are those of `add_purchase_options`. The plan goes to standard error. None after a
    dry run. Raises BadInput, PlanExceedsBudget and VendorError.
    """
    stored = trained.meta.get("settings", {})
    wire = {name: stored[name] for name in WireOptions.model_fields if name in stored}
    is_native = wire.get("wire", "native") == "native"
    # A vendor behind a wire is known by its address, which is part of the model's identity.
    address = os.environ.get("TEACHER_URL") if is_native else stored.get("vendor")
    given = {
        "budget": options.budget,
        "cache": options.cache or stored.get("cache"),
        "vendor": options.vendor or address,
        "key_file": options.key_file,
        **wire,
    }
    purchase = build(PurchaseOptions, {k: v for k, v in given.items() if v is not None})
    if options.cache is None and not (purchase.cache / DATABASE).is_file():
        message = (
            f"there is no cache in {purchase.cache}, where this student's was: name it with "
            "--cache, or a new folder, in which every prompt is bought. Nothing was bought"
        )
        raise BadInput(message)
    new = NewClasses(trained=trained, classes=tuple(classes), options=purchase)
    missing = new.missing()
    if missing:
        plan = new.plan(missing)
        for label, figure in plan.describe():
            print(f"{label}: {figure}", file=sys.stderr)
    if options.dry_run:
        print(f"dry run: nothing was bought ({len(missing)} prompts to buy)", file=sys.stderr)
        return None
    if missing:
        summary = new.buy(plan, missing)
        cost = dollars(summary.cost_micro_usd)
        print(f"bought {summary.units} queries, {cost}", file=sys.stderr)
    return new.student()
