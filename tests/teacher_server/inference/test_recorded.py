"""A recording is sold bit for bit, to those who send what was recorded, and to nobody else."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teacher_server.errors import ImageRefused, ModelUnavailable, TextRefused
from teacher_server.inference.recorded import RecordedEncoder, RecordedItems

PICTURE, TEXT = b"the bytes of a file", "café"


def recording(folder: Path, **changes: Any) -> Path:
    """A recording of one image and one text; `changes` replace what a file holds."""
    vectors = np.array([[0.6, 0.8], [0.0, 1.0]], dtype=np.float32)
    items = [
        f"image {hashlib.sha256(PICTURE).hexdigest()}",
        f"text {hashlib.sha256(TEXT.encode()).hexdigest()}",
    ]
    described = {"format": 1, "name": "lesson", "recorded_from": {"model": "a CLIP"}}
    folder.mkdir()
    np.save(folder / "vectors.npy", changes.get("vectors", vectors))
    lines = changes.get("items", items)
    assert isinstance(lines, list)
    (folder / "items.txt").write_text("".join(f"{line}\n" for line in lines))
    (folder / "recorded.json").write_text(json.dumps(changes.get("described", described)))
    return folder


def test_an_image_is_found_by_its_bytes_and_a_text_by_its_nfc_form(tmp_path: Path) -> None:
    encoder = RecordedEncoder(recording(tmp_path / "r"))
    image, text = encoder.prepare_item(PICTURE), encoder.prepare_item("cafe\u0301")
    assert (image.modality, text.modality) == ("image", "text")
    assert encoder.encode([image, image]).tolist() == [[np.float32(0.6), np.float32(0.8)]] * 2
    assert encoder.encode([text]).tolist() == [[0.0, 1.0]]


def test_what_was_not_recorded_is_refused(tmp_path: Path) -> None:
    encoder = RecordedEncoder(recording(tmp_path / "r"))
    with pytest.raises(ImageRefused, match="no answer for this image file"):
        encoder.prepare_item(PICTURE + b".")
    with pytest.raises(TextRefused, match="no answer for the text 'tea'"):
        encoder.prepare_item("tea")


def test_another_process_finds_items_without_the_answers(tmp_path: Path) -> None:
    encoder = RecordedEncoder(recording(tmp_path / "r"))
    found: RecordedItems = pickle.loads(pickle.dumps(encoder.preparation))
    assert found.info == encoder.info
    for item in (PICTURE, TEXT):
        assert np.array_equal(found.prepare_item(item).array, encoder.prepare_item(item).array)
    with pytest.raises(TextRefused):
        found.prepare_item("tea")
    assert type(found) is RecordedItems


def test_another_recording_is_another_model(tmp_path: Path) -> None:
    first = RecordedEncoder(recording(tmp_path / "a")).info
    same = RecordedEncoder(recording(tmp_path / "b")).info
    other = RecordedEncoder(
        recording(tmp_path / "c", vectors=np.array([[0.8, 0.6], [0.0, 1.0]], dtype=np.float32))
    ).info
    assert first.id == "recorded/lesson"
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"described": {"format": 2, "name": "x"}}, "its format is 2"),
        ({"described": {"format": 1}}, "is no recording"),
        ({"items": ["image " + "0" * 64]}, "items.txt has 1 lines, and vectors.npy 2 rows"),
        ({"items": ["text " + "0" * 64] * 2}, "names 1 items twice"),
        (
            {"vectors": np.array([[0.6, 0.8], [0, 2]], np.float32)},
            r"row 1 .* length 2\.0000, not 1",
        ),
        ({"vectors": np.array([[0.6, 0.8], [0, np.nan]], np.float32)}, "row 1 .* length nan"),
        ({"vectors": np.ones((2, 1), np.float64)}, "float64"),
        ({"vectors": np.array([{}, {}])}, "is no recording"),
    ],
)
def test_a_recording_that_is_not_sound_is_not_sold(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelUnavailable, match=message):
        RecordedEncoder(recording(tmp_path / "r", **changes))


def test_a_folder_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="is no recording: it needs"):
        RecordedEncoder(tmp_path)
