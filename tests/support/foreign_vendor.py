"""A vendor of the kind that exists: no receipts, no idempotency keys, and books of its own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import httpx
import numpy as np

KEY = "foreign-key-0123456789"

Fault = Callable[["ForeignVendor", httpx.Request], httpx.Response]


@dataclass
class Shape:
    """How one kind of vendor reads a body and writes an answer.

    `items` gives (modality, bytes) of a body and raises ValueError for one that the documented
    contract does not allow; `answer` takes the body and the vectors.
    """

    path: str
    items: Callable[[Mapping[str, Any]], list[tuple[str, bytes]]]
    answer: Callable[[Mapping[str, Any], list[tuple[str, bytes]], list[list[float]]], Any]


@dataclass
class ForeignVendor:
    """Charges for every request that it answers, or would have answered, item by item.

    `faults` are used up one a request and may answer, fail, or call `serve` first. `length` is that
    of its vectors, `epoch` the state of its model: another one gives other vectors.
    """

    shape: Shape
    dim: int = 8
    length: float = 1.0
    epoch: str = "1"
    faults: deque[Fault] = field(default_factory=deque)
    charged: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[httpx.Headers] = field(default_factory=list)
    requests: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def spent(self) -> int:
        """Items charged."""
        return self.charged.total()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST":
            return httpx.Response(404, json={"error": {"message": "no such page"}})
        with self._lock:
            self.requests += 1
            fault = self.faults.popleft() if self.faults else None
        return fault(self, request) if fault is not None else self.serve(request)

    def serve(self, request: httpx.Request) -> httpx.Response:
        """The correct answer, charged."""
        self.headers.append(request.headers)
        if request.url.path != self.shape.path:
            return httpx.Response(404, json={"error": {"message": f"no {request.url.path}"}})
        if not any(KEY in value for value in request.headers.values()):
            return httpx.Response(401, json={"error": {"message": "wrong key"}})
        body = json.loads(request.content)
        try:
            items = self.shape.items(body)
        except (ValueError, KeyError, TypeError) as error:
            return httpx.Response(400, json={"error": {"message": repr(error)}})
        if any(payload.endswith(b"bad") for _, payload in items):
            return httpx.Response(400, json={"error": {"message": "cannot read an image"}})
        with self._lock:
            self.bodies.append(body)
            self.charged.update(hashlib.sha256(payload).hexdigest() for _, payload in items)
        vectors = [self.vector(payload) for _, payload in items]
        answer = self.shape.answer(body, items, vectors)
        return httpx.Response(200, json=answer, headers={"x-request-id": f"r{self.requests}"})

    def vector(self, payload: bytes) -> list[float]:
        """What it sells for these bytes."""
        seed = hashlib.sha256(self.epoch.encode() + payload).digest()[:8]
        vector = np.random.default_rng(int.from_bytes(seed, "little")).normal(size=self.dim)
        found: list[float] = (self.length * vector / np.linalg.norm(vector)).tolist()
        return found


def decoded(uri: str) -> bytes:
    """The bytes in a data-URI of an image. Raises ValueError for anything else."""
    head, comma, data = uri.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        message = f"not a data-URI: {uri[:40]}"
        raise ValueError(message)
    return base64.b64decode(data, validate=True)


def _openai_items(body: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    if "messages" in body:
        (message,) = body["messages"]
        (part,) = message["content"]
        if part["type"] == "text":
            return [("text", part["text"].encode())]
        return [("image", decoded(part["image_url"]["url"]))]
    items = []
    for item in body["input"]:
        if isinstance(item, dict):
            ((modality, value),) = item.items()
        else:
            value = item
            guessed = "image" if value.startswith("data:") else "text"
            modality = body.get("modality", guessed)
        items.append((modality, decoded(value) if modality == "image" else value.encode()))
    return items


def _openai_answer(
    body: Mapping[str, Any], items: list[tuple[str, bytes]], vectors: list[list[float]]
) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(len(payload.split()) for kind, payload in items if kind == "text")
    return {
        "object": "list",
        "data": rows[::-1],  # `index` says the order, not the list
        "model": body["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


OPENAI = Shape("/v1/embeddings", _openai_items, _openai_answer)


def answered(vendor: ForeignVendor, request: httpx.Request) -> httpx.Response:
    """No fault: the correct answer, where a later request is to fail."""
    return vendor.serve(request)


def lost_request(vendor: ForeignVendor, request: httpx.Request) -> httpx.Response:
    """A fault: the request never reaches the vendor, and the client cannot tell."""
    message = "lost on the way there"
    raise httpx.ReadTimeout(message)


def lost_answer(vendor: ForeignVendor, request: httpx.Request) -> httpx.Response:
    """A fault: the vendor charges, and its answer is lost."""
    vendor.serve(request)
    message = "lost on the way back"
    raise httpx.ReadError(message)


def unreachable(vendor: ForeignVendor, request: httpx.Request) -> httpx.Response:
    """A fault: no connection was made."""
    message = "connection refused"
    raise httpx.ConnectError(message)


def failing(status: int, *, charges: bool = False, **headers: str) -> Fault:
    """A fault: this status, after charging or without."""

    def fail(vendor: ForeignVendor, request: httpx.Request) -> httpx.Response:
        if charges:
            vendor.serve(request)
        spelt = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(status, json={"error": {"message": "it failed"}}, headers=spelt)

    return fail


@contextmanager
def served(vendor: ForeignVendor) -> Iterator[str]:
    """The vendor over real HTTP, on a port of its own; yields its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            sent = self.rfile.read(length)
            url = f"http://{self.headers['Host']}{self.path}"
            request = httpx.Request(
                self.command, url, content=sent, headers=dict(self.headers.items())
            )
            try:
                response = vendor(request)
            except httpx.TransportError:
                self.close_connection = True
                return
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = _handle  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
