"""The purchase, its cost, the bench and training need the same embeddings of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache.embedding_table import EmbeddingTable, materialise
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from student.bench.dataset import gather, keys_read
from student.bench.run import Grid, Run, normalised
from student.console import quiet
from student.data.image_set import ImageSet, load_image_set
from student.data.split import Split
from student.embeddings.keys import split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.experiment import Experimenter
from student.options import Options
from student.purchase.cost import purchase_cost
from student.purchase.requirements import EmbeddingRequirements
from student.purchase.rounds import PurchaseResult, run_purchase
from student.vendor.schemas import Model, Prices
from tests.support.client_purchases import run_options
from tests.support.ledger_vendor import LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of

OPTIONS: dict[str, dict[str, object]] = {
    "one held-out domain": {"target_domain": ["d2"]},
    "every domain held out in turn": {"target_domain": []},
    "domain prompts": {"target_domain": [], "prompts": "domain"},
    "three views": {"target_domain": ["d2"], "views": 3},
    "domain prompts and three views": {"target_domain": [], "prompts": "domain", "views": 3},
}


class RecordedRows(dict[EmbeddingKey, int]):
    """A table's rows that record which keys were read."""

    def __init__(self, rows: dict[EmbeddingKey, int]) -> None:
        super().__init__(rows)
        self.asked: set[EmbeddingKey] = set()

    def __getitem__(self, key: EmbeddingKey) -> int:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: EmbeddingKey, default: object = None) -> int | None:  # type: ignore[override]
        self.asked.add(key)
        return super().get(key)


@pytest.fixture(params=OPTIONS.values(), ids=list(OPTIONS))
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Options:
    return run_options(write_domains(tmp_path / "pets"), **request.param)


@pytest.fixture
def scanned(settings: Options) -> ImageSet:
    return load_image_set(settings.data, settings.run, quiet())


def needed(settings: Options, scanned: ImageSet, fingerprint: str) -> list[set[EmbeddingKey]]:
    """The keys that each split needs, by `EmbeddingRequirements`."""
    return [
        set(
            split_keys(
                split, scanned.catalogue, settings.data, settings.purchase.prompts, fingerprint
            ).keys(split.train)
        )
        for split in scanned.splits
    ]


def bought(settings: Options, scanned: ImageSet, model: Model) -> set[EmbeddingKey]:
    requirements = EmbeddingRequirements(settings.data, settings.purchase.prompts, scanned, model)
    return {request.key for request in requirements.wanted(range(len(scanned.training)))}


def test_a_purchase_buys_what_the_splits_need_and_no_more(
    settings: Options, scanned: ImageSet
) -> None:
    model = Model.model_validate(LedgerVendor().model)
    assert bought(settings, scanned, model) == set().union(
        *needed(settings, scanned, model.fingerprint)
    )


def test_a_bench_run_reads_what_its_split_needs(settings: Options, scanned: ImageSet) -> None:
    runs = [
        normalised(
            Run(
                dataset="pets",
                targets=split.targets,
                seed=0,
                method="vl2v-adip",
                views=settings.data.views,
            )
        )
        for split in scanned.splits
    ]
    grid = Grid(name="agreement", base=settings, runs=tuple(runs))
    dataset = gather(grid, quiet(), scanned.catalogue)
    fingerprint = LedgerVendor().model["fingerprint"]
    read = [
        set(keys_read(run, settings, dataset, dataset.split_of(run).train, fingerprint))
        for run in runs
    ]
    assert read == needed(settings, scanned, fingerprint)


async def test_training_reads_and_the_cost_counts_what_each_split_needs(
    settings: Options, scanned: ImageSet, tmp_path: Path
) -> None:
    settings = settings.changed(budget=1000)
    vendor = LedgerVendor()
    with PaidCache.open(settings.purchase.cache) as cache:
        async with client_of(vendor) as client:
            result = await run_purchase(client, settings, scanned, cache, quiet(), "a test")
        assert isinstance(result, PurchaseResult)
        keys = [request.key for request in result.plan.ordered]
        table = materialise(cache, keys, tmp_path / "table")
        prices = Prices.model_validate(vendor.price)
        for split, of_split in zip(
            scanned.splits, needed(settings, scanned, table.model_fingerprint), strict=True
        ):
            assert training_reads(table, keys, split, scanned, settings) == of_split
            cost = purchase_cost(cache, of_split, prices)
            assert cost.units == sum(prices.units_for(key.modality) for key in of_split)


def training_reads(
    table: EmbeddingTable,
    keys: list[EmbeddingKey],
    split: Split,
    scanned: ImageSet,
    settings: Options,
) -> set[EmbeddingKey]:
    rows = RecordedRows({key: row for row, key in enumerate(keys)})
    paid = TeacherEmbeddings(table=table, rows=rows)
    experimenter = Experimenter(split, scanned, paid, settings)
    assert np.all(experimenter.data.bought)
    return rows.asked
