"""Short versions of `make chaos`: kills and network faults, on SQLite and over replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos.run import chaos, main, parser


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
    assert sum(result["faults"].values()) > 0
    assert result["outcomes"]["buy unheard"] > 0


@pytest.mark.parametrize("pooler", [(), ("--pooler",)], ids=["direct", "behind PgBouncer"])
async def test_two_replicas_on_one_postgresql_charge_once_although_both_die_in_a_batch(
    tmp_path: Path, pooler: tuple[str, ...]
) -> None:
    arguments = parser().parse_args(
        [
            *("--database", "postgresql", "--queries", "100", "--budget", "80"),
            *("--seconds", "12", "--client-nth", "5", "--calm-bytes", "40000"),
            *pooler,
        ]
    )
    result = await chaos(arguments, tmp_path)
    assert result["faults_found"] == []
    assert result["vendors"] == 2
    assert min(result["mid_batch_kills"]) >= 1
    assert result["charged"] == result["receipts"] == 80
    names = ("lost", "doubled", "overshoot", "stuck", "unspent")
    assert {name: result[name] for name in names} == dict.fromkeys(names, 0)


@pytest.mark.parametrize("option", [("--vendors", "2"), ("--pooler",)])
def test_one_sqlite_file_has_neither_several_vendors_nor_a_pooler(
    capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        main(["--database", "sqlite", *option])
    assert "--database postgresql" in capsys.readouterr().err


def test_replicas_of_ray_serve_do_not_share_one_sqlite_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--serve-with", "ray", "--database", "sqlite"])
    assert "--database postgresql" in capsys.readouterr().err
