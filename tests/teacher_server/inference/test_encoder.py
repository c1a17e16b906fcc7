"""Which weights are loaded, that loading runs no code from them, and the errors."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks.support.vendor_in_process import picture
from teacher_server.errors import ModelUnavailable, SettingsError, UnsafeCheckpoint
from teacher_server.inference import weights
from teacher_server.inference.encoder import OpenClipEncoder, load_encoder
from teacher_server.inference.model_info import Vectors
from teacher_server.inference.model_source import resolve_model
from teacher_server.inference.weights import require_only_tensors


class Planted:
    """Unpickling this creates the file that it names: code of the checkpoint has run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    """A copy of the tiny model's folder that a test may damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "tiny-clip"))


def as_pickle(folder: Path, name: str, **more: object) -> Path:
    """Replace the folder's safetensors by a torch.save of the same tensors and more."""
    safe = folder / "open_clip_model.safetensors"
    state = load_file(str(safe))
    safe.unlink()
    torch.save({**state, **more}, folder / name)
    return folder / name


def unit_text(encoder: OpenClipEncoder, text: str) -> Vectors:
    return encoder.encode([encoder.prepare_text(text)]).reshape(-1)


def test_half_precision_weights_run_in_float32(encoder: OpenClipEncoder) -> None:
    assert {p.dtype for p in encoder._network.parameters()} == {torch.float32}
    assert unit_text(encoder, "a").dtype == np.float32


def test_a_folder_a_file_and_an_unsuspicious_pickle_give_the_same_vectors(
    encoder: OpenClipEncoder, checkpoint: Path, folder: Path
) -> None:
    by_file = load_encoder(str(checkpoint / "open_clip_model.safetensors"))
    as_pickle(folder, "weights.pt")
    by_pickle = load_encoder(str(folder))
    expected = unit_text(encoder, "a dog")
    np.testing.assert_array_equal(unit_text(by_file, "a dog"), expected)
    np.testing.assert_array_equal(unit_text(by_pickle, "a dog"), expected)
    assert by_pickle.info.weights_sha256 != encoder.info.weights_sha256
    assert by_pickle.info.fingerprint != encoder.info.fingerprint


def test_the_weights_are_known_by_the_digest_of_their_file(
    encoder: OpenClipEncoder, checkpoint: Path
) -> None:
    data = (checkpoint / "open_clip_model.safetensors").read_bytes()
    assert encoder.info.weights_sha256 == hashlib.sha256(data).hexdigest()


def test_an_architecture_and_a_checkpoint_file_make_a_pair(tmp_path: Path) -> None:
    model = open_clip.create_model("RN50-quickgelu", pretrained=None)
    path = tmp_path / "mine.pt"
    torch.save(model.state_dict(), path)
    source = resolve_model("RN50-quickgelu", str(path))
    assert (source.id, source.checkpoint) == ("RN50-quickgelu/mine", path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_a_planted_pickle_is_refused_and_never_run(folder: Path, suffix: str) -> None:
    trap = folder / "trap"
    path = as_pickle(folder, "open_clip_pytorch_model" + suffix, trap=Planted(trap))
    with pytest.raises(UnsafeCheckpoint):
        load_encoder(str(folder))
    with pytest.raises(UnsafeCheckpoint):
        load_encoder(str(path))
    with pytest.raises(UnsafeCheckpoint):
        load_encoder("ViT-B-32", str(path))
    assert not trap.exists()


def test_a_bare_pickle_is_refused_and_never_run(folder: Path) -> None:
    trap = folder / "trap"
    (folder / "open_clip_model.safetensors").unlink()
    (folder / "weights.pt").write_bytes(pickle.dumps(Planted(trap)))
    with pytest.raises(UnsafeCheckpoint):
        load_encoder(str(folder))
    assert not trap.exists()


def test_a_pickle_that_calls_itself_safetensors_is_refused_and_never_run(folder: Path) -> None:
    trap = folder / "trap"
    safe = folder / "open_clip_model.safetensors"
    safe.write_bytes(pickle.dumps(Planted(trap)))
    with pytest.raises(ModelUnavailable):
        load_encoder(str(folder))
    assert not trap.exists()


def test_the_switch_that_turns_torchs_check_off_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    as_pickle(folder, "weights.pt")
    with pytest.raises(UnsafeCheckpoint, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        load_encoder(str(folder))


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))
    with pytest.raises(UnsafeCheckpoint):
        require_only_tensors(path)


@pytest.mark.parametrize("name", ["weights.npz", "weights.npy", "weights.pkl", "weights"])
def test_other_kinds_of_file_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnsafeCheckpoint):
        require_only_tensors(tmp_path / name)


def test_a_state_dict_that_is_not_of_tensors_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate(({"a": 1}, [1, 2], {"state_dict": {"a": "b"}})):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        with pytest.raises(UnsafeCheckpoint, match="not a state dict"):
            require_only_tensors(path)


def test_weights_of_another_architecture_are_refused_in_one_line(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 96
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="cannot be loaded") as caught:
        load_encoder(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["meta", "cuda:99", "no-such-device"])
def test_a_device_that_cannot_be_used_is_refused_in_one_line(checkpoint: Path, device: str) -> None:
    with pytest.raises(SettingsError, match=f"the device '{device}' cannot be used: ") as caught:
        load_encoder(str(checkpoint), device=device)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_fit_its_device_is_refused_in_one_line(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Mock(side_effect=RuntimeError("out of memory\nand where"))
    monkeypatch.setattr("teacher_server.inference.encoder.OpenClipEncoder", full)
    with pytest.raises(ModelUnavailable, match=r"cannot be loaded from .*: out of memory$"):
        load_encoder(str(checkpoint))


def test_a_folder_must_hold_a_configuration_and_one_checkpoint(folder: Path) -> None:
    safe = folder / "open_clip_model.safetensors"
    safe.rename(folder / "a.safetensors")
    assert resolve_model(str(folder), None).checkpoint.name == "a.safetensors"
    shutil.copy(folder / "a.safetensors", folder / "b.pt")
    with pytest.raises(ModelUnavailable, match=r"a\.safetensors, b\.pt"):
        resolve_model(str(folder), None)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(ModelUnavailable, match="holds no open_clip_config"):
        resolve_model(str(folder), None)
    with pytest.raises(ModelUnavailable, match="TEACHER_PRETRAINED"):
        resolve_model(str(folder / "b.pt"), None)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("no-such-model", None, "not a folder"),
        ("ViT-B-16", None, "TEACHER_PRETRAINED"),
        ("ViT-B-16", "no-such-tag", "no-such-tag"),
        ("ViT-B-16", "openai", "neither on the hub nor in its cache"),
        ("hf-hub:no/such", None, "neither on the hub nor in its cache"),
    ],
)
def test_a_model_that_cannot_be_found_is_a_one_line_error_and_never_another_model(
    model: str,
    pretrained: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A host name that never resolves: no test depends on whether a hub can be reached.
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    for name in [name for name in os.environ if name.upper().endswith("_PROXY")]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelUnavailable, match=message) as caught:
        load_encoder(model, pretrained)
    assert "\n" not in str(caught.value)


def test_the_alternatives_are_listed_when_weights_cannot_be_fetched() -> None:
    error = str(weights.model_unavailable("no weights"))
    for way in ("embedded", "folder", "HF_HOME"):
        assert way in error


def in_hub_cache(home: Path, repository: str, *files: Path) -> None:
    """Lay files out as the Hugging Face client caches them."""
    folder = home / "hub" / ("models--" + repository.replace("/", "--"))
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    for file in files:
        shutil.copy(file, snapshot / file.name)


def test_a_hub_cache_serves_without_the_hub(tmp_path: Path, checkpoint: Path) -> None:
    """Both kinds of hub model; a tag trained with QuickGELU gets it (open_clip only warns)."""
    safe = checkpoint / "open_clip_model.safetensors"
    in_hub_cache(tmp_path, "org/tiny", safe, checkpoint / "open_clip_config.json")
    in_hub_cache(tmp_path, "timm/vit_base_patch16_clip_224.openai", safe)
    program = (
        "from teacher_server.inference.encoder import load_encoder, resolve_model\n"
        "info = load_encoder('hf-hub:org/tiny').info\n"
        "source = resolve_model('ViT-B-16', 'openai')\n"
        "print(info.id, info.weights_sha256, source.id, source.checkpoint.name,\n"
        "      source.uses_quick_gelu, resolve_model('ViT-B-16', 'openai').architecture)"
    )
    # The client reads these variables when it is imported, so it needs a process of its own.
    environment = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "https://hub.invalid"}
    kept = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper()}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    digest = hashlib.sha256(safe.read_bytes()).hexdigest()
    assert done.stdout.split() == [
        *("hf-hub:org/tiny", digest),
        *("ViT-B-16/openai", "open_clip_model.safetensors", "True", "ViT-B-16"),
    ]


def test_tokens_are_counted_with_their_marks_and_cut_at_the_context(
    encoder: OpenClipEncoder,
) -> None:
    assert encoder.prepare_text("dog").num_tokens == 3
    assert encoder.prepare_text("! !").num_tokens == 4  # the pad's id is a real token's, too
    long = encoder.prepare_text("dog " * 99)
    assert (long.num_tokens, long.cut_tokens) == (16, 101 - 16)
    whole = encoder.prepare_text("dog " * 14)
    assert (whole.num_tokens, whole.cut_tokens) == (16, 0)


def test_bf16_is_close_and_sold_under_a_name_of_its_own(
    checkpoint: Path, encoder: OpenClipEncoder
) -> None:
    fast = load_encoder(str(checkpoint), precision="bf16")
    assert fast.info.id == "tiny-clip+bf16"
    assert fast.info.fingerprint != encoder.info.fingerprint
    image = Image.open(BytesIO(picture())).convert("RGB")
    exact = encoder.encode([encoder.prepare_image(image)])[0]
    rough = fast.encode([fast.prepare_image(image)])[0]
    assert rough.dtype == np.float32
    assert float(exact @ rough) > 0.99


def test_the_embedded_model_is_sold_as_such() -> None:
    loaded = load_encoder("embedded")
    assert (loaded.info.id, loaded.info.is_embedded) == ("embedded", True)
    # As version 0.1 sold it, and as docs/results and caches name it.
    assert loaded.info.fingerprint.startswith("sha256:2c3a6e9449e0ad35321d577a8ee8e98b")
    vector = unit_text(loaded, "a photo of a dog")
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-6)


def test_a_missing_embedded_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="embedded model is not installed") as caught:
        resolve_model("embedded", None, embedded=tmp_path)
    assert "\n" not in str(caught.value)


def test_the_second_fingerprint_covers_the_configuration_of_equal_weights(
    encoder: OpenClipEncoder, folder: Path
) -> None:
    """The folder has the same name, and so the same first fingerprint."""
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["quick_gelu"] = not config["model_cfg"].get("quick_gelu", False)
    path.write_text(json.dumps(config))
    other = load_encoder(str(folder)).info
    assert other.fingerprint == encoder.info.fingerprint
    assert other.fingerprint_v2 != encoder.info.fingerprint_v2
    config["model_cfg"]["vision_cfg"]["timm_model_pretrained"] = True  # changes no embedding
    path.write_text(json.dumps(config))
    assert load_encoder(str(folder)).info.fingerprint_v2 == other.fingerprint_v2


def test_the_second_fingerprint_covers_the_precision_and_not_the_folders_name(
    checkpoint: Path, encoder: OpenClipEncoder, tmp_path: Path
) -> None:
    moved = shutil.copytree(checkpoint, tmp_path / "another-name")
    assert load_encoder(str(moved)).info.fingerprint_v2 == encoder.info.fingerprint_v2
    fast = load_encoder(str(checkpoint), precision="bf16").info
    assert fast.fingerprint_v2 != encoder.info.fingerprint_v2


def test_the_configuration_on_sale_names_activation_tokenizer_and_architecture(
    encoder: OpenClipEncoder,
) -> None:
    sold = encoder.info.configuration
    assert sold["precision"] == "fp32"
    assert sold["quick_gelu"] is False
    assert sold["model_cfg"]["vision_cfg"]["width"] > 0
    assert sold["tokenizer"]["kind"] == "SimpleTokenizer"
