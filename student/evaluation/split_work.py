"""The training of one split's methods as another process gets it: to train one, or to take part.

The process gets the catalogue, so that the folder is hashed once. It reads the tables of pixels and
embeddings that the first process has written, memory-mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache.embedding_table import open_table
from cache.records.embedding_key import EmbeddingKey
from student.console import quiet
from student.data.folder.image_folder import Catalogue
from student.data.image_set import load_image_set
from student.data.split import Split
from student.distributed.ranks import ALONE, Ranks
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.experiment import Experimenter, MethodProgress
from student.models.architecture import SoldNetwork
from student.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitWork:
    """A split with the options of its training, and the embedding table with its keys."""

    options: Options
    catalogue: Catalogue
    split: Split
    keys: tuple[EmbeddingKey, ...]
    table: Path
    sold: SoldNetwork | None

    @classmethod
    def of(
        cls, options: Options, catalogue: Catalogue, split: Split, paid: TeacherEmbeddings
    ) -> SplitWork:
        """The work on these embeddings."""
        return cls(
            options=options,
            catalogue=catalogue,
            split=split,
            keys=tuple(paid.rows),
            table=paid.table.folder,
            sold=paid.sold,
        )

    def experimenter(self, ranks: Ranks = ALONE) -> Experimenter:
        """Reads the tables."""
        scanned = load_image_set(self.options.data, self.options.run, quiet(), self.catalogue)
        rows = {key: row for row, key in enumerate(self.keys)}
        table = open_table(self.table, self.keys)
        paid = TeacherEmbeddings(table=table, rows=rows, sold=self.sold)
        return Experimenter(self.split, scanned, paid, self.options, ranks)

    def do(self, ranks: Ranks) -> None:
        """Trains and measures every method together with the first rank, which keeps the results.

        Raises StudentError.
        """
        experimenter = self.experimenter(ranks)
        for method in self.options.training.methods:
            experimenter.measure(method, experimenter.train(method, _unseen))


def _unseen(progress: MethodProgress) -> None:
    """Follows no training: the first rank shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeesFolder:
    """Checks that every rank sees a folder of the first one, by a file that is there for a moment.

    Work of several machines needs the data and the output on a disk that all of them see.
    """

    file: Path
    data: Path

    def do(self, ranks: Ranks) -> None:
        """Raises TrainingError on every rank unless all of them see both."""
        ranks.require_equal((self.file.is_file(), self.data.exists()), "folders")
