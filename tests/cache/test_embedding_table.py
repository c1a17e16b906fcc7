"""The matrix that training reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import embedding_table as table_module
from cache.embedding_table import EMBEDDINGS, MANIFEST, materialise, open_table
from cache.errors import CorruptRow, NotPaid, StaleTable
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from tests.support.cache_purchases import (
    ACCOUNT,
    FINGERPRINT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    rows_of,
    text,
    vector_of,
)


def expected(keys: Sequence[EmbeddingKey]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The vendor's embeddings for `keys`."""
    return np.stack([vector_of(key) for key in keys])


def test_a_table_holds_exactly_what_was_paid_for_row_by_row(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """In the order of the keys, with their repeats."""
    buy(cache, ledger, *images(*range(10)), text("a cat"))
    keys = [*images(7, 3, 3, 9), text("a cat"), image(0)]
    table = materialise(cache, keys, tmp_path / "table")
    np.testing.assert_array_equal(table.vectors, expected(keys))
    assert (len(table), table.dim, table.model_fingerprint) == (6, 8, FINGERPRINT)
    assert table.vectors.dtype == np.float32


@given(numbers=st.lists(st.integers(0, 19), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None)
def test_any_choice_of_keys_comes_back_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    """Rows are aligned to any data set."""
    folder = tmp_path_factory.mktemp("choice")
    with PaidCache.open(folder / "cache") as cache:
        buy(cache, Ledger(), *images(*range(20)))
        keys = images(*numbers)
        table = materialise(cache, keys, folder / "table")
    np.testing.assert_array_equal(table.vectors, expected(keys))


def test_a_table_is_memory_mapped_and_cannot_be_written(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """A million rows cost no memory, and no caller changes them for the others."""
    buy(cache, ledger, *images(1, 2))
    table = materialise(cache, images(1, 2), tmp_path)
    assert isinstance(table.vectors, np.memmap)
    assert table.vectors.mode == "r"
    with pytest.raises(ValueError, match="read-only"):
        table.vectors[0, 0] = 1.0


def test_a_table_can_be_read_by_numpy_alone(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """And its manifest by anything."""
    buy(cache, ledger, *images(1, 2))
    materialise(cache, images(1, 2), tmp_path)
    loaded = np.load(tmp_path / EMBEDDINGS, allow_pickle=False)
    np.testing.assert_array_equal(loaded, expected(images(1, 2)))
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert (manifest["count"], manifest["dim"]) == (2, 8)
    assert manifest["model_fingerprint"] == FINGERPRINT
    assert len(manifest["embeddings_sha256"]) == len(manifest["keys_sha256"]) == 64


def test_a_table_that_is_current_is_used_again(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """The second start of a training run builds nothing."""
    buy(cache, ledger, *images(1, 2))
    materialise(cache, images(1, 2), tmp_path)
    before = (tmp_path / EMBEDDINGS).stat()
    materialise(cache, images(1, 2), tmp_path)
    after = (tmp_path / EMBEDDINGS).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_current_table_needs_no_cache_at_all(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """Training can go on where only the table was copied to."""
    buy(cache, ledger, *images(1, 2))
    materialise(cache, images(1, 2), tmp_path)
    cache.close()
    np.testing.assert_array_equal(
        open_table(tmp_path, images(1, 2)).vectors, expected(images(1, 2))
    )


@pytest.mark.parametrize(
    "keys",
    [images(1), images(2, 1), images(1, 2, 2), images(1, 3)],
    ids=["less", "order", "more", "other"],
)
def test_a_stale_table_is_refused_and_built_again(
    cache: PaidCache, ledger: Ledger, tmp_path: Path, keys: tuple[EmbeddingKey, ...]
) -> None:
    """Rows of another data set would give images wrong embeddings."""
    buy(cache, ledger, *images(1, 2, 3))
    materialise(cache, images(1, 2), tmp_path)
    with pytest.raises(StaleTable, match="other embeddings"):
        open_table(tmp_path, keys)
    np.testing.assert_array_equal(materialise(cache, keys, tmp_path).vectors, expected(keys))


def test_a_table_of_another_model_is_refused(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """Two models' spaces are never mixed."""
    buy(cache, ledger, image(1))
    materialise(cache, images(1), tmp_path)
    with pytest.raises(StaleTable, match="table of model"):
        open_table(tmp_path, [image(1, fingerprint="sha256:other")])


def test_a_damaged_table_is_refused_and_built_again(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """One flipped bit is noticed."""
    buy(cache, ledger, *images(1, 2))
    materialise(cache, images(1, 2), tmp_path)
    content = bytearray((tmp_path / EMBEDDINGS).read_bytes())
    content[-1] ^= 1
    (tmp_path / EMBEDDINGS).write_bytes(content)
    with pytest.raises(StaleTable, match="not the file that its manifest describes"):
        open_table(tmp_path, images(1, 2))
    table = materialise(cache, images(1, 2), tmp_path)
    np.testing.assert_array_equal(table.vectors, expected(images(1, 2)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot read"),
        ("[]", "cannot read"),
        ("{}", "cannot read"),
        (None, "there is no table"),
    ],
)
def test_a_table_without_a_manifest_that_can_be_read_is_refused(
    cache: PaidCache, ledger: Ledger, tmp_path: Path, content: str | None, reason: str
) -> None:
    """And built again."""
    buy(cache, ledger, image(1))
    materialise(cache, images(1), tmp_path)
    if content is None:
        (tmp_path / MANIFEST).unlink()
    else:
        (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(StaleTable, match=reason):
        open_table(tmp_path, images(1))
    assert len(materialise(cache, images(1), tmp_path)) == 1


def test_a_manifest_of_a_newer_format_is_refused(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """It may mean something else."""
    buy(cache, ledger, image(1))
    materialise(cache, images(1), tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(StaleTable, match="format 2; this program reads 1"):
        open_table(tmp_path, images(1))


def test_a_manifest_without_its_file_is_refused(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """A crash between the two writes is harmless."""
    buy(cache, ledger, image(1))
    materialise(cache, images(1), tmp_path)
    (tmp_path / EMBEDDINGS).unlink()
    with pytest.raises(StaleTable):
        open_table(tmp_path, images(1))


def test_a_reader_of_an_old_table_keeps_it_when_a_new_one_is_built(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """Writing over a mapped file would change the pages under it."""
    buy(cache, ledger, *images(1, 2))
    old = materialise(cache, images(1), tmp_path)
    materialise(cache, images(2), tmp_path)
    np.testing.assert_array_equal(old.vectors, expected(images(1)))


def test_a_key_that_was_never_bought_is_named(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """No row is ever filled with something else; nothing is left behind."""
    buy(cache, ledger, image(1))
    with pytest.raises(NotPaid, match=image(2).digest.hex()) as caught:
        materialise(cache, images(1, 2, 3), tmp_path / "table")
    assert caught.value.digests == (image(2).digest, image(3).digest)
    assert not (tmp_path / "table").exists()


def test_a_corrupt_row_is_named_and_leaves_no_table(
    cache: PaidCache, ledger: Ledger, folder: Path, tmp_path: Path
) -> None:
    """Nor a half-written file."""
    buy(cache, ledger, *images(1, 2))
    overwrite(folder, image(2).digest, b"rubbish")
    with pytest.raises(CorruptRow, match=image(2).digest.hex()):
        materialise(cache, images(1, 2), tmp_path / "table")
    assert list((tmp_path / "table").iterdir()) == []


@pytest.mark.parametrize("keys", [(), (image(1), image(2, fingerprint="sha256:other"))])
def test_a_table_is_of_one_model(
    cache: PaidCache, tmp_path: Path, keys: tuple[EmbeddingKey, ...]
) -> None:
    """Not of no model, and not of two."""
    with pytest.raises(ValueError, match="embeddings of one model"):
        materialise(cache, keys, tmp_path)


def test_embeddings_of_two_lengths_do_not_make_a_table(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """A vendor that changed its model under the same name is caught."""
    for number, dim in ((1, 8), (2, 9)):
        intent = intent_of(image(number))
        receipt = ledger.charge(intent, dim=dim)
        cache.commit(intent, rows_of(intent, receipt, dim=dim), receipt, account=ACCOUNT)
    with pytest.raises(ValueError, match="different lengths"):
        materialise(cache, images(1, 2), tmp_path)


def test_a_table_of_more_rows_than_are_read_at_once_is_whole(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """The chunks are joined correctly."""
    count = table_module._ROWS_PER_READ + 3
    buy(cache, ledger, *images(*range(500)))
    keys = [image(number % 500) for number in range(count)]
    table = materialise(cache, keys, tmp_path)
    assert len(table) == count
    np.testing.assert_array_equal(table.vectors[-5:], expected(keys[-5:]))
    np.testing.assert_array_equal(table.vectors[:500], expected(keys[:500]))


def test_a_manifest_is_a_value() -> None:
    """Two manifests with the same content are equal."""
    manifest = table_module.Manifest(
        format=1,
        model_fingerprint="m",
        count=1,
        dim=1,
        keys_sha256="a",
        embeddings_sha256="b",
    )
    assert replace(manifest) == manifest
