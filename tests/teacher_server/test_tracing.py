"""Traces: the parts of a sale as spans that a collector receives; nothing where they are off."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from teacher_server.errors import SettingsError
from teacher_server.tracing import open_tracer
from tests.support.vendor_process import TOKEN, server_at


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A loopback receiver of OTLP over HTTP: its URL, and the bodies that were posted to it."""
    bodies: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            """Nothing on stderr."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans_of(bodies: list[bytes]) -> list[Span]:
    return [
        span
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_a_sale_is_one_span_with_its_request_id_over_decode_queue_encode_and_commit(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as (url, bodies):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with server_at(tmp_path, checkpoint) as server:
            with server.http() as http:
                body = {"model": "tiny-clip", "input": ["an uncommon word"]}
                broken = {"model": "tiny-clip", "input": [{"image": "dW5jb21tb24="}]}
                assert http.post("/v1/embeddings", json=broken).status_code == 422
                request_id = http.post("/v1/embeddings", json=body).headers["X-Request-Id"]
            assert server.stop() == 0  # which sends what is left
    spans = spans_of(bodies)
    refused, sale = [span for span in spans if span.name == "POST /v1/embeddings"]
    assert [span.name for span in spans if span.parent_span_id == refused.span_id] == ["decode"]
    assert not any(span.status.message or span.events for span in spans)
    attributes = {one.key: one.value for one in sale.attributes}
    assert attributes["teacher.request_id"].string_value == request_id
    assert attributes["http.response.status_code"].int_value == 200
    parts = [span for span in spans if span.parent_span_id == sale.span_id]
    parts.sort(key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in parts] == ["decode", "queue", "encode", "commit"]
    for part in parts:
        assert part.start_time_unix_nano <= part.end_time_unix_nano <= sale.end_time_unix_nano
    sent = b"".join(bodies)
    assert TOKEN.encode() not in sent
    assert b"uncommon" not in sent


def test_opentelemetrys_sdk_is_not_imported_where_no_endpoint_is_set() -> None:
    program = (
        "import sys, teacher_server.server.run\n"
        "from teacher_server.tracing import open_tracer\n"
        "with open_tracer({}) as tracer: assert tracer is None\n"
        "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_an_endpoint_without_the_extra_is_refused_before_anything_is_sold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)  # as if not installed
    with (
        pytest.raises(SettingsError, match=r"rented-teacher\[otel\]"),
        open_tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}),
    ):
        pass
