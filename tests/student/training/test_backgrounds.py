"""A folder is one of icons where most images of every domain are on a plain background."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from student.options import TrainingOptions
from student.training import backgrounds
from student.training.backgrounds import background_sentence, mostly_plain
from student.training.dataset import LabelledImages, TrainingData
from tests.support.shaded_images import make_data
from tests.support.training_tasks import task_of


def _folder(*plain: NDArray[np.bool_]) -> TrainingData:
    """A domain for each array; its images with True have a white border."""
    is_plain = np.concatenate(plain)
    data = make_data(images=len(is_plain))
    pixels = np.random.default_rng(0).integers(0, 256, data.pixels.shape, dtype=np.uint8)
    for rows in (np.s_[:, :, :2], np.s_[:, :, -2:], np.s_[:, :, :, :2], np.s_[:, :, :, -2:]):
        view = pixels[rows]
        view[is_plain] = 255
    domains = np.repeat(np.arange(len(plain)), [len(one) for one in plain])
    return replace(data, pixels=pixels, domains=domains)


def _first(count: int, of: int) -> NDArray[np.bool_]:
    return np.arange(of) < count


def test_most_images_of_every_domain_have_to_be_on_a_plain_background() -> None:
    assert mostly_plain(_folder(_first(6, of=9), _first(9, of=9)))
    assert not mostly_plain(_folder(_first(4, of=9), _first(9, of=9)))
    assert not mostly_plain(_folder(_first(0, of=1), _first(90, of=90)))


def test_half_of_a_domain_is_not_most_of_it() -> None:
    assert not mostly_plain(_folder(_first(5, of=10)))
    assert mostly_plain(_folder(_first(6, of=10)))


def test_images_of_a_large_domain_are_looked_at_from_first_to_last() -> None:
    assert not mostly_plain(_folder(_first(600, of=1300)))
    assert mostly_plain(_folder(_first(700, of=1300)))


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (6, "the images are taken for icons: 67% of the images of drawn are on a plain background"),
        (3, "not taken for icons: 33% of the images of drawn are on a plain background"),
    ],
)
def test_whether_a_folder_is_one_of_icons_is_said_with_the_domain_that_decides_it(
    plain: int, said: str
) -> None:
    data = _folder(_first(9, of=9), _first(plain, of=9))
    options = TrainingOptions(plain_clean_prob=0.7)
    sentence = background_sentence(options, data.pixels, data.domains, ("icons", "drawn"))
    assert said in sentence


def test_nothing_is_said_of_backgrounds_by_a_method_that_shows_all_images_alike() -> None:
    data = _folder(_first(9, of=9))
    assert background_sentence(TrainingOptions(), data.pixels, data.domains, ("icons",)) == ""


@pytest.mark.parametrize("photographs", [False, True])
def test_only_a_folder_of_icons_is_trained_on_as_icons(
    photographs: bool, validation: LabelledImages, settings: TrainingOptions
) -> None:
    data = _folder(_first(9, of=9), _first(0 if photographs else 9, of=9))
    used = task_of("vl2v-adip-joint", data, validation, settings).ready().options
    expected = (None, None) if photographs else (0.7, 0.5)
    assert (used.plain_clean_prob, used.plain_line_drawing_prob) == expected
    assert (used.clean_prob, used.line_drawing_prob) == (0.12, 0.17)


def test_methods_that_show_all_images_alike_do_not_read_them_beforehand(
    validation: LabelledImages, settings: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(backgrounds, "on_plain_background", refuse)
    task_of("vl2v-adip-1q", _folder(_first(9, of=9)), validation, settings).ready()
    with pytest.raises(AssertionError):
        task_of("vl2v-adip-joint", _folder(_first(9, of=9)), validation, settings).ready()
