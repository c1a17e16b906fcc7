"""The README is short, and links outside the site, which mkdocs does not check, lead somewhere."""

from __future__ import annotations

import re

from tests.support.doc_blocks import ROOT, doc_pages

LINK = re.compile(r"\]\((?![a-z]+:|#)(?P<target>[^)\s#]+)")

PACKAGES = "teacher_server|student|cache|benchmarks|examples|tools|tests|docker"
NAMED = re.compile(rf"`(?P<path>(?:{PACKAGES})/[\w./-]*)`")


def test_the_readme_has_at_most_700_words() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 700


def test_links_of_pages_outside_docs_lead_to_files() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    pages += [*(ROOT / "benchmarks").rglob("*.md"), *(ROOT / "teacher_server").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)} -> {link['target']}"
        for page in pages
        for link in LINK.finditer(page.read_text(encoding="utf-8"))
        if not (page.parent / link["target"]).exists()
    ]
    assert not broken


def test_docs_hold_at_most_seven_loose_files_in_the_root_of_the_folder() -> None:
    assert len([path for path in (ROOT / "docs").iterdir() if path.is_file()]) <= 7


def test_paths_that_pages_name_exist() -> None:
    gone = [
        f"{page.relative_to(ROOT)}: {named['path']}"
        for page in doc_pages()
        for named in NAMED.finditer(page.read_text(encoding="utf-8"))
        if not (ROOT / named["path"]).exists()
    ]
    assert not gone
