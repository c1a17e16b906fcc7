"""The commands of the README and of docs/ work, or say what they need."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.doc_blocks import NEEDS, ROOT, RUNNABLE, blocks_of, doc_pages
from tests.support.doc_sandbox import Sandbox, new_sandbox

FIRST = ROOT / "docs" / "guides" / "getting-started.md"


def test_every_block_names_its_language_and_closes() -> None:
    for page in doc_pages():
        fences = [n for n in page.read_text(encoding="utf-8").splitlines() if n.startswith("```")]
        assert len(fences) % 2 == 0, page
        for block in blocks_of(page):
            assert block.language in (*RUNNABLE, "text", "json", "toml", "yaml"), block.where


def test_every_command_is_run_by_a_test_or_says_what_it_needs() -> None:
    for page in doc_pages():
        for block in blocks_of(page):
            if block.language in RUNNABLE:
                assert block.mark, f"{block.where} has no mark: run, or needs=…"
                assert block.is_run or block.mark.removeprefix("needs=") in NEEDS, block.where
            else:
                assert not block.mark, f"{block.where} is marked and is no command"


@pytest.mark.timeout(1800)
def test_the_commands_work_page_by_page_in_their_order(tmp_path: Path) -> None:
    """One vendor and one purchase serve all pages: each guide starts where getting started ends."""
    first = new_sandbox(_made(tmp_path / "first"))
    blocks = [block for block in blocks_of(FIRST) if block.is_run]
    start = next(n for n, block in enumerate(blocks) if block.mark == "run=vendor")
    first.run(blocks[:start])
    first.shell("teacher-server keys create --name guides --budget 1000 > second-key")
    with first.vendor(blocks[start]) as url:
        reader = Sandbox(folder=first.folder, url=url)
        reader.run(blocks[start + 1 :])
        assert (first.folder / "runs" / "student" / "student.safetensors").exists()
        keys = {name: (first.folder / name).read_text().strip() for name in ("key", "second-key")}

        def follow(page: Path) -> None:
            runnable = [block for block in blocks_of(page) if block.is_run]
            # An audit must find no purchase of another page on its key.
            audits = any("cache-report audit" in block.code for block in runnable)
            key = keys["key" if audits else "second-key"]
            reader.copy(tmp_path / page.stem, api_key=key).run(runnable)

        pages = [page for page in doc_pages() if any(block.is_run for block in blocks_of(page))]
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(follow, [page for page in pages if page != FIRST]))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
