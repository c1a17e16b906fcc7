"""A store on the network for measurements: an S3 server in a process of its own, on this machine.

`python -m benchmarks.scale.store MS` serves until it is terminated, and waits so many milliseconds
before each answer to a GET, as a store that is far away does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tools.provenance import ROOT

_BUCKET = "views"


@contextmanager
def running_store(answer_ms: int) -> Iterator[str]:
    """The address of an empty bucket, until the block ends. The environment names the server, as a
    user's does."""
    command = [sys.executable, "-m", "benchmarks.scale.store", str(answer_ms)]
    before = dict(os.environ)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            os.environ.update(
                AWS_ENDPOINT_URL=server.stdout.readline().strip(),
                AWS_ACCESS_KEY_ID="measuring",
                AWS_SECRET_ACCESS_KEY="measuring",
                AWS_DEFAULT_REGION="us-east-1",
            )
            yield f"s3://{_BUCKET}"  # made by the first that writes there
        finally:
            os.environ.clear()
            os.environ.update(before)
            server.terminate()


def _serve(answer_ms: int) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app: Any = DomainDispatcherApplication(create_backend_app)

    def far_away(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] == "GET":
            time.sleep(answer_ms / 1000)
        answer: Iterable[bytes] = app(environment, start)
        return answer

    server = make_server("127.0.0.1", 0, far_away, threaded=True)
    sys.stdout.write(f"http://127.0.0.1:{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
