"""Images without labels, over real HTTP: bought, distilled, and used by every other command."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fastapi.testclient import TestClient

from cache.storage.reader import CacheReader
from student import load
from student.cli import main
from student.commands.serve import bought_texts
from student.inference.embedding_app import embedding_app
from tests.end_to_end.conftest import RunningVendor, invoke
from tests.end_to_end.test_new_classes import TINY


@pytest.fixture(scope="module")
def key(vendor: RunningVendor) -> str:
    return vendor.new_key(100)


@pytest.fixture(scope="module")
def made(
    vendor: RunningVendor, emoji: Path, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with images of two domains, and a student of one of them (`out`) with its cache."""
    folder = tmp_path_factory.mktemp("unlabelled")
    for domain in ("apple", "outline"):
        (folder / "data" / domain).mkdir(parents=True)
        for image in (emoji / domain).glob("*/*.png"):
            shutil.copy(image, folder / "data" / domain / f"{image.parent.name}-{image.name}")
    bird = next((folder / "data" / "outline").glob("bird-*.png"))
    table = f"file,caption\noutline/{bird.name},A picture of a bird.\n"
    (folder / "data" / "captions.csv").write_text(table)
    done = invoke(
        *("distill-client", "--vendor", vendor.url, "--data", str(folder / "data")),
        *("--unlabelled", "--budget", "60", "--target-domain", "outline"),
        *("--cache", str(folder / "cache"), "--out", str(folder / "out"), *TINY),
        key=key,
    )
    assert "R@10" in done.stdout
    return folder


def test_each_query_is_paid_once_and_stands_in_the_books(made: Path) -> None:
    meta = json.loads((made / "out" / "meta.json").read_text())
    with CacheReader.open(made / "cache") as cache:
        spent = cache.spend_on_record().committed_units
    # 15 images of a style: 3 validate and 12 are trained on; 15 of the held-out one, 1 caption.
    assert (meta["queries"], meta["queries_for_measuring"]) == (12, 19)
    assert spent == 31


def test_the_student_embeds_and_is_exported_without_confidences(made: Path) -> None:
    student = ("--student", str(made / "out"))
    image = str(next((made / "data" / "outline").glob("*.png")))
    assert main(["embed", image, "--out", str(made / "e.npy"), *student]) == 0
    assert np.linalg.norm(np.load(made / "e.npy"), axis=1) == pytest.approx(1.0, abs=1e-5)

    assert main(["export", "--format", "onnx", "--out", str(made / "s.onnx"), *student]) == 0
    session = onnxruntime.InferenceSession(made / "s.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["embedding"]


def test_it_is_served_beside_the_captions_that_were_bought(made: Path) -> None:
    trained = load(made / "out")
    client = TestClient(embedding_app(trained, bought_texts(trained, None)))
    image = next((made / "data" / "outline").glob("bird-*.png"))
    items = [
        {"image": base64.b64encode(image.read_bytes()).decode()},
        {"text": "A picture of a bird."},
    ]
    answer = client.post("/v1/embeddings", json={"input": items})
    assert answer.status_code == 200
    found = np.array([one["embedding"] for one in answer.json()["data"]])
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-4)
    assert found[0] == pytest.approx(trained.embed([image])[0], abs=1e-5)


def test_it_has_no_class_until_classes_are_named(
    made: Path,
    vendor: RunningVendor,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", key)
    image = str(next((made / "data" / "outline").glob("*.png")))
    asked = ["predict", image, "--json", "--student", str(made / "out"), "--vendor", vendor.url]

    assert main(asked) == 2
    assert "no classes, because it was trained on images without labels" in capsys.readouterr().err

    assert main([*asked, "--classes", "bird,heart", "--budget", "60"]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert set(answer["classes"]) == {"bird", "heart"}
    assert answer["calibrated"] is False
    assert "trained without labels: its confidence is not calibrated" in printed.err


def test_a_caption_that_the_model_cannot_read_to_its_end_is_refused_before_buying(
    made: Path, vendor: RunningVendor, key: str, tmp_path: Path
) -> None:
    shutil.copytree(made / "data" / "outline", tmp_path / "data")
    name = next((tmp_path / "data").glob("*.png")).name
    (tmp_path / "data" / "captions.csv").write_text(f"file,caption\n{name},{'bird ' * 100}\n")
    refused = invoke(
        *("distill-client", "--vendor", vendor.url, "--data", str(tmp_path / "data")),
        *("--unlabelled", "--budget", "60", "--cache", str(tmp_path / "cache")),
        *("--out", str(tmp_path / "out"), *TINY),
        key=key,
        exit_code=2,
    )
    assert 'caption "bird bird' in refused.stderr
    assert "Nothing was bought" in refused.stderr
    with CacheReader.open(tmp_path / "cache") as cache:
        assert cache.spend_on_record().committed_units == 0
