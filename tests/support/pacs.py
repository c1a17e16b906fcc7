"""A few images in the layout of DomainBed's PACS, and a vendor of a tiny CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.paper.datasets import DATASETS
from benchmarks.support.raw_http import serving_in_thread
from benchmarks.support.vendor_in_process import ledger_at
from teacher_server.api.app import create_app
from teacher_server.inference.encoder import load_encoder
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.ledger import Ledger
from teacher_server.server.connections import ConnectionLimits
from teacher_server.settings import VendorSettings
from tests.support.pictures import write_picture

CLASSES = ("dog", "guitar")
EACH = 5  # a fifth is for validation
DOMAINS = tuple(DATASETS["PACS"].domains)
TRAINED_ON = len(DOMAINS) * len(CLASSES) * (EACH - 1)

STUDENT = """\
backbone = "test_resnet"
weights = "none"
image_size = 32
batch_per_domain = 2
device = "cpu"
threads = 1
"""


def write_pacs(root: Path) -> Path:
    """DomainBed's data folder with a small PACS in it."""
    seed = 0
    for domain in DOMAINS:
        for name in CLASSES:
            for number in range(EACH):
                write_picture(root / "PACS" / domain / name / f"pic_{number:03}.png", seed)
                seed += 1
    return root


@contextmanager
def clip_vendor(folder: Path, *, budget: int) -> Iterator[tuple[str, ApiKey, Ledger]]:
    """A vendor of the embedded CLIP on a real socket: its URL, a key and its ledger."""
    encoder = load_encoder("embedded")
    with ledger_at(folder) as (_, ledger):
        key = ApiKey.new()
        ledger.keys.create(key, name="paper", budget=budget, price_version="p")
        app = create_app(encoder=encoder, ledger=ledger, settings=VendorSettings())
        limits = ConnectionLimits(header_seconds=10, body_seconds=60, max_connections=100)
        with serving_in_thread(app, limits) as server:
            yield f"http://127.0.0.1:{server.port}", key, ledger
