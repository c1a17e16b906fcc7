from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from student.transforms.plain_background import on_plain_background

SIZE = 40


def _noise(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def _on(colour: tuple[int, int, int], subject: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
    image[:] = colour
    left = (SIZE - len(subject)) // 2
    image[left : left + len(subject), left : left + len(subject)] = subject
    return image


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (250, 120, 10)])
def test_a_subject_on_one_colour_is_on_a_plain_background(colour: tuple[int, int, int]) -> None:
    assert on_plain_background(_on(colour, _noise()[:-2, :-2])[None]).tolist() == [True]


def test_an_image_with_something_along_its_border_is_not() -> None:
    assert on_plain_background(_noise()[None]).tolist() == [False]


def test_a_subject_may_cover_a_quarter_of_the_border() -> None:
    image = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    border = 4 * SIZE - 4
    quarter = border // 4
    image[0, :quarter] = 0
    assert on_plain_background(image[None]).tolist() == [True]
    image[0, : quarter + 1] = 0
    assert on_plain_background(image[None]).tolist() == [False]


def test_compression_noise_on_the_border_is_still_one_colour() -> None:
    noise = np.random.default_rng(0).integers(-8, 9, (SIZE, SIZE, 3))
    grey = np.clip(128 + noise, 0, 255).astype(np.uint8)
    assert on_plain_background(grey[None]).tolist() == [True]


def test_each_image_of_a_batch_is_judged_alone() -> None:
    images = np.stack([_noise(1), _on((9, 9, 9), _noise()[:-4, :-4]), _noise(2)])
    assert on_plain_background(images).tolist() == [False, True, False]
