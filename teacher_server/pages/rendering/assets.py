"""The files that the pages load: their own, and Chart.js from the wheel of chartkick."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

router = APIRouter(include_in_schema=False)
_OWN: Final = ("teacher_server.pages.rendering", "static")
_FILES: Final = {
    "pages.css": (_OWN, "text/css"),
    "pages.js": (_OWN, "text/javascript"),
    "icon.svg": (_OWN, "image/svg+xml"),
    "Chart.bundle.js": (("chartkick", "django/static/chartkick"), "text/javascript"),
}


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    compressed: bytes
    media_type: str
    version: str


@router.get("/static/{name}")
async def asset(name: str, request: Request) -> Response:
    """One of the pages' files; its address changes with its content, so it may be kept."""
    if name not in _FILES:
        raise HTTPException(404)
    found = _asset(name)
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(found.compressed, media_type=found.media_type, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


def asset_url(name: str) -> str:
    """The address of a file, which names its content."""
    return f"/static/{name}?v={_asset(name).version}"


@cache
def _asset(name: str) -> _Asset:
    (package, folder), media_type = _FILES[name]
    content = files(package).joinpath(folder, name).read_bytes()
    version = hashlib.sha256(content).hexdigest()[:12]
    return _Asset(content, gzip.compress(content), media_type, version)
