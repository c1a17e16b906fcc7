"""Export of whole caches to a folder and to an S3 server, and import of what is still the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from cache.cli import main
from cache.errors import CacheUnavailable, TransferFailed
from cache.maintenance.export_parquet import export_parquet_folder
from cache.maintenance.import_parquet import import_parquet_folder
from cache.maintenance.parquet_folder import MANIFEST, RECORDS, embeddings_name, file_sha256
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import PaidEmbedding, StoredReceipt
from cache.storage import record_codec
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.row_codec import CHECKSUM_BYTES, encode_row
from tests.support.cache_merges import everything
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rehashed,
    run_record,
    text,
)
from tests.support.s3_server import s3_server

FIRST = embeddings_name(0)


@pytest.fixture
def full(folder: Path) -> Path:
    """A cache with a record of every kind."""
    ledger = Ledger()
    with PaidCache.open(folder) as cache:
        buy(cache, ledger, *images(1, 2, 3))
        buy(cache, ledger, image(3), text("a bird"))
        cache.reserve(intent_of(image(5)), budget=100)
        cache.write_off(intent_of(image(6)), account=ACCOUNT, detail="purged")
        cache.refuse(image(7), code="invalid_image", detail="torn")
        cache.record_run(run_record("run-2"))
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[str], str]]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "export")
    bucket: str = request.getfixturevalue("s3")(f"b{abs(hash(request.node.nodeid)):x}")
    return f"{bucket}/caches/one"


def exported(folder: Path, address: str, **more: int) -> None:
    with CacheReader.open(folder) as cache:
        export_parquet_folder(cache, address, **more)


def test_an_imported_cache_has_everything_that_was_exported(
    full: Path, address: str, tmp_path: Path
) -> None:
    exported(full, address, rows_in_a_file=2)
    added = import_parquet_folder(address, tmp_path / "again")
    assert everything(tmp_path / "again") == everything(full)
    assert (added.receipts, added.rows, added.intents, added.write_offs) == (2, 5, 1, 1)
    assert (added.refusals, added.runs, added.copies) == (1, 1, 2)


def test_importing_again_adds_nothing(full: Path, address: str, tmp_path: Path) -> None:
    exported(full, address)
    import_parquet_folder(address, tmp_path / "again")
    added = import_parquet_folder(address, tmp_path / "again")
    assert (added.receipts, added.rows, added.copies, added.runs) == (0, 0, 0, 0)
    assert everything(tmp_path / "again") == everything(full)


def test_an_export_is_never_overwritten(full: Path, address: str) -> None:
    exported(full, address)
    with pytest.raises(TransferFailed, match="not empty"):
        exported(full, address)


def test_an_export_without_its_manifest_is_none(full: Path, address: str, tmp_path: Path) -> None:
    exported(full, address)
    system, path = fsspec.core.url_to_fs(address)
    system.rm_file(f"{path}/{MANIFEST}")
    with pytest.raises(TransferFailed, match="no complete export"):
        import_parquet_folder(address, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_empty_cache_can_be_taken_along(empty_cache: Path, tmp_path: Path) -> None:
    exported(empty_cache, str(tmp_path / "export"))
    added = import_parquet_folder(str(tmp_path / "export"), tmp_path / "again")
    assert added.receipts == 0
    assert everything(tmp_path / "again") == everything(empty_cache)


def test_the_vectors_are_readable_as_a_table(full: Path, tmp_path: Path) -> None:
    exported(full, str(tmp_path / "export"))
    table = parquet.read_table(tmp_path / "export" / FIRST).to_pylist()
    with CacheReader.open(full) as cache:
        rows = list(cache.rows())
    first = [row for row in table if not row["bought_again"]]
    assert [row["item"] for row in first] == [row.key.item for row in rows]
    assert table[0]["vector"] == rows[0].vector.tolist()
    assert [row["bought_again"] for row in table] == [False, False, False, True, False]


def test_an_export_without_second_copies_of_its_receipts_can_be_imported(
    full: Path, tmp_path: Path
) -> None:
    """Then only the order of storing says in which order the items of a receipt were sent."""
    (full / RECEIPTS).unlink()
    exported(full, str(tmp_path / "export"), rows_in_a_file=2)
    import_parquet_folder(str(tmp_path / "export"), tmp_path / "again")
    assert everything(tmp_path / "again") == everything(full)


Edit = Callable[[list[dict[str, Any]]], None]


def edited(folder: Path, name: str, edit: Edit, *, with_manifest: bool = True) -> None:
    """Change the rows of a file and, if asked, the SHA-256 in the manifest."""
    file = folder / name
    table = parquet.read_table(file)
    rows = table.to_pylist()
    edit(rows)
    parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    if with_manifest:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][name]["sha256"] = file_sha256(file)
        (folder / MANIFEST).write_text(json.dumps(manifest))


def other_vector(rows: list[dict[str, Any]]) -> None:
    rows[0]["vector"][0] += 0.25


def other_request(rows: list[dict[str, Any]]) -> None:
    rows[0]["request_id"] = rows[-1]["request_id"]


def swapped_vectors(rows: list[dict[str, Any]]) -> None:
    """Two rows with whole checksums of their own, and each other's vectors."""
    rows[0]["vector"], rows[1]["vector"] = rows[1]["vector"], rows[0]["vector"]
    names = ("model_fingerprint", "modality", "item", "view", "params")
    rest = ("sent_sha256", "model", "request_id", "price_version", "created_ms")
    for row in rows[:2]:
        paid = PaidEmbedding(
            key=EmbeddingKey(**{name: row[name] for name in names}),
            vector=np.asarray(row["vector"], dtype=np.float32),
            **{name: row[name] for name in rest},
        )
        row["checksum"] = encode_row(paid)[-CHECKSUM_BYTES:].hex()


def a_row_less(rows: list[dict[str, Any]]) -> None:
    del rows[0]


def torn_record(rows: list[dict[str, Any]]) -> None:
    rows[0]["record"] = rows[0]["record"][:-1] + b"?"


def cheaper_receipt(rows: list[dict[str, Any]]) -> None:
    """A receipt of a query less, sealed and hashed anew: only its line tells."""
    row = next(row for row in rows if row["kind"] == "receipt")
    stored = record_codec.decode_receipt(row["name"], row["record"])
    changed = rehashed(stored.receipt, units=stored.receipt.units - 1)
    row["record"] = record_codec.encode_receipt(
        StoredReceipt(account=stored.account, run=stored.run, receipt=changed)
    )


def torn_line(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["kind"] == "line")
    row["record"] = row["record"].replace(b'"units":3', b'"units":2')


def unknown_kind(rows: list[dict[str, Any]]) -> None:
    rows[0]["kind"] = "gift"


@pytest.mark.parametrize(
    ("name", "edit", "reason"),
    [
        (FIRST, other_vector, "does not have its checksum"),
        (FIRST, other_request, "does not have its checksum"),
        (FIRST, swapped_vectors, "problems, the first"),
        (FIRST, a_row_less, "problems, the first"),
        (RECORDS, torn_record, "is not what was exported"),
        (RECORDS, cheaper_receipt, "problems, the first"),
        (RECORDS, torn_line, "is damaged"),
        (RECORDS, unknown_kind, "unknown kind 'gift'"),
    ],
)
def test_what_is_not_what_was_exported_is_refused_before_any_of_it_is_taken(
    full: Path, tmp_path: Path, name: str, edit: Edit, reason: str
) -> None:
    export, target = tmp_path / "export", tmp_path / "target"
    exported(full, str(export))
    with PaidCache.open(target) as cache:
        buy(cache, Ledger(), *images(8, 9))
    before = everything(target)
    edited(export, name, edit, with_manifest=False)
    with pytest.raises(TransferFailed, match="SHA-256"):
        import_parquet_folder(str(export), target)
    edited(export, name, lambda _: None)
    with pytest.raises(TransferFailed, match=reason):
        import_parquet_folder(str(export), target)
    assert everything(target) == before
    assert sorted(path.name for path in tmp_path.iterdir() if "-import-" in path.name) == []


def test_a_file_that_the_manifest_does_not_name_is_not_read(full: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    exported(full, str(export))
    shutil.copy(export / FIRST, export / embeddings_name(7))
    import_parquet_folder(str(export), tmp_path / "again")
    assert everything(tmp_path / "again") == everything(full)


def test_a_cache_in_use_is_not_exported(full: Path, tmp_path: Path) -> None:
    with (
        PaidCache.open(full) as cache,
        cache.hold_run_lock("run-9"),
        pytest.raises(CacheUnavailable, match="in use by run-9"),
    ):
        exported(full, str(tmp_path / "export"))
    assert not (tmp_path / "export").exists()


def test_an_address_that_cannot_be_reached_says_so(full: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="nosuch"):
        exported(full, "nosuch://bucket/folder")
    with pytest.raises(TransferFailed, match="no complete export"):
        import_parquet_folder(str(tmp_path / "none"), tmp_path / "again")


def test_the_commands_export_and_import_a_whole_cache(
    full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, again = str(tmp_path / "export"), str(tmp_path / "again")
    export = ["--cache", str(full), "export", "--what", "cache"]
    assert main([*export, "--format", "csv", "--out", out]) == 2
    assert main([*export, "--format", "parquet"]) == 2
    assert main([*export, "--format", "parquet", "--out", out]) == 0
    assert "5 embeddings and 8 records written" in capsys.readouterr().err
    assert main(["--cache", again, "import", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["receipts"] == 2
    assert main(["import", out, "--cache", again]) == 0
    assert "added: 0 receipts" in capsys.readouterr().out
    assert everything(tmp_path / "again") == everything(full)
