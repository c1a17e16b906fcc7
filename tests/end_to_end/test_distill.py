"""The main command with real processes: buy, train, report and audit; a second run is free."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cache.storage.reader import CacheReader
from cache.storage.record_codec import encode_receipt, receipt_name
from cache.storage.run_locks import active_runs
from tests.end_to_end.conftest import RunningVendor, invoke
from tests.support.cache_purchases import overwrite
from tests.support.forked_commands import forked_commands

QUICK = (
    *("--target-domain", "outline", "--image-size", "64", "--views", "2", "--batch-size", "8"),
    *("--steps", "3", "--align-steps", "3", "--eval-every", "2", "--batch-per-domain", "4"),
)
# For tests of money and messages: a network of timm's own tests.
SMALL = ("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32")
TRAINED_ON = 2 * 3 * 4  # two source styles x three classes x four of five emoji
QUERIES = 2 * TRAINED_ON + 3  # two views per image, one prompt per class


def client_command(vendor: RunningVendor, emoji: Path, folder: Path, *more: str) -> tuple[str, ...]:
    """The command of a complete run."""
    return (
        *("distill-client", "--budget", "50000", "--data", str(emoji), "--vendor", vendor.url),
        *("--cache", str(folder / "cache"), "--out", str(folder / "out"), *QUICK),
        *("--method", "vl2v-adip", *more),
    )


@pytest.fixture(scope="module")
def key(vendor: RunningVendor) -> str:
    return vendor.new_key(50_000)


@pytest.fixture(scope="module")
def done(
    vendor: RunningVendor, emoji: Path, key: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder and the output of a finished run with --compare."""
    folder = tmp_path_factory.mktemp("job")
    command = client_command(vendor, emoji, folder, "--compare")
    return folder, invoke(*command, key=key, is_forked=False).stdout


def test_a_run_buys_each_view_and_prompt_once_and_reports_it(done: tuple[Path, str]) -> None:
    assert f"bought {QUERIES} queries; 0 answers were already paid for" in done[1]


def test_accuracy_is_printed_for_validation_and_held_out_domain_with_erm_and_lp_ft(
    done: tuple[Path, str],
) -> None:
    assert re.search(r"accuracy, %\s+vl2v-adip\s+erm\s+lp-ft\s+images", done[1])
    assert re.search(
        r"source validation +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+", done[1]
    )
    assert re.search(r"outline +[\d.]+ ± [\d.]+", done[1])


def test_the_student_folder_contains_provenance_report_and_model_card(
    done: tuple[Path, str],
) -> None:
    out = done[0] / "out"
    meta = json.loads((out / "meta.json").read_text())
    assert meta["queries"] == QUERIES
    assert meta["cost_micro_usd"] == 100 * QUERIES
    assert meta["teacher"]["fingerprint"].startswith("sha256:")
    assert len(meta["receipts_digest"]) == 64
    assert set(meta["compared"]) == {"vl2v-adip", "erm", "lp-ft"}
    rows = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert {row["method"] for row in rows} == set(meta["compared"])
    assert "sk_" not in (out / "meta.json").read_text()
    for name in ("student.safetensors", "MODEL_CARD.md", "report.md", "report.html", "answers.png"):
        assert (out / name).stat().st_size > 200


def test_each_method_has_a_temperature_and_its_calibration_error_on_every_part(
    done: tuple[Path, str],
) -> None:
    out = done[0] / "out"
    for folder in (out, out / "erm", out / "lp-ft"):
        meta = json.loads((folder / "meta.json").read_text())
        assert meta["calibration"]["temperature"] > 0
        assert set(meta["calibration"]["errors"]) == set(meta["scores"])
    assert re.search(r"calibration error, %\s+vl2v-adip\s+erm\s+lp-ft\s+images", done[1])
    assert re.search(r"temperature +[\d.]+ +[\d.]+ +[\d.]+", done[1])
    assert "the student may still be over-confident" in " ".join(done[1].split())
    assert "(calibration.png)" in (out / "report.md").read_text()
    assert (out / "calibration.png").stat().st_size > 200


def test_a_method_without_image_embeddings_pays_for_the_prompts_only(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    output = invoke(
        *client_command(vendor, emoji, tmp_path, *SMALL, "--method", "erm"), key=key
    ).stdout
    assert "erm: no image embedding would be read, so none is bought" in output
    assert spent(vendor, key) == 3
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["embeddings_bought"] == 0
    cache = str(tmp_path / "cache")
    invoke("cache-report", "--cache", cache, "audit", "--vendor", vendor.url, key=key)


def test_the_student_predicts_without_a_vendor(done: tuple[Path, str], emoji: Path) -> None:
    picture = next((emoji / "outline" / "bird").iterdir())
    output = invoke(
        *("distill-client", "predict", "--student", str(done[0] / "out"), "--json", str(picture))
    )
    prediction = json.loads(output.stdout)
    assert prediction["class"] in {"bird", "drink", "heart"}
    assert 0 < prediction["confidence"] <= 1
    assert prediction["calibrated"]
    assert output.stderr == ""


def test_a_second_run_buys_nothing_and_gives_the_same_student(
    done: tuple[Path, str], vendor: RunningVendor, emoji: Path, key: str
) -> None:
    before = (done[0] / "out" / "student.safetensors").read_bytes()
    for name in ("checkpoints", "pixels", "embeddings"):  # so that it trains again from the start
        shutil.rmtree(done[0] / "out" / name)
    output = invoke(*client_command(vendor, emoji, done[0], "--compare"), key=key).stdout
    assert f"bought 0 queries; {QUERIES} answers were already paid for" in output
    assert (done[0] / "out" / "student.safetensors").read_bytes() == before


def test_verify_and_audit_find_no_difference(
    done: tuple[Path, str], vendor: RunningVendor, key: str
) -> None:
    cache = str(done[0] / "cache")
    invoke("cache-report", "--cache", cache, "verify")
    invoke("cache-report", "--cache", cache, "audit", "--vendor", vendor.url, key=key)


def test_audit_fails_and_names_the_request_when_either_side_is_altered(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    invoke(*client_command(vendor, emoji, tmp_path, *SMALL), key=key)
    cache = tmp_path / "cache"
    audit = ("cache-report", "--cache", str(cache), "audit", "--vendor", vendor.url)
    invoke(*audit, key=key)
    # The cache: one receipt has a query less, with a valid checksum.
    with CacheReader.open(cache) as records:
        original = next(iter(records.stored_receipts()))
    forged = replace(
        original, receipt=original.receipt.model_copy(update={"units": original.receipt.units - 1})
    )
    name = receipt_name(original.account, original.receipt.request_id)
    overwrite(cache, name, encode_receipt(forged))
    output = invoke(*audit, key=key, exit_code=1).stdout
    assert original.receipt.request_id in output
    overwrite(cache, name, encode_receipt(original))
    invoke(*audit, key=key)
    # The vendor: one ledger entry charges a query more.
    with closing(sqlite3.connect(vendor.database.removeprefix("sqlite:///"))) as books, books:
        for (trigger,) in books.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
            books.execute(f"DROP TRIGGER {trigger}")
        changed = books.execute(
            "UPDATE ledger_entries SET units = units + 1 WHERE request_id = ?",
            (original.receipt.request_id,),
        )
        assert changed.rowcount == 1
    output = invoke(*audit, key=key, exit_code=1).stdout
    assert original.receipt.request_id in output


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_client_resumes_and_pays_for_nothing_twice(
    vendor: RunningVendor, emoji: Path, tmp_path: Path, how: signal.Signals
) -> None:
    key = vendor.new_key(1_000)
    command = client_command(
        vendor, emoji, tmp_path, *SMALL, "--batch-size", "1", "--concurrency", "1"
    )
    client = subprocess.Popen(
        [str(forked_commands() / command[0]), *command[1:]],
        env={**os.environ, "TEACHER_API_KEY": key, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while spent(vendor, key) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    client.send_signal(how)
    assert client.wait() == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    while active_runs(tmp_path / "cache"):  # the killed process of the command ends a little later
        time.sleep(0.02)
    at_kill = spent(vendor, key)
    assert 5 <= at_kill < QUERIES
    invoke(*client_command(vendor, emoji, tmp_path, *SMALL), key=key)
    assert spent(vendor, key) == QUERIES
    invoke(
        *("cache-report", "--cache", str(tmp_path / "cache"), "audit", "--vendor", vendor.url),
        key=key,
    )


def spent(vendor: RunningVendor, key: str) -> int:
    """What the vendor has charged this key, in queries."""
    request = urllib.request.Request(
        vendor.url + "/v1/key", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["spent_units"])


def test_a_dry_run_prints_the_plan_and_buys_nothing(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    output = invoke(*client_command(vendor, emoji, tmp_path, *SMALL, "--dry-run"), key=key).stdout
    for row in ("images asked", "distinct", "already paid", "to buy", "cost", "left out"):
        assert row in output
    assert spent(vendor, key) == 0


def test_a_small_budget_is_spent_to_the_last_query_and_the_rest_trains_on_text(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    output = invoke(
        *client_command(vendor, emoji, tmp_path, *SMALL, "--budget", "20"), key=key
    ).stdout
    assert "bought 20 queries" in output
    assert "left out (client budget)" in output
    assert spent(vendor, key) == 20
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["embeddings_bought"] == 17


def test_the_vendors_budget_limits_the_purchase_too(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(11)
    output = invoke(*client_command(vendor, emoji, tmp_path, *SMALL), key=key).stdout
    assert "bought 11 queries" in output
    assert spent(vendor, key) == 11


@pytest.mark.parametrize(
    ("more", "code", "output"),
    [
        (("--data", "/nowhere"), 2, "distill-client demo-data"),
        (("--method", "magic"), 2, "method: Input should be 'vl2v-adip'"),
        (("--target-domain", "sketch"), 2, "no domain sketch"),
        (("--vendor", "http://127.0.0.1:9"), 5, "could not be reached"),
        (("--budget", "2"), 3, "needs 3 queries"),
        (("--teacher", "ViT-Z"), 2, "no model ViT-Z"),
    ],
)
def test_an_impossible_run_fails_with_one_line_and_is_not_charged(
    vendor: RunningVendor,
    emoji: Path,
    tmp_path: Path,
    key: str,
    more: tuple[str, ...],
    code: int,
    output: str,
) -> None:
    before = spent(vendor, key)
    failed = invoke(
        *client_command(vendor, emoji, tmp_path, *SMALL, *more), key=key, exit_code=code
    )
    assert output in failed.stderr
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert spent(vendor, key) == before


def test_a_wrong_key_is_refused_by_the_vendor(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    failed = invoke(*client_command(vendor, emoji, tmp_path, *SMALL), key="sk_no_such", exit_code=4)
    assert "such" not in failed.stderr + failed.stdout


@pytest.mark.parametrize("program", ["distill-client", "teacher-server", "cache-report"])
def test_help_imports_no_large_library(program: str) -> None:
    module = {"distill-client": "student", "teacher-server": "teacher_server"}.get(program, "cache")
    probe = (
        f"import sys; from {module}.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'open_clip', 'httpx', 'sqlalchemy', 'matplotlib', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_a_target_each_domain_is_held_out_in_turn_and_nothing_is_bought_twice(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    command = tuple(
        word
        for word in client_command(vendor, emoji, tmp_path, *SMALL)
        if word not in {"--target-domain", "outline"}
    )
    output = invoke(*command, "--views", "1", "--prompts", "domain", key=key).stdout
    # Every domain is a source of two of the three: 3 x 12 images, and 3 x 3 domain prompts.
    assert "bought 45 queries" in output
    for domain in ("apple", "google", "outline"):
        meta = json.loads((tmp_path / "out" / domain / "meta.json").read_text())
        assert meta["targets"] == [domain]
        assert domain not in meta["sources"]
        assert f"accuracy, held out: {domain}" in output
    assert (tmp_path / "out" / "report.md").read_text().count("## Accuracy, held out") == 3


def test_a_folder_of_classes_trains_with_nothing_held_out_and_warns_of_foreign_images(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    own = shutil.copytree(emoji / "google", tmp_path / "pets")
    command = tuple(
        word
        for word in client_command(vendor, own, tmp_path, *SMALL)
        if word not in {"--target-domain", "outline"}
    )
    output = invoke(*command, key=key).stdout
    assert "the vendor sells its embedded model" in output
    assert "accuracy, held out: nothing" in output
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["sources"] == ["pets"]
