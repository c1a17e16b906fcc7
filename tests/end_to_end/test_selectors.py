"""A job whose selector buys in rounds, and what its results forecast, with real processes."""

import json
from pathlib import Path

from tests.end_to_end.conftest import Shop, invoke
from tests.end_to_end.test_main_job import job, spent

PROMPTS = 3


def test_a_job_in_rounds_keeps_to_its_budget_and_its_books_balance(
    shop: Shop, emoji: Path, tmp_path: Path
) -> None:
    key = shop.new_key(1_000)
    few = job(shop, emoji, tmp_path, "--views", "1", "--selector", "hybrid", "--budget", "15")
    few += ("--method", "vl2v-adip-1q", "--clean-prob", "0.6")
    said = invoke(*few, key=key).stdout
    assert "3 images chosen so far" in said
    assert "12 images chosen so far" in said
    assert "bought 15 queries" in said
    assert spent(shop, key) == 15
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["embeddings_bought"] == 15 - PROMPTS
    assert meta["settings"]["selector"] == "hybrid"
    assert (meta["method"], meta["settings"]["clean_prob"]) == ("vl2v-adip-1q", 0.6)
    assert meta["recipe"] == {"lmd": 0.9, "between": 0.4, "drawn": 0.5, "stand_ins": True}
    invoke(
        *("cache-report", "--cache", str(tmp_path / "cache"), "audit", "--vendor", shop.url),
        key=key,
    )
    plan = ("distill-client", "forecast", str(tmp_path / "out"))
    assert "at 3 budgets or more" in invoke(*plan, fails_with=2).stderr
