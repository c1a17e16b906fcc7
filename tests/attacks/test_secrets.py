"""No secret is logged or stored, whatever a client does and at every log level."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.support.raw_http import LocalServer, head
from benchmarks.support.vendor_in_process import b64
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.ledger import open_database
from teacher_server.ledger.pepper import load_pepper

ROOT = Path(__file__).parents[2]
WEBHOOK_SECRET, PEPPER = "whsec-0f1e2d3c4b5a69788796a5b4c3d2e1f0", "pepper-" + "9c8b7a6d" * 5
FORMS = (
    "Bearer {0}", "bearer {0}", "BEARER  {0}", "Bearer {0} {0}", "Bearer {0}x", "Bearer{0}",
    "Basic {0}", "Token {0}", "{0}", "Bearer {1}", "{1}", "Bearer sk_{1}", "Bearer sk__{1}",
    'Bearer "{0}"', "Bearer {0},", "Digest username={0}", "Bearer \t{0}", "Bearer sk_ü_{1}",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The output and files of a server, and the secrets that it received."""

    folder: Path
    printed: str
    secrets: tuple[str, ...]
    statuses: tuple[int, ...]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Aftermath:
    folder = tmp_path_factory.mktemp("secrets")
    first = ApiKey.new()
    options = {
        "model": str(checkpoint),
        "port": 0,
        "threads": 1,
        "database": f"sqlite:///{folder}/ledger.db",
        "webhook_url": "http://127.0.0.1:9/hook",
    }
    environment = os.environ | {
        "TEACHER_FIRST_KEY": first.token,
        "TEACHER_FIRST_KEY_BUDGET": "100",
        "TEACHER_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "TEACHER_PEPPER": PEPPER,
        "PYTHONPATH": str(ROOT),
    }
    admin = ApiKey.new()
    with open_database(f"sqlite:///{folder}/ledger.db") as engine:
        keys = Keys(engine, clock=unix_ms, pepper=load_pepper(engine, PEPPER))
        scopes = ("admin", "embed")
        keys.create(admin, name="admin", budget=9, price_version="p", scopes=scopes)
    log = folder / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.verbose_server", json.dumps(options)],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), log.read_text()
        try:
            tokens, statuses = misuse(line.split()[-1], first.token, admin.token)
        finally:
            process.send_signal(signal.SIGTERM)
            printed = line + process.stdout.read()
    assert process.returncode == 0, log.read_text()
    secrets = tuple(token.split("_", 2)[2] for token in tokens)
    return Aftermath(
        folder, printed + log.read_text(), (*secrets, WEBHOOK_SECRET, PEPPER), tuple(statuses)
    )


def misuse(url: str, token: str, admin: str) -> tuple[list[str], list[int]]:
    """Use keys in every wrong and right way; the tokens that were used, and what came back."""
    unknown, sent = ApiKey.new().token, ApiKey.new().token
    tokens, statuses = [token, admin, unknown, sent], []
    own = {"Authorization": f"Bearer {token}"}
    body = {"model": "tiny-clip", "input": "a"}
    with httpx.Client(base_url=url, timeout=60) as http:

        def ask(method: str, path: str, **options: object) -> httpx.Response:
            response = http.request(method, path, **options)  # type: ignore[arg-type]
            statuses.append(response.status_code)
            return response

        for used in (token, unknown):
            for form in FORMS:
                line = form.format(used, used.split("_", 2)[2]).encode()
                ask("GET", "/v1/key", headers={b"Authorization": line})
        for path in ("/", "/v1/requests/", "/v1/models/", "/admin/keys/", "/v1/ledger?after=",
                     "/v1/usage?key=", "/livez?api_key="):  # fmt: skip
            ask("GET", path + sent, headers=own)
            ask("POST", path + sent, headers=own)
        for wrong in ({"user": sent}, {"model": sent}, {sent: sent}, {"input": [{"image": sent}]},
                      {"input": [{sent: sent}]}, {"encoding_format": sent}):  # fmt: skip
            ask("POST", "/v1/embeddings", headers=own, json=body | wrong)
        ask("POST", "/v1/embeddings", headers=own, content=f'{{"model": {sent}')
        ask("POST", "/v1/embeddings", headers=own | {"Content-Type": sent}, content=sent)
        ask("POST", "/v1/embeddings", headers=own, data={sent: sent}, files={sent: sent.encode()})
        ask("POST", "/v1/embeddings", headers=own | {"Idempotency-Key": sent}, json=body)
        ask("GET", f"/v1/requests/{sent}", headers=own)
        ask("POST", "/v1/embeddings", headers=own | {"X-Api-Key": sent, "Cookie": sent}, json=body)
        # Past 80 % and then 100 % of the budget, so that the webhook has something to sign.
        for count in (90, 8, 2):
            ask("POST", "/v1/embeddings", headers=own, json=body | {"input": ["a"] * count})
        by_admin = {"Authorization": f"Bearer {admin}"}
        made = ask("POST", "/admin/keys", headers=by_admin, json={"name": "n", "budget_units": 5})
        rotated = ask("POST", f"/admin/keys/{made.json()['id']}/rotate", headers=by_admin)
        tokens += [made.json()["key"], rotated.json()["key"]]
        for late in tokens[-2:]:
            ask("GET", "/v1/key", headers={"Authorization": f"Bearer {late}"})
        ask("POST", "/admin/keys", headers=by_admin, json={"name": "n", sent: b64(b"x")})
        ask("GET", "/admin/keys", headers=by_admin)
        ask("GET", "/metrics")
    with LocalServer(int(url.rpartition(":")[2])).connect() as raw:
        raw.send(head("GET", "/v1/key", f"Authorization Bearer {sent}"))
        statuses.append(raw.read_to_end().status)
    return tokens, statuses


def test_the_scenario_covers_every_kind_of_answer(aftermath: Aftermath) -> None:
    assert {200, 201, 400, 401, 402, 403, 404, 405, 415, 422} <= set(aftermath.statuses)
    assert max(aftermath.statuses) < 500


def test_the_log_level_was_the_most_verbose(aftermath: Aftermath) -> None:
    assert "HTTP connection made" in aftermath.printed
    assert "INSERT INTO" in aftermath.printed
    assert "POST /v1/embeddings" in aftermath.printed


def test_no_secret_is_in_anything_that_was_printed(aftermath: Aftermath) -> None:
    found = [secret for secret in aftermath.secrets if secret in aftermath.printed]
    assert found == []
    # Nor the start of a secret, as a truncated line would show it.
    assert [s for s in aftermath.secrets if s[:12] in aftermath.printed] == []


def test_no_secret_of_a_key_is_in_any_file(aftermath: Aftermath) -> None:
    files = [path for path in aftermath.folder.rglob("*") if path.is_file()]
    assert any(path.name == "ledger.db" for path in files)
    # One client used a token as its Idempotency-Key, which the ledger stores.
    first, admin, unknown, sent, *others = aftermath.secrets
    for path in files:
        content = path.read_bytes()
        for secret in (first, admin, unknown, *others):
            assert secret.encode() not in content, path
        assert sent.encode() not in content or path.name.startswith("ledger.db")
