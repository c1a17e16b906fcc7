"""Which way requests leave this machine, and what in the environment cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.audit.network import certificates, is_loopback, proxy_for
from cache.errors import UnusableVariable

VENDOR = "http://vendor.example:8000"
PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "vendor.localhost",
        "127.0.0.1",
        "127.1",
        "127.200.3.4",
        "0x7f.1",
        "2130706433",
        "0.0.0.0",
        "::1",
        "[::1]",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
    ],
)
def test_loopback_is_recognised_in_any_spelling(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["vendor.example", "localhost.example", "128.0.0.1", "::2", "10.1"]
)
def test_another_machine_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://localhost", "http://[::1]:1"])
def test_loopback_is_never_reached_through_a_proxy(url: str) -> None:
    assert proxy_for(url, {"HTTP_PROXY": PROXY, "https_proxy": PROXY, "ALL_PROXY": PROXY}) is None


@pytest.mark.parametrize(
    ("environment", "used"),
    [
        ({"HTTP_PROXY": PROXY}, f"{PROXY} (HTTP_PROXY)"),
        ({"http_proxy": PROXY, "HTTP_PROXY": "http://other:1"}, f"{PROXY} (http_proxy)"),
        ({"http_proxy": "", "HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": "proxy.example:3128"}, f"{PROXY} (ALL_PROXY)"),
        ({"HTTPS_PROXY": PROXY}, None),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
        ({"HTTP_PROXY": "http://me:secret@h:1"}, "http://***@h:1 (HTTP_PROXY)"),
    ],
)
def test_the_proxy_of_the_environment_is_named_without_its_password(
    environment: dict[str, str], used: str | None
) -> None:
    found = proxy_for(VENDOR, environment)
    assert (None if found is None else str(found)) == used


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("*", VENDOR, True),
        ("example", VENDOR, True),
        (".example", VENDOR, True),
        ("*.example", VENDOR, True),
        ("ample", VENDOR, False),
        ("vendor.example:8000, other", VENDOR, True),
        ("vendor.example:9", VENDOR, False),
        ("https://vendor.example", VENDOR, False),
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3:8000", False),
        ("10.0.0.0/8", VENDOR, False),
        ("fd00::1", "http://[fd00::1]:8000", True),
    ],
)
def test_no_proxy_excludes_hosts_domains_ports_and_networks(
    no_proxy: str, url: str, is_direct: bool
) -> None:
    found = proxy_for(url, {"HTTP_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert (found is None) is is_direct


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", "http://"),
        ("https_proxy", "http://host:port"),
        ("ALL_PROXY", "ftp://host:21"),
        ("HTTP_PROXY", "http://a b:1"),
        ("NO_PROXY", "localhost,127.0.0.1,[::1]"),
        ("no_proxy", "localhost,fd00::/8"),
        ("NO_PROXY", "a b"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_even_for_loopback(
    variable: str, value: str
) -> None:
    for url in (VENDOR, "http://127.0.0.1:8000"):
        with pytest.raises(UnusableVariable, match=f"variable {variable} cannot be used"):
            proxy_for(url, {variable: value})


def test_the_error_of_a_proxy_does_not_repeat_its_password() -> None:
    with pytest.raises(UnusableVariable) as error:
        proxy_for(VENDOR, {"HTTP_PROXY": "http://me:secret@host:port"})
    assert "secret" not in str(error.value)


def test_certificate_variables_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "not.pem").write_text("no certificate")
    for variable, value in (
        ("SSL_CERT_FILE", "/no/such.pem"),
        ("SSL_CERT_FILE", str(tmp_path / "not.pem")),
        ("SSL_CERT_DIR", "/no/such"),
        ("SSLKEYLOGFILE", "/no/such/log"),
    ):
        with pytest.raises(UnusableVariable, match=f"variable {variable} cannot be used"):
            certificates({variable: value})
    assert certificates({}) is None
    assert certificates({"SSL_CERT_DIR": str(tmp_path)}) is not None
