"""A vendor on Ray Serve in a process of its own, on an empty PostgreSQL ledger with one key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from sqlalchemy import func, select

from benchmarks.support.databases import empty_database, open_ledger
from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import boots
from teacher_server.ledger.account import Account, Limits
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.audit import Audit

ROOT = Path(__file__).parents[2]
SERVE = ("-m", "teacher_server", "serve", "--serve-with", "ray")
BUDGET = 1_000_000  # queries
_PRICES = "2026-11"
_STOP_SECONDS = 120.0
_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RayVendor:
    """A running vendor; `log` is its standard error, with the lines of its replicas."""

    process: subprocess.Popen[str]
    url: str
    key: ApiKey
    log: Path
    pepper: str
    _dsn: str

    def replace_replicas(self) -> None:
        """Begin to replace all replicas; the log says when it is done."""
        self.process.send_signal(signal.SIGHUP)

    def times_replaced(self) -> int:
        """How often all replicas have been replaced since the start."""
        return self.log.read_text("utf-8").count("all replicas have been replaced")

    def new_key(self, **limits: Unpack[Limits]) -> ApiKey:
        """A second key with these limits."""
        key = ApiKey.new()
        with open_ledger(self._dsn, {"pepper": self.pepper}) as (_, ledger):
            ledger.keys.create(key, name="limited", budget=BUDGET, price_version=_PRICES, **limits)
        return key

    def books(self) -> tuple[Account, Audit, int]:
        """The key's account, the ledger's audit, and how many servers have opened the ledger."""
        with open_ledger(self._dsn, {"pepper": self.pepper}) as (engine, ledger):
            with read_transaction(engine) as connection:
                opened = connection.execute(select(func.count()).select_from(boots)).scalar_one()
            return ledger.keys.get(self.key.id), ledger.records.verify(), opened

    def stop(self) -> int:
        """Stop it as an operator does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def ray_vendor(
    folder: Path, environment: Mapping[str, str], *, command: Sequence[str] = SERVE
) -> Iterator[RayVendor]:
    """Run the vendor until the block ends; yields once it answers requests.

    `environment` are further options. Ray waits 30 seconds for its own processes, which is too
    short on a busy machine, so the start is tried again. Raises RuntimeError with the log if it
    fails each time.
    """
    key, log = ApiKey.new(), folder / "vendor.log"
    with empty_database("postgresql", folder) as (dsn, own):
        with open_ledger(dsn, own) as (_, ledger):
            ledger.keys.create(key, name="load", budget=BUDGET, price_version=_PRICES)
        options = {
            "TEACHER_DATABASE": dsn,
            "TEACHER_PEPPER": own["pepper"],
            "TEACHER_PORT": "0",
            "TEACHER_THREADS": "1",
            **environment,
        }
        process, url = _started([sys.executable, *command], os.environ | options, log)
        try:
            yield RayVendor(
                process=process, url=url, key=key, log=log, pepper=own["pepper"], _dsn=dsn
            )
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(_STOP_SECONDS)
            if process.stdout is not None:
                process.stdout.close()


def _started(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> tuple[subprocess.Popen[str], str]:
    for _ in range(_STARTS):
        with log.open("a") as errors:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert process.stdout is not None
        for line in process.stdout:  # Ray prints lines of its own
            if line.startswith("listening on "):
                return process, line.removeprefix("listening on ").strip()
        process.wait()
        process.stdout.close()
    message = f"the vendor did not start: {log.read_text('utf-8')}"
    raise RuntimeError(message)
