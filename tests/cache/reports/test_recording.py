"""A recording holds each embedding once, under the digest of what was sent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from cache.cli import main
from cache.paid_cache import PaidCache
from tests.support.cache_purchases import (
    ACCOUNT,
    FINGERPRINT,
    MODEL,
    Ledger,
    image,
    images,
    intent_of,
    rows_of,
    text,
    vector_of,
)

OTHER = "sha256:" + "0" * 64


def buy(cache: PaidCache, ledger: Ledger, *keys: object) -> None:
    intent = intent_of(*keys)  # type: ignore[arg-type]
    receipt = ledger.charge(intent)
    cache.reserve(intent, budget=100)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)


def test_every_embedding_is_recorded_bit_for_bit_in_the_order_of_purchase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = (*images(1, 2), text("café"))
    with PaidCache.open(tmp_path / "cache") as cache:
        buy(cache, Ledger(), *keys)
    out = tmp_path / "new" / "recording"
    assert main(["record", "--cache", str(tmp_path / "cache"), str(out)]) == 0
    assert "3 embeddings recorded" in capsys.readouterr().out
    assert np.array_equal(
        np.load(out / "vectors.npy", allow_pickle=False), np.stack([vector_of(key) for key in keys])
    )
    lines = (out / "items.txt").read_text().splitlines()
    assert lines[:2] == [f"image {key.item}" for key in keys[:2]]
    assert lines[2] == f"text {hashlib.sha256('café'.encode()).hexdigest()}"
    described = json.loads((out / "recorded.json").read_text())
    assert described["recorded_from"] == {"model": MODEL, "fingerprint": FINGERPRINT}


def test_a_cache_of_several_models_needs_the_name_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with PaidCache.open(tmp_path / "cache") as cache:
        ledger = Ledger()
        buy(cache, ledger, image(1))
        buy(cache, ledger, image(2, fingerprint=OTHER), image(3, fingerprint=OTHER))
    command = ["record", "--cache", str(tmp_path / "cache"), str(tmp_path / "out")]
    assert main(command) == 2
    assert "name one with --model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--model", OTHER, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["embeddings"] == 2
    assert main([*command, "--model", "sha256:none"]) == 2
    assert "no embedding of the model sha256:none" in capsys.readouterr().err


def test_an_empty_cache_is_not_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PaidCache.open(tmp_path / "cache").close()
    assert main(["record", "--cache", str(tmp_path / "cache"), str(tmp_path / "out")]) == 2
    assert "has no embedding" in capsys.readouterr().err
