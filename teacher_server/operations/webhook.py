"""Sends budget alerts to the operator's webhook: signed, and retried until a 2xx answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from typing import Protocol

import httpx
from pydantic import SecretStr

from teacher_server.ledger.alerts import Alert
from teacher_server.operations.network import client_options

_log = logging.getLogger("teacher_server.webhook")
_TIMEOUT_SECONDS = 10.0


class Outbox(Protocol):
    """Stores alerts until they are delivered, and leases each to one server at a time."""

    def pending_alerts(self, limit: int) -> list[Alert]: ...

    def alert_delivered(self, alert_id: str) -> None: ...

    def alert_failed(self, alert_id: str) -> None: ...


class Webhook:
    """Posts each alert until the receiver answers 2xx, and never again after that.

    If the process dies between the 2xx and recording it, the alert is sent again under the
    same `id`. Redirects are not followed: figures go only to the URL that the operator configured,
    through the proxy of the environment, if any. Raises SettingsError for a variable about proxies
    or certificates that cannot be used.
    """

    def __init__(
        self,
        url: str,
        secret: SecretStr,
        outbox: Outbox,
        *,
        clock_ms: Callable[[], int],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._secret = secret
        self._outbox = outbox
        self._clock_ms = clock_ms
        self._options = {**client_options(url), "transport": transport}

    async def deliver(self) -> int:
        """Send the due alerts, oldest first, until one fails; returns how many were delivered."""
        delivered = 0
        async with httpx.AsyncClient(**self._options) as http:
            # One at a time: an alert that is leased but not tried waits until its lease expires.
            while due := await asyncio.to_thread(self._outbox.pending_alerts, 1):
                attempt = asyncio.create_task(self._attempt(http, due[0]))
                try:
                    is_delivered = await asyncio.shield(attempt)
                except asyncio.CancelledError:
                    # The server stops. Finish this attempt, which takes seconds: if a 2xx were not
                    # recorded, the same alert would be sent again.
                    await attempt
                    raise
                if not is_delivered:
                    # The other alerts go to the same receiver. Waiting for a timeout for each of
                    # them would delay the other background tasks.
                    break
                delivered += 1
        return delivered

    async def _attempt(self, http: httpx.AsyncClient, alert: Alert) -> bool:
        is_delivered = await self._post(http, alert)
        record = self._outbox.alert_delivered if is_delivered else self._outbox.alert_failed
        await asyncio.to_thread(record, alert.id)
        return is_delivered

    async def _post(self, http: httpx.AsyncClient, alert: Alert) -> bool:
        body = alert_body(alert)
        headers = {
            "Content-Type": "application/json",
            "Webhook-Signature": signature(self._secret, body, self._clock_ms() // 1000),
        }
        try:
            # Streamed, so that only the status is read, however long the answer is.
            async with (
                asyncio.timeout(_TIMEOUT_SECONDS),
                http.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, TimeoutError) as error:
            _log.warning("%s was not delivered: %s", alert.id, type(error).__name__)
            return False
        if not 200 <= status < 300:
            _log.warning("%s was not delivered: the receiver answered %d", alert.id, status)
            return False
        return True


def alert_body(alert: Alert) -> bytes:
    """The alert as JSON; `id` is the same in each attempt."""
    document = {
        "id": alert.id,
        "type": "budget.threshold",
        "key_id": alert.key_id,
        "percent": alert.percent,
        "used_units": alert.used_units,
        "allowance_units": alert.allowance_units,
        "period": alert.label,
        "created_ms": alert.created_ms,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def signature(secret: SecretStr, body: bytes, unix_seconds: int) -> str:
    """`t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">`: proves the sender and the age."""
    signed = f"{unix_seconds}.".encode() + body
    digest = hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
    return f"t={unix_seconds},v1={digest}"
