"""schemathesis against a whole vendor over HTTP: every check, every phase, one seed.

`python -m benchmarks.fuzz.api_fuzz --examples 200 --out docs/results/api-fuzz.json` writes the
figures.
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

from benchmarks.support.raw_http import PATIENT, listening
from benchmarks.support.vendor_in_process import HashEncoder, ledger_at
from teacher_server.api.app import create_app
from teacher_server.inference.info import ModelInfo
from teacher_server.ledger.keys import ApiKey
from teacher_server.settings import VendorSettings
from tools.provenance import commit

# What a request may be refused with though it fits the schema, and why the schema cannot say so.
REFUSED_ALTHOUGH_VALID = {
    # A base64 string need not be an image, a text need not be more than white space, and the
    # number of items and of dimensions are settings.
    "POST /v1/embeddings": ["400", "413", "422"],
    # The end of the time must lie after its start.
    "GET /v1/usage": ["400"],
    # JSON Schema's integers include 1.0; the units and the money of this vendor do not.
    "POST /admin/keys": ["400"],
    "PATCH /admin/keys/{key_id}": ["400"],
    # As above; and an Idempotency-Key may have come before with other figures.
    "POST /admin/corrections": ["400", "422"],
    # As above; and a key is met in the state that earlier requests left it in, revoked ones too.
    "POST /admin/keys/{key_id}/topup": ["400", "422"],
    "POST /admin/keys/{key_id}/rotate": ["400"],
}
_ALWAYS = ["2xx", "401", "403", "404", "409", "429"]


@dataclass(slots=True)
class Findings:
    """What was sent and answered, by phase and status; what was checked, and what failed."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    phases: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    receipts: dict[str, int] = field(default_factory=dict)
    charges: dict[str, int] = field(default_factory=dict)
    faults_in_the_books: tuple[str, ...] = ()

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
            "faults_in_the_books": list(self.faults_in_the_books),
        }


class _Model(HashEncoder):
    """Named as in the document's examples."""

    @property
    def info(self) -> ModelInfo:
        return replace(HashEncoder().info, id="embedded")


@dataclass(frozen=True, slots=True)
class _Decoy:
    """Leads what is asked of the fuzzer's own key to another key: it would revoke itself."""

    app: ASGIApp
    own: str
    other: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["path"].replace(self.own, self.other)
        await self.app(scope, receive, send)


def fuzz(folder: Path, *, examples: int, seed: int) -> Findings:
    """Attack a vendor whose books lie in the folder, with `examples` requests per operation."""
    findings = Findings()
    with ledger_at(folder) as (_, ledger):
        key, decoy = ApiKey.new(), ApiKey.new()
        for made in (key, decoy):
            ledger.keys.create(
                made,
                name="fuzz",
                budget=10**9,
                price_version="p",
                scopes=("embed", "read", "admin"),
                requests_per_minute=10**6,
                max_concurrent=1000,
            )
        settings = VendorSettings(max_delay_ms=0)
        app = create_app(encoder=_Model(), ledger=ledger, settings=settings)
        with listening(_Decoy(app, key.id, decoy.id), PATIENT) as door:
            url = f"http://127.0.0.1:{door.port}"
            while httpx.get(f"{url}/readyz").status_code != 200:
                continue
            _attack(app, url, key, examples=examples, seed=seed, findings=findings)
        findings.charges = {
            entry.request_id: entry.units
            for entry in ledger.books.entries(key.id, after=0, limit=10**6)
            if entry.kind == "charge"
        }
        findings.faults_in_the_books = tuple(ledger.books.verify().faults)
    return findings


def _attack(
    app: FastAPI, url: str, key: ApiKey, *, examples: int, seed: int, findings: Findings
) -> None:
    document = json.loads(json.dumps(app.openapi()))
    # Else hardly a request would get past the name of the model.
    request = document["components"]["schemas"]["EmbeddingRequest"]
    request["properties"]["model"]["enum"] = ["embedded", "another"]
    schema = schemathesis.openapi.from_dict(document, config=_config(examples, seed))
    schema.config.update(base_url=url, headers={"Authorization": f"Bearer {key.token}"})
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event, findings)
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


def _note(event: events.ScenarioFinished, findings: Findings) -> None:
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
    parser = argparse.ArgumentParser(description="Fuzz the vendor's API and write what was found.")
    parser.add_argument("--examples", type=int, default=200, help="requests per operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
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
