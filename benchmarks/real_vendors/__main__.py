"""Buys and trains a student from infinity and one through LiteLLM, and checks all books.

`python -m benchmarks.real_vendors`: installs what is missing in build/peers, writes
docs/results/real-vendors.json, and ends with an error if any figure differs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import httpx

from benchmarks.embedding_servers import infinity, servers
from benchmarks.embedding_servers.servers import Server
from benchmarks.real_vendors import litellm
from student.data.demo.lay_out import all_emoji, mark
from student.data.demo.styles import styles
from tools.provenance import commit

PEERS = Path("build/peers")
RESULTS = Path("docs/results/real-vendors.json")
_STYLES = ("apple", "google", "outline")
_CLASSES = ("bird", "drink", "heart")
_EACH = 5
_QUICK = (
    *("--target-domain", "outline", "--image-size", "64", "--views", "2", "--batch-size", "8"),
    *("--steps", "3", "--align-steps", "3", "--eval-every", "2", "--batch-per-domain", "4"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """A student bought from a server: what was counted here, and what the server counted.

    `said` is from the server's own side; `reconciled` and `sound` are exit codes of `cache-report`.
    """

    server: str
    release: str
    queries: int
    requests: int
    in_doubt: int
    said: Mapping[str, int]
    usage: Mapping[str, float]
    reconciled: int
    sound: int
    bought_again: int

    @property
    def is_right(self) -> bool:
        """Whether every book agrees, and a second run would buy nothing."""
        return not (self.reconciled or self.sound or self.bought_again or self.in_doubt)


def main() -> int:
    """Run both, and return the exit code."""
    for peer in (infinity, litellm):
        folder = PEERS / peer.__name__.rpartition(".")[2]
        if not peer.is_installed(folder):
            sys.stdout.write(f"installing in {folder}\n")
            peer.install(folder)
    with tempfile.TemporaryDirectory() as scratch:
        data = _small_emoji(Path(scratch) / "emoji")
        found = [_from_infinity(data, Path(scratch)), _through_litellm(data, Path(scratch))]
    result = {"command": "make vendors-test", "commit": commit(), "seed": 0}
    result["students"] = [asdict(one) for one in found]
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(RESULTS.read_text())
    return 0 if all(one.is_right for one in found) else 1


def _from_infinity(data: Path, scratch: Path) -> Bought:
    release = infinity.REQUIREMENTS[0].partition("==")[2]
    with infinity.infinity(PEERS / "infinity") as server:
        before = _posts_counted(server)
        client = _Client(data, scratch / "infinity", server, "modality")
        client.buy()
        said = {"requests": _posts_counted(server) - before}
        return client.books("infinity-emb", release, said)


def _through_litellm(data: Path, scratch: Path) -> Bought:
    release = litellm.REQUIREMENTS[0].partition("==")[2]
    with (
        servers.vendor() as vendor,
        litellm.proxy(PEERS / "litellm", vendor) as server,
    ):
        client = _Client(data, scratch / "litellm", server, "strings")
        client.buy()
        said = _ledger(vendor)
        name = f"litellm {release} before teacher-server"
        return client.books(name, version("rented-teacher"), said)


@dataclass(frozen=True, slots=True)
class _Client:
    data: Path
    folder: Path
    server: Server
    shape: str

    def buy(self, *more: str) -> str:
        """Run the client to its end; return what it prints."""
        done = self._run(
            *("distill-client", "--wire", "openai", "--input-shape", self.shape),
            *("--vendor", f"http://127.0.0.1:{self.server.port}{self.server.path}"),
            *("--teacher", self.server.model, "--data", str(self.data), "--budget", "5000"),
            *("--price-image", "100", "--price-text", "100"),
            *("--cache", str(self.folder / "cache"), "--out", str(self.folder / "out"), *_QUICK),
            *more,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return done.stdout

    def books(self, name: str, release: str, said: Mapping[str, int]) -> Bought:
        """Check the cache by itself and against the server, and what a second run would buy."""
        invoice = self.folder / "invoice.csv"
        invoice.write_text(f"{','.join(said)}\n{','.join(map(str, said.values()))}\n")
        cache = ("cache-report", "--cache", str(self.folder / "cache"))
        reconciled = self._run(*cache, "reconcile", str(invoice))
        sys.stdout.write(reconciled.stdout)
        again = self.buy("--dry-run")
        summary = json.loads(self._run(*cache, "summary", "--json").stdout)
        return Bought(
            server=name,
            release=release,
            queries=summary["total"]["units"],
            requests=summary["total"]["receipts"],
            in_doubt=summary.get("in_doubt_units", 0),
            said=said,
            usage=summary["vendor_usage"][0]["usage"],
            reconciled=reconciled.returncode,
            sound=self._run(*cache, "verify").returncode,
            bought_again=int(re.findall(r"^queries +(\d+)", again, re.MULTILINE)[0]),
        )

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        key = dict(self.server.headers).get("Authorization", "Bearer none").split()[1]
        program = str(Path(sys.executable).parent / command[0])
        return subprocess.run(
            [program, *command[1:]],
            env=os.environ | {"TEACHER_API_KEY": key},
            capture_output=True,
            text=True,
            check=False,
        )


def _posts_counted(server: Server) -> int:
    """The requests for embeddings that infinity's own metrics count."""
    text = httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=30).text
    pattern = r'^http_requests_total\{handler="/embeddings",method="POST",status="2xx"\} ([\d.]+)'
    return round(sum(map(float, re.findall(pattern, text, re.MULTILINE))))


def _ledger(vendor: Server) -> dict[str, int]:
    """What the ledger of the vendor behind the proxy has charged."""
    address = f"http://127.0.0.1:{vendor.port}/v1/ledger?limit=1000"
    answer = httpx.get(address, headers=dict(vendor.headers), timeout=30)
    charges = [
        entry
        for entry in map(json.loads, answer.text.splitlines())
        if entry["images"] or entry["texts"]
    ]
    names = {
        "images": "images",
        "texts": "texts",
        "units": "queries",
        "cost_micro_usd": "micro_usd",
    }
    sums = {spelt: sum(entry[name] for entry in charges) for name, spelt in names.items()}
    return {"requests": len(charges), **sums}


def _small_emoji(root: Path) -> Path:
    draw = styles()
    for class_name in _CLASSES:
        chosen = [one for one in all_emoji() if one.class_name == class_name][:_EACH]
        for style in _STYLES:
            folder = root / style / class_name
            folder.mkdir(parents=True)
            for symbol in chosen:
                image = draw[style](symbol.codepoints)
                if image is not None:
                    image.save(folder / f"{symbol.stem}.png")
    mark(root)
    return root


if __name__ == "__main__":
    sys.exit(main())
