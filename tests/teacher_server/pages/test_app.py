"""The pages cost a server that only sells nothing: they are loaded with the first request."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.support.vendor_in_process import Vendor
from teacher_server.api.app import openapi_document
from tests.support.page_visits import PageVisitor

PROGRAM = """
import sys
import teacher_server.server.run
print(sorted({"jinja2", "itsdangerous", "teacher_server.pages.key_holder"} & {*sys.modules}))
"""


def test_a_server_that_starts_imports_no_page() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


async def test_the_openapi_document_is_the_same_with_pages(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await visitor.go("/")
    assert (await shop.http.get("/openapi.json")).json() == openapi_document()


async def test_a_page_answers_head_and_is_counted_under_its_route(
    shop: Vendor, visitor: PageVisitor
) -> None:
    answer = await visitor.http.head("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    await visitor.go("/static/pages.css")
    metrics = (await shop.http.get("/metrics")).text
    assert 'route="/",status="200"' in metrics
    assert 'route="/static/{name}",status="200"' in metrics
