"""The model: its weights, their digest, the device, and memory, without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from teacher_server.doctor.finding import Finding, fault, ok, warning
from teacher_server.doctor.machine import available_bytes
from teacher_server.errors import NotDownloaded, UnsafeCheckpoint
from teacher_server.inference.model_source import ModelSource, resolve_model
from teacher_server.inference.recorded import PREFIX, RecordedEncoder
from teacher_server.inference.weights import EMBEDDED, require_only_tensors, sha256_of
from teacher_server.settings import VendorSettings

# The file as it is read, and the network in float32, which is twice a file in half precision.
_COPIES_WHILE_LOADING = 3


def model(settings: VendorSettings) -> Iterator[Finding]:
    """Whether the weights are there, whole and safe to load; nothing is downloaded."""
    if settings.model.startswith(PREFIX):
        folder = Path(settings.model.removeprefix(PREFIX)).expanduser()
        yield ok("model", f"{RecordedEncoder(folder).info.id}: the recording in {folder} is whole")
        return
    try:
        source = resolve_model(settings.model, settings.pretrained, download=False)
    except NotDownloaded as error:
        fix = "the start downloads them, if the hub can be reached; otherwise mount a cache that "
        yield warning("model", str(error), f"{fix}has them, and set HF_HOME")
        return
    yield from _weights(source)
    yield from _preprocessing(source, settings)
    yield from _memory(source, settings)


def device(settings: VendorSettings) -> Iterator[Finding]:
    """Whether the device computes, and whether the engine can run on it."""
    if settings.model.startswith(PREFIX):
        return
    # torch takes seconds to import.
    from teacher_server.inference.encoder import check_device
    from teacher_server.inference.onnx_engine import require_onnx
    from teacher_server.inference.precision import require_bf16

    check_device(settings.device)
    if settings.engine == "onnx":
        require_onnx(precision=settings.dtype, device=settings.device)
    if settings.dtype == "bf16":
        require_bf16(settings.device)
    yield ok("device", f"{settings.device} computes; engine {settings.engine}, {settings.dtype}")


def _weights(source: ModelSource) -> Iterator[Finding]:
    from safetensors import SafetensorError, safe_open

    path = source.checkpoint
    require_only_tensors(path)
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="numpy") as file:
                file.keys()
        except SafetensorError as error:
            message = f"{path} is damaged or was not copied to its end: {error}"
            raise UnsafeCheckpoint(message) from error
    digest, size = sha256_of(path), path.stat().st_size
    detail = f"{source.id}: {path}, {size / 2**20:,.0f} MiB, SHA-256 {digest}"
    if source.is_embedded:
        made = json.loads((EMBEDDED / "provenance.json").read_text("utf-8"))["weights_sha256"]
        if digest != made:
            fix = "install this version of the package again"
            yield fault("model", f"{detail}, but {made} was published", fix)
            return
    yield ok("model", detail)


def _preprocessing(source: ModelSource, settings: VendorSettings) -> Iterator[Finding]:
    from teacher_server.inference.preprocessing import preprocessing_of

    preprocessing_of(source, settings.preprocess)
    yield ok("preprocessing", "images are prepared as the weights were made with")


def _memory(source: ModelSource, settings: VendorSettings) -> Iterator[Finding]:
    """An estimate: what the model needs in fact is only known once it is loaded."""
    free = available_bytes()
    if free is None:
        yield ok("memory", "this system does not say how much is free")
        return
    size = source.checkpoint.stat().st_size
    needed = _COPIES_WHILE_LOADING * size + settings.max_bytes_in_flight
    detail = f"{free / 2**30:,.1f} GiB can be taken; about {needed / 2**30:,.1f} GiB may be needed"
    if free < size:
        yield fault("memory", detail, "free memory, or sell a smaller --model")
    elif free < needed:
        yield warning("memory", detail, "free memory, or lower --max-bytes-in-flight")
    else:
        yield ok("memory", detail)
