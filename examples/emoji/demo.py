"""The demo: start a vendor, buy embeddings, train a student, audit the purchase (`make demo`).

Every step is a command that a user could type; each is printed before it runs. The vendor runs in
a process of its own on a free loopback port. A second run finds every answer in the cache and buys
nothing.
"""

import argparse
import random
import time
from pathlib import Path

from student.data.folder.image_folder import discover
from tools.local_vendor import create_key_file, local_vendor, run_command

CONFIG = Path("examples/emoji/distill.toml")
DATA = Path("data/emoji")


def main() -> None:
    """Run the demo from end to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/demo"),
        help="ledger, cache and student are written here (default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=50_000,
        help="maximum queries to pay for, over the lifetime of the cache (default: %(default)s)",
    )
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    database = f"sqlite:///{folder}/ledger.db"
    cache, out = str(folder / "paid-cache"), str(folder / "student")

    run_command("distill-client", "demo-data", "--out", str(DATA))
    key_file = create_key_file(folder, database, options.budget)
    with local_vendor(folder, database) as url:
        common = ("--vendor", url, "--key-file", str(key_file))
        run_command(
            *("distill-client", "--budget", str(options.budget), "--config", str(CONFIG)),
            *("--data", str(DATA), "--cache", cache, "--out", out, "--compare", *common),
        )
        run_command("cache-report", "--cache", cache, "verify")
        run_command("cache-report", "--cache", cache, "audit", *common)
    outlines = [i.path for i in discover(DATA).items if i.domain == "outline"]
    chosen = random.Random(0).sample(outlines, 3)
    run_command("distill-client", "predict", "--student", out, *map(str, chosen))
    print(
        f"\nThe student, its model card, report.md and answers.png are in {out}; every paid answer "
        f"is in {cache}. Finished in {time.monotonic() - started:.0f} seconds."
    )


if __name__ == "__main__":
    main()
