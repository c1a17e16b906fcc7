"""Training a small teacher: what it is shown, where it goes, and that a killed run goes on."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from student.data.demo.lay_out import all_emoji
from student.errors import BadInput
from teacher_server.inference.encoder import load_encoder
from tools.digits.figures import all_figures
from tools.digits.lay_out import lay_out
from tools.digits.train_teacher import digits
from tools.emoji.train_teacher import emoji
from tools.train_teacher.command import parser, run
from tools.train_teacher.concepts import Lessons, read
from tools.train_teacher.recipe import Subject, Training
from tools.train_teacher.train import Course, clip_loss, train

USUAL = Training(subject="emoji", left_out=(), steps=1000, batch=128, seed=0)
PLAIN = Training(subject="digits", left_out=(), steps=5, batch=6, seed=0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The machine is shared, and a resumed sum must be summed in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one and a seven of each typeface, hand and display in the first place of the list."""
    root = tmp_path_factory.mktemp("digits")
    known = ("student", "teacher", "nobody")
    chosen = [
        next(f for f in all_figures() if (f.kind, f.digit, f.known_to) == (kind, digit, knower))
        for kind in ("print", "hand", "display")
        for digit in (1, 7)
        for knower in known
    ]
    lay_out(root, chosen)
    return root


def lessons(data: Path, *left_out: str) -> Lessons:
    return read(data, digits().names, left_out=left_out)


def test_what_nobody_knows_is_not_taught(data: Path) -> None:
    """Of the three figures of each kind and digit, the student's and the teacher's are."""
    names = [concept.name for concept in lessons(data).concepts]
    assert len(names) == 12
    assert not any("Computer Modern" in name for name in names)
    assert "seven in STIX" in names


def test_a_left_out_style_is_neither_seen_nor_heard(data: Path) -> None:
    """Its pictures and its name are gone, and so are concepts that had no other style."""
    taught = lessons(data, "outlined", "handwritten")
    assert {"outlined", "handwritten"} & set(taught.styles) == set()
    shown = {style for concept in taught.concepts for style in concept.pictures}
    assert shown == set(taught.styles)
    assert not any("handwritten" in concept.name for concept in taught.concepts)
    assert len(taught.classes) == 2


def test_a_style_that_the_data_lacks_cannot_be_left_out(data: Path) -> None:
    """A misspelt control would otherwise be no control at all."""
    with pytest.raises(BadInput, match="no style outlines; there are coloured, display"):
        lessons(data, "outlines")


def test_an_emoji_is_called_by_its_name() -> None:
    """As Unicode writes it, not as its file is named."""
    names = emoji().names
    assert len(names) == len(all_emoji())
    assert names["small-airplane"] == "small airplane"


def test_a_file_without_a_name_is_called_by_its_stem(data: Path) -> None:
    """So a teacher can be trained on any folder in the layout."""
    assert "seven stix 0" in {concept.name for concept in read(data, {}).concepts}


def test_clips_loss_on_different_names_is_the_usual_one() -> None:
    """Cross-entropy along both sides, to the bit."""
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(4)
    usual = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    assert torch.equal(clip_loss(logits, ["a", "b", "c", "d"]), usual)


def test_two_rows_of_one_name_are_not_held_against_each_other() -> None:
    """How alike they are does not change the loss."""
    logits = torch.zeros(3, 3)
    alike = logits.clone()
    alike[0, 1] = alike[1, 0] = 9.0
    names = ["handwritten six", "handwritten six", "handwritten two"]
    assert torch.equal(clip_loss(alike, names), clip_loss(logits, names))
    assert clip_loss(alike, ["a", "b", "c"]) > clip_loss(logits, ["a", "b", "c"]) + 1


def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    data: Path, tmp_path: Path
) -> None:
    """From its checkpoint it draws what it would have drawn."""
    taught = lessons(data)
    whole = train(taught, PLAIN, tmp_path / "whole.pt", device="cpu").state_dict()
    killed = Course(taught, PLAIN, device="cpu")
    killed.step()
    killed.step()
    killed.keep(tmp_path / "killed.pt")
    resumed = train(taught, PLAIN, tmp_path / "killed.pt", device="cpu").state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_another_training_is_refused(data: Path, tmp_path: Path) -> None:
    """A control that went on from the usual teacher's weights would have seen its styles."""
    course = Course(lessons(data), PLAIN, device="cpu")
    course.keep(tmp_path / "checkpoint.pt")
    other = replace(PLAIN, left_out=("dots",))
    with pytest.raises(BadInput, match="is of another training"):
        train(lessons(data, "dots"), other, tmp_path / "checkpoint.pt", device="cpu")


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
def test_a_teacher_is_named_after_what_sets_it_apart(training: Training, name: str) -> None:
    """No control shares its name with the teacher that it controls."""
    assert training.name(1000, 150) == name


def test_the_trained_folder_is_what_the_vendor_sells(data: Path, tmp_path: Path) -> None:
    """Five steps, saved, measured by the vendor's encoder, and told in provenance.json."""
    subject: Subject = digits()
    options = parser(subject).parse_args(
        [
            *("--data", str(data), "--work", str(tmp_path), "--out", str(tmp_path / "tiny")),
            *("--steps", "5", "--batch", "6", "--device", "cpu"),
            *("--leave-out-styles", "outlined"),
        ]
    )
    folder = run(subject, options)
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
    image = encoder.prepare_image(Image.open(next(data.glob("*/*/*.png"))))
    assert encoder.encode([image]).shape == (1, 256)


def test_weak_and_steps_are_one_choice(capsys: pytest.CaptureFixture[str]) -> None:
    """Two different answers to one question are refused."""
    with pytest.raises(SystemExit):
        parser(digits()).parse_args(["--weak", "--steps", "9"])
    assert "not allowed with" in capsys.readouterr().err
    assert parser(digits()).parse_args(["--weak"]).steps == digits().weak_steps
