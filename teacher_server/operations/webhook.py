"""Budget alerts to the operator's own service: signed, retried, and quiet after a 2xx."""

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

_log = logging.getLogger("teacher_server.webhook")
_ANSWER_SECONDS = 10.0


class Outbox(Protocol):
    """Where alerts wait, each lent to one server at a time, until they are taken."""

    def pending_alerts(self, limit: int) -> list[Alert]: ...

    def alert_delivered(self, alert_id: str) -> None: ...

    def alert_failed(self, alert_id: str) -> None: ...


class Webhook:
    """Posts each alert until the receiver answers 2xx, and then never again.

    A process that dies between the 2xx and its note sends that alert once more, under the same
    `id`. Redirects are not followed: the URL is the operator's word for where figures may go.
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
        self._transport = transport

    async def deliver(self) -> int:
        """Send what is due, oldest first, up to the first failure; how many were taken."""
        taken = 0
        async with httpx.AsyncClient(transport=self._transport) as http:
            # One by one: what is lent and then not tried would have to wait for the loan to end.
            while due := await asyncio.to_thread(self._outbox.pending_alerts, 1):
                trying = asyncio.create_task(self._try(http, due[0]))
                try:
                    is_taken = await asyncio.shield(trying)
                except asyncio.CancelledError:
                    # The server stops. An alert under way is seen through, for it takes seconds: a
                    # 2xx that nobody notes down would bring the same alert again.
                    await trying
                    raise
                if not is_taken:
                    # The others go to the same place: waiting out its silence for each would hold
                    # up the server's other chores.
                    break
                taken += 1
        return taken

    async def _try(self, http: httpx.AsyncClient, alert: Alert) -> bool:
        is_taken = await self._is_taken(http, alert)
        note = self._outbox.alert_delivered if is_taken else self._outbox.alert_failed
        await asyncio.to_thread(note, alert.id)
        return is_taken

    async def _is_taken(self, http: httpx.AsyncClient, alert: Alert) -> bool:
        body = alert_body(alert)
        headers = {
            "Content-Type": "application/json",
            "Webhook-Signature": signature(self._secret, body, self._clock_ms() // 1000),
        }
        try:
            # Streamed, so that only the status is read, however much the receiver has to say.
            async with (
                asyncio.timeout(_ANSWER_SECONDS),
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
    """The alert as JSON; `id` is the same in every attempt."""
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
    """`t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">`: whose message this is, and how old."""
    signed = f"{unix_seconds}.".encode() + body
    digest = hmac.new(secret.get_secret_value().encode(), signed, hashlib.sha256).hexdigest()
    return f"t={unix_seconds},v1={digest}"
