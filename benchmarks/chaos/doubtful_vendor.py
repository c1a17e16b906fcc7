"""A vendor without receipts or idempotency keys, which charges for each request that it reads.

Its book is a file with one line for a charge, written before the answer is sent, so that a kill
leaves what such a vendor would leave: a charge that the client may not know of.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from benchmarks.chaos.history import History, KillSwitch
from benchmarks.chaos.items import Spec
from benchmarks.chaos.observations import Vector

POINTS = ("before-charge", "after-charge")
DIM = 8


def expected_vector(digest: str) -> Vector:
    """The embedding, float32 (DIM,), that the vendor sells for an item with this SHA-256."""
    vector = np.random.default_rng(int(digest[:16], 16)).normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def run_doubtful_vendor(spec: Spec) -> int:
    """Serve until killed."""
    with History(Path(spec["history"])) as history:
        history.write("start")
        switch = KillSwitch(history, **spec.get("kill_switch", {}))
        book = os.open(spec["book"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(book, switch))
        port_file = Path(spec["port_file"])
        port_file.with_suffix(".new").write_text(str(server.server_address[1]))
        port_file.with_suffix(".new").replace(port_file)
        server.serve_forever()
    return 0


def _handler(book: int, switch: KillSwitch) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(404, {"error": {"message": "there is no such page"}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            digests = [_digest(item) for item in body["input"]]
            switch.reach("before-charge")
            charge = {"key": self.headers["Authorization"], "items": digests}
            os.write(book, (json.dumps(charge) + "\n").encode())
            switch.reach("after-charge")
            rows = [
                {"index": index, "embedding": expected_vector(digest).tolist()}
                for index, digest in enumerate(digests)
            ]
            usage = {"total_tokens": len(digests)}
            self._answer(200, {"data": rows, "model": body["model"], "usage": usage})

        def _answer(self, status: int, document: object) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _digest(item: str) -> str:
    _, comma, data = item.partition(";base64,")
    return hashlib.sha256(base64.b64decode(data) if comma else item.encode()).hexdigest()
