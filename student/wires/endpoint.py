"""The whole URL that a wire posts to, from the base URL that the user names."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def endpoint_at(url: str, path: str, *, ends_in: str) -> str:
    """`path` below a base URL, whose own `/v1` or `/v2` is not repeated.

    A URL whose path ends in `ends_in` is whole already. The host is written in small letters, so
    that one vendor has one name.
    """
    parts = urlsplit(url)
    base = parts.path.rstrip("/")
    if not base.endswith(ends_in):
        version = f"/{path.split('/')[1]}"
        base = base.removesuffix(version) + path
    return urlunsplit(parts._replace(netloc=parts.netloc.lower(), path=base))
