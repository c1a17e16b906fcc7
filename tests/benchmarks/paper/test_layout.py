"""The five data sets are found in DomainBed's layout, and no other folder is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.paper.datasets import DATASETS, Dataset, find
from benchmarks.paper.recipe import targets_of
from student.data.folder.image_folder import discover
from student.errors import BadInput
from tests.support.pictures import write_picture

# Where DomainBed's download script puts each set, and an archive that was only unpacked.
PLACES = [
    ("PACS", "PACS"),
    ("PACS", "kfold"),
    ("PACS", "PACS/kfold"),
    ("VLCS", "VLCS"),
    ("OfficeHome", "office_home"),
    ("OfficeHome", "OfficeHomeDataset_10072016"),
    ("OfficeHome", "office_home/OfficeHomeDataset_10072016"),
    ("TerraIncognita", "terra_incognita"),
    ("DomainNet", "domain_net"),
]


def lay_out(place: Path, dataset: Dataset) -> Path:
    """An image of each of two classes in every domain, and another file beside them."""
    for number, domain in enumerate(dataset.domains):
        for name in ("bird", "dog"):
            write_picture(place / domain / name / "0.jpg", number)
    (place / "ImageInfo.csv").write_text("")
    return place


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_set_is_found_where_domainbed_or_its_archive_puts_it(
    tmp_path: Path, name: str, place: str
) -> None:
    laid_out = lay_out(tmp_path / place, DATASETS[name])
    assert find(tmp_path, DATASETS[name]) == laid_out


@pytest.mark.parametrize("name", DATASETS)
def test_the_client_sees_exactly_the_domains_of_the_set(tmp_path: Path, name: str) -> None:
    dataset = DATASETS[name]
    lay_out(tmp_path / dataset.folder, dataset)
    catalogue = discover(find(tmp_path, dataset))
    assert set(catalogue.domains) == set(dataset.domains)
    assert catalogue.classes == ("bird", "dog")


def test_a_folder_that_would_become_a_domain_is_refused_by_name(tmp_path: Path) -> None:
    dataset = DATASETS["TerraIncognita"]
    lay_out(tmp_path / "terra_incognita", dataset)
    (tmp_path / "terra_incognita/eccv_18_all_images_sm").mkdir()
    with pytest.raises(BadInput, match="eccv_18_all_images_sm; move them away"):
        find(tmp_path, dataset)


def test_a_missing_data_set_is_reported_with_the_searched_folders(tmp_path: Path) -> None:
    (tmp_path / "PACS/photo/dog").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"PACS is not under .*kfold.*README"):
        find(tmp_path, DATASETS["PACS"])


def test_targets_are_all_domains_unless_some_are_named() -> None:
    dataset = DATASETS["OfficeHome"]
    assert targets_of(dataset, []) == ("Art", "Clipart", "Product", "Real World")
    assert targets_of(dataset, ["Real World"]) == ("Real World",)
    with pytest.raises(BadInput, match="OfficeHome has no domain Real: Art, Clipart"):
        targets_of(dataset, ["Real"])


def test_the_counts_are_those_of_domainbed() -> None:
    counts = {
        name: (len(dataset.domains), dataset.images, dataset.classes)
        for name, dataset in DATASETS.items()
    }
    assert counts == {
        "PACS": (4, 9_991, 7),
        "VLCS": (4, 10_729, 5),
        "OfficeHome": (4, 15_588, 65),
        "TerraIncognita": (4, 24_330, 10),
        "DomainNet": (6, 586_575, 345),
    }
