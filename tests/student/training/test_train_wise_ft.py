"""WiSE-FT after training: backbone weights between the initial and the trained weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from student.errors import BadInput
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.metrics import logits_of, score
from student.training.run_digest import run_digest
from student.training.train import Trained, starting_backbone, train
from tests.support.training_tasks import task_of


def _train(
    name: str,
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingOptions,
    checkpoint: Path | None = None,
) -> Trained:
    return train(task_of(name, data, validation, settings), checkpoint=checkpoint)


def _weights(trained: Trained) -> dict[str, Tensor]:
    """The weights that training may change, without counts."""
    held = trained.student.state_dict()
    return {name: tensor for name, tensor in held.items() if tensor.is_floating_point()}


def _any_images(data: TrainingData) -> LabelledImages:
    return LabelledImages(name="any", pixels=data.pixels[:, 0], labels=data.labels)


def _start(name: str, data: TrainingData, settings: TrainingOptions) -> dict[str, Tensor]:
    held = starting_backbone(task_of(name, data, _any_images(data), settings))
    return {key: tensor for key, tensor in held.items() if tensor.is_floating_point()}


@pytest.mark.parametrize("name", ["vl2v-adip", "erm"])
def test_at_zero_the_backbone_is_untrained_bit_for_bit_and_the_head_is_trained(
    name: str, data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    plain = _weights(_train(name, data, validation, settings))
    none = _weights(_train(name, data, validation, settings.changed(wise_ft=0.0)))
    start = _start(name, data, settings)
    assert [key for key, tensor in start.items() if not torch.equal(none[key], tensor)] == []
    assert any(not torch.equal(plain[key], tensor) for key, tensor in start.items())
    heads = [key for key in plain if key not in start]
    assert heads
    assert all(torch.equal(none[key], plain[key]) for key in heads)


def test_halfway_every_weight_is_the_mean_of_both_ends(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    settings = settings.changed(freeze_batch_norm=False)
    plain = _weights(_train("erm", data, validation, settings))
    half = _weights(_train("erm", data, validation, settings.changed(wise_ft=0.5)))
    for key, tensor in _start("erm", data, settings).items():
        assert torch.equal(half[key], 0.5 * tensor + 0.5 * plain[key])


def test_at_one_nothing_is_averaged_and_no_score_is_reported(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    plain = _train("erm", data, validation, settings)
    whole = _train("erm", data, validation, settings.changed(wise_ft=1.0))
    assert all(torch.equal(tensor, _weights(whole)[key]) for key, tensor in _weights(plain).items())
    assert plain.chosen == whole.chosen
    assert whole.chosen.interpolated is None


def test_the_reported_score_is_that_of_the_returned_student(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    plain = _train("erm", data, validation, settings)
    half = _train("erm", data, validation, settings.changed(wise_ft=0.5))
    own = score(logits_of(half.student, validation.pixels), validation.labels)
    assert half.chosen == replace(plain.chosen, interpolated=own)
    assert half.history == plain.history


def test_one_training_run_serves_every_wise_ft_value(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions, tmp_path: Path
) -> None:
    """The checkpoint of a finished run is independent of the share: nothing is trained again."""
    path = tmp_path / "run.safetensors"
    _train("erm", data, validation, settings, checkpoint=path)
    before = path.read_bytes()
    half = settings.changed(wise_ft=0.5)
    again = _train("erm", data, validation, half, checkpoint=path)
    assert path.read_bytes() == before
    anew = _train("erm", data, validation, half)
    assert all(torch.equal(tensor, _weights(again)[key]) for key, tensor in _weights(anew).items())
    assert again.chosen == anew.chosen
    digests = {
        run_digest(task_of("erm", data, validation, options)) for options in (settings, half)
    }
    assert len(digests) == 1


def test_a_wise_ft_value_above_one_is_refused(settings: TrainingOptions) -> None:
    with pytest.raises(BadInput, match="wise-ft: Input should be less than or equal to 1"):
        settings.changed(wise_ft=1.5)
