"""The main job with real processes: buy, distil, report, audit; again for nothing."""

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
from cache.storage.record_types import encode_receipt, receipt_name
from tests.end_to_end.conftest import BIN, Shop, invoke
from tests.support.cache_purchases import overwrite

QUICK = (
    *("--target-domain", "outline", "--image-size", "64", "--views", "2", "--batch-size", "8"),
    *("--steps", "3", "--align-steps", "3", "--eval-every", "2", "--batch-per-domain", "4"),
)
TRAINED_ON = 2 * 3 * 4  # two source styles, three classes, four of five emoji
QUERIES = 2 * TRAINED_ON + 3  # two views an image, one prompt a class


def job(shop: Shop, emoji: Path, folder: Path, *more: str) -> tuple[str, ...]:
    """The command of the whole job."""
    return (
        *("distill-client", "--budget", "50000", "--data", str(emoji), "--vendor", shop.url),
        *("--cache", str(folder / "cache"), "--out", str(folder / "out"), *QUICK, *more),
    )


@pytest.fixture(scope="module")
def key(shop: Shop) -> str:
    return shop.new_key(50_000)


@pytest.fixture(scope="module")
def done(
    shop: Shop, emoji: Path, key: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder and the output of a finished job with everything compared."""
    folder = tmp_path_factory.mktemp("job")
    return folder, invoke(*job(shop, emoji, folder, "--compare"), key=key).stdout


def test_the_job_buys_each_view_and_prompt_once_and_says_so(done: tuple[Path, str]) -> None:
    assert f"bought {QUERIES} queries; 0 answers were already paid for" in done[1]


def test_accuracy_is_printed_for_validation_and_the_held_out_domain_beside_erm_and_lp_ft(
    done: tuple[Path, str],
) -> None:
    assert re.search(r"accuracy, %\s+vl2v-adip\s+erm\s+lp-ft\s+images", done[1])
    assert re.search(
        r"source validation +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+", done[1]
    )
    assert re.search(r"outline +[\d.]+ ± [\d.]+", done[1])


def test_the_student_folder_explains_itself(done: tuple[Path, str]) -> None:
    out = done[0] / "out"
    meta = json.loads((out / "meta.json").read_text())
    assert meta["queries"] == QUERIES
    assert meta["cost_micro_usd"] == 100 * QUERIES
    assert meta["teacher"]["fingerprint"].startswith("sha256:")
    assert len(meta["receipts_digest"]) == 64
    assert set(meta["compared"]) == {"vl2v-adip", "erm", "lp-ft"}
    assert "sk_" not in (out / "meta.json").read_text()
    for name in ("student.safetensors", "MODEL_CARD.md", "report.md", "answers.png"):
        assert (out / name).stat().st_size > 200


def test_a_job_whose_method_reads_no_image_embedding_pays_for_the_prompts_alone(
    shop: Shop, emoji: Path, tmp_path: Path
) -> None:
    key = shop.new_key(1_000)
    said = invoke(*job(shop, emoji, tmp_path, "--method", "erm"), key=key).stdout
    assert "erm: no image embedding would be read, so none is bought" in said
    assert spent(shop, key) == 3
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["embeddings_bought"] == 0
    cache = str(tmp_path / "cache")
    invoke("cache-report", "--cache", cache, "audit", "--vendor", shop.url, key=key)


def test_the_student_predicts_with_no_vendor(done: tuple[Path, str], emoji: Path) -> None:
    picture = next((emoji / "outline" / "bird").iterdir())
    said = invoke(
        *("distill-client", "predict", "--student", str(done[0] / "out"), "--json", str(picture))
    )
    prediction = json.loads(said.stdout)
    assert prediction["class"] in {"bird", "drink", "heart"}
    assert 0 < prediction["confidence"] <= 1


def test_the_same_command_again_buys_nothing_and_gives_the_same_student(
    done: tuple[Path, str], shop: Shop, emoji: Path, key: str
) -> None:
    before = (done[0] / "out" / "student.safetensors").read_bytes()
    for name in ("checkpoints", "pixels", "embeddings"):  # so that it trains again, from nothing
        shutil.rmtree(done[0] / "out" / name)
    said = invoke(*job(shop, emoji, done[0], "--compare"), key=key).stdout
    assert f"bought 0 queries; {QUERIES} answers were already paid for" in said
    assert (done[0] / "out" / "student.safetensors").read_bytes() == before


def test_verify_and_audit_balance(done: tuple[Path, str], shop: Shop, key: str) -> None:
    cache = str(done[0] / "cache")
    invoke("cache-report", "--cache", cache, "verify")
    invoke("cache-report", "--cache", cache, "audit", "--vendor", shop.url, key=key)


def test_audit_fails_and_names_the_row_when_either_side_is_altered(
    shop: Shop, emoji: Path, tmp_path: Path
) -> None:
    key = shop.new_key(1_000)
    invoke(*job(shop, emoji, tmp_path), key=key)
    cache = tmp_path / "cache"
    audit = ("cache-report", "--cache", str(cache), "audit", "--vendor", shop.url)
    invoke(*audit, key=key)
    # The cache's side: one receipt says a unit less, sealed as if it were honest.
    with CacheReader.open(cache) as records:
        honest = next(iter(records.stored_receipts()))
    forged = replace(
        honest, receipt=honest.receipt.model_copy(update={"units": honest.receipt.units - 1})
    )
    name = receipt_name(honest.account, honest.receipt.request_id)
    overwrite(cache, name, encode_receipt(forged))
    said = invoke(*audit, key=key, fails_with=1).stdout
    assert honest.receipt.request_id in said
    overwrite(cache, name, encode_receipt(honest))
    invoke(*audit, key=key)
    # The vendor's side: one line of the ledger charges a unit more.
    with closing(sqlite3.connect(shop.database.removeprefix("sqlite:///"))) as books, books:
        for (trigger,) in books.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
            books.execute(f"DROP TRIGGER {trigger}")
        changed = books.execute(
            "UPDATE ledger_entries SET units = units + 1 WHERE request_id = ?",
            (honest.receipt.request_id,),
        )
        assert changed.rowcount == 1
    said = invoke(*audit, key=key, fails_with=1).stdout
    assert honest.receipt.request_id in said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_client_goes_on_and_pays_for_nothing_twice(
    shop: Shop, emoji: Path, tmp_path: Path, how: signal.Signals
) -> None:
    key = shop.new_key(1_000)
    command = job(shop, emoji, tmp_path, "--batch-size", "1", "--concurrency", "1")
    client = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        env={**os.environ, "TEACHER_API_KEY": key},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while spent(shop, key) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    client.send_signal(how)
    assert client.wait() == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    at_kill = spent(shop, key)
    assert 5 <= at_kill < QUERIES
    invoke(*job(shop, emoji, tmp_path), key=key)
    assert spent(shop, key) == QUERIES
    invoke(
        *("cache-report", "--cache", str(tmp_path / "cache"), "audit", "--vendor", shop.url),
        key=key,
    )


def spent(shop: Shop, key: str) -> int:
    """What the vendor has charged this key, in queries."""
    request = urllib.request.Request(
        shop.url + "/v1/key", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["spent_units"])


def test_a_dry_run_prints_the_plan_and_buys_nothing(
    shop: Shop, emoji: Path, tmp_path: Path
) -> None:
    key = shop.new_key(1_000)
    said = invoke(*job(shop, emoji, tmp_path, "--dry-run"), key=key).stdout
    for row in ("images asked", "distinct", "already paid", "to buy", "cost", "left out"):
        assert row in said
    assert spent(shop, key) == 0


def test_a_small_budget_is_used_to_the_last_unit_and_the_rest_trains_on_text(
    shop: Shop, emoji: Path, tmp_path: Path
) -> None:
    key = shop.new_key(1_000)
    said = invoke(*job(shop, emoji, tmp_path, "--budget", "20"), key=key).stdout
    assert "bought 20 queries" in said
    assert "left out (client budget)" in said
    assert spent(shop, key) == 20
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["embeddings_bought"] == 17


def test_the_vendors_budget_is_the_second_wall(shop: Shop, emoji: Path, tmp_path: Path) -> None:
    key = shop.new_key(11)
    said = invoke(*job(shop, emoji, tmp_path), key=key).stdout
    assert "bought 11 queries" in said
    assert spent(shop, key) == 11


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--data", "/nowhere"), 2, "distill-client demo-data"),
        (("--method", "magic"), 2, "no method magic"),
        (("--target-domain", "sketch"), 2, "no domain sketch"),
        (("--vendor", "http://127.0.0.1:9"), 5, "could not be reached"),
        (("--budget", "2"), 3, "needs 3 queries"),
        (("--teacher", "ViT-Z"), 2, "no model ViT-Z"),
    ],
)
def test_what_cannot_work_says_so_in_one_line_and_charges_nothing(
    shop: Shop, emoji: Path, tmp_path: Path, key: str, more: tuple[str, ...], code: int, said: str
) -> None:
    before = spent(shop, key)
    failed = invoke(*job(shop, emoji, tmp_path, *more), key=key, fails_with=code)
    assert said in failed.stderr
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert spent(shop, key) == before


def test_a_wrong_key_is_refused_by_the_vendor(shop: Shop, emoji: Path, tmp_path: Path) -> None:
    failed = invoke(*job(shop, emoji, tmp_path), key="sk_no_such", fails_with=4)
    assert "such" not in failed.stderr + failed.stdout


@pytest.mark.parametrize("program", ["distill-client", "teacher-server", "cache-report"])
def test_help_answers_without_loading_anything_heavy(program: str) -> None:
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
    shop: Shop, emoji: Path, tmp_path: Path
) -> None:
    key = shop.new_key(1_000)
    command = tuple(
        word for word in job(shop, emoji, tmp_path) if word not in {"--target-domain", "outline"}
    )
    said = invoke(*command, "--views", "1", "--prompts", "domain", key=key).stdout
    # Every domain is a source of two of the three: 3 x 12 images, and 3 x 3 domain prompts.
    assert "bought 45 queries" in said
    for domain in ("apple", "google", "outline"):
        meta = json.loads((tmp_path / "out" / domain / "meta.json").read_text())
        assert meta["targets"] == [domain]
        assert domain not in meta["sources"]
        assert f"accuracy, held out: {domain}" in said
    assert (tmp_path / "out" / "report.md").read_text().count("## Accuracy, held out") == 3


def test_a_folder_of_classes_trains_with_nothing_held_out_and_strangers_images_are_warned_of(
    shop: Shop, emoji: Path, tmp_path: Path
) -> None:
    key = shop.new_key(1_000)
    own = shutil.copytree(emoji / "google", tmp_path / "pets")
    command = tuple(
        word for word in job(shop, own, tmp_path) if word not in {"--target-domain", "outline"}
    )
    said = invoke(*command, key=key).stdout
    assert "the vendor sells its embedded model" in said
    assert "accuracy, held out: nothing" in said
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["sources"] == ["pets"]
