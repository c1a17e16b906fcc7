"""Purchases as a vendor and a client would make them, for the tests of the cache."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray

from cache.paid_cache import Intent, PaidCache, PaidEmbedding, RunRecord
from cache.records.embedding_key import EmbeddingKey, Modality, image_item, text_item
from cache.records.embeddings_digest import embeddings_sha256
from cache.records.receipt import GENESIS_HASH, Receipt, account_name, entry_hash
from cache.storage.folder import DATABASE

FINGERPRINT = "sha256:" + "f" * 64
MODEL = "embedded/emoji-clip"
KEY_ID = "k1"
SECRET = "sk_k1_averysecretsecret"
ACCOUNT = account_name("http://vendor:8000", KEY_ID)
DIM = 8
NOON = 1_764_000_000_000


def image(number: int, *, fingerprint: str = FINGERPRINT, view: str = "original") -> EmbeddingKey:
    """The key of an image that exists only by its number."""
    item = image_item(f"image {number}".encode())
    return EmbeddingKey(model_fingerprint=fingerprint, modality="image", item=item, view=view)


def text(words: str) -> EmbeddingKey:
    """The key of a text."""
    return EmbeddingKey(model_fingerprint=FINGERPRINT, modality="text", item=text_item(words))


def images(*numbers: int) -> tuple[EmbeddingKey, ...]:
    """The keys of several images."""
    return tuple(image(number) for number in numbers)


def intent_of(
    *keys: EmbeddingKey, name: str = "", run: str = "run-1", units: int | None = None
) -> Intent:
    """An open purchase of `keys`, one query each, whose idempotency key is derived from them."""
    return Intent(
        idempotency_key=name or "idem-" + "-".join(key.item[:6] for key in keys),
        keys=keys,
        units=len(keys) if units is None else units,
        run=run,
        created_ms=NOON,
    )


def vector_of(key: EmbeddingKey, dim: int = DIM) -> NDArray[np.float32]:
    """The unit vector that the vendor always gives for `key`."""
    random = np.random.default_rng(int.from_bytes(key.digest[:8], "big"))
    vector = random.standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def rows_of(intent: Intent, receipt: Receipt, *, dim: int = DIM) -> list[PaidEmbedding]:
    """The vendor's answer to `intent`."""
    return [
        PaidEmbedding(
            key=key,
            vector=vector_of(key, dim),
            sent_sha256=key.item,
            model=receipt.model,
            request_id=receipt.request_id,
            price_version=receipt.price_version,
            created_ms=receipt.created_ms,
        )
        for key in intent.keys
    ]


def rehashed(receipt: Receipt, **changes: Any) -> Receipt:
    """`receipt` with other fields and their correct hash."""
    entry = {**receipt.entry(), **changes}
    return Receipt.model_validate({**entry, "hash": entry_hash(entry)})


def altered(receipt: Receipt, **changes: Any) -> Receipt:
    """`receipt` with other fields and the hash of the old fields."""
    return Receipt.model_validate({**receipt.entry(), **changes})


@dataclass
class Ledger:
    """A vendor's ledger of one key, in memory."""

    granted: int = 50_000
    price: int = 100
    states_digests: bool = True
    entries: list[Receipt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._append(kind="grant", units=self.granted, cost_micro_usd=0, model="")

    def charge(self, intent: Intent, *, dim: int = DIM, **changes: Any) -> Receipt:
        """Charge for `intent` and return the receipt."""
        count: dict[Modality, int] = {"image": 0, "text": 0}
        for key in intent.keys:
            count[key.modality] += 1
        digest = embeddings_sha256(vector_of(key, dim) for key in intent.keys)
        return self._append(
            kind="charge",
            idempotency_key=intent.idempotency_key,
            model=MODEL,
            model_fingerprint=intent.keys[0].model_fingerprint,
            images=count["image"],
            texts=count["text"],
            units=intent.units,
            cost_micro_usd=intent.units * self.price,
            **({"embeddings_sha256": digest} if self.states_digests else {}) | changes,
        )

    def correct(self, charge: Receipt, *, units: int, cost_micro_usd: int) -> Receipt:
        """Refund a part of a charge."""
        return self._append(
            kind="correction",
            request_id=f"corr_{len(self.entries) + 1:04d}",
            idempotency_key=charge.request_id,
            model=charge.model,
            model_fingerprint=charge.model_fingerprint,
            units=-units,
            cost_micro_usd=-cost_micro_usd,
        )

    def _append(self, **fields: Any) -> Receipt:
        seq = len(self.entries) + 1
        balance = self.entries[-1].balance_units if self.entries else 0
        # A correction's units are negative: the refund.
        signed = fields["units"] if fields["kind"] == "grant" else -fields["units"]
        entry = {
            "seq": seq,
            "request_id": f"req_{seq:04d}",
            "idempotency_key": "",
            "model_fingerprint": "",
            "images": 0,
            "texts": 0,
            "price_version": "2026-11",
            "balance_units": balance + signed,
            "created_ms": NOON + seq * 3_600_000,
            "prev_hash": self.entries[-1].hash if self.entries else GENESIS_HASH,
            **fields,
        }
        self.entries.append(Receipt.model_validate({**entry, "hash": entry_hash(entry)}))
        return self.entries[-1]


def buy(
    cache: PaidCache,
    ledger: Ledger,
    *keys: EmbeddingKey,
    run: str = "run-1",
    account: str = ACCOUNT,
    budget: int = 50_000,
    name: str = "",
) -> Receipt:
    """Buy `keys` from beginning to end."""
    intent = intent_of(*keys, run=run, name=name)
    cache.reserve(intent, budget=budget)
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=account)
    return receipt


def run_record(run: str = "run-1", **changes: Any) -> RunRecord:
    """A run's record."""
    record = RunRecord(
        run=run,
        started_ms=NOON,
        command="distill-client --budget 50000",
        model=MODEL,
        model_fingerprint=FINGERPRINT,
        planned=10,
        already_paid=4,
        bought_units=6,
        cost_micro_usd=600,
        micro_usd_per_unit=100,
    )
    return replace(record, **changes)


def tamper(folder: Path, sql: str, *values: object) -> int:
    """Change the database without its triggers; return the number of changed rows."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        for trigger in ("paid_is_kept", "paid_is_immutable", "loss_is_kept", "loss_is_immutable"):
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        return connection.execute(sql, values).rowcount


def overwrite(folder: Path, name: str | bytes, content: bytes) -> None:
    """Replace the content of one stored record."""
    assert tamper(folder, "UPDATE Cache SET value = ? WHERE key = ?", content, name) == 1


def count_free_pages(folder: Path, pages: int) -> None:
    """Make the database's header claim so many free pages; the cache must be closed."""
    with (folder / DATABASE).open("r+b") as file:
        file.seek(36)
        file.write(pages.to_bytes(4, "big"))


@dataclass
class FakeVendor:
    """The vendor's routes that an audit uses, over a real socket."""

    lines: list[str]
    key: dict[str, Any] = field(default_factory=lambda: {"id": KEY_ID, "spent_units": 0})
    secret: str = SECRET
    page_lines: int = 2
    asked: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve until the block ends; yields the address."""
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                vendor.asked.append(self.path)
                vendor.authorizations.add(self.headers.get("Authorization", ""))
                status, body, headers = vendor.answer(self.path, self.headers["Authorization"])
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, path: str, authorization: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for one GET."""
        parts = urlsplit(path)
        if authorization != f"Bearer {self.secret}":
            problem = {"code": "invalid_key", "detail": "This key is not known; nothing charged."}
            return 401, json.dumps(problem).encode(), {"Content-Type": "application/problem+json"}
        if parts.path == "/v1/key":
            return 200, json.dumps(self.key).encode(), {"Content-Type": "application/json"}
        if parts.path == "/v1/ledger":
            after = int(parse_qs(parts.query)["after"][0])
            page = self.lines[after : after + self.page_lines]
            body = "".join(line + "\n" for line in page).encode()
            return 200, body, {"Content-Type": "application/jsonl"}
        return 404, b"not found", {}


def vendor_of(entries: Sequence[Receipt]) -> FakeVendor:
    """A vendor whose ledger has these entries."""
    spent = sum(entry.units for entry in entries if entry.kind != "grant")
    return FakeVendor(
        lines=[json.dumps(entry.entry()) for entry in entries],
        key={"id": KEY_ID, "spent_units": spent},
    )
