"""What the runs of a grid share: the images in every split, and which of them a budget reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache.records.embedding_key import EmbeddingKey
from student.acquisition.candidates import Answers, Candidates
from student.acquisition.strategies import SELECTORS, order
from student.bench.constants import ZERO_SHOT
from student.bench.run import Grid, Run, asks_texts, options_of
from student.console import Terminal
from student.data.image_folder import Catalogue, Item, discover
from student.data.image_set import ImageSet, render_views, rows_by_path
from student.data.split import Split, split
from student.embeddings.keys import SplitKeys, split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.options import Options
from student.purchase.requirements import candidates_for

SplitName = tuple[tuple[str, ...], int]
"""The targets and the seed that make a split."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchDataset:
    """The images of a grid's data set, rendered once in as many views as any run wants."""

    scanned: ImageSet
    splits: dict[SplitName, Split]

    def split_of(self, run: Run) -> Split:
        """Who trains and who is tested in this run."""
        return self.splits[run.targets, run.seed]


def gather(grid: Grid, terminal: Terminal, catalogue: Catalogue | None = None) -> BenchDataset:
    """Reads the data set of a grid, or takes what was read; what was rendered is found again.

    Raises BadInput for a folder or a target that cannot be used.
    """
    catalogue = catalogue or discover(grid.base.data.data)
    names: list[SplitName] = list(dict.fromkeys((run.targets, run.seed) for run in grid.runs))
    splits = [split(catalogue, targets=targets, seed=seed) for targets, seed in names]
    views = max(run.views for run in grid.runs)
    options = grid.base.data.changed(views=views)
    scanned = render_views(catalogue, splits, options, grid.base.run.out, terminal)
    return BenchDataset(scanned=scanned, splits=dict(zip(names, scanned.splits, strict=True)))


class Selection:
    """Which training images a run buys: the first of its selector's order, so that a bigger share
    holds a smaller one. A selector that buys in rounds is replayed on what was bought."""

    def __init__(self, material: BenchDataset, base: Options, terminal: Terminal) -> None:
        self._material = material
        self._base = base
        self._terminal = terminal
        self._candidates: dict[str, Candidates] = {}
        self._orders: dict[tuple[SplitName, str], list[int]] = {}

    def chosen(self, run: Run, paid: TeacherEmbeddings | None) -> list[Item]:
        """The images of the split whose views are bought, best first."""
        train = self._material.split_of(run).train
        if run.fraction == 0.0:
            return []
        count = max(1, round(run.fraction * len(train)))
        if count >= len(train):
            return list(train)
        return [train[row] for row in self._order(run, paid)[:count]]

    def _order(self, run: Run, paid: TeacherEmbeddings | None) -> list[int]:
        name = ((run.targets, run.seed), run.selector)
        if name not in self._orders:
            answers = None
            if in_rounds(run):
                answers = self._answers(run, paid)
            self._orders[name] = order(
                run.selector, self._of_split(run), seed=run.seed, answers=answers
            )
        return self._orders[name]

    def _of_split(self, run: Run) -> Candidates:
        if run.selector not in self._candidates:
            self._candidates[run.selector] = candidates_for(
                SELECTORS[run.selector], self._material.scanned, self._base, self._terminal
            )
        everything = self._candidates[run.selector]
        row_of = rows_by_path(self._material.scanned.training)
        rows = [row_of[item.path] for item in self._material.split_of(run).train]
        return Candidates(
            features=everything.features[rows],
            labels=everything.labels[rows],
            domains=everything.domains[rows],
        )

    def _answers(self, run: Run, paid: TeacherEmbeddings | None) -> Answers | None:
        if paid is None:
            return None
        keys = replace(run_keys(run, self._base, self._material, paid.fingerprint), views=1)
        vectors, known = paid.image_embeddings(keys, self._material.split_of(run).train)
        texts = paid.class_embeddings(keys)
        return Answers(texts=texts, images=vectors[:, 0], known=known[:, 0])


def in_rounds(run: Run) -> bool:
    """Whether what the run buys depends on answers, so that all clean views must be bought."""
    return 0.0 < run.fraction < 1.0 and SELECTORS[run.selector].in_rounds is not None


def run_keys(run: Run, base: Options, material: BenchDataset, fingerprint: str) -> SplitKeys:
    """Which embeddings this run reads, whatever it buys of them."""
    options = options_of(run, base)
    return split_keys(material.split_of(run), material.scanned.catalogue, options, fingerprint)


def keys_read(
    run: Run, base: Options, material: BenchDataset, items: Sequence[Item], fingerprint: str
) -> list[EmbeddingKey]:
    """The embeddings that this run reads when it buys these images; no text if its method reads
    none."""
    keys = run_keys(run, base, material, fingerprint)
    if run.method == ZERO_SHOT:
        items = tested(material.split_of(run))
    return keys.keys(items) if asks_texts(run.method) else keys.image_keys(items)


def tested(one: Split) -> list[Item]:
    """What a zero-shot teacher is asked about: every image that only measures."""
    parts = (one.validation, *one.tests.values())
    return [item for part in parts for item in part]
