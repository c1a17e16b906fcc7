"""The demo: a vendor sells, a client buys and distils, an audit balances. `make demo` runs this.

Every step is a command that a user could type; each is printed before it runs. The vendor is a
process of its own on a free loopback port. Run again, it finds every answer paid and buys nothing.
"""

import argparse
import json
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from student.data.image_folder import discover

CONFIG = Path("examples/emoji/distill.toml")
DATA = Path("data/emoji")
START_SECONDS = 180  # torch alone takes ten to import on a cold two-core machine


def run(*command: str) -> None:
    """Runs one command, shown as a person would type it; a failure ends the demo."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    code = subprocess.run(_installed(command), check=False).returncode
    if code:
        raise SystemExit(code)


def _installed(command: tuple[str, ...]) -> list[str]:
    return [str(Path(sys.executable).parent / command[0]), *command[1:]]


def issue_key(folder: Path, database: str, budget: int) -> Path:
    """The file with the demo's API key, made at the first run and shown to nobody."""
    key_file = folder / "key"
    if not key_file.exists():
        command = (
            *("teacher-server", "keys", "create", "--database", database),
            *("--name", "demo", "--budget", str(budget), "--json"),
        )
        print(f"\n$ {shlex.join(command)}", flush=True)
        made = subprocess.run(_installed(command), check=True, stdout=subprocess.PIPE, text=True)
        key_file.touch(mode=0o600)
        key_file.write_text(json.loads(made.stdout)["key"])
    return key_file


def _port(folder: Path) -> int:
    """The port of the last run where it is still free, else a free one."""
    remembered = folder / "port"
    wanted = int(remembered.read_text()) if remembered.exists() else 0
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            free = int(probe.getsockname()[1])
            remembered.write_text(str(free))
            return free
    message = "no free loopback port"
    raise SystemExit(message)


@contextmanager
def vendor(folder: Path, database: str, *, model: str = "embedded") -> Iterator[str]:
    """The vendor's URL, while its process runs; it is stopped, gracefully, at the end."""
    url_file = folder / "url"
    url_file.unlink(missing_ok=True)
    command = (
        *("teacher-server", "serve", "--port", str(_port(folder))),
        *("--database", database, "--url-file", str(url_file)),
        *(() if model == "embedded" else ("--model", model)),
    )
    print(f"\n$ {shlex.join(command)} &", flush=True)
    with (folder / "vendor.log").open("ab") as log:
        server = subprocess.Popen(_installed(command), stdout=log, stderr=log)
    try:
        waited_until = time.monotonic() + START_SECONDS
        while not url_file.exists():
            if server.poll() is not None or time.monotonic() > waited_until:
                message = f"the vendor did not start: see {folder / 'vendor.log'}"
                raise SystemExit(message)
            time.sleep(0.1)
        yield url_file.read_text().strip()
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)
        print(f"\nvendor stopped, exit code {server.returncode}")


def main() -> None:
    """Runs the demo from end to end."""
    parser = argparse.ArgumentParser(description="The whole project in one run.")
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"))
    parser.add_argument("--budget", type=int, default=50_000)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    database = f"sqlite:///{folder}/ledger.db"
    cache, out = str(folder / "paid-cache"), str(folder / "student")

    run("distill-client", "demo-data", "--out", str(DATA))
    key_file = issue_key(folder, database, options.budget)
    with vendor(folder, database) as url:
        common = ("--vendor", url, "--key-file", str(key_file))
        run(
            *("distill-client", "--budget", str(options.budget), "--config", str(CONFIG)),
            *("--data", str(DATA), "--cache", cache, "--out", out, "--compare", *common),
        )
        run("cache-report", "--cache", cache, "verify")
        run("cache-report", "--cache", cache, "audit", *common)
    outlines = [i.path for i in discover(DATA).items if i.domain == "outline"]
    drawn = random.Random(0).sample(outlines, 3)
    run("distill-client", "predict", "--student", out, *map(str, drawn))
    print(
        f"\nThe student, its card, report.md and answers.png are in {out}; every paid answer is in "
        f"{cache}. {time.monotonic() - began:.0f} seconds."
    )


if __name__ == "__main__":
    main()
