"""Which way the webhook leaves this machine, and that the client reads the same way."""

from __future__ import annotations

import inspect

import pytest

import cache.audit.network as of_client
import teacher_server.operations.network as of_vendor
from teacher_server.cli import main
from teacher_server.errors import SettingsError
from teacher_server.operations.network import client_options

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_receiver_on_loopback_is_never_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    assert client_options("http://127.0.0.1:9/alerts")["proxy"] is None
    assert client_options("http://receiver.example/alerts")["proxy"] == PROXY


def test_a_socks_proxy_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setattr(of_vendor, "find_spec", lambda _: None)
    for url in ("http://receiver.example/alerts", "http://127.0.0.1:9/alerts"):
        with pytest.raises(SettingsError, match="ALL_PROXY names a SOCKS proxy"):
            client_options(url)


def test_the_vendor_does_not_start_with_a_variable_that_its_webhook_cannot_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHER_WEBHOOK_URL", "https://receiver.example/alerts")
    monkeypatch.setenv("TEACHER_WEBHOOK_SECRET", "x" * 16)
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    assert main(["serve"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the environment variable SSL_CERT_FILE cannot be used")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["proxy_for", "is_loopback", "_proxy", "_matches", "_read", "require_socks_package"]
)
def test_client_and_vendor_read_the_environment_in_the_same_way(name: str) -> None:
    sources = [inspect.getsource(getattr(module, name)) for module in (of_client, of_vendor)]
    assert sources[0].replace("UnusableVariable", "SettingsError") == sources[1]
