"""The socket that the vendor listens on."""

from __future__ import annotations

import socket

from teacher_server.errors import SettingsError


def listen_on(host: str, port: int) -> socket.socket:
    """A socket bound to this address; raises SettingsError if it is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        message = f"cannot listen on {host}:{port}: {error.strerror}"
        raise SettingsError(message) from error
    return listener


def url_of(host: str, port: int) -> str:
    """The URL at which a server on this address is reached."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
