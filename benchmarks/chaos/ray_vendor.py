"""The product's vendor on Ray Serve, whose replicas kill themselves at named points.

`python -m benchmarks.chaos.ray_vendor SPEC` runs until it is stopped; the first line of its output
has the URL. The points wrap the product's objects; the product's code is unchanged.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image
from starlette.types import ASGIApp

from benchmarks.chaos import vendor
from benchmarks.chaos.history import History, KillSwitch
from benchmarks.chaos.items import Spec
from benchmarks.chaos.vendor import KillableApp, with_kill_switch
from benchmarks.support.wrapped_encoder import WrappedEncoder
from teacher_server.inference.batcher import Vector
from teacher_server.inference.model_info import Prepared, Vectors
from teacher_server.ledger.ledger import Ledger, open_database, open_ledger
from teacher_server.ray_serve.api_replica import ApiReplica, GetPreparation
from teacher_server.ray_serve.application import build
from teacher_server.ray_serve.encoder_replica import EncoderReplica
from teacher_server.ray_serve.remote_batcher import Encode
from teacher_server.ray_serve.run import serve_application
from teacher_server.server.load_model import LoadedEncoder
from teacher_server.settings import VendorSettings

SPEC = "CHAOS_SPEC"  # the variable that names the file with the spec
# Where a replica of each kind is killed in the middle of a batch: while an encoder has it, and
# after it was embedded and before it was sent back.
MID_BATCH = {"api": "during-encode", "encoder": "after-encode"}
API_POINTS = tuple(point for point in vendor.POINTS if point != MID_BATCH["encoder"])
_POINTS = {"api": (*API_POINTS, MID_BATCH["api"]), "encoder": (MID_BATCH["encoder"],)}
_MID_BATCH_PASS = 2  # of the replicas that are killed in a batch for certain
_SECONDS_WITH_ENCODER = 0.005


def history_of(folder: Path, kind: str, number: int) -> Path:
    """The file that a replica writes its events to; `start` has its process id."""
    return folder / "history" / f"{kind}-{number}.jsonl"


def _kill_switch(kind: str) -> KillSwitch:
    """The kill switch of this replica, which is the next of its kind."""
    spec: Spec = json.loads(Path(os.environ[SPEC]).read_text())
    folder = Path(spec["folder"])
    (folder / "history").mkdir(exist_ok=True)
    for number in itertools.count():
        try:
            history_of(folder, kind, number).touch(exist_ok=False)
        except FileExistsError:
            continue
        break
    history = History(history_of(folder, kind, number))
    history.write("start", pid=os.getpid())
    if number < spec["replicas"]:
        return KillSwitch(history, point=MID_BATCH[kind], nth=_MID_BATCH_PASS)
    random = Random(f"{spec['seed']}/{kind} {number}")
    if (folder / "calm").exists() or random.random() >= spec["kill_share"]:
        return KillSwitch(history)
    point = random.choice(_POINTS[kind])
    return KillSwitch(history, point=point, nth=random.randint(1, spec["nth"]))


class KillableApiReplica(ApiReplica):
    """A replica of the API whose process may be killed around each step of a sale."""

    def __init__(self, preparation: GetPreparation, encode: Encode) -> None:
        switch = self._switch = _kill_switch("api")

        async def encode_or_die(items: list[Prepared]) -> list[Vector]:
            asked = asyncio.ensure_future(encode(items))
            await asyncio.sleep(_SECONDS_WITH_ENCODER)
            # The readiness probe asks for an image and a text, and reserves nothing.
            if [item.modality for item in items] != ["image", "text"]:
                switch.reach(MID_BATCH["api"])
            return await asked

        super().__init__(preparation, encode_or_die)

    @contextmanager
    def ledger(self, settings: VendorSettings) -> Iterator[Ledger]:
        with (
            open_database(settings.database) as engine,
            open_ledger(
                engine, lease_seconds=settings.lease_seconds, pepper=settings.given_pepper
            ) as ledger,
        ):
            yield with_kill_switch(ledger, engine, self._switch)

    def served(self, app: ASGIApp) -> ASGIApp:
        return KillableApp(app, self._switch)


class _KillableModel(WrappedEncoder):
    """The model whose process may be killed after a batch in which something is to be sold."""

    def __init__(self, encoder: LoadedEncoder, kill_switch: KillSwitch) -> None:
        super().__init__(encoder)
        self._kill_switch = kill_switch
        # What the readiness probes ask for; nobody pays for it.
        white = Image.new("RGB", (encoder.info.image_size,) * 2, "white")
        probes = (encoder.prepare_image(white), encoder.prepare_text("a canary"))
        self._probes = {probe.array.tobytes() for probe in probes}

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        vectors = self._encoder.encode(items)
        if any(item.array.tobytes() not in self._probes for item in items):
            self._kill_switch.reach(MID_BATCH["encoder"])
        return vectors


class KillableEncoderReplica(EncoderReplica):
    """A replica of the model whose process may be killed after a batch."""

    def load(self, settings: VendorSettings) -> LoadedEncoder:
        return _KillableModel(super().load(settings), _kill_switch("encoder"))


def main(argv: list[str]) -> None:
    """Run the vendor that the spec describes until a signal stops it."""
    file = Path(argv[0]).resolve()
    spec: Spec = json.loads(file.read_text())
    os.environ[SPEC] = str(file)
    replicas = spec["replicas"]
    options: dict[str, Any] = spec["options"] | {
        "serve_with": "ray",
        "port": 0,
        "threads": 1,
        "min_api_replicas": replicas,
        "max_api_replicas": replicas,
        "min_encoder_replicas": replicas,
        "max_encoder_replicas": replicas,
    }
    serve_application(
        vendor.settings_of({"dsn": spec["dsn"], "options": options}),
        partial(build, api=KillableApiReplica, encoder=KillableEncoderReplica),
        announce=lambda url: print(url, flush=True),  # noqa: T201
        show=lambda line: None,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
