"""White-box training with real processes: the student starts from the teacher's own weights."""

import json
import shutil
from pathlib import Path

from tests.end_to_end.conftest import RunningVendor, invoke
from tests.end_to_end.test_distill import QUERIES, TRAINED_ON, client_command, spent

MODEL = Path(__file__).resolve().parents[2] / "teacher_server" / "embedded"
WEIGHTS = "open_clip_model.safetensors"


def test_a_run_trains_the_clip_tower_and_predicts_without_the_teachers_folder(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    theirs = shutil.copytree(MODEL, tmp_path / "teacher")
    tower = (
        *("--method", "vl2v-sd", "--backbone", f"open_clip:local-dir:{theirs}"),
        *("--weights", str(theirs / WEIGHTS), "--wise-ft", "0.5", "--threads", "1"),
    )
    done = invoke(*client_command(vendor, emoji, tmp_path, *tower), key=key)
    assert f"bought {QUERIES} queries" in done.stdout
    assert "not the file that the vendor sells by" not in done.stdout + done.stderr
    assert spent(vendor, key) == QUERIES
    out = tmp_path / "out"
    meta = json.loads((out / "meta.json").read_text())
    assert (meta["method"], meta["embeddings_bought"]) == ("vl2v-sd", 2 * TRAINED_ON)
    assert meta["architecture"]["head"] == "identity"
    validated = meta["scores"]["source validation"]["accuracy"]
    assert round(meta["chosen"]["interpolated"]["accuracy"], 4) == validated
    assert "`vl2v-sd` (WiSE-FT, 0.5 of the way)" in (out / "MODEL_CARD.md").read_text()
    assert (out / "report.md").stat().st_size > 200
    shutil.rmtree(theirs)
    picture = str(next((emoji / "outline" / "bird").iterdir()))
    predict = ("distill-client", "predict", "--student", str(out), "--json", picture)
    assert json.loads(invoke(*predict).stdout)["class"] in {"bird", "drink", "heart"}
