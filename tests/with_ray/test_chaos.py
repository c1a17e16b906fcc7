"""Replicas of both kinds are killed in the middle of a batch, behind a faulty network."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos.run import chaos, parser

pytestmark = pytest.mark.timeout(1200)


async def test_two_replicas_of_each_kind_charge_once_although_one_of_each_dies_in_a_batch(
    tmp_path: Path,
) -> None:
    arguments = parser().parse_args(
        [
            *("--serve-with", "ray", "--database", "postgresql", "--queries", "300"),
            *("--budget", "240", "--seconds", "90", "--kill-every", "15"),
        ]
    )
    result = await chaos(arguments, tmp_path)
    assert result["faults_found"] == []
    assert min(result["mid_batch_kills"]) >= 1
    assert result["charged"] == result["receipts"] == 240
    names = ("lost", "doubled", "overshoot", "stuck", "unspent")
    assert {name: result[name] for name in names} == dict.fromkeys(names, 0)
