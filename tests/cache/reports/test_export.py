"""Exports for other programs."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from pathlib import Path

import pytest

from cache.cli import main
from cache.errors import ReportImpossible
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.records.receipt import Receipt
from cache.reports.export import What, export_csv, export_json, export_parquet, open_output
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rehashed,
    rows_of,
    run_record,
    text,
)


def as_csv(cache: PaidCache, what: What) -> list[dict[str, str]]:
    """The export, read by Python's own reader."""
    out = io.StringIO()
    count = export_csv(cache, what, out)
    records = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert count == len(records)
    return records


def as_json(cache: PaidCache, what: What) -> list[dict[str, object]]:
    """The export, read by Python's own reader."""
    out = io.StringIO()
    count = export_json(cache, what, out)
    records: list[dict[str, object]] = json.loads(out.getvalue())
    assert count == len(records)
    return records


def test_exported_receipts_are_the_vendor_s_entries(cache: PaidCache, ledger: Ledger) -> None:
    """Their hashes can be checked from the export alone."""
    receipts = [buy(cache, ledger, image(1)), buy(cache, ledger, *images(2, 3), run="run-2")]
    exported = as_json(cache, "receipts")
    assert [record.pop("account") for record in exported] == [ACCOUNT, ACCOUNT]
    assert [record.pop("run") for record in exported] == ["run-1", "run-2"]
    back = [Receipt.model_validate(record) for record in exported]
    assert back == receipts
    assert all(receipt.verify() for receipt in back)


def test_csv_and_json_have_the_same_content(cache: PaidCache, ledger: Ledger) -> None:
    """For receipts, rows and runs; a field that a run did not record is empty."""
    buy(cache, ledger, image(1), text("a"))
    cache.record_run(run_record())
    whats: tuple[What, ...] = ("receipts", "rows", "runs")
    for what in whats:
        spoken = [
            {name: "" if value is None else str(value) for name, value in record.items()}
            for record in as_json(cache, what)
        ]
        assert as_csv(cache, what) == spoken
        assert spoken


def test_parquet_has_the_same_content_as_json(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """A field that only some records have is null in the others."""
    from pyarrow import parquet

    buy(cache, ledger, image(1), text("a"))
    intent = intent_of(image(2))
    receipt = rehashed(ledger.charge(intent), region="eu")
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    cache.record_run(run_record(retries=2))
    whats: tuple[What, ...] = ("receipts", "rows", "runs")
    for what in whats:
        out = tmp_path / f"{what}.parquet"
        assert (
            main(
                [
                    "export",
                    "--cache",
                    str(cache.folder),
                    "--format",
                    "parquet",
                    "--what",
                    what,
                    "--out",
                    str(out),
                ]
            )
            == 0
        )
        records = as_json(cache, what)
        names = dict.fromkeys(name for record in records for name in record)
        assert parquet.read_table(out).to_pylist() == [
            {name: record.get(name) for name in names} for record in records
        ]


def test_a_number_beyond_64_bits_is_refused_as_parquet_and_no_file_is_left(
    cache: PaidCache, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A vendor may write one; CSV and JSON have no limit."""
    intent = intent_of(image(2))
    receipt = ledger.charge(intent, created_ms=2**70)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    out = tmp_path / "out" / "receipts.parquet"
    out.parent.mkdir()
    command = ["export", "--cache", str(cache.folder), "--format", "parquet"]
    assert main([*command, "--out", str(out)]) == 2
    assert "the field created_ms does not fit a Parquet column" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []


def test_parquet_is_not_printed(cache: PaidCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--cache", str(cache.folder), "--format", "parquet"]) == 2
    assert "Parquet is not text: name the file with --out" in capsys.readouterr().err


def test_without_pyarrow_parquet_names_the_package_to_install(
    cache: PaidCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.reports.export.find_spec", lambda name: None)
    with pytest.raises(ReportImpossible, match=r"pip install 'rented-teacher\[parquet\]'"):
        export_parquet(cache, "receipts", io.BytesIO())


def test_exported_rows_lead_back_to_their_keys_and_receipts(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Also those that were bought twice."""
    buy(cache, ledger, *images(1, 2))
    intent = intent_of(image(2), name="again")
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    rows = as_json(cache, "rows")
    assert [row["request_id"] for row in rows] == ["req_0002", "req_0002", "req_0003"]
    for row in rows:
        fields = {name: str(row[name]) for name in image(1).fields()}
        key = EmbeddingKey(**fields)  # type: ignore[arg-type]
        assert key.digest.hex() == row["digest"]
        assert row["dim"] == 8


def test_exported_runs_show_what_they_saved(cache: PaidCache) -> None:
    """Beside their other fields."""
    cache.record_run(run_record(already_paid=3))
    (run,) = as_json(cache, "runs")
    assert (run["already_paid"], run["saved_micro_usd"]) == (3, 300)


@pytest.mark.parametrize("what", ["receipts", "rows", "runs"])
def test_an_empty_cache_exports_nothing(cache: PaidCache, what: What) -> None:
    """The output is valid in both formats."""
    assert as_json(cache, what) == []
    assert as_csv(cache, what) == []


def test_names_with_commas_quotes_and_line_breaks_survive_csv(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Users choose the names of runs."""
    name = 'a, "b"\nc;é'
    buy(cache, ledger, image(1), run=name)
    assert as_csv(cache, "receipts")[0]["run"] == name


def test_a_field_that_only_some_receipts_have_does_not_break_csv(
    cache: PaidCache, ledger: Ledger
) -> None:
    """A newer vendor may add a field; JSON keeps it."""
    buy(cache, ledger, image(1))
    intent = intent_of(image(2))
    receipt = rehashed(ledger.charge(intent), region="eu")
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert len(as_csv(cache, "receipts")) == 2
    assert as_json(cache, "receipts")[1]["region"] == "eu"


def test_an_output_file_is_replaced_only_when_it_is_complete(tmp_path: Path) -> None:
    """A failed write leaves the old file and nothing else."""
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail() -> None:
        with open_output(path) as file:
            file.write("half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.csv", "old")]
    with open_output(path) as file:
        file.write("new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.csv", "new")]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, is_there: bool) -> None:
    """The target may not exist yet."""
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    if is_there:
        target.write_text("old")
    link.symlink_to(target)
    with open_output(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert [(file.name, file.read_text()) for file in target.parent.iterdir()] == [
        ("target", "new")
    ]


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    """As the shell's <(...) and /dev/stdout are."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with open_output(pipe) as file:
        file.write("new")
    reader.join()
    assert (read, pipe.is_fifo()) == (["new"], True)


def test_a_pipe_without_a_name_is_written() -> None:
    reading, writing = os.pipe()
    with open_output(Path(f"/dev/fd/{writing}")) as file:
        file.write("new")
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "new"
