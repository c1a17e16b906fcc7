"""An S3 server of this process; s3fs finds it in the environment, as a user's does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import fsspec
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server() -> Iterator[Callable[[str], str]]:
    """A function that makes a bucket of this name, and returns its address."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")

        def bucket(name: str) -> str:
            fsspec.filesystem("s3").mkdir(name)
            return f"s3://{name}"

        yield bucket
        fsspec.filesystem("s3").clear_instance_cache()
    server.stop()
