"""Which images are for training, for validation and only for testing."""

from collections import Counter
from pathlib import Path

import pytest

from student.data.folder.image_folder import Catalogue, discover
from student.data.split import split
from student.errors import BadInput
from tests.support.pictures import write_domains


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    root = write_domains(tmp_path / "set", domains=3, classes=2, each=10)
    (root / "unseen.csv").write_text("name,group\ni9,known to nobody\n")
    return discover(root)


def test_every_item_is_in_exactly_one_part(catalogue: Catalogue) -> None:
    result = split(catalogue, targets=["d2"], seed=0)
    parts = [
        *result.train,
        *result.validation,
        *(i for items in result.tests.values() for i in items),
    ]
    assert Counter(parts) == Counter(catalogue.items)


def test_a_fifth_of_each_class_of_each_source_is_for_validation(catalogue: Catalogue) -> None:
    result = split(catalogue, targets=["d2"], seed=0)
    held = Counter((item.domain, item.class_name) for item in result.validation)
    # Nine of ten may be trained on: a fifth is two.
    assert held == {(d, c): 2 for d in ("d0", "d1") for c in ("c0", "c1")}


def test_the_target_domain_is_only_ever_tested(catalogue: Catalogue) -> None:
    result = split(catalogue, targets=["d2"], seed=0)
    assert {item.domain for item in (*result.train, *result.validation)} == {"d0", "d1"}
    assert len(result.tests["d2"]) == 18


def test_unseen_items_are_tested_apart_in_source_and_target(catalogue: Catalogue) -> None:
    result = split(catalogue, targets=["d2"], seed=0)
    assert len(result.tests["known to nobody, source domains"]) == 4
    assert len(result.tests["known to nobody, target domains"]) == 2
    assert not [i for i in (*result.train, *result.validation) if i.path.stem == "i9"]


def test_a_seed_decides_the_split(catalogue: Catalogue) -> None:
    first, again, other = (split(catalogue, targets=["d2"], seed=s) for s in (0, 0, 1))
    assert first == again
    assert first.validation != other.validation


def test_an_unknown_target_is_reported_with_the_list_of_domains(catalogue: Catalogue) -> None:
    with pytest.raises(BadInput, match=r"no domain sketch; the domains are d0, d1, d2"):
        split(catalogue, targets=["sketch"], seed=0)


def test_holding_out_every_domain_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(BadInput, match="every domain is held out"):
        split(catalogue, targets=["d0", "d1", "d2"], seed=0)


def test_images_that_are_both_tested_and_trained_on_are_counted(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=2, each=10)
    assert split(discover(root), targets=["d1"], seed=0).copies() == {}
    (trained, *_) = split(discover(root), targets=["d1"], seed=0).train
    (root / "d1" / "c0" / "i0.png").write_bytes(trained.path.read_bytes())
    assert split(discover(root), targets=["d1"], seed=0).copies() == {"d1": 1}
