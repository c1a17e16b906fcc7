"""docs/reliability.md contains the figures of the results, and no others."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.reliability import PAGE, RESULTS, main, read_results, render


def test_the_page_is_what_its_command_writes_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(read_results(RESULTS))


def test_a_changed_result_changes_the_page(tmp_path: Path) -> None:
    for file in RESULTS.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text())
    changed = json.loads((RESULTS / "chaos-sqlite.json").read_text()) | {"doubled": 12_345}
    (tmp_path / "chaos-sqlite.json").write_text(json.dumps(changed))
    main(["--results", str(tmp_path), "--page", str(tmp_path / "page.md")])
    assert "| **charged twice** | 12,345 |" in (tmp_path / "page.md").read_text()


def test_a_missing_result_has_no_section(tmp_path: Path) -> None:
    page = render(read_results(tmp_path))
    assert "##" not in page


def test_the_committed_results_have_no_fault() -> None:
    """A page that shows a fault must not be published."""
    results = read_results(RESULTS)
    assert min(results["chaos-ray"]["mid_batch_kills"]) >= 1  # of the API, and of the model
    for name in ("chaos-sqlite", "chaos-postgresql", "chaos-pgbouncer", "chaos-ray"):
        run = results[name]
        assert run["faults_found"] == []
        assert run["charged"] == run["receipts"] == run["budget"] < run["queries_wanted"]
        assert run["lost"] == run["doubled"] == run["overshoot"] == run["stuck"] == 0
    doubtful = results["chaos-doubtful"]
    assert doubtful["faults_found"] == []
    assert doubtful["over_budget"] == doubtful["lost"] == 0
    assert doubtful["in_doubt"] >= doubtful["unanswered"] > 0
    kept = {row["meter"]: row["overshoot"] for row in results["overshoot"]["rows"]}
    assert kept["ledger"] == kept["vendor over HTTP"] == 0
    assert kept["check-then-add"] > 0
