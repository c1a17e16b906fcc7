"""A run whose selector buys in rounds, with real processes."""

import json
from pathlib import Path

from tests.end_to_end.conftest import RunningVendor, invoke
from tests.end_to_end.test_distill import SMALL, client_command, spent

PROMPTS = 3


def test_a_run_in_rounds_keeps_to_its_budget_and_its_audit_balances(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    few = client_command(
        vendor, emoji, tmp_path, *SMALL, "--views", "1", "--selector", "hybrid", "--budget", "15"
    )
    few += ("--method", "vl2v-adip-1q", "--clean-prob", "0.6")
    output = invoke(*few, key=key).stdout
    assert "3 images chosen so far" in output
    assert "12 images chosen so far" in output
    assert "bought 15 queries" in output
    assert spent(vendor, key) == 15
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["embeddings_bought"] == 15 - PROMPTS
    assert meta["settings"]["selector"] == "hybrid"
    assert (meta["method"], meta["settings"]["clean_prob"]) == ("vl2v-adip-1q", 0.6)
    assert meta["recipe"] == {
        "lmd": 0.9,
        "mean_target_prob": 0.4,
        "line_drawing_prob": 0.5,
        "text_targets": True,
    }
    invoke(
        *("cache-report", "--cache", str(tmp_path / "cache"), "audit", "--vendor", vendor.url),
        key=key,
    )
    forecast = ("distill-client", "forecast", str(tmp_path / "out"))
    assert "at 3 budgets or more" in invoke(*forecast, exit_code=2).stderr
