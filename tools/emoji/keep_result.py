"""Copy the figures of a finished run to docs/results/NAME.json.

    python -m tools.emoji.keep_result runs/demo/student demo --commit $(git rev-parse HEAD)

The file also holds what is needed to repeat the run: settings, seed, commit and teacher.
"""

import argparse
import json
from pathlib import Path

KEPT = (
    *("method", "settings", "recipe", "seed", "sources", "targets", "images_trained_on"),
    *("embeddings_bought", "queries", "cost_micro_usd", "teacher", "chosen", "train_seconds"),
    *("compared", "calibration", "economics", "weights_sha256"),
)
LOCAL = {"data", "vendor", "cache", "out", "config"}  # paths and URLs of one machine


def main() -> None:
    """Read meta.json and write the result."""
    parser = argparse.ArgumentParser(description="Copy the figures of a run to docs/results.")
    parser.add_argument("folder", type=Path, help="output folder of a finished distill-client run")
    parser.add_argument("name", help="name of the JSON file, without .json")
    parser.add_argument("--commit", required=True, help="commit of the run")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("docs/results"),
        help="folder to write to (default: %(default)s)",
    )
    options = parser.parse_args()
    meta = json.loads((options.folder / "meta.json").read_text())
    kept = {name: meta[name] for name in KEPT if name in meta}  # old runs lack some
    kept["settings"] = {k: v for k, v in meta["settings"].items() if k not in LOCAL}
    kept["commit"] = options.commit
    kept["command"] = "distill-client --config examples/emoji/distill.toml, with these settings"
    options.results.mkdir(parents=True, exist_ok=True)
    target = options.results / f"{options.name}.json"
    target.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
