"""A cache is recorded, and a vendor without the model sells the recording to a client."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from cache.cli import main as cache_report
from student import EmbeddingBuyer, PurchaseSummary
from tests.end_to_end.conftest import RunningVendor, invoke
from tests.support.forked_commands import forked_commands
from tools.local_vendor import local_vendor


def test_a_recording_is_sold_as_it_was_bought_and_what_it_lacks_is_named(
    vendor: RunningVendor, emoji: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = sorted((emoji / "apple" / "bird").glob("*.png"))
    texts = ["a photo of a bird"]
    first = EmbeddingBuyer(
        vendor=vendor.url, key=SecretStr(vendor.new_key(50)), cache=tmp_path / "first", budget=50
    ).buy(pictures[:3], texts)
    recording = tmp_path / "recording"
    assert cache_report(["record", "--cache", str(tmp_path / "first"), str(recording)]) == 0

    database = f"sqlite:///{tmp_path}/ledger.db"
    key = invoke(
        *("teacher-server", "keys", "create", "--database", database),
        *("--name", "class", "--budget", "50"),
    ).stdout.strip()
    model = f"recorded:{recording}"
    with local_vendor(tmp_path, database, model=model, programs=forked_commands()) as url:
        buyer = EmbeddingBuyer(vendor=url, key=SecretStr(key), cache=tmp_path / "second", budget=50)
        again = buyer.buy(pictures, texts)

    assert np.array_equal(again.texts[texts[0]], first.texts[texts[0]])
    assert set(again.images) == set(pictures[:3])
    for path in pictures[:3]:
        assert np.array_equal(again.images[path], first.images[path])
    summary: PurchaseSummary = again.summary
    assert summary.units == 4
    assert len(summary.refused) == len(pictures) - 3
    assert {one.code for one in summary.refused} == {"invalid_image"}
