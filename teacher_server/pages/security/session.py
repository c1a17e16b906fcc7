"""Sessions: a signed cookie names the key that signed in; the key itself is in no cookie or page.

The cookie holds the key's id, the time and a CSRF token. It is signed with a secret that all
servers of one ledger derive from the pepper and the key's hash, so that signing in stores nothing,
a session holds on every replica, and rotating the key ends it. Signing out is stored in the ledger:
a copy of the cookie is then refused, too.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from teacher_server.errors import KeyUnknown
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import is_key_id
from teacher_server.ledger.ended_sessions import EndedSessions
from teacher_server.ledger.keys import Keys

COOKIE: Final = "teacher_session"
SESSION_SECONDS: Final = 8 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who signed in, and the token that each form of this session carries."""

    account: Account
    csrf_token: str

    @property
    def is_operator(self) -> bool:
        return "admin" in self.account.scopes


def start_session(response: Response, request: Request, *, key_id: str, secret: bytes) -> None:
    """Set the cookie of a new session; no script and no other site can send or read it."""
    signed = _serializer(secret).dumps(secrets.token_urlsafe(24))
    response.set_cookie(
        COOKIE,
        f"{key_id}.{signed}",
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def remove_cookie(response: Response) -> None:
    """Remove the cookie from the browser; a copy of it still works."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def end_session(session: Session, ended: EndedSessions) -> None:
    """End the session for every holder of its cookie."""
    ended.end(session.csrf_token, seconds=SESSION_SECONDS)


def find_session(cookie: str, keys: Keys, ended: EndedSessions) -> Session | None:
    """The session of a cookie; None if it is forged, ended or too old, or its key not usable."""
    key_id, _, signed = cookie.partition(".")
    secret = keys.session_secret(key_id) if is_key_id(key_id) else None
    if secret is None:
        return None
    try:
        csrf_token = _serializer(secret).loads(signed, max_age=SESSION_SECONDS)
        account = keys.current(key_id)
    except (BadSignature, KeyUnknown):
        return None
    session = Session(account=account, csrf_token=str(csrf_token))
    return None if ended.has(session.csrf_token) else session


def _serializer(secret: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        secret,
        salt="teacher-server page session",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
