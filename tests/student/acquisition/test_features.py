"""Features are the backbone's own, computed once for the same content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from student.acquisition.features import frozen_features
from student.models.timm_backbone import load_backbone
from student.options import TrainingOptions

SETTINGS = TrainingOptions(backbone="test_efficientnet", weights="none", device="cpu", threads=1)
DIGESTS = [f"{number:064x}" for number in range(5)]


def pictures(count: int = 5, size: int = 16) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


class Counted:
    """Progress that records every update."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.updates.append((done, total))


def test_features_are_computed_once_and_read_the_next_time(tmp_path: Path) -> None:
    first, again = Counted(), Counted()
    computed = frozen_features(
        DIGESTS, pictures(), SETTINGS, seed=0, folder=tmp_path, progress=first
    )
    read = frozen_features(DIGESTS, pictures(), SETTINGS, seed=0, folder=tmp_path, progress=again)
    np.testing.assert_array_equal(read, computed)
    assert (first.updates, again.updates) == ([(5, 5)], [])
    assert computed.dtype == np.float32


def test_each_image_is_seen_as_the_student_sees_it(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.manual_seed(7)
    torch.save(load_backbone("test_efficientnet", "none").state_dict(), weights)
    settings = SETTINGS.changed(weights=str(weights))
    found = frozen_features(DIGESTS, pictures(), settings, seed=0, folder=tmp_path / "features")
    backbone = load_backbone("test_efficientnet", str(weights)).eval()
    mean = torch.tensor([0.485, 0.456, 0.406])
    deviation = torch.tensor([0.229, 0.224, 0.225])
    normal = (torch.from_numpy(pictures()).float() / 255 - mean) / deviation
    with torch.no_grad():
        expected = backbone(normal.permute(0, 3, 1, 2))
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_other_images_sizes_backbones_and_weights_have_features_of_their_own(
    tmp_path: Path,
) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(load_backbone("test_efficientnet", "none").state_dict(), weights)
    folder = tmp_path / "features"
    frozen_features(DIGESTS, pictures(), SETTINGS, seed=0, folder=folder)
    frozen_features(DIGESTS[::-1], pictures(), SETTINGS, seed=0, folder=folder)
    frozen_features(DIGESTS, pictures(size=32), SETTINGS, seed=0, folder=folder)
    frozen_features(DIGESTS, pictures(), SETTINGS, seed=1, folder=folder)
    by_file = SETTINGS.changed(weights=str(weights))
    frozen_features(DIGESTS, pictures(), by_file, seed=0, folder=folder)
    torch.save(load_backbone("test_efficientnet", "none").state_dict(), weights)
    frozen_features(DIGESTS, pictures(), by_file, seed=0, folder=folder)
    assert len(list(folder.iterdir())) == 6


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    computed = frozen_features(DIGESTS, pictures(), SETTINGS, seed=0, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    for damage in (b"", file.read_bytes()[:-7], b"not an array"):
        file.write_bytes(damage)
        again = frozen_features(DIGESTS, pictures(), SETTINGS, seed=0, folder=tmp_path)
        np.testing.assert_array_equal(again, computed)


def test_features_do_not_depend_on_the_random_numbers_around_them(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = frozen_features(DIGESTS, pictures(), SETTINGS, seed=0, folder=tmp_path / "a")
    torch.manual_seed(2)
    second = frozen_features(DIGESTS, pictures(), SETTINGS, seed=0, folder=tmp_path / "b")
    np.testing.assert_array_equal(first, second)
