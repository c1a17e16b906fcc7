"""The project's commands as forks of a process that has imported them.

Importing torch and timm takes a command some seconds of processor time. Tests that run a command
for what it does, not for how it starts, take it from the folder that `forked_commands` returns.
There, a small script of the same name passes its arguments, folder, environment and standard
streams to the fork server, passes on signals, and ends with the exit code of the fork.

A fork ends without freeing what it shares with the server, which would take two seconds of
processor time, more than most commands.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import NoReturn

_COMMANDS = {
    "distill-client": "student.cli",
    "cache-report": "cache.cli",
    "teacher-server": "teacher_server.cli",
    "python-block": "tests.support.python_block",
}
_PRELOADED = (
    *_COMMANDS.values(),
    *("timm", "open_clip", "torch._dynamo"),
    *("student.commands.distill", "student.inference.predict", "scipy.stats"),
    *("teacher_server.server.run", "teacher_server.inference.encoder"),
)
_LENGTH = 4  # bytes of the length before a request

_SCRIPT = """#!{python} -IS
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps({{"argv": [{name!r}, *sys.argv[1:]], "folder": os.getcwd(),
                       "environment": dict(os.environ)}}).encode()
streams = array.array("i", [0, 1, 2])
server.sendmsg([len(request).to_bytes({length}, "big")],
               [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
server.sendall(request)
status = int.from_bytes(server.recv(4), "big", signed=True)
if status < 0:
    if -status != signal.SIGKILL:  # which has no handler
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


@functools.cache
def forked_commands() -> Path:
    """The folder of the scripts. The fork server is started by the first call in a process."""
    folder = Path(tempfile.mkdtemp(prefix="commands-"))
    address = folder / "socket"
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    server = subprocess.Popen(
        [sys.executable, "-m", __name__, str(address)], env=environment, stdout=subprocess.PIPE
    )
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    for name in _COMMANDS:
        script = folder / name
        script.write_text(
            _SCRIPT.format(python=sys.executable, address=str(address), name=name, length=_LENGTH)
        )
        script.chmod(0o755)
    return folder


def _serve(address: str) -> NoReturn:
    """Forks a process for each connection."""
    for module in _PRELOADED:
        __import__(module)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy the pages of all that was imported
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps what watches a command
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _start(connection)
        connection.close()


def _start(connection: socket.socket) -> NoReturn:
    """Forks the command and watches it."""
    header, streams, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    length = int.from_bytes(header, "big")
    content = b""
    while len(content) < length:
        content += connection.recv(length - len(content))
    request = json.loads(content)
    command = os.fork()
    if command:
        _watch(connection, command)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["argv"]
    _use_threads(request["environment"])
    module = sys.modules[_COMMANDS[sys.argv[0]]]
    try:
        code = module.main()
    except SystemExit as exit_:
        code = exit_.code
    except Exception:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    _end(1 if isinstance(code, str) else code or 0)


def _end(code: int) -> NoReturn:
    """Does what Python does at the end of a process, except to free its memory."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _use_threads(environment: dict[str, str]) -> None:
    """What OpenMP would have read when it was loaded."""
    import torch

    if "OMP_NUM_THREADS" in environment:
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))


def _watch(connection: socket.socket, command: int) -> None:
    """Passes on signals to the command, ends it with its script, and reports its exit code."""
    ended = os.pidfd_open(command)
    while True:
        readable = select.select([connection.fileno(), ended], [], [])[0]
        if ended in readable:
            _, status = os.waitpid(command, 0)
            connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
            os._exit(0)
        number = connection.recv(1)
        signal.pidfd_send_signal(ended, number[0] if number else signal.SIGKILL)
        if not number:
            os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1])
