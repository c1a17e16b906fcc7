"""Training a small teacher: its data, its folder, and resuming a killed run."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from student.data.demo.lay_out import all_emoji
from student.errors import BadInput
from student.evaluation.results import AccuracyCount
from teacher_server.inference.encoder import load_encoder
from tools.digits.figures import all_figures
from tools.digits.lay_out import lay_out
from tools.digits.train_teacher import digits
from tools.emoji.measure_teacher import card
from tools.emoji.train_teacher import emoji
from tools.train_teacher.command import parser, run
from tools.train_teacher.concepts import TrainingData, read
from tools.train_teacher.measure import embedding_spread
from tools.train_teacher.recipe import TeacherDataset, TrainingSettings
from tools.train_teacher.train import TeacherTraining, clip_loss, train

USUAL = TrainingSettings(subject="emoji", left_out=(), steps=1000, batch=128, seed=0)
PLAIN = TrainingSettings(subject="digits", left_out=(), steps=5, batch=6, seed=0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, so that a resumed run adds numbers in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1 and 7 of each kind that the student, the teacher and nobody may train on."""
    root = tmp_path_factory.mktemp("digits")
    known = ("student", "teacher", "nobody")
    chosen = [
        next(f for f in all_figures() if (f.kind, f.digit, f.known_to) == (kind, digit, known_to))
        for kind in ("print", "hand", "display")
        for digit in (1, 7)
        for known_to in known
    ]
    lay_out(root, chosen)
    return root


def training_data(data: Path, *left_out: str) -> TrainingData:
    return read(data, digits().names, left_out=left_out)


def test_hidden_figures_are_not_trained_on(data: Path) -> None:
    """Two of the three figures of each kind and digit are used: the student's and the teacher's."""
    names = [concept.name for concept in training_data(data).concepts]
    assert len(names) == 12
    assert not any("Computer Modern" in name for name in names)
    assert "seven in STIX" in names


def test_a_left_out_style_occurs_neither_in_images_nor_in_captions(data: Path) -> None:
    """Concepts that have no other style are left out too."""
    found = training_data(data, "outlined", "handwritten")
    assert {"outlined", "handwritten"} & set(found.styles) == set()
    shown = {style for concept in found.concepts for style in concept.pictures}
    assert shown == set(found.styles)
    assert not any("handwritten" in concept.name for concept in found.concepts)
    assert len(found.classes) == 2


def test_leaving_out_an_unknown_style_is_an_error(data: Path) -> None:
    """Otherwise a misspelt control would be trained on every style."""
    with pytest.raises(BadInput, match="no style outlines; the data has coloured, display"):
        training_data(data, "outlines")


def test_captions_use_the_unicode_name_of_an_emoji() -> None:
    """Not its file name."""
    names = emoji().names
    assert len(names) == len(all_emoji())
    assert names["small-airplane"] == "small airplane"


def test_captions_use_the_stem_of_a_file_without_a_name(data: Path) -> None:
    """So a teacher can be trained on any folder of images."""
    assert "seven stix 0" in {concept.name for concept in read(data, {}).concepts}


def test_the_loss_on_different_names_is_clips_loss() -> None:
    """The mean cross-entropy of rows and columns, bit for bit."""
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(4)
    usual = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    assert torch.equal(clip_loss(logits, ["a", "b", "c", "d"]), usual)


def test_two_rows_with_equal_names_are_not_negatives() -> None:
    """Their similarity does not change the loss."""
    logits = torch.zeros(3, 3)
    alike = logits.clone()
    alike[0, 1] = alike[1, 0] = 9.0
    names = ["handwritten six", "handwritten six", "handwritten two"]
    assert torch.equal(clip_loss(alike, names), clip_loss(logits, names))
    assert clip_loss(alike, ["a", "b", "c"]) > clip_loss(logits, ["a", "b", "c"]) + 1


def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(
    data: Path, tmp_path: Path
) -> None:
    """Random choices depend on the step alone."""
    found = training_data(data)
    whole = train(found, PLAIN, tmp_path / "whole.pt", device="cpu").state_dict()
    killed = TeacherTraining(found, PLAIN, device="cpu")
    killed.step()
    killed.step()
    killed.save(tmp_path / "killed.pt")
    resumed = train(found, PLAIN, tmp_path / "killed.pt", device="cpu").state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_another_training_is_refused(data: Path, tmp_path: Path) -> None:
    """Otherwise a control could continue from weights that were trained on its left-out styles."""
    run = TeacherTraining(training_data(data), PLAIN, device="cpu")
    run.save(tmp_path / "checkpoint.pt")
    other = replace(PLAIN, left_out=("dots",))
    with pytest.raises(BadInput, match="is of another training"):
        train(training_data(data, "dots"), other, tmp_path / "checkpoint.pt", device="cpu")


@pytest.mark.parametrize(
    ("training", "name"),
    [
        (USUAL, "emoji"),
        (replace(USUAL, steps=150), "emoji-weak"),
        (replace(USUAL, steps=400), "emoji-400-steps"),
        (replace(USUAL, left_out=("glyph", "outline")), "emoji-without-glyph-outline"),
        (replace(USUAL, batch=64, seed=2), "emoji-batch-64-seed-2"),
    ],
)
def test_a_teachers_name_lists_the_options_that_differ_from_the_default(
    training: TrainingSettings, name: str
) -> None:
    """So a control never has the name of the default teacher."""
    assert training.name(1000, 150) == name


def test_the_vendor_loads_the_trained_folder(data: Path, tmp_path: Path) -> None:
    """Five steps, saved, measured with the vendor's encoder and recorded in provenance.json."""
    dataset: TeacherDataset = digits()
    options = parser(dataset).parse_args(
        [
            *("--data", str(data), "--work", str(tmp_path), "--out", str(tmp_path / "tiny")),
            *("--steps", "5", "--batch", "6", "--device", "cpu"),
            *("--leave-out-styles", "outlined"),
        ]
    )
    folder = run(dataset, options)
    encoder = load_encoder(str(folder))
    provenance = json.loads((folder / "provenance.json").read_text())
    assert encoder.info.id == "tiny"
    assert encoder.info.dim == 256
    assert encoder.info.weights_sha256 == provenance["weights_sha256"]
    assert provenance["command"] == (
        "python -m tools.digits.train_teacher --steps 5 --batch 6 --seed 0 "
        "--leave-out-styles outlined"
    )
    assert provenance["zero_shot"]["outlined"]["known to nobody"]["images"] == 2
    assert set(provenance["zero_shot"]) == {path.name for path in data.iterdir() if path.is_dir()}
    spread = provenance["embedding_spread"]
    assert 0 <= spread["variance_within_classes"] <= 1
    assert 1 <= spread["effective_rank"] < spread["images"]
    image = encoder.prepare_image(Image.open(next(data.glob("*/*/*.png"))))
    assert encoder.encode([image]).shape == (1, 256)


def test_embeddings_without_differences_within_classes_have_the_rank_of_their_classes() -> None:
    labels = np.repeat(np.arange(4), 25)
    classes = np.eye(4, 8, dtype=np.float32)
    alike = embedding_spread(classes[labels], labels)
    assert alike.within_classes == pytest.approx(0, abs=1e-9)
    assert alike.effective_rank == pytest.approx(3)  # four points, centred
    noise = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    other = embedding_spread(noise, labels)
    assert other.within_classes > 0.9
    assert other.effective_rank > 6


def test_weak_and_steps_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Both set the number of steps."""
    with pytest.raises(SystemExit):
        parser(digits()).parse_args(["--weak", "--steps", "9"])
    assert "not allowed with" in capsys.readouterr().err
    assert parser(digits()).parse_args(["--weak"]).steps == digits().weak_steps


def test_the_committed_model_card_is_what_the_tool_writes_from_the_provenance() -> None:
    folder = Path("teacher_server/embedded")
    provenance = json.loads((folder / "provenance.json").read_text())
    scores = {
        style: {
            known: AccuracyCount(correct=count["correct"], images=count["images"])
            for known, count in by_known.items()
        }
        for style, by_known in provenance["zero_shot"].items()
    }
    assert card(scores, provenance) == (folder / "MODEL_CARD.md").read_text()
