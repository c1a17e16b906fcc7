"""How the webhook leaves this machine: through which proxy, and trusting which certificates.

The client reads the environment in the same way (its `cache.audit.network`); the two share no code.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import SplitResult, urlsplit

from teacher_server.errors import SettingsError

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_ENTRY: Final = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>[\w*.-]+)(?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy, and the environment variable that names it."""

    url: str
    variable: str

    @property
    def is_socks(self) -> bool:
        return self.url.startswith("socks")

    def __str__(self) -> str:
        """The proxy for people, without its password."""
        parts = urlsplit(self.url)
        login = "***@" if "@" in parts.netloc else ""
        return f"{parts.scheme}://{login}{parts.netloc.rpartition('@')[2]} ({self.variable})"


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for this URL; None for loopback, which is never reached through a proxy.

    Raises SettingsError for a proxy variable or a NO_PROXY that cannot be used.
    """
    parts = urlsplit(url)
    proxies = {
        scheme: _proxy(f"{scheme}_proxy", environment) for scheme in ("http", "https", "all")
    }
    is_excluded = _is_excluded(parts, environment)
    if is_loopback(parts.hostname or "") or is_excluded:
        return None
    return proxies.get(parts.scheme) or proxies["all"]


def client_options(url: str) -> dict[str, Any]:
    """How an httpx client reaches this URL. Raises SettingsError, naming the variable."""
    require_socks_package()
    proxy, trusted = proxy_for(url), certificates()
    return {
        "trust_env": False,  # what the environment says is read here
        "proxy": None if proxy is None else proxy.url,
        "verify": trusted or True,
    }


def require_socks_package(environment: Mapping[str, str] = os.environ) -> None:
    """Raises SettingsError for a SOCKS proxy where httpx lacks the package that it needs."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        proxy = _proxy(name, environment)
        if proxy is not None and proxy.is_socks and find_spec("socksio") is None:
            message = (
                f"the environment variable {proxy.variable} names a SOCKS proxy, which needs "
                "another package: pip install 'httpx[socks]', or unset it for this command "
                f"(env -u {proxy.variable} …)"
            )
            raise SettingsError(message)


def is_loopback(host: str) -> bool:
    """Whether the host is this machine: localhost, 127/8 or ::1, in any spelling."""
    name = host.strip("[]").rstrip(".").partition("%")[0].lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:  # 127.1, 0x7f000001 and the like, as every resolver reads them
            address = ipaddress.IPv4Address(socket.inet_aton(name))
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def certificates(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext | None:
    """The certificates that SSL_CERT_FILE or SSL_CERT_DIR names; None if neither is set.

    Raises SettingsError for either, and for an SSLKEYLOGFILE that cannot be written.
    """
    if log := environment.get("SSLKEYLOGFILE"):
        try:
            Path(log).open("ab").close()
        except OSError as error:
            _refuse("SSLKEYLOGFILE", log, error.strerror or str(error), error)
    file, folder = (environment.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if folder and not Path(folder).is_dir():
        _refuse("SSL_CERT_DIR", folder, "there is no such folder")
    if not file and not folder:
        return None
    try:
        return ssl.create_default_context(cafile=file, capath=None if file else folder)
    except OSError as error:
        _refuse("SSL_CERT_FILE", file or "", error.strerror or str(error), error)


def _proxy(name: str, environment: Mapping[str, str]) -> Proxy | None:
    found = _read(name, environment)
    # In a CGI program HTTP_PROXY is the client's header "Proxy" (httpoxy).
    if found is None or (found[0] == "HTTP_PROXY" and "REQUEST_METHOD" in environment):
        return None
    variable, value = found
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        is_usable &= not re.search(r"\s", url)
    except ValueError:
        is_usable = False
    if not is_usable:
        shown = f"***@{value.rpartition('@')[2]}" if "@" in value else value
        _refuse(variable, shown, "a proxy looks like http://host:3128")
    return Proxy(url=url, variable=variable)


def _is_excluded(parts: SplitResult, environment: Mapping[str, str]) -> bool:
    variable, value = _read("no_proxy", environment) or ("", "")
    entries = [entry.strip() for entry in value.split(",") if entry.strip()]
    return any([_matches(entry, parts, variable) for entry in entries])  # noqa: C419 # checks all


def _matches(entry: str, parts: SplitResult, variable: str) -> bool:
    host = (parts.hostname or "").rstrip(".")
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        network = None
    if network is not None and ("/" not in entry or network.version == 4):
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    form = _ENTRY.fullmatch(entry)
    if form is None:
        forms = "hosts, domains, addresses (IPv6 without brackets or length) and IPv4 networks"
        _refuse(variable, entry, f"its entries are {forms}")
    name = form["host"].lstrip("*").lstrip(".").lower()
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return (
        (host == name or host.endswith(f".{name}"))
        and form["scheme"] in (None, parts.scheme)
        and form["port"] in (None, str(port))
    )


def _read(name: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable's name and value; lower case wins, as everywhere, also where it is empty."""
    for spelt in (name, name.upper()):
        if spelt in environment:
            value = environment[spelt].strip()
            return (spelt, value) if value else None
    return None


def _refuse(variable: str, value: str, reason: str, cause: Exception | None = None) -> NoReturn:
    message = (
        f"the environment variable {variable} cannot be used: {value!r}; {reason}. Correct it, or "
        f"unset it for this command (env -u {variable} …)"
    )
    raise SettingsError(message) from cause
