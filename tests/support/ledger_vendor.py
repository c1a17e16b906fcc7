"""A vendor in memory, with a real ledger, for the tests of the client."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np

from cache.records.embeddings_digest import embeddings_sha256
from cache.records.receipt import GENESIS_HASH, Receipt, entry_hash

KEY = "sk_testkey_0123456789abcdef0123456789abcdef"
JSON = "application/json"
PROBLEM = "application/problem+json"

Fault = Callable[["LedgerVendor", httpx.Request], httpx.Response]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that reached the vendor."""

    method: str
    path: str
    idempotency_key: str
    items: int


def model_facts(name: str = "tiny", dim: int = 8, weights: str = "ab" * 32) -> dict[str, Any]:
    """A model as /v1/models lists it, its fingerprint by the wire contract."""
    preprocess = {"mean": [0.5, 0.5, 0.5], "size": 64}
    facts = {
        "id": name,
        "weights_sha256": weights,
        "preprocess": preprocess,
        "dim": dim,
        "normalized": True,
    }
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return {
        "id": name,
        "object": "model",
        "created": 1,
        "owned_by": "test",
        "fingerprint": "sha256:" + hashlib.sha256(canonical.encode()).hexdigest(),
        "weights_sha256": weights,
        "dim": dim,
        "image_size": 64,
        "context_length": 24,
        "preprocess": preprocess,
        "open_clip_version": "3.3.0",
        "embedded": False,
        "limits": {
            "max_items": 64,
            "max_image_bytes": 10_000_000,
            "max_image_pixels": 10_000_000,
            "max_body_bytes": 40_000_000,
        },
    }


class LedgerVendor:
    """Answers as the wire contract says: charges once per key, replays, refuses, keeps a chain.

    `faults` are used up one per POST /v1/embeddings and may answer, fail, or call `serve` first.
    `lie` may change the body of an answer after it was charged. An image that starts with `bad` is
    refused, and so is an item that it `refuses`. Without `states_digests` it is a vendor from
    before the digest of the embeddings.
    """

    def __init__(self, *, budget: int = 1000, micro_usd: int = 100) -> None:
        self.budget = budget
        self.model = model_facts()
        self.price: dict[str, Any] = {
            "version": "2026-11",
            "currency": "USD",
            "units": {"image": 1, "text": 1},
            "micro_usd_per_unit": micro_usd,
        }
        self.ledger: list[dict[str, Any]] = []
        self.answers: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.in_flight: set[str] = set()
        self.purged: set[str] = set()
        self.faults: deque[Fault] = deque()
        self.states_digests = True
        self.refuses: Callable[[dict[str, str]], bool] = lambda item: False
        self.lie: Callable[[dict[str, Any]], object] | None = None

    @property
    def spent(self) -> int:
        """Units charged."""
        return sum(entry["units"] for entry in self.ledger)

    @property
    def posts(self) -> list[Seen]:
        """The purchases that were tried."""
        return [seen for seen in self.seen if seen.path == "/v1/embeddings"]

    def receipts(self) -> list[Receipt]:
        """The ledger."""
        return [Receipt.model_validate(entry) for entry in self.ledger]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        is_purchase = request.url.path == "/v1/embeddings"
        items = len(json.loads(request.content)["input"]) if is_purchase else 0
        key = request.headers.get("Idempotency-Key", "")
        self.seen.append(Seen(request.method, request.url.path, key, items))
        if is_purchase and self.faults:
            return self.faults.popleft()(self, request)
        return self.serve(request)

    def serve(self, request: httpx.Request) -> httpx.Response:
        """The correct answer."""
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return problem(401, "invalid_key")
        path = request.url.path
        if path == "/v1/embeddings" and request.method == "POST":
            return self._embed(request)
        if path.startswith("/v1/requests/"):
            return self._stored(unquote(path.removeprefix("/v1/requests/")))
        pages: dict[str, object] = {
            "/v1/models": {"object": "list", "data": [self.model]},
            "/v1/prices": self.price,
            "/v1/key": {
                "id": "testkey",
                "name": "test",
                "budget_units": self.budget,
                "spent_units": self.spent,
                "reserved_units": 0,
                "remaining_units": self.budget - self.spent,
                "created_ms": 1,
            },
            "/readyz": {"status": "ready"},
        }
        if path in pages:
            return httpx.Response(200, json=pages[path])
        return problem(404, "not_found")

    def _stored(self, key: str) -> httpx.Response:
        if key in self.purged:
            return problem(410, "answer_purged", detail="The stored answer was purged.")
        if key in self.in_flight:
            return problem(409, "request_in_flight", headers={"Retry-After": "1"})
        if key not in self.answers:
            return problem(404, "unknown_request")
        headers = {"Idempotent-Replayed": "true", "Content-Type": JSON}
        return httpx.Response(200, content=self.answers[key], headers=headers)

    def _embed(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["Idempotency-Key"]
        if key in self.answers or key in self.in_flight:
            return self._stored(key)
        sent = json.loads(request.content)
        if sent["model"] != self.model["id"] or sent["encoding_format"] != "base64":
            return problem(400, "invalid_request")
        inputs = sent["input"]
        if len(inputs) > self.model["limits"]["max_items"]:
            return problem(413, "batch_too_large")
        for index, item in enumerate(inputs):
            if base64.b64decode(item.get("image", "")).startswith(b"bad") or self.refuses(item):
                code = "invalid_image" if "image" in item else "text_too_long"
                return problem(422, code, index=index)
        remaining = self.budget - self.spent
        needed = self._units(inputs)
        if needed > remaining:
            code = "request_exceeds_budget" if remaining else "budget_exhausted"
            return problem(402, code, needed=needed, remaining=remaining)
        body = self._charge(key, inputs)
        if self.lie is not None:
            self.lie(body)
        self.answers[key] = json.dumps(body).encode()
        return httpx.Response(200, content=self.answers[key], headers={"Content-Type": JSON})

    def _units(self, inputs: list[dict[str, str]]) -> int:
        prices: dict[str, int] = self.price["units"]
        return sum(prices["image" if "image" in item else "text"] for item in inputs)

    def _charge(self, key: str, inputs: list[dict[str, str]]) -> dict[str, Any]:
        images = sum("image" in item for item in inputs)
        units, seq = self._units(inputs), len(self.ledger) + 1
        entry: dict[str, Any] = {
            "seq": seq,
            "kind": "charge",
            "request_id": f"req_{seq}",
            "idempotency_key": key,
            "model": self.model["id"],
            "model_fingerprint": self.model["fingerprint"],
            "images": images,
            "texts": len(inputs) - images,
            "units": units,
            "cost_micro_usd": units * self.price["micro_usd_per_unit"],
            "price_version": self.price["version"],
            "balance_units": self.budget - self.spent - units,
            "created_ms": 1_700_000_000_000 + seq,
            "prev_hash": self.ledger[-1]["hash"] if self.ledger else GENESIS_HASH,
        }
        vectors = [vector_of(_payload(item), self.model["dim"]) for item in inputs]
        if self.states_digests:
            entry["embeddings_sha256"] = embeddings_sha256(vectors)
        entry["hash"] = entry_hash(entry)
        self.ledger.append(entry)
        rows = [
            {
                "object": "embedding",
                "index": index,
                "embedding": encode(vector),
            }
            for index, vector in enumerate(vectors)
        ]
        return {
            "object": "list",
            "data": rows,
            "model": self.model["id"],
            "model_fingerprint": self.model["fingerprint"],
            "model_fingerprint_v2": self.model.get("fingerprint_v2", ""),
            "usage": {
                "prompt_tokens": 0,
                "total_tokens": 0,
                "images": images,
                "texts": len(inputs) - images,
                "billed_units": units,
                "cost_micro_usd": entry["cost_micro_usd"],
                "price_version": entry["price_version"],
            },
            "receipt": dict(entry),
        }


def _payload(item: dict[str, str]) -> bytes:
    return base64.b64decode(item["image"]) if "image" in item else item["text"].encode()


def vector_of(payload: bytes, dim: int = 8) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The unit vector, (dim,) float32, that the vendor sells for these bytes."""
    seed = int.from_bytes(hashlib.sha256(payload).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def encode(vector: np.ndarray[Any, Any]) -> str:
    """A vector in base64, as a response contains it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def problem(
    status: int, code: str, *, headers: dict[str, str] | None = None, **more: object
) -> httpx.Response:
    """A refusal in the vendor's format."""
    body = {
        "type": f"urn:problem:{code}",
        "title": code,
        "status": status,
        "detail": f"{code}; nothing was charged.",
        "code": code,
        "request_id": "req_refused",
        "charged_units": 0,
        **more,
    }
    return httpx.Response(
        status, content=json.dumps(body), headers={"Content-Type": PROBLEM, **(headers or {})}
    )


def refusing(status: int, code: str, **more: object) -> Fault:
    """A fault: this refusal, and no work."""
    return lambda vendor, request: problem(status, code, **more)  # type: ignore[arg-type]


def lost_request(vendor: LedgerVendor, request: httpx.Request) -> httpx.Response:
    """A fault: the request never reaches the vendor, and the client cannot tell."""
    message = "lost on the way there"
    raise httpx.ReadTimeout(message)


def lost_answer(vendor: LedgerVendor, request: httpx.Request) -> httpx.Response:
    """A fault: the vendor charges, and its answer is lost."""
    vendor.serve(request)
    message = "lost on the way back"
    raise httpx.ReadError(message)
