"""Everything that version 0.1 stored is still read and continued: tests/fixtures/version_0_1."""

import json
import lzma
import os
import shutil
import signal
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support.forked_commands import forked_commands

pytestmark = pytest.mark.timeout(600)  # the first test waits for all programs

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "version_0_1"
RECORDED = json.loads((FIXTURES / "resumed.json").read_text())
IS_SAME_TORCH = version("torch") == RECORDED["torch"]
CHECKPOINT = "interrupted/checkpoints/ours+outline"
BOUGHT, REFUNDED, OPEN = 95, 2, 8  # queries
SPENT = {"client": BOUGHT - REFUNDED, "second-client": 16}
NOWHERE = "http://127.0.0.1:9"
COMMANDS = {
    "student": "distill-client",
    "cache": "cache-report",
    "teacher_server": "teacher-server",
}
Done = subprocess.CompletedProcess[str]
Started = subprocess.Popen[str]


def start(module: str, *arguments: str, key: str = "") -> Started:
    """Start one of the project's programs, without the settings in this machine's environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DISTILL_", "TEACHER_"))
    }
    return subprocess.Popen(
        [str(forked_commands() / COMMANDS[module]), *arguments],
        env={**kept, "TEACHER_API_KEY": key, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(program: Started) -> Done:
    """The program's exit code and all that it printed."""
    out, err = program.communicate()
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


def run(module: str, *arguments: str, key: str = "") -> str:
    """What a program prints when it succeeds."""
    return succeeded(finish(start(module, *arguments, key=key)))


def succeeded(done: Done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(name: str, place: Path, **places: str | Path) -> list[str]:
    """The arguments of version 0.1, on the copies."""
    words = json.loads((FIXTURES / "commands.json").read_text())[name]
    return [word.format(fixtures=place, **places) for word in words]


def copied(folder: Path) -> Path:
    """A copy of all that version 0.1 wrote, the checkpoint unpacked."""
    shutil.copytree(FIXTURES, folder, dirs_exist_ok=True)
    packed = folder / f"{CHECKPOINT}.xz"
    (folder / CHECKPOINT).write_bytes(lzma.decompress(packed.read_bytes()))
    packed.unlink()
    return folder


def key_of(name: str) -> str:
    return (FIXTURES / "vendor" / f"{name}.key").read_text().strip()


def database(place: Path) -> tuple[str, str]:
    return "--database", f"sqlite:///{place}/vendor/ledger.db"


def spent(vendor: str, name: str) -> int:
    """What the vendor has charged a key, in queries."""
    headers = {"Authorization": f"Bearer {key_of(name)}"}
    with urllib.request.urlopen(urllib.request.Request(f"{vendor}/v1/key", headers=headers)) as got:
        return int(json.load(got)["spent_units"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("version_0_1"))


@pytest.fixture(scope="module")
def alone(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Started]:
    """Commands that need no vendor, running while the vendor starts; reports read a second copy."""
    untouched = copied(tmp_path_factory.mktemp("untouched"))
    paid, half_paid = (str(untouched / name) for name in ("paid-cache", "open-purchase-cache"))
    lines = (place / "predictions.jsonl").read_text().splitlines()
    pictures = [str(place / json.loads(line)["image"]) for line in lines]
    bench = command("bench", place, vendor=NOWHERE, cache=place / "none", out=place / "bench")
    predict = ("predict", "--student", str(place / "student"), "--json")
    plan = ("plan", "--json", str(untouched / "bench" / "rows.jsonl"))
    return {
        "predict": start("student", *predict, *pictures),
        "bench": start("student", *bench),
        "plan": start("student", *plan),
        "verify ledger": start("teacher_server", "ledger", "verify", *database(untouched)),
        "keys": start("teacher_server", "keys", "list", "--json", *database(untouched)),
        "summary of paid": start("cache", "--cache", paid, "summary", "--json"),
        "summary of open": start("cache", "--cache", half_paid, "summary", "--json"),
        "verify paid": start("cache", "--cache", paid, "verify", "--json"),
        "verify open": start("cache", "--cache", half_paid, "verify", "--json"),
    }


@pytest.fixture(scope="module")
def vendor(place: Path, alone: dict[str, Started]) -> Iterator[str]:
    """Today's vendor on the old ledger, at another address; it keeps answers forever."""
    url_file = place / "url"
    server = start(
        *("teacher_server", "serve", "--port", "0", "--threads", "1", "--answer-days", "0"),
        *("--price-version", "2026-11", "--micro-usd-per-unit", "100"),
        *("--url-file", str(url_file), *database(place)),
    )
    try:
        while not url_file.exists():
            assert server.poll() is None, finish(server).stderr
            time.sleep(0.1)
        yield url_file.read_text().strip()
    finally:
        server.send_signal(signal.SIGTERM)
        finish(server)


@pytest.fixture(scope="module")
def done(place: Path, alone: dict[str, Started], vendor: str) -> dict[str, Done]:
    """The same commands again, on the killed run and on the open purchase; then all results."""
    again = {
        "interrupted": command(
            *("interrupted", place),
            vendor=vendor,
            cache=place / "paid-cache",
            out=place / "interrupted",
        ),
        "open_purchase": command(
            *("open_purchase", place),
            vendor=vendor,
            cache=place / "open-purchase-cache",
            out=place / "settled",
        ),
    }
    started = {name: start("student", *words) for name, words in again.items()}
    return {name: finish(program) for name, program in {**alone, **started}.items()}


def summary(cache: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run("cache", "--cache", str(cache), "summary", "--json"))
    return report


def audit(cache: Path, vendor: str, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(
        run(
            *("cache", "--cache", str(cache), "audit", "--vendor", vendor, "--json"),
            key=key_of(name),
        )
    )
    return report


def test_the_summary_counts_the_purchases_of_version_0_1(done: dict[str, Done]) -> None:
    report = json.loads(succeeded(done["summary of paid"]))
    assert report["total"]["units"] == BOUGHT
    assert report["total"]["cost_micro_usd"] == 100 * BOUGHT
    assert [run["units"] for run in report["runs"]] == [75, BOUGHT - 75, 0]
    assert report["open_intents"] == []


def test_the_summary_lists_the_open_purchase(done: dict[str, Done]) -> None:
    report = json.loads(succeeded(done["summary of open"]))
    assert report["total"]["units"] == SPENT["second-client"] - OPEN
    assert report["in_flight_units"] == OPEN
    assert [purchase["units"] for purchase in report["open_intents"]] == [OPEN]


@pytest.mark.parametrize("cache", ["paid", "open"])
def test_the_cache_is_sound(done: dict[str, Done], cache: str) -> None:
    report = json.loads(succeeded(done[f"verify {cache}"]))
    assert report["is_sound"]
    assert (report["problems"], report["receipts_without_copy"]) == ([], 0)


def test_the_audit_balances_at_another_address_and_lists_the_correction(
    place: Path, vendor: str, done: dict[str, Done]
) -> None:
    report = audit(place / "paid-cache", vendor, "client")
    assert report["is_balanced"]
    assert report["ledger_units"] == report["receipt_units"] == BOUGHT
    assert len(report["credits"]) == 1


def test_the_vendors_ledger_balances_and_keeps_the_correction(done: dict[str, Done]) -> None:
    assert f"({REFUNDED} refunded)" in succeeded(done["verify ledger"])


def test_the_vendor_lists_every_key_and_which_is_revoked(done: dict[str, Done]) -> None:
    listed = json.loads(succeeded(done["keys"]))
    assert {key["name"]: key["spent_units"] for key in listed} == {
        "client": SPENT["client"],
        "second client": SPENT["second-client"],
        "former client": 2,
    }
    assert [key["name"] for key in listed if key["revoked_ms"]] == ["former client"]


def test_the_same_run_again_buys_nothing(vendor: str, done: dict[str, Done]) -> None:
    assert "bought 0 queries" in succeeded(done["interrupted"])
    assert spent(vendor, "client") == SPENT["client"]


def test_the_open_purchase_is_settled_free_of_charge(
    place: Path, vendor: str, done: dict[str, Done]
) -> None:
    succeeded(done["open_purchase"])
    assert spent(vendor, "second-client") == SPENT["second-client"]
    report = summary(place / "open-purchase-cache")
    assert (report["in_flight_units"], report["open_intents"], report["lost"]) == (0, [], [])
    assert report["total"]["units"] == SPENT["second-client"]
    assert audit(place / "open-purchase-cache", vendor, "second-client")["is_balanced"]


def test_the_student_predicts_the_same_classes_as_before(
    place: Path, done: dict[str, Done]
) -> None:
    recorded = (place / "predictions.jsonl").read_text().splitlines()
    output = succeeded(done["predict"]).splitlines()
    for now, then in zip(map(json.loads, output), map(json.loads, recorded), strict=True):
        assert now["class"] == then["class"]
        assert now["confidence"] == pytest.approx(then["confidence"], abs=0.005)
    assert done["predict"].stderr.count("not calibrated") == 1


def test_the_interrupted_run_is_resumed_by_the_same_torch_and_restarted_by_another(
    place: Path, done: dict[str, Done]
) -> None:
    succeeded(done["interrupted"])
    meta = json.loads((place / "interrupted" / "meta.json").read_text())
    # The run was paused for two minutes before the kill, which count as training time. A run from
    # the beginning takes seconds.
    assert (meta["train_seconds"] > RECORDED["seconds_at_the_kill"]) == IS_SAME_TORCH
    restarted = "training starts from the beginning" in done["interrupted"].stderr
    assert restarted != IS_SAME_TORCH


def test_the_resumed_run_ends_in_the_same_student_as_version_0_1(
    place: Path, done: dict[str, Done]
) -> None:
    succeeded(done["interrupted"])
    meta = json.loads((place / "interrupted" / "meta.json").read_text())
    made = load_file(place / "interrupted" / "student.safetensors")
    recorded = load_file(FIXTURES / "student" / "student.safetensors")
    shapes = {name: tensor.shape for name, tensor in recorded.items()}
    assert {name: tensor.shape for name, tensor in made.items()} == shapes
    if IS_SAME_TORCH:
        assert meta["scores"] == RECORDED["scores"]
        assert meta["chosen"]["weights"] == RECORDED["chosen"]["weights"]
        # Students of other processors differed by up to 0.0014.
        assert all(np.allclose(made[name], recorded[name], rtol=0, atol=5e-3) for name in shapes)


def test_the_bench_repeats_no_run_that_has_a_row(place: Path, done: dict[str, Done]) -> None:
    output = succeeded(done["bench"])  # with no vendor at hand: nothing is trained
    rows = (place / "bench" / "rows.jsonl").read_bytes()
    assert rows == (FIXTURES / "bench" / "rows.jsonl").read_bytes(), output
    made = len(rows.splitlines())
    assert f"{made} of {made} runs" in (place / "bench" / "bench.md").read_text()


def test_the_forecast_reads_the_old_rows(done: dict[str, Done]) -> None:
    forecasts = [json.loads(line) for line in succeeded(done["plan"]).splitlines()]
    assert [(forecast["queries"], forecast["accuracy"]) for forecast in forecasts] == [(75, 0.3125)]


def test_the_old_options_file_is_read_under_its_old_names(
    place: Path, done: dict[str, Done]
) -> None:
    succeeded(done["interrupted"])  # an unknown option would have been refused
    options = tomllib.loads((FIXTURES / "distill.toml").read_text())
    meta = json.loads((place / "interrupted" / "meta.json").read_text())
    stored = {options[name] for name in ("lmd", "exact", "between", "drawn")}
    assert stored <= {value for value in meta["settings"].values() if isinstance(value, float)}
