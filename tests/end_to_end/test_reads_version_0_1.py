"""What version 0.1 left on a user's disk is read and gone on with: tests/fixtures/version_0_1."""

import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
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

pytestmark = pytest.mark.timeout(600)  # the first test waits for all programs

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "version_0_1"
RECORDED = json.loads((FIXTURES / "resumed.json").read_text())
CHECKPOINT = "interrupted/checkpoints/ours+outline"
BOUGHT, GIVEN_BACK, OPEN = 95, 2, 8  # queries
SPENT = {"client": BOUGHT - GIVEN_BACK, "second-client": 16}
NOWHERE = "http://127.0.0.1:9"
Done = subprocess.CompletedProcess[str]
Started = subprocess.Popen[str]


def start(module: str, *arguments: str, key: str = "") -> Started:
    """One of the project's programs, which hears nothing of this machine's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DISTILL_", "TEACHER_"))
    }
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
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
    """The command of version 0.1, on the copies."""
    told = json.loads((FIXTURES / "commands.json").read_text())[name]
    return [word.format(fixtures=place, **places) for word in told]


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
    """What needs no vendor, at work while the vendor starts; reports are of copies of their own."""
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
    """Today's vendor on the old ledger, at another address; it keeps answers for ever."""
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
    """The same commands again: the killed job on its folder, and what was recorded beside it."""
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
    told: dict[str, Any] = json.loads(run("cache", "--cache", str(cache), "summary", "--json"))
    return told


def audit(cache: Path, vendor: str, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        run(
            *("cache", "--cache", str(cache), "audit", "--vendor", vendor, "--json"),
            key=key_of(name),
        )
    )
    return told


def test_the_summary_counts_what_was_paid_then(done: dict[str, Done]) -> None:
    told = json.loads(succeeded(done["summary of paid"]))
    assert told["total"]["units"] == BOUGHT
    assert told["total"]["cost_micro_usd"] == 100 * BOUGHT
    assert [run["units"] for run in told["runs"]] == [75, BOUGHT - 75, 0]
    assert told["open_intents"] == []


def test_the_summary_names_the_purchase_that_was_left_open(done: dict[str, Done]) -> None:
    told = json.loads(succeeded(done["summary of open"]))
    assert told["total"]["units"] == SPENT["second-client"] - OPEN
    assert told["in_flight_units"] == OPEN
    assert [purchase["units"] for purchase in told["open_intents"]] == [OPEN]


@pytest.mark.parametrize("cache", ["paid", "open"])
def test_the_cache_is_sound(done: dict[str, Done], cache: str) -> None:
    told = json.loads(succeeded(done[f"verify {cache}"]))
    assert told["is_sound"]
    assert (told["problems"], told["receipts_without_copy"]) == ([], 0)


def test_the_audit_balances_at_another_address_and_sees_what_was_given_back(
    place: Path, vendor: str, done: dict[str, Done]
) -> None:
    told = audit(place / "paid-cache", vendor, "client")
    assert told["is_balanced"]
    assert told["ledger_units"] == told["receipt_units"] == BOUGHT
    assert len(told["credits"]) == 1


def test_the_vendors_books_balance_and_keep_the_correction(done: dict[str, Done]) -> None:
    assert f"({GIVEN_BACK} refunded)" in succeeded(done["verify ledger"])


def test_the_vendor_lists_every_key_and_which_is_revoked(done: dict[str, Done]) -> None:
    listed = json.loads(succeeded(done["keys"]))
    assert {key["name"]: key["spent_units"] for key in listed} == {
        "client": SPENT["client"],
        "second client": SPENT["second-client"],
        "former client": 2,
    }
    assert [key["name"] for key in listed if key["revoked_ms"]] == ["former client"]


def test_the_same_job_again_buys_nothing(vendor: str, done: dict[str, Done]) -> None:
    assert "bought 0 queries" in succeeded(done["interrupted"])
    assert spent(vendor, "client") == SPENT["client"]


def test_the_open_purchase_is_settled_free_of_charge(
    place: Path, vendor: str, done: dict[str, Done]
) -> None:
    succeeded(done["open_purchase"])
    assert spent(vendor, "second-client") == SPENT["second-client"]
    told = summary(place / "open-purchase-cache")
    assert (told["in_flight_units"], told["open_intents"], told["lost"]) == (0, [], [])
    assert told["total"]["units"] == SPENT["second-client"]
    assert audit(place / "open-purchase-cache", vendor, "second-client")["is_balanced"]


def test_the_student_names_pictures_as_it_did(place: Path, done: dict[str, Done]) -> None:
    recorded = (place / "predictions.jsonl").read_text().splitlines()
    output = succeeded(done["predict"]).splitlines()
    for now, then in zip(map(json.loads, output), map(json.loads, recorded), strict=True):
        assert now["class"] == then["class"]
        assert now["confidence"] == pytest.approx(then["confidence"], abs=0.005)


needs_the_same_torch = pytest.mark.skipif(
    version("torch") != RECORDED["torch"],
    reason=f"a checkpoint is resumed by the same torch only, {RECORDED['torch']}",
)


@needs_the_same_torch
def test_the_interrupted_run_is_gone_on_with_not_begun_anew(
    place: Path, done: dict[str, Done]
) -> None:
    succeeded(done["interrupted"])
    meta = json.loads((place / "interrupted" / "meta.json").read_text())
    # It was stopped for two minutes before the kill, and they count: anew it takes seconds.
    assert meta["train_seconds"] > RECORDED["seconds_at_the_kill"]


@needs_the_same_torch
def test_the_interrupted_run_ends_in_the_student_that_version_0_1_made_of_it(
    place: Path, done: dict[str, Done]
) -> None:
    succeeded(done["interrupted"])
    meta = json.loads((place / "interrupted" / "meta.json").read_text())
    assert meta["scores"] == RECORDED["scores"]
    assert meta["chosen"]["weights"] == RECORDED["chosen"]["weights"]
    made = load_file(place / "interrupted" / "student.safetensors")
    recorded = load_file(FIXTURES / "student" / "student.safetensors")
    assert made.keys() == recorded.keys()
    for name, tensor in recorded.items():  # other processors' were up to 0.0014 away
        assert np.allclose(made[name], tensor, rtol=0, atol=5e-3), name


def test_the_bench_counts_the_old_rows_as_made(place: Path, done: dict[str, Done]) -> None:
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
    told = tomllib.loads((FIXTURES / "distill.toml").read_text())
    meta = json.loads((place / "interrupted" / "meta.json").read_text())
    of_note = {told[name] for name in ("lmd", "exact", "between", "drawn")}
    assert of_note <= {value for value in meta["settings"].values() if isinstance(value, float)}
