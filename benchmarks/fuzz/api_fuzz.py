"""Fuzz a complete vendor over HTTP with schemathesis: every check, every phase, one seed.

python -m benchmarks.fuzz.api_fuzz --examples 200 --out docs/results/api-fuzz.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.support.raw_http import LONG_TIMEOUTS, serving_in_thread
from benchmarks.support.vendor_in_process import HashEncoder, ledger_at
from teacher_server.api.app import create_app
from teacher_server.inference.model_info import ModelInfo
from teacher_server.ledger.api_key import ApiKey
from teacher_server.settings import VendorSettings
from tools.provenance import commit

# Statuses that may refuse a request which fits the schema, and why the schema cannot exclude it.
REFUSED_ALTHOUGH_VALID = {
    # A base64 string may be no image, a text may be only white space, and the limits on items and
    # dimensions are settings.
    "POST /v1/embeddings": ["400", "413", "422"],
    # As above; also, images have no tokens.
    "POST /v1/tokens": ["400", "413", "422"],
    # The end of the period must be after its start.
    "GET /v1/usage": ["400"],
    # JSON Schema accepts 1.0 as an integer; this vendor does not, for queries and money.
    "POST /admin/keys": ["400"],
    "PATCH /admin/keys/{key_id}": ["400"],
    # As above; also, the Idempotency-Key may have been used with other figures.
    "POST /admin/corrections": ["400", "422"],
    # As above; also, an earlier request may have changed or revoked the key.
    "POST /admin/keys/{key_id}/topup": ["400", "422"],
    "POST /admin/keys/{key_id}/rotate": ["400"],
}
_ALWAYS = ["2xx", "401", "403", "404", "409", "429"]


@dataclass(slots=True)
class Findings:
    """Answers by phase and status, checks by name, failures, and the money on both sides."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    phases: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    receipts: dict[str, int] = field(default_factory=dict)
    charges: dict[str, int] = field(default_factory=dict)
    ledger_faults: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        return sum(self.answers.values())

    def document(self) -> dict[str, Any]:
        by_phase: dict[str, dict[str, int]] = {}
        for (phase, status), count in sorted(self.answers.items()):
            by_phase.setdefault(phase, {})[str(status)] = count
        return {
            "requests": self.requests,
            "answers": by_phase,
            "phases": self.phases,
            "checks": dict(sorted(self.checks.items())),
            "failures": self.failures,
            "units_on_receipts": sum(self.receipts.values()),
            "units_on_the_books": sum(self.charges.values()),
            "faults_in_the_books": list(self.ledger_faults),
        }


class _Model(HashEncoder):
    """An encoder whose model has the name used in the OpenAPI examples."""

    @property
    def info(self) -> ModelInfo:
        return replace(HashEncoder().info, id="embedded")


@dataclass(frozen=True, slots=True)
class _SpareKey:
    """Redirects requests about the fuzzer's own key to another key, so it cannot revoke itself."""

    app: ASGIApp
    own: str
    other: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["path"].replace(self.own, self.other)
        await self.app(scope, receive, send)


def fuzz(folder: Path, *, examples: int, seed: int) -> Findings:
    """Fuzz a vendor whose ledger is in `folder`, with `examples` requests per operation."""
    findings = Findings()
    with ledger_at(folder) as (_, ledger):
        key, spare = ApiKey.new(), ApiKey.new()
        for created in (key, spare):
            ledger.keys.create(
                created,
                name="fuzz",
                budget=10**9,
                price_version="p",
                scopes=("embed", "read", "admin"),
                requests_per_minute=10**6,
                max_concurrent=1000,
            )
        settings = VendorSettings(max_delay_ms=0)
        app = create_app(encoder=_Model(), ledger=ledger, settings=settings)
        with serving_in_thread(_SpareKey(app, key.id, spare.id), LONG_TIMEOUTS) as server:
            url = f"http://127.0.0.1:{server.port}"
            while httpx.get(f"{url}/readyz").status_code != 200:
                continue
            _send_requests(app, url, key, examples=examples, seed=seed, findings=findings)
        findings.charges = {
            entry.request_id: entry.units
            for entry in ledger.records.entries(key.id, after=0, limit=10**6)
            if entry.kind == "charge"
        }
        findings.ledger_faults = tuple(ledger.records.verify().faults)
    return findings


def _send_requests(
    app: FastAPI, url: str, key: ApiKey, *, examples: int, seed: int, findings: Findings
) -> None:
    document = json.loads(json.dumps(app.openapi()))
    # Otherwise almost every request would fail because of its model name.
    request = document["components"]["schemas"]["EmbeddingRequest"]
    request["properties"]["model"]["enum"] = ["embedded", "another"]
    schema = schemathesis.openapi.from_dict(document, config=_config(examples, seed))
    schema.config.update(base_url=url, headers={"Authorization": f"Bearer {key.token}"})
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _record(event, findings)
        elif isinstance(event, events.PhaseFinished):
            findings.phases[event.phase.name.value] = event.status.value
        elif isinstance(event, events.NonFatalError):
            findings.failures.append(f"{event.label}: {event.value}")
        elif isinstance(event, events.FatalError):
            raise event.exception


def _config(examples: int, seed: int) -> SchemathesisConfig:
    operations = [
        {
            "include-name": name,
            "checks": {
                "positive_data_acceptance": {"expected-statuses": sorted({*_ALWAYS, *statuses})}
            },
        }
        for name, statuses in REFUSED_ALTHOUGH_VALID.items()
    ]
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "phases": {"stateful": {"max-steps": 8}},
            "operations": operations,
        }
    )


def _record(event: events.ScenarioFinished, findings: Findings) -> None:
    recorder = event.recorder
    for interaction in recorder.interactions.values():
        response = interaction.response
        if response is None:
            findings.failures.append(f"{interaction.request.method} {interaction.request.uri}: -")
            continue
        findings.answers[event.phase.value, response.status_code] += 1
        if interaction.request.uri.endswith("/v1/embeddings") and response.status_code == 200:
            receipt = response.json()["receipt"]
            findings.receipts[receipt["request_id"]] = receipt["units"]
    for case_id, checks in recorder.checks.items():
        for check in checks:
            findings.checks[check.name] += 1
            if check.failure_info is not None:
                case, failure = recorder.cases[case_id].value, check.failure_info.failure
                findings.failures.append(
                    f"{event.phase.value} {case.method} {case.path} {check.name}: "
                    f"{failure.title}: {failure.message[:300]} "
                    f"(body {case.body!r:.200}, query {case.query!r:.200})"
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz and write; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description="Fuzz the vendor's API and write the findings.")
    parser.add_argument("--examples", type=int, default=200, help="requests per operation")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the requests")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write the result to")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        findings = fuzz(Path(folder), examples=arguments.examples, seed=arguments.seed)
    command = f"python -m benchmarks.fuzz.api_fuzz --examples {arguments.examples}"
    document = {
        "command": f"{command} --seed {arguments.seed} --out {arguments.out}",
        "commit": commit(),
        "seed": arguments.seed,
        "schemathesis": schemathesis.__version__,
        **findings.document(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(f"{findings.requests} requests, {len(findings.failures)} failures\n")
    return 1 if findings.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
