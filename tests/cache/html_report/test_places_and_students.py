"""The spend by domain and class, and the cost of accuracy: what is read beside the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from cache.cli import main
from cache.errors import ReportImpossible
from cache.html_report.data_places import find_places
from cache.html_report.page import Sources, html_report
from cache.paid_cache import PaidCache
from cache.records.embedding_key import image_item
from cache.reports.spend import spend_summary
from tests.cache.html_report.conftest import photo, write_meta
from tests.support.cache_purchases import (
    ACCOUNT,
    NOON,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
    tamper,
    text,
)
from tests.support.html_tables import Page
from tests.support.one_data_set import write_csv


def rows(cache: PaidCache, caption: str, **sources: Any) -> list[list[str]]:
    """A table of the report."""
    return Page(html_report(cache, Sources(**sources), made_ms=NOON)).rows(caption)


def test_images_are_counted_by_the_domain_and_class_of_their_file(
    cache: PaidCache, photos: Path
) -> None:
    """What has no one place is named as such: a file in two domains, one that is not there."""
    by_domain = rows(cache, "Images paid for, by domain", data=photos)
    assert {row[0]: row[1:4] for row in by_domain} == {
        "paper": ["1", "1", "100"],
        "screen": ["1", "1", "100"],
        "not in the data": ["1", "1", "100"],
        "the same file in several": ["1", "1", "100"],
        "texts, which have no image": ["2", "2", "200"],
    }
    by_class = rows(cache, "Images paid for, by class", data=photos)
    assert {row[0]: row[1] for row in by_class} == {
        "cat": "2",
        "dog": "1",
        "not in the data": "1",
        "texts, which have no image": "2",
    }


def test_without_a_data_folder_domains_and_classes_are_not_known(cache: PaidCache) -> None:
    report = html_report(cache, Sources(), made_ms=NOON)
    assert "keeps no domains" in report
    assert "keeps no classes" in report
    assert not any(caption.startswith("Images paid") for caption in Page(report).tables)


def test_a_receipt_for_images_and_texts_is_divided_by_the_prices_of_others(
    cache: PaidCache, ledger: Ledger
) -> None:
    """An image costs three queries here and a text one."""
    for keys, units in (((*images(1, 2), text("a")), 7), ((text("b"),), 1)):
        intent = intent_of(*keys, units=units)
        receipt = ledger.charge(intent)
        cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    shown = rows(cache, "Paid for images and for texts")
    assert [row[:4] for row in shown] == [
        ["images", "2", "6", "600"],
        ["texts", "2", "2", "200"],
    ]


def test_a_receipt_for_both_stays_whole_if_no_other_receipt_shows_the_prices(
    cache: PaidCache, ledger: Ledger
) -> None:
    buy(cache, ledger, image(1), text("a"))
    (row,) = rows(cache, "Paid for images and for texts")
    assert row[:4] == ["images and texts in one request, prices not known apart", "2", "2", "200"]


def test_a_paid_image_without_a_row_is_counted_as_such(
    cache: PaidCache, ledger: Ledger, folder: Path, tmp_path: Path
) -> None:
    buy(cache, ledger, photo(b"a"), photo(b"b"), photo(b"c"))
    tamper(folder, "DELETE FROM Cache WHERE key = ?", photo(b"b").digest)
    data = tmp_path / "data"
    for name in "abc":
        (data / f"class-{name}").mkdir(parents=True)
        (data / f"class-{name}" / "0.png").write_text(name)
    by_class = rows(cache, "Images paid for, by class", data=data)
    assert {row[0]: row[1] for row in by_class} == {
        "class-a": "1",
        "class-c": "1",
        "paid, rows not in the cache": "1",
    }
    (without, gone) = rows(cache, "Images paid for, by domain", data=data)
    assert (without[0], gone[0]) == (
        "paid, rows not in the cache",
        "the data has classes only",
    )


def test_images_below_a_class_belong_to_it_and_hidden_files_to_nothing(tmp_path: Path) -> None:
    for name in ("ink/cat/more/1.png", "ink/cat/2.png", ".git/cat/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    items = {image_item(name.encode()) for name in ("ink/cat/more/1.png", ".git/cat/3.png")}
    (place,) = find_places(tmp_path, items).values()
    assert (place.domains, place.classes) == (frozenset({"ink"}), frozenset({"cat"}))


def write_photos(root: Path) -> set[str]:
    """Two domains with one class each, whose names are codes; the digests of the files."""
    for name in ("ink/n01/1.png", "paper/n_02/2.png"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(name)
    return {image_item(path.read_bytes()) for path in root.rglob("*.png")}


def places(data: Path, items: set[str]) -> list[tuple[list[str], list[str]]]:
    """The domains and classes of each image, in the order of the domains."""
    found = find_places(data, items).values()
    return sorted((sorted(place.domains), sorted(place.classes)) for place in found)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_manifest_and_the_words_of_its_classes_say_where_an_image_lies(
    tmp_path: Path, name: str
) -> None:
    items = write_photos(tmp_path)
    (tmp_path / "classes.csv").write_text(
        "\ufefffolder,name\nn01,tench\nN 02,great shark\n", "utf-8"
    )
    expected = [(["ink"], ["tench"]), (["paper"], ["great shark"])]
    assert places(tmp_path, items) == expected
    rows = [
        {"path": "paper/n_02/2.png", "label": "n_02", "domain": "paper"},
        {"path": str(tmp_path / "ink/n01/1.png"), "label": "n01", "domain": "ink"},
    ]
    if name.endswith(".csv"):
        write_csv(tmp_path / name, rows)
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
    assert places(tmp_path / name, items) == expected


def test_a_manifest_without_domains_has_classes_only(tmp_path: Path) -> None:
    items = write_photos(tmp_path)
    manifest = write_csv(tmp_path / "m.csv", [{"path": "ink/n01/1.png", "label": "fish"}])
    assert places(manifest, items) == [([], ["fish"])]


def test_a_manifest_without_labels_has_domains_only(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    buy(cache, ledger, photo(b"a"))
    (tmp_path / "a.png").write_bytes(b"a")
    manifest = write_csv(tmp_path / "m.csv", [{"path": "a.png", "domain": "ink"}])
    for kind, name in (("domain", "ink"), ("class", "the data has no classes")):
        assert name in {row[0] for row in rows(cache, f"Images paid for, by {kind}", data=manifest)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "path,label\nlost.png,cat\n", "1 of 1 files are not there: 'lost.png'"),
        ("m.csv", "file,label\na.png,cat\n", "no rows with the column path"),
        ("m.csv", "path,label\n", "no rows with the column path"),
        ("m.parquet", "no", "is not a Parquet file"),
        ("classes.csv", "code,word\nn01,tench\n", "no rows with the columns folder and name"),
        ("state.json", "{}", "a data set of Hugging Face"),
    ],
)
def test_data_that_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    data = tmp_path / "data"
    items = write_photos(data)
    (data / name).write_text(text)
    named = data / name if name.startswith("m.") else data
    with pytest.raises(ReportImpossible, match=message):
        find_places(named, items)


def test_the_cost_of_a_point_is_that_of_the_held_out_domains_above_erm(
    cache: PaidCache, tmp_path: Path
) -> None:
    """60% against 35% for 7,500 micro-USD."""
    (row,) = rows(cache, "Cost for each point of accuracy", students=[write_meta(tmp_path / "run")])
    assert row[1:8] == ["vl2v-adip", "outline, ink", "100", "60.0%", "25.0", "75", "7,500"]
    assert row[9:11] == ["125.0", "300.0"]


def test_a_student_leads_to_the_receipts_that_its_digest_names(
    cache: PaidCache, ledger: Ledger, tmp_path: Path
) -> None:
    """Those that the cache had when the student was trained."""
    buy(cache, ledger, *images(1, 2))
    buy(cache, ledger, image(3))
    digest = spend_summary(cache)["receipts_digest"]
    buy(cache, ledger, image(4), run="later")
    known = write_meta(tmp_path / "known", receipts_digest=digest)
    other = write_meta(tmp_path / "other")
    first, second = rows(cache, "Cost for each point of accuracy", students=[known, other])
    assert first[-1] == "2 receipts 1\N{EN DASH}2"
    assert second[-1].startswith("not among this cache's")


def test_without_erm_or_a_gain_there_is_no_cost_of_a_gain(cache: PaidCache, tmp_path: Path) -> None:
    scores = {"source validation": {"correct": 1, "images": 2}}
    alone = write_meta(tmp_path / "a", targets=[], scores=scores, compared={"vl2v-adip": scores})
    equal = write_meta(tmp_path / "b", targets=[], scores=scores, compared={"erm": scores})
    first, second = rows(cache, "Cost for each point of accuracy", students=[alone, equal])
    assert (first[5], first[9], first[10]) == ("not known", "150.0", "not known")
    assert (second[5], second[10]) == ("0.0", "none")


@pytest.mark.parametrize("option", ["--student", "--data"])
def test_a_folder_that_cannot_be_used_exits_with_2_and_writes_nothing(
    option: str, bought: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "spend.html"
    assert main(["html", str(out), option, str(tmp_path / "nowhere")]) == 2
    assert f"{tmp_path}/nowhere" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("changes", [{"queries": None}, {"scores": {}}, {"targets": 3}])
def test_a_meta_json_without_scores_or_costs_is_refused(
    changes: dict[str, Any], bought: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = write_meta(tmp_path / "run", **changes)
    assert json.loads((student / "meta.json").read_text())
    assert main(["html", str(tmp_path / "spend.html"), "--student", str(student)]) == 2
    assert "has no meta.json of a student with scores and costs" in capsys.readouterr().err
