"""What a process gets as options, its children read from the environment, secrets included."""

from __future__ import annotations

from pathlib import Path

import pytest

from teacher_server.settings import VendorSettings, load_settings
from teacher_server.settings.environment import as_environment, unread_variables

# A value for each option that is not its default.
CHANGED = {
    "model": "ViT-B-32",
    "pretrained": "openai",
    "image_mean": (0.5, 0.25, 0.1),
    "image_std": (0.3, 0.2, 0.1),
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "device": "cuda",
    "dtype": "bf16",
    "engine": "onnx",
    "threads": 3,
    "log_format": "json",
    "database": "postgresql+psycopg://vendor:p%40ss@db/ledger?sslmode=require",
    "host": "::1",
    "url_file": Path("url"),
    "serve_with": "ray",
    "price_version": "2027-01",
    "webhook_url": "https://example.org/hook?a=b",
    "webhook_secret": "a secret of the webhook",
    "pepper": "p" * 32,
    "first_key": "sk_first_secretsecretsecret",
    "first_key_file": Path("key"),
}


def test_every_option_is_read_as_it_was_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = {
        name: (field.default or 0) + 20
        for name, field in VendorSettings.model_fields.items()
        if name not in CHANGED
    }
    given = load_settings(CHANGED | numbers)
    default = load_settings({})
    unchanged = [name for name in CHANGED if getattr(given, name) == getattr(default, name)]
    assert unchanged == []
    for name, value in as_environment(given).items():
        monkeypatch.setenv(name, value)
    assert dict(load_settings({})) == dict(given)


def test_an_option_without_a_value_is_no_variable() -> None:
    variables = as_environment(VendorSettings())
    assert "TEACHER_PEPPER" not in variables
    assert "TEACHER_PORT" in variables


def test_a_misspelt_variable_is_found_and_those_of_the_client_and_of_compose_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = unread_variables()
    for name in ("TEACHER_URL", "TEACHER_API_KEY", "TEACHER_BIND", "TEACHER_PRICE_VERSION"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("TEACHER_EMPTY", "")
    assert unread_variables() == before
    monkeypatch.setenv("TEACHER_MICRO_USD_PER_UNT", "500")
    assert unread_variables() == (*before, "TEACHER_MICRO_USD_PER_UNT")
