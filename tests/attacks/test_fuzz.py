"""The vendor keeps to its OpenAPI document for generated requests too."""

from __future__ import annotations

import pytest
from schemathesis.checks import CHECKS

from benchmarks.fuzz.api_fuzz import Findings, fuzz


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return fuzz(tmp_path_factory.mktemp("fuzz"), examples=15, seed=1)


def test_no_check_of_any_phase_fails(findings: Findings) -> None:
    assert findings.failures == []
    assert set(findings.phases.values()) == {"success"}
    assert {"examples", "coverage", "fuzzing", "stateful"} <= set(findings.phases)


def test_every_check_of_schemathesis_was_run(findings: Findings) -> None:
    # Response times depend on the machine.
    assert set(findings.checks) == set(CHECKS.get_all_names()) - {"max_response_time"}


def test_no_answer_is_a_server_error(findings: Findings) -> None:
    assert findings.requests > 500
    assert max(status for _, status in findings.answers) < 500


def test_each_charge_has_a_receipt_and_each_receipt_a_charge(findings: Findings) -> None:
    assert len(findings.receipts) > 5
    assert findings.charges == findings.receipts
    assert findings.ledger_faults == ()
