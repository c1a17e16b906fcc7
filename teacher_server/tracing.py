"""OpenTelemetry traces: one span for each request, and spans for its parts.

OpenTelemetry's SDK is imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. No span holds a key
or an input.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from teacher_server.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
# That of the request at hand; None outside a request that is traced.
_tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)


@contextmanager
def open_tracer(environment: Mapping[str, str] = os.environ) -> Iterator[Tracer | None]:
    """What makes the spans, which are sent by OTLP over HTTP until the block ends; None if
    OTEL_EXPORTER_OTLP_ENDPOINT is not set.

    Raises SettingsError if it is set and the extra `otel` is not installed.
    """
    if not environment.get(ENDPOINT):
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        message = f"{ENDPOINT} is set, which needs pip install 'rented-teacher[otel]'"
        raise SettingsError(message) from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over the name here.
    named = environment.get("OTEL_SERVICE_NAME") or "teacher-server"
    provider = TracerProvider(
        resource=Resource.create({"service.name": named}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield provider.get_tracer("teacher_server")
    finally:
        provider.shutdown()  # sends what is left


@contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Spans of this block, and of what it awaits, are made by `tracer`."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        _tracer.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    """A part of the request at hand; nothing where that is not traced."""
    tracer = _tracer.get()
    if tracer is None:
        yield
        return
    # The text of an exception may quote what a client sent.
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False):
        yield


def record(name: str, started: float, ended: float) -> None:
    """A part that has ended, between two times of `time.monotonic`, as `span`."""
    tracer = _tracer.get()
    if tracer is not None:
        offset = time.time_ns() - time.monotonic_ns()
        made = tracer.start_span(name, start_time=int(started * 1e9) + offset)
        made.end(int(ended * 1e9) + offset)
