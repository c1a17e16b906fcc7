"""A short version of `make chaos`, on SQLite: a minute of kills and network faults."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chaos.run import chaos, parser


async def test_every_query_is_charged_once_although_processes_are_killed(tmp_path: Path) -> None:
    """750 queries are wanted and 600 can be paid for: exactly 600 are charged, each once."""
    arguments = parser().parse_args(
        [
            *("--queries", "750", "--budget", "600", "--seed", "1", "--seconds", "60"),
            *("--client-nth", "5", "--calm-bytes", "40000"),
        ]
    )
    result = await chaos(arguments, tmp_path)
    assert result["faults_found"] == []
    assert result["charged"] == result["receipts"] == 600
    names = ("lost", "doubled", "overshoot", "stuck", "unspent")
    assert {name: result[name] for name in names} == dict.fromkeys(names, 0)
    # Faults did happen: both sides were killed, also at kill points, and connections broke.
    points = {f"{side} {kind}" for side in ("vendor", "client") for kind in ("before", "after")}
    assert sum(result["kills"].values()) >= 5
    assert any(kill.startswith("vendor") for kill in result["kills"])
    assert any(kill.startswith("client") for kill in result["kills"])
    assert any(kill.startswith(tuple(points)) for kill in result["kills"])
    assert sum(result["faults"].values()) >= 10
    assert result["outcomes"]["buy unheard"] > 0
