"""The images and splits that the runs of a grid share, and the images that each run buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache.records.embedding_key import EmbeddingKey
from student.acquisition.candidates import Answers, Candidates
from student.acquisition.strategies import SELECTORS, order
from student.bench.constants import ZERO_SHOT
from student.bench.run import Grid, Run, asks_texts, known_method, options_of, resolved
from student.console import Terminal
from student.data.folder.image_folder import Catalogue, Item, discover
from student.data.image_set import ImageSet, render_views, rows_by_path
from student.data.split import Split, split
from student.embeddings.keys import SplitKeys, split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.options import Options
from student.purchase.requirements import candidates_for

SplitName = tuple[tuple[str, ...], int]
"""The held-out domains and the seed, which determine a split."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchDataset:
    """The images of a grid's data set, rendered once with the most views that any run needs."""

    scanned: ImageSet
    splits: dict[SplitName, Split]

    def split_of(self, run: Run) -> Split:
        """Returns the training, validation and test images of this run."""
        return self.splits[run.targets, run.seed]


def gather(grid: Grid, terminal: Terminal, catalogue: Catalogue | None = None) -> BenchDataset:
    """Splits and renders the data set of a grid; views rendered earlier are reused.

    Reads the folder unless `catalogue` is given. Raises BadInput for a folder or a held-out domain
    that cannot be used.
    """
    catalogue = catalogue or discover(grid.base.data.data, imagefolder=grid.base.data.imagefolder)
    names: list[SplitName] = list(dict.fromkeys((run.targets, run.seed) for run in grid.runs))
    splits = [split(catalogue, targets=targets, seed=seed) for targets, seed in names]
    views = max(run.views for run in grid.runs)
    options = grid.base.data.changed(views=views)
    scanned = render_views(catalogue, splits, options, grid.base.run.out, terminal)
    return BenchDataset(scanned=scanned, splits=dict(zip(names, scanned.splits, strict=True)))


class Selection:
    """Chooses the training images that each run buys.

    They are the first in the selector's order, so that a larger share contains every smaller share.
    A selector that buys in rounds is replayed on the embeddings that were bought.
    """

    def __init__(self, dataset: BenchDataset, base: Options, terminal: Terminal) -> None:
        self.dataset = dataset
        self.base = base
        self.terminal = terminal
        self._candidates: dict[str, Candidates] = {}
        self._orders: dict[tuple[SplitName, str], list[int]] = {}

    def chosen(self, run: Run, paid: TeacherEmbeddings | None) -> list[Item]:
        """Returns the training images whose views are bought, best first.

        `paid` is read by selectors that buy in rounds only.
        """
        train = self.dataset.split_of(run).train
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
                SELECTORS[run.selector],
                self.dataset.scanned,
                self.base.training,
                self.base.run,
                self.terminal,
            )
        everything = self._candidates[run.selector]
        row_of = rows_by_path(self.dataset.scanned.training)
        rows = [row_of[item.path] for item in self.dataset.split_of(run).train]
        return Candidates(
            features=everything.features[rows],
            labels=everything.labels[rows],
            domains=everything.domains[rows],
        )

    def _answers(self, run: Run, paid: TeacherEmbeddings | None) -> Answers | None:
        if paid is None:
            return None
        keys = replace(run_keys(run, self.base, self.dataset, paid.fingerprint), views=1)
        vectors, known = paid.image_embeddings(keys, self.dataset.split_of(run).train)
        texts = paid.class_embeddings(keys)
        return Answers(texts=texts, images=vectors[:, 0], known=known[:, 0])


def in_rounds(run: Run) -> bool:
    """Whether the choice of images depends on the answers, so that all clean views are bought."""
    return 0.0 < run.fraction < 1.0 and SELECTORS[run.selector].in_rounds is not None


def run_keys(run: Run, base: Options, dataset: BenchDataset, fingerprint: str) -> SplitKeys:
    """Returns the keys of all embeddings of this run's split, bought or not."""
    options = options_of(run, base)
    return split_keys(
        dataset.split_of(run),
        dataset.scanned.catalogue,
        options.data,
        options.purchase.prompts,
        fingerprint,
    )


def keys_read(
    run: Run, base: Options, dataset: BenchDataset, items: Sequence[Item], fingerprint: str
) -> list[EmbeddingKey]:
    """Returns the keys of the embeddings that this run reads if it buys these images.

    Text keys are left out if its method reads no text embeddings, and image keys if it reads none
    with these options.
    """
    keys = run_keys(run, base, dataset, fingerprint)
    if run.method == ZERO_SHOT:
        items = tested(dataset.split_of(run))
    elif not known_method(run.method).terms_for(resolved(run, base)).reads_images:
        items = []
    return keys.keys(items) if asks_texts(run.method) else keys.image_keys(items)


def tested(run_split: Split) -> list[Item]:
    """Returns the images that a zero-shot teacher classifies: validation and test images."""
    parts = (run_split.validation, *run_split.tests.values())
    return [item for part in parts for item in part]
