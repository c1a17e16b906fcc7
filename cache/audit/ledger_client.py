"""HTTP client for the vendor's ledger, with the standard library only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import IO, Any, Final
from urllib.parse import urlsplit

from cache.audit.network import certificates, proxy_for
from cache.errors import AuditImpossible
from cache.records.receipt import Receipt, base_url

_ENTRIES_PER_PAGE: Final = 1000
_MAX_RESPONSE_BYTES: Final = 64 * 2**20
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorAccount:
    """The vendor's account of the API key; `spent_units` counts queries."""

    id: str
    spent_units: int


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would send the key to the new address."""

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorLedger:
    """A vendor's ledger of one API key, over HTTP. Every method may raise AuditImpossible."""

    url: str
    key: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S
    max_response_bytes: int = _MAX_RESPONSE_BYTES

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            message = f"{self.url!r} is not an http or https address of a vendor"
            raise AuditImpossible(message)
        object.__setattr__(self, "url", base_url(self.url))
        # The error of http.client would quote the whole header, and so the key.
        if not self.key or not all(0x21 <= ord(char) <= 0x7E for char in self.key):
            message = "the vendor's key is empty, or has blanks or non-ASCII characters"
            raise AuditImpossible(message)

    def account(self) -> VendorAccount:
        """Fetch the account of the key."""
        answer = self._get("/v1/key")
        try:
            account = json.loads(answer)
            return VendorAccount(id=str(account["id"]), spent_units=int(account["spent_units"]))
        except (ValueError, KeyError, TypeError) as error:
            message = f"the response of {self.url}/v1/key is not an account"
            raise AuditImpossible(message) from error

    def entries(self) -> list[Receipt]:
        """Fetch the whole ledger, page by page."""
        entries: list[Receipt] = []
        after = 0
        while page := self._page(after):
            entries.extend(page)
            if page[-1].seq <= after:
                message = f"{self.url}/v1/ledger repeats entries after seq {after}"
                raise AuditImpossible(message)
            after = page[-1].seq
        return entries

    def _page(self, after: int) -> list[Receipt]:
        answer = self._get(f"/v1/ledger?after={after}&limit={_ENTRIES_PER_PAGE}")
        entries = []
        for number, line in enumerate(answer.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                entries.append(Receipt.model_validate(json.loads(line)))
            except ValueError as error:
                message = f"line {number} after seq {after} of the vendor's ledger is not an entry"
                raise AuditImpossible(message) from error
        return entries

    def _get(self, path: str) -> bytes:
        address = f"{self.url.rstrip('/')}{path}"
        try:
            request = urllib.request.Request(
                address, headers={"Authorization": f"Bearer {self.key}"}
            )
            with self._opener().open(request, timeout=self.timeout_s) as answer:
                body: bytes = answer.read(self.max_response_bytes + 1)
        except urllib.error.HTTPError as error:
            with error:
                message = f"{self.url}{path} answered {error.code}{_detail(error)}"
            raise AuditImpossible(message) from error
        # ValueError: a character that is not allowed in an address.
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            message = f"cannot reach the vendor at {self.url}: {reason}"
            raise AuditImpossible(message) from error
        if len(body) > self.max_response_bytes:
            message = f"the response of {self.url}{path} exceeds {self.max_response_bytes} bytes"
            raise AuditImpossible(message)
        return body

    def _opener(self) -> urllib.request.OpenerDirector:
        proxy = proxy_for(self.url)
        if proxy is not None and proxy.is_socks:
            message = f"an audit cannot go through a SOCKS proxy ({proxy.variable})"
            raise AuditImpossible(message)
        proxies = {} if proxy is None else {urlsplit(self.url).scheme: proxy.url}
        return urllib.request.build_opener(
            _NoRedirect(),
            urllib.request.ProxyHandler(proxies),
            urllib.request.HTTPSHandler(context=certificates()),
        )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username


def _detail(error: urllib.error.HTTPError) -> str:
    """Return the `detail` of an RFC 9457 body, or else the reason phrase."""
    try:
        problem = json.loads(error.read(65536))
    except (ValueError, OSError):
        return f" ({error.reason})"
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return f": {detail}" if isinstance(detail, str) else f" ({error.reason})"
