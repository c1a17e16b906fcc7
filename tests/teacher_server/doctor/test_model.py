"""The model's files and the memory for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from teacher_server.inference.weights import sha256_of
from tests.teacher_server.doctor.conftest import Doctor


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def test_the_digest_of_the_weights_is_named(doctor: Doctor, copy: Path) -> None:
    _, found = doctor("--model", str(copy))
    assert sha256_of(copy / "open_clip_model.safetensors") in found["model"][0]["detail"]


def test_weights_that_were_not_copied_to_their_end_are_an_error(doctor: Doctor, copy: Path) -> None:
    weights = copy / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    code, found = doctor("--model", str(copy))
    assert code == 1
    assert "damaged or was not copied to its end" in found["model"][0]["detail"]


def test_an_embedded_model_that_was_changed_is_an_error(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor("--model", "embedded")[0] == 0
    provenance = tmp_path / "provenance.json"
    provenance.write_text('{"weights_sha256": "another"}')
    monkeypatch.setattr("teacher_server.doctor.model.EMBEDDED", tmp_path)
    code, found = doctor("--model", "embedded")
    assert code == 1
    assert found["model"][0]["detail"].endswith("but another was published")


def test_weights_of_a_hub_are_looked_up_in_its_cache_alone(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    code, found = doctor("--model", "hf-hub:nobody/nothing")
    assert code == 0
    assert found["model"][0]["level"] == "warning"
    assert "the cache of the hub lacks the weights" in found["model"][0]["detail"]


@pytest.mark.parametrize(
    ("free", "level"), [(None, "ok"), (10**9, "ok"), (10**8, "warning"), (1, "error")]
)
def test_memory_that_cannot_hold_the_weights_is_an_error(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, free: int | None, level: str
) -> None:
    monkeypatch.setattr("teacher_server.doctor.model.available_bytes", lambda: free)
    code, found = doctor("--max-bytes-in-flight", "500000000")
    assert found["memory"][0]["level"] == level
    assert code == (level == "error")


def test_an_engine_that_cannot_run_on_the_device_is_an_error(doctor: Doctor) -> None:
    code, found = doctor("--engine", "onnx", "--dtype", "bf16")
    assert code == 1
    assert "--engine onnx runs in fp32" in found["device"][0]["detail"]
