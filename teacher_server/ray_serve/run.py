"""Runs the vendor on Ray Serve on this machine: start, announce, wait for a signal, stop."""

from __future__ import annotations

import gc
import logging
import os
import queue
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from teacher_server.atomic_file import write_atomically
from teacher_server.errors import VendorError
from teacher_server.operations.logs import configure_logging, redact
from teacher_server.operations.network import client_options
from teacher_server.ray_serve import proxy
from teacher_server.ray_serve.application import NAME, QUIET, build
from teacher_server.ray_serve.requirements import require_ray
from teacher_server.server.first_key import ensure_first_key
from teacher_server.server.listener import listen_on, url_of
from teacher_server.server.own_ledger import own_ledger
from teacher_server.settings import VendorSettings, unread_variables
from teacher_server.settings.environment import as_environment

if TYPE_CHECKING:
    from ray.serve import Application

_log = logging.getLogger("teacher_server")
# A machine whose cores are busy starts Ray's own processes more slowly than Ray waits for.
_START_MS = 300_000


class RayServeFailed(VendorError):
    """The replicas did not start on Ray Serve; nothing is sold."""


def serve(
    settings: VendorSettings, *, announce: Callable[[str], None], show: Callable[[str], None]
) -> None:
    """Serve until a signal stops it; SIGHUP replaces all replicas, some at a time.

    `announce` gets the URL once requests are answered. `show` gets the line with the first API key
    if one is made at this start. Raises SettingsError for what cannot be served, and RayServeFailed
    if the replicas do not start.
    """
    serve_application(settings, build, announce=announce, show=show)


def serve_application(
    settings: VendorSettings,
    build: Callable[[VendorSettings], Application],
    *,
    announce: Callable[[str], None],
    show: Callable[[str], None],
) -> None:
    """As `serve`, with the application that `build` makes."""
    gc.enable()  # the model is loaded elsewhere
    configure_logging(settings.log_format)
    if unread := unread_variables():
        _log.warning("no option reads %s: correct the name of the variable", ", ".join(unread))
    require_ray(settings)
    if settings.webhook_url is not None:
        client_options(str(settings.webhook_url))  # refused now, and not when an alert is due
    # Here and not in a replica: the schema is migrated once, and no log gets the key.
    with own_ledger(settings) as ledger:
        ensure_first_key(ledger, settings, show=show)
    with listen_on(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]  # free now; Ray's proxy binds it again
    with _local_ray(settings):
        from ray import serve as ray_serve

        ray_serve.start(
            proxy_location="HeadOnly",
            http_options={
                "host": settings.host,
                "port": port,
                "keep_alive_timeout_s": settings.keep_alive_seconds,
            },
            logging_config=QUIET,
        )
        _deploy(build(settings))
        with _signals() as received:
            url = url_of(settings.host, port)
            if settings.url_file is not None:
                write_atomically(settings.url_file, url + "\n")
            announce(url)
            while received.get() == signal.SIGHUP:
                # A deployment without a version of its own is a new one each time.
                _deploy(build(settings))
                _log.info("all replicas have been replaced")


def _deploy(application: Application) -> None:
    """Start the replicas, or replace those that run; returns when all of them are ready."""
    from ray import serve as ray_serve

    try:
        ray_serve.run(application, name=NAME, route_prefix="/")
    except RuntimeError as error:
        message = f"the vendor did not start on Ray Serve: {redact(str(error)).strip()}"
        raise RayServeFailed(message) from error


@contextmanager
def _local_ray(settings: VendorSettings) -> Iterator[None]:
    """Ray on this machine, for this vendor alone, until the block ends."""
    threads = settings.threads or _threads_of_one_encoder(settings)
    os.environ.update(_environment(settings, threads))
    import ray
    from ray import serve as ray_serve

    try:
        ray.init(
            address="local",
            # Places, not cores: the replicas share the cores of this machine, and while they are
            # replaced there are more of them.
            num_cpus=2 * (settings.max_api_replicas + settings.max_encoder_replicas * threads),
            include_dashboard=False,
            logging_level="WARNING",
            configure_logging=False,
        )
    # Ray raises Exception itself where its processes do not start.
    except Exception as error:
        message = (
            f"Ray did not start: {redact(str(error)).strip()} Nothing is sold. Try again when the "
            "machine is less busy; the logs are in /tmp/ray/session_latest/logs"
        )
        raise RayServeFailed(message) from error
    try:
        yield
    finally:
        ray_serve.shutdown()
        ray.shutdown()


def _environment(settings: VendorSettings, threads: int) -> Mapping[str, str]:
    """What Ray's processes and the replicas inherit. The values hold secrets."""
    return {
        **as_environment(settings),
        "TEACHER_THREADS": str(threads),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray gives way to other work of the machine; the replicas are its work.
        "RAY_worker_niceness": "0",
        "RAY_agent_register_timeout_ms": str(_START_MS),
        # Ray listens on the loopback alone, as it does on systems with a firewall that asks.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Without a token, every user of this machine could run code in the replicas.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Otherwise lines that look alike are left out of the log.
        "RAY_DEDUP_LOGS": "0",
        "RAY_COLOR_PREFIX": "0",
        proxy.VARIABLE: proxy.VALUE,
    }


def _threads_of_one_encoder(settings: VendorSettings) -> int:
    """Threads with which all replicas of the model together have one for each core."""
    return max(1, (os.cpu_count() or 1) // settings.max_encoder_replicas)


@contextmanager
def _signals() -> Iterator[queue.SimpleQueue[int]]:
    """The signals that this process gets until the block ends."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda number, _: received.put(number)) for number in handled
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
