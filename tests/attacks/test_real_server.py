"""A real server process under thousands of idle and slow clients and hostile images."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.fuzz.image_corpus import GROUPS
from benchmarks.support.raw_http import LocalServer, head
from tests.support.vendor_process import TOKEN, Server, server_at

IDLE = 10_000
# For the other open files of a test process.
SPARE = 512


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        # Longer than opening all of them takes.
        patch.setenv("TEACHER_HEADER_SECONDS", "120")
        patch.setenv("TEACHER_BODY_SECONDS", "120")
        patch.setenv("TEACHER_KEEP_ALIVE_SECONDS", "120")
        with server_at(tmp_path_factory.mktemp("attacked"), checkpoint) as running:
            yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def most_connections() -> Iterator[int]:
    """How many connections this process may open: 10,000, or the system's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = IDLE + SPARE if hard == resource.RLIM_INFINITY else min(IDLE + SPARE, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield most - SPARE
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def address(server: Server) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2])


def embed(http: httpx.Client) -> httpx.Response:
    return http.post("/v1/embeddings", json={"model": "tiny-clip", "input": "a"})


def test_ten_thousand_idle_connections_do_not_block_other_clients(
    server: Server,
    http: httpx.Client,
    most_connections: int,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("idle_connections", most_connections)
    starts = (b"", b"GET /livez HTTP/1.1\r\nHost: a\r\nX-", b"POST / HTTP/1.1\r\n", b"\r\n")
    with contextlib.ExitStack() as held:
        for number in range(most_connections):
            idle = held.enter_context(socket.create_connection(address(server), timeout=60))
            idle.sendall(starts[number % len(starts)])
            if number % 1000 == 0:
                assert http.get("/livez").status_code == 200
        assert embed(http).status_code == 200
        # On connections of their own, too.
        for _ in range(20):
            assert httpx.get(f"{server.url}/livez", timeout=60).status_code == 200
        assert embed(http).json()["usage"]["billed_units"] == 1
    assert most_connections == IDLE or resource.getrlimit(resource.RLIMIT_NOFILE)[1] < IDLE + SPARE


def test_endless_bodies_do_not_block_other_clients(server: Server, http: httpx.Client) -> None:
    lines = ("Content-Type: application/json", "Content-Length: 1000000")
    start = head("POST", "/v1/embeddings", f"Authorization: Bearer {TOKEN}", *lines)
    before = http.get("/v1/key").json()["spent_units"]
    with contextlib.ExitStack() as held:
        # All slots of a key except one, which is left for this client.
        for _ in range(60):
            slow = held.enter_context(socket.create_connection(address(server), timeout=60))
            slow.sendall(start + b'{"model": "')
        assert embed(http).status_code == 200
    assert http.get("/v1/key").json()["spent_units"] == before + 1
    assert http.get("/v1/key").json()["reserved_units"] == 0


def test_hostile_images_are_refused_while_others_are_served(
    server: Server, http: httpx.Client
) -> None:
    hostile = [s for group in ("parts", "bombs") for s in GROUPS[group]() if s.code is not None]
    before = http.get("/v1/key").json()["spent_units"]
    statuses: list[int] = []

    def attack(content: bytes | str) -> None:
        files = [("image", ("a.png", content, "image/png"))]
        with server.http() as attacker:
            answer = attacker.post(
                "/v1/embeddings", data={"model": "tiny-clip"}, files=files, timeout=60
            )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=attack, args=(sample.content,)) for sample in hostile]
    for thread in threads:
        thread.start()
    served = [embed(http).status_code for _ in range(5)]
    for thread in threads:
        thread.join(60)
    assert served == [200] * 5
    assert http.get("/readyz").status_code == 200
    assert len(statuses) == len(hostile)
    embedded = statuses.count(200)
    assert set(statuses) <= {200, 413, 422}
    assert http.get("/v1/key").json()["spent_units"] == before + 5 + embedded


def test_an_upload_that_is_refused_leaves_no_traceback_in_the_log(server: Server) -> None:
    with LocalServer(address(server)[1]).connect() as connection:
        start = head("POST", "/v1/embeddings", f"Authorization: Bearer {TOKEN}",
                     "Content-Type: application/json", "Content-Length: 100")  # fmt: skip
        connection.send(start + b"{")
    with server.http() as http:
        http.get("/livez")
        while "client_disconnected" not in server.log.read_text():
            http.get("/livez")
    assert "Traceback" not in server.log.read_text()
