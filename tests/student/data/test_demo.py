"""The emoji in ten styles."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from student.data.demo.lay_out import all_emoji, is_demo_data, lay_out
from student.data.folder.image_folder import discover


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("emoji")
    lay_out(root)
    return root


def test_ten_styles_of_thirty_classes_are_laid_out(emoji: Path) -> None:
    catalogue = discover(emoji)
    assert len(catalogue.domains) == 10
    assert len(catalogue.classes) == 30
    assert len(catalogue.items) > 6_500
    assert is_demo_data(emoji)


def test_the_split_in_three_is_fixed_and_covers_every_class() -> None:
    counts = Counter(e.known_to for e in all_emoji())
    assert counts == {"student": 496, "teacher": 106, "nobody": 106}
    for part in counts:
        assert len({e.class_name for e in all_emoji() if e.known_to == part}) == 30


def test_an_emoji_is_in_the_same_part_in_every_style(emoji: Path) -> None:
    groups: dict[str, set[str | None]] = {}
    for item in discover(emoji).items:
        groups.setdefault(item.path.stem, set()).add(item.unseen_group)
    assert {len(found) for found in groups.values()} == {1}


def test_outlines_have_no_colour_and_few_dark_pixels(emoji: Path) -> None:
    outline = np.asarray(Image.open(emoji / "outline" / "mammal" / "dog-face.png"), dtype=int)
    colour = np.asarray(Image.open(emoji / "openmoji" / "mammal" / "dog-face.png"), dtype=int)
    assert np.ptp(outline, axis=2).max() <= 8
    assert np.ptp(colour, axis=2).max() > 60


def test_laying_out_again_rewrites_no_image(emoji: Path) -> None:
    picture = emoji / "apple" / "fruit" / "banana.png"
    before = picture.stat().st_mtime_ns
    lay_out(emoji)
    assert picture.stat().st_mtime_ns == before
