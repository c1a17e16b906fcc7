"""A complete vendor in this process, called through ASGI, and an encoder without a model."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import Engine

from benchmarks.support.migrated_ledger import new_ledger_file
from teacher_server.api.app import create_app
from teacher_server.inference.model_info import Encoder, ModelInfo, Prepared, Vectors
from teacher_server.ledger.account import Account, Limits
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.audit import Audit
from teacher_server.ledger.clock import Clock, unix_ms
from teacher_server.ledger.ledger import Ledger, open_database, open_ledger
from teacher_server.settings import VendorSettings


@dataclass(slots=True)
class HashEncoder:
    """An encoder that derives a unit vector (dim,) from the bytes of each item.

    It waits for `may_encode` before each batch, and raises `failure` for a batch with the text
    `failing_text`.
    """

    dim: int = 8
    may_encode: threading.Event = field(default_factory=threading.Event)
    failing_text: str = "poison"
    failure: BaseException = field(default_factory=lambda: ValueError("the model broke"))
    batches: list[int] = field(default_factory=list)
    texts: dict[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.may_encode.set()

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            id="hash",
            weights_sha256="0" * 64,
            dim=self.dim,
            image_size=4,
            context_length=8,
            preprocess={"size": 4},
            open_clip_version="none",
            is_embedded=False,
            created=0,
        )

    def prepare_image(self, image: Image.Image) -> Prepared:
        pixels = np.asarray(image.resize((4, 4)), dtype=np.float32).transpose(2, 0, 1)
        return Prepared("image", pixels)

    def prepare_text(self, text: str) -> Prepared:
        digest = hashlib.sha256(text.encode()).digest()
        self.texts[digest] = text
        return Prepared("text", np.frombuffer(digest, dtype=np.uint8), num_tokens=3)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        assert self.may_encode.wait(30)
        self.batches.append(len(items))
        if any(self.texts.get(item.array.tobytes()) == self.failing_text for item in items):
            raise self.failure
        rows = []
        for item in items:
            seed = int.from_bytes(hashlib.sha256(item.array.tobytes()).digest()[:8], "big")
            row = np.random.default_rng(seed).normal(size=self.dim)
            rows.append(row / np.linalg.norm(row))
        return np.stack(rows).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A running vendor, a client with one of its keys, and its ledger."""

    app: FastAPI
    http: httpx.AsyncClient
    engine: Engine
    ledger: Ledger
    key: ApiKey
    model: str

    async def embed(
        self, given: object, *, idempotency_key: str | None = None, **fields: object
    ) -> httpx.Response:
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        body = {"model": self.model, "input": given} | fields
        return await self.http.post("/v1/embeddings", json=body, headers=headers)

    def of(self, key: ApiKey) -> dict[str, str]:
        """Return the headers of a request with another key."""
        return {"Authorization": f"Bearer {key.token}"}

    def another_key(self, *, budget: int = 100, **options: Any) -> ApiKey:
        """Create another key of this vendor; `budget` is in queries."""
        key = ApiKey.new()
        self.ledger.keys.create(key, name="another", budget=budget, price_version="p", **options)
        return key

    @property
    def account(self) -> Account:
        return self.ledger.keys.get(self.key.id)

    @property
    def audit(self) -> Audit:
        return self.ledger.records.verify()


@contextmanager
def ledger_at(
    folder: Path,
    *,
    clock: Clock = unix_ms,
    lease_seconds: int = 60,
    dsn: str | None = None,
    pepper: str | None = None,
) -> Iterator[tuple[Engine, Ledger]]:
    """Open the ledger as a server does: in a folder, or at the DSN of PostgreSQL."""
    if dsn is None and not (folder / "ledger.db").exists():
        new_ledger_file(folder / "ledger.db")
    with (
        open_database(dsn or f"sqlite:///{folder}/ledger.db") as engine,
        open_ledger(engine, lease_seconds=lease_seconds, clock=clock, pepper=pepper) as ledger,
    ):
        yield engine, ledger


@asynccontextmanager
async def vendor_at(
    folder: Path,
    encoder: Encoder,
    *,
    budget: int = 100,
    limits: Limits | None = None,
    dsn: str | None = None,
    pepper: str | None = None,
    **options: Any,
) -> AsyncIterator[Vendor]:
    """Run a vendor whose ledger is in the folder, and create a key with this budget and limits.

    With `dsn` and `pepper`, the ledger is in that database.
    """
    settings = VendorSettings(**{"max_delay_ms": 0} | options)
    with ledger_at(folder, dsn=dsn, pepper=pepper) as (engine, ledger):
        key = ApiKey.new()
        ledger.keys.create(key, name="test", budget=budget, price_version="p", **(limits or {}))
        app = create_app(encoder=encoder, ledger=ledger, settings=settings)
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {key.token}"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=transport, base_url="http://vendor", headers=headers
            ) as http,
        ):
            yield Vendor(
                app=app, http=http, engine=engine, ledger=ledger, key=key, model=encoder.info.id
            )


def picture(
    seed: int = 0, *, size: tuple[int, int] = (40, 30), form: str = "PNG", mode: str = "RGB"
) -> bytes:
    """Return an image file of noise, which depends on the seed alone."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8)
    image = Image.fromarray(noise.squeeze(), mode=None).convert(mode)
    buffer = BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def b64(data: bytes) -> str:
    """Encode as base64."""
    return base64.b64encode(data).decode()


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Encode as a data URI."""
    return f"data:{kind};base64,{b64(data)}"
